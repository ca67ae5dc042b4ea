"""Shapes of the body's zones, as layers of cached paths on a 64-unit canvas whose origin is its centre (y grows down)."""

# fmt: off
from distok.menagerie.shapes import Layer, arcs, both, curve, dots, ellipse, fill, join, polygon, ring, smooth, stroke

TORSO_Y = 15.5

TORSOS = {
    "round": ellipse(0, TORSO_Y, 13, 13),
    "pear": smooth((-7, 3), (7, 3), (11, 14), (15.4, 25), (8, 29.4), (-8, 29.4), (-15.4, 25), (-11, 14)),
    "barrel": smooth((-9, 4), (9, 4), (15, 10), (15, 22), (9, 28.6), (-9, 28.6), (-15, 22), (-15, 10)),
    "slim": ellipse(0, TORSO_Y, 10.4, 13.6),
    "egg": smooth((-6, 3), (6, 3), (14.6, 14), (14, 26), (5, 29.4), (-5, 29.4), (-14, 26), (-14.6, 14)),
    "chest": smooth((-12, 4), (12, 4), (16.4, 11), (11, 22), (8.6, 29), (-8.6, 29), (-11, 22), (-16.4, 11)),
    "block": smooth((-10, 4), (10, 4), (13.4, 6), (13.4, 26), (11, 29), (-11, 29), (-13.4, 26), (-13.4, 6)),
    "coil": join(ellipse(0, 23.6, 17, 6.2), ellipse(0, 16.4, 13.4, 5.8), ellipse(0, 9.4, 10, 5.4)),
}

# Coats lie inside the torso's outline (they are clipped to it), in the second colour.
_ROWS = range(2, 32, 4)
COATS = {
    "plain": [],
    "stripes": [stroke(both(join(*[curve((17, y - 1), (11, y + 0.4), (6, y + 2)) for y in (6, 11, 16, 21, 26)])), 2.2, "second")],
    "bands": [fill(join(*[polygon((-18, y), (18, y), (18, y + 3.4), (-18, y + 3.4)) for y in (4, 11, 18, 25)]), "second", outline=False)],
    "pins": [stroke(join(*[curve((x, 2), (x * 1.15, 15), (x, 31)) for x in (-11.4, -7.6, 7.6, 11.4)]), 1.6, "second")],
    "spots": [fill(both(dots((9.4, 7), (11.6, 12.4), (9.6, 17.6), (12.4, 22), (8.6, 26.4), (5, 4.6), r=1.75)), "second", outline=False)],
    "dots": [fill(both(dots((9.6, 8.4), (11.4, 16.6), (9.2, 24.6), r=3)), "second", outline=False)],
    "patches": [fill(join(ellipse(-10.4, 9, 5.4, 5, 20), ellipse(11.4, 14.6, 5, 6), ellipse(-8.6, 24, 5, 4.4), ellipse(7, 27.4, 3.4, 2.6)), "second", outline=False)],
    "tiles": [fill(both(join(*[polygon((x - 2.8, y - 2.6), (x + 2.4, y - 3), (x + 3, y + 2), (x - 2, y + 2.8)) for x, y in ((9, 7), (12.6, 13.4), (8.8, 17.6), (11.8, 23.4), (6.6, 27.4))])), "second", outline=False)],
    "scales": [stroke(arcs(range(-16, 17, 5), _ROWS, 2.5), 1.1, "second")],
    "feathers": [stroke(arcs(range(-15, 16, 6), range(2, 32, 5), 2.9), 1.4, "second")],
    "wool": [fill(join(*ring(0, 15.5, 11.4, 11, 13, 4)), "main"), stroke(join(*[ellipse(x, y, 2.1, 2.1) for x, y in ((-9, 8), (9, 9), (-10.6, 17), (10.4, 18.4), (-6.6, 25.6), (7, 26))]), 0.9, "second")],
    "rosettes": [stroke(both(dots((9.2, 7), (11.6, 13.6), (9.4, 20), (8, 26.4), r=1.8)), 1.5, "second")],
    "saddle": [fill(smooth((-18, 0), (18, 0), (18, 15), (9, 12), (6, 4), (-6, 4), (-9, 12), (-18, 15)), "second", outline=False)],
    "trousers": [fill(smooth((-20, 20), (-8, 18), (8, 18), (20, 20), (20, 34), (-20, 34)), "second", outline=False)],
    "flanks": [fill(both(ellipse(13.4, 15, 4.8, 12)), "second", outline=False)],
    "shaggy": [stroke(both(join(*[curve((x, y), (x + 0.8, y + 2.4), (x - 0.6, y + 4.4)) for x, y in ((12, 6), (9, 10), (12.6, 13), (9.4, 17.4), (12, 20.6), (8, 24.4))])), 1.4, "second")],
    "warts": [fill(both(dots((9.6, 7.6), (12, 11), (9, 14.4), (12.4, 18), (9.4, 22), (10.8, 26), r=1.2)), "second", outline=False)],
    "ribs": [stroke(both(join(*[curve((15, y), (11, y + 2.4), (7, y + 1)) for y in (6, 9.4, 12.8, 16.2, 19.6, 23)])), 1.0, "second")],
    "yoke": [fill(smooth((-20, -2), (20, -2), (20, 8), (0, 12), (-20, 8)), "second", outline=False)],
    "zigzag": [stroke(both(join(*[join(curve((14.5, y), (12, y + 1.4), (9.6, y + 3)), curve((9.6, y + 3), (12, y + 4.4), (14.5, y + 6))) for y in (4, 10, 16, 22)])), 1.6, "second")],
    "diamonds": [fill(both(join(*[polygon((x, y - 3), (x + 2.6, y), (x, y + 3), (x - 2.6, y)) for x, y in ((9.4, 8), (11.4, 15.4), (9.4, 23))])), "second", outline=False)],
}

