"""``distok export``: a concept for other tools."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    concept: Annotated[Path, typer.Argument(help="A concept.safetensors that create or explore wrote.")],
    style: Annotated[
        str, typer.Option("--format", help="diffusers, a1111 (one encoder: also Forge, ComfyUI, kohya), sdxl, flux or sd3.")
    ] = "diffusers",
    name: Annotated[str | None, typer.Option("--name", help="What to call the token; by default the concept's name.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; beside the concept by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a concept as a textual-inversion file that other tools load."""
    from dataclasses import replace

    from rich.markup import escape

    from distok.cli import output
    from distok.concept import Concept, export_concept, targets, trigger, unusual
    from distok.concept.formats import file_format
    from distok.errors import DistokError

    file_format(style)  # an unknown one is no part of a file's name
    token = Concept.load(concept)
    token = token if name is None else replace(token, name=name)
    target = out or concept.with_name(f"{token.name}-{style}.safetensors")
    for path in targets(token, target, style).values():
        if path.exists() and path.samefile(concept):
            raise DistokError(f"{path} is the concept itself; choose another file with --out")
    paths = export_concept(token, target, style, overwrite=force)
    for path in paths:
        output.show(f"wrote {output.bold(path)}")
    if note := unusual(token, style):
        output.show(f"[dim]{escape(note)}[/dim]")
    for line in _how(paths, list(token.vectors), style, trigger(token, paths[0], style)):
        output.show(f"[dim]{escape(line)}[/dim]")


def _how(paths: list[Path], encoders: list[str], style: str, word: str) -> list[str]:
    """What to do with the files."""
    if style != "diffusers":
        tools = {"a1111": "A1111 and Forge", "sdxl": "A1111 and Forge", "flux": "", "sd3": ""}[style]
        web = f'{tools}: put it into embeddings/, then prompt with "a photo of a {word}"'
        comfy = f'ComfyUI: put it into models/embeddings/, then prompt with "a photo of a embedding:{word}"'
        return [web, comfy] if tools else [comfy]
    lines = [f'in Python: pipe.load_textual_inversion("{paths[0]}")']
    if len(paths) > 1:
        parts = zip(paths, encoders, strict=True)
        lines = [
            f'in Python: pipe.load_textual_inversion("{path}", text_encoder=pipe.{key}, '
            f"tokenizer=pipe.{key.replace('text_encoder', 'tokenizer')})"
            for path, key in parts
        ]
    return [*lines, f"then prompt with 'a photo of a {word}'"]
