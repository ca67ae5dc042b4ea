"""BLIP as a labeler, in two forms: asked a question (VQA, the paper's reading), or matching captions (ITM).

Shapes: b pictures, k names, n pairs of a picture and a name, l image patches, q question tokens, t answer tokens, w width.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from distok.labelers.model import ModelLabeler, every_pair, token_likelihood

if TYPE_CHECKING:
    from PIL import Image


class BlipVqaLabeler(ModelLabeler):
    """``BlipForQuestionAnswering``: log p(name | picture, question), for every name (the paper's labeler).

    As in BLIP's own ranking of answers (Li et al. 2022, arXiv 2201.12086; ``rank_answer`` in its code) the answer ends with
    [SEP], its tokens' log-likelihoods are added, and every name is ranked: there is no first cut by the first token. The question
    starts with [ENC], as in its training, which transformers leaves out.
    """

    model_class = "BlipForQuestionAnswering"

    def scorer(self, names: Sequence[str]) -> "Callable[[list[Image.Image]], Float[Tensor, 'b k']]":
        """Tokenize question and answers once; see :class:`ModelLabeler`."""
        question = self.words([self.settings.question])
        start, rows = self.model.decoder_start_token_id, self.model.text_encoder.embeddings.word_embeddings.num_embeddings
        if start + 2 == rows:  # published vocabularies end with [DEC] and [ENC]
            question["input_ids"][:, 0] = start + 1
        answers = self.words(self.captions(names))
        answers["input_ids"][:, 0] = start

        def score(images: "list[Image.Image]") -> Float[Tensor, "b k"]:
            asked = self._asked(images, question["input_ids"], question["attention_mask"])
            mask = question["attention_mask"].expand(len(images), -1)

            def answer(picture: Int[Tensor, " n"], name: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
                tokens, kept = answers["input_ids"][name], answers["attention_mask"][name]
                logits = self.model.text_decoder(
                    input_ids=tokens, attention_mask=kept, use_cache=False,
                    encoder_hidden_states=asked[picture], encoder_attention_mask=mask[picture],
                ).logits  # fmt: skip
                return token_likelihood(logits[:, :-1], tokens[:, 1:], kept[:, 1:], self.settings.likelihood)

            return every_pair(answer, len(images), len(names), self.model.device)

        return score

    def _asked(self, images: "list[Image.Image]", tokens: Int[Tensor, "1 q"], mask: Int[Tensor, "1 q"]) -> Float[Tensor, "b q w"]:
        """The question read in the light of each picture; picture and question are encoded once for all names."""
        seen = _seen(self, images)
        return self.model.text_encoder(
            input_ids=tokens.expand(len(images), -1), attention_mask=mask.expand(len(images), -1),
            encoder_hidden_states=seen, encoder_attention_mask=_ones(seen),
        ).last_hidden_state  # fmt: skip


class BlipMatchingLabeler(ModelLabeler):
    """``BlipForImageTextRetrieval``: does the caption match the picture?

    "match" scores a name by the matching head's log-odds, log p(match) - log p(no match), picture and caption read together;
    "cosine" by the cosine of their separate features, which is faster and coarser.
    """

    model_class = "BlipForImageTextRetrieval"

    @property
    def temperature(self) -> float:
        """1 for log-odds; for cosines 0.07, where BLIP's training starts (the checkpoints do not keep the learned value)."""
        default = 1.0 if self.settings.reading == "match" else 0.07
        return float(self.settings.temperature or default)

    def scorer(self, names: Sequence[str]) -> "Callable[[list[Image.Image]], Float[Tensor, 'b k']]":
        """Tokenize the captions once; see :class:`ModelLabeler`."""
        captions = self.words(self.captions(names))
        tokens, mask = captions["input_ids"], captions["attention_mask"]
        if self.settings.reading == "cosine":
            texts = self.model.text_encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0]
            texts = F.normalize(self.model.text_proj(texts), dim=-1)
            return lambda images: F.normalize(self.model.vision_proj(_seen(self, images)[:, 0]), dim=-1) @ texts.T

        def score(images: "list[Image.Image]") -> Float[Tensor, "b k"]:
            seen = _seen(self, images)

            def match(picture: Int[Tensor, " n"], name: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
                both = self.model.text_encoder(
                    input_ids=tokens[name], attention_mask=mask[name],
                    encoder_hidden_states=seen[picture], encoder_attention_mask=_ones(seen[picture]),
                ).last_hidden_state  # fmt: skip
                odds = self.model.itm_head(both[:, 0]).float()
                return odds[:, 1] - odds[:, 0]

            return every_pair(match, len(images), len(names), self.model.device)

        return score


def _seen(labeler: ModelLabeler, images: "list[Image.Image]") -> Float[Tensor, "b l w"]:
    return labeler.model.vision_model(pixel_values=labeler.pixels(images)["pixel_values"]).last_hidden_state


def _ones(states: Float[Tensor, "n l w"]) -> Int[Tensor, "n l"]:
    return torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
