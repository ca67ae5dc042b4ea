"""Stage 2: the autoencoder, an ``AutoencoderTiny`` with a reduction of 8, trained on crops (it has no attention, no norm)."""

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from distok.menagerie.corpus import Source
from distok.seeds import generator
from distok.seeds import rng as seeded

LATENT_CHANNELS = 12


def make_vae(width: int = 32) -> AutoencoderTiny:
    """The Menagerie's autoencoder: 128 px to 16 x 16 latents."""
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(1, 2, 4, 4),
        num_decoder_blocks=(4, 4, 3, 1),
        latent_channels=LATENT_CHANNELS,
    )


class VaeStage:
    """L1 and edges in pixels, low-resolution colour, and an anchor: the first three latent channels are the thumbnail.

    Without the low-resolution and anchor terms the colours took thousands of steps to appear (measured in docs/log.md);
    with them the latents are also smooth, which suits the denoiser.
    """

    name = "vae"

    def __init__(self, model: AutoencoderTiny, source: Source, seed: int = 202, batch_size: int = 6, crop: int = 64) -> None:
        self.model, self.source, self.seed, self.batch_size, self.crop = model, source, seed, batch_size, crop

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Random crops of captioned pictures, uint8 [b, crop, crop, 3]; two crops a picture."""
        rng = seeded(self.seed, "crops", step)
        out = np.empty((self.batch_size, self.crop, self.crop, 3), np.uint8)
        for row in range(0, self.batch_size, 2):
            picture, _ = self.source.item(step * self.batch_size + row)
            for k in range(min(2, self.batch_size - row)):
                y, x = rng.integers(0, len(picture) - self.crop + 1, 2)
                out[row + k] = picture[y : y + self.crop, x : x + self.crop]
        return {"pixels": out}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction from latents with a little noise, so that the decoder forgives a denoiser's errors."""
        x = batch["pixels"].permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        z = self.model.encode(x).latents
        noise = torch.randn(z.shape, generator=generator(self.seed, "noise", step)).to(x.device)
        y = self.model.decode(z + 0.05 * noise).sample.float()
        pixel = F.l1_loss(y, x) + 0.5 * F.mse_loss(y, x)
        edges = _edges(y, x) + _edges(F.avg_pool2d(y, 2), F.avg_pool2d(x, 2))
        colour = F.mse_loss(F.avg_pool2d(y, 4), F.avg_pool2d(x, 4))
        anchor = F.mse_loss(z[:, :3].float(), 1.5 * F.avg_pool2d(x, 8))
        spread = (z[:, 3:].float() ** 2).mean()
        loss = pixel + 0.5 * edges + 2 * colour + anchor + 0.002 * spread
        values = {
            "l1": float(F.l1_loss(y, x).detach()),
            "mse": float(F.mse_loss(y, x).detach()),
            "anchor": float(anchor.detach()),
        }
        return loss, values


def _edges(y: Tensor, x: Tensor) -> Tensor:
    return F.l1_loss(y.diff(dim=-1), x.diff(dim=-1)) + F.l1_loss(y.diff(dim=-2), x.diff(dim=-2))


@torch.no_grad()
def measure_scale(vae: AutoencoderTiny, source: Source, pictures: int = 64) -> float:
    """The factor that gives latents unit standard deviation, as ``scaling_factor`` wants it."""
    stack = np.stack([source.item(i)[0] for i in range(pictures)])
    x = torch.from_numpy(stack).to(next(vae.parameters()).device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    latents = torch.cat([vae.encode(part).latents for part in x.split(8)])
    return float(1 / latents.std())
