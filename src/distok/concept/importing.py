"""Back from textual-inversion files, ours and those of other tools, to a concept.

Shapes: n = vectors in a token, d = width of the text encoder.
"""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.concept.concept import METADATA_KEY, Concept, check_counts
from distok.concept.formats import MOST_VECTORS, place, wrong_width
from distok.errors import DistokError
from distok.files import from_json, read_tensors


@dataclass(frozen=True)
class _File:
    """A file as read: its tensors by their names, what DisTok wrote into it (None: another tool's), and its token's name."""

    path: Path
    tensors: Mapping[str, Any]
    told: Mapping[str, Any] | None = None
    name: str | None = None


def import_concept(*paths: str | Path, allow_pickle: bool = False, name: str | None = None) -> Concept:
    """Read a textual-inversion file of diffusers, A1111, Forge, kohya or ComfyUI; half precision becomes float32.

    Files that :func:`export_concept` wrote give the concept back as it was: vectors, distribution, latent, provenance.
    Others give the vectors alone.

    Args:
        paths: one file, or one a text encoder, in the order of the encoders, where each has its own.
        allow_pickle: also read ``.pt`` and ``.bin``, by ``torch.load(weights_only=True)``.
        name: what to call the concept; by default what the file says, else the file's own name.

    Raises:
        DistokError: missing, truncated, foreign or pickled files, tensors that are no vectors, files of different concepts.
    """
    if not paths:
        raise DistokError("no file to import; give the textual-inversion file of a token")
    files = [_read(Path(path), allow_pickle) for path in paths]
    vectors: dict[str, Tensor] = {}
    for index, file in enumerate(files):
        for key, value in _placed(file, index).items():
            if key in vectors:
                raise DistokError(f"{file.path} is for {key}, and so is a file before it; give one file for each text encoder")
            vectors[key] = value
    if any((file.told or {}).get("hash") != (files[0].told or {}).get("hash") for file in files):
        said = ", ".join(str(file.path) for file in files)
        raise DistokError(f"{said} are not of one concept; give the files of one export together, and others by themselves")
    concept = _restored(files, vectors) if files[0].told else _foreign(files[0], vectors)
    check_counts(concept.name, concept.vectors)
    return concept if name is None else replace(concept, name=name)


def _read(path: Path, allow_pickle: bool) -> _File:
    if not path.is_file():
        raise DistokError(f"{path} does not exist or is not a file; give the textual-inversion file of a token")
    with path.open("rb") as opened:
        start = opened.read(9)
    if start[8:] not in (b"", b"{") and start.startswith((b"PK", b"\x80")):  # a safetensors header begins with { there
        if not allow_pickle:
            raise DistokError(
                f"{path} is a pickle, which can run code when it is opened; if you trust it, "
                "add --allow-pickle (allow_pickle=True): it is then read as tensors only"
            )
        return _unpickled(path)
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata:
        return _File(path, tensors)
    try:
        told = from_json(metadata[METADATA_KEY])
        if "export" in told:
            encoders = [*told["tensors"].values(), *told["widths"].keys(), told["hash"]]
            if not all(isinstance(each, str) for each in encoders):
                raise TypeError("text encoders are no strings")
            return _File(path, tensors, told)
        what = "a DisTok model, not a token" if told.get("kind") == "distok" else "a DisTok concept already; use it as it is"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DistokError(f"what DisTok wrote into {path} cannot be read ({error!r}); export the concept again") from None
    raise DistokError(f"{path} is {what}")


def _unpickled(path: Path) -> _File:
    """Read a legacy file as tensors only: any other object in it is refused, not run."""
    try:
        # A1111's oldest files hold a ParameterDict, which only stores parameters.
        with torch.serialization.safe_globals([torch.nn.ParameterDict]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes make it raise
        said = " ".join(str(error).split())
        reason = shorten(said.partition("WeightsUnpickler error: ")[2] or said, 120, placeholder=" …") or type(error).__name__
        raise DistokError(f"{path} is damaged or holds more than tensors ({reason}); get it as .safetensors") from None
    if isinstance(held, Mapping) and "string_to_param" in held:
        name = held.get("name")
        told = held["string_to_param"]
        # A ParameterDict that torch 1.11 or older pickled has no keys of its own: its values lie one deeper.
        told = vars(told).get("_parameters") or told if hasattr(told, "__dict__") else told
        values = list(told.values()) if hasattr(told, "values") else []
        if len(values) != 1:
            raise DistokError(f"{path} holds {len(values)} tokens, but a concept is one; import a file of one token")
        return _File(path, {"emb_params": values[0]}, name=name if isinstance(name, str) else None)
    if not isinstance(held, Mapping):
        raise DistokError(f"{path} holds a {type(held).__name__}, but a mapping of one token is expected; get it as .safetensors")
    return _File(path, {str(key): value for key, value in held.items()})


def _placed(file: _File, index: int) -> dict[str, Float[Tensor, "n d"]]:
    """The vectors of a file by text encoder."""
    checked = {name: _vectors(file.path, name, value) for name, value in file.tensors.items()}
    if file.told:
        names = file.told["tensors"]
    else:
        names = place(checked, index)
        for name in names:
            width = checked[name].shape[1]
            if wrong_width(name, width):
                raise DistokError(
                    f"{file.path}: '{name}' is {width} wide, which is another text encoder's width; get the file again"
                )
    if not names or set(names) != set(checked):
        found = ", ".join(sorted(checked)[:4]) + (", …" if len(checked) > 4 else "")
        raise DistokError(
            f"{file.path} holds {found or 'nothing'}, but a textual inversion holds one token, emb_params, "
            "or clip_l with clip_g or t5xxl; import the embedding, not a model"
        )
    return {names[name]: value for name, value in checked.items()}


def _vectors(path: Path, name: str, value: object) -> Float[Tensor, "n d"]:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (1, 2) or 0 in value.shape:
        found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise DistokError(f"{path}: '{name}' is {found}, but vectors [d] or [n, d] are expected; import the embedding of a token")
    if value.ndim == 2 and len(value) > MOST_VECTORS:
        raise DistokError(
            f"{path}: '{name}' holds {len(value)} vectors, but a prompt has room for {MOST_VECTORS}; import one token"
        )
    return value.detach().float().reshape(-1, value.shape[-1])


def _restored(files: Sequence[_File], vectors: Mapping[str, Tensor]) -> Concept:
    """The concept that was exported, checked against its hash."""
    path, told = files[0].path, files[0].told or {}
    if missing := [key for key in told["widths"] if key not in vectors]:
        raise DistokError(f"{path} is one of several files of a concept; give that for {', '.join(missing)} too")
    chosen = {key: vectors[key] for key in told["widths"]}
    concept = Concept.from_json(json.dumps(told), chosen, path, exported=True)
    if concept.hash != told["hash"]:
        raise DistokError(
            f"the vectors in {path} ({concept.hash}) are not those that were exported ({told['hash']}); export the concept again"
        )
    return concept


def _foreign(file: _File, vectors: Mapping[str, Tensor]) -> Concept:
    only = next(iter(file.tensors)) if len(file.tensors) == 1 else ""
    said = file.name or (only if only not in ("emb_params", "clip_l", "clip_g", "t5xxl", "t5", "*") else "")
    name = re.sub(r"[^\w.-]+", "-", said).strip("-") or re.sub(r"[^\w.-]+", "-", file.path.stem).strip("-") or "imported"
    return Concept(name[:100], vectors, provenance={"imported_from": file.path.name})
