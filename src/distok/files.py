"""Durable writes: beside the target, fsync, rename. Weights are safetensors; no pickle is ever written."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.errors import DistokError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write ``data`` to ``path`` atomically: a reader sees the old file or the new one, never a part.

    Raises:
        DistokError: the folder cannot be created or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of a long name a part: with what is added it would pass the 255 bytes that a name may have.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:60]}.", suffix=".tmp")
    except OSError as error:
        raise DistokError(
            f"cannot write to {path.parent} ({error.strerror or error}); choose another folder with --out"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise DistokError(f"cannot write {path} ({error.strerror or error}); free some space or choose another folder") from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)
    return path


def check_folder(path: str | Path) -> None:
    """Refuse a folder that could not be made or written to, before the work whose result it shall hold; makes nothing.

    Raises:
        DistokError: there is a file in its place or above it, or the system allows no writing there.
    """
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        why = "may not be written to" if place.is_dir() else "is a file"
        raise DistokError(f"cannot write to {path} ({place} {why}); choose another folder with --out")


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically; see :func:`write_bytes`."""
    return write_bytes(path, text.encode())


def write_tensors(path: str | Path, tensors: "Mapping[str, torch.Tensor]", metadata: "Mapping[str, str] | None" = None) -> Path:
    """Write a safetensors file atomically; tensors are made contiguous and unshared first."""
    from safetensors.torch import save

    unshared = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return write_bytes(path, save(unshared, metadata=dict(metadata) if metadata else None))


def from_json(text: str) -> Any:
    """What JSON says that somebody else may have written.

    Raises:
        ValueError: it is none, or its brackets are nested without an end.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_tensors(path: str | Path) -> "tuple[dict[str, torch.Tensor], dict[str, str]]":
    """Read a safetensors file: its tensors and its string metadata.

    Raises:
        DistokError: the file is missing, truncated or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise DistokError(f"{path} does not exist or is not a file; give the path of a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DistokError(f"{path} is not a readable safetensors file ({error}); copy it or make it again") from None


@contextmanager
def rewritten(path: str | Path) -> Iterator[Path]:
    """A copy of a folder (or a new one) to write into, which takes its place when all is written: no reader finds a part of it.

    Where the block fails the copy is removed, and ``path`` stays as it was.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:60]}.", suffix=".tmp"))
    former = made.with_suffix(".old")
    try:
        made.chmod(0o755)
        if path.exists():
            shutil.copytree(path, made, dirs_exist_ok=True)
        yield made
        for place in (*made.rglob("*"), made):
            _sync(place)
        try:
            if path.exists():
                path.rename(former)
            made.rename(path)
        except BaseException:
            if former.exists() and not path.exists():
                former.rename(path)
            raise
        _sync(path.parent)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _sync(place: Path) -> None:
    if os.name != "posix":
        return
    with suppress(OSError):  # not every place may be opened, nor every file system syncs one: the file is written all the same
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
