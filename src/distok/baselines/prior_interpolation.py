"""Prior interpolation: the weighted sum of the picture embeddings that the prior makes of each class's prompt.

Shapes: k classes, b pictures, e embedding width.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import Backend, Condition
from distok.backends.kandinsky_prior import prior_seeds
from distok.baselines.base import Ask, Baseline, Ready, class_conditions

if TYPE_CHECKING:
    from PIL import Image

PRIORS = ("KandinskyCombinedPipeline", "KandinskyV22CombinedPipeline")


class PriorInterpolation(Baseline):
    """What diffusers' ``KandinskyPriorPipeline.interpolate`` does: Σ p_i · prior(prompt_i), drawn with an empty decoder prompt.

    All classes of a picture share its seed in the prior, so that a class mixed with itself stays itself.
    """

    name = "prior-interpolation"
    title = "prior interpolation"
    source = "KandinskyPriorPipeline.interpolate of diffusers"
    summary = "the weighted sum of the prior's picture embeddings of the classes"
    families = PRIORS
    weights = True

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """One prior call a class, one decoding."""
        embeds = interpolate(ask.backend, class_conditions(ask), ask.mix.weights, prior_seeds(ask.seeds))
        return draw_embeddings(ask, embeds), {}


@torch.no_grad()
def interpolate(backend: Any, conditions: Condition, weights: Sequence[float], seeds: Sequence[int]) -> Float[Tensor, "b e"]:
    """Σ_i w_i · embedding of prompt i, for each seed."""
    total = torch.zeros(())
    for i, weight in enumerate(weights):
        one = {key: value[i : i + 1].expand(len(seeds), *value.shape[1:]) for key, value in conditions.items()}
        total = total + weight * backend.image_embeds(one, seeds)
    return total


def draw_embeddings(ask: Ask, embeds: Float[Tensor, "b e"]) -> "list[Image.Image]":
    """Decode picture embeddings, with the decoder's own prompt left empty where it takes one."""
    backend: Any = ask.backend
    count = len(ask.seeds)
    with torch.no_grad():
        empty = backend.condition([""])
    condition = {"image_embeds": embeds, **{key: value.expand(count, *value.shape[1:]) for key, value in empty.items()}}
    view = _with_given_embeddings(backend)
    return view.render(None, seeds=ask.seeds, condition=condition, callback=ask.callback, **ask.options)


def _with_given_embeddings(backend: Any) -> Backend:
    """A second handle on the same modules that takes ``image_embeds`` from the condition where it is in it."""

    def image_embeds(condition: Condition, *args: Any, **options: Any) -> Tensor:
        if "image_embeds" in condition:
            return condition["image_embeds"]
        return backend.image_embeds(condition, *args, **options)

    view = copy.copy(backend)
    view.image_embeds = image_embeds
    return view
