"""DiffMorpher: a LoRA is fitted to each of two pictures; half-way between their weights, noises and attentions lies the blend.

Zhang et al., arXiv 2312.07409. Shapes: c latent channels, h and w latent sides, l positions, d text width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distok import seeds
from distok.backends.prompts import named
from distok.backends.splice import frozen_view
from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.latents import FAMILIES, Easel
from distok.errors import DistokError, UnavailableError

if TYPE_CHECKING:
    from PIL import Image

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]  # all attention of the U-Net
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class DiffMorpherSettings(Settings):
    """The published values (the code's defaults), where nothing else is said.

    Attributes:
        rank, fit_steps, learning_rate, weight_decay: of each picture's LoRA, fitted with AdamW.
        steps: of DDIM inversion and sampling; None is the checkpoint's own. The guidance scale is 1 throughout.
        attention_share: λ, share of the steps in which attention looks at the mix of both pictures' inputs.
        adain: whether the mixed noise takes on the mixed channel statistics.
        frames: pictures of the first pass, from which the path is re-timed; 0 leaves it as it is. Their distance is the
            published code's alternative to LPIPS, which needs weights of its own: the mean square of pixels.
        seed: of the LoRAs' first weights and of the fitting noise.
    """

    rank: int = 16
    fit_steps: int = 200
    learning_rate: float = 2e-4
    weight_decay: float = 0.01
    steps: int | None = 50
    attention_share: float = 0.6
    adain: bool = True
    frames: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("rank")
        self.require_whole("fit_steps", "frames", "seed", least=0)
        self.require("frames", self.frames != 1, "0, or at least 2")
        self.require_within(0, 10, "learning_rate", "weight_decay")
        self.require_within(0, 1, "attention_share")
        self.require_flag("adain")
        if self.steps is not None:
            self.require_whole("steps")


class DiffMorpher(Baseline):
    """The two heaviest classes, in pictures of the same seed; their relative weight is the place on the way between them."""

    name = "diff-morpher"
    title = "DiffMorpher"
    source = "arXiv 2312.07409 (CVPR 2024); github.com/Kevin-thu/DiffMorpher"
    summary = "the picture between the pictures of two classes, by interpolated LoRAs, noise and attention"
    families = FAMILIES
    weights = True
    least = 2
    Settings = DiffMorpherSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {"steps": None, "frames": 0, "fit_steps": 60, "learning_rate": 1e-3}

    def prepare(self, ask: Ask) -> Ready:
        """Find out whether LoRAs can be fitted at all."""
        need_peft()
        mode = ask.backend.placement.mode
        if mode != "fast":  # a view of a U-Net would keep the hooks that move it, and a LoRA cannot be fitted a layer at a time
            raise UnavailableError(f"DiffMorpher needs the whole pipeline on the device, not offload {mode}; use --offload fast")
        return Ready()

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """Draw both sources of each seed, then go from one to the other."""
        (first, a), (second, b) = ask.mix.top(2)
        prompts = [named(name, ask.prompt) for name in (first, second)]
        pictures, alphas = [], []
        for i, seed in enumerate(ask.seeds):
            sources = ask.render(prompts, seeds=[seed, seed])
            picture, alpha = Morph(replace(ask, seeds=(seed,)), self.settings, sources, prompts).blend(b / (a + b))
            pictures.append(picture)
            alphas.append(alpha)
            if ask.callback:
                ask.callback(i + 1, len(ask.seeds))
        return pictures, {"from": first, "to": second, "alpha": alphas}


def mixed_steps(steps: int, share: float) -> int:
    """How many steps mix the attention: the whole ones within a share of them; 0.58 of 50 is 29, and not the 28.99… of floats."""
    return math.floor(steps * share + 1e-9)


def need_peft() -> None:
    """Refuse where peft is missing."""
    from importlib.util import find_spec

    if find_spec("peft") is None:
        raise UnavailableError("DiffMorpher fits LoRAs with peft, which is not installed; install it with: pip install peft")


class Morph:
    """The way between two pictures. The U-Net is a view of the pipeline's: same weights, adapters and attention of its own.

    Args:
        ask: whose backend and options are used; of one seed.
        how: the settings.
        sources, prompts: two pictures, and what each of them shows.
    """

    def __init__(self, ask: Ask, how: DiffMorpherSettings, sources: "Sequence[Image.Image]", prompts: Sequence[str]) -> None:
        from diffusers import DDIMInverseScheduler

        self.how, self.seeds = how, ask.seeds
        self.unet = with_lora(ask.backend.pipe.unet, how.rank, seeds.derive(how.seed, "diff-morpher") % 2**31)
        self.easel = Easel(ask, self.unet)
        self.inverse = DDIMInverseScheduler.from_config(self.easel.scheduler.config)
        self.inverse.set_timesteps(self.easel.steps, device=self.easel.device)
        self.texts = ask.backend.condition(list(prompts))["prompt_embeds"].detach().split(1)
        initial, clean = lora_weights(self.unet), self.easel.encode(sources).split(1)
        self.loras = [self._fit(initial, *pair) for pair in zip(clean, self.texts, strict=True)]
        self.noises = [self._invert(*each) for each in zip(clean, self.texts, self.loras, strict=True)]
        self.plain = dict(self.unet.attn_processors)
        self.kept = [self._keep(i) for i in (0, 1)]

    def blend(self, alpha: float) -> "tuple[Image.Image, float]":
        """The picture at ``alpha`` from the first source (0) to the second (1), and where on the plain path it lies."""
        frames = self.how.frames
        if frames:
            plain = np.linspace(0, 1, frames)
            alpha = retimed([self.at(float(each)) for each in plain], alpha)
        return self.at(alpha), alpha

    def at(self, alpha: float) -> "Image.Image":
        """The picture at ``alpha`` on the plain path."""
        return self.easel.decode(self.latents_at(alpha), self.seeds)[0]

    @torch.no_grad()
    def latents_at(self, alpha: float) -> Float[Tensor, "1 c h w"]:
        """Its latents.

        Raises:
            DistokError: they are not finite.
        """
        set_lora(self.unet, between(self.loras[0], self.loras[1], alpha))
        last = mixed_steps(self.easel.steps, self.how.attention_share)
        mixed = {
            name: _MixedAttention(each, self.kept[0][name], self.kept[1][name], alpha, last) if name in self.kept[0] else each
            for name, each in self.plain.items()
        }
        self.unet.set_attn_processor(mixed)
        noise = slerp(*self.noises, alpha, self.how.adain)
        latents = self._sample(noise, torch.lerp(self.texts[0], self.texts[1], alpha))
        if not latents.isfinite().all():  # it would be a black picture
            kind = str(latents.dtype).removeprefix("torch.")
            raise DistokError(
                f"DiffMorpher's latents left the range of {kind} numbers; open the backend in float32, or lower learning_rate"
            )
        return latents

    def _fit(self, initial: Weights, clean: Float[Tensor, "1 c h w"], text: Float[Tensor, "1 l d"]) -> Weights:
        """A LoRA that knows one picture."""
        set_lora(self.unet, initial)
        trained = [p for name, p in self.unet.named_parameters() if "lora_" in name]
        optimiser = torch.optim.AdamW(trained, lr=self.how.learning_rate, weight_decay=self.how.weight_decay)
        schedule = self.easel.scheduler
        for step in range(self.how.fit_steps):
            random = seeds.generator(self.how.seed, "diff-morpher fit", step)
            noise = torch.randn(clean.shape, generator=random, dtype=torch.float32).to(clean)
            t = torch.randint(schedule.config.num_train_timesteps, (1,), generator=random).to(clean.device)
            found = self.unet(schedule.add_noise(clean, noise, t), t, encoder_hidden_states=text.to(clean.dtype)).sample
            kind = schedule.config.prediction_type
            wanted = {"epsilon": noise, "sample": clean, "v_prediction": schedule.get_velocity(clean, noise, t)}[kind]
            optimiser.zero_grad()
            F.mse_loss(found.float(), wanted.float()).backward()
            optimiser.step()
        return lora_weights(self.unet)

    @torch.no_grad()
    def _invert(self, clean: Float[Tensor, "1 c h w"], text: Float[Tensor, "1 l d"], lora: Weights) -> Float[Tensor, "1 c h w"]:
        """The noise from which DDIM arrives at a picture."""
        set_lora(self.unet, lora)
        latents = clean
        for t in self.inverse.timesteps:
            latents = self.inverse.step(self.easel.predict(latents, t, text, None), t, latents).prev_sample
        return latents

    def _keep(self, which: int) -> dict[str, list[Tensor]]:
        """What the self-attention of the up blocks is given while one source is drawn, by processor and step."""
        set_lora(self.unet, self.loras[which])
        kept: dict[str, list[Tensor]] = {name: [] for name in self.plain if name.startswith("up") and "attn1" in name}
        watched = {name: _KeptAttention(each, kept[name]) if name in kept else each for name, each in self.plain.items()}
        self.unet.set_attn_processor(watched)
        with torch.no_grad():
            self._sample(self.noises[which], self.texts[which])
        self.unet.set_attn_processor(dict(self.plain))  # a copy: the call empties what it is given
        return kept

    def _sample(self, latents: Float[Tensor, "1 c h w"], text: Float[Tensor, "1 l d"]) -> Float[Tensor, "1 c h w"]:
        for t in self.easel.scheduler.timesteps:
            latents = self.easel.step(self.easel.predict(latents, t, text, None), t, latents)
        return latents


class _KeptAttention:
    """Attention as ever, its input written down."""

    def __init__(self, plain: Any, kept: list[Tensor]) -> None:
        self.plain, self.kept = plain, kept

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *args: Any, **options: Any) -> Tensor:
        self.kept.append(hidden_states)
        return self.plain(attn, hidden_states, *args, **options)


class _MixedAttention:
    """Attention whose keys and values come, in the first steps, from the mix of both sources' inputs (paper, eq. of K and V)."""

    def __init__(self, plain: Any, first: Sequence[Tensor], second: Sequence[Tensor], alpha: float, last: int) -> None:
        self.plain, self.first, self.second, self.alpha, self.last = plain, first, second, alpha, last
        self.step = 0

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *args: Any, **options: Any) -> Tensor:
        step, self.step = self.step, self.step + 1
        if step < self.last:
            options["encoder_hidden_states"] = torch.lerp(self.first[step], self.second[step], self.alpha)
        return self.plain(attn, hidden_states, *args, **options)


