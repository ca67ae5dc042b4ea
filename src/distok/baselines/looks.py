"""How alike pictures look, by the labeler: what methods with "a CLIP image distance" measure with.

Shapes: b pictures, k names, e feature width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from distok.labelers.base import Labeler

if TYPE_CHECKING:
    from PIL import Image

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
    from distok.labelers.clip import ClipLabeler, image_feature

    if isinstance(labeler, ClipLabeler) and labeler.reading == "whole":
        images = [picture.convert("RGB") for picture in pictures]
        pixels = labeler.processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(labeler.model.device, labeler.model.dtype)
        return image_feature(labeler.model, pixels).cpu()
    return labeler.probabilities(pictures, names).float().cpu().clamp(min=0).sqrt()


def above_a_straight_mix(
    found: Float[Tensor, "b k"], between: Float[Tensor, "k k"], weights: Float[Tensor, " k"]
) -> Float[Tensor, "b k"]:
    """How much more alike (or farther) each picture is to each class than a straight mix by weight would be.

    A straight mix has Σ_j p_j · between(i, j) to class i. For a pair of equal weights that is the same for both classes, so
    the difference of the two entries is the papers' d(I_f, I_1) − d(I_f, I_2).

    Args:
        found: likeness or distance of pictures to the classes' own pictures.
        between: the same among the classes' own pictures.
        weights: of the classes.
    """
    return found - between @ weights.to(found)
