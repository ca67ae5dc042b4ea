"""VAE, U-Net and schedule of a ``StableDiffusionPipeline`` by themselves, for methods that change the denoising.

Shapes: b pictures, c latent channels, h and w latent sides, l positions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import pictures_of
from distok.backends.pipeline import generators, numbers_only
from distok.baselines.base import Ask

if TYPE_CHECKING:
    from PIL import Image

FAMILIES = ("StableDiffusionPipeline",)
INVERTIBLE = ("leading", "trailing")  # the spacings of time that DDIM backwards knows


class Easel:
    """VAE, U-Net and a DDIM sampler over the pipeline's own noise schedule. Nothing in it is trained or changed.

    Args:
        ask: whose backend, steps, guidance scale and size are used.
        unet: in place of the pipeline's own.
    """

    def __init__(self, ask: Ask, unet: Any = None) -> None:
        from diffusers import DDIMScheduler

        how = ask.backend.defaults
        self.pipe = ask.backend.renderer()
        self.unet = self.pipe.unet if unet is None else unet
        self.steps: int = ask.options.get("steps", how.steps)
        self.guidance_scale: float = ask.options.get("guidance_scale", how.guidance_scale)
        # x_0 is not clipped: latents are no pixels, and their range is not 1. DDIM backwards knows no "linspace", which other
        # samplers of a checkpoint may have: then the spacing is that of DDIM itself.
        spacing = self.pipe.scheduler.config.get("timestep_spacing")
        options = {} if spacing in INVERTIBLE else {"timestep_spacing": "leading"}
        self.scheduler = DDIMScheduler.from_config(self.pipe.scheduler.config, clip_sample=False, **options)
        self.device: torch.device = self.pipe._execution_device  # not a part's own: parts that take turns wait elsewhere
        self.scheduler.set_timesteps(self.steps, device=self.device)
        self.dtype = self.pipe.unet.dtype

    @torch.no_grad()
    def encode(self, pictures: "Sequence[Image.Image]") -> Float[Tensor, "b c h w"]:
        """Latents of pictures: the mode of the VAE's distribution, so that they need no seed."""
        vae = self.pipe.vae
        pixels = self.pipe.image_processor.preprocess(list(pictures)).to(self.device, vae.dtype)
        out = vae.encode(pixels)
        latents = out.latent_dist.mode() if hasattr(out, "latent_dist") else out.latents
        return (latents * vae.config.scaling_factor).to(self.dtype)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b c h w"], seeds: Sequence[int]) -> "list[Image.Image]":
        """Pictures of latents; a warning names the seeds of those that are no numbers, and come out black."""
        vae = self.pipe.vae
        pixels = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample
        shown = self.pipe.image_processor.postprocess(pixels.float(), output_type="pt")
        return pictures_of(numbers_only(shown, seeds, str(self.dtype).removeprefix("torch.")))

    def noise(self, shape: Sequence[int], seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Normal noise, each row from its own seed."""
        rows = [torch.randn((1, *shape), generator=each, dtype=self.dtype) for each in generators(seeds)]
        return torch.cat(rows).to(self.device)

    @torch.no_grad()
    def predict(
        self, latents: Float[Tensor, "b c h w"], t: Tensor, text: Float[Tensor, "b l d"], empty: Float[Tensor, "b l d"] | None
    ) -> Float[Tensor, "b c h w"]:
        """The U-Net's prediction, guided away from ``empty`` where that is given and the guidance scale is above 1."""
        if empty is None or self.guidance_scale <= 1:
            return self.unet(latents, t, encoder_hidden_states=text.to(self.dtype)).sample
        both = torch.cat([empty, text]).to(self.dtype)
        without, wanted = self.unet(torch.cat([latents] * 2), t, encoder_hidden_states=both).sample.chunk(2)
        return without + self.guidance_scale * (wanted - without)

    def step(
        self, prediction: Float[Tensor, "b c h w"], t: Tensor, latents: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """One deterministic DDIM step (η = 0) toward the picture."""
        return self.scheduler.step(prediction, t, latents).prev_sample
