"""Open-ended exploration: DisTok's random latents and random mixes beside as many concepts that ConceptLab searches for.

Shapes: n concepts, one picture each; f features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from distok import seeds as randomness
from distok.backends.prompts import PROMPT, named
from distok.baselines import baseline
from distok.distribution import MIXTURE, PRIORS
from distok.errors import DistokError
from distok.evaluation.cases import DISTOK, Bench, Case
from distok.evaluation.contest import Contest, Item, show
from distok.evaluation.exploration import SINGLES, exploration_table, judge
from distok.evaluation.pictures import Shot
from distok.evaluation.report import Result, Table, charted, grid
from distok.evaluation.statistics import Interval, jackknife
from distok.scorers.sets import vendi

if TYPE_CHECKING:
    from PIL import Image

RIVAL = "concept-lab"
OURS = {f"{DISTOK}, random latents": PRIORS[0], f"{DISTOK}, random mixes": MIXTURE}
COMMON = 10_000  # the seed that all concepts share
OWN, SAME = "own noise", "the same noise"
COUNTS = (24, 50)  # of concepts, beside all of them
COLOURS = ("#c2410c", "#f59e0b", "#2563eb", "#6b7280")
ALIKE = 1.0  # levels of 255: a mean difference below it is that of rounding


def surprise(bench: Bench, folder: Path, count: int = 100, preset: str = "menagerie") -> Result:
    """Pictures of ``count`` concepts by either method; ConceptLab looks for new members of one kind.

    Its concepts differ in the seed of their search; a random latent is a concept of DisTok, and so is a random mix, encoded.
    Each concept is drawn twice: from noise of its own, and from the same noise as all others. A vague concept looks different in
    every noise; in the same noise only what the concepts themselves differ in is left. As many different species say how far
    the scale goes, while there are enough of them. A Vendi score depends on the number of concepts: it is told of the first
    few of them, too.

    Through a prior ConceptLab's searches meet fresh noise at every step, as published. In text space their seed decides which
    prompts they see in which order, and no more: they may all end at one concept, and then the table says so.
    """
    bench.rulers.need_evaluator()
    contest = Contest(bench, folder, preset)
    items = _searched(bench, contest, count, preset)
    rival = baseline(RIVAL, preset).title
    own = {title: bench.random_tokens(prior, count) for title, prior in OURS.items()}
    order = randomness.rng(0, "surprise", "species").permutation(len(bench.names))
    species = [named(bench.names[i]) for i in order[:count]]
    figures: dict[str, Any] = {}
    features: dict[str, dict[str, Float[np.ndarray, "n f"]]] = {}
    rows = {}
    for place, (noise, seeds) in enumerate(((OWN, range(count)), (SAME, [COMMON] * count))):
        theirs = [show(replace(item, paths=item.paths[place:])) for item in items]
        if not all(theirs):
            raise DistokError(
                f"pictures of {RIVAL} are gone from {folder / 'items'}; delete what is left of it there and run again"
            )
        shots = {title: [Shot(PROMPT, *each) for each in zip(seeds, tokens, strict=True)] for title, tokens in own.items()}
        shots[SINGLES] = [Shot(prompt, seed) for prompt, seed in zip(species, seeds, strict=False)]
        drawn = {title: bench.darkroom.develop(f"surprise: {title}", each) for title, each in shots.items()}
        features[noise] = {}
        for title in (*own, rival, SINGLES):
            pictures = drawn.get(title, theirs)
            rows[f"{title}, {noise}"] = pictures[:10]
            figures[f"{title}, {noise}"] = judge(bench, pictures, 1 if _alike(pictures) else len(pictures))
            features[noise][title] = bench.rulers.look(pictures).features
    note = f"{count} concepts each, one picture a concept and noise; {SINGLES}: {len(species)} known classes, each once. Random "
    note += "mixes are dealt: those of one shuffle of the classes share none."
    if _alike(theirs):  # in the last noise, which is the same for all
        note += f" The {count} searches of {rival} ended at one concept: in own noise its diversity is that of the noise, "
        note += "in the same noise it is one picture."
    growth, ratios = _growth(features, rival, count)
    title = f"effective number of different pictures among n concepts; left {OWN}, right {SAME}"
    images, gap = charted("surprise-growth.png", lambda axes: _plot(axes, features, count), len(features), title)
    tables = exploration_table("Open-ended exploration", figures, "method", note), replace(growth, note=growth.note + gap)
    images["surprise.png"] = grid(rows, [""] * min(10, count))
    return Result("surprise", {"methods": figures, "ratios": ratios}, tables, (), images)


def _growth(
    features: Mapping[str, Mapping[str, Float[np.ndarray, "n f"]]], rival: str, count: int
) -> tuple[Table, dict[str, dict[str, Interval]]]:
    """The Vendi score of the first so many concepts over the rival's of as many, by method and noise."""
    counts = [*(few for few in COUNTS if few < count), count]
    ratios: dict[str, dict[str, Interval]] = {}
    for noise, sets in features.items():
        for title, ours in sets.items():
            if title != rival:
                ratios[f"{title}, {noise}"] = {str(n): _ratio(ours[:n], sets[rival][:n]) for n in counts if n <= len(ours)}
    lines = tuple((title, *(str(row.get(str(n), "–")) for n in counts)) for title, row in ratios.items())
    heads = ("method", *(f"first {n} ↑" for n in counts))
    note = "Vendi score over ConceptLab's of as many concepts; 95 % jackknife, which leaves out a concept of each at a time."
    note += " –: there are fewer known classes."
    return Table("Diversity over that of ConceptLab, by the number of concepts", heads, lines, note), ratios


def _ratio(ours: Float[np.ndarray, "n f"], theirs: Float[np.ndarray, "n f"]) -> Interval:
    return jackknife(lambda kept: vendi(ours[kept]) / vendi(theirs[kept]), len(ours), low=0.0)


def _plot(axes: Any, features: Mapping[str, Mapping[str, Float[np.ndarray, "n f"]]], count: int) -> None:
    counts = [*range(1, count, max(1, count // 20)), count]
    for axis, sets in zip(axes, features.values(), strict=True):
        for colour, (title, each) in zip(COLOURS, sets.items(), strict=True):
            shown = [n for n in counts if n <= len(each)]
            axis.plot(shown, [vendi(each[:n]) for n in shown], color=colour, label=title)
        axis.set_xlabel("concepts", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("Vendi score", fontsize=8)
    axes[0].legend(fontsize=7, frameon=False)


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