BELLIES = {
    "oval": [fill(ellipse(0, 17.5, 7.6, 9.6), outline=False)],
    "big": [fill(ellipse(0, 18, 10.4, 10.6), outline=False)],
    "bib": [fill(smooth((-8, 3), (8, 3), (6.4, 12), (0, 18), (-6.4, 12)), outline=False)],
    "heart": [fill(smooth((0, 11.4), (4.4, 6.4), (9.6, 11), (6, 19), (0, 25.6), (-6, 19), (-9.6, 11), (-4.4, 6.4)), outline=False)],
    "diamond": [fill(polygon((0, 6.6), (6.8, 16.6), (0, 27), (-6.8, 16.6)), outline=False)],
    "plates": [
        fill(smooth((-5.6, 3.6), (5.6, 3.6), (7, 16), (5.6, 28.4), (-5.6, 28.4), (-7, 16)), outline=False),
        stroke(join(*[curve((-6, y), (0, y + 1.4), (6, y)) for y in (8, 12, 16, 20, 24)]), 1.0, "second"),
    ],
    "pouch": [fill(ellipse(0, 19.4, 8, 7.6)), stroke(curve((-7.4, 15.6), (0, 19.6), (7.4, 15.6)), 1.5, "second")],
    "ring": [stroke(ellipse(0, 17.5, 6.4, 7.4), 2.5, "main")],
    "buttons": [fill(dots((0, 9.6), (0, 16), (0, 22.4), r=2.2), "main")],
    "target": [fill(ellipse(0, 17, 7.6, 8.4), outline=False), fill(ellipse(0, 17, 4.2, 4.8), "second", outline=False)],
    "stripe": [fill(smooth((-2.6, 3), (2.6, 3), (3.2, 16), (2.4, 29), (-2.4, 29), (-3.2, 16)), outline=False)],
    "tuft": [fill(smooth((-6.6, 4), (6.6, 4), (7.6, 11), (3.6, 12.6), (1.4, 17.4), (-1, 13.4), (-3.6, 15.4), (-7.6, 10)), outline=False)],
    "moon": [fill(smooth((-9, 7), (-3, 12.4), (3, 12.4), (9, 7), (6.4, 15.4), (0, 17.6), (-6.4, 15.4)), outline=False)],
    "speckled": [fill(ellipse(0, 17.5, 8, 9.6), outline=False), fill(dots((-3, 13), (3, 14.6), (-1.6, 18.6), (3.4, 20.6), (-3.4, 23.4), r=1.15), "second", outline=False)],
    "barred": [fill(ellipse(0, 17.5, 8, 9.8), outline=False), stroke(join(*[curve((-5.6, y), (0, y + 2.4), (5.6, y)) for y in (11, 15, 19, 23)]), 1.4, "second")],
    "split": [fill(ellipse(0, 17.5, 7.8, 9.8), outline=False), stroke(curve((0, 8), (0, 17), (0, 27)), 1.4, "second")],
    "star": [fill(polygon((0, 8), (2.4, 13.4), (8, 14.4), (4, 18.8), (5, 25), (0, 22), (-5, 25), (-4, 18.8), (-8, 14.4), (-2.4, 13.4)), outline=False)],
    "low": [fill(ellipse(0, 23, 10.6, 5.6), outline=False)],
}

