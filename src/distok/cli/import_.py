"""``distok import``: a token of another tool as a concept."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="A textual-inversion file; one a text encoder where each has its own.")
    ],
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Also read .pt and .bin, as tensors only; for files you trust.")
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="What to call the concept; by default what the file says.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; beside FILE by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Read a textual-inversion file of diffusers, A1111, Forge, kohya or ComfyUI, and write it as a concept."""
    from distok.cli import output
    from distok.concept import import_concept
    from distok.errors import DistokError

    concept = import_concept(*files, allow_pickle=allow_pickle, name=name)
    target = out or files[0].with_name(f"{concept.name}-concept.safetensors")
    if target.is_dir():
        target = target / f"{concept.name}-concept.safetensors"
    if any(target.exists() and target.samefile(file) for file in files):
        raise DistokError(f"{target} is the file to import; choose another with --out")
    if target.exists() and not force:
        raise DistokError(f"{target} exists already; write over it with --force, or choose another --out")
    concept.save(target)
    output.show(f"wrote {output.bold(target)}")
    sizes = ", ".join(f"{key} {len(value)} × {value.shape[1]}" for key, value in concept.vectors.items())
    output.show(f"[dim]vectors: {sizes}; distribution: {concept.distribution or 'not said in the file'}[/dim]")
