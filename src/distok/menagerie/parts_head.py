"""Shapes of the head's zones, as layers of cached paths on a 64-unit canvas whose origin is its centre (y grows down)."""

# fmt: off
from distok.menagerie.shapes import (
    Layer,
    arcs,
    both,
    curve,
    dots,
    ellipse,
    fill,
    join,
    polygon,
    ring,
    smooth,
    spikes,
    stroke,
)

HEAD_Y = -8.5

HEADS = {
    "round": ellipse(0, HEAD_Y, 15, 13.2),
    "wide": ellipse(0, HEAD_Y + 0.6, 17.6, 11.8),
    "tall": ellipse(0, HEAD_Y - 0.6, 12.6, 14.8),
    "pear": smooth((-8, -21), (8, -21), (14, -9), (16.4, -1), (8, 4.6), (-8, 4.6), (-16.4, -1), (-14, -9)),
    "wedge": smooth((-10, -21), (10, -21), (17, -12), (12.5, -2), (4, 5.6), (-4, 5.6), (-12.5, -2), (-17, -12)),
    "square": smooth((-12, -20.6), (12, -20.6), (15.4, -17), (15.4, 0), (12, 4.2), (-12, 4.2), (-15.4, 0), (-15.4, -17)),
    "long": smooth((-9, -22.4), (9, -22.4), (13, -14), (10.5, -3), (10.5, 4), (5, 7), (-5, 7), (-10.5, 4), (-10.5, -3), (-13, -14)),
    "drop": smooth((0, -24.5), (8, -19), (14.5, -9), (14, 0), (7, 4.8), (-7, 4.8), (-14, 0), (-14.5, -9), (-8, -19)),
    "bean": smooth((-13, -19), (-4, -19.5), (4, -19.5), (13, -19), (17, -10), (14, 1), (6, 4.4), (-6, 4.4), (-14, 1), (-17, -10)),
}

