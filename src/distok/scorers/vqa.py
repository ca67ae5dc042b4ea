"""VQAScore: how probable a vision-language model finds the answer "Yes" when asked whether the picture shows the prompt.

Shapes: b pictures, l tokens of the question, p places of a picture, w width, a pieces of the answer, v vocabulary.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.labelers.loading import hash_of, load_image_processor, load_model, load_tokenizer
from distok.scorers.base import Scale, Scorer, ScorerSettings

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class VqaSettings:
    """What is asked, and which answer counts; the paper's defaults."""

    question: str = 'Does this figure show "{}"? Please answer yes or no.'
    answer: str = "Yes"

    def __post_init__(self) -> None:
        """Refuse a question without a place for the prompt, and an empty answer."""
        if "{}" not in self.question:
            raise DistokError(f"VQAScore's question is {self.question!r}; write {{}} where the prompt goes")
        if not self.answer.strip():
            raise DistokError("VQAScore's answer is empty; give a word such as 'Yes'")


class VqaScore(Scorer):
    """VQAScore (Lin et al. 2024, eq. 1): exp of the mean log-probability of the answer's pieces, in [0, 1].

    The end of the answer is not counted: P("Yes"), not P("Yes" and nothing after). Numbers of different models do not compare.
    """

    name = "VQAScore"
    scale = Scale(0, 1)

    def __init__(
        self, model: Any, processor: Any, settings: ScorerSettings | None = None, vqa: VqaSettings | None = None
    ) -> None:
        self.model, self.processor = model, processor
        self.settings, self.vqa = settings or ScorerSettings(), vqa or VqaSettings()
        self.pieces: list[int] = processor.tokenizer(self.vqa.answer, add_special_tokens=False)["input_ids"]
        if not self.pieces or set(self.pieces) <= {processor.tokenizer.unk_token_id}:
            raise DistokError(f"the model's tokenizer does not know the answer {self.vqa.answer!r}; choose another word")

    @classmethod
    def load(cls, folder: Path, settings: ScorerSettings, vqa: VqaSettings | None = None) -> "VqaScore":
        """Load BLIP for question answering, or any model that transformers lists as picture and text to text.

        Raises:
            DistokError: a part is missing or corrupt, weights are pickled only, or a model that cannot answer.
        """
        config = pretrained.read_json(folder / "config.json")
        kind = str(config.get("model_type"))
        if kind == "blip":
            named = (config.get("architectures") or ["none"])[0]
            if named != "BlipForQuestionAnswering":
                raise DistokError(f"{folder} is a {named}, which answers no question; give a BlipForQuestionAnswering")
            return cls(load_model(folder, named, settings.device, settings.torch_dtype), _processor(folder, kind), settings, vqa)
        with pretrained.loading(folder):
            from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as ABLE
        if kind not in ABLE:
            raise DistokError(f"{folder} is a model of type {kind!r}, which answers no question; give BLIP VQA, Qwen2.5-VL, …")
        model = load_model(folder, "AutoModelForImageTextToText", settings.device, settings.torch_dtype)
        return _ChatVqa(model, _processor(folder, kind), settings, vqa)

    @cached_property
    def hash(self) -> str:
        """A short hash of question, answer, dtype and every weight."""
        return hash_of(self.model, f"{self.vqa}/{self.settings.dtype}")

    def _questions(self, prompts: Sequence[str]) -> list[str]:
        return [self.vqa.question.replace("{}", prompt) for prompt in prompts]

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        """BLIP: the decoder reads the question that has seen the picture, and is asked for the answer, piece by piece.

        Questions of equal length go together and none is padded: the decoder of transformers 5.24 attends to padding in spite of
        its mask, and a score would depend on the batch.
        """
        asked = self.processor.tokenizer(self._questions(prompts), truncation=True)["input_ids"]
        pixels = self.processor.image_processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        seen = self.model.vision_model(pixel_values=pixels.to(self.model.device, self.model.dtype)).last_hidden_state
        scores = torch.empty(len(asked), device=seen.device)
        for length in {len(ids) for ids in asked}:
            rows = [i for i, ids in enumerate(asked) if len(ids) == length]
            scores[rows] = self._answer(torch.tensor([asked[i] for i in rows], device=seen.device), seen[rows])
        return scores

    def _answer(self, ids: Int[Tensor, "b l"], seen: Float[Tensor, "b p w"]) -> Float[Tensor, " b"]:
        question = self.model.text_encoder(input_ids=ids, encoder_hidden_states=seen).last_hidden_state
        start = [self.model.decoder_start_token_id, *self.pieces[:-1]]
        said = torch.tensor(start, device=ids.device).expand(len(ids), -1)
        return _likelihood(self.model.text_decoder(input_ids=said, encoder_hidden_states=question).logits, self.pieces)


