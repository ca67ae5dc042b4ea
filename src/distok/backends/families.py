"""What each family can do, in one table: ``distok backends`` shows it, and ``open_backend`` chooses by it.

Imports nothing heavy.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Family:
    """One family of frozen pipelines.

    Attributes:
        title: what people call it.
        module, backend: where its backend is.
        enters: the text encoders whose input embeddings take the token, one vector each.
        feature: what E(·) of the losses is.
        preset: the training preset made for it.
        cannot: what it cannot do.
    """

    title: str
    module: str
    backend: str
    enters: tuple[str, ...]
    feature: str
    preset: str = "calibrated"
    cannot: str = ""


FAMILIES = {
    "StableDiffusionPipeline": Family(
        "Stable Diffusion 1.x, 2.x; the Menagerie",
        "stable_diffusion",
        "StableDiffusionBackend",
        ("text_encoder",),
        "pooled state at end-of-text, projected where projection.safetensors stands beside the encoder",
    ),
    "StableDiffusionXLPipeline": Family(
        "Stable Diffusion XL",
        "stable_diffusion_xl",
        "StableDiffusionXLBackend",
        ("text_encoder", "text_encoder_2"),
        "both CLIPs' pooled states side by side, the second projected",
        cannot="no refiner",
    ),
    "StableDiffusion3Pipeline": Family(
        "Stable Diffusion 3, 3.5",
        "stable_diffusion_3",
        "StableDiffusion3Backend",
        ("text_encoder", "text_encoder_2", "text_encoder_3"),
        "both CLIPs' projected features and the mean of T5's states, side by side",
        cannot="no textual inversion loader in diffusers; T5 may be left out of the checkpoint",
    ),
    "FluxPipeline": Family(
        "FLUX.1",
        "flux",
        "FluxBackend",
        ("text_encoder", "text_encoder_2"),
        "CLIP's pooled state and the mean of T5's states, side by side",
        cannot="a negative prompt costs a second pass; schnell has no guidance",
    ),
    "KandinskyCombinedPipeline": Family(
        "Kandinsky 2.1 (the paper's base)",
        "kandinsky2_1",
        "KandinskyBackend",
        ("prior_text_encoder", "text_encoder"),
        "the prior CLIP's and the decoder's multilingual features, side by side",
        preset="paper",
        cannot="no textual inversion loader in diffusers",
    ),
    "KandinskyV22CombinedPipeline": Family(
        "Kandinsky 2.2",
        "kandinsky2_2",
        "KandinskyV22Backend",
        ("prior_text_encoder",),
        "the prior CLIP's projected feature",
        cannot="no textual inversion loader in diffusers",
    ),
}

# A Kandinsky decoder without its prior: the prior lies beside it.
DECODERS = {"KandinskyPipeline": "KandinskyCombinedPipeline", "KandinskyV22Pipeline": "KandinskyV22CombinedPipeline"}


def family_class(name: str) -> Any:
    """The backend class of a family; imports it."""
    family = FAMILIES[DECODERS.get(name, name)]
    return getattr(import_module(f"distok.backends.{family.module}"), family.backend)
