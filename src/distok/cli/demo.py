"""``distok demo``: a first look at everything, on one page."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from distok.cli import options

CREATIONS = (
    ("pig=0.55, sheep=0.25, snake=0.2", "a photo of a {}"),
    ("tiger=0.5, penguin=0.5", "a watercolor of a {}"),
    ("owl=0.4, fox=0.3, frog=0.3", "a photo of a {} in the snow"),
)
BEST_OF = 4  # drawings of each picture of a mix, of which the closest to it is shown
EXPLORED = 9


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path("out/demo"),
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other creatures.")] = 0,
    device: options.Device = "cpu",
) -> None:
    """Make three mixes (the best of four drawings each) and nine surprises, and lay them all out on one page."""
    from distok import api
    from distok.asking import PROMPT, as_distribution, slug
    from distok.cli import output
    from distok.cli.create import kept
    from distok.concept import contact_sheet, load_picture
    from distok.gallery import SHEET, claimed, save_exploration, save_sheet

    parts: dict[str, dict[str, Any]] = {
        slug(as_distribution(mix)): {"mix": mix, "prompt": prompt, "seed": seed, "best_of": BEST_OF} for mix, prompt in CREATIONS
    }
    explored = {"prior": "normal", "seed": seed, "n": EXPLORED}
    _check_place(out, parts | {"explored": explored})
    with output.waiting("opening the models"):
        creator = api.open(device=device)
    pictures, captions = [], []
    for name, asked in parts.items():
        mix, prompt = asked["mix"], asked["prompt"]
        with claimed(out / name, asked, force=True) as folder:
            with output.progress(mix) as callback:
                drawn = {"callback": callback, "best_of": BEST_OF, "read_back": False}
                creation = creator.create(mix, prompt, n=3, seed=seed, **drawn)
            creation, _ = kept(creator, creation, folder)
        output.show("", f"{output.bold(mix)} · {prompt}", output.mix_table(creation.asked, creation.measured))
        output.show("" if creation.kl is None else f"KL(asked ‖ measured) {creation.kl:.3f} nats")
        pictures += creation.pictures
        captions += [mix, prompt, "" if creation.kl is None else f"KL {creation.kl:.3f}"]
    with claimed(out / "explored", explored, force=True) as folder, output.progress("surprises") as callback:
        record = save_exploration(creator, creator.explore(EXPLORED, seed=seed), folder, PROMPT, seed, callback)
    pictures += [load_picture(path) for path in record["pictures"]]
    captions += [f"surprise {index + 1}" for index in range(EXPLORED)]
    sheet = save_sheet(out / SHEET, contact_sheet(pictures, captions, columns=3))
    output.show("", f"everything on one page: {output.bold(sheet.resolve())}")


def _check_place(out: Path, parts: dict[str, dict[str, Any]]) -> None:
    """Refuse a folder in which something else lies where a demo writes; that of an earlier one, of any seed, is written over."""
    from distok.errors import DistokError
    from distok.gallery import SHEET

    ours = {name for name, made in parts.items() if _keys(out / name) == made.keys()}
    taken = [out / name for name in parts if name not in ours and (out / name).exists()]
    if len(ours) < len(parts) and (out / SHEET).exists():
        taken.append(out / SHEET)
    if taken:
        raise DistokError(f"{taken[0]} is there already, and not of a demo; choose another --out")


def _keys(folder: Path) -> set[str]:
    """What a folder's record tells."""
    from distok.gallery import RECORD

    try:
        return set(dict(json.loads((folder / RECORD).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return set()
