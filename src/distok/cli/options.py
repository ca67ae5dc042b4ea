"""Options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Backend = Annotated[str | None, typer.Option("--backend", help="A diffusers pipeline folder; the Menagerie by default.")]
Model = Annotated[str | None, typer.Option("--model", help="The distok.safetensors trained for that backend, or its run.")]
Labeler = Annotated[
    str | None,
    typer.Option("--labeler", help="Folder or cached id of the model that reads pictures back; several by commas are averaged."),
]
Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu or cuda.")]
Dtype = Annotated[str, typer.Option("--dtype", help="Weights as float32 (which auto is), bfloat16 or float16.")]
Offload = Annotated[
    str, typer.Option("--offload", help="On a GPU: fast (all there), balanced (a part at a time), low (a layer), or auto.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", "-p", help="What to draw; {} is the creature.")]
NegativePrompt = Annotated[str | None, typer.Option("--negative-prompt", help="What to avoid.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]
GuidanceScale = Annotated[float | None, typer.Option("--guidance-scale", help="How strictly to follow the prompt.")]
Size = Annotated[int | None, typer.Option("--size", help="Side of a picture in pixels.")]
Force = Annotated[bool, typer.Option("--force", help="Write over something else made in the same folder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
OutFolder = Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write into.")]


def given(context: typer.Context) -> set[str]:
    """Names of the arguments and options that a person gave, whatever their values."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def changes(given: list[str]) -> dict[str, Any]:
    """Read the ``NAME=VALUE`` of ``--set``: a value is JSON where it can be, its lists as tuples, else text.

    Raises:
        DistokError: one has no ``=``.
    """
    from distok.errors import DistokError

    values: dict[str, Any] = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign:
            raise DistokError(f"--set {each!r} has no value; write NAME=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        values[name.strip()] = tuple(value) if isinstance(value, list) else value
    return values


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read whole numbers by commas.

    Raises:
        DistokError: something else.
    """
    from distok.errors import DistokError

    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise DistokError(f"{option} {text!r} is not a list of whole numbers; write them by commas, as in 5,6,7") from None