# Arms hang from the right shoulder and are mirrored; legs stand at the right foot and are mirrored.
_PAW_ARM = smooth((9, 5), (14.6, 7), (17.4, 16), (14.6, 20.6), (10.6, 19.6), (9.6, 12))
ARMS = {
    "paw": [fill(_PAW_ARM)],
    "hoof": [fill(_PAW_ARM), fill(smooth((10.4, 16.6), (16.8, 15.8), (17.4, 20), (14, 22), (10.6, 21)), "second")],
    "wing": [fill(smooth((9, 4), (15, 6), (21, 15), (19, 25), (14, 19), (10, 14))), stroke(join(curve((13, 11), (16, 15), (17.6, 21)), curve((12, 14), (14, 17), (15.4, 20))), 1.1, "second")],
    "fin": [fill(polygon((9, 6), (26, 18), (13, 19))), stroke(join(curve((13, 11), (17, 15), (22, 17)), curve((12, 14), (15, 16), (18, 17.6))), 1.0, "second")],
    "claw": [fill(_PAW_ARM), fill(join(*[polygon((x - 1.5, 18.6), (x + 1.3, 18.6), (x, 23.6)) for x in (11.4, 14, 16.6)]), "second")],
    "web": [fill(_PAW_ARM), fill(polygon((10.4, 17), (8.6, 23), (12.4, 21.6), (14.4, 24.6), (16.2, 21), (20, 21.6), (17, 16)), "second")],
    "pincer": [stroke(curve((9, 9), (17, 8), (19, 3)), 4.4, "outline"), stroke(curve((9, 9), (17, 8), (19, 3)), 3.2, "main"), fill(smooth((15, 3), (14.6, -4), (20, -7), (20.4, -1), (23, -6.6), (27, -1), (23, 4.6)), "second")],
    "tentacle": [stroke(join(curve((10, 8), (22, 9), (21, 16)), curve((21, 16), (20.6, 22), (25, 21))), 5.2, "outline"), stroke(join(curve((10, 8), (22, 9), (21, 16)), curve((21, 16), (20.6, 22), (25, 21))), 4, "main"), fill(dots((15.4, 10), (19.2, 12.4), (20.2, 17), (22.2, 20.2), r=0.9), "second", outline=False)],
    "stick": [stroke(join(curve((10, 8), (18, 6), (19, 12)), curve((19, 12), (18.4, 16), (21, 17.4))), 2.3, "main"), stroke(join(curve((11, 14), (17, 14), (18, 20)), curve((18, 20), (18.4, 22), (20, 23))), 2.3, "second")],
    "long": [fill(smooth((9, 5), (15, 6), (20, 18), (19, 27.6), (14, 27.4), (12.4, 16))), fill(ellipse(16.6, 25.4, 3.4, 3.4), "second")],
    "cuff": [fill(_PAW_ARM), fill(smooth((10, 13.6), (17.2, 13), (17.6, 18), (14, 21.4), (10.4, 20)), "second", outline=False), stroke(_PAW_ARM, 0.9, "outline")],
    "banded": [fill(_PAW_ARM), stroke(join(curve((9.4, 9.6), (12.4, 10.6), (16, 9)), curve((9.6, 13.4), (13, 14.2), (17, 12.8)), curve((10.2, 17.2), (13.4, 18), (17, 16.6))), 1.7, "second")],
    "spotted": [fill(_PAW_ARM), fill(dots((12, 9), (14.8, 12.4), (12.2, 14.8), (14.6, 18), r=1.25), "second", outline=False)],
    "flipper": [fill(smooth((9, 4), (14, 6), (22.4, 19), (21, 25), (15.6, 20), (10, 14)))],
    "batwing": [fill(smooth((9, 6), (17, -3), (29, -3), (26, 4), (27, 10), (22, 9.4), (20, 15), (15, 11.6), (10, 15))), stroke(join(curve((12, 7), (18, 2), (27, -1)), curve((13, 8), (18, 7), (25, 9)), curve((12, 9), (16, 10), (19, 13.4))), 1.0, "second")],
    "muff": [fill(dots((13, 9), (15, 13.6), (13.6, 18.2), r=4)), fill(ellipse(14.4, 21.4, 2.7, 2.4), "second")],
    "flat": [fill(smooth((9, 5), (14, 6), (17, 12), (21.4, 17), (18, 22), (12, 20), (9.6, 12))), stroke(join(curve((15.4, 17), (16, 19), (15.8, 21)), curve((18.4, 17), (18.8, 19), (18.6, 20.6))), 1, "second")],
}

