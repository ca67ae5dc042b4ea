"""Open-ended exploration: DisTok's random latents beside as many concepts that ConceptLab searches for.

Shapes: n pictures.
"""

from pathlib import Path
from typing import Any

from distok.backends.prompts import PROMPT
from distok.baselines import baseline
from distok.distribution import PRIORS, Distribution
from distok.errors import DistokError
from distok.evaluation.cases import DISTOK, Bench, Case
from distok.evaluation.contest import Contest, show
from distok.evaluation.exploration import exploration_table, judge
from distok.evaluation.pictures import Shot
from distok.evaluation.report import Result, grid

RIVAL = "concept-lab"


def surprise(bench: Bench, folder: Path, count: int = 24, preset: str = "menagerie") -> Result:
    """One picture of each of ``count`` concepts by either method, the same seeds; ConceptLab looks for new members of one kind.

    Its concepts differ in the seed of their search, as in its paper; a random latent is a concept of DisTok.
    """
    word = "creature" if bench.has_artist else "pet"
    contest = Contest(bench, folder, preset)
    items = []
    for i in range(count):
        bench.darkroom.tell(f"surprise: {RIVAL}", i, count)
        case = Case(i, "surprise", Distribution((word,), (1.0,)))
        items.append(contest.item(baseline(RIVAL, preset, seed=i), case, [i]))
    bench.darkroom.tell(f"surprise: {RIVAL}", count, count)
    tokens = bench.random_tokens(PRIORS[0], count)
    ours = bench.darkroom.develop("surprise: DisTok", [Shot(PROMPT, i, token) for i, token in enumerate(tokens)])
    theirs = [show(item) for item in items]
    if not all(theirs):
        raise DistokError(f"pictures of {RIVAL} are gone from {folder / 'items'}; delete what is left of it there and run again")
    found: dict[str, Any] = {DISTOK: judge(bench, ours), baseline(RIVAL, preset).title: judge(bench, theirs)}
    ratio = found[DISTOK]["vendi"] / found[baseline(RIVAL, preset).title]["vendi"]
    note = f"{len(ours)} concepts each, one picture a concept; Vendi score of DisTok over that of ConceptLab: {ratio:.2f}."
    table = exploration_table("Open-ended exploration", found, "method", note)
    page = grid({title: each[:10] for title, each in zip(found, (ours, theirs), strict=True)}, [""] * min(10, len(ours)))
    return Result("surprise", {"methods": found, "ratio": ratio}, (table,), (), {"surprise.png": page})
