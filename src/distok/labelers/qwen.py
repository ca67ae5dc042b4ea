"""A generative vision-language model of the Qwen2.5-VL class as a labeler: how likely is each name as its answer?

Shapes: b pictures, k names, t answer tokens, s prompt tokens.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.model import ModelLabeler, token_likelihood

if TYPE_CHECKING:
    from PIL import Image

ANSWERS = 32  # names scored together; each holds its own copy of the prompt's keys and values


@dataclass(frozen=True)
class Prefix:
    """The picture and the question, read once: what every answer continues."""

    cache: Any  # keys and values
    position: int  # of the answer's first token; below the number of tokens, as those of a picture share positions
    logits: Float[Tensor, "1 1 v"]  # of the answer's first token


class QwenLabeler(ModelLabeler):
    """``Qwen2_5_VLForConditionalGeneration``: log p(name, end of turn | chat with picture and question), for every name.

    The end of turn belongs to the answer, so that no name is the beginning of another and the likelihoods are those of
    different events. Picture and question go through the model once a picture; the names continue its cache.
    """

    model_class = "Qwen2_5_VLForConditionalGeneration"

    @classmethod
    def load(cls, kind: str, folder: Path, settings: Any, device: str, dtype: torch.dtype) -> "ModelLabeler":
        """Load; see :class:`ModelLabeler`. The chat template may also stand in ``chat_template.json``.

        Raises:
            DistokError: a part is missing, the chat template included, pickled only or corrupt.
        """
        labeler = super().load(kind, folder, settings, device, dtype)
        tokenizer, apart = labeler.tokenizer, folder / "chat_template.json"
        if not tokenizer.chat_template and apart.is_file():
            tokenizer.chat_template = pretrained.read_json(apart).get("chat_template")
        if not tokenizer.chat_template:
            raise DistokError(f"{folder} holds no chat template (chat_template.jinja); copy the checkpoint again")
        return labeler

    def scorer(self, names: Sequence[str]) -> "Callable[[list[Image.Image]], Float[Tensor, 'b k']]":
        """Tokenize question and answers once; see :class:`ModelLabeler`."""
        prompt = self._prompt()
        answers = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in self.captions(names)]
        end = self.tokenizer.eos_token_id
        rows = [torch.tensor([*answer, end], device=self.model.device) for answer in answers]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=end)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        return lambda images: torch.stack([self._likelihoods(self._read(image, prompt), tokens, mask) for image in images])

    def _prompt(self) -> list[int]:
        """The chat up to the answer, with one token where the picture goes."""
        asked = [{"type": "image"}, {"type": "text", "text": self.settings.question}]
        chat = [{"role": "user", "content": asked}]
        text = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        prompt = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        places = prompt.count(self.model.config.image_token_id)
        if places != 1:
            raise DistokError(
                f"the chat with the labeler has {places} places for the picture, expected one; check its chat template"
            )
        return prompt

    def _read(self, image: "Image.Image", prompt: list[int]) -> Prefix:
        from transformers import DynamicCache

        picture = self.pixels([image])
        place = prompt.index(self.model.config.image_token_id)
        merged = self.model.config.vision_config.spatial_merge_size**2
        patches = int(picture["image_grid_thw"].prod()) // merged
        tokens = [*prompt[:place], *[prompt[place]] * patches, *prompt[place + 1 :]]
        ids = torch.tensor([tokens], device=self.model.device)
        positions = self._positions(ids, picture["image_grid_thw"])
        cache = DynamicCache()
        output = self._forward(cache, input_ids=ids, position_ids=positions, logits_to_keep=1, **picture)
        return Prefix(cache, int(positions.max()) + 1, output.logits)

    def _positions(self, ids: Int[Tensor, "1 s"], grid: Int[Tensor, "1 3"]) -> Int[Tensor, "3 1 s"]:
        index = self.model.model.get_rope_index
        # transformers 5 is told which tokens are the picture's, transformers 4 looks for them.
        kinds = {"mm_token_type_ids": (ids == self.model.config.image_token_id).int()}
        told = kinds if "mm_token_type_ids" in inspect.signature(index).parameters else {}
        return index(ids, image_grid_thw=grid, **told)[0]

    def _likelihoods(self, prefix: Prefix, tokens: Int[Tensor, "k t"], mask: Int[Tensor, "k t"]) -> Float[Tensor, " k"]:
        """Continue the prompt with each name, several at a time."""
        scores = []
        for some, kept in zip(tokens.split(ANSWERS), mask.split(ANSWERS), strict=True):
            count, length = len(some), some.shape[1] - 1
            cache = copy.deepcopy(prefix.cache)
            cache.batch_repeat_interleave(count)
            positions = prefix.position + torch.arange(length, device=some.device).expand(3, count, -1)
            # No attention mask: attention is causal, so padding behind an answer is never seen by it.
            rest = self._forward(cache, input_ids=some[:, :-1], position_ids=positions).logits
            logits = torch.cat([prefix.logits.expand(count, -1, -1), rest], 1)
            scores.append(token_likelihood(logits, some, kept, self.settings.likelihood))
        return torch.cat(scores)

    def _forward(self, cache: Any, **inputs: Any) -> Any:
        # transformers 5.24 renames the argument, and warns of the old name
        name = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"
        return self.model(**inputs, **{name: cache}, use_cache=True)
