"""SigLIP and SigLIP 2 as labelers: the log-odds that a caption belongs to a picture.

Shapes: b pictures, k names.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from distok.labelers.clip import unit_feature
from distok.labelers.loading import exact
from distok.labelers.model import ModelLabeler

if TYPE_CHECKING:
    from PIL import Image


class SiglipLabeler(ModelLabeler):
    """``SiglipModel`` or ``Siglip2Model``: score = scale · cos(picture, caption) + bias.

    (Zhai et al. 2023, arXiv 2303.15343, the pairwise sigmoid loss.)
    The sigmoid of that score is the pair's own probability, so the score is its log-odds; the softmax over names makes one
    reading of them. The bias is the same for every name and so drops out of the softmax: only ``scores`` shows it.
    """

    model_class = "SiglipModel"

    def scorer(self, names: Sequence[str]) -> "Callable[[list[Image.Image]], Float[Tensor, 'b k']]":
        """Encode the captions once; see :class:`ModelLabeler`."""
        # Trained on lower-cased captions padded to the full length; only SigLIP 2's own tokenizer class lowers them itself.
        length = self.model.config.text_config.max_position_embeddings
        captions = [caption.lower() for caption in self.captions(names)]
        inputs = self.words(captions, padding="max_length", max_length=length)
        texts = unit_feature(self.model.get_text_features(**inputs))
        scale, bias = math.exp(exact(self.model, "logit_scale")), exact(self.model, "logit_bias")
        return lambda images: scale * unit_feature(self.model.get_image_features(**self.pixels(images))) @ texts.T + bias


class Siglip2Labeler(SiglipLabeler):
    """The same on a ``Siglip2Model``, whose pictures keep their aspect ratio."""

    model_class = "Siglip2Model"