class _ChatVqa(VqaScore):
    """Models that go on with a text in which the picture stands: the answer's pieces follow the question."""

    def __init__(
        self, model: Any, processor: Any, settings: ScorerSettings | None = None, vqa: VqaSettings | None = None
    ) -> None:
        super().__init__(model, processor, settings, vqa)
        if not (getattr(processor, "chat_template", None) or processor.tokenizer.chat_template):
            raise DistokError(
                "the model's folder has no chat template, so nobody knows how to ask it; if it is a model that chats about "
                "a picture (Qwen2.5-VL, LLaVA, Gemma 3, …), copy chat_template.jinja too; of others BLIP for question answering "
                "alone can be asked"
            )
        processor.tokenizer.padding_side = "left"  # so that every answer begins at the same place

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        texts = [self._chat(question) for question in self._questions(prompts)]
        # One list a text: some processors (Gemma 3, Llama 3.2, SmolVLM) take a flat one as the pictures of a single text.
        own = isinstance(self.processor, _QwenProcessor)
        images = list(pictures) if own else [[picture] for picture in pictures]
        inputs = self.processor(images=images, text=texts, padding=True, return_tensors="pt").to(self.model.device)
        said, text = self.pieces[:-1], [0] * (len(self.pieces) - 1)  # the kind of a token that is no picture's
        more_of = {"input_ids": said, "attention_mask": [1] * len(said), "mm_token_type_ids": text, "token_type_ids": text}
        for key, filler in more_of.items():
            if key in inputs and said:
                more = torch.tensor(filler, device=self.model.device).expand(len(texts), -1)
                inputs[key] = torch.cat([inputs[key], more.to(inputs[key].dtype)], 1)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        known = inspect.signature(self.model.forward).parameters
        keep = {"logits_to_keep": len(self.pieces)} if "logits_to_keep" in known else {}
        logits = self.model(**inputs, **keep).logits[:, -len(self.pieces) :]
        return _likelihood(logits, self.pieces)

    def _chat(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return text


def _likelihood(logits: Float[Tensor, "b a v"], pieces: Sequence[int]) -> Float[Tensor, " b"]:
    """exp(mean log p) of the pieces at their places."""
    wanted: Int[Tensor, "b a 1"] = torch.tensor(pieces, device=logits.device).expand(len(logits), -1)[..., None]
    return logits.float().log_softmax(-1).gather(-1, wanted)[..., 0].mean(1).exp()


def _processor(folder: Path, kind: str) -> Any:
    """The folder's processor; for Qwen, whose film part needs torchvision, a stand-in for single pictures."""
    tokenizer = load_tokenizer(folder)  # first: AutoProcessor may load an empty vocabulary and say nothing
    if not kind.startswith("qwen"):
        with pretrained.loading(folder):
            from transformers import AutoProcessor

            return AutoProcessor.from_pretrained(folder, local_files_only=True)
    apart = folder / "chat_template.json"  # where older checkpoints keep it
    if not tokenizer.chat_template and apart.is_file():
        tokenizer.chat_template = pretrained.read_json(apart).get("chat_template")
    return _QwenProcessor(tokenizer, load_image_processor(folder))


class _QwenProcessor:
    """One picture a text, in the words of Qwen2-VL and after: the picture's place is repeated once for each merged patch."""

    place = "<|image_pad|>"

    def __init__(self, tokenizer: Any, image_processor: Any) -> None:
        self.tokenizer, self.image_processor = tokenizer, image_processor
        self.apply_chat_template = tokenizer.apply_chat_template

    def __call__(self, images: list[Any], text: list[str], padding: bool, return_tensors: str) -> Any:
        seen = self.image_processor(images=images, return_tensors=return_tensors)
        counts = (seen["image_grid_thw"].prod(-1) // self.image_processor.merge_size**2).tolist()
        full = [each.replace(self.place, self.place * count) for each, count in zip(text, counts, strict=True)]
        inputs = self.tokenizer(full, padding=padding, return_tensors=return_tensors)
        pad = self.tokenizer.convert_tokens_to_ids(self.place)
        inputs.update({**seen, "mm_token_type_ids": (inputs["input_ids"] == pad).long()})
        return inputs
