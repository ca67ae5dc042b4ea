"""The one signature of every frozen text-to-image pipeline.

Shapes: b prompts, n creative tokens, d token width (of all text encoders together), e feature width.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.offload import Placement
from distok.errors import DistokError

if TYPE_CHECKING:
    from PIL import Image

BATCH, GPU_BATCH = 16, 512
MAX_SIZE = 16_384  # pixels a side
MOST_STEPS = ("num_train_timesteps", "original_inference_steps")  # what schedulers call it; the second is for LCM and TCD
Condition = dict[str, Tensor]  # what conditions a denoiser, by the pipeline's own names; each tensor begins with b


@dataclass(frozen=True)
class RenderDefaults:
    """How a checkpoint wants to be rendered, from ``distok.json`` in its folder; the pipeline's own defaults otherwise.

    Attributes:
        steps: denoising steps, at least 1.
        guidance_scale: from 0 to 100.
        size: pixels, square, at most 16384; None is the checkpoint's own.
        prior_steps: steps of the prior, where there is one.
        prior_guidance_scale: guidance of the prior, from 0 to 100.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    size: int | None = None
    prior_steps: int = 25
    prior_guidance_scale: float = 4.0

    def __post_init__(self) -> None:
        for name in ("steps", "prior_steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DistokError(f"{name} is {value!r}, but denoising takes a whole number of at least 1; correct it")
        for name in ("guidance_scale", "prior_guidance_scale"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 100:
                raise DistokError(f"{name} is {value!r}, but a number from 0 to 100 is expected; correct it")
        if self.size is not None and (not isinstance(self.size, int) or not 8 <= self.size <= MAX_SIZE or self.size % 8):
            raise DistokError(f"size is {self.size!r}, but a multiple of 8 pixels is expected, {MAX_SIZE} at most; correct it")


class Backend(ABC):
    """A frozen pipeline that encodes and renders prompts in which ``<tcrt_i>`` stands for row i of ``tokens``.

    The pipeline is never changed: no vocabulary grows, no weight, flag or mode is touched. A picture depends on its own seed,
    prompt and tokens alone, never on the batch it is made in. A pipeline of several text encoders takes one vector for each:
    a token is their concatenation, in the order of ``widths``.

    Attributes:
        family: the pipeline's class name.
        widths: text encoder to the width of its tokens, in order.
        feature_dim: e, the width of a text feature.
        defaults: how to render when nothing else is asked.
        pipe: the pipeline.
        placement: which of its weights are on the device when.
    """

    family: str
    widths: Mapping[str, int]
    feature_dim: int
    defaults: RenderDefaults
    pipe: Any
    placement: Placement = Placement()

    @property
    def device(self) -> torch.device:
        """Where it encodes prompts and draws pictures."""
        return torch.device("cpu")

    @property
    def at_once(self) -> int:
        """How many small pictures are worth asking for at once: more make a CPU no faster; a GPU they keep busy."""
        return GPU_BATCH if self.device.type == "cuda" else BATCH

    @property
    def token_dim(self) -> int:
        """d, the width of a token: of its vectors for all text encoders together."""
        return sum(self.widths.values())

    def split(self, tokens: Float[Tensor, "n d"]) -> dict[str, Float[Tensor, "n w"]]:
        """Take tokens apart into the vectors for each text encoder."""
        if tokens.shape[-1] != self.token_dim:
            parts = " + ".join(f"{width} ({name})" for name, width in self.widths.items())
            raise DistokError(f"creative tokens of width {tokens.shape[-1]} do not fit this pipeline's {parts}")
        return dict(zip(self.widths, tokens.split(list(self.widths.values()), -1), strict=True))

    def join(self, vectors: Mapping[str, Float[Tensor, "n w"]]) -> Float[Tensor, "n d"]:
        """Put the vectors for each text encoder together to tokens; the inverse of :meth:`split`."""
        return torch.cat([vectors[name] for name in self.widths], -1)

    @property
    @abstractmethod
    def hash(self) -> str:
        """A short hash of the text encoders' weights: tokens of one hash mean the same to another pipeline of that hash."""

    @property
    def feature_hash(self) -> str:
        """A short hash of what E(q) needs beyond the text encoders' weights; empty where that is nothing."""
        return ""

    @property
    @abstractmethod
    def dtype(self) -> str:
        """The type of the text encoders' weights, such as "float32": another one makes another :attr:`hash`."""

    @property
    @abstractmethod
    def pipeline_hash(self) -> str:
        """A short hash of the whole pipeline: pictures of one hash are the same pictures."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A quick stand-in for :attr:`pipeline_hash`, for recipes and folders."""

    @abstractmethod
    def check_size(self, size: int | None) -> None:
        """Refuse a side in pixels that the pipeline would refuse, or round without a word; None is its own.

        Raises:
            DistokError: such a size.
        """

    @abstractmethod
    def together(self, size: int | None) -> int:
        """How many pictures of a side in pixels are denoised together; it bounds memory, and changes none but by rounding."""

    @abstractmethod
    def name_tokens(self, names: Sequence[str]) -> Float[Tensor, "b d"]:
        """The input token of each name: for each encoder the mean of its pieces' embeddings.

        Raises:
            DistokError: a name is empty.
        """

    @abstractmethod
    def encode(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "b e"]:
        """E(q): the text feature of each prompt, of unit length, differentiable in ``tokens``.

        Of several text encoders it is all of their normalised features side by side, so that a cosine is the mean of theirs.

        Raises:
            DistokError: a prompt names a token that is not given, or is so long that its token would be cut off.
        """

    @abstractmethod
    def condition(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Condition:
        """All that conditions the denoiser, padded as the pipeline pads, differentiable in ``tokens``.

        Raises:
            DistokError: as :meth:`encode`.
        """

    @abstractmethod
    def render_pixels(
        self,
        prompts: Sequence[str] | None,
        tokens: Float[Tensor, "n d"] | None = None,
        *,
        seeds: Sequence[int],
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        size: int | None = None,
        condition: Condition | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures as floats in [0, 1]; one seed per prompt. See :meth:`render`."""

    def render(self, prompts: Sequence[str] | None, tokens: Tensor | None = None, **options: Any) -> "list[Image.Image]":
        """Render one picture per prompt.

        Args:
            prompts: the prompts, or None with ``condition``; ``(words:1.3)`` in one stresses words.
            tokens: row i is what ``<tcrt_i>`` means.
            options: ``seeds`` (required, one per picture: ``torch.Generator("cpu").manual_seed(seed)``, as in diffusers),
                ``steps``, ``guidance_scale``, ``size`` (pixels, square) – the checkpoint's own defaults where None –,
                ``negative_prompt``, ``condition`` in place of prompts, and ``callback(done, total)`` counting denoising
                steps.

        Raises:
            DistokError: numbers of prompts and seeds differ, a value is out of range, or as :meth:`encode`.
        """
        steps = self.defaults.steps if options.get("steps") is None else options["steps"]
        scheduler = self.pipe.scheduler
        known = inspect.signature(type(scheduler).__init__).parameters  # a configuration can hold what another scheduler left
        most = min((each for key in MOST_STEPS if key in known and (each := scheduler.config.get(key))), default=steps)
        if isinstance(steps, int) and steps > most:
            raise DistokError(f"steps is {steps}, but this pipeline was trained with {most}; ask for {most} at most")
        return pictures_of(self.render_pixels(prompts, tokens, **options))


def pictures_of(pixels: Float[Tensor, "b 3 h w"]) -> "list[Image.Image]":
    """Pictures of numbers in [0, 1]."""
    from PIL import Image

    levels = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(level) for level in levels]
