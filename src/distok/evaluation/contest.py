"""Every method on every case: what each picture shows, item by item on disk, so that a suite killed at any point loses none.

Shapes: s pictures of one case, k classes, f features, z zones.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from distok.baselines import Baseline, baseline
from distok.errors import DistokError, UnavailableError
from distok.evaluation.cases import ARTIST, Bench, Case, artist_pictures
from distok.evaluation.pictures import encode_png
from distok.files import read_tensors, write_bytes, write_tensors

if TYPE_CHECKING:
    from PIL import Image


ARTIST_REVISION = READING_REVISION = 1  # raised with every change of what the artist draws, or of how pictures are read
CONTROLS = ("mean-of-tokens", "mean-of-embeddings", "sentence", "names-by-weight", "dominant", "random-z")


@dataclass(frozen=True, eq=False)
class Item:
    """What one method's pictures of one case show.

    Attributes:
        case: what was asked for.
        seeds: one a picture.
        readings: shares of the classes, by reader.
        looks: features, owners of zones and creature scores by the evaluator; empty without one.
        paths: the pictures.
    """

    case: Case
    seeds: tuple[int, ...]
    readings: Mapping[str, Float[np.ndarray, "s k"]]
    looks: Mapping[str, np.ndarray]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Absent:
    """A method that cannot take part, and why: shown as missing, never as a number."""

    title: str
    reason: str


@dataclass(frozen=True, eq=False)
class Contest:
    """Runs methods on the cases of a bench and keeps what their pictures show under ``folder``.

    Attributes:
        bench: what to make pictures with, and who reads them.
        folder: of the items and pictures.
        preset: of the methods' settings, see ``distok.baselines``.
        options: ``steps`` and ``guidance_scale`` of all methods; the checkpoint's own, or a method's published ones, where not.
    """

    bench: Bench
    folder: Path
    preset: str = "menagerie"
    options: Mapping[str, Any] | None = None

    def run(self, name: str, cases: Sequence[Case], count: int, stage: str) -> list[Item]:
        """``count`` pictures of each case by one method: those that are there are kept, the others are made.

        Raises:
            DistokError: the method does not run on this backend, or with these cases.
        """
        method = self.method(name)
        told = self.bench.darkroom.tell
        items = []
        for done, case in enumerate(cases):
            told(f"{stage}: {method.title}", done, len(cases))
            items.append(self.item(method, case, case.seeds(count)))
        told(f"{stage}: {method.title}", len(cases), len(cases))
        return items

    def artist(self, cases: Sequence[Case], count: int, size: int = 128) -> list[Item]:
        """The artist's own pictures of the same cases and seeds, read as the others are."""

        def draw(case: Case) -> Callable[[Sequence[int]], "list[Image.Image]"]:
            return lambda seeds: artist_pictures(case.asked, seeds, size)

        parts = (repr(size), *((f"revision {ARTIST_REVISION}",) if ARTIST_REVISION > 1 else ()))
        return [self._kept("artist", case, case.seeds(count), parts, draw(case)) for case in cases]

    def method(self, name: str) -> "Baseline":
        """A method by its name, with this contest's settings."""
        return baseline(name, self.preset)

    def item(self, method: "Baseline", case: Case, seeds: Sequence[int]) -> Item:
        """What one method's pictures of one case show; pictures that are there are kept, the others are made."""
        bench = self.bench

        def make(missing: Sequence[int]) -> "list[Image.Image]":
            return method.make(
                bench.backend, bench.rulers.labeler, case.asked, missing,
                names=bench.names, model=bench.model, **(self.options or {}),
            ).pictures  # fmt: skip

        # Another DisTok leaves the pictures of methods that use none as they are.
        parts = (repr(method.settings), *((bench.model_hash,) if method.needs_model else ()))
        parts += (bench.backend.feature_hash,) if method.needs_features and bench.backend.feature_hash else ()
        if method.picture_revision > 1:
            parts = (*parts, f"revision {method.picture_revision}")
        return self._kept(method.name, case, seeds, parts, make)

    def _kept(
        self,
        name: str,
        case: Case,
        seeds: Sequence[int],
        parts: tuple[str, ...],
        make: Callable[[Sequence[int]], "list[Image.Image]"],
    ) -> Item:
        key = self._key(parts, case)
        path = self.folder / "items" / name / f"{case.kind}-{case.index:03d}-{key}.safetensors"
        held = self._load(path, case, key, name)
        missing = [seed for seed in seeds if held is None or seed not in held.seeds]
        if missing:
            fresh = self._read(case, tuple(missing), make(missing), self._paths(name, case, missing, key))
            held = self._load(path, case, key, name)  # again: another process may have made some in the meantime
            held = fresh if held is None else _joined(held, fresh)
            _save(held, path)
        assert held is not None
        return _chosen(held, seeds)

    def _read(self, case: Case, seeds: tuple[int, ...], pictures: "list[Image.Image]", paths: Sequence[Path]) -> Item:
        for picture, path in zip(pictures, paths, strict=True):
            write_bytes(path, encode_png(picture))
        rulers, looks = self.bench.rulers, {}
        readings = {} if rulers.labeler is None else {"labeler": rulers.read("labeler", pictures)}
        if rulers.evaluator is not None:
            seen = rulers.look(pictures)
            readings["evaluator"] = seen.mix
            looks = {"features": seen.features, "owners": seen.owners, "creature": seen.creature}
        return Item(case, seeds, readings, looks, tuple(paths))

    def _key(self, own: tuple[str, ...], case: Case) -> str:
        """Of everything that a picture and its reading depend on; ``own`` is what the method adds."""
        parts = [self._parts, own, sorted((self.options or {}).items()), case.asked.as_dict()]
        return hashlib.blake2b(repr(parts).encode(), digest_size=6).hexdigest()

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        bench = self.bench
        revision = (f"revision {READING_REVISION}",) if READING_REVISION > 1 else ()
        return (bench.backend.pipeline_hash, *bench.rulers.hashes, *bench.names, *revision)

    def _paths(self, name: str, case: Case, seeds: Sequence[int], key: str) -> tuple[Path, ...]:
        folder = self.folder / "items" / name / "pictures"
        return tuple(folder / f"{case.kind}-{case.index:03d}-{key}-{seed}.png" for seed in seeds)

    def _load(self, path: Path, case: Case, key: str, name: str) -> Item | None:
        try:
            tensors, _ = read_tensors(path)
        except DistokError:
            return None  # not made yet, or damaged: it is made again
        arrays = {key_: value.numpy() for key_, value in tensors.items()}
        seeds = tuple(arrays.pop("seeds").tolist())
        readings = {k.removeprefix("reading."): v.astype(np.float64) for k, v in arrays.items() if k.startswith("reading.")}
        looks = {k: v.astype(np.int64 if k == "owners" else np.float64) for k, v in arrays.items() if "." not in k}
        return Item(case, seeds, readings, looks, self._paths(name, case, seeds, key))


