"""Checkpoints of a run: one safetensors file each, the last two kept, and never a moment without a whole one."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distok import files
from distok.errors import DistokError
from distok.training.settings import TrainSettings

KEEP = 2
NAME = re.compile(r"checkpoint-(\d+)\.safetensors")
LOG = logging.getLogger(__name__)


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Path:
    """Write ``checkpoint-<step>.safetensors`` and only then remove older ones.

    Args:
        tensors: the whole state.
        record: what the run is, as JSON; a run with another record will not resume from this file.
    """
    # One metadata entry: safetensors writes several in no fixed order, and equal runs should leave equal files.
    metadata = json.dumps({"step": step, "record": record, "digest": _digest(tensors)}, sort_keys=True)
    path = files.write_tensors(folder / f"checkpoint-{step}.safetensors", tensors, {"distok": metadata})
    for old in _checkpoints(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def latest(folder: Path, record: Mapping[str, Any]) -> tuple[int, dict[str, Tensor]] | None:
    """The newest whole checkpoint of this run as (step, tensors), or None in a new folder.

    A corrupt one is passed over with a warning for the one before it. Leavings of an interrupted write are removed.

    Raises:
        DistokError: the folder belongs to another run (the message names what differs), or no checkpoint in it is whole.
    """
    for part in folder.glob(".checkpoint-*.tmp"):
        part.unlink(missing_ok=True)
    found = _checkpoints(folder)
    for path in found:
        try:
            stored, tensors = read(path)
        except ValueError as error:  # a DistokError is one too
            LOG.warning("skipping a corrupt checkpoint: %s", error)
            continue
        _require_same(folder, stored["record"], json.loads(json.dumps(record)))
        return stored["step"], tensors
    if found:
        raise DistokError(
            f"no checkpoint in {folder} can be read; delete the folder to start again, or choose another with --out"
        )
    return None


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One checkpoint: its metadata (``step``, ``record``) and the state.

    Raises:
        DistokError: not a checkpoint, or not whole.
    """
    tensors, metadata = files.read_tensors(path)
    try:
        stored = files.from_json(metadata.get("distok", "{}"))
    except ValueError:
        stored = {}
    if not isinstance(stored, dict) or stored.get("digest") != _digest(tensors):
        raise DistokError(f"{path} does not hold what was written to it")
    return stored, tensors


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    steps = {path: int(match[1]) for path in folder.glob("checkpoint-*") if (match := NAME.fullmatch(path.name))}
    return sorted(steps, key=steps.__getitem__, reverse=True)


def _require_same(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    changes = []
    for part in sorted({*found, *expected}):
        if part == "features" and part not in found:
            continue  # begun before it was noted
        old, new = found.get(part), expected.get(part)
        if isinstance(old, dict) and isinstance(new, dict):
            if part == "settings":  # one that came after the run was begun has the value that changes nothing
                old = {key: value for key, value in json.loads(TrainSettings().to_json()).items() if key in new} | old
            keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
            changes += [_change(key, old.get(key), new.get(key)) for key in keys]
        elif old != new and part != "revision":
            changes.append(_change(part, old, new))
    if not changes and found.get("revision") != expected.get("revision"):
        changes = ["begun by a version of distok that trains otherwise"]
    if changes:
        differs = ", ".join(changes)
        raise DistokError(f"{folder} holds another run ({differs}); resume it with its own settings or choose another --out")


def _change(key: str, old: object, new: object) -> str:
    """What differs, in a few words: a list may have a thousand entries, and is named only."""
    return key if isinstance(old, list) or isinstance(new, list) else f"{key} {old!r} → {new!r}"


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())  # bfloat16 is no NumPy type
    return digest.hexdigest()
