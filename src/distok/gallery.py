"""What a creation leaves on disk: pictures with their recipes inside, the concept's file, one contact sheet, a record.

Files have the same names and, on the same machine, the same content whenever the same thing is made again.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.asking import within
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.files import write_bytes, write_text

if TYPE_CHECKING:
    from PIL import Image

    from distok.api import Creator
    from distok.asking import Progress
    from distok.concept import Concept
    from distok.creation import Creation

RECORD = "made.json"
SHEET = "sheet.png"
CONCEPT = "concept.safetensors"
CREATION = "creation.json"
OURS = (SHEET, CONCEPT, CREATION, "concepts.jsonl", "baseline.json")


def suffix(made: Mapping[str, Any], digits: int = 4) -> str:
    """Up to ten digits that tell a folder or picture named by default from others; of a folder, of what :func:`claimed` takes."""
    from distok.concept import digest

    return digest(json.dumps(made, sort_keys=True))[:digits]


@contextmanager
def claimed(folder: str | Path, made: Mapping[str, Any], names: Sequence[str] = (), force: bool = False) -> Iterator[Path]:
    """Make ``folder`` ours to write into, before any time is spent on pictures; left as it was where nothing was made in it.

    Args:
        made: a JSON-able account of what will be made; a folder that holds the same is written over.
        names: of the files that will be written, beside those that most commands write.
        force: write over something else, too.

    Raises:
        DistokError: the folder holds something else that was made here, a file under one of these names without an account of
            it, or cannot be written.
    """
    folder = Path(folder)
    text = _account(made)
    record, new = folder / RECORD, [each for each in (folder, *folder.parents) if not each.exists()]
    found, before = _content(record), _beside(record)
    if not force:
        _refuse_other(record, found, text, (*OURS, *names))
    write_text(record, text)
    try:
        yield folder
    except BaseException:
        with suppress(OSError, DistokError):
            if before is not None and before == _beside(record):  # nor has another command written there in the meantime
                if found is None:
                    record.unlink()
                elif found:
                    write_bytes(record, found)
                for each in new:  # the innermost first
                    each.rmdir()
        raise


def _account(made: Mapping[str, Any]) -> str:
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _content(record: Path) -> bytes | None:
    """What a record holds: nothing where it cannot be read, None where there is none."""
    try:
        return record.read_bytes() if record.is_file() else None
    except OSError:
        return b""


def _beside(record: Path) -> dict[str, int] | None:
    """The other files in a record's folder, and when each was written; None where that cannot be seen."""
    try:
        return {each.name: each.lstat().st_mtime_ns for each in record.parent.iterdir() if each != record}
    except FileNotFoundError:
        return {}
    except OSError:
        return None


def _refuse_other(record: Path, found: bytes | None, text: str, names: Sequence[str]) -> None:
    if found is not None and found != text.encode():
        raise DistokError(f"{record.parent} already holds something else made by distok; choose another --out, or add --force")
    taken = [name for name in names if (record.parent / name).exists()] if found is None else []
    if taken:
        raise DistokError(
            f"{record.parent} already holds a {taken[0]}, and no {RECORD} that says where it is from; choose another --out, "
            "or add --force to write over it"
        )


def picture_name(concept: "Concept", seed: int) -> str:
    """What a creation's picture is called."""
    return f"{concept.name}-{seed}.png"


def save_creation(creation: "Creation", folder: str | Path) -> dict[str, Any]:
    """Write pictures, concept, contact sheet and, last, the record that ``distok create --json`` prints; return that."""
    from distok.concept import contact_sheet, write_picture

    folder = Path(folder)
    paths = []
    for picture, recipe in zip(creation.pictures, creation.recipes, strict=True):
        paths.append(write_picture(folder / picture_name(creation.concept, recipe.seed), picture, recipe))
    concept = creation.concept.save(folder / CONCEPT)
    captions = [_caption(reading) for reading in creation.readings] or None
    sheet = save_sheet(folder / SHEET, contact_sheet(creation.pictures, captions))
    first = creation.recipes[0]
    record = {
        "asked": creation.asked and creation.asked.as_dict(),
        "measured": creation.measured and creation.measured.as_dict(),
        "kl": creation.kl,
        "js": creation.js,
        "prompt": creation.prompt,
        "seed": first.seed,
        "seeds": creation.seeds,
        "steps": first.steps,
        "guidance_scale": first.guidance_scale,
        "pictures": [str(path) for path in paths],
        "concept": str(concept),
        "sheet": str(sheet),
        "readings": [reading.as_dict() for reading in creation.readings],
        "z": first.z,
        "backend": first.backend,
        "backend_hash": first.backend_hash,
        "model_hash": first.model_hash,
        "version": first.version,
    }
    write_text(folder / CREATION, json.dumps(record) + "\n")
    return record


