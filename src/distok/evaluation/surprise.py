"""Open-ended exploration: DisTok's random latents and random mixes beside as many concepts that ConceptLab searches for.

Shapes: n pictures.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distok import seeds as randomness
from distok.backends.prompts import PROMPT, named
from distok.baselines import baseline
from distok.distribution import MIXTURE, PRIORS
from distok.errors import DistokError
from distok.evaluation.cases import DISTOK, Bench, Case
from distok.evaluation.contest import Contest, Item, show
from distok.evaluation.exploration import SINGLES, exploration_table, judge
from distok.evaluation.pictures import Shot
from distok.evaluation.report import Result, grid
from distok.evaluation.statistics import Interval, jackknife
from distok.scorers.sets import vendi

if TYPE_CHECKING:
    from PIL import Image

RIVAL = "concept-lab"
OURS = {f"{DISTOK}, random latents": PRIORS[0], f"{DISTOK}, random mixes": MIXTURE}
COMMON = 10_000  # the seed that all concepts share
ALIKE = 1.0  # levels of 255: a mean difference below it is that of rounding


def surprise(bench: Bench, folder: Path, count: int = 24, preset: str = "menagerie") -> Result:
    """Pictures of ``count`` concepts by either method; ConceptLab looks for new members of one kind.

    Its concepts differ in the seed of their search; a random latent is a concept of DisTok, and so is a random mix, encoded.
    Each concept is drawn twice: from noise of its own, and from the same noise as all others. A vague concept looks different in
    every noise; in the same noise only what the concepts themselves differ in is left. As many different species say how far
    the scale goes.

    Through a prior ConceptLab's searches meet fresh noise at every step, as published. In text space their seed decides which
    prompts they see in which order, and no more: they may all end at one concept, and then the table says so.
    """
    bench.rulers.need_evaluator()
    contest = Contest(bench, folder, preset)
    items = _searched(bench, contest, count, preset)
    rival = baseline(RIVAL, preset).title
    own = {title: bench.random_tokens(prior, count) for title, prior in OURS.items()}
    order = randomness.rng(0, "surprise", "species").permutation(len(bench.names))
    species = [named(bench.names[order[i % len(order)]]) for i in range(count)]
    figures: dict[str, Any] = {}
    ratios: dict[str, Interval] = {}
    rows = {}
    for place, (noise, seeds) in enumerate((("own noise", range(count)), ("the same noise", [COMMON] * count))):
        theirs = [show(replace(item, paths=item.paths[place:])) for item in items]
        if not all(theirs):
            raise DistokError(
                f"pictures of {RIVAL} are gone from {folder / 'items'}; delete what is left of it there and run again"
            )
        shots = {title: [Shot(PROMPT, *each) for each in zip(seeds, tokens, strict=True)] for title, tokens in own.items()}
        shots[SINGLES] = [Shot(prompt, seed) for prompt, seed in zip(species, seeds, strict=True)]
        drawn = {title: bench.darkroom.develop(f"surprise: {title}", each) for title, each in shots.items()}
        for title in (*own, rival, SINGLES):
            pictures = drawn.get(title, theirs)
            rows[f"{title}, {noise}"] = pictures[:10]
            figures[f"{title}, {noise}"] = judge(bench, pictures)
        ratios |= {f"{title}, {noise}": _ratio(bench, drawn[title], theirs) for title in own}
    told = "; ".join(f"{title} {ratio}" for title, ratio in ratios.items())
    note = f"{count} concepts each, one picture a concept and noise. Vendi score over that of ConceptLab: {told}."
    if _alike(theirs):  # in the last noise, which is the same for all
        note += f" The {count} searches of {rival} ended at one concept, so its diversity in own noise is that of the noise."
    note += f" {SINGLES.capitalize()}: the known classes themselves, each at most once while there are enough."
    table = exploration_table("Open-ended exploration", figures, "method", note)
    page = grid(rows, [""] * min(10, count))
    return Result("surprise", {"methods": figures, "ratios": ratios}, (table,), (), {"surprise.png": page})


def _ratio(bench: Bench, ours: "Sequence[Image.Image]", theirs: "Sequence[Image.Image]") -> Interval:
    """Vendi score of one set over that of another with as many concepts; the interval leaves out a concept of each at a time."""
    x, y = (bench.rulers.look(pictures).features for pictures in (ours, theirs))
    return jackknife(lambda kept: vendi(x[kept]) / vendi(y[kept]), len(x), low=0.0)


def _alike(pictures: "Sequence[Image.Image]") -> bool:
    """Whether all are one picture."""
    first, *others = [np.asarray(picture, dtype=np.float32) for picture in pictures]
    return all(np.abs(other - first).mean() < ALIKE for other in others)


def _searched(bench: Bench, contest: Contest, count: int, preset: str) -> list[Item]:
    """The concepts that ConceptLab finds, each with a picture from its own noise and one from the common one."""
    items = []
    for i in range(count):
        bench.darkroom.tell(f"surprise: {RIVAL}", i, count)
        items.append(contest.item(baseline(RIVAL, preset, seed=i), Case(i, "surprise", bench.kind), [i, COMMON]))
    bench.darkroom.tell(f"surprise: {RIVAL}", count, count)
    return items
