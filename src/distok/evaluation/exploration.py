"""Surprises: are pictures of random latents creatures at all, how different are they, and how many are new?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distok import seeds as randomness
from distok.backends.prompts import PROMPT, named
from distok.distribution import PRIORS
from distok.evaluation.cases import Bench
from distok.evaluation.pictures import Shot
from distok.evaluation.readings import Looks
from distok.evaluation.report import Result, Table, grid, number, share
from distok.evaluation.statistics import Interval, of_hits
from distok.scorers.sets import mean_distance, vendi

if TYPE_CHECKING:
    from PIL import Image

TAU = 0.85  # novel: no class reaches this share, the gate of the pool (paper)
SINGLES = "single species"


def exploration(bench: Bench, count: int = 120, seed: int = 0) -> Result:
    """``count`` pictures of random latents under each prior, beside as many of random single species, all with the same seeds."""
    random = randomness.rng(seed, "exploration", "species")
    numbers = [seed + i for i in range(count)]
    pictures = {}
    for prior in PRIORS:
        tokens = bench.random_tokens(prior, count, seed)
        shots = [Shot(PROMPT, number, token) for number, token in zip(numbers, tokens, strict=True)]
        pictures[prior] = bench.darkroom.develop(f"exploration: {prior}", shots)
    names = [bench.names[i] for i in random.integers(len(bench.names), size=count)]
    shots = [Shot(named(name), number) for name, number in zip(names, numbers, strict=True)]
    pictures[SINGLES] = bench.darkroom.develop(f"exploration: {SINGLES}", shots)
    figures = {name: judge(bench, each) for name, each in pictures.items()}
    note = f"{count} pictures each, by the evaluator; shares with 95 % intervals. Vendi and distance on its features."
    table = exploration_table("Random exploration", figures, "latents", note)
    page = grid({name: each[:10] for name, each in pictures.items()}, [f"seed {number}" for number in numbers[:10]])
    return Result("exploration", figures, (table,), (), {"exploration.png": page})


def exploration_table(title: str, figures: Mapping[str, Mapping[str, Any]], first: str, note: str) -> Table:
    """One row for each set that :func:`judge` judged."""
    columns = (first, "creature ↑", "Vendi ↑", "mean distance ↑", f"novel: max p < {TAU} ↑", "creature and novel ↑")
    keys = ("creature", "vendi", "distance", "novel", "both")
    rows = tuple((name, *(_text(row[key]) for key in keys)) for name, row in figures.items())
    return Table(title, columns, rows, note)


def judge(bench: Bench, pictures: "Sequence[Image.Image]") -> dict[str, Any]:
    """Share of creatures, diversity and share of novel pictures, by the evaluator."""
    looks = bench.rulers.look(pictures)
    creature, novel = looks.creature > 0.5, looks.mix.max(1) < TAU
    shares = {"creature": creature, "novel": novel, "both": creature & novel}
    return {key: of_hits(hits) for key, hits in shares.items()} | diversity(looks)


def diversity(looks: Looks) -> dict[str, float]:
    """Vendi score and mean cosine distance of the evaluator's features."""
    return {"vendi": vendi(looks.features), "distance": mean_distance(looks.features)}


def _text(value: "float | Interval") -> str:
    if isinstance(value, Interval):
        return f"{share(value.mean)} [{share(value.low)}, {share(value.high)}]"
    return number(value)
