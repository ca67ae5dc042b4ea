"""A concept as a textual-inversion file that other tools load.

Shapes: n = vectors in a token, d = width of the text encoder.
"""

import json
from pathlib import Path

from distok.concept.concept import METADATA_KEY, Concept
from distok.errors import DistokError
from distok.files import write_tensors

# What each tool looks for: diffusers takes a file of exactly one key, the token as it is written in a prompt; A1111 and ComfyUI
# take the key "emb_params" and name the token after the file.
EXPORT_FORMATS = ("diffusers", "a1111")


def export_concept(concept: Concept, path: str | Path, style: str = "diffusers") -> Path:
    """Write ``concept`` as one safetensors textual-inversion file [n, d], with its provenance as string metadata.

    Args:
        concept: a concept with vectors for one text encoder.
        path: the file to write, or an existing folder to write ``<name>.safetensors`` into.
        style: "diffusers" (``pipe.load_textual_inversion(path)``) or "a1111" (put it into ``embeddings/``).

    Raises:
        DistokError: an unknown style, a concept for several text encoders, or a path that cannot be written.
    """
    if style not in EXPORT_FORMATS:
        raise DistokError(f"unknown export format '{style}'; choose {' or '.join(EXPORT_FORMATS)}")
    if len(concept.vectors) != 1:
        raise DistokError(
            f"concept '{concept.name}' has vectors for {', '.join(concept.vectors)}; the {style} format holds one encoder's"
        )
    path = Path(path)
    if path.is_dir():
        path = path / f"{concept.name}.safetensors"
    ((encoder, vectors),) = concept.vectors.items()
    key = trigger(concept, path, style)
    metadata = {
        "format": "pt",
        METADATA_KEY: json.dumps(concept.describe() | {"encoder": encoder, "width": vectors.shape[1]}),
        "modelspec.title": concept.name,
        "modelspec.trigger_phrase": key,
    }
    return write_tensors(path, {key if style == "diffusers" else "emb_params": vectors}, metadata)


def trigger(concept: Concept, path: str | Path, style: str) -> str:
    """Return how the exported token is written in a prompt of the tool."""
    return f"<{concept.name}>" if style == "diffusers" else Path(path).stem
