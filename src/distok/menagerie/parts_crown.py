"""Shapes of the crown zone: what grows on top of the head. Layers behind the head come first, see ``BEHIND``."""

# fmt: off
from distok.menagerie.shapes import both, curve, dots, ellipse, fill, join, polygon, smooth, stroke

CROWNS = {
    "tuft": [fill(smooth((-3.4, -19), (-4.6, -25.4), (-1, -23), (0.6, -28), (2, -23.4), (5.4, -25), (3.4, -19)))],
    "curl": [stroke(join(curve((0, -20), (-5, -27.6), (1.4, -28.4)), curve((1.4, -28.4), (5.4, -27), (2.4, -23.8))), 2.6, "main")],
    "horns": [fill(both(smooth((5, -19), (12, -20.4), (13.2, -27), (12, -31.4), (17, -27), (17, -18), (9, -15.6)))), fill(both(smooth((12.4, -25.6), (12, -31.6), (16.6, -27))), "second", outline=False)],
    "antlers": [
        stroke(both(join(curve((4.6, -19), (7, -27), (15.6, -31.4)), curve((7.6, -25.6), (5.4, -28), (5, -31.6)), curve((10, -28.2), (14.6, -27), (17.6, -24.6)))), 3.6, "outline"),
        stroke(both(join(curve((4.6, -19), (7, -27), (15.6, -31.4)), curve((7.6, -25.6), (5.4, -28), (5, -31.6)), curve((10, -28.2), (14.6, -27), (17.6, -24.6)))), 2.3, "main"),
    ],
    "palms": [fill(both(smooth((4, -18.6), (9, -23), (8.4, -31), (13, -27.6), (16, -31.6), (19, -26.6), (24.4, -28), (23, -20.6), (14, -18.4))))],
    "unihorn": [fill(polygon((-3.4, -19), (0, -32), (3.4, -19))), stroke(join(curve((-2.4, -21.6), (0, -21.4), (2, -23.4)), curve((-1.6, -25.2), (0, -25), (1.2, -26.6))), 1.1, "second")],
    "comb": [fill(smooth((-7, -18.6), (-8.6, -25.6), (-4.4, -24), (-2, -30.4), (1.4, -25), (5.4, -29), (6, -23), (9.4, -23.4), (7, -18.6)))],
    "crest": [fill(join(polygon((-3, -19), (-10, -29.6), (0.6, -21)), polygon((-2, -19), (-1, -32), (3, -20)), polygon((0, -19), (8.4, -30), (5, -19))))],
    "spikes": [fill(join(*[polygon((x - 2.8, -18.6 - (8 - abs(x)) * 0.3), (x * 1.35, -26.6 - (10 - abs(x)) * 0.4), (x + 2.8, -18.6 - (8 - abs(x)) * 0.3)) for x in (-9, -4.5, 0, 4.5, 9)]))],
    "ossicones": [stroke(both(curve((4.4, -19), (4.8, -24), (5.4, -28))), 3, "main"), fill(both(ellipse(5.5, -28.6, 2.5, 2.5)), "second")],
    "ramhorns": [
        stroke(both(join(curve((6, -19.6), (20, -27), (22, -15)), curve((22, -15), (21, -7), (15.4, -11)))), 5.4, "outline"),
        stroke(both(join(curve((6, -19.6), (20, -27), (22, -15)), curve((22, -15), (21, -7), (15.4, -11)))), 4.0, "main"),
        stroke(both(join(curve((12.6, -24.8), (13.4, -22.4), (13.6, -20.6)), curve((18, -22.6), (17.4, -20.4), (16.6, -19)))), 0.9, "second"),
    ],
    "backhorns": [fill(both(smooth((3.6, -19), (6, -26), (11.4, -31.8), (10.6, -25), (8.6, -18.4)))), stroke(both(join(curve((5.6, -22), (7, -21.8), (8.6, -21.4)), curve((7, -25.4), (8.2, -25), (9.6, -24.4)))), 0.9, "second")],
    "antennae": [stroke(both(curve((3.6, -20), (5, -27), (11, -28.6))), 1.7, "main"), fill(both(ellipse(11.4, -28.6, 2.5, 2.5)), "second")],
    "dorsal": [fill(smooth((-7, -18.6), (-3, -24), (4, -32), (6.4, -30), (5, -23), (8, -18.6)))],
    "fan": [stroke(join(*[curve((x * 0.2, -20), (x * 0.6, -25), (x, -29 + abs(x) * 0.16)) for x in (-10, -5, 0, 5, 10)]), 1.2, "main"), fill(join(*[ellipse(x, -29.4 + abs(x) * 0.16, 1.9, 1.9) for x in (-10, -5, 0, 5, 10)]), "second")],
    "fringe": [fill(smooth((-11, -19.4), (-6, -24.4), (6, -24.4), (11, -19.4), (9.4, -12.6), (5.4, -16.4), (2.4, -11.4), (-1.4, -16.4), (-5, -12), (-8, -16)))],
    "mohawk": [fill(smooth((-3.4, -17), (-6, -26), (-2, -28.6), (0, -31.6), (3, -28.6), (6.4, -25.6), (3.4, -17))), fill(smooth((-1.2, -17), (-1.6, -25), (1.8, -25.4), (1.2, -17)), "second", outline=False)],
    "forelock": [fill(smooth((-5, -20), (-2, -25.6), (5.4, -25), (5, -17), (1.4, -11), (0.8, -15.4), (-2.6, -12), (-2, -16.6)))],
    "spray": [stroke(join(curve((0, -20), (-1, -29), (-6.6, -26)), curve((0, -20), (1, -29), (6.6, -26)), curve((0, -20), (0, -26), (0, -30))), 1.9, "main"), fill(dots((-7, -25), (7, -25), (0, -30.6), r=1.6), "main", outline=False)],
    "bobble": [fill(dots((-6.4, -21.4), (0, -23.6), (6.4, -21.4), r=4.2)), fill(dots((-2.6, -21), (3, -21), r=1.8), "second", outline=False)],
    "leaf": [fill(smooth((0, -19), (-7.4, -24), (-6, -30), (0, -27.6), (0, -22))), fill(smooth((0, -19), (7.4, -24), (6, -30), (0, -27.6), (0, -22)), "second")],
    "cap": [fill(smooth((-9.6, -18.4), (-9, -24), (0, -27.4), (9, -24), (9.6, -18.4), (0, -20.2)))],
    "peak": [fill(polygon((-5.6, -18.8), (0, -28), (5.6, -18.8))), fill(polygon((-2.6, -19.6), (0, -24.4), (2.6, -19.6)), "second", outline=False)],
    "plumes": [fill(join(ellipse(-4, -25, 1.9, 6, -22), ellipse(0, -26.4, 1.9, 6.2), ellipse(4, -25, 1.9, 6, 22))), fill(dots((-6, -29), (0, -31), (6, -29), r=1.1), "second", outline=False)],
    "ridge": [fill(join(*[ellipse(x, -20.8 + abs(x) * 0.2, 2.5, 3) for x in (-8, -4, 0, 4, 8)]))],
    "topknot": [fill(ellipse(0, -20.4, 4.2, 2.6), "second"), fill(ellipse(0, -24.6, 4.6, 4))],
    "swirl": [fill(smooth((-4.6, -18.6), (-8, -27), (1, -31), (4.6, -26), (0, -24), (4.6, -18.6)))],
    "quills": [fill(join(*[polygon((x - 1.6, -19), (x * 1.9, -30 + abs(x) * 0.5), (x + 1.6, -19)) for x in (-8, -5, -2, 2, 5, 8)]))],
    "bumps": [fill(both(ellipse(5.4, -20.4, 3.4, 3.6))), fill(both(ellipse(5.4, -21.4, 1.5, 1.5)), "second", outline=False)],
    "nub": [fill(ellipse(0, -21.4, 3.4, 4.4)), fill(ellipse(0, -23.6, 1.5, 1.5), "second", outline=False)],
}
