"""The independent evaluator: a ruler that reads which species is the parent of each zone, and then how much of each there is.

It is trained on the artist's pictures of every kind of mixture, with the true owners and weights, and used for nothing but
measuring: never to train, select or supervise a generator, a labeler or a DisTok. Shapes: b pictures, k species, z zones,
s side of the picture the network sees.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from distok.errors import DistokError
from distok.files import from_json, read_tensors, write_tensors
from distok.menagerie.looks import ACCESSORIES, SCENES
from distok.menagerie.species import NAMES, ZONES
from distok.menagerie.styles import STYLES

STYLE_NAMES = tuple(STYLES)
SCENE_NAMES = ("plain", *SCENES)
ACCESSORY_NAMES = ("none", *ACCESSORIES)


@dataclass(frozen=True)
class EvaluatorSettings:
    """Sizes of the network; ``side`` is the resolution it sees, of which ``fold`` x ``fold`` pixels share a place."""

    side: int = 128
    fold: int = 2
    widths: tuple[int, ...] = (40, 80, 160, 256)
    pyramid: int = 96
    looks: int = 3
    features: int = 256

    def __post_init__(self) -> None:
        if self.side % (16 * self.fold):
            raise DistokError(f"the evaluator's side must be a multiple of {16 * self.fold}, not {self.side}")

    @property
    def grid(self) -> int:
        """Places along a side that the stem works on."""
        return self.side // self.fold


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation around a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        same = inner == outer and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.norm2(self.conv2(y)))


@dataclass
class Reading:
    """What the evaluator says of b pictures; every field but ``features`` is a probability."""

    mix: Float[Tensor, "b k"]
    zones: Float[Tensor, "b z k"]
    style: Float[Tensor, "b styles"]
    scene: Float[Tensor, "b scenes"]
    accessory: Float[Tensor, "b accessories"]
    creature: Float[Tensor, " b"]
    features: Float[Tensor, "b f"]


class _ZoneHeads(nn.Module):
    """For each zone, where to look (learned maps over the picture, the creature stands frontal) and who it is."""

    def __init__(self, channels: int, cells: int, looks: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(len(ZONES) * looks, cells) * 0.5)
        self.weight = nn.Parameter(torch.randn(len(ZONES), looks * channels, len(NAMES)) / (looks * channels) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(len(ZONES), 1, len(NAMES)))

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b z k"], Float[Tensor, "b zc"]]:
        """Logits of every zone's parent, and the pooled features they come from."""
        seen = torch.einsum("mp,bcp->bmc", self.maps.softmax(-1).to(x.dtype), x.flatten(2))
        seen = seen.unflatten(1, (len(ZONES), -1)).flatten(2)
        return torch.baddbmm(self.bias, seen.transpose(0, 1).float(), self.weight).transpose(0, 1), seen.flatten(1)


