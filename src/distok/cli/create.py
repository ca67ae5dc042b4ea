"""``distok create``: a mix becomes pictures, a reusable concept, and a measurement."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distok.cli import options

if TYPE_CHECKING:
    from distok.api import Creator
    from distok.concept import Concept, Recipe
    from distok.creation import Creation

EXAMPLE = '"pig=0.55, sheep=0.25, snake=0.2"'
BestOf = Annotated[int, typer.Option("--best-of", help="Draw each picture so many times and keep the one closest to the mix.")]
Refine = Annotated[
    int,
    typer.Option(
        "--refine",
        min=0,
        help="So many rounds of drawing, reading and corrected weights, from 2; the best round's token is kept.",
    ),
]


def create(
    mix: Annotated[str | None, typer.Argument(help=f"The mix, like {EXAMPLE}.", show_default=False)] = None,
    prompt: options.Prompt = None,
    n: Annotated[int, typer.Option("-n", help="How many pictures.")] = 4,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the first picture; the next ones count up.")] = None,
    out: options.OutFolder = None,
    concept: Annotated[Path | None, typer.Option("--concept", help="Use a saved concept instead of a mix.")] = None,
    from_picture: Annotated[Path | None, typer.Option("--from-picture", help="Make again what a distok PNG shows.")] = None,
    any_words: Annotated[bool, typer.Option("--any-words", help="Allow classes that the model was not trained on.")] = False,
    steps: options.Steps = None,
    guidance_scale: options.GuidanceScale = None,
    size: options.Size = None,
    negative_prompt: options.NegativePrompt = None,
    best_of: BestOf = 1,
    refine: Refine = 0,
    backend: options.Backend = None,
    model: options.Model = None,
    labeler: options.Labeler = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    offload: options.Offload = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Make pictures of a mix, a concept file to reuse, and a measurement of what came out.

    A picture carries its recipe: --from-picture makes it again, or puts the same creature into another --prompt.
    """
    from distok import api
    from distok.asking import PROMPT
    from distok.cli import output
    from distok.gallery import claimed, picture_name

    _check_source(mix, concept, from_picture)
    _check_for_a_mix(mix, refine, any_words)
    recipe = _recipe(from_picture)
    asked = {"steps": steps, "guidance_scale": guidance_scale, "size": size, "negative_prompt": negative_prompt}
    settings = {key: getattr(recipe, key, None) if value is None else value for key, value in asked.items()}
    prompt = getattr(recipe, "prompt", PROMPT) if prompt is None else prompt
    seed = getattr(recipe, "seed", 0) if seed is None else seed
    seeds = check_drawn(prompt, settings, n, seed, best_of)
    _check_mix(mix, model, backend, labeler, any_words)
    saved = _load(concept)

    with output.waiting("opening the models"):
        creator = api.open(backend, model, labeler, device, dtype=dtype, offload=offload)
        check_reader(refine, creator)
        _compare(saved, creator)
        token = saved or (creator.concept_of(recipe) if recipe else creator.concept(mix or "", any_words))
    made = account(creator, token, prompt, seed, settings, best_of, refine)
    names = [picture_name(token, each) for each in seeds]
    with claimed(out or place(Path("creations"), token, made), made, names, force) as folder:
        if refine:
            token = refined(creator, mix or "", refine, {"prompt": prompt, "seed": seed, "any_words": any_words, **settings})
        with output.progress("drawing") as callback:
            told = {"callback": callback, "best_of": best_of, "read_back": False}
            creation = creator.create(token, prompt, n, seed, **told, **settings)
        creation, record = kept(creator, creation, folder)
    if as_json:
        output.print_json(record)
    else:
        _show(creation, record, folder, output.opened(backend, model, labeler, device, dtype, offload))


def _check_source(*sources: object) -> None:
    from distok.errors import DistokError

    if sum(source is not None for source in sources) != 1:
        raise DistokError(f"say what to make: a mix like {EXAMPLE}, or --concept FILE, or --from-picture PNG; one of them")


def _check_for_a_mix(mix: str | None, rounds: int, any_words: bool) -> None:
    """Check the options that say something of a mix."""
    from distok.errors import DistokError

    if rounds and mix is None:
        raise DistokError("--refine corrects the weights of a mix; give a mix, or leave it out")
    if any_words and mix is None:
        raise DistokError("--any-words lets a mix name other classes; give a mix, or leave it out")
    check_rounds(rounds)


def check_rounds(rounds: int) -> None:
    """Refuse a refinement that corrects nothing."""
    from distok.errors import DistokError

    if rounds == 1:
        raise DistokError("--refine 1 corrects nothing: its one round gives the weights that were asked; give 2 or more")


