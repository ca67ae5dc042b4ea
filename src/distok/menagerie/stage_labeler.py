"""Stage 4: the labeler's eyes. The text tower is locked (it is the pipeline's encoder); the image tower goes on learning.

As captions of the world do, half of those of a chimera name one parent only: "a photo of a pig" must be true of a pig
sheep, or a classifier that asks for one name at a time could not read two. Training split alone, like all stages but the
instrument.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer, VisionTextDualEncoderModel

from distok.menagerie.corpus import Source
from distok.menagerie.stage_clip import jitter
from distok.seeds import generator
from distok.seeds import rng as seeded


class LabelerStage:
    """Cross-entropy over the names, read off the locked text features, with the named parents as a soft target."""

    name = "labeler"

    def __init__(
        self, model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, source: Source, seed: int = 404, batch_size: int = 64
    ) -> None:
        self.model, self.source, self.seed, self.batch_size = model, source, seed, batch_size
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for module in (model.vision_model, model.visual_projection):
            module.requires_grad_(True)
        model.logit_scale.requires_grad_(True)
        self.words = {name: i for i, name in enumerate(source.names)}
        prompts = tokenizer([f"a photo of a {name}" for name in source.names], padding="max_length", return_tensors="pt")
        with torch.no_grad():
            states = model.text_model(input_ids=prompts.input_ids).pooler_output
            self.names = F.normalize(model.text_projection(states), dim=-1)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Pictures at the labeler's resolution, uint8 [b, side, side, 3], and the named classes as a soft target [b, k]."""
        side = self.model.config.vision_config.image_size
        rng = seeded(self.seed, "named", step)
        pixels = np.empty((self.batch_size, side, side, 3), np.uint8)
        target = np.zeros((self.batch_size, len(self.words)), np.float32)
        row, index = 0, step * self.batch_size * 2
        while row < self.batch_size:
            picture, text = self.source.item(index)
            index += 1
            named = [word for word in text.split() if word in self.words]
            if not named:
                continue
            factor = len(picture) // side
            pixels[row] = picture.reshape(side, factor, side, factor, 3).mean((1, 3))
            kept = [str(rng.choice(named))] if rng.random() < 0.5 else named
            for word in kept:
                target[row, self.words[word]] = 1 / len(kept)
            row += 1
        return {"pixels": pixels, "target": target}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of softmax(scale · cos) over the names."""
        x = batch["pixels"].permute(0, 3, 1, 2).float().div(127.5).sub(1)
        x = jitter(x, generator(self.seed, "augment", step))
        seen = self.model.visual_projection(self.model.vision_model(pixel_values=x).pooler_output)
        cosines = F.normalize(seen.float(), dim=-1) @ self.names.to(x.device).T
        loss = F.cross_entropy(self.model.logit_scale.exp() * cosines, batch["target"])
        right = batch["target"].gather(1, cosines.argmax(1, keepdim=True)).gt(0).float().mean()
        return loss, {
            "cross_entropy": float(loss.detach()),
            "named": float(right),
            "scale": float(self.model.logit_scale.detach().exp()),
        }