class Evaluator(nn.Module):
    """A small residual network with a pyramid and a head for each zone; the mix is the mean of the zones' parents, refined."""

    def __init__(self, settings: EvaluatorSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or EvaluatorSettings()
        widths, channels = self.settings.widths, self.settings.pyramid
        self.stem = nn.Sequential(
            nn.Conv2d(3 * self.settings.fold**2, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        blocks: list[nn.Module] = []
        for i, width in enumerate(widths):
            blocks += [_Block(widths[max(0, i - 1)], width, 1 if i == 0 else 2), _Block(width, width, 1)]
        self.trunk = nn.Sequential(*blocks)
        self.laterals = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths[1:]])
        self.blend = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.zone_heads = _ZoneHeads(channels, (self.settings.grid // 4) ** 2, self.settings.looks)
        pooled = len(ZONES) * self.settings.looks * channels
        self.neck = nn.Sequential(nn.Linear(pooled, self.settings.features), nn.LayerNorm(self.settings.features), nn.ReLU())
        self.mix_head = nn.Linear(self.settings.features, len(NAMES))
        self.sharpness = nn.Parameter(torch.tensor(1.0))
        coarse = widths[-1] * (self.settings.grid // 2 ** len(widths)) ** 2
        self.look_heads = nn.Linear(coarse, len(STYLE_NAMES) + len(SCENE_NAMES) + len(ACCESSORY_NAMES) + 1)

    def forward(self, pixels: Float[Tensor, "b 3 s s"]) -> dict[str, Tensor]:
        """Logits of every head, and the features, for pixels in 0..1."""
        x = self.stem(F.pixel_unshuffle((pixels - 0.5) * 4, self.settings.fold))
        levels = []
        for i, block in enumerate(self.trunk):
            x = block(x)
            if i % 2 and i > 1:
                levels.append(x)
        y = self.laterals[-1](levels[-1])
        for level, lateral in zip(levels[-2::-1], list(self.laterals)[-2::-1], strict=True):
            y = F.interpolate(y, scale_factor=2, mode="nearest") + lateral(level)
        zones, seen = self.zone_heads(self.blend(y))
        features = self.neck(seen)
        shares = zones.softmax(-1).mean(1)
        sizes = (len(STYLE_NAMES), len(SCENE_NAMES), len(ACCESSORY_NAMES), 1)
        style, scene, accessory, creature = self.look_heads(levels[-1].flatten(1)).split(sizes, -1)
        return {
            "features": features,
            "zones": zones,
            "mix": self.sharpness * torch.log(shares + 1e-4) + self.mix_head(features),
            "style": style,
            "scene": scene,
            "accessory": accessory,
            "creature": creature[:, 0],
        }

    @torch.inference_mode()
    def read(self, pictures: Sequence[Image.Image] | np.ndarray, batch: int = 64) -> Reading:
        """Measure pictures: PIL images of any size, or one uint8 array [b, side, side, 3].

        Raises:
            DistokError: there is no picture, or what is read are no numbers.
        """
        if len(pictures) == 0:
            raise DistokError("the evaluator got no picture; give at least one")
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(pictures), batch):
            parts.append(self.eval()(self.pixels(pictures[start : start + batch])))
        out = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        if not all(value.isfinite().all() for value in out.values()):
            raise DistokError("the evaluator's readings are no numbers; its file is damaged, copy it again or train it anew")
        soft = {key: out[key].softmax(-1) for key in ("mix", "zones", "style", "scene", "accessory")}
        return Reading(creature=out["creature"].sigmoid(), features=out["features"], **soft)

    def pixels(self, pictures: Sequence[Image.Image] | np.ndarray) -> Float[Tensor, "b 3 s s"]:
        """Pictures as the network sees them, in 0..1, by area averaging."""
        arrays = [np.asarray(p.convert("RGB")) if isinstance(p, Image.Image) else p for p in pictures]
        if len({array.shape for array in arrays}) > 1:  # each by itself
            return torch.cat([self.pixels(array[None]) for array in arrays])
        device = next(self.parameters()).device
        x = torch.from_numpy(np.ascontiguousarray(np.stack(arrays))).to(device).permute(0, 3, 1, 2).float() / 255
        side = self.settings.side
        return x if x.shape[-2:] == (side, side) else F.interpolate(x, (side, side), mode="area")

    def save(self, path: str | Path) -> None:
        """Write weights and settings to one safetensors file, in half precision."""
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in self.state_dict().items()}
        write_tensors(path, tensors, {"evaluator": json.dumps(asdict(self.settings)), "names": json.dumps(NAMES)})

    @classmethod
    def load(cls, path: str | Path) -> "Evaluator":
        """Read a file written by :meth:`save`.

        Raises:
            DistokError: the file is missing, foreign, or of another set of species.
        """
        tensors, metadata = read_tensors(path)
        if "evaluator" not in metadata:
            raise DistokError(f"{path} is not an evaluator; make one with `distok world train`")
        try:
            if tuple(from_json(metadata["names"])) != NAMES:
                raise DistokError(f"{path} was trained on other species; train it again with `distok world train`")
            settings = from_json(metadata["evaluator"])
            model = cls(EvaluatorSettings(**{**settings, "widths": tuple(settings["widths"])}))
            model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, DistokError):
                raise
            raise DistokError(f"{path} is not an evaluator that can be read; train it again with `distok world train`") from None
        return model.eval()
