"""Pictures rendered once: every shot is stored under the hash of its recipe, so that a suite that is run again renders nothing.

Shapes: d token width, p pictures.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends import Backend, slot
from distok.errors import DistokError
from distok.files import write_bytes

if TYPE_CHECKING:
    from PIL import Image

Report = Callable[[str, int, int], None]  # (stage, done, total)


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture to make.

    Attributes:
        prompt: with ``{}`` where ``token`` goes; without where there is no token.
        seed: of its noise.
        token: the creative token.
    """

    prompt: str
    seed: int
    token: Float[Tensor, " d"] | None = None

    def __post_init__(self) -> None:
        """Refuse a token without a place, and a place without a token."""
        if ("{}" in self.prompt) != (self.token is not None):
            raise DistokError(f"the prompt {self.prompt!r} and its token do not fit; write {{}} exactly where a token goes")


class Darkroom:
    """Renders shots through a frozen pipeline, or takes them from the folder.

    Args:
        backend: the pipeline, with its own steps, guidance and size.
        folder: where pictures are kept; None keeps none.
        callback: told (stage, done, total) in pictures.
    """

    def __init__(self, backend: Backend, folder: Path | None = None, callback: Report | None = None) -> None:
        self.backend, self.folder, self.callback = backend, folder, callback
        self._base = backend.pipeline_hash.encode() if folder else b""
        self.rendered = 0

    def develop(self, stage: str, shots: Sequence[Shot]) -> "list[Image.Image]":
        """The pictures of ``shots``, in order; what the folder already holds is not rendered again."""
        paths = [self._path(shot) for shot in shots]
        pictures = {i: _open(path) for i, path in enumerate(paths) if path is not None and path.is_file()}
        missing = [i for i in range(len(shots)) if pictures.get(i) is None]
        self.tell(stage, len(shots) - len(missing), len(shots))
        together = self.backend.at_once  # between two writes
        for start in range(0, len(missing), together):
            part = missing[start : start + together]
            for i, picture in zip(part, self._render([shots[i] for i in part]), strict=True):
                pictures[i] = picture
                if paths[i] is not None:
                    write_bytes(paths[i], encode_png(picture))
            self.tell(stage, len(shots) - len(missing) + start + len(part), len(shots))
        return [pictures[i] for i in range(len(shots))]

    def _render(self, shots: Sequence[Shot]) -> "list[Image.Image]":
        self.rendered += len(shots)
        numbers = [shot.seed for shot in shots]
        tokens = [shot.token for shot in shots if shot.token is not None]
        rows = iter(range(len(tokens)))
        prompts = [shot.prompt if shot.token is None else shot.prompt.replace("{}", slot(next(rows))) for shot in shots]
        return self.backend.render(prompts, torch.stack(tokens) if tokens else None, seeds=numbers)

    def _path(self, shot: Shot) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.blake2b(self._base + f"{shot.prompt}/{shot.seed}".encode(), digest_size=12)
        if shot.token is not None:
            # Rounded, as the last bits of a matrix product depend on its size: a shot is the same when made in company.
            digest.update((shot.token.detach().cpu().float() * 1e4).round().int().numpy().tobytes())
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.png"

    def tell(self, stage: str, done: int, total: int) -> None:
        if self.callback:
            self.callback(stage, done, total)


def encode_png(picture: "Image.Image") -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _open(path: Path) -> "Image.Image | None":
    from PIL import Image

    try:
        return Image.open(path).convert("RGB")
    except (OSError, SyntaxError):
        return None  # damaged: it is rendered again