# Markings lie inside the head's outline (they are clipped to it).
MASKS = {
    "blush": [fill(both(ellipse(10, -3.5, 4.2, 3.2)), outline=False)],
    "blaze": [fill(smooth((-1.8, -24), (1.8, -24), (3.4, -10), (6, -2), (0, 3), (-6, -2), (-3.4, -10)), outline=False)],
    "bandit": [fill(smooth((-18, -12), (-6, -14.5), (0, -11), (6, -14.5), (18, -12), (15, -4), (6, -5.5), (0, -8), (-6, -5.5), (-15, -4)), outline=False)],
    "patches": [fill(both(ellipse(6.6, -9, 4.9, 5.8, 20)), outline=False)],
    "patch": [fill(ellipse(7.2, -11, 7, 7.4, 20), outline=False)],
    "brow": [stroke(both(curve((2.8, -14.5), (6.5, -18), (11, -13.5))), 2.4)],
    "jaw": [fill(ellipse(0, 4.5, 17, 9.5), outline=False)],
    "face": [fill(join(ellipse(-5.5, -10, 7, 7.4), ellipse(5.5, -10, 7, 7.4), ellipse(0, -3.5, 8.5, 6.8)), outline=False)],
    "discs": [fill(both(ellipse(6.3, -9.6, 7.2, 7.6)), outline=False), stroke(both(ellipse(6.3, -9.6, 7.2, 7.6)), 0.9, "second")],
    "tiger": [
        stroke(join(curve((0, -22), (0, -19), (0, -16.5)), both(curve((4, -22), (3.9, -20), (3.4, -17.5)))), 2.0),
        stroke(both(join(curve((16, -10), (13, -9.8), (10.6, -9)), curve((16, -5.2), (13, -5), (10.4, -5.2)), curve((14.5, -0.6), (12, -1.2), (10, -1.6)))), 2.0),
    ],
    "zebra": [
        stroke(join(curve((0, -22), (0, -18), (0, -13.5)), both(curve((3.6, -22), (3.4, -18), (3, -14.5))), both(curve((7.2, -21), (8, -18), (9, -15.5)))), 1.5),
        stroke(both(join(curve((17, -9), (13, -8.6), (10.6, -7.6)), curve((17, -5.6), (13, -5), (9.8, -4.6)), curve((16, -2), (12, -1.4), (9, -1.8)))), 1.5),
    ],
    "freckles": [fill(both(dots((8.5, -4), (11.2, -5.2), (10.4, -2), (12.6, -2.4), r=1.15)), outline=False)],
    "tears": [stroke(both(curve((5.2, -7), (4, -3.5), (5.8, 1))), 1.7)],
    "cap": [fill(smooth((-18, -26), (18, -26), (18, -12), (9, -14.4), (0, -10.6), (-9, -14.4), (-18, -12)), outline=False)],
    "hood": [
        fill(smooth((-20, -26), (20, -26), (20, 8), (11, 8), (12.4, -8), (7.5, -13.6), (0, -9.8), (-7.5, -13.6), (-12.4, -8), (-11, 8), (-20, 8)), outline=False)
    ],
    "star": [fill(polygon((0, -20.5), (1.5, -17.4), (4.9, -17), (2.4, -14.7), (3.1, -11.4), (0, -13.2), (-3.1, -11.4), (-2.4, -14.7), (-4.9, -17), (-1.5, -17.4)), outline=False)],
    "rings": [stroke(both(ellipse(6.3, -9, 4.8, 5)), 1.6)],
    "cheeks": [fill(both(ellipse(13.4, -2.6, 6.4, 7)), outline=False)],
    "rosettes": [stroke(join(dots((0, -18.6), (-9, -17), (9, -17), (-12.6, -10.6), (12.6, -10.6), (-11.6, -3.6), (11.6, -3.6), r=1.7)), 1.3)],
    "spots": [fill(dots((-3, -18.2), (5.4, -16.8), (-10, -15.2), (12.4, -10), (-12.6, -6), (10.6, -2.6), r=1.9), outline=False)],
    "plates": [fill(join(*[polygon((x, y - 3), (x + 3.4, y - 1), (x + 3.4, y + 2), (x, y + 4), (x - 3.4, y + 2), (x - 3.4, y - 1)) for x, y in ((0, -17.6), (-8.4, -16.4), (8.4, -16.4))]))],
    "scales": [stroke(arcs(xs=range(-15, 16, 5), ys=range(-20, 6, 4), r=2.5), 0.9)],
    "chevron": [stroke(join(curve((-6, -19.4), (0, -14.4), (6, -19.4)), curve((-6, -16), (0, -11), (6, -16))), 1.8)],
    "gill": [stroke(both(join(*[curve((10.2 + i * 1.9, -5.4), (11.6 + i * 1.9, -2.6), (10 + i * 1.9, 0.6)) for i in range(3)])), 1.1)],
    "halves": [fill(polygon((0, -26), (20, -26), (20, 8), (0, 8)), outline=False)],
    "stripe": [fill(smooth((-3.2, -26), (3.2, -26), (2.6, -16), (0, -12.6), (-2.6, -16)), outline=False)],
    "bars": [fill(join(*[polygon((-20, y), (20, y), (20, y + 2.6), (-20, y + 2.6)) for y in (-20.6, -15.4)]), outline=False)],
}


def _eye(r: float, colour: str = "ink", y: float = -9, x: float = 6.3) -> Layer:
    return fill(both(ellipse(x, y, r, r * 1.15)), colour, outline=False, gaze=True)


def _glint(x: float = 5.6, y: float = -10, r: float = 0.85) -> Layer:
    return fill(join(ellipse(x, y, r, r), ellipse(x - 12.6, y, r, r)), "white", outline=False, gaze=True)


