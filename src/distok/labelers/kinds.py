"""The table of labelers: what can be opened, what it computes, and its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.settings import (
    AnswerSettings,
    ClipSettings,
    EnsembleSettings,
    MatchingSettings,
    Settings,
    SiglipSettings,
)


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Args:
        model_class: the transformers class that it reads with.
        computes: the score of a name, in words; the reading is softmax(score / temperature) over the names.
        settings: what ``labeler.json`` may hold.
        labeler: module and class of ours.
    """

    model_class: str
    computes: str
    settings: type[Settings]
    labeler: str

    def labeler_class(self) -> Any:
        """The class of ours, imported."""
        module, name = self.labeler.split(":")
        return getattr(import_module(f"distok.labelers.{module}"), name)


_COSINE = "cosine of picture and caption"
_ANSWER = "log-likelihood of the name as the answer to the question"

KINDS: Mapping[str, Kind] = {
    "clip": Kind("CLIPModel", _COSINE, ClipSettings, "clip:ClipLabeler"),
    "vision-text-dual-encoder": Kind("VisionTextDualEncoderModel", _COSINE, ClipSettings, "clip:ClipLabeler"),
    "siglip": Kind("SiglipModel", "log-odds that the caption belongs to the picture", SiglipSettings, "siglip:SiglipLabeler"),
    "siglip2": Kind("Siglip2Model", "log-odds that the caption belongs to the picture", SiglipSettings, "siglip:Siglip2Labeler"),
    "blip-vqa": Kind("BlipForQuestionAnswering", _ANSWER, AnswerSettings, "blip:BlipVqaLabeler"),
    "blip-itm": Kind(
        "BlipForImageTextRetrieval", "log-odds that the caption matches", MatchingSettings, "blip:BlipMatchingLabeler"
    ),
    "qwen2_5_vl": Kind("Qwen2_5_VLForConditionalGeneration", _ANSWER, AnswerSettings, "qwen:QwenLabeler"),
    "ensemble": Kind("any of these", "weighted mean of its members' readings", EnsembleSettings, "ensemble:EnsembleLabeler"),
}


def kind_of(folder: Path, stored: Mapping[str, Any]) -> str:
    """The kind of a labeler's folder: what ``labeler.json`` says, else what ``config.json`` does.

    Raises:
        DistokError: the kind is not supported; the message names those that are.
    """
    kind = stored.get("kind")
    if kind is None:
        config = pretrained.read_json(folder / "config.json")
        kind = config.get("model_type")
        if kind not in KINDS:  # several classes share BLIP's model type
            architectures = config.get("architectures") or [kind]
            kind = next((name for name, row in KINDS.items() if row.model_class in architectures), architectures[0])
    if kind not in KINDS:
        raise DistokError(f"{folder} is a labeler of kind {kind!r}, which is not supported; supported kinds: {', '.join(KINDS)}")
    return str(kind)
