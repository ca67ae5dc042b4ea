"""The paper's loop, literally: one task at a time, every prompt encoded again, alone and at full length, gradients accumulated.

It is the yardstick of the batched trainer: the same gradients, and what they cost without batching, caching or cutting.

Shapes: e feature width, d token width.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends import fill, slot
from distok.objectives import consistency_loss, fusion_loss, latent_loss
from distok.training import Trainer
from distok.training.tasks import Tasks, said


def encode_padded(trainer: Trainer, prompt: str, tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "1 e"]:
    """E(q) of one prompt as the pipeline encodes it, padded to the full length."""
    backend = trainer.backend
    parts = backend.split(tokens) if tokens is not None else dict.fromkeys(backend.widths)
    pooled = {key: each.encode([prompt], parts[key], padded=True).pooled for key, each in backend.encoders.items()}
    return torch.cat([backend.feature(key, each) for key, each in pooled.items()], -1) / len(pooled) ** 0.5


def accumulate(trainer: Trainer, tasks: Tasks) -> float:
    """Add the gradients of a step to the model's, one task at a time; returns the step's loss."""
    settings, pool, model = trainer.settings, trainer.pool, trainer.model
    pairs = list(zip(tasks.left, tasks.right, strict=True))
    inputs = [model.pair(pool.tokens[i][None], pool.tokens[j][None]) for i, j in pairs]
    inputs += [torch.from_numpy(weights)[None].to(pool.tokens) @ pool.known_tokens for weights in tasks.mixtures]
    inputs += [pool.distributions[i][None] @ pool.known_tokens for i in tasks.targets]
    total = 0.0
    for row, mixture in enumerate(inputs):
        adaptive = encode_padded(trainer, fill(settings.adaptive_prompt), model(mixture))
        if row < tasks.fused:
            with torch.no_grad():
                if row < len(pairs):
                    restrictive = _restrictive(trainer, *pairs[row])
                else:
                    restrictive = encode_padded(trainer, said(settings, trainer.names, tasks.mixtures[row - len(pairs)]))
                aesthetic = encode_padded(trainer, settings.aesthetic_prompt)[0]
            caps = settings.epsilon_restrictive, settings.epsilon_aesthetic
            loss = settings.alpha * fusion_loss(adaptive, restrictive, aesthetic, *caps)
        else:
            concept = int(tasks.targets[row - tasks.fused])
            with torch.no_grad():
                target = encode_padded(trainer, *_known_or_token(trainer, concept))
            loss = settings.beta * consistency_loss(adaptive, target)
        loss = loss.sum() / len(tasks)
        loss.backward()
        total += loss.item()
    if settings.gamma:
        loss = settings.gamma * latent_loss(torch.cat([model.encode(mixture) for mixture in inputs]))
        loss.backward()
        total += loss.item()
    return total


def _known_or_token(trainer: Trainer, concept: int) -> tuple[str, Float[Tensor, "1 d"] | None]:
    prompt = trainer.settings.adaptive_prompt
    if concept < trainer.pool.known:
        return prompt.format(trainer.names[concept]), None
    return fill(prompt), trainer.pool.tokens[concept][None]


def _restrictive(trainer: Trainer, left: int, right: int) -> Float[Tensor, "1 e"]:
    concepts = [int(left), int(right)]
    words = [trainer.names[i] if i < trainer.pool.known else slot(row) for row, i in enumerate(concepts)]
    return encode_padded(trainer, trainer.settings.restrictive_prompt.format(*words), trainer.pool.tokens[concepts])
