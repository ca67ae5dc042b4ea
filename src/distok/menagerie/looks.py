"""Scenes, backdrops and accessories by name, with what captions call them; :mod:`distok.menagerie.scenery` draws them."""

from distok.menagerie.palette import Colour

# scene -> phrase in a caption, sky (top, bottom), ground colour, horizon (canvas units)
SCENES: dict[str, tuple[str, Colour, Colour, Colour, float]] = {
    "meadow": ("in a meadow", (150, 210, 250), (215, 240, 250), (120, 196, 84), 8),
    "beach": ("on a beach", (110, 200, 245), (190, 235, 250), (240, 220, 160), 14),
    "snow": ("in the snow", (190, 214, 236), (226, 238, 248), (250, 252, 255), 10),
    "forest": ("in a forest", (60, 110, 76), (96, 150, 96), (70, 92, 52), 14),
    "night": ("at night", (16, 20, 56), (52, 50, 110), (40, 44, 74), 12),
    "desert": ("in a desert", (250, 200, 120), (252, 230, 180), (222, 160, 92), 10),
}

BACKDROPS: dict[str, Colour] = {
    "blue": (150, 190, 240),
    "pink": (248, 196, 214),
    "yellow": (250, 232, 160),
    "green": (184, 224, 176),
    "white": (246, 246, 246),
    "grey": (196, 198, 204),
}

ACCESSORIES: dict[str, tuple[str, Colour, Colour]] = {
    "red hat": ("wearing a red hat", (220, 40, 48), (250, 246, 240)),
    "blue scarf": ("wearing a blue scarf", (48, 104, 214), (140, 190, 250)),
    "glasses": ("wearing glasses", (30, 28, 34), (200, 230, 250)),
    "bow tie": ("wearing a bow tie", (126, 44, 150), (240, 200, 60)),
}
