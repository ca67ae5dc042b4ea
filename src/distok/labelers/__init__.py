"""Vision-language models that read a picture back as a distribution; one file per family."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok import pretrained
from distok.errors import DistokError
from distok.files import write_text
from distok.labelers.base import Labeler
from distok.labelers.calibration import calibrate
from distok.labelers.ensemble import EnsembleLabeler, Member
from distok.labelers.kinds import KINDS, kind_of
from distok.labelers.settings import EnsembleSettings

if TYPE_CHECKING:
    import torch

__all__ = ["KINDS", "EnsembleLabeler", "Labeler", "Member", "calibrate", "open_labeler", "save_settings"]

MEMBER = ("labeler", "weight", "temperature", "settings")  # of a row of an ensemble's members


def open_labeler(
    path_or_id: str | Path, device: str = "cpu", dtype: "str | torch.dtype | None" = None, **settings: Any
) -> Labeler:
    """Open a labeler by the kind its ``labeler.json`` or ``config.json`` names. Never downloads.

    Args:
        path_or_id: a model's folder, an id in the local hub cache, an ensemble's folder or JSON file, or several of these
            separated by commas, which make an ensemble of equals.
        dtype: "float16" or "bfloat16" on a GPU; single precision if None.
        settings: in place of those in ``labeler.json``. For an ensemble, its own ("mean", "temperature") go to it and every
            other to those members that have it.

    Raises:
        DistokError: not a labeler, a kind or setting that is not supported, a setting out of range, or a missing, pickled or
            corrupt part.
    """
    from distok.labelers.loading import precision

    exact = precision(dtype, device)
    path = Path(path_or_id).expanduser()
    if "," in str(path_or_id) and not path.exists():
        parts = [part.strip() for part in str(path_or_id).split(",") if part.strip()]
        return _ensemble({"members": [{"labeler": part} for part in parts]}, Path(), device, exact, settings)
    if path.is_file() and path.suffix == ".json":
        labeler: Labeler = _ensemble(pretrained.read_json(path), path.parent, device, exact, settings)
    elif _stored(path).get("kind") == "ensemble":
        labeler = _ensemble(_stored(path), path, device, exact, settings)
    else:
        labeler = _one(*_find(path_or_id), device, exact, settings)
    labeler.source = str(path.resolve() if path.exists() else path_or_id)
    return labeler


def save_settings(labeler: Labeler, folder: str | Path) -> Path:
    """Write a labeler's settings as ``labeler.json``: beside the weights, or for an ensemble into any folder.

    Raises:
        DistokError: the folder holds no model to put them beside, or one where an ensemble is saved, or cannot be written to, or
            an ensemble's member was not opened from a folder.
    """
    folder = Path(folder).expanduser().resolve()
    if isinstance(labeler, EnsembleLabeler):
        if (folder / "config.json").is_file():
            raise DistokError(
                f"{folder} holds a model, which would be taken for the ensemble; save the ensemble to another folder"
            )
        stored = labeler.stored(folder)
    elif not (folder / "config.json").is_file():
        raise DistokError(f"{folder} holds no config.json; the settings of a single labeler go beside its weights")
    else:
        stored = {"kind": labeler.kind, **labeler.settings.as_dict()}
    return write_text(folder / "labeler.json", json.dumps(stored, indent=1))


def _stored(folder: Path) -> dict[str, Any]:
    path = folder / "labeler.json"
    return pretrained.read_json(path) if path.is_file() else {}


def _find(path_or_id: str | Path) -> tuple[Path, str, dict[str, Any]]:
    """Folder, kind and stored settings of a single labeler."""
    if _stored(Path(path_or_id).expanduser()).get("kind") == "ensemble":
        raise DistokError(f"{path_or_id} is an ensemble, which cannot be a member of an ensemble; list its members instead")
    folder = pretrained.local_folder(path_or_id, "config.json", "labeler")
    stored = _stored(folder)
    return folder, kind_of(folder, stored), stored


def _one(
    folder: Path, kind: str, stored: Mapping[str, Any], device: str, dtype: "torch.dtype", settings: Mapping[str, Any]
) -> Labeler:
    how = KINDS[kind].settings.of(kind, {**stored, **settings})
    labeler: Labeler = KINDS[kind].labeler_class().load(kind, folder, how, device, dtype)
    return labeler


def _ensemble(
    stored: Mapping[str, Any], base: Path, device: str, dtype: "torch.dtype", settings: Mapping[str, Any]
) -> EnsembleLabeler:
    """The ensemble that ``stored`` describes, its members' paths relative to ``base``; checked as a whole before loading."""
    own = {name: value for name, value in settings.items() if name in EnsembleSettings.names()}
    shared = {name: value for name, value in settings.items() if name not in own}
    how = EnsembleSettings.of("ensemble", {**stored, **own})
    rows = stored.get("members")
    if not isinstance(rows, list):
        raise DistokError(f'the ensemble has {rows!r} as members; give a list of {{"labeler": PATH}}, see docs/labelers.md')
    named = [_named(row, base) for row in rows]
    found = [_find(path) for path in named]
    for name in shared:
        kinds = [kind for _, kind, _ in found]
        if not any(name in KINDS[kind].settings.names() for kind in kinds):
            have = dict.fromkeys(setting for kind in kinds for setting in KINDS[kind].settings.names())
            raise DistokError(f"no labeler of the ensemble has a setting {name!r}; they have {', '.join(have)}")
    members = []
    for row, path, (folder, kind, beside) in zip(rows, named, found, strict=True):
        taken = {name: value for name, value in shared.items() if name in KINDS[kind].settings.names()}
        labeler = _one(folder, kind, beside, device, dtype, {**row.get("settings", {}), **taken})
        labeler.source = str(Path(path).resolve() if Path(path).exists() else path)
        members.append(Member(labeler, row.get("weight", 1.0), row.get("temperature", 1.0)))
    return EnsembleLabeler(members, how)


def _named(row: Any, base: Path) -> str | Path:
    """The labeler of an ensemble's row: a path relative to ``base`` if there is one, else an id."""
    if not isinstance(row, dict) or not isinstance(row.get("labeler"), str) or not isinstance(row.get("settings", {}), dict):
        raise DistokError(f'{row!r} is no member of an ensemble; give {{"labeler": PATH, "weight": 1.0, "temperature": 1.0}}')
    for name in row:
        if name not in MEMBER:
            raise DistokError(f"a member of an ensemble has no {name!r}; it has {', '.join(MEMBER)}")
    path = base / Path(row["labeler"]).expanduser()
    return path if path.exists() else str(row["labeler"])