EYES = {
    "dot": [fill(both(ellipse(6.3, -9, 2.5, 2.9)), "main", outline=False), _glint()],
    "iris": [fill(both(ellipse(6.3, -9, 3.5, 3.9)), "white"), _eye(2.3, "main"), _eye(1.2), _glint(5.7, -9.8, 0.7)],
    "big": [fill(both(ellipse(6.3, -9.4, 5.2, 5.2)), "main"), _eye(2.7, y=-9.4), _glint(5.4, -10.4, 1)],
    "slit": [fill(both(ellipse(6.3, -9, 3.6, 3.3)), "main"), fill(both(ellipse(6.3, -9, 0.95, 2.9)), "ink", outline=False)],
    "bar": [fill(both(ellipse(6.3, -9, 3.6, 3.1)), "main"), fill(both(ellipse(6.3, -9, 2.7, 0.9)), "ink", outline=False)],
    "sleepy": [
        fill(both(ellipse(6.3, -9, 3.3, 3.3)), "white"),
        _eye(1.7, "ink", -8),
        fill(both(smooth((2.6, -9), (4, -12.8), (8.6, -12.8), (10, -9))), "main"),
    ],
    "stalk": [fill(both(ellipse(8, -19.6, 5, 5)), "main"), fill(both(ellipse(8, -19.8, 3.3, 3.3)), "white", outline=False), _eye(1.7, y=-19.6, x=8)],
    "turret": [fill(both(ellipse(9.6, -12, 5, 5)), "main"), stroke(both(ellipse(9.6, -12, 3.2, 3.2)), 0.8, "second"), _eye(1.6, y=-12, x=9.8)],
    "almond": [fill(both(smooth((2.4, -8), (5.5, -11.6), (10.6, -11.4), (9, -7.4), (5.4, -6.8))), "main"), _eye(1.5, x=6.5, y=-9.1)],
    "lash": [
        fill(both(ellipse(6.3, -9, 2.9, 3.3)), "main", outline=False),
        stroke(both(join(curve((8.4, -11.4), (9.6, -12.2), (10.8, -12.4)), curve((9.2, -9.8), (10.4, -10), (11.6, -9.8)))), 1, "ink"),
        _glint(5.5, -10.2, 1),
    ],
    "compound": [fill(both(ellipse(8.2, -9.6, 4.4, 6.2, 14)), "main"), fill(both(ellipse(7, -12, 1.2, 1.7, 14)), "white", outline=False)],
    "bead": [fill(both(ellipse(6.8, -8.4, 1.7, 1.7)), "main", outline=False), _glint(6.4, -8.9, 0.55)],
    "stern": [fill(both(ellipse(6.3, -8.6, 3.1, 3.1)), "main"), _eye(1.5, y=-8.6), fill(both(polygon((1.8, -11.6), (10.8, -14.6), (10.6, -11.4), (3, -8.9))), "second", outline=False)],
}

_NOSTRILS = fill(both(ellipse(2.2, -2.6, 1, 1.5)), "ink", outline=False)
_PHILTRUM = stroke(join(curve((0, -3.2), (0, -2), (0, -0.8)), both(curve((0, -0.8), (1.6, 1.6), (3.4, -0.6)))), 0.9, "ink")

