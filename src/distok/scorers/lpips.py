"""LPIPS on AlexNet, for a set's diversity; its weights are two small files that must be there, converted to safetensors.

The folder holds one or two ``.safetensors`` that together have torchvision's AlexNet (``features.0.weight`` …) and the published
linear weights (``lin0.model.1.weight`` …). Shapes: b pictures, c channels.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from distok.errors import DistokError
from distok.files import read_tensors
from distok.labelers.loading import hash_of
from distok.scorers.base import MissingWeightsError, NotFiniteError, Scale, ScorerSettings

if TYPE_CHECKING:
    from PIL import Image

SIDE = 256  # pictures of other sizes are brought to it
_SHIFT, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# torchvision's number -> (out, in, kernel, stride, padding); a 3x3 pooling of stride 2 goes before the second and the third
_LAYERS = {0: (64, 3, 11, 4, 2), 3: (192, 64, 5, 1, 2), 6: (384, 192, 3, 1, 1), 8: (256, 384, 3, 1, 1), 10: (256, 256, 3, 1, 1)}


class Lpips(nn.Module):
    """Learned perceptual distance (Zhang et al. 2018, eq. 1, "lin" on AlexNet): 0 for equal pictures, unbounded above."""

    name = "LPIPS"
    scale = Scale(0, np.inf)

    def __init__(self, settings: ScorerSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or ScorerSettings()
        self.features = nn.ModuleDict({str(key): nn.Conv2d(i, o, k, s, p) for key, (o, i, k, s, p) in _LAYERS.items()})
        self.weights = nn.ParameterList([torch.zeros(1, out, 1, 1) for out, *_ in _LAYERS.values()])

    @classmethod
    def load(cls, folder: Path, settings: ScorerSettings | None = None) -> "Lpips":
        """Load both sets of weights from a folder.

        Raises:
            MissingWeightsError: a weight is not there.
            DistokError: a file is corrupt.
        """
        found: dict[str, Tensor] = {}
        for path in sorted(Path(folder).glob("*.safetensors")):
            found |= read_tensors(path)[0]
        wanted = {f"features.{key}.{kind}": f"features.{key}.{kind}" for key in _LAYERS for kind in ("weight", "bias")}
        wanted |= {f"weights.{i}": f"lin{i}.model.1.weight" for i in range(len(_LAYERS))}
        absent = [name for name in wanted.values() if name not in found]
        if absent:
            raise MissingWeightsError(
                f"{folder} lacks LPIPS weights ({absent[0]}); "
                "convert torchvision's AlexNet and the lpips package's alex.pth to safetensors"
            )
        model = cls(settings)
        model.load_state_dict({ours: found[theirs] for ours, theirs in wanted.items()})
        return model.to(model.settings.device).eval()

    @cached_property
    def hash(self) -> str:
        """A short hash of every weight."""
        return hash_of(self, self.name)

    def forward(self, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """The distance of pictures in -1..1, pair by pair."""
        total = a.new_zeros(len(a))
        for weight, x, y in zip(self.weights, self._maps(a), self._maps(b), strict=True):
            total = total + (weight * (x - y) ** 2).sum(1).mean((1, 2))
        return total

    @torch.no_grad()
    def mean_distance(self, pictures: "Sequence[Image.Image]") -> float:
        """Mean over all pairs of pictures, each brought to 256 x 256; 0 for a single one.

        Raises:
            NotFiniteError: the distance is infinite or no number.
            DistokError: there is no picture.
        """
        if len(pictures) == 0:
            raise DistokError("LPIPS of no picture; give at least one")
        pixels = torch.stack([_pixels(picture) for picture in pictures]).to(self.weights[0].device)
        pairs = list(combinations(range(len(pictures)), 2))
        step, found = self.settings.batch, []
        for start in range(0, len(pairs), step):
            left, right = map(list, zip(*pairs[start : start + step], strict=True))
            found.append(self(pixels[left], pixels[right]).double().cpu())
        distance = float(torch.cat(found).mean()) if found else 0.0
        if not math.isfinite(distance):
            raise NotFiniteError(self.name)
        return distance

    def _maps(self, pixels: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c h w"]]:
        """The rectified maps of the five layers, each place of length 1 over channels."""
        shift, spread = (pixels.new_tensor(each)[:, None, None] for each in (_SHIFT, _SPREAD))
        x, maps = (pixels - shift) / spread, []
        for key, layer in self.features.items():
            x = F.max_pool2d(x, 3, 2) if key in ("3", "6") else x
            x = F.relu(layer(x))
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps


def _pixels(picture: "Image.Image") -> Float[Tensor, "3 h w"]:
    from PIL import Image

    image = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
