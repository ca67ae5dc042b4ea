"""``distok score``: numbers for pictures, by the scorers whose weights are here."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distok.cli import options

if TYPE_CHECKING:
    from PIL import Image

    from distok.scorers.table import Scores

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def score(
    pictures: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or folders of them.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            help="What to measure, NAME, or NAME=WEIGHTS where it has some; again for more. Any other word lists them.",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The text to compare with; that in each picture's recipe by default.")
    ] = None,
    mix: Annotated[
        str | None, typer.Option("--mix", help="The mix to compare with, for kl, js …; each picture's own by default.")
    ] = None,
    reference: Annotated[
        list[Path] | None, typer.Option("--reference", help="Pictures, or folders, of known classes, for unseen, frechet, kid.")
    ] = None,
    features: Annotated[str | None, typer.Option("--features", help="A model folder for the measures of the whole set.")] = None,
    labeler: options.Labeler = None,
    concepts: Annotated[Path | None, typer.Option("--concepts", help="The classes, one a line.")] = None,
    device: options.Device = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", help="Of the weights: float32, bfloat16 or float16.")] = "float32",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures scored together.")] = 16,
    as_json: options.Json = False,
) -> None:
    """Score pictures: fit to a prompt, people's taste, fidelity to a mix, novelty, diversity."""
    from distok.checkpoints import read_names
    from distok.cli import output
    from distok.concept import load_picture
    from distok.errors import DistokError
    from distok.scorers.base import ScorerSettings
    from distok.scorers.table import BY_MIX, BY_TEXT, Tools
    from distok.scorers.table import score as measure

    wanted = _metrics(metric or [])
    paths = _files(pictures)
    images = [load_picture(path) for path in paths]
    known: list[Image.Image] = [load_picture(path) for path in _files(reference)] if reference else []
    texts = [_recipe_text(path) for path in paths] if prompt is None and any(name in BY_TEXT for name in wanted) else prompt
    mixes = [_recipe_mix(path) for path in paths] if mix is None and any(name in BY_MIX for name in wanted) else mix
    tools = Tools(
        settings=ScorerSettings(device=device, dtype=dtype, batch=batch),
        labeler=labeler,
        names=tuple(read_names(concepts)) if concepts else None,
        features=features,
        reference=known,
    )
    if isinstance(mixes, list) and concepts is None:
        tools = replace(tools, names=_with_any_words(tools.known, mixes))
    with output.waiting("scoring"):
        found = measure(images, wanted, texts, mixes, tools)
    if len(found.missing) == len(wanted):
        raise DistokError(f"nothing could be measured; {'; '.join(f'{each.name}: {each.reason}' for each in found.missing)}")
    if as_json:
        output.print_json(_record(paths, found))
        return
    _show(paths, found)


def _metrics(given: list[str]) -> dict[str, str | None]:
    from distok.errors import DistokError

    wanted: dict[str, str | None] = {}
    for each in given:
        name, _, path = each.partition("=")
        name = name.strip().lower().replace(" ", "-")
        if name in wanted:
            raise DistokError(f"--metric {name} is given twice; measure with one set of weights at a time")
        wanted[name] = path.strip() or None
    return wanted


def _files(given: list[Path]) -> list[Path]:
    from distok.errors import DistokError
    from distok.gallery import SHEET

    found: list[Path] = []
    for path in given:
        inside = [path]
        if path.is_dir():  # without the sheet that create lays all pictures of a folder on
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and each.name != SHEET)
        if not inside:
            raise DistokError(f"{path} holds no picture; give a folder of PNG or JPEG files")
        found += inside
    return found


def _recipe_text(path: Path) -> str:
    """The prompt a picture of ours was drawn from, its concept in words: "a photo of a pig sheep"."""
    from distok.concept import read_recipe
    from distok.errors import DistokError

    try:
        recipe = read_recipe(path)
    except DistokError:
        raise DistokError(f"{path} holds no recipe to take a prompt from; give one with --prompt") from None
    if not recipe.distribution:
        raise DistokError(f"{path} is of an explored concept and holds no words to compare with; give one with --prompt")
    return recipe.prompt.replace("{}", " ".join(name for name, weight in recipe.distribution.items() if weight))


def _recipe_mix(path: Path) -> str:
    """The mix a picture of ours was asked to be."""
    from distok.concept import read_recipe
    from distok.errors import DistokError

    try:
        asked = read_recipe(path).distribution
    except DistokError:
        asked = None
    if not asked:
        raise DistokError(f"{path} holds no mix that was asked for; give one with --mix 'pig=0.5, sheep=0.5'")
    return ", ".join(f"{name}={weight}" for name, weight in asked.items())


def _with_any_words(known: tuple[str, ...], mixes: list[str]) -> tuple[str, ...]:
    """What ``--any-words`` asked for beside known classes is read among those; a mix of strangers is of another model."""
    from distok.distribution import Distribution

    asked = [Distribution.parse(mix).names for mix in mixes]
    return tuple(dict.fromkeys((*known, *(name for names in asked if set(names) & set(known) for name in names))))


def _record(paths: list[Path], found: "Scores") -> dict[str, object]:
    from distok.scorers.base import Missing

    each = {name: values for name, values in found.each.items() if not isinstance(values, Missing)}
    rows = [{"picture": str(path), **{name: values[i] for name, values in each.items()}} for i, path in enumerate(paths)]
    whole = {name: value for name, value in found.whole.items() if not isinstance(value, Missing)}
    return {
        "pictures": rows,
        "mean": {name: sum(values) / len(values) for name, values in each.items()},
        "set": whole,
        "missing": {lost.name: lost.reason for lost in found.missing},
        "hashes": found.hashes,
        "higher_is_better": {name: scale.higher_is_better for name, scale in found.scales.items()},
    }


def _show(paths: list[Path], found: "Scores") -> None:
    from rich.table import Table
    from rich.text import Text

    from distok.cli import output
    from distok.scorers.base import Missing

    each = {name: values for name, values in found.each.items() if not isinstance(values, Missing)}
    if each:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("picture")
        for name in each:
            table.add_column(f"{name} {found.scales[name].arrow}", justify="right")
        for i, path in enumerate(paths):
            table.add_row(Text(path.name), *(f"{values[i]:.4f}" for values in each.values()))
        if len(paths) > 1:
            means = (f"{sum(values) / len(values):.4f}" for values in each.values())
            table.add_row(Text("mean"), *means, style="bold")
        output.show("", table, "")
    for name, value in found.whole.items():
        if not isinstance(value, Missing):
            output.show(Text(f"{name} {found.scales[name].arrow} of {len(paths)} pictures: {value:.4f}"))
    for lost in found.missing:
        output.show(Text(f"{lost.name}: {lost}", style="yellow"))
