"""Frozen text-to-image pipelines behind one signature; one file per family."""

from pathlib import Path
from typing import TYPE_CHECKING

from distok import pretrained
from distok.backends.base import Backend, Condition, RenderDefaults
from distok.backends.families import DECODERS, FAMILIES, family_class
from distok.backends.prompts import fill, slot
from distok.errors import DistokError

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILIES", "Backend", "Condition", "RenderDefaults", "fill", "open_backend", "slot"]


def open_backend(
    path_or_id: str | Path, device: str = "cpu", dtype: "torch.dtype | None" = None, offload: str = "auto"
) -> Backend:
    """Open a diffusers pipeline folder (or an id in the local hub cache) by the family its ``model_index.json`` names.

    Args:
        device: "cpu" or "cuda".
        dtype: the weights' type; single precision if None, however they are stored: libraries would load each part as they see
            fit, and parts of several types do not work together.
        offload: "auto", "fast", "balanced" or "low"; see :func:`distok.backends.loading.choose_offload`.

    Raises:
        DistokError: not a pipeline, a family that is not supported, a missing or corrupt part, or too little memory.
    """
    import torch

    from distok.backends import loading
    from distok.backends.offload import place

    folder = pretrained.local_folder(path_or_id, "model_index.json", "diffusers pipeline")
    family = str(pretrained.read_json(folder / "model_index.json").get("_class_name"))  # of a custom pipeline it is a list
    if family not in FAMILIES and family not in DECODERS:
        raise DistokError(f"{folder} is a {family}, which is not supported; supported families: {', '.join(FAMILIES)}")
    cls, dtype = family_class(family), dtype or torch.float32
    loading.check_parts(folder)
    mode = loading.choose_offload(folder, cls.weight_bytes(folder, family, dtype), device, dtype, offload)
    pipe = cls.load(folder, family, dtype)
    for tokenizer, encoder in cls.vocabularies(pipe):
        loading.check_vocabulary(folder, tokenizer, encoder)
    placement = place(pipe, device, mode)
    backend: Backend = cls(pipe, loading.read_defaults(folder, cls.own_defaults), **cls.extras(folder, pipe))
    backend.placement = placement
    return backend
