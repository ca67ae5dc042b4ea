"""Contact sheets of the artist's own drawings: every species, and what prompts can name."""

import numpy as np
from PIL import Image

from distok.menagerie.artist import draw, recipe
from distok.menagerie.looks import ACCESSORIES, SCENES
from distok.menagerie.species import NAMES
from distok.menagerie.styles import STYLES

_CHIMERAS: tuple[dict[str, float], ...] = (
    {"pig": 0.55, "sheep": 0.25, "snake": 0.2},
    {"pig": 0.5, "owl": 0.5},
    {"lion": 0.7, "shark": 0.3},
    {"elephant": 0.5, "bee": 0.5},
    {"frog": 0.4, "deer": 0.3, "crab": 0.3},
    {"dragon": 0.5, "panda": 0.5},
    {"unicorn": 0.3, "tiger": 0.7},
    {"duck": 0.5, "cow": 0.5},
    {"cat": 0.5, "toucan": 0.5},
    {"whale": 0.25, "zebra": 0.25, "monkey": 0.25, "chicken": 0.25},
)


def species_sheet(size: int = 128, columns: int = 10) -> Image.Image:
    """All species as photos, in the table's order, row by row."""
    return _grid([draw(recipe({name: 1.0}, seed), size) for seed, name in enumerate(NAMES)], columns)


def looks_sheet(size: int = 128) -> Image.Image:
    """Chimeras in two drawings each, then ten species in every style, then in scenes, then with accessories."""
    names = NAMES[::6]
    scenes, accessories = list(SCENES), list(ACCESSORIES)
    pictures = [draw(recipe(mix, seed), size) for seed in (0, 1) for mix in _CHIMERAS]
    pictures += [draw(recipe({name: 1.0}, 5, style=style), size) for style in STYLES for name in names]
    pictures += [draw(recipe({name: 1.0}, 6, scene=scenes[i % len(scenes)]), size) for i, name in enumerate(names)]
    pictures += [draw(recipe({name: 1.0}, 7, accessory=accessories[i % len(accessories)]), size) for i, name in enumerate(names)]
    return _grid(pictures, len(names))


def _grid(pictures: list[np.ndarray], columns: int) -> Image.Image:
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return Image.fromarray(np.concatenate(rows, 0))
