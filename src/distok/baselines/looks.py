"""How alike pictures look, by the labeler: what methods with "a CLIP image distance" measure with.

Shapes: b pictures, k names, e feature width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from distok.labelers.base import Labeler

if TYPE_CHECKING:
    from PIL import Image

    from distok.labelers.clip import ClipLabeler

BATCH = 64  # pictures looked at together


@torch.no_grad()
def looks(labeler: Labeler, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b e"]:
    """A vector of unit length for each picture, on the CPU; the cosine of two says how alike they are.

    Of a CLIP that is read as a whole it is the image feature, as published. Any other labeler has no such feature: there it is
    √p of its reading over ``names``, whose cosine is the Bhattacharyya coefficient of the two readings.
    """
    parts = [_looks(labeler, pictures[i : i + BATCH], names) for i in range(0, len(pictures), BATCH)]
    return torch.cat(parts)


def _looks(labeler: Labeler, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b e"]:
    if _by_feature(labeler):
        from distok.labelers.clip import image_feature

        images = [picture.convert("RGB") for picture in pictures]
        pixels = labeler.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(labeler.model.device, labeler.model.dtype)
        return image_feature(labeler.model, pixels).cpu()
    return labeler.probabilities(pictures, names).float().cpu().clamp(min=0).sqrt()


def straight_mix(labeler: Labeler, alone: Float[Tensor, "k e"], weights: Float[Tensor, " k"]) -> Float[Tensor, " e"]:
    """The look of an even-handed picture, of unit length: along Σ_j p_j f_j of the classes' own features f.

    Where looks are √p of readings it is along Σ_j √p_j f_j: what reads as the weights say, if every class reads as itself.

    What a picture is nearer to or farther from than this one is shows which class it has too much of. A mix of a pair at equal
    weights is as near to one class as to the other, so there the difference is the papers' d(I_f, I_1) − d(I_f, I_2).

    Args:
        alone: looks of the classes' own pictures.
        weights: of the classes; they add up to 1.
    """
    weights = weights.to(alone)
    mixed = (weights if _by_feature(labeler) else weights.sqrt()) @ alone
    return mixed / mixed.norm()


def _by_feature(labeler: Labeler) -> "TypeGuard[ClipLabeler]":
    from distok.labelers.clip import ClipLabeler

    return isinstance(labeler, ClipLabeler) and labeler.reading == "whole"
