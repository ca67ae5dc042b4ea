"""The one signature of every frozen text-to-image pipeline.

Shapes: b prompts, n creative tokens, d token width, e feature width, L the pipeline's prompt length, D its hidden width.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from distok.errors import DistokError

if TYPE_CHECKING:
    from PIL import Image

SLOT = re.compile(r"<tcrt_(\d+)>")  # the name of creative token i in a prompt


def slot(index: int) -> str:
    """The name of row ``index`` of the creative tokens, as prompts spell it."""
    return f"<tcrt_{index}>"


def fill(prompt: str, index: int = 0) -> str:
    """Put creative token ``index`` where ``prompt`` says ``{}``.

    Raises:
        DistokError: the prompt has no ``{}``.
    """
    if "{}" not in prompt:
        raise DistokError(f"the prompt {prompt!r} has no {{}}; write {{}} where the concept goes, as in 'a photo of a {{}}'")
    return prompt.replace("{}", slot(index))


class Backend(ABC):
    """A frozen pipeline that encodes and renders prompts in which ``<tcrt_i>`` stands for row i of ``tokens``.

    The pipeline is never changed: no vocabulary grows, no weight, flag or mode is touched. A picture depends on its own seed,
    prompt and tokens alone, never on the batch it is made in.

    Attributes:
        family: the pipeline's class name.
        encoder_key: which text encoder the tokens belong to.
        token_dim: d, the width of a token.
        feature_dim: e, the width of a text feature.
        pipe: the pipeline.
    """

    family: str
    encoder_key: str = "text_encoder"
    token_dim: int
    feature_dim: int
    pipe: Any

    @property
    @abstractmethod
    def hash(self) -> str:
        """A short hash of the text encoder's weights: tokens of one hash mean the same to another pipeline of that hash."""

    @abstractmethod
    def name_tokens(self, names: Sequence[str]) -> Float[Tensor, "b d"]:
        """The input token of each name: the mean of its pieces' embeddings.

        Raises:
            DistokError: a name is empty.
        """

    @abstractmethod
    def encode(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "b e"]:
        """E(q): the pooled, projected, L2-normalised text feature of each prompt, differentiable in ``tokens``.

        Raises:
            DistokError: a prompt names a token that is not given, or is so long that its token would be cut off.
        """

    @abstractmethod
    def prompt_embeds(self, prompts: Sequence[str], tokens: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "b L D"]:
        """The hidden states that condition the denoiser, padded as the pipeline pads, differentiable in ``tokens``.

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
        prompt_embeds: Float[Tensor, "b L D"] | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Pictures as floats in [0, 1]; one seed per prompt. See :meth:`render`."""

    def render(self, prompts: Sequence[str] | None, tokens: Tensor | None = None, **options: Any) -> "list[Image.Image]":
        """Render one picture per prompt.

        Args:
            prompts: the prompts, or None with ``prompt_embeds``.
            tokens: row i is what ``<tcrt_i>`` means.
            options: ``seeds`` (required, one per picture: ``torch.Generator("cpu").manual_seed(seed)``, as in diffusers),
                ``steps``, ``guidance_scale``, ``size`` (pixels, square) – the checkpoint's own defaults where None –,
                ``negative_prompt``, ``prompt_embeds`` in place of prompts, and ``callback(done, total)`` counting denoising
                steps.

        Raises:
            DistokError: numbers of prompts and seeds differ, a value is out of range, or as :meth:`encode`.
        """
        from PIL import Image

        pixels = self.render_pixels(prompts, tokens, **options)
        levels = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(level) for level in levels]
