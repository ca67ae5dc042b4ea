"""The artist: draws plush creatures and their chimeras. Every picture is a pure function of its :class:`Recipe`.

A chimera with weights over species gives each of its twelve zones to one parent, in proportion to weight (largest
remainder, which zones by lot), in that parent's own shape and colours; the build is interpolated. The owners are
the exact truth that the instrument is trained to read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import skia

from distok.errors import DistokError
from distok.menagerie import parts_body, parts_crown, parts_head
from distok.menagerie.looks import ACCESSORIES, BACKDROPS, SCENES
from distok.menagerie.palette import PALETTE, Colour
from distok.menagerie.scenery import ACCESSORY_LAYERS, draw_plain, draw_scene
from distok.menagerie.shapes import Layer
from distok.menagerie.species import ZONES, Part, all_species
from distok.menagerie.styles import STYLES, Style, finish
from distok.seeds import rng as seeded

_SHAPES = {
    "mask": parts_head.MASKS,
    "eyes": parts_head.EYES,
    "snout": parts_head.SNOUTS,
    "mouth": parts_head.MOUTHS,
    "ears": parts_head.EARS,
    "crown": parts_crown.CROWNS,
    "belly": parts_body.BELLIES,
    "arms": parts_body.ARMS,
    "legs": parts_body.LEGS,
    "rear": parts_body.REARS,
}
_MIRRORED = ("arms", "legs")
# Small zones are drawn larger than their shapes say: (scale, x and y that stay where they are, shift down).
_ENLARGED = {
    "eyes": (1.28, 0.0, -9.0, -0.6),
    "mouth": (1.3, 0.0, 2.0, 1.4),
    "snout": (0.94, 0.0, -4.0, -0.4),
    "legs": (1.22, 5.0, 29.0, 0.4),
}
_FIXED = {"ink": PALETTE["ink"], "white": (250, 250, 250)}


@dataclass(frozen=True)
class Recipe:
    """Everything a picture depends on. ``owners`` gives the parent of each zone, in the order of ``ZONES``."""

    owners: tuple[str, ...]
    weights: tuple[tuple[str, float], ...]
    seed: int
    style: str = "photo"
    scene: str | None = None
    backdrop: str | None = None
    accessory: str | None = None

    def __post_init__(self) -> None:
        """Refuse names the artist does not know."""
        for kind, value, known in (
            ("style", self.style, STYLES),
            ("scene", self.scene, SCENES),
            ("backdrop", self.backdrop, BACKDROPS),
            ("accessory", self.accessory, ACCESSORIES),
        ):
            if value is not None and value not in known:
                raise DistokError(f"unknown {kind} {value!r}; the artist knows {', '.join(known)}")


def allot(weights: Mapping[str, float], rng: np.random.Generator) -> tuple[str, ...]:
    """Give each zone a parent: counts by largest remainder (ties drawn), which zones by lot.

    By lot, so that zones are independent of one another given the weights: a generator that learnt equal pairs zone by zone can
    draw shares that it never saw. One that learnt a pig's head on a cow's body knows a half and a whole, and nothing between
    (docs/log.md).
    """
    names = list(weights)
    shares = np.array([weights[name] for name in names], float)
    quota = shares / shares.sum() * len(ZONES)
    counts = np.floor(quota).astype(int)
    order = np.argsort(-(quota - counts) + rng.uniform(0, 1e-6, len(names)))
    counts[order[: len(ZONES) - counts.sum()]] += 1
    return tuple(names[i] for i in rng.permutation(np.repeat(np.arange(len(names)), counts)))


def recipe(
    weights: Mapping[str, float],
    seed: int,
    style: str = "photo",
    scene: str | None = None,
    backdrop: str | None = None,
    accessory: str | None = None,
) -> Recipe:
    """Make the recipe of a creature with ``weights`` over species; zones are allotted by ``seed``."""
    unknown = [name for name in weights if name not in all_species()]
    if unknown:
        raise DistokError(f"the artist cannot draw {unknown[0]!r}; it knows {', '.join(all_species())}")
    owners = allot(weights, seeded(seed, "owners"))
    return Recipe(owners, tuple(weights.items()), seed, style, scene, backdrop, accessory)


def draw(recipe: Recipe, size: int = 128) -> np.ndarray:
    """Draw a recipe as uint8 RGB, shape [size, size, 3]; ``size`` is a multiple of 32."""
    return _Painter(recipe, size).paint()


class _Painter:
    """One picture in the making: canvas, colours, pose."""

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.recipe, self.size = recipe, size
        self.rng = seeded(recipe.seed, "picture")
        self.style: Style = STYLES[recipe.style]
        species = all_species()
        self.parts: dict[str, Part] = {zone: species[owner].parts[zone] for zone, owner in zip(ZONES, recipe.owners, strict=True)}
        total = sum(weight for _, weight in recipe.weights)
        self.head_scale = sum(species[name].head_scale * w for name, w in recipe.weights) / total
        self.body_scale = sum(species[name].body_scale * w for name, w in recipe.weights) / total
        self.tint = self.rng.normal(0, 4, 3)
        self.look = (float(self.rng.normal(0, 0.5)), float(self.rng.normal(0, 0.35)))
        self.surface = skia.Surface(size, size)
        self.canvas = self.surface.getCanvas()

    def paint(self) -> np.ndarray:
        canvas, rng = self.canvas, self.rng
        canvas.scale(self.size / 64, self.size / 64)
        canvas.translate(32, 32)
        self._background()
        if self.style.line_only:
            canvas.drawColor(skia.Color(*self.style.backdrop, 215))
        canvas.translate(float(rng.normal(0, 0.7)), float(rng.normal(0, 0.5)) + 0.4)
        canvas.rotate(float(rng.normal(0, 2)))
        zoom = float(rng.uniform(0.87, 0.95))
        canvas.scale(zoom, zoom)
        self._body()
        self._head()
        picture = self.surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)[..., :3]
        return finish(self.style.finish, np.ascontiguousarray(picture), rng)

    def _background(self) -> None:
        recipe = self.recipe
        if recipe.scene:
            draw_scene(self.canvas, recipe.scene, self.rng)
            return
        name = recipe.backdrop or list(BACKDROPS)[int(self.rng.integers(len(BACKDROPS)))]
        colour = np.clip(np.array(BACKDROPS[name]) + self.rng.normal(0, 5, 3), 0, 255)
        draw_plain(self.canvas, tuple(int(v) for v in colour))

    def _body(self) -> None:
        canvas, rng = self.canvas, self.rng
        canvas.save()
        canvas.translate(0, 15)
        canvas.scale(self.body_scale, 1)
        canvas.translate(0, -15)
        self._zone("rear", sway=float(rng.normal(0, 2.5)))
        torso = self.parts["torso"]
        self._layer(Layer(parts_body.TORSOS[torso.shape]), torso)
        self._clipped(
            parts_body.TORSOS[torso.shape],
            torso,
            [(parts_body.COATS[torso.coat], torso), (parts_body.BELLIES[self.parts["belly"].shape], self.parts["belly"])],
        )
        self._zone("legs")
        self._zone("arms", sway=float(rng.normal(0, 5)))
        canvas.restore()
        for name in ("blue scarf", "bow tie"):
            self._accessory(name)

    def _head(self) -> None:
        canvas, rng = self.canvas, self.rng
        canvas.save()
        canvas.translate(float(rng.normal(0, 0.6)), -8.5 + float(rng.normal(0, 0.4)))
        canvas.rotate(float(rng.normal(0, 3)))
        canvas.scale(self.head_scale, self.head_scale)
        canvas.translate(0, 8.5)
        self._zone("ears")
        head = self.parts["head"]
        outline = parts_head.HEADS[head.shape]
        self._layer(Layer(outline), head)
        self._clipped(outline, head, [(parts_head.MASKS[self.parts["mask"].shape], self.parts["mask"])])
        for zone in ("crown", "snout", "mouth", "eyes"):
            self._zone(zone)
        for name in ("glasses", "red hat"):
            self._accessory(name)
        canvas.restore()

    def _accessory(self, name: str) -> None:
        if self.recipe.accessory == name:
            _, main, second = ACCESSORIES[name]
            for layer in ACCESSORY_LAYERS[name]:
                self._layer(layer, Part(name, main, second))

    def _zone(self, zone: str, sway: float = 0.0) -> None:
        part = self.parts[zone]
        layers = _SHAPES[zone][part.shape]
        for side in (1, -1) if zone in _MIRRORED else (1,):
            self.canvas.save()
            self.canvas.scale(side, 1)
            if sway:
                self.canvas.rotate(sway, 9, 12)
            if zone in _ENLARGED:
                scale, x, y, down = _ENLARGED[zone]
                self.canvas.translate(x * (1 - scale), y * (1 - scale) + down)
                self.canvas.scale(scale, scale)
            for layer in layers:
                self._layer(layer, part)
            self.canvas.restore()

    def _clipped(self, outline: skia.Path, owner: Part, groups: list[tuple[list[Layer], Part]]) -> None:
        self.canvas.save()
        self.canvas.clipPath(outline, True)
        for layers, part in groups:
            for layer in layers:
                self._layer(layer, part)
        self.canvas.restore()
        if self.style.outline:
            self.canvas.drawPath(outline, self._stroke(self._edge(owner.main), self.style.outline))

    def _colour(self, colour: Colour, tinted: bool = True) -> tuple[int, int, int]:
        value = np.asarray(colour, float)
        if self.style.saturation != 1:
            grey = value.mean()
            value = grey + (value - grey) * self.style.saturation
        if tinted:
            value = value + self.tint
        return tuple(int(v) for v in np.clip(value, 0, 255))

    def _edge(self, colour: Colour, darkness: float = 0.52) -> tuple[int, int, int]:
        if self.style.outline_colour:
            return self.style.outline_colour
        return tuple(int(v * darkness) for v in self._colour(colour))

    def _stroke(self, colour: tuple[int, int, int], width: float, alpha: int = 255) -> skia.Paint:
        paint = skia.Paint(AntiAlias=True, Color=skia.Color(*colour, alpha), Style=skia.Paint.kStroke_Style, StrokeWidth=width)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        return paint

    def _layer(self, layer: Layer, part: Part) -> None:
        style, canvas, path = self.style, self.canvas, layer.path
        if layer.colour in _FIXED:
            base, colour = _FIXED[layer.colour], _FIXED[layer.colour]
        else:
            base = part.second if layer.colour == "second" else part.main
            colour = self._edge(base) if layer.colour == "outline" else self._colour(base)
        if layer.gaze:
            canvas.save()
            canvas.translate(*self.look)
        if layer.stroke is not None:
            canvas.drawPath(path, self._stroke(colour, layer.stroke))
        elif style.line_only:
            bright = tuple(int(min(255, 60 + v * 0.85)) for v in colour)
            canvas.drawPath(path, skia.Paint(AntiAlias=True, Color=skia.Color(*(int(v * 0.35) for v in colour))))
            canvas.drawPath(path, self._stroke(bright, style.outline))
        else:
            canvas.drawPath(path, self._fill(path, colour))
            if layer.outline and style.outline:
                canvas.drawPath(path, self._stroke(self._edge(base), style.outline))
        if layer.gaze:
            canvas.restore()

    def _fill(self, path: skia.Path, colour: tuple[int, int, int]) -> skia.Paint:
        alpha = int(255 * self.style.opacity)
        paint = skia.Paint(AntiAlias=True, Color=skia.Color(*colour, alpha))
        if self.style.shade:
            bounds = path.getBounds()
            radius = max(bounds.width(), bounds.height(), 3) * 0.72
            light = [int(min(255, v + (255 - v) * self.style.shade * 0.7)) for v in colour]
            deep = [int(v * (1 - self.style.shade * 1.25)) for v in colour]
            centre = (bounds.centerX() - bounds.width() * 0.14, bounds.centerY() - bounds.height() * 0.2)
            stops = [skia.Color(*light, alpha), skia.Color(*colour, alpha), skia.Color(*deep, alpha)]
            paint.setShader(skia.GradientShader.MakeRadial(centre, radius, stops, [0.0, 0.55, 1.0]))
        return paint
