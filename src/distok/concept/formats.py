"""The files of other tools: which text encoders each holds, and under which names.

Shapes: n = vectors in a token, d = width of the text encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from distok.concept.concept import Concept, spelled
from distok.errors import DistokError

MOST_VECTORS = 75  # in a token: what CLIP's 77 positions leave beside start and end


@dataclass(frozen=True)
class FileFormat:
    """One kind of textual-inversion file.

    Attributes:
        tensors: text encoder key to the name of its tensor in the file; "" where the tensor is named after the token, and
            each encoder has a file of its own.
        widths: text encoder key to the widths that the published checkpoints of these families have.
        optional: text encoders that may be left out.
        implementation: the codebase whose file it is, in ModelSpec's terms.
        architecture: in ModelSpec's terms; None where the widths tell it.
    """

    tensors: Mapping[str, str]
    widths: Mapping[str, tuple[int, ...]]
    optional: tuple[str, ...] = ()
    implementation: str = "https://github.com/Stability-AI/generative-models"
    architecture: str | None = None

    def misfits(self, widths: Mapping[str, int]) -> bool:
        """Whether text encoders of these widths are not those of the format.

        A width that no published encoder has (a small model of one's own) fits; that of another published encoder does not.
        """
        needed = set(self.tensors) - set(self.optional)
        if not needed <= set(widths) or not set(widths) <= set(self.tensors):
            return True
        return any(width in _PUBLISHED and width not in self.widths[key] for key, width in widths.items())

    def spelled(self) -> str:
        """The encoders and widths as messages name them."""
        optional = {key: " (optional)" for key in self.optional}
        return " and ".join(f"{key} {' or '.join(map(str, self.widths[key]))}{optional.get(key, '')}" for key in self.tensors)


CLIP_L, CLIP_G, T5 = (768,), (1280,), (4096,)
_SD = (768, 1024)  # Stable Diffusion 1.x and 2.x
_PUBLISHED = {768, 1024, 1280, 4096}

FORMATS: dict[str, FileFormat] = {
    "diffusers": FileFormat(
        {"text_encoder": "", "text_encoder_2": ""},
        {"text_encoder": _SD, "text_encoder_2": (*CLIP_G, *T5)},
        optional=("text_encoder_2",),
        implementation="diffusers",
    ),
    "a1111": FileFormat({"text_encoder": "emb_params"}, {"text_encoder": _SD}),
    "sdxl": FileFormat(
        {"text_encoder": "clip_l", "text_encoder_2": "clip_g"},
        {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G},
        architecture="stable-diffusion-xl-v1-base",
    ),
    "flux": FileFormat(
        {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"},
        {"text_encoder": CLIP_L, "text_encoder_2": T5},
        implementation="https://github.com/black-forest-labs/flux",
        architecture="flux-1",
    ),
    "sd3": FileFormat(
        {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"},
        {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "text_encoder_3": T5},
        optional=("text_encoder_3",),
        architecture="stable-diffusion-3",
    ),
}
EXPORT_FORMATS = tuple(FORMATS)

_ARCHITECTURES = {
    (768,): "stable-diffusion-v1",
    (1024,): "stable-diffusion-v2-768-v",
    (768, 1280): "stable-diffusion-xl-v1-base",
    (768, 4096): "flux-1",
}


def file_format(style: str) -> FileFormat:
    """The format of that name.

    Raises:
        DistokError: there is none.
    """
    if style not in FORMATS:
        raise DistokError(f"unknown export format '{style}'; choose {', '.join(FORMATS)}")
    return FORMATS[style]


def check_fit(concept: Concept, style: str) -> None:
    """Refuse a format that does not hold the concept's text encoders.

    Raises:
        DistokError: with the encoders and widths of both, and the formats that would do.
    """
    wanted = file_format(style)
    if wanted.misfits(concept.widths):
        others = [name for name, each in FORMATS.items() if not each.misfits(concept.widths)]
        remedy = f"choose {' or '.join(others)}" if others else "no other tool loads it: keep the concept file"
        raise DistokError(
            f"concept '{concept.name}' is for {spelled(concept.widths)}, "
            f"but the {style} format holds {wanted.spelled()}; {remedy}"
        )


def unusual(concept: Concept, style: str) -> str | None:
    """What to say where the widths are those of no published checkpoint of the format; None where they are."""
    known = file_format(style).widths
    if all(width in known[key] for key, width in concept.widths.items()):
        return None
    return f"its vectors are for {spelled(concept.widths)}: only a checkpoint with these widths loads them"


def architecture(concept: Concept, style: str) -> str:
    """ModelSpec's identifier of the file: the base model, and that it is a textual inversion."""
    widths = tuple(concept.widths.values())
    named = "stable-diffusion-" + "-".join(map(str, widths)) + "-wide"
    return f"{file_format(style).architecture or _ARCHITECTURES.get(widths, named)}/textual-inversion"


def place(names: Mapping[str, int], index: int = 0) -> dict[str, str]:
    """Which text encoder each tensor of a foreign file is for; nothing where the names are of no known format.

    Args:
        names: tensor names and their widths.
        index: which of several files of one concept it is: a file with one unnamed encoder has no other sign.
    """
    known = {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5xxl": "text_encoder_2", "t5": "text_encoder_2"}
    if set(names) <= set(known):  # "t5" is what diffusers' own training script for FLUX writes
        t5 = "text_encoder_3" if "clip_g" in names else "text_encoder_2"
        return {} if {"t5", "t5xxl"} <= set(names) else {name: t5 if "t5" in name else known[name] for name in names}
    (only,) = names if len(names) == 1 else ("",)
    looks_like_weights = only.rpartition(".")[2] in ("weight", "bias", "")
    return {} if looks_like_weights or index > 2 else {only: ("text_encoder", "text_encoder_2", "text_encoder_3")[index]}


TENSOR_WIDTHS = {"clip_l": CLIP_L, "clip_g": CLIP_G, "t5xxl": T5, "t5": T5, "emb_params": _SD}


def wrong_width(name: str, width: int) -> bool:
    """Whether a tensor named for one published encoder has the width of another."""
    return width in _PUBLISHED and name in TENSOR_WIDTHS and width not in TENSOR_WIDTHS[name]
