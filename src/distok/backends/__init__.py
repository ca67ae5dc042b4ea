"""Frozen text-to-image pipelines behind one signature; one file per family."""

from pathlib import Path
from typing import TYPE_CHECKING

from distok import pretrained
from distok.backends.base import Backend, fill, slot
from distok.errors import DistokError

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILIES", "Backend", "fill", "open_backend", "slot"]

FAMILIES = ("StableDiffusionPipeline",)


def open_backend(path_or_id: str | Path, device: str = "cpu", dtype: "torch.dtype | None" = None) -> Backend:
    """Open a diffusers pipeline folder (or an id in the local hub cache) by the family its ``model_index.json`` names.

    Args:
        dtype: the weights' type; as stored if None.

    Raises:
        DistokError: not a pipeline, a family that is not supported, or a missing or corrupt part.
    """
    folder = pretrained.local_folder(path_or_id, "model_index.json", "diffusers pipeline")
    family = pretrained.read_json(folder / "model_index.json").get("_class_name")
    if family not in FAMILIES:
        raise DistokError(f"{folder} is a {family}, which is not supported; supported families: {', '.join(FAMILIES)}")
    from distok.backends.stable_diffusion import StableDiffusionBackend

    return StableDiffusionBackend.load(folder, device, dtype)
