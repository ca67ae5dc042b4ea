"""``distok evaluate``: tables, plots and one HTML report."""

from pathlib import Path
from typing import Annotated

import typer

from distok.cli import options


def evaluate(
    context: typer.Context,
    suite: Annotated[
        str | None,
        typer.Argument(
            help="paper (every method and figure of the paper), all (one model), or one of: world, fidelity, methods, cost, "
            "exploration, surprise, sweep, reuse, map, series, sensitivity, refinement, ablation, speed.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write into; run again to go on.")] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Pictures a case; some suites draw a multiple of it, or a part: docs/evaluation.md.")
    ] = 10,
    cases: Annotated[
        int | None, typer.Option("--cases", help="So many cases; all by default, 20 of sensitivity, 5 of cost.")
    ] = None,
    methods: Annotated[str | None, typer.Option("--methods", help="Baselines by commas; see 'distok baseline'.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Of the baselines: published or menagerie.")] = None,
    scorer: Annotated[
        list[str] | None, typer.Option("--scorer", help="methods: KIND or KIND=FOLDER; all that are here by default.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option("--beside", help="methods: a report whose rows of the methods that are not asked for are kept.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option("--compare", help="Two report folders: what moved, and is it more than chance?")
    ] = None,
    backend: options.Backend = None,
    model: options.Model = None,
    labeler: options.Labeler = None,
    evaluator: Annotated[Path | None, typer.Option("--evaluator", help="The independent evaluator's file.")] = None,
    bank: Annotated[
        Path | None, typer.Option("--bank", help="ablation: readings that all models share, from 'distok train'.")
    ] = None,
    readings: Annotated[
        int | None, typer.Option("--readings", help="ablation: how many each model takes of its own; none with a bank.")
    ] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="ablation: ours or published; both by default.")] = None,
    without: Annotated[
        str | None,
        typer.Option("--without", help="ablation: leave out read (L_cst, L_fsg) or reg (L_reg); each in turn by default."),
    ] = None,
    training_seeds: Annotated[
        str | None, typer.Option("--training-seeds", help="ablation: by commas, a training of each variant on each; 0 to 4.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="ablation, series: training steps.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance-scale", help="Of methods without one of their own; else the checkpoint's.")
    ] = None,
    denoising_steps: Annotated[
        int | None, typer.Option("--denoising-steps", help="Of methods without a number of their own; else the checkpoint's.")
    ] = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    offload: options.Offload = "auto",
) -> None:
    """Measure a model over held-out data, beside every other method; or compare two reports."""
    import shlex
    import sys

    from distok import evaluation
    from distok.cli import output
    from distok.errors import DistokError

    if compare is not None:
        _compare(compare, options.given(context) - {"compare"})
        return
    if suite is None or out is None:
        raise DistokError("say what to measure and where to write it, as in: distok evaluate fidelity --out report")
    named = None if methods is None else tuple(name.strip() for name in methods.split(",") if name.strip())
    trained = None if training_seeds is None else options.whole_numbers(training_seeds, "--training-seeds")
    scorers = None if not scorer else {kind: path or None for kind, _, path in (each.partition("=") for each in scorer)}
    setup = evaluation.Setup(backend, model, labeler, evaluator, device, dtype, offload, guidance_scale, denoising_steps)
    with output.stages() as callback:
        job = evaluation.Job(
            out, setup, seeds, cases, bank, readings, recipe, without, trained, steps, named, preset, scorers, beside, callback
        )
        tables = evaluation.run(suite, job, shlex.join(["distok", *sys.argv[1:]]))
    output.show_tables(table for suite_tables in tables.values() for table in suite_tables)
    output.show(f"report: {output.bold(out / 'report.html')}")


def _compare(folders: tuple[Path, Path], beside: set[str]) -> None:
    from distok.cli import output
    from distok.errors import DistokError
    from distok.evaluation.comparison import compare_reports

    if beside:
        idle = sorted(name if name == "suite" else f"--{name.replace('_', '-')}" for name in beside)
        raise DistokError(f"--compare measures nothing and writes nothing; leave out {', '.join(idle)}")
    output.show_tables(compare_reports(*folders))
