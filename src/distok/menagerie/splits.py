"""What is held out: half of all pairs, and the mixes of the evaluation. And the evaluation set.

``data/splits.json`` is the one file that says which; it is made by ``python -m distok.menagerie.splits`` from a fixed seed.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np

from distok.files import write_text
from distok.menagerie.species import NAMES
from distok.seeds import rng as seeded

SEED = 20260
Pair = tuple[str, str]
ABOUT = (
    "Held-out pairs are drawn in no training but the evaluator's. "
    "Weighted distributions have 2 to 4 classes, no weight under 0.15."
)


@dataclass(frozen=True)
class Splits:
    """Training and held-out pairs (unordered, in the table's order), and the evaluation cases."""

    train_pairs: tuple[Pair, ...]
    held_out_pairs: tuple[Pair, ...]
    evaluation_pairs: tuple[Pair, ...]
    evaluation_distributions: tuple[dict[str, float], ...]

    @property
    def held_out(self) -> frozenset[tuple[str, ...]]:
        """The sets of classes that no DisTok is trained to mix: held-out pairs, and those of the evaluation's mixes."""
        mixes = {tuple(sorted(mix)) for mix in self.evaluation_distributions}
        return frozenset({tuple(sorted(pair)) for pair in self.held_out_pairs} | mixes)


def make() -> dict:
    """Draw the splits from :data:`SEED`."""
    rng = seeded(SEED, "splits")
    pairs = list(combinations(NAMES, 2))
    order = rng.permutation(len(pairs))
    held_out = sorted((pairs[i] for i in order[: len(pairs) // 2]), key=pairs.index)
    chosen = [held_out[i] for i in sorted(rng.choice(len(held_out), 30, replace=False))]
    distributions = [_distribution(rng, 2 + case % 3) for case in range(30)]
    return {
        "about": ABOUT,
        "seed": SEED,
        "names": list(NAMES),
        "held_out_pairs": [list(pair) for pair in held_out],
        "evaluation_pairs": [list(pair) for pair in chosen],
        "evaluation_distributions": distributions,
    }


def _distribution(rng: np.random.Generator, classes: int) -> dict[str, float]:
    names = [NAMES[i] for i in sorted(rng.choice(len(NAMES), classes, replace=False))]
    while True:
        hundredths = np.round(rng.dirichlet(np.ones(classes) * 1.5) * 20) * 5
        if hundredths.min() >= 15 and hundredths.sum() == 100 and len(set(hundredths)) > 1:
            return {name: int(value) / 100 for name, value in zip(names, hundredths, strict=True)}


@cache
def splits() -> Splits:
    """Read the shipped splits."""
    data = json.loads(files("distok.menagerie").joinpath("data/splits.json").read_text())
    held_out = {tuple(pair) for pair in data["held_out_pairs"]}
    train = tuple(pair for pair in combinations(data["names"], 2) if pair not in held_out)
    return Splits(
        train,
        tuple(tuple(pair) for pair in data["held_out_pairs"]),
        tuple(tuple(pair) for pair in data["evaluation_pairs"]),
        tuple(data["evaluation_distributions"]),
    )


if __name__ == "__main__":
    text = json.dumps(make(), indent=1)
    write_text(Path(__file__).parent / "data" / "splits.json", text + "\n")
