"""Stage 3: the pipeline's text encoder, trained by reading captions alone.

No picture can be better than its text. An encoder trained by contrast with some tens of thousands of pictures tangled two
names: a linear reading of its state was right about both for 81 % of the pairs it had never seen (docs/log.md). Text is cheap:
a step without pictures costs a tenth. Captions are those of the training split.
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from distok.menagerie.corpus import Source
from distok.menagerie.language import CONTEXT


class TextReader(nn.Module):
    """A text encoder, its projection to E(q), and a linear reading of E(q) that training alone needs."""

    def __init__(self, encoder: CLIPTextModel, projection: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection
        self.words = nn.Linear(projection.out_features, encoder.config.vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [b, l, vocabulary] of the words read in every state."""
        return self.words(self.projection(self.encoder(input_ids=ids).last_hidden_state))


class TextStage:
    """Every state from end-of-text on must tell, through the projection and one linear layer, which words the caption has."""

    name = "text"

    def __init__(
        self, model: TextReader, tokenizer: CLIPTokenizer, source: Source, seed: int = 707, batch_size: int = 128
    ) -> None:
        self.model, self.tokenizer, self.source, self.seed, self.batch_size = model, tokenizer, source, seed, batch_size

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Padded ids [b, context]."""
        captions = [self.source.caption(step * self.batch_size + row) for row in range(self.batch_size)]
        ids = self.tokenizer(captions, padding="max_length", max_length=CONTEXT, truncation=True).input_ids
        return {"ids": np.array(ids, np.int64)}

    def loss(self, batch: dict[str, Tensor], step: int) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy to the uniform distribution over the caption's distinct words, less that distribution's entropy."""
        ids = batch["ids"]
        ended = (ids == self.tokenizer.eos_token_id).cumsum(1) > 0
        length = int((~ended).sum(1).max()) + 2  # one padding state at least, as the denoiser sees them
        ids, ended = ids[:, :length], ended[:, :length]
        present = torch.zeros(len(ids), self.model.words.out_features, device=ids.device)
        present.scatter_(1, ids, 1.0)
        present[:, [self.tokenizer.bos_token_id, self.tokenizer.eos_token_id]] = 0
        target = present / present.sum(1, keepdim=True).clamp(min=1)
        logs = self.model(ids).float().log_softmax(-1)
        entropy = -(target * target.clamp(min=1e-9).log()).sum(1)
        divergence = -(logs * target[:, None]).sum(-1) - entropy[:, None]
        loss = divergence[ended].mean()
        return loss, {"words": float(loss.detach())}
