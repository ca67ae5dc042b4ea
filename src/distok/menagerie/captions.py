"""The small grammar of the Menagerie's captions, and the reading of a caption's parts from a recipe."""

import numpy as np

from distok.menagerie.artist import Recipe
from distok.menagerie.looks import ACCESSORIES, BACKDROPS, SCENES
from distok.menagerie.species import NAMES

ADJECTIVES = ("cute", "happy", "little", "lovely", "funny", "plush")
GENERIC = ("pet", "animal", "creature")
_MEDIA = {
    "photo": ("photo", "picture"),
    "watercolor": ("watercolor", "watercolor painting"),
    "pencil sketch": ("pencil sketch", "pencil drawing"),
    "pixel art": ("pixel art picture", "pixel art"),
    "comic": ("comic", "comic drawing"),
    "neon": ("neon sign", "neon picture"),
}

WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        " ".join(
            [
                "a an the of in on at wearing background and with",
                *(phrase for media in _MEDIA.values() for phrase in media),
                *ADJECTIVES,
                *GENERIC,
                *NAMES,
                *(scene[0] for scene in SCENES.values()),
                *(accessory[0] for accessory in ACCESSORIES.values()),
                *BACKDROPS,
            ]
        ).split()
    )
)


def article(phrase: str) -> str:
    """Return the phrase with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' and not phrase.startswith('uni') else 'a'} {phrase}"


def caption(recipe: Recipe, rng: np.random.Generator) -> str:
    """Describe a recipe of one or two species in one of the grammar's forms; the order of two names is drawn.

    Weights are never put into words: a caption says "both", not "how much".
    """
    names = [name for name, _ in recipe.weights]
    rng.shuffle(names)
    subject = " ".join(names)
    if rng.random() < 0.06:
        subject = str(rng.choice(GENERIC))
    if rng.random() < 0.25:
        subject = f"{rng.choice(ADJECTIVES)} {subject}"
    subject = f"the {subject}" if rng.random() < 0.08 else article(subject)
    medium = _MEDIA[recipe.style][0 if rng.random() < 0.75 else 1]
    plain_photo = recipe.style == "photo" and rng.random() < 0.25
    text = subject if plain_photo else f"{'the' if rng.random() < 0.05 else 'a'} {medium} of {subject}"
    places = []
    if recipe.accessory:
        places.append(ACCESSORIES[recipe.accessory][0])
    if recipe.scene:
        places.append(SCENES[recipe.scene][0])
    elif recipe.backdrop:
        places.append(f"on a {recipe.backdrop} background")
    if len(places) == 2 and rng.random() < 0.3:
        places.reverse()
    return " ".join([text, *places])
