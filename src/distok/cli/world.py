"""``distok world``: the Menagerie, the small text-to-image world that ships with the package."""

from pathlib import Path
from typing import Annotated

import typer

from distok.cli import options

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="The Menagerie: draw its animals, train it, check it.")


@app.command()
def draw(
    mix: Annotated[str, typer.Argument(help='The mix, like "pig=0.55, sheep=0.25, snake=0.2".')],
    n: Annotated[int, typer.Option("-n", help="How many pictures.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first picture; the next ones count up.")] = 0,
    style: Annotated[str, typer.Option("--style", help="photo, watercolor, …")] = "photo",
    scene: Annotated[str | None, typer.Option("--scene", help="meadow, beach, …")] = None,
    accessory: Annotated[str | None, typer.Option("--accessory", help="red hat, blue scarf, …")] = None,
    size: Annotated[int, typer.Option("--size", help="Side in pixels, a multiple of 32.")] = 128,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("drawings"),
) -> None:
    """Have the artist draw a mix: no model, exact parts."""
    from distok import menagerie
    from distok.asking import check_count, slug
    from distok.cli import output
    from distok.concept import write_picture
    from distok.distribution import Distribution
    from distok.gallery import suffix
    from distok.menagerie.species import all_species

    check_count(n)
    looks = "".join(f"-{word.replace(' ', '_')}" for word in (style if style != "photo" else None, scene, accessory) if word)
    distribution = Distribution.parse(mix, all_species())
    told = suffix({"mix": distribution.as_dict(), "size": size})  # a name has no room for all of a mix
    for each in range(seed, seed + n):
        picture = menagerie.draw(
            distribution.as_dict(), each, style=style, scene=scene, accessories=(accessory,) if accessory else (), size=size
        )
        output.show(output.bold(write_picture(out / f"{slug(distribution)}{looks}-{told}-{each}.png", picture)))


@app.command()
def sheet(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("sheets"),
) -> None:
    """Have the artist draw contact sheets: all species, and what prompts can name."""
    from distok import menagerie
    from distok.cli import output
    from distok.concept import write_picture

    menagerie.need_artist()
    from distok.menagerie.sheet import looks_sheet, species_sheet

    for name, picture in (("species", species_sheet()), ("looks", looks_sheet())):
        output.show(output.bold(write_picture(out / f"{name}.png", picture)))


@app.command()
def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the run; run again to resume.")],
    stage: Annotated[list[str] | None, typer.Option("--stage", help="This stage and what it needs (may be given again).")] = None,
    pictures: Annotated[Path | None, typer.Option("--pictures", help="Your own art: a folder a class, or captions.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop each stage after that long; run again to go on.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--start", help="A world to go on from, instead of from nothing.")] = None,
    device: options.Device = "cpu",
) -> None:
    """Train all of a world but its DisTok; run again to resume."""
    from distok import menagerie
    from distok.cli import output

    with output.stages() as callback:
        menagerie.train_world(
            out, stages=stage or None, pictures=pictures, device=device, callback=callback, minutes=minutes, start=start
        )
    said = "trained" if minutes is None else f"at most {minutes:g} minutes a stage, run again to go on"
    output.show(f"{said}: {output.bold(out)}")


@app.command()
def check(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report.")] = Path("world-check"),
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the pictures: an impression only.")] = False,
    world: Annotated[Path | None, typer.Option("--world", help="A trained world; the shipped one by default.")] = None,
) -> None:
    """Measure the world: what its parts draw and read, against the artist's own pictures."""
    import shlex
    import sys

    from distok import evaluation
    from distok.cli import output

    with output.stages() as callback:
        found = evaluation.check_world(out, callback, quick, world, command=shlex.join(["distok", *sys.argv[1:]]))
    output.show_tables(found["tables"])
    output.show(f"report: {output.bold(out / 'report.html')}")