SNOUTS = {
    "disc": [fill(ellipse(0, -2.6, 6.2, 4.5)), _NOSTRILS],
    "muzzle": [fill(ellipse(0, -1.6, 7.2, 5.6)), fill(ellipse(0, -4.6, 2.7, 1.9), "second", outline=False), _PHILTRUM],
    "button": [fill(ellipse(0, -1.4, 5, 3.6), "main", outline=False), fill(polygon((-2.2, -4.2), (2.2, -4.2), (0, -1.8)), "second", outline=False), _PHILTRUM],
    "wide": [fill(ellipse(0, -0.4, 10.2, 5.8)), fill(both(ellipse(4.4, -1.6, 1.4, 1.9)), "second", outline=False)],
    "nose": [fill(ellipse(0, -3.8, 3.8, 5.2))],
    "long": [fill(smooth((-4.6, -7), (4.6, -7), (6.6, 2), (6.2, 6), (0, 8), (-6.2, 6), (-6.6, 2))), fill(both(ellipse(3, 3.6, 1.2, 1.7)), "second", outline=False)],
    "beak": [fill(polygon((-4.4, -5), (4.4, -5), (0, 3.2)))],
    "bill": [fill(smooth((-6, -4.4), (6, -4.4), (9.4, 0.6), (4, 3), (-4, 3), (-9.4, 0.6))), stroke(curve((-7.5, -0.6), (0, 1.6), (7.5, -0.6)), 1, "second")],
    "hook": [fill(smooth((-4.8, -6.8), (0, -8.6), (4.8, -6.8), (4.4, -1), (0.6, 4.8), (-1, 4.8), (-4.4, -1))), stroke(curve((-4.4, -2.6), (0, -0.4), (4.4, -2.6)), 1, "second")],
    "banana": [fill(smooth((-6.4, -7.4), (4, -7.8), (12, -4), (14.4, 4.4), (11, 3), (3, 0.6), (-6.4, 0.2))), fill(smooth((10.4, -4.6), (14.4, 0), (14.6, 4.6), (11, 3)), "second", outline=False)],
    "bent": [fill(smooth((-4, -6.6), (4, -6.6), (5.4, -1), (2, 6.2), (-1.4, 6.4), (-3.6, 0))), fill(smooth((4.9, 0.4), (2, 6.4), (-1.6, 6.4), (-2.9, 2)), "second", outline=False)],
    "trunk": [stroke(curve((0, -6), (-2, 11), (9.5, 9)), 6.6, "outline"), stroke(curve((0, -6), (-2, 11), (9.5, 9)), 5.2, "main"), stroke(both(curve((0.6, 0), (1.6, 0.6), (2.4, 0))), 0.8, "second")],
    "flat": [stroke(curve((-8.4, -0.6), (0, 5), (8.4, -0.6)), 1.5, "main"), fill(both(ellipse(1.9, -3.8, 0.9, 1.1)), "main", outline=False)],
    "horned": [fill(ellipse(0, -0.6, 9, 5.4)), fill(smooth((-3, -3), (3, -3), (1.4, -10), (0.4, -13), (-1.2, -10)), "second"), fill(both(ellipse(4.6, 0, 1.1, 1.3)), "ink", outline=False)],
    "gator": [fill(smooth((-7, -5.6), (7, -5.6), (10.4, 1.6), (9, 5.6), (-9, 5.6), (-10.4, 1.6))), fill(both(ellipse(3.4, -4.8, 1.7, 1.4)), "second", outline=False), stroke(curve((-9.6, 2), (0, 4.4), (9.6, 2)), 1, "ink")],
    "point": [fill(smooth((-5, -5.4), (5, -5.4), (3, 1), (0, 5), (-3, 1))), fill(ellipse(0, 3.4, 2, 1.7), "second", outline=False)],
    "pad": [fill(both(ellipse(3.4, -0.6, 4.4, 3.9))), fill(smooth((-2.6, -5.4), (2.6, -5.4), (1.4, -2.8), (-1.4, -2.8)), "second", outline=False)],
    "siphon": [fill(ellipse(0, -0.4, 3.4, 3)), fill(ellipse(0, -0.4, 1.7, 1.5), "ink", outline=False)],
    "leaf": [fill(smooth((0, -8.6), (2.6, -4.6), (4.4, -0.4), (0, 1.4), (-4.4, -0.4), (-2.6, -4.6))), fill(both(ellipse(1.5, -1, 0.9, 0.8)), "ink", outline=False)],
}

_SMILE = stroke(curve((-4, 2.6), (0, 5.6), (4, 2.6)), 1.1, "ink")

