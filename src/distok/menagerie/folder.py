"""A person's own pictures as a :class:`~distok.menagerie.corpus.Source`: one folder a class, or captions beside pictures."""

import json
import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from distok.concept import digest, load_picture
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.menagerie.captions import article
from distok.seeds import rng as seeded

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class Folder:
    """Pictures under ``root``, squared and scaled to ``size``.

    Captions come from ``metadata.jsonl`` (``file_name`` and ``text``, as in the datasets library), else from a ``.txt``
    beside each picture, else from the folder's name: "a photo of a <folder>". Transparency is laid on white, and a photo is
    turned as its camera says.

    Raises:
        DistokError: there is no picture, or one (or its caption) cannot be read.
    """

    def __init__(self, root: str | Path, size: int = 128, seed: int = 606) -> None:
        self.root, self.size, self.seed = Path(root), size, seed
        if not self.root.is_dir():
            raise DistokError(
                f"{root} is not a folder; give a folder of pictures, one sub-folder a class or with captions beside them"
            )
        captioned = self._captioned()
        self.items = captioned or self._classes()
        if not self.items:
            raise DistokError(f"{root} holds no pictures ({', '.join(sorted(_SUFFIXES))}); put them in one folder a class")
        for path, _ in self.items:
            _check(path)
        self.words = tuple(
            dict.fromkeys(word for _, text in self.items for word in re.findall(r"[a-z]+", f"{text.lower()} a an the of photo"))
        )
        self.names = () if captioned else tuple(sorted({_name(path) for path, _ in self.items}))
        if self.names:
            try:
                Distribution(self.names, (1.0,) * len(self.names))
            except DistokError as error:
                raise DistokError(f"the folders of {root} name the classes, and {error}") from None

    @cached_property
    def identity(self) -> str:
        """A short hash of all pictures and captions."""
        told = sorted((os.path.relpath(path, self.root), digest(path.read_bytes()), text) for path, text in self.items)
        return digest(json.dumps(told))

    def _captioned(self) -> list[tuple[Path, str]]:
        table = self.root / "metadata.jsonl"
        if table.exists():
            try:
                rows = [json.loads(line) for line in _text(table).splitlines() if line.strip()]
                if not all(isinstance(row[key], str) for row in rows for key in ("file_name", "text")):
                    raise TypeError("not two texts")
                return [(self.root / row["file_name"], row["text"]) for row in rows]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DistokError(f"{table} needs lines like {{'file_name': 'a.png', 'text': 'a cat'}} ({error!r})") from None
        return [(p, _text(p.with_suffix(".txt")).strip()) for p in self._pictures() if p.with_suffix(".txt").exists()]

    def _classes(self) -> list[tuple[Path, str]]:
        named = [(path, _name(path)) for path in self._pictures() if path.parent != self.root]
        return [(path, f"a photo of {article(name)}") for path, name in named]

    def _pictures(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.suffix.lower() in _SUFFIXES)

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """Picture and caption number ``index``; every round through the folder has its own order."""
        path, text = self._entry(index)
        return np.asarray(ImageOps.fit(load_picture(path), (self.size, self.size), Image.Resampling.LANCZOS)), text

    def caption(self, index: int) -> str:
        """The caption of item ``index`` without its picture."""
        return self._entry(index)[1]

    def _entry(self, index: int) -> tuple[Path, str]:
        round_, place = divmod(index, len(self.items))
        return self.items[int(seeded(self.seed, "order", round_).permutation(len(self.items))[place])]


def _check(path: Path) -> None:
    """That a picture begins like one; what its end holds is seen when it is read."""
    try:
        Image.open(path).close()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DistokError(f"{path} is not a readable picture ({error}); remove it or replace it") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DistokError(f"{path} cannot be read ({reason}); write captions as UTF-8 text") from None


def _name(path: Path) -> str:
    return path.parent.name.replace("_", " ")
