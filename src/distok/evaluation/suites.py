"""Suites by name: open what is to be measured, run, and write the report."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distok.baselines import baseline_class
from distok.errors import DistokError
from distok.evaluation.cases import STRIDE, Bench
from distok.evaluation.origin import Origin
from distok.evaluation.pictures import Darkroom, Report
from distok.evaluation.report import Result, Table

EXPLORED = 12  # pictures of each prior, in units of ``seeds``
REUSED = 2  # pictures of each look are ``seeds`` divided by this
FUSED = 2  # pictures of each concept of the series, likewise
VARIED = 5  # pictures a case under each varied setting, likewise
VARIED_CASES = 20
CONCEPTS = 24  # open-ended ones of each method: a search takes half a minute each


@dataclass(frozen=True)
class Job:
    """What a run was asked for."""

    out: Path
    seeds: int
    cases: int | None = None
    bank: Path | None = None
    steps: int | None = None
    methods: tuple[str, ...] | None = None
    preset: str = "published"
    scorers: Mapping[str, str | Path | None] | None = None
    options: tuple[str, ...] = ()
    callback: Report | None = None

    def given(self, **names: str) -> dict[str, Any]:
        """What the person chose of this job, under the names that a suite has for it."""
        return {name: value for name, mine in names.items() if (value := getattr(self, mine)) is not None}

    def few(self, divisor: int) -> int:
        """``seeds`` divided, at least 1."""
        return max(1, self.seeds // divisor)


def _fidelity(bench: Bench, job: Job) -> Result:
    from distok.evaluation.fidelity import fidelity

    return fidelity(bench, job.out, job.seeds, job.cases, preset=job.preset, **job.given(methods="methods"))


def _methods(bench: Bench, job: Job) -> Result:
    from distok.evaluation.methods import methods

    given = job.given(chosen="methods", scorers="scorers")
    return methods(bench, job.out, job.seeds, job.cases, preset=job.preset, **given)


def _cost(bench: Bench, job: Job) -> Result:
    from distok.evaluation.cost import cost
    from distok.evaluation.methods import RIVALS

    return cost(bench, job.methods or RIVALS, job.preset)


def _exploration(bench: Bench, job: Job) -> Result:
    from distok.evaluation.exploration import exploration

    return exploration(bench, EXPLORED * job.seeds)


def _surprise(bench: Bench, job: Job) -> Result:
    from distok.evaluation.surprise import surprise

    return surprise(bench, job.out, min(CONCEPTS, EXPLORED * job.seeds), job.preset)


def _sensitivity(bench: Bench, job: Job) -> Result:
    from distok.evaluation.sensitivity import sensitivity

    return sensitivity(
        bench, job.out, job.few(VARIED), job.cases or VARIED_CASES, preset=job.preset, **job.given(chosen="methods")
    )


def _refinement(bench: Bench, job: Job) -> Result:
    from distok.evaluation.refinement import refinement

    return refinement(bench, job.out, job.seeds, job.cases, preset=job.preset, **job.given(chosen="methods"))


def _series(bench: Bench, job: Job) -> Result:
    from distok.evaluation.series import MARKS, series

    marks = MARKS if job.steps is None else tuple(max(1, mark * job.steps // max(MARKS)) for mark in MARKS)
    return series(bench, job.out / "series", job.few(FUSED), marks=marks)


def _map(bench: Bench, job: Job) -> Result:
    from distok.evaluation.latent_map import latent_map

    return latent_map(bench)


def _ablation(bench: Bench, job: Job) -> Result:
    from distok.evaluation.ablation import ablation, bank_for, run_ablation, settings_of
    from distok.training import Bank

    folder = job.out / "ablation"
    bank = Bank.load(job.bank) if job.bank else bank_for(bench, folder / "bank.safetensors", job.callback)
    settings = settings_of(bench.model, bench.names)
    models = run_ablation(
        bench.backend, bench.rulers.labeler, bank, folder, steps=job.steps, settings=settings, callback=job.callback
    )
    return ablation(bench, models, job.seeds, job.cases, samples=10 * job.seeds)


def _sweep(bench: Bench, job: Job) -> Result:
    from distok.evaluation.sweep import sweep

    return sweep(bench, job.seeds)


def _reuse(bench: Bench, job: Job) -> Result:
    from distok.evaluation.reuse import reuse

    return reuse(bench, job.few(REUSED))


def _speed(bench: Bench, job: Job) -> Result:
    from distok.evaluation.speed import speed

    return speed(bench, job.options)


_RUN: dict[str, Callable[[Bench, Job], Result]] = {
    "fidelity": _fidelity,
    "methods": _methods,
    "cost": _cost,
    "exploration": _exploration,
    "surprise": _surprise,
    "sweep": _sweep,
    "reuse": _reuse,
    "map": _map,
    "series": _series,
    "sensitivity": _sensitivity,
    "refinement": _refinement,
    "ablation": _ablation,
    "speed": _speed,
}
SUITES = ("world", *_RUN)
GROUPS = {
    "all": ("world", "fidelity", "exploration", "sweep", "reuse", "speed"),  # of one model, in minutes
    # The paper's tables and figures, every method included: hours on a laptop. "methods" holds all that "fidelity" does.
    "paper": tuple(name for name in _RUN if name not in ("fidelity", "speed")),
}


def run(
    suite: str,
    out: str | Path,
    backend: str | Path | None = None,
    model: str | Path | None = None,
    labeler: str | Path | None = None,
    evaluator: str | Path | None = None,
    seeds: int = 10,
    cases: int | None = None,
    bank: str | Path | None = None,
    steps: int | None = None,
    device: str = "cpu",
    callback: Report | None = None,
    dtype: str = "auto",
    offload: str = "auto",
    methods: Sequence[str] | None = None,
    preset: str | None = None,
    scorers: Mapping[str, str | Path | None] | None = None,
    guidance_scale: float | None = None,
    command: str = "",
) -> dict[str, tuple[Table, ...]]:
    """Run a suite, or a group of them ("all", "paper"), and write tables, figures and pictures into ``out``.

    Every picture and reading is kept in ``out`` under the hash of what it depends on: a run that was stopped, or is made again
    with more seeds, makes only what is new; a suite that is there already, asked for in the same way of the same commit, is not
    run again.

    Args:
        suite: one of :data:`SUITES`, or of :data:`GROUPS`.
        out: the folder of the report.
        backend, model, labeler: as in :func:`distok.open`.
        evaluator: the file of the independent evaluator; the shipped one for the shipped backend, none for others.
        seeds: pictures a case, 1 … 50.
        cases: how many of the evaluation cases, spread evenly; None for all.
        bank: for the ablation, readings collected ahead of time; without it some are collected first.
        steps: for the ablation, training steps in place of the model's own.
        device: cpu or cuda.
        callback: told (stage, done, total).
        dtype, offload: as in :func:`distok.open`.
        methods: of the baselines, by name; all where a suite compares all.
        preset: of their settings; "menagerie" for the shipped backend, else "published".
        scorers: for the suite "methods", see :func:`distok.evaluation.methods.methods`.
        guidance_scale: of every method that has none of its own, in place of the checkpoint's; not for the suite "world".
        command: what the report shall say that it was made with.

    Returns:
        The tables of each suite that ran.

    Raises:
        DistokError: an unknown suite, a number out of range, or something cannot be opened or written.
    """
    _check(suite, seeds, cases, steps, methods)
    wanted, out = GROUPS.get(suite, (suite,)), Path(out)
    preset = preset or ("menagerie" if backend is None else "published")
    asked = {"backend": backend, "model": model, "labeler": labeler, "evaluator": evaluator, "device": device, "dtype": dtype}
    asked |= {"offload": offload, "seeds": seeds, "cases": cases, "bank": bank, "steps": steps, "preset": preset}
    asked |= {"methods": methods, "scorers": scorers, "guidance_scale": guidance_scale}
    tables: dict[str, tuple[Table, ...]] = {}
    if "world" in wanted and backend is None:
        from distok.evaluation.instrument import check_world

        tables["world"] = check_world(out, callback)["tables"]
    chosen = [name for name in wanted if name in _RUN]
    if not chosen and "world" not in tables:
        raise DistokError("the suite 'world' measures the Menagerie alone; leave --backend out, or choose another suite")
    bench = None
    for name in chosen:
        origin = Origin.of(name, asked, command)
        if (held := origin.held(out)) is not None:
            tables[name] = held
            continue
        bench = bench or open_bench(out, backend, model, labeler, evaluator, device, callback, dtype, offload, guidance_scale)
        given = {"--backend": backend, "--model": model, "--labeler": labeler, "--device": device}
        given |= {"--dtype": dtype, "--offload": offload, "--guidance-scale": guidance_scale}
        options = tuple(word for flag, value in given.items() if value is not None for word in (flag, str(value)))
        job = Job(
            out, seeds, cases, None if bank is None else Path(bank), steps,
            None if methods is None else tuple(methods), preset, scorers, options, callback,
        )  # fmt: skip
        result = _RUN[name](bench, job)
        result.save(out, origin)
        tables[name] = result.tables
    return tables


def open_bench(
    out: Path,
    backend: str | Path | None = None,
    model: str | Path | None = None,
    labeler: str | Path | None = None,
    evaluator: str | Path | None = None,
    device: str = "cpu",
    callback: Report | None = None,
    dtype: str = "auto",
    offload: str = "auto",
    guidance_scale: float | None = None,
) -> Bench:
    """Open all that a suite needs; see :func:`run`."""
    import distok
    from distok.checkpoints import shipped
    from distok.evaluation.readings import Rulers

    if evaluator is None and backend is None:
        evaluator = shipped("evaluator.safetensors")
    ruler: Any = None
    if evaluator is not None:
        from distok.menagerie.evaluator import Evaluator

        ruler = Evaluator.load(evaluator).to(device)
    creator = distok.open(backend, model, labeler, device, dtype=dtype, offload=offload)
    if guidance_scale is not None:
        creator.backend.defaults = replace(creator.backend.defaults, guidance_scale=guidance_scale)
    rulers = Rulers(creator.names, creator.labeler, ruler)
    darkroom = Darkroom(creator.backend, out / "pictures", callback)
    return Bench(creator.backend, creator.model, rulers, darkroom, creator.label)


def _check(suite: str, seeds: int, cases: int | None, steps: int | None, methods: Sequence[str] | None) -> None:
    known = (*SUITES, *GROUPS)
    if suite not in known:
        near = difflib.get_close_matches(suite, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose {', '.join(known)}"
        raise DistokError(f"unknown suite '{suite[:40]}'; {hint}")
    if not 1 <= seeds <= STRIDE // 2:
        raise DistokError(f"seeds is {seeds}; ask for 1 to {STRIDE // 2} pictures a case")
    if cases is not None and cases < 2:
        raise DistokError(f"cases is {cases}; an interval needs at least 2")
    if steps is not None and steps < 1:
        raise DistokError(f"steps is {steps}; train for at least 1")
    for name in methods or ():
        baseline_class(name)
