"""A ``Concept``: one creative token for each text encoder, what it was made from, and its file.

Shapes: n = vectors in a token (1 for DisTok), d = width of the text encoder's input embeddings, w = latent dimension.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.files import from_json, read_tensors, write_tensors

FORMAT = 1  # of the JSON under the metadata key METADATA_KEY
METADATA_KEY = "distok"


@dataclass(frozen=True, eq=False)
class Concept:
    """A reusable creative token.

    Attributes:
        name: what a person calls it; letters, digits, ``-``, ``_`` and ``.``.
        vectors: text encoder key ("text_encoder" for Stable Diffusion) to its float32 vectors [n, d] on the CPU.
        distribution: the mix it was asked to be, or None if it was explored from a random latent.
        z: the latent [w] it was decoded from, or None if unknown.
        provenance: strings such as "backend", "backend_hash", "model_hash", "seed", "version".

    Raises:
        DistokError: a name that cannot be a file name, no vectors, or vectors that are not finite [n, d].
    """

    name: str
    vectors: Mapping[str, Float[Tensor, "n d"]]
    distribution: Distribution | None = None
    z: tuple[float, ...] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 100 or not all(sign.isalnum() or sign in "-_." for sign in self.name):
            raise DistokError(f"'{self.name[:40]}' cannot name a concept; use letters, digits, - and _ (at most 100)")
        if not self.vectors:
            raise DistokError(f"concept '{self.name}' has no vectors; give one [n, d] tensor for each text encoder")
        vectors = {key: self._single(key, torch.as_tensor(value).detach().cpu()) for key, value in self.vectors.items()}
        for key, value in vectors.items():
            if value.ndim != 2 or 0 in value.shape or not bool(torch.isfinite(value).all()):
                raise DistokError(
                    f"vectors '{key}' of concept '{self.name}' are not finite numbers of shape [n, d]; make it again"
                )
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "z", None if self.z is None else tuple(float(value) for value in self.z))
        object.__setattr__(self, "provenance", {str(key): str(value) for key, value in self.provenance.items()})

    def _single(self, key: str, value: Tensor) -> Tensor:
        try:
            single = None if value.is_complex() or value.dtype == torch.bool else value.float()
        except NotImplementedError:  # torch's own word: a packed type of four bits
            single = None
        if single is None:
            kind = str(value.dtype).removeprefix("torch.")
            raise DistokError(
                f"vectors '{key}' of concept '{self.name}' are of type {kind}, but real numbers are expected; give float32"
            )
        return single

    @property
    def hash(self) -> str:
        """Ten hexadecimal digits that depend on the vectors alone."""
        parts = [part for key in sorted(self.vectors) for part in (key.encode(), self.vectors[key].numpy().tobytes())]
        return digest(*parts)

    def for_backend(self, widths: Mapping[str, int], label: str = "") -> dict[str, Float[Tensor, "n d"]]:
        """Return the vectors for each text encoder of a backend, in its order; vectors for encoders it lacks are left out.

        Args:
            widths: text encoder key to the width of its input embeddings, as ``Backend.widths`` says.
            label: what messages call the backend.

        Raises:
            DistokError: no vectors for an encoder, another width, or numbers of vectors that differ between encoders.
        """
        if any(key not in self.vectors or self.vectors[key].shape[1] != width for key, width in widths.items()):
            raise DistokError(
                f"concept '{self.name}' is for {spelled(self.widths)}, and {label or 'this backend'} takes {spelled(widths)}; "
                "open the backend it was made with, or make it anew with this one"
            )
        chosen = {key: self.vectors[key] for key in widths}
        check_counts(self.name, chosen)
        return chosen

    @property
    def widths(self) -> dict[str, int]:
        """Text encoder key to the width of its vectors."""
        return {key: value.shape[1] for key, value in self.vectors.items()}

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, atomically: the vectors by encoder key, everything else as JSON in the metadata."""
        return write_tensors(path, dict(self.vectors), {METADATA_KEY: json.dumps(self.describe())})

    def describe(self) -> dict[str, Any]:
        """Return all but the vectors as a JSON-able mapping."""
        return {
            "format": FORMAT,
            "name": self.name,
            "distribution": self.distribution and self.distribution.as_dict(),
            "z": self.z and list(self.z),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def load(cls, path: str | Path) -> "Concept":
        """Read a file that :meth:`save` wrote.

        Raises:
            DistokError: the file is missing, truncated, not a concept, or of a newer format.
        """
        vectors, metadata = read_tensors(path)
        if METADATA_KEY not in metadata:
            raise DistokError(
                f"{path} is a safetensors file but not a DisTok concept; give one that 'distok create' wrote, "
                f"or try 'distok import {path}'"
            )
        return cls.from_json(metadata[METADATA_KEY], vectors, path)

    @classmethod
    def from_json(cls, text: str, vectors: Mapping[str, Tensor], path: str | Path, exported: bool = False) -> "Concept":
        """Return the concept that :meth:`describe` described as JSON, with its vectors.

        Args:
            path: the file it is from, for messages.
            exported: whether the file was exported for other tools, not saved.

        Raises:
            DistokError: it is no such description, or of a newer format, or of the other kind of file.
        """
        try:
            said = from_json(text)
            if not isinstance(said, dict) or said["format"] > FORMAT:
                raise DistokError(f"{path} is of a newer format than this version reads ({FORMAT}); upgrade distok")
            if "export" in said and not exported:
                raise DistokError(f"{path} was exported for other tools; turn it back into a concept with 'distok import {path}'")
            mix, z = said["distribution"], said["z"]
            if z is not None and not all(math.isfinite(value) for value in z):
                raise ValueError("z is not finite")
            return cls(said["name"], vectors, mix and Distribution.from_mapping(mix), z and tuple(z), said["provenance"])
        except DistokError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DistokError(f"{path} is not a DisTok concept that can be read ({error}); make it again") from None


def check_counts(name: str, vectors: Mapping[str, Float[Tensor, "n d"]]) -> None:
    """Refuse a concept whose numbers of vectors differ between the text encoders that read one prompt.

    Raises:
        DistokError: they differ; the message names them.
    """
    counts = {key: len(value) for key, value in vectors.items()}
    if len(set(counts.values())) > 1:
        said = " and ".join(f"{count} for {key}" for key, count in counts.items())
        raise DistokError(
            f"concept '{name}' has vectors of different numbers ({said}), but a prompt takes the same; make it again"
        )


def spelled(widths: Mapping[str, int]) -> str:
    """Text encoders and widths as messages name them: ``text_encoder 768 and text_encoder_2 1280``."""
    return " and ".join(f"{key} {width}" for key, width in widths.items())


def digest(*parts: bytes | str) -> str:
    """Return ten hexadecimal digits of the parts' BLAKE2 hash: a name for a set of weights, a list of classes, a recipe."""
    state = hashlib.blake2b(digest_size=5)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """:func:`digest` of named weights, for example a ``state_dict()``."""
    return digest(*(part for name, value in weights.items() for part in (name, value.cpu().numpy().tobytes())))
