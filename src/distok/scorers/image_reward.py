"""ImageReward: our port of its scoring on transformers' BLIP classes, for the published weights under their own key names.

The folder holds ``med_config.json``, one ``.safetensors`` (the published ``ImageReward.pt``, converted) and the BERT tokenizer.
Shapes: b pictures, t tokens, w text width.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distok import pretrained
from distok.errors import DistokError
from distok.files import read_tensors
from distok.labelers.loading import hash_of, load_tokenizer
from distok.scorers.base import Scale, Scorer, ScorerSettings

if TYPE_CHECKING:
    from PIL import Image

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072  # of the raw reward over the authors' data
TOKENS = 35  # a prompt is cut here
_MARK = "blip.visual_encoder.patch_embed.proj.weight"
_UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.itm_head.")  # in the published file, not in the score
_VISION = {
    r"patch_embed\.proj": "embeddings.patch_embedding",
    r"cls_token": "embeddings.class_embedding",
    r"pos_embed": "embeddings.position_embedding",
    r"norm": "post_layernorm",
    r"blocks\.(\d+)\.norm(\d)": r"encoder.layers.\1.layer_norm\2",
    r"blocks\.(\d+)\.attn\.qkv": r"encoder.layers.\1.self_attn.qkv",
    r"blocks\.(\d+)\.attn\.proj": r"encoder.layers.\1.self_attn.projection",
    r"blocks\.(\d+)\.mlp\.(fc\d)": r"encoder.layers.\1.mlp.\2",
}
_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "vocab_size",
    "layer_norm_eps", "hidden_act",
)  # fmt: skip


class ImageReward(Scorer):
    """ImageReward (Xu et al. 2023): BLIP reads the prompt with the picture in view, and five linear layers rate what it read.

    (MLP(h_[CLS]) − 0.167) / 1.033: about mean 0 and deviation 1 over the authors' data, unbounded.
    """

    name = "ImageReward"
    scale = Scale(-torch.inf, torch.inf)

    def __init__(self, model: "Reward", tokenizer: Any, images: Any, settings: ScorerSettings | None = None) -> None:
        self.model, self.tokenizer, self.images = model, tokenizer, images
        self.settings = settings or ScorerSettings()

    @classmethod
    def load(cls, folder: Path, settings: ScorerSettings) -> "ImageReward":
        """Load from a folder with weights, ``med_config.json`` and tokenizer.

        Raises:
            DistokError: a part is missing or corrupt, weights are pickled only, or not ImageReward's.
        """
        tensors = _weights(folder)
        med = pretrained.read_json(folder / "med_config.json")
        with pretrained.loading(folder):
            from transformers import CLIPImageProcessor

            model = Reward(tensors, med)
            side = model.vision.config.image_size
            images = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
        tokenizer = load_tokenizer(folder)
        if len(tokenizer) > model.text.config.vocab_size:
            raise DistokError(f"{folder}: the tokenizer has more words than the model; copy the tokenizer of bert-base-uncased")
        return cls(model.to(settings.device, settings.torch_dtype).eval(), tokenizer, images, settings)

    @cached_property
    def hash(self) -> str:
        """A short hash of the dtype and every weight."""
        return hash_of(self.model, f"{self.name}/{self.settings.dtype}")

    def _score(self, pictures: "Sequence[Image.Image]", prompts: Sequence[str]) -> Float[Tensor, " b"]:
        # Padded to the full length as published: the mask makes it equal to no padding.
        length = min(TOKENS, self.model.text.config.max_position_embeddings)
        text = self.tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        weight = self.model.mlp[0].weight
        pixels = self.images(images=list(pictures), return_tensors="pt")["pixel_values"].to(weight.device, weight.dtype)
        return self.model(pixels, text["input_ids"].to(weight.device), text["attention_mask"].to(weight.device))


class Reward(nn.Module):
    """The network, built to the sizes of published tensors: BLIP's image tower, BLIP's text tower with cross-attention, a head.

    Args:
        tensors: under the published names (``blip.visual_encoder…``, ``blip.text_encoder…``, ``mlp.layers…``).
        med: ``med_config.json``.

    Raises:
        DistokError: tensors that do not make the whole network.
    """

    def __init__(self, tensors: Mapping[str, Tensor], med: Mapping[str, Any]) -> None:
        from transformers import BlipTextConfig, BlipVisionConfig, BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        super().__init__()
        width, _, patch, _ = tensors[_MARK].shape
        cells = tensors["blip.visual_encoder.pos_embed"].shape[1] - 1
        blocks = {name.split(".")[3] for name in tensors if name.startswith("blip.visual_encoder.blocks.")}
        self.vision = BlipVisionModel(
            BlipVisionConfig(
                hidden_size=width, intermediate_size=4 * width, num_hidden_layers=len(blocks),
                num_attention_heads=max(1, width // 64), image_size=round(cells**0.5) * patch, patch_size=patch,
                hidden_act="gelu", layer_norm_eps=1e-6,
            )
        )  # fmt: skip
        # is_decoder makes the cross-attention; forward() without it attends both ways, as an encoder.
        sizes = {key: med[key] for key in _SIZES if key in med}
        self.text = BlipTextModel(BlipTextConfig(**sizes, encoder_hidden_size=width, is_decoder=True), add_pooling_layer=False)
        self.mlp = head({key[len("mlp.layers.") :]: value for key, value in tensors.items() if key.startswith("mlp.layers.")})
        self._fill(tensors)

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"vision": {}, "text": {}}
        for name, tensor in tensors.items():
            if name.startswith("blip.visual_encoder."):
                parts["vision"][_vision_name(name[len("blip.visual_encoder.") :])] = tensor
            elif name.startswith("blip.text_encoder.") and not name.endswith("position_ids"):
                parts["text"][name[len("blip.text_encoder.") :]] = tensor
            elif not name.startswith(("mlp.layers.", *_UNUSED)) and not name.endswith("position_ids"):
                raise DistokError(f"{name} is no weight of ImageReward; convert the published ImageReward.pt again")
        for module, part in ((self.vision, parts["vision"]), (self.text, parts["text"])):
            lost = module.load_state_dict(part, strict=False)
            if lost.missing_keys or lost.unexpected_keys:
                name = (lost.missing_keys or lost.unexpected_keys)[0]
                raise DistokError(f"the weights do not make a whole ImageReward ({name}); convert the published file again")

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], ids: Float[Tensor, "b t"], mask: Float[Tensor, "b t"]
    ) -> Float[Tensor, " b"]:
        """The normalised reward."""
        seen = self.vision(pixel_values=pixels).last_hidden_state
        whole = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
        read = self.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=seen, encoder_attention_mask=whole)
        return (self.mlp(read.last_hidden_state[:, 0]).float()[:, 0] - MEAN) / DEVIATION


def head(tensors: Mapping[str, Tensor]) -> nn.Sequential:
    """Linear layers from their tensors under the numbers of a published ``Sequential``, which counts what has no weights too.

    A head whose last two layers are neighbours has no activations; one with a place between them has a ReLU after every layer but
    the last. Dropout does nothing here and is left out.

    Raises:
        DistokError: layers that do not follow on one another, or no layer.
    """
    numbers = sorted({int(name.split(".")[0]) for name in tensors})
    rectified = len(numbers) > 1 and numbers[-1] - numbers[-2] == 2
    layers: list[nn.Module] = []
    for number in numbers:
        weight, bias = tensors.get(f"{number}.weight"), tensors.get(f"{number}.bias")
        previous = next((layer for layer in reversed(layers) if isinstance(layer, nn.Linear)), None)
        if weight is None or bias is None or (previous is not None and previous.out_features != weight.shape[1]):
            raise DistokError(f"layer {number} of the head does not fit; convert the published weights again")
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer, nn.ReLU()] if rectified and number != numbers[-1] else [layer]
    if not layers:
        raise DistokError("the head has no layers; convert the published weights again")
    return nn.Sequential(*layers)


def _vision_name(name: str) -> str:
    stem, kind = (name, "") if name in ("cls_token", "pos_embed") else name.rsplit(".", 1)
    for pattern, ours in _VISION.items():
        if re.fullmatch(pattern, stem):
            return re.sub(pattern, ours, stem) + (f".{kind}" if kind else "")
    return name


def _weights(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(path.suffix in (".pt", ".pth", ".bin") for path in folder.iterdir())
        found = "only pickled weights, which are never read" if pickled else "no weights"
        raise DistokError(f"{folder} holds {found}; convert ImageReward.pt to ImageReward.safetensors")
    tensors, _ = read_tensors(files[0])
    if _MARK not in tensors:
        raise DistokError(f"{files[0]} is not ImageReward (it has no {_MARK}); convert the published ImageReward.pt")
    return tensors
