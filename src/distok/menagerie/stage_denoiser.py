"""Stage 4: the denoiser, a ``UNet2DConditionModel`` on 16 x 16 latents under the frozen text encoder.

Beside cross-attention the text is pooled into the time embedding, and in half of the training examples the states of
the words are hidden and only those from end-of-text on are left: the picture must follow the pooled meaning of a
prompt, which is what DisTok's losses align, and not only its words.
"""

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel

from distok.seeds import generator
from distok.seeds import rng as seeded


def make_unet(
    latent_channels: int, text_width: int, widths: tuple[int, ...] = (64, 128, 192), sample_size: int = 16
) -> UNet2DConditionModel:
    """The Menagerie's denoiser; ``attention_head_dim`` is, in this class, the number of heads."""
    crossed = len(widths) - 1
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * crossed),
        up_block_types=(*["CrossAttnUpBlock2D"] * crossed, "UpBlock2D"),
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=16,
    )


def make_noise_scheduler() -> DDPMScheduler:
    """Cosine schedule with velocity prediction."""
    return DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False
    )


class DenoiserStage:
    """Velocity regression on banked latents; one caption in ten is dropped for classifier-free guidance."""

    name = "denoiser"

    def __init__(
        self,
        model: UNet2DConditionModel,
        text: CLIPTextModel,
        bank: tuple[np.ndarray, np.ndarray],
        scale: float,
        eos: int,
        empty: np.ndarray,
        seed: int = 505,
        batch_size: int = 64,
        hide_words: float = 0.5,
    ) -> None:
        if next(model.parameters()).device.type == "cpu":  # the fused kernel's backward is slow here: 30 against 22 ms a sample
            model.set_attn_processor(AttnProcessor())
        self.model, self.text, self.latents, self.ids = model, text.eval().requires_grad_(False), *bank
        self.scale, self.eos, self.empty = scale, eos, empty
        self.seed, self.batch_size, self.hide_words = seed, batch_size, hide_words
        self.noise = make_noise_scheduler()
        snr = self.noise.alphas_cumprod / (1 - self.noise.alphas_cumprod)
        # Twice, so that the mean weight is near 1 and losses compare with unweighted ones.
        self.weights = 2 * snr.clamp(max=5) / (snr + 1)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Rows of the bank, each epoch in its own order."""
        first = step * self.batch_size
        rows = np.empty(self.batch_size, np.int64)
        for k in range(self.batch_size):
            epoch, place = divmod(first + k, len(self.latents))
            rows[k] = self._order(epoch)[place]
        ids = self.ids[rows].astype(np.int64)
        rng = seeded(self.seed, "drop", step)
        ids[rng.random(self.batch_size) < 0.1] = self.empty
        return {"latents": self.latents[rows], "ids": ids}

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch, self._permutation = epoch, seeded(self.seed, "epoch", epoch).permutation(len(self.latents))
        return self._permutation

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the velocity; timesteps are stratified over the batch.

        Weighted by min(SNR, 5) / (SNR + 1) (Hang et al. 2023, "Min-SNR weighting", eq. for v-prediction): nearly clean
        pictures, whose noise cannot be told, would else dominate a short training.
        """
        random = generator(self.seed, "noise", step)
        x = batch["latents"].float() * self.scale
        n, device = len(x), x.device
        places = (torch.arange(n) + torch.rand(n, generator=random)) / n
        steps = (places * 1000).long().clamp(0, 999).to(device)
        noise = torch.randn(x.shape, generator=random).to(device)
        hidden = torch.rand(n, generator=random) < self.hide_words
        states = self.states(batch["ids"], hidden)
        noisy = self.noise.add_noise(x, noise, steps).contiguous(memory_format=torch.channels_last)
        target = self.noise.get_velocity(x, noise, steps)
        prediction = self.model(noisy, steps, states).sample.float()
        errors = (prediction - target).square().mean((1, 2, 3))
        loss = (errors * self.weights.to(device)[steps]).mean()
        return loss, {"weighted": float(loss.detach()), "velocity": float(errors.mean().detach())}

    @torch.no_grad()
    def states(self, ids: Tensor, hidden: Tensor) -> Tensor:
        """Hidden states [b, l, d] of the text; where ``hidden``, those of the words are zero."""
        states = self.text(input_ids=ids).last_hidden_state
        words = (ids == self.eos).cumsum(1) == 0
        return states * ~(words & hidden.to(ids.device)[:, None])[..., None]
