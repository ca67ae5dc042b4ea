"""Suites by name: open what is to be measured, run, and write the report."""

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distok.errors import DistokError
from distok.evaluation.cases import STRIDE, Bench
from distok.evaluation.pictures import Darkroom, Report
from distok.evaluation.report import Result, Table
from distok.files import write_text

EXPLORED = 12  # pictures of each prior, in units of ``seeds``
REUSED = 2  # pictures of each look are ``seeds`` divided by this


@dataclass(frozen=True)
class Job:
    """What a run was asked for."""

    out: Path
    seeds: int
    cases: int | None = None
    bank: Path | None = None
    steps: int | None = None
    options: tuple[str, ...] = ()
    callback: Report | None = None


def _fidelity(bench: Bench, job: Job) -> Result:
    from distok.evaluation.fidelity import fidelity

    return fidelity(bench, job.seeds, job.cases)


def _exploration(bench: Bench, job: Job) -> Result:
    from distok.evaluation.exploration import exploration

    return exploration(bench, EXPLORED * job.seeds)


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

    return reuse(bench, max(1, job.seeds // REUSED))


def _speed(bench: Bench, job: Job) -> Result:
    from distok.evaluation.speed import speed

    return speed(bench, job.options)


_RUN: dict[str, Callable[[Bench, Job], Result]] = {
    "fidelity": _fidelity,
    "exploration": _exploration,
    "ablation": _ablation,
    "sweep": _sweep,
    "reuse": _reuse,
    "speed": _speed,
}
SUITES = ("world", *_RUN)
ALL = tuple(suite for suite in SUITES if suite != "ablation")  # the ablation trains nine models: it is run by name


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
) -> dict[str, tuple[Table, ...]]:
    """Run a suite, or "all" of them but the ablation, and write tables, figures and pictures into ``out``.

    Every picture is kept in ``out/pictures`` under the hash of its recipe: a run that was stopped, or is made again with more
    seeds, renders only what is new.

    Args:
        suite: world, fidelity, exploration, ablation, sweep, reuse, speed, or all.
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

    Returns:
        The tables of each suite that ran.

    Raises:
        DistokError: an unknown suite, a number out of range, or something cannot be opened or written.
    """
    wanted = ALL if suite == "all" else (suite,)
    _check(suite, seeds, cases, steps)
    out = Path(out)
    record = {"suite": suite, "backend": backend, "model": model, "labeler": labeler, "seeds": seeds, "cases": cases}
    write_text(out / "asked.json", json.dumps({key: _text(value) for key, value in record.items()}, indent=1) + "\n")
    tables: dict[str, tuple[Table, ...]] = {}
    if "world" in wanted and backend is None:
        from distok.evaluation.instrument import check_world

        tables["world"] = check_world(out, callback)["tables"]
    chosen = [name for name in wanted if name in _RUN]
    if not chosen and "world" not in tables:
        raise DistokError("the suite 'world' measures the Menagerie alone; leave --backend out, or choose another suite")
    if chosen:
        bench = open_bench(out, backend, model, labeler, evaluator, device, callback, dtype, offload)
        given = {"--backend": backend, "--model": model, "--labeler": labeler, "--device": device}
        given |= {"--dtype": dtype, "--offload": offload}
        options = tuple(word for flag, value in given.items() if value is not None for word in (flag, str(value)))
        job = Job(out, seeds, cases, None if bank is None else Path(bank), steps, options, callback)
        for name in chosen:
            result = _RUN[name](bench, job)
            result.save(out)
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
) -> Bench:
    """Open all that a suite needs; see :func:`run`."""
    import distok
    from distok.checkpoints import shipped
    from distok.evaluation.readings import Rulers

    if evaluator is None and backend is None:
        evaluator = shipped("evaluator.safetensors")
    ruler: Any = None
    if evaluator is not None:
        from distok.menagerie import need_artist

        need_artist()
        from distok.menagerie.evaluator import Evaluator

        ruler = Evaluator.load(evaluator).to(device)
    creator = distok.open(backend, model, labeler, device, dtype=dtype, offload=offload)
    rulers = Rulers(creator.names, creator.labeler, ruler)
    darkroom = Darkroom(creator.backend, out / "pictures", callback)
    return Bench(creator.backend, creator.model, rulers, darkroom, creator.label)


def _check(suite: str, seeds: int, cases: int | None, steps: int | None) -> None:
    known = (*SUITES, "all")
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


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
