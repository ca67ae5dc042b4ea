"""What losses are worth: our recipe and the published one, with and without what is read and L_reg, on several training seeds.

As in the paper, every model renders and reads tokens of its own while it trains; with a bank all share its readings instead,
which costs minutes and not hours, but teaches each what another model's tokens show; some of its own may join those.

Shapes: v variants, r training seeds, c cases.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distok.backends.prompts import PROMPT
from distok.distribution import PRIORS
from distok.errors import UnavailableError
from distok.evaluation.cases import Bench, shoot
from distok.evaluation.contest import items_of
from distok.evaluation.fidelity import score
from distok.evaluation.pictures import Report, Shot
from distok.evaluation.report import Result, Table, number
from distok.evaluation.statistics import bootstrap
from distok.scorers.sets import mean_distance, vendi

if TYPE_CHECKING:
    from distok.backends import Backend
    from distok.labelers import Labeler
    from distok.model import DisTok
    from distok.training import Bank, TrainSettings

READINGS = 14_400  # most that a model takes where none are asked for: what a CPU draws in an hour; recipes for GPUs take more
NO_CST, NO_REG = {"beta": 0.0}, {"gamma": 0.0}
NO_CONSISTENCY = {**NO_CST, "delta": 0.0}
# What the published recipe takes over from ours: the budget (steps, tasks, rate, readings), q_r, which follows the text encoder,
# and what may not be mixed. All else is the preset "calibrated", its thresholds too.
SHARED = (
    "steps", "sub_steps", "learning_rate", "pool_size", "estimate_every", "estimate_count", "estimate_steps", "estimate_size",
    "bank_count", "restrictive_prompt", "held_out", "threads", "render_threads", "save_every",
)  # fmt: skip
# Of a recipe with more readings than a CPU draws: fewer of them fill smaller networks.
FORESIGHT = ("foresight_memory", "foresight_batch", "foresight_blocks", "foresight_dropout", "foreseen_count")


@dataclass(frozen=True)
class Variant:
    """Changes of the settings, the variant that it is compared with, of which recipe both are, and what is left out."""

    changes: Mapping[str, Any]
    reference: str
    recipe: str
    without: str | None = None


VARIANTS = {
    "ours": Variant({}, "ours", "ours"),
    "ours, without L_fsg and L_cst": Variant(NO_CONSISTENCY, "ours", "ours", "read"),  # nothing that is read teaches the weights
    "ours, without L_reg": Variant(NO_REG, "ours", "ours", "reg"),
    "as published": Variant({}, "as published", "published"),
    "as published, without L_cst": Variant(NO_CST, "as published", "published", "read"),
    "as published, without L_reg": Variant(NO_REG, "as published", "published", "reg"),
}
RECIPES = ("ours", "published")
LOSSES = ("read", "reg")  # those that learn from what is read, and L_reg
TRAINING_SEEDS = (0, 1, 2, 3, 4)
METRICS = ("kl", "js", "top1")
APART = {
    "kl rise": "KL minus reference",
    "kl rise by training seed": "the same, over training seeds",
    "js rise": "JS minus reference",
    "top1 rise": "top-1 minus reference",
}

Models = Mapping[str, Mapping[int, Path]]


def run_ablation(
    backend: "Backend",
    labeler: "Labeler | None",
    names: Sequence[str],
    out: Path,
    seeds: Sequence[int] = TRAINING_SEEDS,
    steps: int | None = None,
    settings: "TrainSettings | None" = None,
    bank: "Bank | None" = None,
    readings: int | None = None,
    recipe: str | None = None,
    without: str | None = None,
    callback: Report | None = None,
) -> dict[str, dict[int, Path]]:
    """Train every variant on every seed under ``out``; resumes what is there.

    Args:
        labeler: reads what the models render; not needed where they take a bank and no readings of their own.
        names: the known classes.
        settings: our recipe (the Menagerie's preset by default); its ``seed`` and what a variant changes are replaced. A variant
            that changes nothing of it is left out.
        steps: in place of the settings' own; L_fsg then begins in proportion.
        bank: readings for all, spread evenly, in place of each model's own.
        readings: of its own that each model takes in all, spread evenly and rounded up. None: the settings' number, at most
            :data:`READINGS`; with a bank none, and nothing is rendered. Where the settings say more than :data:`READINGS` and no
            more are taken, a bank's and a model's own together, foresight is that of the preset "menagerie".
        recipe: one of :data:`RECIPES`; both if None.
        without: what is left out, one of :data:`LOSSES`; one after the other if None.

    Returns:
        The ``distok.safetensors`` of each variant and training seed.

    Raises:
        UnavailableError: the models are to read what they render, and there is no labeler.
    """
    from distok.training import train

    if labeler is None and (bank is None or readings):
        remedy = "a bank" if bank is None else "the bank alone"
        raise UnavailableError(f"the ablation's models read what they render, and there is no labeler; give one, or {remedy}")
    base = _within(settings or default_settings(names), steps, bank, readings)
    of = {"ours": base, "published": published(base)}
    variants: dict[str, TrainSettings] = {}
    for name, how in VARIANTS.items():
        changed = replace(of[how.recipe], **how.changes)
        asked = recipe in (None, how.recipe) and (how.without is None or without in (None, how.without))
        if asked and changed not in variants.values():
            variants[name] = changed
    models: dict[str, dict[int, Path]] = {variant: {} for variant in variants}
    for seed in seeds:
        for variant, changed in variants.items():
            folder = out / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"
            report = None if callback is None else _steps(callback, f"training {variant}, seed {seed}")
            # A finished run returns at once; one with other settings is refused, not taken for this one.
            models[variant][seed] = train(replace(changed, seed=seed), backend, labeler, names, folder, report, bank)
    return models


def _within(base: "TrainSettings", steps: int | None, bank: "Bank | None", readings: int | None) -> "TrainSettings":
    """Our recipe under the budget of an ablation."""
    from distok.training import evenly, preset

    own, steps = base.estimate_count * base.estimations or READINGS, steps or base.steps
    base = replace(base, steps=steps, foresight_after=base.foresight_after * steps // base.steps)
    base = replace(base, render_threads=1)  # a number that every machine has
    shared = 0 if bank is None else len(bank)
    count = readings or (0 if shared else min(own, READINGS))
    if own > READINGS >= count + shared:
        base = replace(base, **{name: getattr(preset("menagerie"), name) for name in FORESIGHT})
    if count and not shared:  # beside a bank, which is to come as it would alone, at least one each time
        base = replace(base, estimate_every=max(base.estimate_every, math.ceil(steps / count)))
    return replace(base, bank_count=evenly(shared, base), estimate_count=evenly(count, base))


def published(base: "TrainSettings") -> "TrainSettings":
    """The published recipe under the budget of ``base``."""
    from distok.training import preset

    return preset("calibrated", **{name: getattr(base, name) for name in SHARED})


def ablation(bench: Bench, models: Models, seeds: int = 10, cases: int | None = None, samples: int = 200) -> Result:
    """Fidelity and diversity of trained variants, the same pictures' seeds for all.

    Args:
        bench: its own model takes no part.
        models: the file of each variant and training seed, from :func:`run_ablation`.
        seeds: pictures a case.
        cases: how many of the cases; None for all.
        samples: random latents whose diversity is measured.
    """
    from distok.model import DisTok

    chosen, records, spread = bench.spread(cases), [], []
    for variant, files in models.items():
        for seed, path in files.items():
            model = DisTok.load(path)
            stage = f"ablation: {variant}, seed {seed}"
            pictures = shoot(bench, lambda asked, model=model: bench.token(asked, model), chosen, seeds, stage)
            items = items_of(bench, chosen, pictures)
            records += [{"variant": variant, "training seed": seed, **r} for r in score(bench, items, variant)]
            spread.append({"variant": variant, "training seed": seed, **_diversity(bench, model, samples)})
    figures: dict[str, Any] = {who: _fidelity(records, who, list(models)) for who in bench.rulers.who}
    figures["diversity"] = spread
    budgets = {budget: None for files in models.values() for budget in map(_budget, files.values())}
    figures["settings"] = {"seeds": seeds, "cases": len(chosen), "samples": samples, "training": list(budgets)}
    tables = [_table(who, figures[who], "; ".join(budgets)) for who in reversed(bench.rulers.who)]
    if bench.rulers.evaluator is not None:
        tables.append(_spread_table(spread, list(models), samples))
    return Result("ablation", figures, tuple(tables), records)


def default_settings(names: Sequence[str]) -> "TrainSettings":
    """The Menagerie's preset, with the held-out pairs of the splits where these are its classes."""
    from distok.menagerie.species import NAMES
    from distok.menagerie.splits import splits
    from distok.training import preset

    return preset("menagerie", held_out=splits().held_out if set(NAMES) <= set(names) else ())


def settings_of(model: "DisTok", names: Sequence[str]) -> "TrainSettings":
    """The settings a model was trained with, from its own file; the default ones where it does not say."""
    from distok.training import TrainSettings

    stored = model.provenance.get("settings")
    return TrainSettings.from_json(stored) if stored else default_settings(names)


def _diversity(bench: Bench, model: "DisTok", samples: int) -> dict[str, float]:
    """Of random latents through the measured law, and of N(0, I) as it is, which is what L_reg is for."""
    if bench.rulers.evaluator is None:
        return {}
    found = {}
    for kind, raw in (("measured", False), ("raw", True)):
        tokens = bench.random_tokens(PRIORS[0], samples, model=model, raw=raw)
        shots = [Shot(PROMPT, i, token) for i, token in enumerate(tokens)]
        looks = bench.rulers.look(bench.darkroom.develop(f"ablation: random samples, {kind}", shots))
        figures = {"vendi": vendi(looks.features), "distance": mean_distance(looks.features)}
        figures["creature"] = float((looks.creature > 0.5).mean())
        found |= {f"{key}, {kind}": value for key, value in figures.items()}
    return found


def _fidelity(records: Sequence[Mapping[str, Any]], who: str, variants: list[str]) -> dict[str, Any]:
    """Per variant: metrics averaged over training seeds case by case, each seed's mean, the paired rise over its reference."""
    figures: dict[str, Any] = {}
    for metric in METRICS:
        tables = {variant: _by_case(records, who, variant, metric) for variant in variants}
        for variant, table in tables.items():
            row = figures.setdefault(variant, {})
            row[metric] = bootstrap(table.mean(0))
            row[f"{metric} by training seed"] = table.mean(1).tolist()
            apart = table - tables[VARIANTS[variant].reference]
            row[f"{metric} rise"] = bootstrap(apart.mean(0))
            row[f"{metric} rise by training seed"] = bootstrap(apart.mean(1))
    return figures


def _by_case(records: Sequence[Mapping[str, Any]], who: str, variant: str, metric: str) -> np.ndarray:
    """A metric as [training seed, case]."""
    rows = [r for r in records if r["variant"] == variant and r["reader"] == who]
    numbers = list(dict.fromkeys(r["training seed"] for r in rows))
    return np.array([[r[metric] for r in rows if r["training seed"] == seed] for seed in numbers])


def _budget(path: Path) -> str:
    """What a model was trained with."""
    from distok.model import DisTok
    from distok.training import TrainSettings

    record = DisTok.load(path).provenance
    settings = TrainSettings.from_json(record["settings"])
    own = settings.estimate_count * settings.estimations
    kinds = [f"{own} readings of its own"] if own else []
    kinds += ["readings of a bank"] if settings.bank_count else []
    return f"{settings.steps} steps of {settings.sub_steps} tasks, {' and '.join(kinds)}"


def _table(who: str, figures: Mapping[str, Any], budget: str) -> Table:
    rows = tuple(
        (
            variant,
            f"{row['kl']} ({', '.join(number(value) for value in row['kl by training seed'])})",
            *(str(row[key]) if variant != VARIANTS[variant].reference else "" for key in APART),
        )
        for variant, row in figures.items()
    )
    heads = ("variant", "KL (each training seed) ↓", *APART.values())
    note = (
        "Mean over cases and training seeds [95 % interval over cases, or over training seeds where the column says so]; "
        "differences are paired. What is read teaches the weights by L_cst in the paper, by L_cst and L_fsg in our recipe. "
        f"Each model: {budget}."
    )
    return Table(f"Ablation by the {who}", heads, rows, note)


def _spread_table(spread: Sequence[Mapping[str, Any]], variants: list[str], samples: int) -> Table:
    def by_seed(variant: str, key: str) -> np.ndarray:
        return np.array([row[key] for row in spread if row["variant"] == variant])

    rows = []
    for variant in variants:
        reference, cells = VARIANTS[variant].reference, []
        for kind in ("measured", "raw"):
            cells += [str(bootstrap(by_seed(variant, f"{key}, {kind}"))) for key in ("vendi", "creature")]
            apart = bootstrap(by_seed(variant, f"vendi, {kind}") - by_seed(reference, f"vendi, {kind}"))
            cells.append("" if variant == reference else str(apart))
        rows.append((variant, *cells))
    heads = ("variant", "Vendi ↑", "creature ↑", "Vendi minus reference")
    heads = (*heads, "Vendi, N(0, I) as it is ↑", "creature, as it is ↑", "Vendi minus reference, as it is")
    note = (
        f"{samples} random latents of each model by the evaluator, mean over training seeds; differences are paired by training "
        "seed, 95 % interval over them. First through the measured law of the latents, then N(0, I) decoded as it is."
    )
    return Table("Diversity of random samples", heads, tuple(rows), note)


def _steps(callback: Report, stage: str) -> Any:
    return lambda report: callback(stage, int(report["step"]), int(report["steps"]))
