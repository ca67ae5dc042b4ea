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
    from distok.cli import output
    from distok.concept import Concept, export_concept, trigger

    token = Concept.load(concept)
    path = export_concept(token, out or concept.with_name(f"{token.name}.{style}.safetensors"), style)
    word = trigger(token, path, style)
    output.show(f"wrote [bold]{path}[/bold]")
    if style == "diffusers":
        output.show(f'[dim]in Python: pipe.load_textual_inversion("{path}"), then prompt with "a photo of a {word}"[/dim]')
    else:
        output.show(f'[dim]put it into the folder embeddings/, then prompt with "a photo of a {word}"[/dim]')
