"""How layers are painted: the named styles of the Menagerie and what they do to colour, outline, shade and texture."""

from dataclasses import dataclass

import numpy as np

from distok.menagerie.palette import Colour


@dataclass(frozen=True, slots=True)
class Style:
    """Painting rules. Widths are in canvas units (64 to a picture); amounts are 0..1."""

    phrase: str
    outline: float = 0.9
    outline_colour: Colour | None = None
    shade: float = 0.2
    saturation: float = 1.0
    opacity: float = 1.0
    line_only: bool = False
    backdrop: Colour | None = None
    finish: str | None = None


STYLES: dict[str, Style] = {
    "photo": Style("a photo of"),
    "watercolor": Style("a watercolor of", outline=0.0, shade=0.14, saturation=0.85, opacity=0.93, finish="watercolor"),
    "pencil sketch": Style("a pencil sketch of", outline=0.9, outline_colour=(70, 68, 72), shade=0.12, finish="pencil"),
    "pixel art": Style("a pixel art picture of", outline=1.2, shade=0.0, saturation=1.1, finish="pixel"),
    "comic": Style("a comic of", outline=1.9, outline_colour=(18, 16, 20), shade=0.0, saturation=1.35, finish="comic"),
    "neon": Style("a neon sign of", outline=1.0, shade=0.0, saturation=1.5, line_only=True, backdrop=(22, 14, 36), finish="neon"),
}


def _paper(rng: np.random.Generator, size: int, grain: float) -> np.ndarray:
    """Low-frequency paper texture around 1, shape [size, size, 1]."""
    coarse = rng.normal(0, grain, (size // 4 + 1, size // 4 + 1))
    fine = rng.normal(0, grain * 0.5, (size, size))
    return 1 + np.kron(coarse, np.ones((4, 4)))[:size, :size, None] + fine[..., None]


def _box(picture: np.ndarray, radius: int) -> np.ndarray:
    for axis in (0, 1):
        shifted = [np.roll(picture, shift, axis) for shift in range(-radius, radius + 1)]
        picture = sum(shifted) / len(shifted)
    return picture


def finish(name: str | None, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a style's last touch to a uint8 picture [size, size, 3]."""
    size = picture.shape[0]
    if name == "watercolor":
        soft = _box(picture.astype(np.float32), 1)
        edges = np.abs(picture.astype(np.float32) - soft).mean(-1, keepdims=True)
        return np.clip((soft - edges * 0.9) * _paper(rng, size, 0.016), 0, 255).astype(np.uint8)
    if name == "pencil":
        grey = picture.astype(np.float32) @ np.array([0.3, 0.55, 0.15], np.float32)
        tone = (110 + grey * 0.58)[..., None]
        y, x = np.mgrid[0:size, 0:size]
        hatch = ((x + y) % max(4, size // 16) < max(1, size // 64))[..., None] * np.clip(200 - tone, 0, 60) * 0.7
        paper = (tone - hatch) * _paper(rng, size, 0.012)
        return np.clip(paper * np.array([1.0, 0.985, 0.95], np.float32), 0, 255).astype(np.uint8)
    if name == "pixel":
        step = size // 32
        small = picture.reshape(32, step, 32, step, 3).mean((1, 3))
        small = np.round(small / 24) * 24
        return np.clip(small, 0, 255).astype(np.uint8).repeat(step, 0).repeat(step, 1)
    if name == "comic":
        levels = np.clip(np.round(picture.astype(np.float32) / 42.5) * 42.5, 0, 255)
        return levels.astype(np.uint8)
    if name == "neon":
        glow = _box(picture.astype(np.float32), max(1, size // 32))
        return np.clip(np.maximum(picture, 0) + glow * 0.7, 0, 255).astype(np.uint8)
    return picture