def check_drawn(prompt: str, settings: dict[str, Any], n: int, seed: int, best_of: int) -> list[int]:
    """The seeds that may be drawn, once all that is asked of the pictures is found right."""
    from distok.asking import check_count, check_drawing, seeds_from
    from distok.selection import candidates

    check_count(n)
    seeds = [each for first in seeds_from(seed, n) for each in candidates(first, best_of)]
    check_drawing(prompt, settings)
    return seeds


def check_reader(rounds: int, creator: "Creator") -> None:
    """Find out before anything is claimed or drawn."""
    from distok.errors import DistokError

    if rounds and creator.labeler is None:
        raise DistokError("--refine reads pictures as it goes, and this backend has no labeler; give one with --labeler")


def _compare(concept: "Concept | None", creator: "Creator") -> None:
    """Say that a token may mean something else here; it is drawn, since fine-tunes and other precisions share tokens."""
    from distok.cli import output

    theirs, ours = (concept.provenance.get("backend_hash") if concept else None), creator.backend.hash
    if theirs and theirs != ours:
        output.console(stderr=True).print(
            f"the concept was made with text encoder {theirs}, and this pipeline's is {ours}: unless one is a fine-tune of the "
            "other, or the same in another precision, the pictures show something else"
        )


def refined(creator: "Creator", mix: str, rounds: int, how: dict[str, Any]) -> "Concept":
    from distok.cli import output

    with output.progress("refining") as callback:
        return creator.refine(mix, rounds, callback=callback, **how)


def kept(creator: "Creator", creation: "Creation", folder: Path) -> "tuple[Creation, dict[str, Any]]":
    """Save a creation before it is read, so that no picture is lost to that, and once more with what was read."""
    from distok.errors import DistokError
    from distok.gallery import save_creation

    record = save_creation(creation, folder)
    if creator.labeler is None:
        return creation, record
    try:
        creation = creator.measure(creation)
    except DistokError as error:
        raise DistokError(f"{error}; the pictures are in {folder}, not measured") from error
    return creation, save_creation(creation, folder)


def _recipe(path: Path | None) -> "Recipe | None":
    if path is None:
        return None
    from distok.concept import read_recipe

    return read_recipe(path)


def _load(path: Path | None) -> "Concept | None":
    if path is None:
        return None
    from distok.concept import Concept

    return Concept.load(path)


def _check_mix(mix: str | None, model: str | None, backend: str | None, labeler: str | None, any_words: bool) -> None:
    """Find a mistake in the mix before the seconds that loading takes."""
    if mix is None:
        return
    from distok.asking import as_distribution
    from distok.checkpoints import known_names, locate

    as_distribution(mix)
    as_distribution(mix, known_names(locate(backend, model, labeler)[1]), strangers=any_words)


def account(
    creator: "Creator", concept: "Concept", prompt: str, seed: int, settings: dict[str, Any], best_of: int, refine: int
) -> dict[str, Any]:
    """What is made, for :func:`distok.gallery.claimed`: the same account, the same pictures."""
    search = {"best_of": best_of if best_of > 1 else 0, "refine": refine}
    return {
        "concept": concept.hash,
        "mix": concept.distribution and str(concept.distribution),
        "prompt": prompt,
        "backend": creator.backend.fingerprint,
        "labeler": creator.labeler and creator.labeler.hash,
        **{key: value for key, value in settings.items() if value is not None},
        **{key: value for key, value in search.items() if value},
        "seed": seed,
    }


def place(root: Path, concept: "Concept", made: dict[str, Any]) -> Path:
    """The folder of a creation whose folder nobody names."""
    from distok.gallery import suffix

    return root / f"{concept.name}-{made['seed']}-{suffix({key: value for key, value in made.items() if key != 'seed'}, 10)}"


def _show(creation: "Creation", record: dict[str, Any], folder: Path, opened: list[str]) -> None:
    from distok.cli import output

    output.show("", output.mix_table(creation.asked, creation.measured), "")
    if creation.kl is not None and creation.js is not None:
        output.show(f"KL(asked ‖ measured) [bold]{creation.kl:.3f}[/bold] nats · JS {creation.js:.3f} (0 is a perfect match)")
    elif creation.measured is None:
        output.show("not measured: this backend has no labeler; give one with --labeler")
    count = len(creation.pictures)
    again = output.command("create", "--concept", record["concept"], "--prompt", "a watercolor of a {} in the snow", *opened)
    output.show(
        f"{count} picture{'s' if count > 1 else ''}, sheet.png and concept.safetensors in {output.bold(folder)}",
        f"[dim]the same creature elsewhere: {again}[/dim]",
    )