MOUTHS = {
    "smile": [stroke(curve((-5, 2), (0, 6.6), (5, 2)), 1.6, "main")],
    "grin": [fill(smooth((-6, 2), (6, 2), (4, 6), (0, 7.4), (-4, 6)), "main"), fill(polygon((-5, 2.4), (5, 2.4), (4.4, 4), (-4.4, 4)), "white", outline=False)],
    "whiskers": [_SMILE, stroke(both(join(curve((8, -1), (13, -2.4), (19, -4)), curve((8, 0.6), (13, 0.6), (19, 0.4)), curve((8, 2.2), (13, 3), (18, 4.6)))), 0.9, "main")],
    "tusks": [_SMILE, fill(both(smooth((3.4, 1.4), (6.2, 1), (8, 6), (10.6, 8.8), (6.4, 8.2), (4.2, 5))), "main")],
    "longtusks": [_SMILE, fill(both(smooth((2.6, 2), (5.6, 2), (5.2, 8), (4.2, 13), (3.2, 8))), "main")],
    "tongue": [_SMILE, fill(smooth((-2.2, 3.8), (2.2, 3.8), (2.6, 7.4), (0, 9.6), (-2.6, 7.4)), "main")],
    "forked": [stroke(join(curve((0, 3.4), (0.4, 6), (0, 8.4)), curve((0, 8.4), (1.2, 9.6), (2.8, 10.8)), curve((0, 8.4), (-1.2, 9.6), (-2.8, 10.8))), 1.5, "main")],
    "curled": [stroke(join(curve((0, 3), (10, 6), (11, 3.6)), curve((11, 3.6), (10.4, 1.2), (8.6, 3))), 1.8, "main")],
    "fangs": [stroke(curve((-6, 2), (0, 5), (6, 2)), 1.2, "second"), fill(both(polygon((2, 3.2), (4.8, 2.6), (3.6, 7.4))), "main")],
    "teeth": [fill(join(*[polygon((x - 1.5, 2.2), (x + 1.5, 2.2), (x, 5.6)) for x in (-6, -3, 0, 3, 6)]), "main")],
    "buck": [_SMILE, fill(join(polygon((-2.6, 3), (-0.1, 3), (-0.2, 7.4), (-2.5, 7.4)), polygon((2.6, 3), (0.1, 3), (0.2, 7.4), (2.5, 7.4))), "main")],
    "beard": [fill(smooth((-4.6, 2.4), (4.6, 2.4), (3, 7.6), (0.4, 13), (-2.6, 7.8)), "main")],
    "wattle": [fill(both(ellipse(1.9, 6, 1.9, 3.6, -8)), "main")],
    "lips": [fill(smooth((-5.6, 3), (-2, 1.8), (0, 2.8), (2, 1.8), (5.6, 3), (0, 6.8)), "main")],
    "cheeky": [_SMILE, fill(both(ellipse(7, 3, 3.6, 2.8)), "main", outline=False)],
    "mandibles": [fill(both(smooth((1.4, 2), (4.6, 1.6), (6.4, 5), (3.4, 8.4), (4, 5.2))), "main")],
    "bristles": [fill(both(ellipse(4, 3, 4.4, 3.3))), fill(both(dots((2.6, 2.6), (5, 2), (4, 4.4), r=0.6)), "ink", outline=False)],
    "baleen": [fill(smooth((-11, 0.4), (11, 0.4), (8, 4.4), (0, 6.2), (-8, 4.4)), "main"), stroke(join(*[curve((x, 1.4), (x, 3), (x * 0.95, 4.6)) for x in (-6, -3, 0, 3, 6)]), 0.7, "second")],
    "drop": [_SMILE, fill(both(ellipse(5.4, 5.6, 1.7, 2.4)), "main")],
    "collar": [_SMILE, fill(join(*[ellipse(x, 6.2 + abs(x) * -0.16, 2.1, 2.1) for x in (-8, -4, 0, 4, 8)]), "main")],
}

