"""``distok read``: what mix is this?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distok.cli import options

if TYPE_CHECKING:
    from distok.distribution import Distribution


def read(
    picture: Annotated[Path, typer.Argument(help="A PNG or JPEG.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Name at most this many classes.")] = 5,
    model: Annotated[
        Path | None, typer.Option("--model", help="Choose among the classes of this DisTok; the Menagerie's by default.")
    ] = None,
    labeler: options.Labeler = None,
    question: Annotated[str | None, typer.Option("--question", help="What to ask, for a labeler that answers.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="The caption or answer; {} is the name.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Scores are divided by it: a higher one gives a flatter mix.")
    ] = None,
    concepts: Annotated[
        Path | None, typer.Option("--concepts", help="Choose among these classes, one a line; those of --model by default.")
    ] = None,
    device: options.Device = "cpu",
    dtype: Annotated[
        str, typer.Option("--dtype", help="On a GPU, the labeler's weights as float16 or bfloat16; auto is float32.")
    ] = "auto",
    as_json: options.Json = False,
) -> None:
    """Read a picture back as a mix, ready to paste into create."""
    from distok.checkpoints import check_device, known_names, read_names, shipped
    from distok.cli import output
    from distok.concept import load_picture
    from distok.distribution import Distribution

    check_device(device)
    image = load_picture(picture)
    with output.waiting("opening the labeler"):
        from distok.labelers import open_labeler

        names = read_names(concepts) if concepts else known_names(model or shipped("distok.safetensors"))
        given = {"question": question, "template": template, "temperature": temperature}
        settings = {name: value for name, value in given.items() if value is not None}
        reader = open_labeler(labeler or shipped("labeler"), device, None if dtype == "auto" else dtype, **settings)
        (measured,) = reader.read([image], names)
    heaviest = [(name, weight) for name, weight in measured.top(top) if weight >= 0.01] or measured.top(1)
    mix = Distribution.from_mapping({name: max(round(weight, 2), 0.01) for name, weight in heaviest})
    text = ", ".join(f"{name}={weight:.2f}" for name, weight in mix.as_dict().items())
    if as_json:
        output.print_json({"picture": str(picture), "mix": text, "measured": measured.as_dict()})
        return
    output.show("", output.mix_table(_asked(picture), measured), "")
    # Only the Menagerie's classes are known to go with what create opens by itself.
    output.show(output.command("create", text) if model is None and concepts is None else output.bold(text))


def _asked(picture: Path) -> "Distribution | None":
    """Return the mix that a picture of ours was asked to be."""
    from distok.concept import read_recipe
    from distok.distribution import Distribution
    from distok.errors import DistokError

    try:
        asked = read_recipe(picture).distribution
    except DistokError:  # somebody else's picture
        return None
    return asked and Distribution.from_mapping(asked)
