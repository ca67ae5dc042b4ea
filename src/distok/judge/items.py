"""The pictures to judge: who made them, what was asked, and how they are shown so that they tell nothing but themselves.

Shared by the judge and the user study.
"""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.errors import DistokError

if TYPE_CHECKING:
    from PIL import Image

    from distok.distribution import Distribution

FIELDS = ("picture", "method", "case", "asked")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SIZE = 512  # longest side shown, in pixels
QUALITY = 92  # of a JPEG


@dataclass(frozen=True)
class Item:
    """One picture.

    Attributes:
        picture: its file.
        method: what made it.
        case: what it is an answer to; pictures of one case are compared with each other.
        asked: a mix like ``pig=0.55, sheep=0.45``, or a prompt.
    """

    picture: Path
    method: str
    case: str
    asked: str

    @property
    def mix(self) -> "Distribution | None":
        """What was asked, where it is a mix with weights; None where it is a prompt."""
        from distok.distribution import Distribution
        from distok.distribution.parsing import is_weighted

        if not is_weighted(self.asked):
            return None
        try:
            return Distribution.parse(self.asked)
        except DistokError:  # a prompt that happens to look like one
            return None

    @property
    def wish(self) -> str:
        """What was asked, for people and models: ``55 % pig, 45 % sheep``, or the prompt."""
        mix = self.mix
        parts = [(name, weight) for name, weight in mix.top(len(mix.names)) if weight > 0] if mix else []
        return ", ".join(f"{100 * weight:.0f} % {name}" for name, weight in parts) or self.asked


@dataclass(frozen=True)
class Shown:
    """A picture as it is shown: pixels alone, without name, metadata or profile.

    Attributes:
        data: an encoded picture.
        kind: its media type.
        size: width and height in pixels.
        digest: a hash of the pixels, whatever encoded them.
    """

    data: bytes
    kind: str
    size: tuple[int, int]
    digest: str

    @property
    def name(self) -> str:
        """What stands for it in a conversation until that is sent, and in the key of an answer."""
        return f"picture:{self.digest}"

    @property
    def url(self) -> str:
        """As a data URL."""
        return f"data:{self.kind};base64,{base64.b64encode(self.data).decode()}"


def read_items(source: str | Path) -> list[Item]:
    """Read what is to be judged.

    A ``.csv`` with a header, or a ``.json`` list of objects, says ``picture``, ``method``, ``case`` and ``asked``; pictures are
    found from the manifest's folder. A folder holds one folder a method, with ``CASE.png`` in each; what was asked is in the
    picture's own recipe where distok made it, or in ``CASE.txt`` beside it. The contact sheet of a folder that distok made is
    left out, unless a text beside it says what was asked.

    Raises:
        DistokError: nothing to judge, a picture is missing or listed twice, a field is empty, or one case asks for two things.
    """
    source = Path(source)
    if source.is_dir():
        items = [_found(path, source) for path in sorted(source.glob("*/*")) if _is_one(path)]
        if not items:
            raise DistokError(
                f"{source} holds no pictures in folders by method (METHOD/CASE.png); or give a CSV or JSON manifest"
            )
    else:
        items = [_item(row, number, source) for number, row in enumerate(_rows(source), 1)]
    _check(items, source)
    return items


def show(picture: "Path | Image.Image", size: int | None = SIZE, kind: str = "image/png") -> Shown:
    """Encode a picture anew from its pixels, so that nothing but them is left; transparency is laid on white.

    Args:
        size: the longest side it may have, in pixels; larger pictures are reduced. None keeps all.
        kind: ``image/png`` or ``image/jpeg``.

    Raises:
        DistokError: not a picture.
    """
    from PIL import Image

    from distok.concept import load_picture

    opened = picture.convert("RGB") if isinstance(picture, Image.Image) else load_picture(picture)
    if size is not None and max(opened.size) > size:
        opened.thumbnail((size, size), Image.Resampling.LANCZOS)
    pixels = opened.tobytes()
    bare = Image.frombytes("RGB", opened.size, pixels)  # a picture that never had a file, a text chunk or a profile
    buffer = io.BytesIO()
    if kind == "image/jpeg":
        bare.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    else:
        bare.save(buffer, "PNG")
    digest = hashlib.sha256(repr(bare.size).encode() + pixels).hexdigest()
    return Shown(buffer.getvalue(), kind, bare.size, digest)


