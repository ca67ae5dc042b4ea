"""The prior of Kandinsky 2.1 and 2.2: from a prompt to the embedding of a picture, as a path that gradients can take.

The library's own prior pipelines run without gradients and take no embeddings. Shapes: b prompts, l positions, e embedding width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import Condition
from distok.backends.encoder import Encoded
from distok.backends.pipeline import generators
from distok.seeds import derive


def prior_condition(encoded: Encoded) -> Condition:
    """What the prior is conditioned on, of its own text encoder's padded output."""
    return {
        "prior_text_embeds": encoded.pooled,
        "prior_states": encoded.last,
        "prior_mask": encoded.mask.to(encoded.last.dtype),
    }


def prior_seeds(seeds: Sequence[int]) -> list[int]:
    """What the prior's noise is drawn with for pictures of these seeds: the same ones would give the decoder the same noise."""
    return [derive(seed, "prior") for seed in seeds]


def sample_prior(
    prior: Any,
    scheduler: Any,
    condition: Condition,
    unconditional: Condition,
    seeds: Sequence[int],
    steps: int,
    guidance_scale: float,
) -> Float[Tensor, "b e"]:
    """Image embeddings of prompts, one seed each, differentiable in the condition.

    Args:
        prior: a ``PriorTransformer``.
        scheduler: its ``UnCLIPScheduler``, one that nobody else uses: sampling changes its state.
        condition, unconditional: of :func:`prior_condition`; the second is that of the negative or the empty prompt.
        steps: denoising steps of the prior.
        guidance_scale: of the prior; 1 or less leaves the second one out.
    """
    # Not the prior's own device: it may still wait in main memory.
    device, dtype = condition["prior_text_embeds"].device, prior.dtype
    guided = guidance_scale > 1
    both = {key: torch.cat([unconditional[key], value]) if guided else value for key, value in condition.items()}
    random = generators(seeds)
    scheduler.set_timesteps(steps, device=device)
    width = prior.config.embedding_dim
    noise = [torch.randn(1, width, generator=each, dtype=dtype) for each in random]
    x = torch.cat(noise).to(device) * scheduler.init_noise_sigma
    for i, t in enumerate(scheduler.timesteps):
        predicted = prior(
            torch.cat([x, x]) if guided else x,
            timestep=t,
            proj_embedding=both["prior_text_embeds"].to(device, dtype),
            encoder_hidden_states=both["prior_states"].to(device, dtype),
            attention_mask=both["prior_mask"].to(device) >= 0.5,
        ).predicted_image_embedding
        if guided:
            without, with_text = predicted.chunk(2)
            predicted = without + guidance_scale * (with_text - without)
        following = None if i + 1 == len(scheduler.timesteps) else scheduler.timesteps[i + 1]
        x = scheduler.step(predicted, timestep=t, sample=x, generator=random, prev_timestep=following).prev_sample
    return prior.post_process_latents(x)


def zero_embedding(image_encoder: Any, count: int, device: torch.device) -> Float[Tensor, "b e"]:
    """The embedding of a black picture, which stands for "no picture" where no negative prompt is given."""
    size = image_encoder.config.image_size
    black = torch.zeros(1, 3, size, size, device=device, dtype=image_encoder.dtype)
    return image_encoder(black).image_embeds.expand(count, -1)