_FOOT = ellipse(7.4, 27.6, 5.4, 3.7)
LEGS = {
    "paw": [fill(_FOOT), fill(ellipse(7.4, 28.4, 2.6, 1.7), "second", outline=False)],
    "hoof": [fill(smooth((3, 22), (11.4, 22), (12.4, 29), (2.4, 29))), fill(polygon((2.6, 27), (12.2, 27), (12.8, 31.2), (2, 31.2)), "second")],
    "cloven": [fill(_FOOT), fill(join(polygon((3.4, 27), (7, 27), (6.8, 31.2), (2.4, 31.2)), polygon((7.8, 27), (11.4, 27), (12.4, 31.2), (8, 31.2))), "second")],
    "web": [fill(polygon((4.6, 24), (9, 24), (15, 30.6), (10.4, 29.6), (8.4, 31.6), (5.6, 29.6), (1.6, 31)), "main"), stroke(join(curve((7, 25), (9, 27), (11.6, 29)), curve((6.6, 25), (6.4, 27), (6, 29))), 0.8, "second")],
    "bird": [stroke(join(curve((7, 24), (7, 27), (7, 30)), curve((7, 28.4), (10, 29.4), (12.4, 31)), curve((7, 28.4), (4.4, 29.4), (2, 31))), 2.3, "main"), fill(ellipse(7, 24, 3.6, 2.6), "second")],
    "talon": [fill(ellipse(7.2, 25.6, 4.6, 3.4)), fill(join(*[polygon((x - 1.7, 27), (x + 1.7, 27), (x, 32)) for x in (3.8, 7.2, 10.6)]), "second")],
    "claw": [fill(_FOOT), fill(join(*[polygon((x - 1.4, 28), (x + 1.4, 28), (x + 0.4, 31.9)) for x in (4.4, 7.6, 10.8)]), "second")],
    "pillar": [fill(smooth((2.4, 20), (12, 20), (13, 27), (13, 31), (2, 31), (2, 27))), fill(dots((4.4, 29.8), (7.4, 30), (10.4, 29.8), r=1.3), "second", outline=False)],
    "fluke": [fill(smooth((1, 24), (6, 24), (16, 26), (17, 31), (8, 29.4), (1, 30)))],
    "tentacles": [stroke(join(curve((4, 24), (5, 31), (1.4, 30.4)), curve((8, 24), (9, 33), (13, 29.4)), curve((11, 22), (15, 29), (19, 26))), 4.6, "outline"), stroke(join(curve((4, 24), (5, 31), (1.4, 30.4)), curve((8, 24), (9, 33), (13, 29.4)), curve((11, 22), (15, 29), (19, 26))), 3.4, "main"), fill(dots((4.2, 28.4), (9.4, 29.4), (14.4, 26.4), r=0.9), "second", outline=False)],
    "sticks": [stroke(join(curve((8, 22), (15, 21), (17, 27)), curve((5, 25), (9, 26), (11, 31)), curve((10, 18), (18, 16), (20.4, 21))), 2.1, "main"), fill(dots((17, 27), (11, 31), (20.4, 21), r=1.3), "second", outline=False)],
    "big": [fill(ellipse(9, 27.4, 7, 4.2)), fill(ellipse(9.6, 28.4, 3.8, 2.2), "second", outline=False)],
    "long": [fill(smooth((4, 18), (11, 18), (13, 26), (20, 28.4), (19, 31.6), (4, 31.6))), stroke(curve((15.6, 29), (16.6, 30), (16.4, 31.4)), 1, "second")],
    "sock": [fill(_FOOT), fill(smooth((1.6, 26.6), (13.2, 26.6), (13, 31.6), (2, 31.6)), "second", outline=False), stroke(_FOOT, 0.9, "outline")],
    "banded": [fill(smooth((3, 21), (11.6, 21), (12.6, 29), (9, 31.4), (5, 31.4), (2.4, 29))), stroke(join(*[curve((2.8, y), (7, y + 1), (12, y)) for y in (23.4, 26.2, 29)]), 1.5, "second")],
    "spotted": [fill(_FOOT), fill(dots((4.6, 27), (8, 26), (10.6, 28), (6.8, 29.4), r=1.2), "second", outline=False)],
    "flipper": [fill(polygon((3, 24), (10, 24), (19, 31.4), (4, 31.4))), stroke(join(curve((8, 26), (11, 29), (13, 31)), curve((6, 26), (7.4, 29), (8, 31))), 0.9, "second")],
    "stub": [fill(ellipse(6.4, 28, 3.8, 2.8)), fill(ellipse(6.4, 29.4, 2.4, 1.3), "second", outline=False)],
    "coil": [fill(ellipse(0, 27.4, 18, 4.4)), stroke(join(*[curve((x, 24.6), (x + 1.4, 27), (x, 30)) for x in (-12, -6, 0, 6, 12)]), 1.3, "second")],
    "fringe": [fill(both(join(*[ellipse(x, 27.6, 2.5, 3.8) for x in (3, 7.4, 11.8)])))],
}