def methods_of(items: Iterable[Item]) -> tuple[str, ...]:
    """The methods, in the order in which they first appear."""
    return tuple(dict.fromkeys(item.method for item in items))


def matches(items: Sequence[Item]) -> list[tuple[Item, Item]]:
    """Pairs of pictures of one case by two methods: the first with the first, the second with the second, and so on.

    Raises:
        DistokError: there is none.
    """
    by: dict[str, dict[str, list[Item]]] = {}
    for item in items:
        by.setdefault(item.case, {}).setdefault(item.method, []).append(item)
    order = methods_of(items)
    pairs = [
        pair
        for made in by.values()
        for i, first in enumerate(order)
        for second in order[i + 1 :]
        for pair in zip(made.get(first, []), made.get(second, []), strict=False)
    ]
    if not pairs:
        raise DistokError("no case has pictures by two methods; give at least two methods' pictures of the same case")
    return pairs


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            return list(csv.DictReader(io.StringIO(text)))
        rows = json.loads(text)
    except OSError as error:
        raise DistokError(f"{path} cannot be read ({error.strerror}); give a folder, or a CSV or JSON manifest") from None
    except (ValueError, RecursionError, csv.Error) as error:
        raise DistokError(f"{path} is not a readable manifest ({error}); give CSV with a header, or a JSON list") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DistokError(f"{path} is not a JSON list of objects with {', '.join(FIELDS)}")
    return rows


def _item(row: dict[str, Any], number: int, source: Path) -> Item:
    for name in FIELDS:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise DistokError(f"{source}: entry {number} has no {name}; every entry needs {', '.join(FIELDS)}")
    picture, method, case, asked = (row[name].strip() for name in FIELDS)
    return Item(source.parent / picture, method, case, asked)


def _is_one(path: Path) -> bool:
    """Whether a file in a method's folder is a picture to judge."""
    from distok.gallery import SHEET

    sheet = path.name == SHEET and not path.with_suffix(".txt").is_file()
    return path.suffix.lower() in SUFFIXES and not sheet


def _found(path: Path, root: Path) -> Item:
    from distok.concept import read_recipe
    from distok.distribution import Distribution

    beside = path.with_suffix(".txt")
    if beside.is_file():
        asked = beside.read_text(encoding="utf-8", errors="replace").strip()
    else:
        try:
            mix = read_recipe(path).distribution
        except DistokError:
            mix = None
        asked = str(Distribution.from_mapping(mix)) if mix else ""
    if not asked:
        raise DistokError(f"{path} does not say what was asked for; write it into {beside.name} beside it, or give a manifest")
    return Item(path, path.relative_to(root).parts[0], path.stem, asked)


def _check(items: Sequence[Item], source: Path) -> None:
    if not items:
        raise DistokError(f"{source} lists no pictures; give at least one")
    asked: dict[str, str] = {}
    seen: set[tuple[Path, str, str]] = set()
    for item in items:
        if not item.picture.is_file():
            raise DistokError(f"{source}: {item.picture} does not exist; correct the manifest")
        if (item.picture, item.method, item.case) in seen:
            raise DistokError(f"{source}: {item.picture} is listed twice for {item.method}; list it once")
        seen.add((item.picture, item.method, item.case))
        if asked.setdefault(item.case, item.wish) != item.wish:
            raise DistokError(
                f"{source}: case {item.case!r} asks for {asked[item.case]!r} and for {item.wish!r}; give each a case of its own"
            )
