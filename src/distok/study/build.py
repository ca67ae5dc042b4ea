"""Build a study: one self-contained page for participants, and a key file that says which picture is whose."""

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distok import seeds
from distok.errors import DistokError
from distok.files import write_text
from distok.judge.items import Item, Shown, matches, methods_of, show

if TYPE_CHECKING:
    from PIL import Image

FORMAT, VERSION = "distok-study-key", 1
QUESTION = "Which picture is the better answer?"
TITLE = "Which picture is better?"
INTRO = "Image generators were asked for something, which is written above each pair of pictures."
_HERE = Path(__file__).parent
_TILES = 8  # a wrong picture is cut into 8 × 8 tiles, which change places
_PLAIN = 1.0  # mean difference in grey levels, of 255, below which nobody sees that


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """How a study is made.

    Attributes:
        question: asked of every pair.
        title, intro: of the page.
        ties: whether "no difference" may be answered.
        trials: pairs a participant, attention checks aside; None shows each of them all.
        checks: attention checks a participant, 0 or more.
        size: longest side of a picture in pixels, at least 16.
        seed: of everything that is drawn here; what a participant sees is drawn from the study and the participant's code.
    """

    question: str = QUESTION
    title: str = TITLE
    intro: str = INTRO
    ties: bool = False
    trials: int | None = None
    checks: int = 4
    size: int = 384
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("question", "title"):
            if not getattr(self, name).strip():
                raise DistokError(f"the {name} is empty; say something")
        for name, least in (("trials", 1), ("checks", 0), ("size", 16)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise DistokError(f"{name} is {value}, but at least {least} is expected; correct it")


@dataclass(frozen=True)
class Study:
    """A study: what participants get, and what only its owner may see.

    Attributes:
        page: the HTML.
        key: JSON-able; needed for scoring.
    """

    page: str
    key: dict[str, Any]

    @property
    def id(self) -> str:
        """A hash of all that participants see."""
        return str(self.key["study"])

    def save(self, path: Path, force: bool = False) -> tuple[Path, Path]:
        """Write the page, and its key beside it.

        Raises:
            DistokError: there is already the key of another study, whose votes would be lost, or a page that no key is beside;
                not with ``force``.
        """
        beside = key_path(path)
        if path.exists() and not beside.exists() and not force:
            raise DistokError(f"{path} is there and no study of this project; choose another --out, or add --force")
        if beside.exists() and not force and _id_of(beside) != self.id:
            raise DistokError(
                f"{beside} is the key of another study, and its votes would be lost; choose another --out, or add --force"
            )
        return write_text(path, self.page), write_text(beside, json.dumps(self.key, indent=1, allow_nan=False) + "\n")


def key_path(page: Path) -> Path:
    """Where the key of a page lies."""
    return page.with_suffix(".key.json")


def build_study(items: Sequence[Item], settings: StudySettings | None = None) -> Study:
    """Make a study of all pairs of pictures of one case by two methods.

    Nothing in the page says what made a picture: pictures and pairs have shuffled numbers, pixels alone are embedded, and
    attention checks look like every other pair.

    Raises:
        DistokError: no case has pictures by two methods, or a file is not a picture.
    """
    settings = settings or StudySettings()
    draft = _Draft(items, settings)
    blocks = [draft.block(number, pairs) for number, pairs in enumerate(_shares(matches(items), settings))]
    return draft.finish(blocks)


class _Draft:
    """Pictures and trials as they are added; they get their opaque names at the end."""

    def __init__(self, items: Sequence[Item], settings: StudySettings) -> None:
        self.items, self.settings = items, settings
        self.pictures: dict[str, tuple[Shown, Item | None]] = {}
        self.trials: list[dict[str, Any]] = []
        self._known: dict[tuple[str, str], int] = {}

    def block(self, number: int, pairs: Sequence[tuple[Item, Item]]) -> list[int]:
        """The trials of one kind of participant, attention checks included."""
        own = [self._pair(a, b) for a, b in pairs]
        return own + [self._check(number, i) for i in range(self.settings.checks)]

    def finish(self, blocks: Sequence[Sequence[int]]) -> Study:
        """Draw the names, and put page and key together."""
        names = _names("p", list(self.pictures), self.settings.seed)
        numbers = _names("t", list(range(len(self.trials))), self.settings.seed)
        shown = {names[name]: picture for name, (picture, _) in self.pictures.items()}
        trials = {
            numbers[i]: {"pictures": sorted(names[name] for name in trial["pictures"]), "wish": trial["wish"]}
            for i, trial in enumerate(self.trials)
        }
        seen = {
            "ties": self.settings.ties,
            "blocks": [sorted(numbers[i] for i in block) for block in blocks],
            "trials": dict(sorted(trials.items())),
        }
        about = [
            self.settings.question,
            self.settings.title,
            self.settings.intro,
            sorted((n, s.digest) for n, s in shown.items()),
        ]
        identity = hashlib.sha256(json.dumps([seen, about], sort_keys=True).encode()).hexdigest()[:12]
        page = _page(self.settings, {"id": identity, **seen, "pictures": {name: shown[name].url for name in sorted(shown)}})
        key = {
            "format": FORMAT, "version": VERSION, "study": identity, "question": self.settings.question,
            "ties": self.settings.ties, "seed": self.settings.seed,
            "methods": list(methods_of(self.items)), "blocks": seen["blocks"],
            "trials": {numbers[i]: self._secret(trial, names) for i, trial in enumerate(self.trials)},
        }  # fmt: skip
        return Study(page, key)

    def _secret(self, trial: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
        """What only the key says about a trial."""
        secret = {"kind": trial["kind"], "case": trial["case"], "pictures": [names[name] for name in trial["pictures"]]}
        if trial["kind"] == "check":
            return {**secret, "answer": names.get(trial["answer"], "tie")}
        made = [self.pictures[name][1] for name in trial["pictures"]]
        return {
            **secret,
            "methods": [item.method for item in made if item],
            "files": [str(item.picture) for item in made if item],
        }

    def _pair(self, a: Item, b: Item) -> int:
        first, second = self._picture(a), self._picture(b)
        if (first, second) not in self._known:  # blocks may share a pair
            self._known[first, second] = self._trial("vote", a, [first, second])
        return self._known[first, second]

    def _check(self, block: int, number: int) -> int:
        """A pair with a known answer: the same picture twice where ties are allowed, else a picture and its scrambled self."""
        draw = seeds.rng(self.settings.seed, "check", block, number)
        start = int(draw.integers(len(self.items)))
        item, mixed = self.items[start], None
        same = self.settings.ties and number % 2 == 1
        if not same:
            item, mixed = self._scrambling(start, draw)
        whole = show(item.picture, self.settings.size, "image/jpeg")
        names = [f"check/{block}/{number}/{side}" for side in (0, 1)]
        other = whole if mixed is None else show(mixed, None, "image/jpeg")
        self.pictures.update({names[0]: (whole, None), names[1]: (other, None)})
        return self._trial("check", item, names, "tie" if same else names[0])

    def _scrambling(self, start: int, draw: np.random.Generator) -> "tuple[Item, Image.Image]":
        """The first picture from ``start`` on in which disorder shows, and itself in disorder."""
        for item in (*self.items[start:], *self.items[:start]):
            mixed = _scrambled(item.picture, self.settings.size, draw)
            if mixed is not None:
                return item, mixed
        raise DistokError("every picture is of one colour, so that no attention check has an answer; build with --checks 0")

    def _picture(self, item: Item) -> str:
        name = f"{item.method}/{item.case}/{item.picture}"
        if name not in self.pictures:
            self.pictures[name] = (show(item.picture, self.settings.size, "image/jpeg"), item)
        return name

    def _trial(self, kind: str, item: Item, pictures: list[str], answer: str = "") -> int:
        self.trials.append({"kind": kind, "case": item.case, "wish": item.wish, "pictures": pictures, "answer": answer})
        return len(self.trials) - 1


def _shares(pairs: Sequence[tuple[Item, Item]], settings: StudySettings) -> list[list[tuple[Item, Item]]]:
    """The pairs each kind of participant sees: all, or blocks of equal length with the pairs of methods taking turns."""
    if settings.trials is None or settings.trials >= len(pairs):
        return [list(pairs)]
    groups: dict[tuple[str, str], list[tuple[Item, Item]]] = {}
    for pair in pairs:
        groups.setdefault((pair[0].method, pair[1].method), []).append(pair)
    for number, group in enumerate(groups.values()):
        seeds.rng(settings.seed, "blocks", number).shuffle(group)
    longest = max(map(len, groups.values()))
    order = [group[i] for i in range(longest) for group in groups.values() if i < len(group)]
    count = -(-len(order) // settings.trials)
    return [[order[i % len(order)] for i in range(n * settings.trials, (n + 1) * settings.trials)] for n in range(count)]


def _names(letter: str, things: Sequence[Any], seed: int) -> dict[Any, str]:
    """Numbers in shuffled order, all of one length."""
    order = seeds.rng(seed, "names", letter).permutation(len(things))
    width = len(str(len(things)))
    return {thing: f"{letter}{place + 1:0{width}d}" for thing, place in zip(things, order, strict=True)}


def _scrambled(picture: Path, size: int, draw: np.random.Generator) -> "Image.Image | None":
    """A picture whose tiles have changed places: plainly the worse one. None where nobody could tell, as with one all black."""
    from PIL import Image

    from distok.concept import load_picture

    whole = load_picture(picture)
    whole.thumbnail((size, size))
    side = max(1, min(whole.size) // _TILES)
    pixels = np.asarray(whole.resize((side * _TILES, side * _TILES)))
    tiles = pixels.reshape(_TILES, side, _TILES, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    mixed = tiles[draw.permutation(len(tiles))].reshape(_TILES, _TILES, side, side, 3).swapaxes(1, 2)
    mixed = mixed.reshape(pixels.shape)
    if np.abs(mixed.astype(float) - pixels).mean() < _PLAIN:
        return None
    return Image.fromarray(mixed).resize(whole.size)


def _page(settings: StudySettings, study: dict[str, Any]) -> str:
    parts = {
        "title": html.escape(settings.title),
        "intro": html.escape(settings.intro),
        "question": html.escape(settings.question),
        "count": str(len(study["blocks"][0])),
        "css": _read("page.css"),
        "session": _read("session.js"),
        "page": _read("page.js"),
        "study": json.dumps(study).replace("<", "\\u003c"),  # no text in it can end the script element
    }
    template = _read("page.html").split("{{")
    return template[0] + "".join(parts[piece.partition("}}")[0]] + piece.partition("}}")[2] for piece in template[1:])


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _id_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("study")
    except (OSError, ValueError, AttributeError):
        return None
