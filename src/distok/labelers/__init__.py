"""Vision-language models that read a picture back as a distribution; one file per family."""

from pathlib import Path

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.base import Labeler

__all__ = ["KINDS", "Labeler", "open_labeler"]

KINDS = ("clip", "vision-text-dual-encoder")


def open_labeler(path_or_id: str | Path, device: str = "cpu") -> Labeler:
    """Open a labeler's folder (or an id in the local hub cache) by the kind its ``labeler.json`` or ``config.json`` names.

    Raises:
        DistokError: not a model folder, a kind that is not supported, or a missing or corrupt part.
    """
    folder = pretrained.local_folder(path_or_id, "config.json", "labeler")
    path = folder / "labeler.json"
    settings = pretrained.read_json(path) if path.is_file() else {}
    kind = settings.get("kind", pretrained.read_json(folder / "config.json").get("model_type"))
    if kind not in KINDS:
        raise DistokError(f"{folder} is a labeler of kind {kind!r}, which is not supported; supported kinds: {', '.join(KINDS)}")
    from distok.labelers.clip import ClipLabeler

    return ClipLabeler.load(folder, settings, device)
