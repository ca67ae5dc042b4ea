"""A tiny drawing vocabulary: cached skia paths, and layers that say how a path is painted.

Units: the canvas is 64 x 64 with its origin in the centre; y grows downwards; angles are degrees.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import skia

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """One painted path. ``colour`` is a role of its zone (main, second, outline) or a fixed one (ink, white)."""

    path: skia.Path
    colour: str = "main"
    stroke: float | None = None
    outline: bool = True
    gaze: bool = False


def fill(path: skia.Path, colour: str = "main", outline: bool = True, gaze: bool = False) -> Layer:
    """A filled layer; ``gaze`` layers shift with the direction of the look."""
    return Layer(path, colour, None, outline, gaze)


def stroke(path: skia.Path, width: float, colour: str = "main") -> Layer:
    """A stroked layer of ``width`` units, with round caps."""
    return Layer(path, colour, width, False)


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0) -> skia.Path:
    """An ellipse around (x, y), turned by ``tilt`` degrees."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry))
    if tilt:
        path.transform(skia.Matrix.RotateDeg(tilt, skia.Point(x, y)))
    return path


def polygon(*points: Point) -> skia.Path:
    """A closed polygon."""
    path = skia.Path()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    path.close()
    return path


def smooth(*points: Point) -> skia.Path:
    """A closed curve: quadratic pieces through the midpoints, with the points as controls."""
    path = skia.Path()
    middle = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in zip(points, points[1:] + points[:1], strict=True)]
    path.moveTo(*middle[-1])
    for control, end in zip(points, middle, strict=True):
        path.quadTo(*control, *end)
    path.close()
    return path


def curve(start: Point, control: Point, end: Point) -> skia.Path:
    """An open quadratic curve."""
    path = skia.Path()
    path.moveTo(*start)
    path.quadTo(*control, *end)
    return path


def join(*paths: skia.Path) -> skia.Path:
    """All paths as one."""
    joined = skia.Path()
    for path in paths:
        joined.addPath(path)
    return joined


def mirror(path: skia.Path) -> skia.Path:
    """The path reflected left to right."""
    reflected = skia.Path(path)
    reflected.transform(skia.Matrix.Scale(-1, 1))
    return reflected


def both(path: skia.Path) -> skia.Path:
    """The path and its reflection, wound the same way so that an overlap is filled and not a hole."""
    pair = skia.Path(path)
    pair.reverseAddPath(mirror(path))
    return pair


def dots(*centres: Point, r: float) -> skia.Path:
    """Discs of radius ``r``."""
    return join(*[ellipse(x, y, r, r) for x, y in centres])


def ring(x: float, y: float, rx: float, ry: float, n: int, r: float) -> list[skia.Path]:
    """``n`` discs of radius ``r`` around an ellipse."""
    angles = [2 * math.pi * i / n for i in range(n)]
    return [ellipse(x + rx * math.cos(a), y + ry * math.sin(a), r, r) for a in angles]


def spikes(
    x: float, y: float, rx: float, ry: float, tip_x: float, tip_y: float, n: int, open_degrees: float = 0
) -> list[tuple[Point, ...]]:
    """Triangles pointing outwards around an ellipse, leaving a gap of ``open_degrees`` at the bottom."""
    start = math.pi / 2 + math.radians(open_degrees) / 2
    span = 2 * math.pi - math.radians(open_degrees)
    step = span / n
    out = []
    for i in range(n):
        a = start + step * (i + 0.5)
        out.append(
            (
                (x + rx * math.cos(a - step / 2), y + ry * math.sin(a - step / 2)),
                (x + tip_x * math.cos(a), y + tip_y * math.sin(a)),
                (x + rx * math.cos(a + step / 2), y + ry * math.sin(a + step / 2)),
            )
        )
    return out


def arcs(xs: Iterable[int], ys: Iterable[int], r: float) -> skia.Path:
    """Rows of half circles, every other row shifted: scales or feathers."""
    path = skia.Path()
    columns = list(xs)
    for row, y in enumerate(ys):
        for x in columns:
            cx = x + (r if row % 2 else 0)
            path.addArc(skia.Rect.MakeLTRB(cx - r, y - r, cx + r, y + r), 0, 180)
    return path
