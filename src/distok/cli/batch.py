"""``distok batch``: a list of mixes, each made as ``distok create`` makes one."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distok.cli import options
from distok.cli.create import BestOf, Refine
from distok.cli.explore import heaviest

if TYPE_CHECKING:
    from distok.api import Creator
    from distok.orders import Order

Row = dict[str, Any]
SHOWN = 12  # mixes in the terminal
PICTURED = 100  # on the sheet
HEADS = ("mix", "prompt", "seed", "n", "kl", "js", "measured", "folder", "error")


def batch(
    listed: Annotated[
        Path,
        typer.Argument(metavar="LIST", help="A mix a line; or a .csv with the columns mix and, if wanted, prompt, n and seed."),
    ],
    prompt: options.Prompt = None,
    n: Annotated[int, typer.Option("-n", help="How many pictures of each mix.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first picture of each; the next ones count up.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into, a folder for each mix.")] = Path("creations"),
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
    as_json: options.Json = False,
) -> None:
    """Make a list of mixes, each as [bold]distok create[/bold] would; run again, it goes on with what is missing.

    Beside the mixes' folders lie batch-LIST.csv, a table, batch-LIST.jsonl, a JSON line each, and batch-LIST.png, first pictures.
    """
    from distok import api
    from distok.asking import PROMPT
    from distok.checkpoints import known_names, locate
    from distok.cli import create, output
    from distok.errors import DistokError
    from distok.orders import read_orders

    prompt = PROMPT if prompt is None else prompt
    settings = {"steps": steps, "guidance_scale": guidance_scale, "size": size, "negative_prompt": negative_prompt}
    create.check_rounds(refine)
    create.check_drawn(prompt, settings, n, seed, best_of)  # what no line says
    orders = read_orders(listed, known_names(locate(backend, model, labeler)[1]), any_words, prompt, n, seed)
    for order in orders:
        create.check_drawn(order.prompt, settings, order.n, order.seed, best_of)
    name = f"batch-{listed.stem}"  # never one that the list itself may have in that folder
    _check_place(out, name)
    with output.waiting("opening the models"):
        creator = api.open(backend, model, labeler, device, dtype=dtype, offload=offload)
        create.check_reader(refine, creator)
    rows: list[Row] = []
    try:
        with output.progress("mixes", lines=20) as callback:
            for row in _made(creator, orders, out, settings, {"best_of": best_of, "refine": refine}, any_words):
                rows.append(row)
                callback(len(rows), len(orders))
    finally:
        files = _write(rows, out, name) if rows else {}
    failed = [row for row in rows if row["error"]]
    told = {"mixes": len(rows), "kept": sum(row["kept"] for row in rows), "failed": len(failed), **files}
    if as_json:
        output.print_json(told | {"creations": rows})
    else:
        _show(rows, told)
    if failed:
        raise DistokError(f"{len(failed)} of {len(rows)} mixes could not be made, the first because: {failed[0]['error']}")


def _check_place(out: Path, name: str) -> None:
    """Refuse to write over what no earlier batch has written."""
    from distok.errors import DistokError

    there = [path for kind in ("csv", "jsonl", "png") if (path := out / f"{name}.{kind}").exists()]
    try:
        ours = not there or (out / f"{name}.csv").read_text(encoding="utf-8").startswith(",".join(HEADS) + "\n")
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise DistokError(f"{there[0]} is there already, and not of a batch; choose another --out, or another name for the list")


def _made(
    creator: "Creator", orders: "Sequence[Order]", out: Path, settings: Row, search: dict[str, int], any_words: bool
) -> Iterator[Row]:
    """A row of each order, as soon as its creation is on disk; one that cannot be made says why, and the others go on."""
    from distok.errors import DistokError

    for order in orders:
        row: Row = {"mix": str(order.mix), "prompt": order.prompt, "seed": order.seed, "n": order.n, "kept": False, "error": ""}
        try:
            # The record's own seed is that of its first picture, with --best-of another one than was asked for.
            yield row | _one(creator, order, out, settings, search, any_words) | {"seed": order.seed}
        except DistokError as error:
            yield row | {"error": str(error)}


def _one(creator: "Creator", order: "Order", out: Path, settings: Row, search: dict[str, int], any_words: bool) -> Row:
    """Make what is asked for, unless it is there."""
    from distok.cli.create import account, kept, place
    from distok.gallery import claimed, finished, picture_name

    token = creator.concept(order.mix, any_words)
    made = account(creator, token, order.prompt, order.seed, settings, **search)
    folder = place(out, token, made)
    if record := finished(folder, made, order.n, measured=creator.labeler is not None):
        return record | {"folder": str(folder), "kept": True}
    with claimed(folder, made, [picture_name(token, order.seed + i) for i in range(order.n)]):
        if search["refine"]:
            how = {"prompt": order.prompt, "seed": order.seed, "any_words": any_words}
            token = creator.refine(order.mix, search["refine"], **how, **settings)
        drawn = {"best_of": search["best_of"], "read_back": False, **settings}
        creation = creator.create(token, order.prompt, order.n, order.seed, **drawn)
        _, record = kept(creator, creation, folder)
    return record | {"folder": str(folder)}


def _write(rows: Sequence[Row], out: Path, name: str) -> dict[str, str]:
    """The table, a JSON line of each mix, and a page of first pictures; where they are."""
    from distok.concept import contact_sheet, load_picture
    from distok.files import write_text
    from distok.gallery import save_sheet

    text = io.StringIO()
    table = csv.DictWriter(text, HEADS, extrasaction="ignore", restval="", lineterminator="\n")
    table.writeheader()
    table.writerows({**row, "measured": heaviest(row.get("measured") or {})} for row in rows)
    files = {
        "table": write_text(out / f"{name}.csv", text.getvalue()),
        "lines": write_text(out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
    }
    drawn = [row for row in rows if row.get("pictures")][:PICTURED]
    if drawn:
        pictures = [load_picture(Path(row["pictures"][0])) for row in drawn]
        captions = [row["mix"] if row["kl"] is None else f"KL {row['kl']:.2f}  {row['mix']}" for row in drawn]
        files["sheet"] = save_sheet(out / f"{name}.png", contact_sheet(pictures, captions))
    return {key: str(path) for key, path in files.items()}


def _show(rows: Sequence[Row], told: Row) -> None:
    from rich.table import Table
    from rich.text import Text

    from distok.cli import output

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("asked", "measured", "KL"):
        table.add_column(head)
    for row in rows[:SHOWN]:
        measured = heaviest(row["measured"]) if row.get("measured") else row["error"] or "not measured"
        table.add_row(Text(row["mix"]), Text(measured), "" if row.get("kl") is None else f"{row['kl']:.3f}")
    output.show("", table, *(["…"] if len(rows) > SHOWN else []), "")
    found = [row["kl"] for row in rows if row.get("kl") is not None]
    mean = f"; KL(asked ‖ measured) {sum(found) / len(found):.3f} nats on average" if found else ""
    there = f", {told['kept']} of them there already" if told["kept"] else ""
    made = told["mixes"] - told["failed"]
    output.show(f"{made} mix{'' if made == 1 else 'es'}{there}{mean}")
    output.show(f"table, lines and first pictures: {output.bold(told['table'])}")
