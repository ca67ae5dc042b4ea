"""VLM-guided adaptive negative prompting: what a labeler sees in the half-made picture becomes its negative prompt.

Golan et al., arXiv 2510.10715. Shapes: b pictures, c latent channels, h and w latent sides.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import pictures_of
from distok.backends.pipeline import counter, numbers_only
from distok.backends.prompts import named
from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.swap import stack
from distok.errors import UnavailableError

if TYPE_CHECKING:
    from PIL import Image

# What a condition's tensors are called inside each pipeline's denoising loop, where a callback may change them.
IN_LOOP = {
    "StableDiffusionPipeline": {"prompt_embeds": "prompt_embeds"},
    "StableDiffusionXLPipeline": {"prompt_embeds": "prompt_embeds", "pooled_prompt_embeds": "add_text_embeds"},
    "StableDiffusion3Pipeline": {"prompt_embeds": "prompt_embeds", "pooled_prompt_embeds": "pooled_prompt_embeds"},
}


@dataclass(frozen=True)
class AdaptiveNegativesSettings(Settings):
    """The published values (the code's defaults), where nothing else is said.

    Attributes:
        steps, guidance_scale: of the denoising; None is the checkpoint's own.
        first, last: shares of the steps between which the labeler is asked; what it said stays.
        every: steps between questions.
        top: answers taken from each reading.
        least: an answer counts from this share of a reading on (ours: a labeler that chooses from a
            list always answers; the mix's own classes are on it, and are never taken).
        new_kind: how a single class is asked for; a mix of several is asked for by its names, heaviest first.
    """

    steps: int | None = 28
    guidance_scale: float | None = 4.5
    first: float = 0.0
    last: float = 1.0
    every: int = 1
    top: int = 1
    least: float = 0.0
    new_kind: str = "new type of {}"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("steps", "every", "top"):
            if getattr(self, name) is not None:
                self.require_whole(name)
        if self.guidance_scale is not None:
            self.require_within(0, 100, "guidance_scale")
        self.require_within(0, 1, "first", "last", "least")
        self.require("first", self.first <= self.last, f"at most last, which is {self.last:g}")
        self.require_place("new_kind")


class AdaptiveNegatives(Baseline):
    """Each picture has negatives of its own, known classes that are not of the mix; it needs guidance to act on them."""

    name = "adaptive-negatives"
    title = "VLM-guided adaptive negative prompting"
    source = "arXiv 2510.10715 (ICLR 2026); github.com/shelley-golan/VLM-Guided-creative-diffusion"
    summary = "what the labeler sees in the half-made picture becomes its negative prompt, step by step"
    families = tuple(IN_LOOP)
    needs_labeler = True
    revision = 3
    Settings = AdaptiveNegativesSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {"steps": None, "guidance_scale": None, "new_kind": "{}", "least": 0.1}

    def prepare(self, ask: Ask) -> Ready:
        """The positive prompt."""
        scale = ask.options.get("guidance_scale", ask.backend.defaults.guidance_scale)
        if scale <= 1:
            raise UnavailableError(f"{self.title} acts through guidance, and the guidance scale is {scale:g}; give one above 1")
        ask.others(self.title)  # without them it would be the plain prompt, and nobody would know
        names = ask.by_weight()
        what = self.settings.new_kind.format(names[0]) if len(names) == 1 else " ".join(names)
        prompt = named(what, ask.prompt)
        return Ready(prompt, details={"prompt": prompt})

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """Denoise in batches."""
        pictures, negatives = [], []
        for start, part in ask.parts():
            loop = _Loop(part, self.settings, str(ready.prompt), (start, len(ask.seeds)))
            pictures += loop.run()
            negatives += loop.negatives
        return pictures, {"negatives": negatives}


class _Loop:
    """The denoising of one batch, watched from the callback that the pipeline calls after each step.

    Args:
        ask: of this batch's pictures alone.
        how: the method's settings.
        prompt: the positive one.
        part: how many pictures were drawn before this batch, and how many there are in all.
    """

    def __init__(self, ask: Ask, how: AdaptiveNegativesSettings, prompt: str, part: tuple[int, int]) -> None:
        self.ask, self.how, self.seeds = ask, how, ask.seeds
        self.pipe = ask.backend.renderer()
        self.positive = {key: value.detach() for key, value in ask.backend.condition([prompt]).items()}
        self.negatives: list[list[str]] = [[] for _ in ask.seeds]
        self.choices = ask.others(AdaptiveNegatives.title)
        self.steps: int = ask.options.get("steps", ask.backend.defaults.steps)
        done, total = part
        self._told = counter(ask.callback, done, len(ask.seeds), total, self.steps)
        self._preview: Tensor | None = None
        self._watch(self.pipe.scheduler)

    @torch.no_grad()
    def run(self) -> "list[Image.Image]":
        """The pictures."""
        count, backend = len(self.seeds), self.ask.backend
        how = replace(backend.defaults, **self.ask.options)
        inputs = {key: self._cast(value.expand(count, *value.shape[1:])) for key, value in self.positive.items()}
        inputs |= {f"negative_{key}": self._cast(value) for key, value in self._encoded().items()}
        watched = {
            "callback_on_step_end": self._after_step,
            "callback_on_step_end_tensor_inputs": list(IN_LOOP[backend.family].values()),
        }
        pixels = backend.call(self.pipe, self.seeds, how, **inputs, **watched, guidance_scale=how.guidance_scale)
        return pictures_of(numbers_only(pixels.float(), self.seeds, backend.dtype))

    def _watch(self, scheduler: Any) -> None:
        """Keep the x_0 that each step predicts. The scheduler is this renderer's own, nobody else's."""
        step = scheduler.step

        @functools.wraps(step)  # the pipeline looks at its signature: does it take a generator?
        def watched(prediction: Tensor, t: Any, sample: Tensor, *args: Any, **options: Any) -> Any:
            before = scheduler.step_index if getattr(scheduler, "step_index", None) is not None else 0
            made = step(prediction, t, sample, *args, **options)
            self._preview = predicted_x0(scheduler, prediction, t, sample, before)
            return made

        scheduler.step = watched

    def _after_step(self, pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        if self._told:
            self._told(step + 1)
        how = self.how
        window = how.first * self.steps <= step < how.last * self.steps
        if not window or step % how.every or step + 1 == self.steps:
            return {}
        said = [self._answers(picture) for picture in self._look()]
        new = [[name for name in names if name not in known] for names, known in zip(said, self.negatives, strict=True)]
        if not any(new):
            return {}
        for known, names in zip(self.negatives, new, strict=True):
            known += names
        encoded, inside = self._encoded(), IN_LOOP[self.ask.backend.family]
        return {inside[key]: torch.cat([self._cast(value), values[inside[key]].chunk(2)[1]]) for key, value in encoded.items()}

    def _look(self) -> "list[Image.Image]":
        """The picture that the last step predicts, decoded as the pipeline does."""
        assert self._preview is not None
        vae, kind = self.pipe.vae, self.pipe.vae.dtype
        xl = self.ask.backend.family == "StableDiffusionXLPipeline"
        upcast = xl and kind == torch.float16 and vae.config.force_upcast  # its numbers leave the range of half precision
        if upcast:
            vae.to(dtype=torch.float32)
        try:
            pixels = vae.decode(unscaled(self._preview.to(vae.dtype), vae.config, xl)).sample.float()
        finally:
            if upcast:
                vae.to(dtype=kind)
        pictures: list[Image.Image] = self.pipe.image_processor.postprocess(pixels, output_type="pil")
        return pictures

    def _answers(self, picture: "Image.Image") -> list[str]:
        # The classes of the mix are among what it may see: else a picture of them alone would be given to strangers.
        reading = self.ask.reader().probabilities([picture], [*self.choices, *self.ask.mix.names])[0, : len(self.choices)]
        best = reading.topk(min(self.how.top, len(self.choices)))
        return [self.choices[i] for share, i in zip(*map(Tensor.tolist, best), strict=True) if share >= self.how.least]

    def _encoded(self) -> dict[str, Tensor]:
        backend: Any = self.ask.backend
        return stack([backend._negative(", ".join(names) or None, 1) for names in self.negatives])

    def _cast(self, value: Tensor) -> Tensor:
        module = getattr(self.pipe, "unet", None) or self.pipe.transformer
        return value.to(self.pipe._execution_device, module.dtype)  # the module itself may be waiting elsewhere


def unscaled(latents: Float[Tensor, "b c h w"], config: Any, xl: bool) -> Float[Tensor, "b c h w"]:
    """Latents on the VAE's own scale; of a Stable Diffusion XL whose VAE gives a mean and deviation a channel, with these."""
    mean, spread = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if xl and mean is not None and spread is not None:
        mean, spread = (torch.tensor(each).view(1, -1, 1, 1).to(latents) for each in (mean, spread))
        return latents * spread / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)


def predicted_x0(
    scheduler: Any, prediction: Float[Tensor, "b c h w"], t: Any, sample: Float[Tensor, "b c h w"], index: int
) -> Float[Tensor, "b c h w"]:
    """x̂_0 from a prediction at x_t, by what the scheduler says the prediction is.

    Flow matching: x_t − σ·v (paper; its code leaves σ out, which is right at σ = 1 alone). EDM: as the scheduler
    preconditions. Diffusion at noise level ᾱ: (x_t − √(1 − ᾱ) ε) / √ᾱ, or √ᾱ x_t − √(1 − ᾱ) v.

    Args:
        index: number of the step.

    Raises:
        UnavailableError: the scheduler predicts something else, or takes two steps for one.
    """
    name, kind = type(scheduler).__name__, getattr(scheduler.config, "prediction_type", None)
    if name.removeprefix("FlowMatch").startswith(("Heun", "KDPM2", "DPMSolverSDE")):
        raise UnavailableError(f"adaptive negatives cannot look ahead with a {name}, which takes two steps for one; use another")
    if name.startswith("FlowMatch"):
        return sample - scheduler.sigmas[index].to(sample) * prediction
    if hasattr(scheduler, "precondition_outputs"):
        return scheduler.precondition_outputs(sample, prediction, scheduler.sigmas[index].to(sample.device))
    if not hasattr(scheduler, "alphas_cumprod"):
        raise UnavailableError(f"adaptive negatives cannot look ahead with a {name}, whose noise they do not know; use another")
    if kind == "sample":
        return prediction
    if kind not in ("epsilon", "v_prediction"):
        raise UnavailableError(f"adaptive negatives cannot look ahead with the prediction type {kind!r}; use another checkpoint")
    if name.startswith(("Euler", "LMS")):  # x_t = x_0 + σ ε
        sigma = scheduler.sigmas[index].to(sample)
        scale = 1 / (sigma**2 + 1).sqrt()
        noisy, root, rest = sample * scale, scale, sigma * scale
    elif hasattr(scheduler, "_sigma_to_alpha_sigma_t"):  # of a level between two timesteps, as Karras' are
        root, rest = (each.to(sample) for each in scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas[index]))
        noisy = sample
    else:
        level = scheduler.alphas_cumprod[int(t)].to(sample)
        noisy, root, rest = sample, level.sqrt(), (1 - level).sqrt()
    return (noisy - rest * prediction) / root if kind == "epsilon" else root * noisy - rest * prediction