def with_lora(unet: nn.Module, rank: int, seed: int) -> Any:
    """A view of a U-Net with LoRA layers on all attention, in float32 at least; the U-Net itself gets none."""
    from peft import LoraConfig, inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
        view = inject_adapter_in_model(config, frozen_view(unet))
    for name, parameter in view.named_parameters():
        if "lora_" in name:  # peft makes them in the U-Net's type, where half precision would round AdamW's eps to 0
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
    return view


def lora_weights(unet: nn.Module) -> Weights:
    """A copy of the LoRA layers' weights."""
    return {name: p.detach().clone() for name, p in unet.named_parameters() if "lora_" in name}


@torch.no_grad()
def set_lora(unet: nn.Module, weights: Weights) -> None:
    """Give the LoRA layers weights."""
    for name, parameter in unet.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])


def between(first: Weights, second: Weights, alpha: float) -> Weights:
    """(1 − α) Δθ_0 + α Δθ_1, factor by factor as the published code has it."""
    return {name: torch.lerp(value, second[name], alpha) for name, value in first.items()}


def slerp(
    first: Float[Tensor, "1 c h w"], second: Float[Tensor, "1 c h w"], alpha: float, adain: bool = True
) -> Float[Tensor, "1 c h w"]:
    """Spherical interpolation of two noises; ``adain`` then gives each channel the mixed mean and deviation."""
    a, b = first.double(), second.double()
    cosine = ((a * b).sum() / (a.norm() * b.norm())).clamp(-1 + 1e-7, 1 - 1e-7)
    angle = cosine.arccos()
    mixed = (a * torch.sin((1 - alpha) * angle) + b * torch.sin(alpha * angle)) / angle.sin()
    if adain:
        sides = (2, 3)
        mean = torch.lerp(a.mean(sides, keepdim=True), b.mean(sides, keepdim=True), alpha)
        spread = torch.lerp(a.std(sides, keepdim=True), b.std(sides, keepdim=True), alpha)
        own = mixed.std(sides, keepdim=True).clamp(min=1e-8)
        mixed = (mixed - mixed.mean(sides, keepdim=True)) / own * spread + mean
    return mixed.to(first.dtype)


def retimed(pictures: "Sequence[Image.Image]", alpha: float) -> float:
    """Where on the plain path the share ``alpha`` of the whole visible change has happened.

    Args:
        pictures: of the plain path at equal distances, first and last included.
    """
    pixels = [np.asarray(picture, dtype=np.float64) for picture in pictures]
    steps = [float(((b - a) ** 2).mean()) for a, b in pairwise(pixels)]
    gone = np.concatenate([[0.0], np.cumsum(steps)])
    if gone[-1] == 0:
        return alpha
    return float(np.interp(alpha, gone / gone[-1], np.linspace(0, 1, len(pictures))))
