"""Stage 3: text encoder and labeler, trained contrastively on captioned pictures of the training split alone.

The text tower becomes the pipeline's frozen text encoder; both towers together are the labeler.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer, VisionTextDualEncoderModel

from distok.menagerie.corpus import Source
from distok.menagerie.language import CONTEXT
from distok.seeds import generator


class ClipStage:
    """Symmetric contrastive loss over batches whose captions are hard to tell apart."""

    name = "clip"

    def __init__(
        self, model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, source: Source, seed: int = 303, batch_size: int = 128
    ) -> None:
        self.model, self.tokenizer, self.source, self.seed, self.batch_size = model, tokenizer, source, seed, batch_size

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Pictures at the labeler's resolution, uint8 [b, side, side, 3], and padded ids [b, context]."""
        side = self.model.config.vision_config.image_size
        pictures, captions = zip(*self.source.contrastive(step, self.batch_size), strict=True)
        stack = np.stack(pictures)
        factor = stack.shape[1] // side
        pixels = stack.reshape(len(stack), side, factor, side, factor, 3).mean((2, 4)).astype(np.uint8)
        captions = list(captions)
        ids = self.tokenizer(captions, padding="max_length", max_length=CONTEXT, truncation=True).input_ids
        return {"pixels": pixels, "ids": np.array(ids, np.int64)}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy both ways, with equal captions sharing the target."""
        x = batch["pixels"].permute(0, 3, 1, 2).float().div(127.5).sub(1)
        x = jitter(x, generator(self.seed, "augment", step))
        ids = batch["ids"]
        length = int((ids != ids[:, -1:]).sum(1).max()) + 1
        out = self.model(input_ids=ids[:, :length], pixel_values=x)
        logits = out.logits_per_image.float()
        same = (ids[:, None] == ids[None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        right = same[torch.arange(len(ids)), logits.argmax(1)].mean()
        scale = self.model.logit_scale
        with torch.no_grad():
            scale.clamp_(max=float(np.log(60.0)))
        return loss, {"contrastive": float(loss.detach()), "top1": float(right), "scale": float(scale.detach().exp())}


def jitter(x: Tensor, random: torch.Generator) -> Tensor:
    """Small shifts, zooms, noise and changes of light, so that the image tower reads creatures and not positions."""
    n = len(x)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.rand(n, generator=random) * 0.12 + 0.94
    theta[:, :, 2] = torch.rand(n, 2, generator=random) * 0.1 - 0.05
    x = F.grid_sample(
        x, F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False), padding_mode="border", align_corners=False
    )
    gain = (torch.rand(n, 1, 1, 1, generator=random) * 0.2 + 0.9).to(x.device)
    noise = torch.randn(x.shape, generator=random).to(x.device)
    return x * gain + noise * (torch.rand(n, 1, 1, 1, generator=random) * 0.08).to(x.device)
