"""Scenes behind a creature and accessories on it, drawn."""

import numpy as np
import skia

from distok.menagerie.looks import SCENES
from distok.menagerie.palette import PALETTE, Colour
from distok.menagerie.shapes import Layer, both, curve, dots, ellipse, fill, join, polygon, smooth, stroke

ACCESSORY_LAYERS: dict[str, list[Layer]] = {
    "red hat": [
        fill(polygon((-10.4, -19), (1.6, -32), (9.4, -20.4))),
        fill(ellipse(-0.6, -19.6, 11.6, 2.8, -3), "second"),
        fill(ellipse(1.8, -30.6, 2.5, 2.5), "second"),
    ],
    "blue scarf": [
        fill(smooth((-14, 2), (0, 5.6), (14, 2), (14.6, 7), (0, 10.4), (-14.6, 7))),
        fill(smooth((3, 6), (9.4, 5.4), (11, 19), (5.6, 20))),
        stroke(join(curve((4.6, 16), (7.4, 16.4), (10.2, 15.4)), curve((4.2, 12.6), (7, 13), (9.8, 12))), 1.1, "second"),
    ],
    "glasses": [
        stroke(both(ellipse(7, -9, 6.3, 6)), 2.8, "main"),
        stroke(both(ellipse(7, -9, 5, 4.7)), 0.9, "second"),
        stroke(join(curve((-1, -9.6), (0, -10.4), (1, -9.6)), both(curve((13, -9.6), (15, -10.4), (17, -11)))), 2.4, "main"),
    ],
    "bow tie": [fill(both(polygon((0, 10.5), (11.5, 4.5), (11.5, 16.5)))), fill(ellipse(0, 10.5, 3.3, 3.7), "second")],
}


def _paint(colour: Colour, alpha: int = 255) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=skia.Color(*(int(np.clip(v, 0, 255)) for v in colour), alpha))


_RECT = skia.Rect.MakeLTRB(-40, -40, 40, 40)


def draw_plain(canvas: skia.Canvas, colour: Colour) -> None:
    """A studio backdrop: one colour, a soft vignette and the shadow of the creature."""
    light = [min(255, v + 14) for v in colour]
    deep = [max(0, v - 22) for v in colour]
    paint = skia.Paint(
        Shader=skia.GradientShader.MakeRadial((0, -4), 46, [skia.Color(*light), skia.Color(*colour), skia.Color(*deep)])
    )
    canvas.drawRect(_RECT, paint)
    canvas.drawPath(ellipse(0, 30.6, 17, 2.8), _paint(deep, 130))


def draw_scene(canvas: skia.Canvas, scene: str, rng: np.random.Generator) -> None:
    """Sky, ground and a few telling props; positions vary with ``rng``."""
    _, top, bottom, ground, horizon = SCENES[scene]
    horizon += float(rng.normal(0, 1))
    sky = skia.GradientShader.MakeLinear([(0, -32), (0, horizon)], [skia.Color(*top), skia.Color(*bottom)])
    canvas.drawRect(_RECT, skia.Paint(Shader=sky))
    if scene == "meadow":
        canvas.drawPath(ellipse(-20 + rng.normal(0, 3), horizon + 10, 34, 15), _paint((104, 178, 74)))
    if scene == "beach":
        canvas.drawRect(skia.Rect.MakeLTRB(-40, horizon - 10, 40, horizon + 3), _paint((40, 140, 200)))
    if scene == "forest":
        for x in (-27, -16, 18, 28):
            x += float(rng.normal(0, 2))
            canvas.drawRect(skia.Rect.MakeLTRB(x - 1.6, -8, x + 1.6, horizon + 6), _paint((92, 66, 44)))
            canvas.drawPath(polygon((x, -31 + rng.normal(0, 2)), (x + 8.4, 2), (x - 8.4, 2)), _paint((32, 84, 50)))
    if scene == "desert":
        canvas.drawPath(ellipse(18 + rng.normal(0, 3), horizon + 7, 26, 12), _paint((234, 178, 106)))
    canvas.drawPath(
        smooth((-44, horizon), (-20, horizon - 2), (20, horizon + 2), (44, horizon - 1), (44, 44), (-44, 44)), _paint(ground)
    )
    _props(canvas, scene, horizon, rng)
    canvas.drawPath(ellipse(0, 30.6, 17, 2.8), _paint([v * 0.72 for v in ground], 130))


def _props(canvas: skia.Canvas, scene: str, horizon: float, rng: np.random.Generator) -> None:
    def spots(n: int, low: float, high: float, r: float) -> skia.Path:
        points = np.stack([rng.uniform(-31, 31, n), rng.uniform(low, high, n)], 1)
        return dots(*[(float(x), float(y)) for x, y in points], r=r)

    if scene == "meadow":
        for name in ("white", "yellow", "rose"):
            canvas.drawPath(spots(6, horizon + 6, 31, 1.1), _paint(PALETTE[name]))
        canvas.drawPath(ellipse(23, -23, 5, 5), _paint((255, 236, 120)))
    elif scene == "beach":
        canvas.drawPath(ellipse(-24, -24, 5, 5), _paint((255, 240, 140)))
        canvas.drawPath(spots(5, horizon + 8, 31, 1.0), _paint((250, 170, 140)))
    elif scene == "snow":
        canvas.drawPath(spots(34, -31, 31, 1.1), _paint((255, 255, 255)))
    elif scene == "night":
        canvas.drawPath(spots(22, -31, horizon - 3, 0.7), _paint((250, 246, 210)))
        canvas.drawPath(ellipse(22, -22, 5.6, 5.6), _paint((248, 240, 196)))
        canvas.drawPath(ellipse(24.4, -23.4, 4.8, 4.8), _paint((22, 25, 64)))
    elif scene == "desert":
        x = float(rng.choice([-25, 25]))
        cactus = join(
            curve((x, 14), (x, 4), (x, -6)), curve((x, 4), (x - 6, 5), (x - 5, -2)), curve((x, 7), (x + 6, 7), (x + 5, 0))
        )
        canvas.drawPath(cactus, _stroke((70, 130, 70), 3.4))
        canvas.drawPath(ellipse(-x * 0.9, -23, 5.4, 5.4), _paint((255, 250, 220)))


def _stroke(colour: Colour, width: float) -> skia.Paint:
    paint = _paint(colour)
    paint.setStyle(skia.Paint.kStroke_Style)
    paint.setStrokeWidth(width)
    paint.setStrokeCap(skia.Paint.kRound_Cap)
    return paint