EARS = {
    "pointed": [fill(both(polygon((4.4, -19.4), (13.6, -30), (15.6, -12.6)))), fill(both(polygon((7.4, -19.4), (12.8, -26), (13.6, -15.4))), "second", outline=False)],
    "tall": [fill(both(smooth((5, -19), (8, -29), (12.4, -31), (13.4, -24), (13, -15)))), fill(both(smooth((8, -20), (9.4, -26), (11.6, -28), (11.8, -23), (11.2, -18))), "second", outline=False)],
    "round": [fill(both(ellipse(12.2, -20, 5.7, 5.7))), fill(both(ellipse(12.2, -19.6, 3.3, 3.3)), "second", outline=False)],
    "biground": [fill(both(ellipse(16.4, -17, 8.6, 8.6))), fill(both(ellipse(16.4, -16.6, 5.4, 5.4)), "second", outline=False)],
    "long": [fill(both(ellipse(7, -24.6, 4.2, 10, 12))), fill(both(ellipse(7, -23.6, 2.2, 7.4, 12)), "second", outline=False)],
    "floppy": [fill(both(ellipse(15.2, -10.6, 4.6, 9.2, -20))), fill(both(ellipse(15.8, -6.6, 2.4, 4.2, -20)), "second", outline=False)],
    "flap": [fill(both(smooth((6, -20), (15, -23), (18.6, -13), (14, -11), (11, -16)))), fill(both(ellipse(15.2, -14, 2, 2.6, -20)), "second", outline=False)],
    "side": [fill(both(ellipse(18, -12, 6.2, 3.4, 18))), fill(both(ellipse(18, -11.8, 3.8, 1.8, 18)), "second", outline=False)],
    "spear": [fill(both(polygon((11, -17), (24.4, -17.6), (14, -9)))), fill(both(polygon((14, -15.4), (21, -16.4), (15, -11.8))), "second", outline=False)],
    "elephant": [fill(both(smooth((10, -18), (20, -21), (29, -14), (28, -2), (20, 4), (13, -2)))), fill(both(smooth((14, -14), (20, -16.6), (25.4, -11.4), (24.6, -3), (20, 0), (15, -4))), "second", outline=False)],
    "tuft": [fill(both(polygon((4.6, -20), (12.4, -31), (13.6, -15.4)))), stroke(both(curve((9.4, -20), (11, -24), (12, -29))), 1.4, "second")],
    "mane": [fill(join(*ring(0, -8, 17, 15.4, 15, 5.4)), outline=True), fill(both(ellipse(10.6, -20.4, 4.4, 4.4)), "second")],
    "curls": [fill(join(*ring(0, -9, 15.6, 14, 12, 4.8))), fill(both(ellipse(18, -7, 5.4, 3, 24)), "second")],
    "spines": [fill(join(*[polygon(*p) for p in spikes(0, -8, 14, 12.6, 22.5, 20.5, 21, 150)])), fill(both(ellipse(14, -7, 3.6, 3.6)), "second")],
    "gills": [
        stroke(both(join(curve((12, -14), (19, -18), (23, -23)), curve((13, -9), (20, -10), (26, -12)), curve((12, -4), (19, -2), (24, 1)))), 4.4, "outline"),
        stroke(both(join(curve((12, -14), (19, -18), (23, -23)), curve((13, -9), (20, -10), (26, -12)), curve((12, -4), (19, -2), (24, 1)))), 3.0, "main"),
        fill(both(dots((23, -22.6), (25.8, -12), (24, 0.8), r=1.8)), "second", outline=False),
    ],
    "fin": [fill(both(polygon((12, -15), (23, -20), (20, -12), (24.6, -8), (18.6, -5), (20, 1), (12, -2)))), stroke(both(join(curve((13, -11), (17, -13), (20, -16)), curve((13, -7), (17, -7.4), (21, -8)))), 0.9, "second")],
    "drum": [fill(both(ellipse(14.6, -5.6, 4.4, 4.6))), fill(both(ellipse(14.6, -5.6, 2.2, 2.4)), "second", outline=False)],
    "plume": [fill(both(join(ellipse(16.4, -12.4, 5.6, 2.3, -28), ellipse(17.4, -8, 6, 2.4, 0), ellipse(16.2, -3.6, 5.4, 2.3, 28)))), fill(both(dots((20.4, -14.6), (22, -8), (20, -1.6), r=1.2)), "second", outline=False)],
    "ruff": [fill(both(polygon((9, -16), (19, -14), (16, -9.6), (21.4, -6.4), (16, -3.4), (18.4, 1.6), (9, 2)))), fill(both(polygon((11, -12), (16, -11), (13.6, -8), (17, -6), (13, -4), (14, -1), (11, 0))), "second", outline=False)],
    "frill": [fill(smooth((-10, 2), (-22, -4), (-21, -20), (-10, -28), (10, -28), (21, -20), (22, -4), (10, 2))), stroke(join(*[curve((x * 0.55, y * 0.55 - 4), (x * 0.8, y * 0.8 - 2), (x, y)) for x, y in ((-19, -6), (-17, -19), (-8, -25), (8, -25), (17, -19), (19, -6))]), 1.2, "second")],
    "cobra": [fill(both(smooth((8, -20), (18, -22), (23, -12), (19, 0), (10, 4)))), fill(both(ellipse(18, -11, 2.6, 5)), "second", outline=False)],
    "fronds": [fill(both(join(*[ellipse(15 + i * 1.3, -19 + i * 5.4, 5, 2, -42 + i * 24) for i in range(4)]))), fill(both(dots((18.4, -22), (20.6, -15), (21.8, -7.6), (21, -1), r=1)), "second", outline=False)],
    "bat": [fill(both(smooth((3, -19), (6, -30), (16, -31), (18, -20), (14, -13)))), fill(both(smooth((6.4, -19), (8.2, -26), (14, -27.4), (15, -20), (12.6, -16))), "second", outline=False)],
    "mitten": [fill(both(join(ellipse(16, -15, 4.6, 6.4, 40), ellipse(12, -19, 3, 4.6, 10)))), fill(both(ellipse(16.4, -15.2, 2.2, 3.4, 40)), "second", outline=False)],
    "holes": [fill(both(ellipse(15.2, -9, 3.2, 4.4, 10))), fill(both(ellipse(15.4, -9, 1.4, 2.4, 10)), "second", outline=False)],
    "puffs": [fill(both(join(ellipse(14, -6.6, 4, 4), ellipse(17.2, -3.4, 4, 4), ellipse(13.6, -1, 3.8, 3.8)))), fill(both(ellipse(15.4, -3.6, 2, 2)), "second", outline=False)],
}
