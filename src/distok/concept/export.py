"""A concept as a textual-inversion file that other tools load.

Shapes: n = vectors in a token, d = width of the text encoder.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from distok.concept.concept import METADATA_KEY, Concept, check_counts
from distok.concept.formats import architecture, check_fit, file_format
from distok.errors import DistokError
from distok.files import write_tensors


def export_concept(concept: Concept, path: str | Path, style: str = "diffusers", overwrite: bool = False) -> list[Path]:
    """Write ``concept`` as safetensors textual-inversion files [n, d], float32, with its provenance as string metadata.

    Args:
        concept: the creative token.
        path: the ``.safetensors`` file to write, or an existing folder to write ``<name>.safetensors`` into.
        style: "diffusers" (``pipe.load_textual_inversion``), "a1111" (``emb_params``: A1111, Forge, ComfyUI, kohya), "sdxl"
            (``clip_l`` and ``clip_g``), "flux" (``clip_l`` and ``t5xxl``) or "sd3" (all three, T5 optional).
        overwrite: replace files that are there.

    Returns:
        The files written: one, or with "diffusers" one a text encoder, ``<name>.<encoder>.safetensors`` where there are two.

    Raises:
        DistokError: an unknown style, one that does not hold the concept's encoders, a file that is there already, or a path
            that cannot be written.
    """
    planned = targets(concept, path, style)
    for target in planned.values():
        if target.exists() and not overwrite:
            raise DistokError(f"{target} exists already; write over it with --force, or choose another --out")
    for encoder, target in planned.items():
        word = trigger(concept, target, style)
        names = {encoder: word} if encoder else file_format(style).tensors
        placed = {names[key]: key for key in concept.vectors if key in names}
        tensors = {name: concept.vectors[key] for name, key in placed.items()}
        write_tensors(target, tensors, _metadata(concept, style, tensors, placed, word))
    return list(planned.values())


def targets(concept: Concept, path: str | Path, style: str) -> dict[str, Path]:
    """Where :func:`export_concept` would write: the text encoder ("" for all in one file) and its file.

    Raises:
        DistokError: as :func:`export_concept`, but for files that are there.
    """
    check_fit(concept, style)
    check_counts(concept.name, concept.vectors)
    path = Path(path)
    if path.is_dir():
        path = path / f"{concept.name}.safetensors"
    if path.suffix != ".safetensors":
        raise DistokError(f"{path} does not end in .safetensors, by which other tools know the file; rename it")
    if any(file_format(style).tensors.values()):
        return {"": path}
    if len(concept.vectors) == 1:
        return {next(iter(concept.vectors)): path}
    return {key: path.with_name(f"{path.stem}.{key}.safetensors") for key in concept.vectors}


def trigger(concept: Concept, path: str | Path, style: str) -> str:
    """Return how the exported token is written in a prompt of the tool."""
    return f"<{concept.name}>" if style == "diffusers" else Path(path).stem


def _metadata(
    concept: Concept, style: str, tensors: Mapping[str, Tensor], placed: Mapping[str, str], word: str
) -> dict[str, str]:
    """ModelSpec 1.0.0 for other tools, and the whole description of the concept for :func:`import_concept`."""
    told = {"export": style, "tensors": dict(placed), "widths": concept.widths, "hash": concept.hash}
    mix = f": {concept.distribution}" if concept.distribution else ", explored from a random latent" if concept.z else ""
    return {
        "format": "pt",
        METADATA_KEY: json.dumps(concept.describe() | told),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": architecture(concept, style),
        "modelspec.implementation": file_format(style).implementation,
        "modelspec.title": concept.name,
        "modelspec.description": f"A creative token made by DisTok{mix}",
        "modelspec.date": datetime.now(UTC).date().isoformat(),
        "modelspec.hash_sha256": _content_hash(tensors),
        "modelspec.trigger_phrase": word,
    }


def _content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that follows the header, as ModelSpec defines it."""
    from safetensors.torch import save

    data = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()})
    return "0x" + hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
