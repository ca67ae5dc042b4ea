"""Suites by name: open what is to be measured, run, and write the report."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

from distok.checkpoints import check_device
from distok.concept import digest
from distok.errors import DistokError, UnavailableError
from distok.evaluation.cases import Bench
from distok.evaluation.job import Job
from distok.evaluation.origin import Origin
from distok.evaluation.report import INDEX, Result, Table, write_index
from distok.files import check_folder
from distok.scorers import KINDS, located

EXPLORED = 12  # pictures of each prior, in units of ``seeds``
REUSED = 2  # pictures of each look are ``seeds`` divided by this
FUSED = 2  # pictures of each concept of the series, likewise
VARIED = 5  # pictures a case under each varied setting, likewise
VARIED_CASES = 20
DIVERSE = 200  # random latents of each model of an ablation: of 20 their draw hides what L_reg does (docs/log.md)
CONCEPTS = 100  # open-ended ones of each method, as many as VLM-guided adaptive negatives were measured with


def _fidelity(bench: Bench, job: Job) -> Result:
    from distok.evaluation.fidelity import fidelity

    return fidelity(bench, job.out, job.seeds, job.cases, preset=job.baselines, **job.given(methods="methods"))


def _methods(bench: Bench, job: Job) -> Result:
    from distok.evaluation.methods import methods

    given = job.given(chosen="methods", scorers="scorers", beside="beside")
    return methods(bench, job.out, job.seeds, job.cases, preset=job.baselines, device=job.setup.device, **given)


def _cost(bench: Bench, job: Job) -> Result:
    from distok.evaluation.cost import cost
    from distok.evaluation.methods import RIVALS

    return cost(bench, job.methods or RIVALS, job.baselines, **job.given(compared="cases"))


def _exploration(bench: Bench, job: Job) -> Result:
    from distok.evaluation.exploration import exploration

    return exploration(bench, EXPLORED * job.seeds)


def _surprise(bench: Bench, job: Job) -> Result:
    from distok.evaluation.surprise import surprise

    return surprise(bench, job.out, min(CONCEPTS, EXPLORED * job.seeds), job.baselines)


def _sensitivity(bench: Bench, job: Job) -> Result:
    from distok.evaluation.sensitivity import sensitivity

    return sensitivity(
        bench, job.out, job.few(VARIED), job.cases or VARIED_CASES, preset=job.baselines, **job.given(chosen="methods")
    )


def _refinement(bench: Bench, job: Job) -> Result:
    from distok.evaluation.refinement import refinement

    return refinement(bench, job.out, job.seeds, job.cases, preset=job.baselines, **job.given(chosen="methods"))


def _series(bench: Bench, job: Job) -> Result:
    from distok.evaluation.series import MARKS, series

    marks = MARKS if job.steps is None else tuple(max(1, mark * job.steps // max(MARKS)) for mark in MARKS)
    return series(bench, job.out / "series", job.few(FUSED), marks=marks)


def _map(bench: Bench, job: Job) -> Result:
    from distok.evaluation.latent_map import latent_map

    return latent_map(bench)


def _ablation(bench: Bench, job: Job) -> Result:
    from distok.evaluation.ablation import TRAINING_SEEDS, ablation, run_ablation, settings_of
    from distok.training import Bank

    models = run_ablation(
        bench.backend, bench.rulers.labeler, bench.names, job.out / "ablation",
        seeds=job.training_seeds or TRAINING_SEEDS, steps=job.steps, settings=settings_of(bench.model, bench.names),
        bank=None if job.bank is None else Bank.load(job.bank), readings=job.readings, recipe=job.recipe, without=job.without,
        callback=job.callback,
    )  # fmt: skip
    return ablation(bench, models, job.seeds, job.cases, samples=DIVERSE)


def _sweep(bench: Bench, job: Job) -> Result:
    from distok.evaluation.sweep import sweep

    return sweep(bench, job.seeds)


def _reuse(bench: Bench, job: Job) -> Result:
    from distok.evaluation.reuse import reuse

    return reuse(bench, job.few(REUSED))


def _speed(bench: Bench, job: Job) -> Result:
    from distok.evaluation.speed import speed

    return speed(bench, job.setup.flags())


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
TAKES = {  # which of a job's options mean something to a suite; all else is for every one, or said in docs/evaluation.md
    "fidelity": ("cases", "methods", "preset"),
    "methods": ("cases", "methods", "preset", "scorers", "beside"),
    "cost": ("cases", "methods", "preset"),
    "surprise": ("preset",),
    "sensitivity": ("cases", "methods", "preset"),
    "refinement": ("cases", "methods", "preset"),
    "series": ("steps",),
    "ablation": ("cases", "bank", "readings", "recipe", "without", "training_seeds", "steps"),
}
GROUPS = {
    "all": ("world", "fidelity", "exploration", "sweep", "reuse", "speed"),  # of one model
    # The paper's tables and figures, every method included: hours on a laptop. "methods" holds all that "fidelity" does.
    "paper": tuple(name for name in _RUN if name not in ("fidelity", "speed")),
}


def run(suite: str, job: Job, command: str = "") -> dict[str, tuple[Table, ...]]:
    """Run a suite, or a group of them ("all", "paper"), and write tables, figures and pictures into the job's folder.

    Every picture and reading is kept there under the hash of what it depends on: a run that was stopped, or is made again with
    more seeds, makes only what is new; a suite that is there already, of the same networks and commit and asked for in the same
    way, is not run again.

    Args:
        suite: one of :data:`SUITES`, or of :data:`GROUPS`.
        job: what is measured, how much of it, and where that is written.
        command: what the report shall say that it was made with.

    Returns:
        The tables of each suite that ran.

    Raises:
        DistokError: an unknown suite, or something cannot be opened or written.
    """
    wanted = GROUPS.get(known(suite), (suite,))
    _check_use(suite, wanted, job)
    check_device(job.setup.device)
    check_folder(job.out)
    tables = {name: _world(job, command, alone=name == suite) for name in wanted if name == "world"}
    chosen = [name for name in wanted if name in _RUN]
    if not chosen:
        return tables
    bench = job.setup.open(job.out, job.callback)
    depends = {"hashes": bench.hashes, "bank": job.bank and digest(job.bank.read_bytes())}
    weights = located(dict.fromkeys(KINDS) if job.scorers is None else job.scorers)
    told = job.beside and digest((job.beside / "methods.json").read_bytes())
    for name in chosen:
        mine = job if name == suite else _share(name, job)
        asked = mine.asked() | depends | ({"scorers": weights, "beside": told} if name == "methods" else {})
        origin = Origin.of(name, asked, command)
        if (held := origin.held(job.out)) is not None:
            tables[name] = held
            continue
        result = _run(name, bench, mine, alone=name == suite)
        result.save(job.out, origin)
        tables[name] = result.tables
    if not (job.out / INDEX).is_file():  # somebody took it away, and every suite was there
        write_index(job.out)
    return tables


def _check_use(suite: str, wanted: Sequence[str], job: Job) -> None:
    """Refuse an option that would change nothing."""
    if job.beside is not None and suite in GROUPS:
        raise DistokError(f"--beside is for 'methods' alone; run that suite by its name, or leave it out for {suite!r}")
    taken = {option for name in wanted for option in TAKES.get(name, ())}
    for option in dict.fromkeys(option for options in TAKES.values() for option in options):
        if getattr(job, option) is not None and option not in taken:
            users = ", ".join(name for name, options in TAKES.items() if option in options)
            given = "scorer" if option == "scorers" else option
            raise DistokError(f"{suite!r} has no use for --{given.replace('_', '-')}, which is for {users}; leave it out")


def _share(name: str, job: Job) -> Job:
    """What of a group's job is a suite's: the refinement takes the methods that refine, and few pairs are timed, always."""
    from distok.evaluation.refinement import LOOPS

    if name == "cost":
        return replace(job, cases=None)
    if name != "refinement" or job.methods is None:
        return job
    return replace(job, methods=tuple(each for each in job.methods if each in LOOPS) or None)


def _run(name: str, bench: Bench, job: Job, alone: bool) -> Result:
    """One suite; in a group, one that cannot be had here says why, and the others go on."""
    try:
        return _RUN[name](bench, job)
    except UnavailableError as reason:
        if alone:
            raise
        return Result(name, {"absent": {name: str(reason)}}, (_unmeasured(name, reason),))


def _world(job: Job, command: str, alone: bool) -> tuple[Table, ...]:
    """The shipped world beside its bars, which says nothing of other parts; in a group why not, and the others go on."""
    from distok.evaluation.instrument import check_world

    try:
        if other := [f.name for f in fields(job.setup) if getattr(job.setup, f.name) != f.default]:
            given = f"--{other[0].replace('_', '-')}"
            raise UnavailableError(f"'world' measures the shipped world as it is, on the CPU; leave {given} out for it")
        found: tuple[Table, ...] = check_world(job.out, job.callback, command=command)["tables"]
    except UnavailableError as reason:
        if alone:
            raise
        left_out = Result("world", {"absent": {"world": str(reason)}}, (_unmeasured("world", reason),))
        left_out.save(job.out, Origin.of("world", job.asked(), command))  # in place of another run's
        return left_out.tables
    return found


def _unmeasured(name: str, reason: UnavailableError) -> Table:
    return Table("Could not be measured", ("suite", "why"), ((name, str(reason)),))


def known(suite: str) -> str:
    """The name of a suite or group, as it is.

    Raises:
        DistokError: there is none of that name.
    """
    names = (*SUITES, *GROUPS)
    if suite not in names:
        near = difflib.get_close_matches(suite, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose {', '.join(names)}"
        raise DistokError(f"unknown suite '{suite[:40]}'; {hint}")
    return suite
