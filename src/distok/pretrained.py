"""Checkpoint folders on this disk: find them, check their parts, and load them quietly and without a network."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distok.errors import DistokError


def local_folder(path_or_id: str | Path, marker: str, kind: str) -> Path:
    """The folder of a checkpoint: ``path_or_id`` itself, or the copy of that id in the local hub cache. Never downloads.

    Args:
        marker: the file that such a folder must hold, for example ``model_index.json``.
        kind: what it is, for messages, for example ``"diffusers pipeline"``.

    Raises:
        DistokError: nothing of that name, or not a folder of that kind.
    """
    path = Path(path_or_id).expanduser()
    if not path.exists():
        path = _cached(str(path_or_id), kind)
    if not path.is_dir():
        raise DistokError(f"{path} is a file, but a {kind} is a folder with {marker}; give the folder")
    if not (path / marker).is_file():
        raise DistokError(f"{path} is not a {kind} (it holds no {marker}); give a folder made by save_pretrained")
    return path


def _cached(name: str, kind: str) -> Path:
    quiet()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # not in the cache, or not even the form of an id
        raise DistokError(f"{name} does not exist here and is not in the local hub cache; give the folder of a {kind}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        DistokError: the file cannot be read, or is not one JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DistokError(f"{path} is not readable JSON ({error}); make or copy it again") from None
    if not isinstance(value, dict):
        raise DistokError(f"{path} holds {type(value).__name__}, but a JSON object is expected; make or copy it again")
    return value


def check_weights(folder: Path) -> None:
    """Check that a model's folder has its config and whole safetensors weights.

    Raises:
        DistokError: a part is missing, pickled only, truncated, or corrupt; the message names the file.
    """
    from safetensors import SafetensorError, safe_open

    if not (folder / "config.json").is_file():
        raise DistokError(f"{folder / 'config.json'} is missing; copy the whole checkpoint again")
    weights = sorted(folder.glob("*model*.safetensors"))  # other safetensors may stand beside the model's own
    if not weights:
        found = "only pickled weights, which are never read" if any(folder.glob("*.bin")) else "no weights"
        raise DistokError(f"{folder} holds {found}; a .safetensors file is expected: copy the checkpoint again or convert it")
    for path in weights:
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError, ValueError) as error:
            raise DistokError(f"{path} is corrupt or truncated ({error}); copy the checkpoint again") from None


def check_tokenizer(folder: Path) -> None:
    """Check a tokenizer's files: without them some classes load an empty vocabulary and say nothing.

    Raises:
        DistokError: neither ``tokenizer.json`` nor ``vocab.json`` with ``merges.txt`` is there.
    """
    if not (folder / "tokenizer.json").is_file() and not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise DistokError(f"{folder} holds neither tokenizer.json nor vocab.json and merges.txt; copy the checkpoint again")


def quiet() -> None:
    """Keep the libraries off the network and off the terminal; call before they are first imported."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide the libraries' own progress bars, on loading and on saving."""
    quiet()
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    shown = [module for module in (diffusers_logging, transformers_logging) if module.is_progress_bar_enabled()]
    for module in shown:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module in shown:
            module.enable_progress_bar()


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Load a checkpoint without progress bars, and turn whatever goes wrong into one line for a person."""
    try:
        with without_bars():
            yield
    except DistokError:
        raise
    except Exception as error:  # the libraries raise many kinds here, and each means that the folder is unusable
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DistokError(f"{path} cannot be loaded ({reason}); copy the checkpoint again") from error
