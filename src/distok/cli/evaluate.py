"""``distok evaluate``: tables, plots and one HTML report."""

from pathlib import Path
from typing import Annotated

import typer

from distok.cli import options


def evaluate(
    suite: Annotated[str, typer.Argument(help="world, fidelity, exploration, ablation, sweep, reuse, speed, or all.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into; run again to go on.")],
    seeds: Annotated[int, typer.Option("--seeds", help="Pictures a case.")] = 10,
    cases: Annotated[int | None, typer.Option("--cases", help="So many of the cases; all by default.")] = None,
    backend: options.Backend = None,
    model: options.Model = None,
    labeler: options.Labeler = None,
    evaluator: Annotated[Path | None, typer.Option("--evaluator", help="The independent evaluator's file.")] = None,
    bank: Annotated[Path | None, typer.Option("--bank", help="ablation: readings that were collected ahead of time.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="ablation: training steps of each variant.")] = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    offload: options.Offload = "auto",
) -> None:
    """Measure a model over held-out data, beside the cheap controls."""
    from distok import evaluation
    from distok.cli import output

    with output.stages() as callback:
        tables = evaluation.run(
            suite, out, backend, model, labeler, evaluator, seeds, cases, bank, steps,
            device=device, callback=callback, dtype=dtype, offload=offload,
        )  # fmt: skip
    output.show_tables(table for suite_tables in tables.values() for table in suite_tables)
    output.show(f"report: {output.bold(out / 'report.html')}")
