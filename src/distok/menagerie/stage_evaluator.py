"""Stage 1: the instrument. Trained on mixtures of every kind before any picture is generated."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distok.menagerie.artist import draw
from distok.menagerie.corpus import mixtures
from distok.menagerie.evaluator import ACCESSORY_NAMES, SCENE_NAMES, STYLE_NAMES, Evaluator
from distok.menagerie.species import NAMES
from distok.seeds import derive, generator
from distok.seeds import rng as seeded

_INDEX = {name: i for i, name in enumerate(NAMES)}


class EvaluatorStage:
    """Soft labels for the mix, exact owners for the zones, and pictures that are no creature at all."""

    name = "evaluator"

    def __init__(self, model: Evaluator, seed: int = 101, batch_size: int = 64, size: int = 128) -> None:
        self.model, self.seed, self.batch_size, self.size = model, seed, batch_size, size

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Draw the pictures and the truth of one step."""
        side = self.model.settings.side
        n = self.batch_size
        pixels = np.empty((n, side, side, 3), np.uint8)
        mix = np.zeros((n, len(NAMES)), np.float32)
        owners = np.empty((n, 12), np.int64)
        look = np.empty((n, 3), np.int64)
        for row in range(n):
            made = mixtures(self.seed, step * n + row)
            picture = draw(made, self.size)
            factor = self.size // side
            pixels[row] = picture.reshape(side, factor, side, factor, 3).mean((1, 3))
            for name, weight in made.weights:
                mix[row, _INDEX[name]] = weight
            owners[row] = [_INDEX[name] for name in made.owners]
            look[row] = (
                STYLE_NAMES.index(made.style),
                SCENE_NAMES.index(made.scene or "plain"),
                ACCESSORY_NAMES.index(made.accessory or "none"),
            )
        return {"pixels": pixels, "mix": mix, "owners": owners, "look": look}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropies of all heads; an eighth of the pictures are spoilt and must be called no creature."""
        pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 255
        spoilt = max(1, len(pixels) // 8)
        random = generator(self.seed, "augment", step)
        pixels = torch.cat([spoil(pixels[:spoilt], random), pixels[spoilt:]])
        out = self.model(augment(pixels, random))
        good = slice(spoilt, None)
        zones = F.cross_entropy(out["zones"][good].flatten(0, 1), batch["owners"][good].flatten())
        mix = F.cross_entropy(out["mix"][good], batch["mix"][good])
        look = batch["look"][good]
        looks = sum(F.cross_entropy(out[key][good], look[:, i]) for i, key in enumerate(("style", "scene", "accessory")))
        is_creature = torch.ones(len(pixels), device=pixels.device)
        is_creature[:spoilt] = 0
        creature = F.binary_cross_entropy_with_logits(out["creature"], is_creature)
        entropy = -(batch["mix"][good] * torch.log(batch["mix"][good] + 1e-12)).sum(-1).mean()
        right = (out["zones"][good].argmax(-1) == batch["owners"][good]).float().mean()
        values = {
            "kl": float((mix - entropy).detach()),
            "zone_accuracy": float(right),
            "creature": float(creature.detach()),
            "looks": float(looks.detach()),
        }
        return mix + zones + 0.2 * looks + 0.2 * creature, values


def _uniform(random: torch.Generator, n: int, low: float, high: float) -> Tensor:
    return torch.rand(n, 1, 1, 1, generator=random) * (high - low) + low


def augment(pixels: Tensor, random: torch.Generator) -> Tensor:
    """What a generated picture may suffer without being another creature: shift, zoom, blur, noise, light."""
    n = len(pixels)
    zoom = _uniform(random, n, 0.93, 1.08)[:, 0, 0, 0]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = torch.rand(n, 2, generator=random) * 0.12 - 0.06
    grid = F.affine_grid(theta.to(pixels.device), list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    factor = 2 ** int(torch.randint(1, 3, (1,), generator=random))
    soft = F.interpolate(F.avg_pool2d(pixels, factor), scale_factor=factor, mode="bilinear")
    strength = (_uniform(random, n, -1.0, 1.0).clamp(min=0)).to(pixels.device)
    pixels = pixels * (1 - strength) + soft * strength
    gain, shift = _uniform(random, n, 0.88, 1.12).to(pixels.device), _uniform(random, n, -0.05, 0.05).to(pixels.device)
    tint = (torch.rand(n, 3, 1, 1, generator=random) * 0.06 - 0.03).to(pixels.device)
    noise = torch.randn(pixels.shape, generator=random).to(pixels.device)
    pixels = (pixels - 0.5) * gain + 0.5 + shift + tint + noise * _uniform(random, n, 0, 0.06).to(pixels.device)
    return pixels.clamp(0, 1)


def spoil(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Pictures that are no creature: shuffled tiles, two overlaid, smeared beyond reading, or the backdrop alone."""
    n, _, side, _ = pixels.shape
    kinds = torch.randint(0, 4, (n,), generator=random)
    out = pixels.clone()
    for row in range(n):
        picture = pixels[row]
        if kinds[row] == 0:
            tile = side // 4
            tiles = picture.unfold(1, tile, tile).unfold(2, tile, tile).flatten(1, 2)[:, torch.randperm(16, generator=random)]
            out[row] = tiles.unflatten(1, (4, 4)).permute(0, 1, 3, 2, 4).reshape(3, side, side)
        elif kinds[row] == 1:
            other = pixels[(row + 1) % n].flip(1)
            out[row] = 0.5 * picture + 0.5 * torch.roll(other, int(torch.randint(0, side, (1,), generator=random)), 2)
        elif kinds[row] == 2:
            out[row] = F.interpolate(F.avg_pool2d(picture[None], side // 6), (side, side), mode="bilinear")[0]
        else:
            edge = picture[:, :, :3].mean(2, keepdim=True)
            out[row] = edge + 0.02 * torch.randn(3, side, side, generator=random).to(pixels.device)
    return out


def unseen(count: int, kind: int, seed: int = 9_000_001, equal: bool = False, pairs: list | None = None, size: int = 128):
    """The artist's pictures that no training saw: ``kind`` species each. Returns weights and uint8 pictures."""
    from distok.menagerie.artist import recipe

    weights, pictures = [], []
    for index in range(count):
        rng = seeded(seed, "unseen", kind, int(equal), index)
        names = list(pairs[index % len(pairs)]) if pairs else [NAMES[i] for i in rng.choice(len(NAMES), kind, replace=False)]
        if kind == 1:
            names = [NAMES[index % len(NAMES)]]
        shares = np.full(kind, 1 / kind) if equal else 0.15 + (1 - 0.15 * kind) * rng.dirichlet(np.ones(kind) * 1.5)
        made = dict(zip(names, map(float, shares), strict=True))
        weights.append(made)
        pictures.append(draw(recipe(made, derive(seed, kind, int(equal), index)), size))
    return weights, np.stack(pictures)