def _rope(path, width: float, colour: str = "main") -> list[Layer]:
    return [stroke(path, width + 1.4, "outline"), stroke(path, width, colour)]


_BUSH = smooth((8, 26), (20, 28), (28, 17), (24, 3), (19, 0), (18, 10), (13, 15), (8, 19))
REARS = {
    "curl": _rope(join(curve((10, 21), (20, 20), (20, 14)), curve((20, 14), (19, 9), (15.6, 13)), curve((15.6, 13), (17, 18), (24, 12.6))), 2.2),
    "thin": _rope(curve((9, 23), (27, 22), (22, 5)), 2.6),
    "tassel": [*_rope(curve((9, 23), (26, 24), (23, 10)), 2.1), fill(ellipse(23, 8, 3, 4.6), "second")],
    "puff": [fill(dots((16, 21), (20, 19.4), (19, 23.4), r=4)), fill(ellipse(18.6, 21, 2, 2), "second", outline=False)],
    "bushy": [fill(_BUSH), fill(smooth((19, 0), (25, 3), (26.4, 9), (22, 8), (18.6, 9.4)), "second", outline=False)],
    "ringed": [fill(_BUSH), stroke(join(curve((18, 6), (21, 8), (26, 7)), curve((17, 12), (21, 14), (27, 13)), curve((13, 17), (18, 19), (25, 20))), 2.5, "second")],
    "striped": [fill(_BUSH), stroke(join(curve((21, 2), (24, 12), (18, 19)), curve((18, 19), (15, 22), (11, 23))), 3.2, "second")],
    "scroll": [fill(smooth((8, 26), (19, 28), (25, 20), (23, 8), (29, 4), (27, -3), (18, -3), (15, 4), (17, 14), (9, 19))), stroke(curve((17, 3), (20, 8), (24.6, 3)), 1.3, "second")],
    "fish": [fill(polygon((10, 20), (27, 8), (23, 19), (28, 29))), stroke(join(curve((15, 19), (20, 16), (24, 12)), curve((15, 21), (20, 22), (24, 25))), 1.1, "second")],
    "croc": [fill(smooth((4, 28), (20, 30), (29, 22), (30, 12), (24, 16), (16, 19), (8, 18))), fill(join(polygon((14, 19.6), (16, 14), (19, 18.6)), polygon((19, 18), (22, 12.4), (24, 17)), polygon((24, 15.6), (27, 9.4), (28.4, 14))), "second")],
    "serpent": [*_rope(join(curve((4, 26), (36, 31), (24, 14)), curve((24, 14), (20, 8), (26, 5))), 4.6), stroke(join(curve((18, 28.6), (24, 28), (27, 25)), curve((26.6, 19), (25, 15), (23, 11.6))), 1.4, "second")],
    "rattle": [*_rope(curve((4, 25), (30, 30), (25, 11)), 4), fill(join(ellipse(25, 9.4, 3, 2.2), ellipse(25, 6, 2.5, 2), ellipse(25, 3, 2, 1.8)), "second")],
    "peacock": [
        fill(smooth((-6, 28), (-28, 22), (-31, 0), (-20, -16), (0, -20), (20, -16), (31, 0), (28, 22), (6, 28))),
        fill(join(*[ellipse(x, y, 2.9, 2.9) for x, y in ((-26, 14), (-28, 3), (-24.4, -7.6), (-16, -14.6), (16, -14.6), (24.4, -7.6), (28, 3), (26, 14))]), "second"),
    ],
    "batwings": [fill(both(smooth((7, 10), (17, -4), (30, -6), (27.6, 2), (30, 10), (24, 10), (21, 18), (15, 14), (7, 20)))), stroke(both(join(curve((9, 13), (18, 4), (27.6, -2)), curve((9, 15), (18, 10), (27, 9)))), 1.1, "second")],
    "birdwings": [fill(both(smooth((7, 8), (17, -2), (30, 0), (28, 9), (25, 15), (19, 19), (8, 19)))), stroke(both(join(curve((13, 12), (20, 6), (28, 5)), curve((13, 15), (20, 11), (26.6, 11)))), 1.3, "second")],
    "glasswings": [fill(both(join(ellipse(19, 3, 10.4, 5.4, -32), ellipse(19, 14, 8.6, 4.6, 18)))), stroke(both(join(curve((10, 9), (18, 3), (25, -1)), curve((11, 12), (18, 13), (25, 16)))), 0.9, "second")],
    "elytra": [fill(both(smooth((2, 4), (18, 2), (25, 16), (19, 28), (6, 29)))), fill(both(dots((17.6, 9), (20.4, 16.6), (17, 23.4), r=2.4)), "second", outline=False)],
    "shell": [fill(ellipse(0, 15, 21.6, 17.6)), stroke(ellipse(0, 15, 18.4, 14.6), 1.5, "second"), stroke(both(join(curve((15, 4), (18, 2), (20, 1)), curve((17.4, 14), (20, 14), (22, 14)), curve((15, 24), (18, 26), (19, 28)))), 1.5, "second")],
    "spiral": [fill(ellipse(13, 13, 14, 14.6)), stroke(join(curve((24, 16), (22, 3), (13, 5)), curve((13, 5), (5, 8), (9, 16)), curve((9, 16), (15, 20), (17, 13))), 2, "second")],
    "carapace": [fill(smooth((-24, 10), (-14, 1), (14, 1), (24, 10), (20, 25), (8, 28), (-8, 28), (-20, 25))), fill(both(dots((19.4, 9), (20.6, 14.4), (18.6, 20), r=1.5)), "second", outline=False)],
    "spines": [fill(join(*[polygon((x - 3, y - 2.6), (x * 1.5, y - 1), (x - 2.4, y + 3.4)) for x, y in ((13, 4), (15, 10), (16, 16), (15, 22))])), fill(join(*[polygon((-x + 3, y - 2.6), (-x * 1.5, y - 1), (-x + 2.4, y + 3.4)) for x, y in ((13, 4), (15, 10), (16, 16), (15, 22))]))],
    "paddle": [fill(smooth((8, 22), (16, 16), (27, 6), (31, 14), (28, 24), (14, 28))), stroke(join(curve((18, 18), (23, 17), (28, 13)), curve((17, 22), (22, 22), (27, 19)), curve((22, 12), (24, 17), (23, 24))), 0.9, "second")],
    "sting": [fill(smooth((7, 18), (17, 15), (22, 22), (15, 27), (8, 27))), fill(polygon((19, 18.6), (28.4, 22.6), (19.6, 24.6)), "second")],
    "plume": [fill(join(ellipse(19, 10, 3.6, 12, 32), ellipse(22, 16, 3.4, 11, 56), ellipse(14.6, 6, 3.4, 11, 8))), fill(dots((25, 0.4), (30.6, 10), (15.8, -3.4), r=1.9), "second", outline=False)],
    "sickle": [fill(smooth((7, 24), (16, 24), (26, 14), (20, -1), (16, 2), (18, 10), (10, 17))), fill(smooth((9, 25), (22, 27), (31, 16), (28, 4), (25, 10), (22, 18), (12, 22)), "second")],
    "horse": [fill(smooth((8, 18), (16, 10), (25, 12), (27, 24), (24, 31), (20, 27), (15, 24))), stroke(join(curve((15, 15), (21, 17), (22, 27)), curve((17, 13), (24, 16), (25, 26))), 1.1, "second")],
    "deer": [fill(smooth((9, 24), (13, 15), (20, 11), (21, 18), (17, 24))), fill(smooth((12, 24), (15, 18), (20, 14), (19.6, 19), (16, 24)), "second", outline=False)],
    "fluke": [fill(smooth((8, 26), (18, 24), (22, 14), (14, 8), (20, 5), (25, 10), (29, 4), (32, 8), (27, 15), (25, 26), (14, 31))), stroke(curve((12, 27), (22, 26), (24.6, 14)), 1.3, "second")],
    "fan": [fill(polygon((8, 22), (21, 5), (25, 8), (27, 12), (29, 17), (30, 22), (11, 27))), stroke(join(curve((13, 21), (19, 14), (23, 8)), curve((14, 22), (21, 17), (27, 13)), curve((14, 24), (22, 22), (29, 18))), 1.2, "second")],
    "stump": [fill(smooth((9, 27), (18, 27), (22, 19), (18, 16), (10, 19))), fill(ellipse(19, 19, 2.4, 2.4), "second", outline=False)],
    "prehensile": _rope(join(curve((9, 25), (26, 30), (26, 18)), curve((26, 18), (26, 9), (19, 12)), curve((19, 12), (17, 18), (22.4, 17.4))), 2.9),
    "hump": [fill(both(ellipse(13, 8, 8, 8.6))), fill(both(ellipse(15, 4, 3.4, 3)), "second", outline=False)],
    "cloak": [fill(smooth((-8, 2), (8, 2), (20, 10), (23, 28), (12, 31), (-12, 31), (-23, 28), (-20, 10))), stroke(both(curve((13, 6), (18, 16), (18.6, 28))), 1.4, "second")],
    "arms": [*_rope(both(join(curve((8, 14), (24, 4), (27, 13)), curve((9, 19), (26, 18), (28, 25)))), 4.2), fill(both(dots((17, 9.4), (23, 8.6), (18, 19), (24, 20.6), r=1)), "second", outline=False)],
    "stripes": [*_rope(curve((9, 23), (28, 23), (23, 4)), 3.8), stroke(join(curve((14.4, 25.4), (15.2, 23), (15, 20.8)), curve((20, 23.4), (20, 20.6), (18.4, 18.4)), curve((24.6, 17), (23, 15.4), (21, 15)), curve((25.4, 10), (23.6, 9.4), (21.6, 9.8))), 1.7, "second")],
    "spotted": [*_rope(curve((9, 23), (28, 23), (23, 4)), 3.8), fill(dots((14.6, 23), (19.6, 20.8), (22.9, 16), (23.6, 10.4), r=1.2), "second", outline=False)],
}
