"""``distok export``: a concept for other tools."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    concept: Annotated[Path, typer.Argument(help="A concept.safetensors that create or explore wrote.")],
    style: Annotated[str, typer.Option("--format", help="diffusers or a1111 (also ComfyUI).")] = "diffusers",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; beside the concept by default.")] = None,
) -> None:
    """Write a concept as a textual-inversion file that other tools load."""
    from rich.markup import escape

    from distok.cli import output
    from distok.concept import Concept, export_concept, trigger
    from distok.errors import DistokError

    token = Concept.load(concept)
    target = out or concept.with_name(f"{token.name}-{style}.safetensors")
    if target.exists() and target.samefile(concept):
        raise DistokError(f"{target} is the concept itself; choose another file with --out")
    path = export_concept(token, target, style)
    word = trigger(token, path, style)
    output.show(f"wrote {output.bold(path)}")
    how = f'in Python: pipe.load_textual_inversion("{path}")' if style == "diffusers" else "put it into the folder embeddings/"
    output.show(f"[dim]{escape(how)}, then prompt with {escape(repr(f'a photo of a {word}'))}[/dim]")
