"""``distok evaluate``: tables, plots and one HTML report."""

from pathlib import Path
from typing import Annotated

import typer

from distok.cli import options


def evaluate(
    suite: Annotated[str, typer.Argument(help="fidelity, ablation, exploration, …")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    backend: options.Backend = None,
    model: options.Model = None,
    labeler: options.Labeler = None,
    device: options.Device = "cpu",
) -> None:
    """Measure a model over held-out data, beside the cheap controls."""
    from distok import evaluation
    from distok.cli import output

    with output.stages() as callback:
        evaluation.run(suite, out, backend=backend, model=model, labeler=labeler, device=device, callback=callback)
    output.show(f"report: {output.bold(out)}")