def items_of(bench: Bench, cases: Sequence[Case], pictures: "Sequence[Sequence[Image.Image]]") -> list[Item]:
    """Items of pictures that are at hand, by the readers' shares alone."""
    flat = [picture for each in pictures for picture in each]
    readings = {who: bench.rulers.read(who, flat) for who in bench.rulers.who}
    items, start = [], 0
    for case, each in zip(cases, pictures, strict=True):
        rows = slice(start, start + len(each))
        items.append(Item(case, tuple(case.seeds(len(each))), {who: all_[rows] for who, all_ in readings.items()}, {}, ()))
        start += len(each)
    return items


def show(item: Item) -> "Image.Image | None":
    """The first picture of an item; None where the file is gone (its reading is kept all the same)."""
    from PIL import Image

    try:
        return Image.open(item.paths[0]).convert("RGB")
    except OSError:
        return None


def run_all(
    contest: Contest, names: Sequence[str], cases: Sequence[Case], count: int, stage: str
) -> "tuple[dict[str, list[Item]], list[Absent]]":
    """Items by the title of each method, the artist last where it can draw the classes; and who could not take part."""
    found: dict[str, list[Item]] = {}
    absent = []
    for name in names:
        title = contest.method(name).title
        try:
            found[title] = contest.run(name, cases, count, stage)
        except UnavailableError as error:
            absent.append(Absent(title, str(error)))
    if not found:
        raise UnavailableError(f"no method could take part: {'; '.join(f'{each.title}: {each.reason}' for each in absent)}")
    if contest.bench.has_artist:
        found[ARTIST] = contest.artist(cases, count)
    return found, absent


def _save(item: Item, path: Path) -> None:
    """Shares and features in single precision: their own error is far above its."""
    arrays = {"seeds": np.array(item.seeds, np.int64), **{f"reading.{who}": each for who, each in item.readings.items()}}
    arrays |= item.looks
    small = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int64}
    write_tensors(path, {key: torch.from_numpy(np.ascontiguousarray(a.astype(small[a.dtype]))) for key, a in arrays.items()})


def _joined(first: Item, second: Item) -> Item:
    both = [
        {key: np.concatenate([one[key], other[key]]) for key in one}
        for one, other in ((first.readings, second.readings), (first.looks, second.looks))
    ]
    return Item(first.case, first.seeds + second.seeds, *both, first.paths + second.paths)


def _chosen(item: Item, seeds: Sequence[int]) -> Item:
    rows: Int[np.ndarray, " s"] = np.array([item.seeds.index(seed) for seed in seeds])
    readings, looks = ({key: each[rows] for key, each in kind.items()} for kind in (item.readings, item.looks))
    return replace(item, seeds=tuple(seeds), readings=readings, looks=looks, paths=tuple(item.paths[i] for i in rows))
