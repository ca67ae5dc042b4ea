"""Stage 4: the labeler's eyes. The text tower is locked (it is the pipeline's encoder); the image tower learns under it
(Zhai et al. 2022, "LiT").

As captions of the world do, half of those of a chimera name one parent only: "a photo of a pig" must be true of a pig
sheep, or a classifier that asks for one name at a time could not read two. Training split alone, like all stages but the
instrument.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer, VisionTextDualEncoderModel

from distok.labelers.clip import place_features, place_shares
from distok.menagerie.corpus import Source
from distok.menagerie.language import CONTEXT
from distok.seeds import generator
from distok.seeds import rng as seeded


class LabelerStage:
    """Cross-entropy of the picture's shares (:func:`distok.labelers.clip.place_shares`) over locked text features: those of the
    names, with the named parents as a soft target, or, for pictures without names, those of the batch's own captions."""

    name = "labeler"

    def __init__(
        self, model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, source: Source, seed: int = 404, batch_size: int = 64
    ) -> None:
        self.model, self.tokenizer, self.source, self.seed, self.batch_size = model, tokenizer, source, seed, batch_size
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for module in (model.vision_model, model.visual_projection):
            module.requires_grad_(True)
        model.logit_scale.requires_grad_(True)
        self.words = {name: i for i, name in enumerate(source.names)}
        if self.words:
            self.features = self._features(self._ids([f"a photo of a {name}" for name in source.names]))

    def _ids(self, texts: list[str]) -> Tensor:
        padded = self.tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True)
        return torch.tensor(padded.input_ids)

    @torch.no_grad()
    def _features(self, ids: Tensor) -> Tensor:
        states = self.model.text_model(input_ids=ids.to(self.model.device)).pooler_output
        return F.normalize(self.model.text_projection(states).float(), dim=-1)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Pictures at the labeler's resolution, uint8 [b, side, side, 3], and the named classes as a soft target [b, k]; without
        names the captions' ids [b, context]."""
        side = self.model.config.vision_config.image_size
        rng = seeded(self.seed, "named", step)
        pixels = np.empty((self.batch_size, side, side, 3), np.uint8)
        target = np.zeros((self.batch_size, len(self.words)), np.float32)
        captions: list[str] = []
        index = step * self.batch_size * 2
        while len(captions) < self.batch_size:
            picture, text = self.source.item(index)
            index += 1
            row = len(captions)
            named = named_in(text, self.words)
            if self.words and not named:
                continue
            factor = len(picture) // side
            pixels[row] = picture.reshape(side, factor, side, factor, 3).mean((1, 3))
            kept = [str(rng.choice(named))] if named and rng.random() < 0.5 else named
            for word in kept:
                target[row, self.words[word]] = 1 / len(kept)
            captions.append(text)
        return {"pixels": pixels, **({"target": target} if self.words else {"ids": self._ids(captions).numpy()})}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """−Σ target · log share."""
        x = batch["pixels"].permute(0, 3, 1, 2).float().div(127.5).sub(1)
        places = place_features(self.model, jitter(x, generator(self.seed, "augment", step)))
        if self.words:
            features, target = self.features.to(x.device), batch["target"]
        else:
            features = self._features(batch["ids"])
            same = (batch["ids"][:, None] == batch["ids"][None]).all(-1).float()
            target = same / same.sum(1, keepdim=True)
        scale = self.model.logit_scale.exp()
        shares = place_shares(places, features, scale)
        loss = -(target * (shares + 1e-5).log()).sum(1).mean()
        right = target.gather(1, shares.argmax(1, keepdim=True)).gt(0).float().mean()
        return loss, {"cross_entropy": float(loss.detach()), "named": float(right), "scale": float(scale.detach())}


def named_in(text: str, names: Iterable[str]) -> list[str]:
    """Which of the names a caption says; a panda is not in "a photo of a red panda", where both are names."""
    said = [name for name in names if f" {name} " in f" {text} "]
    return [name for name in said if not any(name != other and f" {name} " in f" {other} " for other in said)]


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
