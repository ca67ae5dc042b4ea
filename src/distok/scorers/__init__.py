"""Numbers for pictures: one signature, pictures and prompts in, one float each out; and the measures of whole sets."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.errors import DistokError

if TYPE_CHECKING:
    from distok.scorers.base import Missing, MissingWeightsError, NotFiniteError, Scale, Scorer, ScorerSettings
    from distok.scorers.features import open_features

__all__ = [
    "KINDS", "Missing", "MissingWeightsError", "NotFiniteError", "Scale", "Scorer", "ScorerSettings", "Source", "open_features",
    "open_scorer", "open_scorers",
]  # fmt: skip

_HOME = {
    **dict.fromkeys(("Missing", "MissingWeightsError", "NotFiniteError", "Scale", "Scorer", "ScorerSettings"), "base"),
    "open_features": "features",
}


@dataclass(frozen=True)
class Source:
    """Where a kind of scorer comes from: our class, the published weights, what a folder of them is known by."""

    module: str
    cls: str
    hub_id: str
    markers: tuple[str, ...] = ("config.json",)
    pickled: bool = False  # published as a pickle alone, which has to be converted


KINDS = {
    "vqascore": Source("vqa", "VqaScore", "Qwen/Qwen2.5-VL-3B-Instruct"),
    "clipscore": Source("clip", "ClipScore", "openai/clip-vit-large-patch14"),
    "pickscore": Source("clip", "PickScore", "yuvalkirstain/PickScore_v1"),
    "hpsv2": Source("clip", "Hps", "xswu/HPSv2", ("config.json", "tokenizer.json", "vocab.json"), pickled=True),
    "imagereward": Source("image_reward", "ImageReward", "THUDM/ImageReward", ("med_config.json",), pickled=True),
    "aesthetic": Source("aesthetic", "Aesthetic", "openai/clip-vit-large-patch14"),
}


def open_scorer(kind: str, path: str | Path | None = None, settings: "ScorerSettings | None" = None, **options: Any) -> "Scorer":
    """Open a scorer that needs a model, from a folder or an id in the local hub cache; never downloads, never unpickles.

    Args:
        kind: one of :data:`KINDS`.
        path: the folder or id; the id of the published weights by default.
        settings: device, dtype and batch.
        options: the kind's own, such as ``vqa=VqaSettings(…)`` for "vqascore".

    Raises:
        DistokError: an unknown kind, a device that is not there, or another kind of model.
        MissingWeightsError: (a DistokError) the weights are not here, or only as a pickle; the text says what to do.
    """
    from distok.checkpoints import check_device
    from distok.scorers.base import MissingWeightsError, ScorerSettings

    source = KINDS[known_kind(kind)]
    settings = settings or ScorerSettings()
    check_device(settings.device)
    folder = _folder(kind, source, path)
    cls = getattr(importlib.import_module(f"distok.scorers.{source.module}"), source.cls)
    if not any(folder.glob("*.safetensors")):
        pickled = any(found.suffix in (".bin", ".pt", ".pth", ".ckpt") for found in folder.iterdir())
        held = "only pickled weights, which are never read" if pickled else "no weights"
        raise MissingWeightsError(f"{folder} holds {held}; {_remedy(source, pickled or source.pickled)}")
    scorer: Scorer = cls.load(folder, settings, **options)
    return scorer


def located(wanted: "Mapping[str, str | Path | None]") -> dict[str, str]:
    """Where the model of each kind is and which files it has, or that it is missing; nothing is opened.

    It changes when a file is added or replaced, weights or a tokenizer, so that what was scored without it does not stand.

    Raises:
        DistokError: an unknown kind.
    """
    return {kind: _place(kind, path) for kind, path in wanted.items() if known_kind(kind)}


def known_kind(kind: str) -> str:
    """The name of a kind, as it is.

    Raises:
        DistokError: there is none of that name.
    """
    if kind not in KINDS:
        raise DistokError(f"unknown scorer {kind!r}; choose one of {', '.join(KINDS)}")
    return kind


def _place(kind: str, path: "str | Path | None") -> str:
    try:
        folder = _folder(kind, KINDS[kind], path)
    except DistokError:
        return "missing"
    files = [(each.name, each.stat()) for each in sorted(folder.iterdir()) if each.is_file()]
    return " ".join([str(folder), *(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in files)])


def open_scorers(
    wanted: "Mapping[str, str | Path | None]", settings: "ScorerSettings | None" = None
) -> "dict[str, Scorer | Missing]":
    """Open several scorers by kind and path; one that cannot be had becomes a :class:`Missing` with the remedy.

    Raises:
        DistokError: an unknown kind, or a device that is not there: mistakes of the call, not of the disk.
    """
    from distok.checkpoints import check_device
    from distok.scorers.base import Missing, ScorerSettings

    settings = settings or ScorerSettings()
    check_device(settings.device)
    for kind in wanted:
        known_kind(kind)
    found: dict[str, Scorer | Missing] = {}
    for kind, path in wanted.items():
        try:
            found[kind] = open_scorer(kind, path, settings)
        except DistokError as error:
            found[kind] = Missing(kind, str(error))
    return found


def _folder(kind: str, source: Source, path: str | Path | None) -> Path:
    from distok import pretrained
    from distok.scorers.base import MissingWeightsError

    place = Path(path).expanduser() if path is not None else None
    if place is None or not place.exists():
        try:
            place = pretrained.local_folder(path or source.hub_id, source.markers[0], f"{kind} model")
        except DistokError:
            raise MissingWeightsError(
                f"the weights of {kind} are not {f'at {path}' if path else 'here'}; {_remedy(source, source.pickled)}"
            ) from None
    if not place.is_dir():
        raise DistokError(f"{place} is a file, but the weights of {kind} are a folder; give the folder")
    if not any((place / marker).is_file() for marker in source.markers):
        raise MissingWeightsError(
            f"{place} holds no {' or '.join(source.markers)}, so it is no {kind}; {_remedy(source, source.pickled)}"
        )
    return place


def _remedy(source: Source, convert: bool) -> str:
    text = f"get {source.hub_id} with 'hf download {source.hub_id}' where there is a network and give its folder"
    return f"{text}, its weights converted to .safetensors (docs/scorers.md)" if convert else text


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distok.scorers' has no attribute '{name}'")
    return getattr(importlib.import_module(f"distok.scorers.{_HOME[name]}"), name)
