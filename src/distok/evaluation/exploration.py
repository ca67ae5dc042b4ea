"""Surprises: are pictures of random latents creatures at all, how different are they, and how many are new?"""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from distok import seeds as randomness
from distok.backends.prompts import PROMPT, named
from distok.distribution import MIXTURE, SURPRISES
from distok.evaluation.cases import Bench
from distok.evaluation.pictures import Shot
from distok.evaluation.readings import Looks
from distok.evaluation.report import Result, Table, grid, share
from distok.evaluation.statistics import Interval, jackknife, of_hits
from distok.scorers.sets import SCALES, mean_distance, vendi

if TYPE_CHECKING:
    from PIL import Image

TAU = 0.85  # novel: no class reaches this share, the gate of the pool (paper)
SINGLES = "single species"


def exploration(bench: Bench, count: int = 120, seed: int = 0) -> Result:
    """``count`` pictures of random latents under each prior, of random mixes and of random single species, of the same seeds."""
    bench.rulers.need_evaluator()
    random = randomness.rng(seed, "exploration", "species")
    numbers = [seed + i for i in range(count)]
    pictures = {}
    for prior in SURPRISES:
        tokens = bench.random_tokens(prior, count, seed)
        shots = [Shot(PROMPT, number, token) for number, token in zip(numbers, tokens, strict=True)]
        pictures[prior] = bench.darkroom.develop(f"exploration: {prior}", shots)
    names = [bench.names[i] for i in islice(cycle(random.permutation(len(bench.names))), count)]
    shots = [Shot(named(name), number) for name, number in zip(names, numbers, strict=True)]
    pictures[SINGLES] = bench.darkroom.develop(f"exploration: {SINGLES}", shots)
    figures = {name: judge(bench, each) for name, each in pictures.items()}
    note = f"{count} pictures each, by the evaluator; 95 % intervals over pictures. Vendi and distance on its features. "
    note += f"{MIXTURE.capitalize()}: not random latents but those of random mixes of two or three classes, dealt from a "
    note += f"shuffled deck and encoded; {SINGLES} are dealt, too, and so are more even than what is drawn anew each time."
    table = exploration_table("Random exploration", figures, "latents", note)
    page = grid({name: each[:10] for name, each in pictures.items()}, [f"seed {number}" for number in numbers[:10]])
    return Result("exploration", figures, (table,), (), {"exploration.png": page})


def exploration_table(title: str, figures: Mapping[str, Mapping[str, Any]], first: str, note: str) -> Table:
    """One row for each set that :func:`judge` judged."""
    columns = (first, "creature ↑", "Vendi ↑", "mean distance ↑", f"novel: max p < {TAU} ↑", "creature and novel ↑")
    keys = ("creature", "vendi", "distance", "novel", "both")
    rows = tuple((name, *(_text(key, row[key]) for key in keys)) for name, row in figures.items())
    return Table(title, columns, rows, note)


def judge(bench: Bench, pictures: "Sequence[Image.Image]", different: int | None = None) -> dict[str, Any]:
    """Share of creatures, diversity and share of novel pictures, by the evaluator; shares are of the first ``different`` ones."""
    looks = bench.rulers.look(pictures)
    creature, novel = looks.creature > 0.5, looks.mix.max(1) < TAU
    shares = {"creature": creature, "novel": novel, "both": creature & novel}
    return {key: of_hits(hits[:different]) for key, hits in shares.items()} | diversity(looks)


def diversity(looks: Looks) -> dict[str, Interval]:
    """Vendi score and mean cosine distance of the evaluator's features, each picture a concept."""
    x = looks.features
    return {
        "vendi": jackknife(lambda kept: vendi(x[kept]), len(x), SCALES["vendi"].low, SCALES["vendi"].high),
        "distance": jackknife(lambda kept: mean_distance(x[kept]), len(x), SCALES["distance"].low, SCALES["distance"].high),
    }


def _text(key: str, value: Interval) -> str:
    if key in ("vendi", "distance"):
        return str(value)
    return f"{share(value.mean)} [{share(value.low)}, {share(value.high)}]"
