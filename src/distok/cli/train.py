"""``distok train``: a DisTok model for a pipeline."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from distok.cli import options

MANY = 50_000  # pictures that a CPU draws in hours


def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the run; run again to resume.")],
    backend: options.Backend = None,
    concepts: Annotated[Path | None, typer.Option("--concepts", help="The known classes, one a line.")] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="paper, calibrated, menagerie, menagerie-gpu or menagerie-long; by default the backend's."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps; the preset's by default.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Everything random derives from it.")] = None,
    labeler: options.Labeler = None,
    bank: Annotated[
        Path | None, typer.Option("--bank", help="Readings collected ahead of time, or of RUN/checkpoint-N.safetensors.")
    ] = None,
    collect: Annotated[
        int, typer.Option("--collect", min=0, help="First render and read this many tokens, into OUT/bank.safetensors.")
    ] = 0,
    collect_from: Annotated[
        Path | None, typer.Option("--collect-from", help="Tokens that this model makes, in place of weighted means.")
    ] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="Any training setting, as in --set latent_dim=32.")] = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    offload: options.Offload = "auto",
) -> None:
    """Train a DisTok for a pipeline, or go on where a run was stopped."""
    from distok.checkpoints import as_dtype, check_device, read_names, shipped
    from distok.cli import output

    values = options.changes(changes or [])
    values |= {key: value for key, value in (("steps", steps), ("seed", seed)) if value is not None}
    _check_options(backend, concepts, labeler, bank, collect, collect_from, values)
    chosen = "bank_count" in values
    if bank or collect:
        values.setdefault("bank_count", 1)  # until the bank is there and says how many it holds
    names = read_names(concepts) if concepts else None
    with output.waiting("opening the models"):
        from distok import training
        from distok.backends import FAMILIES, open_backend
        from distok.labelers import open_labeler

        backend_path = backend or shipped("pipeline")
        labeler_path = labeler or (shipped("labeler") if backend is None else None)
        names = names or read_names(shipped("names.txt"))
        check_device(device)
        processes = training.Processes.found(device)  # first of all: each of several has a GPU of its own
        opened = open_backend(backend_path, device, as_dtype(dtype), offload)
        preset = preset or ("menagerie" if backend is None else FAMILIES[opened.family].preset)
        settings = training.preset(preset, **_held_out(names, backend is None) | values)
        reader = None if labeler_path is None else open_labeler(labeler_path, device)
    if processes.first:
        _warn(settings, device)
    if collect:
        bank = bank or out / "bank.safetensors"
        _check_place(out, bank)
        if processes.first:
            _collect(bank, collect, opened, reader, names, settings, collect_from)
        processes.wait()
    readings = None if bank is None else training.Bank.load(bank)
    if readings is not None and not chosen:
        settings = replace(settings, bank_count=training.evenly(len(readings), settings))
    with output.progress("training", lines=20, shown=processes.first) as bar:
        path = training.train(settings, opened, reader, names, out, lambda s: bar(int(s["step"]), int(s["steps"])), readings)
    if processes.first:
        use = ["create", _example(names), *output.opened(backend, path, labeler, device, dtype, offload)]
        output.show(f"trained: {output.bold(path)}", f"[dim]use it: {output.command(*use)}[/dim]")


def _check_options(
    backend: str | None,
    concepts: Path | None,
    labeler: str | None,
    bank: Path | None,
    collect: int,
    collect_from: Path | None,
    values: dict[str, Any],
) -> None:
    """Refuse options that lack another, before the seconds that loading takes."""
    from distok.errors import DistokError

    if backend is not None and concepts is None:
        raise DistokError(
            "a backend of your own needs the classes to mix; write their names into a file, one a line: --concepts FILE"
        )
    if collect_from is not None and not collect:
        raise DistokError("--collect-from says whose tokens are read; say with --collect how many, or leave it out")
    if collect and backend is not None and labeler is None:
        raise DistokError("collecting reads pictures back and needs a labeler; give one with --labeler")
    if values.get("bank_count") and bank is None and not collect:
        raise DistokError("--set bank_count says how much of a bank is read at a time; give one with --bank, or leave it out")


def _check_place(out: Path, bank: Path) -> None:
    """Refuse to collect beside a run that began without."""
    from distok.checkpoints import model_file
    from distok.errors import DistokError
    from distok.files import check_folder

    check_folder(out)
    if not bank.exists() and (any(out.glob("checkpoint-*.safetensors")) or model_file(out).is_file()):
        raise DistokError(f"{out} holds a run that had no bank to read from; collect into another --out")


def _warn(settings: Any, device: str) -> None:
    """Say what a run costs, or leaves out, before it begins."""
    from distok.cli import output

    pictures = settings.estimate_count * settings.estimate_renders * settings.estimations
    if device == "cpu" and pictures > MANY:
        said = f"{pictures} pictures will be drawn, hours of a CPU; give --device cuda, or take --preset menagerie"
        output.console(stderr=True).print(said)
    if settings.delta and settings.steps <= settings.foresight_after:
        said = f"L_fsg begins at step {settings.foresight_after}, after the last; give more steps, or --set foresight_after=N"
        output.console(stderr=True).print(said)


def _held_out(names: tuple[str, ...], shipped: bool) -> dict[str, Any]:
    """The evaluation of the Menagerie's classes stands on sets of them that no training may mix, whatever the pipeline."""
    from distok.menagerie.species import NAMES
    from distok.menagerie.splits import splits

    if not shipped and not set(NAMES) <= set(names):
        return {}
    return {"held_out": [each for each in splits().held_out if set(each) <= set(names)]}


def _collect(
    bank: Path, count: int, backend: Any, labeler: Any, names: tuple[str, ...], settings: Any, model: Path | None
) -> None:
    """Render and read mixtures of the known tokens ahead of time; a bank that is there is only finished."""
    from distok import training
    from distok.checkpoints import model_file
    from distok.cli import output
    from distok.errors import DistokError
    from distok.model import DisTok

    allowed = training.Allowed.among(names, settings.held_out)
    known = backend.name_tokens(names)
    earlier = None if model is None else DisTok.load(model_file(model)).to(known.device)
    if earlier is not None and earlier.settings.token_dim != known.shape[1]:
        raise DistokError(
            f"{model} makes tokens of width {earlier.settings.token_dim}, this text encoder's have {known.shape[1]}; give a "
            "model of this one with --collect-from, or leave it out"
        )
    tokens = training.mixture_tokens(
        known, allowed, count,
        seed=settings.seed, active=settings.estimate_active, jitter=settings.estimate_jitter, model=earlier,
    )  # fmt: skip
    with output.progress("reading pictures", lines=20) as bar:
        training.collect(
            backend, labeler, names, tokens, bank,
            renders=settings.estimate_renders, steps=settings.estimate_steps, size=settings.estimate_size,
            prompt=settings.adaptive_prompt, seed=settings.seed, held_out=settings.held_out,
            callback=lambda s: bar(s["done"], s["total"]),
        )  # fmt: skip


def _example(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name}={weight}" for name, weight in zip(names, (0.6, 0.4), strict=False))
