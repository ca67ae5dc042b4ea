"""What a report is asked for: what is measured and with what (a setup), how much of it and where to (a job)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from distok.baselines import baseline_class
from distok.baselines.base import PRESETS
from distok.errors import DistokError
from distok.evaluation.ablation import LOSSES, RECIPES
from distok.evaluation.cases import STRIDE, Bench
from distok.evaluation.pictures import Darkroom, Report
from distok.scorers import known_kind


@dataclass(frozen=True)
class Setup:
    """What is measured, and by whom.

    Attributes:
        backend, model, labeler, device, dtype, offload: as in :func:`distok.open`.
        evaluator: the file of the independent evaluator; the shipped one for the shipped backend where it knows all classes,
            else none.
        guidance_scale: of every method that has none of its own, in place of the checkpoint's; not for the suite "world".
        denoising_steps: likewise, of every method that fixes no number of steps.
    """

    backend: str | Path | None = None
    model: str | Path | None = None
    labeler: str | Path | None = None
    evaluator: str | Path | None = None
    device: str = "cpu"
    dtype: str = "auto"
    offload: str = "auto"
    guidance_scale: float | None = None
    denoising_steps: int | None = None

    def open(self, out: Path, callback: Report | None = None) -> Bench:
        """Load all of it; pictures are kept in ``out``.

        Raises:
            DistokError: something cannot be loaded, or does not fit together.
        """
        import distok
        from distok.checkpoints import check_device, shipped
        from distok.evaluation.readings import Rulers
        from distok.menagerie.species import NAMES

        check_device(self.device)
        creator = distok.open(self.backend, self.model, self.labeler, self.device, dtype=self.dtype, offload=self.offload)
        evaluator, ruler = self.evaluator, None
        if evaluator is None and self.backend is None and set(creator.names) <= set(NAMES):
            evaluator = shipped("evaluator.safetensors")
        if evaluator is not None:
            from distok.menagerie.evaluator import Evaluator

            ruler = Evaluator.load(evaluator).to(self.device)
        drawing = {"guidance_scale": self.guidance_scale, "steps": self.denoising_steps}
        given = {name: value for name, value in drawing.items() if value is not None}
        creator.backend.defaults = replace(creator.backend.defaults, **given)
        rulers = Rulers(creator.names, creator.labeler, ruler)
        return Bench(creator.backend, creator.model, rulers, Darkroom(creator.backend, out / "pictures", callback), creator.label)

    def flags(self) -> tuple[str, ...]:
        """The same for ``distok create``."""
        words: list[str] = []
        for name, value in asdict(self).items():
            if value is not None and name != "evaluator":
                words += ["--steps" if name == "denoising_steps" else f"--{name.replace('_', '-')}", str(value)]
        return tuple(words)


@dataclass(frozen=True)
class Job:
    """A report.

    Attributes:
        out: its folder.
        setup: what is measured.
        seeds: pictures a case, 1 … 50.
        cases: how many of the evaluation cases, spread evenly, at least 2; if None all, or the 20 of "sensitivity". For the cost
            how many pairs are timed, 5 if None.
        bank: for the ablation, readings for all its models, in place of their own or, with ``readings``, beside those.
        recipe: for the ablation, "ours" or "published"; both if None.
        without: for the ablation, what is left out: "read", the losses that learn from what is read, or "reg"; each if None.
        readings: for the ablation, how many each of its models takes of its own; if None the settings' number, at most 14 400,
            or none with a bank.
        training_seeds: for the ablation, whole numbers, one training of each variant on each; 0 to 4 if None.
        steps: for the ablation and the series, training steps in place of their own.
        methods: of the baselines, by name; all where a suite compares all.
        preset: of their settings; if None "menagerie" for the shipped backend, else "published".
        scorers, beside: for the suite "methods", see :func:`distok.evaluation.methods.methods`.
        callback: told (stage, done, total).

    Raises:
        DistokError: a number out of range, an unknown method or scorer, or no bank where one is named.
    """

    out: Path
    setup: Setup = Setup()
    seeds: int = 10
    cases: int | None = None
    bank: Path | None = None
    readings: int | None = None
    recipe: str | None = None
    without: str | None = None
    training_seeds: tuple[int, ...] | None = None
    steps: int | None = None
    methods: tuple[str, ...] | None = None
    preset: str | None = None
    scorers: Mapping[str, str | Path | None] | None = None
    beside: Path | None = None
    callback: Report | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.seeds <= STRIDE // 2:
            raise DistokError(f"seeds is {self.seeds}; ask for 1 to {STRIDE // 2} pictures a case")
        if self.cases is not None and self.cases < 2:
            raise DistokError(f"cases is {self.cases}; an interval needs at least 2")
        if self.steps is not None and self.steps < 1:
            raise DistokError(f"steps is {self.steps}; train for at least 1")
        if self.readings is not None and self.readings < 1:
            raise DistokError(f"readings is {self.readings}; take at least 1 of each model's own tokens")
        if self.recipe not in (None, *RECIPES):
            raise DistokError(f"there is no recipe {self.recipe!r}; choose {' or '.join(RECIPES)}, or leave it out for both")
        if self.without not in (None, *LOSSES):
            raise DistokError(f"an ablation cannot leave out {self.without!r}; choose {' or '.join(LOSSES)}, or neither for both")
        if self.training_seeds is not None:
            object.__setattr__(self, "training_seeds", _different(self.training_seeds))
        if self.bank is not None and not self.bank.is_file():
            raise DistokError(
                f"there is no bank of readings at {self.bank}; make one with 'distok train --collect N', or leave it out"
            )
        if self.beside is not None and not (self.beside / "methods.json").is_file():
            raise DistokError(f"there is no report of methods in {self.beside}; give a folder of 'distok evaluate methods --out'")
        if self.beside is not None and self.beside.resolve() == self.out.resolve():
            raise DistokError(f"the report in {self.out} would be written over while its rows are taken; give another --out")
        if self.methods is not None:
            object.__setattr__(self, "methods", tuple(dict.fromkeys(self.methods)))
        if self.preset not in (None, *PRESETS):
            raise DistokError(f"there is no preset {self.preset!r}; choose {' or '.join(PRESETS)}")
        for name in self.methods or ():
            baseline_class(name)
        for kind in self.scorers or ():
            known_kind(kind)

    @property
    def baselines(self) -> str:
        """The preset of the methods' settings."""
        return self.preset or ("menagerie" if self.setup.backend is None else "published")

    def asked(self) -> dict[str, Any]:
        """Every argument that decides the figures."""
        own = (
            "seeds",
            "cases",
            "bank",
            "readings",
            "recipe",
            "without",
            "training_seeds",
            "steps",
            "methods",
            "scorers",
            "beside",
        )
        return asdict(self.setup) | {name: getattr(self, name) for name in own} | {"preset": self.baselines}

    def given(self, **names: str) -> dict[str, Any]:
        """What the person chose of this job, under the names that a suite has for it."""
        return {name: value for name, mine in names.items() if (value := getattr(self, mine)) is not None}

    def few(self, divisor: int) -> int:
        """``seeds`` divided, at least 1."""
        return max(1, self.seeds // divisor)


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Training seeds, in their order."""
    if len(seeds) < 2 or len(set(seeds)) < len(seeds) or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        told = ", ".join(map(str, seeds)) or "none"
        raise DistokError(f"the training seeds are {told}; an interval needs at least 2 different whole numbers of 0 or more")
    return tuple(seeds)