def finished(folder: Path, made: Mapping[str, Any], n: int, measured: bool) -> dict[str, Any] | None:
    """The record of a creation of ``n`` pictures that is there, whole and, if asked, measured; None where it is to be made.

    Its paths are those of where the folder is now.
    """
    from distok.concept import Concept, load_picture

    if _content(folder / RECORD) != _account(made).encode():
        return None
    try:
        record = dict(json.loads((folder / CREATION).read_text(encoding="utf-8")))
        record["pictures"] = [str(folder / Path(path).name) for path in record["pictures"]]
        record |= {key: str(folder / Path(record[key]).name) for key in ("concept", "sheet")}
        reading = record["measured"] and Distribution.from_mapping(record["measured"])
        whole = all(number is None or math.isfinite(number) for number in (record["kl"], record["js"]))
        for path in (*record["pictures"], record["sheet"]):
            load_picture(path)
        Concept.load(record["concept"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, DistokError):
        return None
    return record if whole and len(record["pictures"]) == n and (reading or not measured) else None


def exploration_names(concept: "Concept") -> tuple[str, str]:
    """What the picture and the file of an explored concept are called."""
    return f"{concept.name}.png", f"{concept.name}.safetensors"


def save_exploration(
    creator: "Creator",
    concepts: "Sequence[Concept]",
    folder: str | Path,
    prompt: str,
    seed: int,
    callback: "Progress | None" = None,
    **settings: Any,
) -> dict[str, Any]:
    """Render one picture of each concept; write pictures, concepts, a JSON line each, and a contact sheet; return the record.

    Raises:
        DistokError: some pictures could not be read; all are written first.
    """
    from distok.concept import contact_sheet, write_picture

    folder, total = Path(folder), len(concepts)
    pictures: list[Image.Image] = []
    rows: list[dict[str, Any]] = []
    unread: DistokError | None = None
    for start in range(0, total, creator.backend.at_once):
        batch = concepts[start : start + creator.backend.at_once]
        made = creator.render_each(batch, prompt, seed, within(callback, start, len(batch), total), **settings)
        try:
            readings = creator.readings(made)
        except DistokError as error:
            readings, unread = [], error
        for concept, picture, reading in zip(batch, made, readings or [None] * len(batch), strict=True):
            recipe = creator.recipe(concept, prompt, seed, picture, **settings)
            drawn, token = (folder / name for name in exploration_names(concept))
            rows.append(
                {
                    "name": concept.name,
                    "picture": str(write_picture(drawn, picture, recipe)),
                    "concept": str(concept.save(token)),
                    "asked": concept.distribution and concept.distribution.as_dict(),
                    "measured": reading and reading.as_dict(),
                    "z": concept.z and list(concept.z),
                }
            )
        pictures += made
    lines = write_text(folder / "concepts.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    captions = [_caption(Distribution.from_mapping(row["measured"])) if row["measured"] else row["name"] for row in rows]
    sheet = save_sheet(folder / SHEET, contact_sheet(pictures, captions))
    if unread:
        raise DistokError(f"{unread}; the pictures are in {folder}, not all of them measured") from unread
    return {
        "n": total,
        "prompt": prompt,
        "seed": seed,
        "pictures": [row["picture"] for row in rows],
        "concepts": [row["concept"] for row in rows],
        "asked": [row["asked"] for row in rows],
        "measured": [row["measured"] for row in rows],
        "lines": str(lines),
        "sheet": str(sheet),
    }


def save_sheet(path: str | Path, page: "Image.Image") -> Path:
    """Write a contact sheet."""
    from distok.concept import write_picture

    return write_picture(path, page)


def _caption(reading: Distribution) -> str:
    return " ".join(f"{name} {weight:.0%}" for name, weight in reading.top(3) if weight >= 0.05)
