"""MagicMix: a layout is kept in the early steps of denoising, while the prompt gives it another content.

Liew et al., arXiv 2210.16056. Shapes: b pictures, c latent channels, h and w latent sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from distok.backends.pipeline import counter
from distok.backends.prompts import named
from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.latents import FAMILIES, Easel
from distok.seeds import derive

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class MagicMixSettings(Settings):
    """The published values.

    Attributes:
        nu: ν, the share of what is being denoised; 1 − ν is the layout's. 1 is plain picture-to-picture.
        k_max, k_min: the layout phase, in shares of the steps: denoising starts k_max before its end, and mixes until k_min.
        steps, guidance_scale: of the denoising; None is the checkpoint's own.
        step_from_mixed: whether a step starts at the mixed latent (paper), or only the prediction is made there and the step
            starts at the unmixed one (the code of daspartho/MagicMix, which does not mix in the first step either).
    """

    nu: float = 0.5
    k_max: float = 0.6
    k_min: float = 0.3
    steps: int | None = 50
    guidance_scale: float | None = 7.5
    step_from_mixed: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_within(0, 1, "nu", "k_max", "k_min")
        self.require("k_min", self.k_min <= self.k_max, f"at most k_max, which is {self.k_max:g}")
        self.require("k_max", self.k_max > 0, "above 0")
        if self.steps is not None:
            self.require_whole("steps")
        if self.guidance_scale is not None:
            self.require_within(0, 100, "guidance_scale")
        self.require_flag("step_from_mixed")


class MagicMix(Baseline):
    """The heaviest class gives the layout, in a picture of the same seed; the others, named by weight, the content."""

    name = "magic-mix"
    title = "MagicMix"
    source = "arXiv 2210.16056; github.com/daspartho/MagicMix, cloneofsimo/magicmix"
    summary = "the heaviest class's picture is the layout of the others' denoising"
    families = FAMILIES
    least = 2
    revision = 2
    Settings = MagicMixSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {"steps": None, "guidance_scale": None}

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """Draw the layouts, then mix."""
        layout, *content = ask.by_weight()
        layouts = ask.render([named(layout, ask.prompt)] * len(ask.seeds), seeds=ask.seeds)
        prompt = named(" ".join(content), ask.prompt)
        pictures: list[Image.Image] = []
        for start, part in ask.parts():
            pictures += mix(part, layouts[start : start + len(part.seeds)], prompt, self.settings, (start, len(layouts)))
        return pictures, {"layout": layout, "content": prompt}


def mix(
    ask: Ask, layouts: "list[Image.Image]", prompt: str, how: MagicMixSettings, part: tuple[int, int] | None = None
) -> "list[Image.Image]":
    """Give each layout the content of a prompt; noise of ``ask``'s seeds, one each.

    Args:
        part: how many pictures were drawn before these, and how many there are in all; these are all if None.
    """
    easel, count = Easel(ask), len(layouts)
    before, total = part or (0, count)
    text = ask.backend.condition([prompt])["prompt_embeds"].detach().expand(count, -1, -1)
    empty = ask.backend.condition([""])["prompt_embeds"].detach().expand(count, -1, -1)
    clean = easel.encode(layouts)
    # The layout was drawn from the noise of its own seed; the paper's layouts know nothing of the noise they get.
    noise = easel.noise(clean.shape[1:], [derive(seed, "magic-mix") for seed in ask.seeds])
    first, last = easel.steps - int(how.k_max * easel.steps), easel.steps - int(how.k_min * easel.steps)
    first = min(first, easel.steps - 1)  # at least one step, however few there are
    timesteps, told = easel.scheduler.timesteps, counter(ask.callback, before, count, total, easel.steps - first)
    latents = easel.scheduler.add_noise(clean, noise, timesteps[first : first + 1])
    for i in range(first, easel.steps):
        t, shown = timesteps[i], latents
        if i < last:
            layout = easel.scheduler.add_noise(clean, noise, timesteps[i : i + 1])
            shown = how.nu * latents + (1 - how.nu) * layout
        prediction = easel.predict(shown, t, text, empty)
        latents = easel.step(prediction, t, shown if how.step_from_mixed else latents)
        if told:
            told(i - first + 1)
    return easel.decode(latents, ask.seeds)
