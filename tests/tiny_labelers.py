"""Tiny labelers of every kind: the real classes with random weights, saved as a person's checkpoint folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests import tiny

SIDE = 16
QUESTION = "what animal is in the photo ?"
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tiny.WORDS, "what", "animal", "is", "?", ".", "##er", "[DEC]", "[ENC]")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_blip(folder: Path, task: str) -> Path:
    """A ``BlipForQuestionAnswering`` ("vqa") or ``BlipForImageTextRetrieval`` ("itm")."""
    from transformers import BertTokenizerFast, BlipConfig, BlipForImageTextRetrieval, BlipForQuestionAnswering, BlipProcessor
    from transformers.models.blip import BlipImageProcessor

    text = {
        **TOWER, "vocab_size": len(BERT), "encoder_hidden_size": 32, "max_position_embeddings": 32, "projection_dim": 16,
        "bos_token_id": BERT.index("[DEC]"), "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3, "initializer_range": 0.3,
    }  # fmt: skip
    vision = {**TOWER, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.3}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16, image_text_hidden_size=16)
    tokens = tiny.tokenizer_of_files(BertTokenizerFast, {"vocab.txt": "\n".join(BERT)}, model_max_length=32)
    model = _random(lambda: {"vqa": BlipForQuestionAnswering, "itm": BlipForImageTextRetrieval}[task](config), table=0.3)
    if task == "itm":
        model.itm_head.weight.data.mul_(3)
    model.save_pretrained(folder)
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    BlipProcessor(image_processor=images, tokenizer=tokens).save_pretrained(folder)
    tiny.one_file(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    """A ``SiglipModel``."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    vision = {**TOWER, "image_size": SIDE, "patch_size": 8}
    model = _random(lambda: SiglipModel(SiglipConfig(text_config=_siglip_text(), vision_config=vision)))
    _sharpen(model).save_pretrained(folder)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    _siglip_tokenizer().save_pretrained(folder)
    return folder


def save_siglip2(folder: Path) -> Path:
    """A ``Siglip2Model``, which takes pictures of any aspect ratio."""
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    vision = {**TOWER, "num_patches": 16, "patch_size": 8}
    model = _random(lambda: Siglip2Model(Siglip2Config(text_config=_siglip_text(), vision_config=vision)))
    _sharpen(model).save_pretrained(folder)
    Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    _siglip_tokenizer().save_pretrained(folder)
    return folder


def save_qwen(folder: Path) -> Path:
    """A ``Qwen2_5_VLForConditionalGeneration`` with a chat template."""
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
    )

    tokens = PreTrainedTokenizerFast(tokenizer_object=_byte_pairs(), eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokens.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    tokens.chat_template = CHAT
    text = {
        **TOWER, "vocab_size": len(tokens), "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2,
        "rope_scaling": {"rope_type": "default", "type": "mrope", "mrope_section": [2, 1, 1]}, "rope_theta": 10000.0,
        "use_cache": True,
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32, "patch_size": 4,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16, "fullatt_block_indexes": [1],
        "initializer_range": 0.2,
    }  # fmt: skip
    ids = {name: tokens.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end", "image_pad", "video_pad")}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=ids["image_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], video_token_id=ids["video_pad"],
    )  # fmt: skip
    _random(lambda: Qwen2_5_VLForConditionalGeneration(config), table=0.2).save_pretrained(folder)
    tokens.save_pretrained(folder)
    size = {"shortest_edge": 4 * 64, "longest_edge": 16 * 64}
    Qwen2VLImageProcessor(patch_size=4, merge_size=2, temporal_patch_size=2, size=size).save_pretrained(folder)
    return folder


SAVERS: dict[str, Callable[[Path], Path]] = {
    "clip": tiny.save_labeler,
    "blip-vqa": lambda folder: save_blip(folder, "vqa"),
    "blip-itm": lambda folder: save_blip(folder, "itm"),
    "siglip": save_siglip,
    "siglip2": save_siglip2,
    "qwen2_5_vl": save_qwen,
}


def write_settings(folder: Path, **settings: Any) -> Path:
    """Write ``labeler.json`` as a person would by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labeler.json").write_text(json.dumps(settings))
    return folder


def _random(make: Callable[[], torch.nn.Module], table: float = 0.02) -> Any:
    with torch.random.fork_rng(devices=[]):
        return tiny.drawn(make(), table=table).eval()


def _sharpen(model: Any) -> Any:
    """The scale and bias of a trained SigLIP."""
    model.logit_scale.data.fill_(4.7)
    model.logit_bias.data.fill_(-16.5)
    return model


def _siglip_text() -> dict[str, Any]:
    return {
        **TOWER, "vocab_size": 600, "max_position_embeddings": 40, "projection_size": 32,
        "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip


def _siglip_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokens = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], unk_token="<unk>"))
    tokens.normalizer = normalizers.Replace(" ", "▁")
    named = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "unk")}
    return PreTrainedTokenizerFast(tokenizer_object=tokens, model_max_length=40, model_input_names=["input_ids"], **named)


def _byte_pairs() -> Any:
    """Byte-level pieces in which the first names are one token, the others several."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {piece: i for i, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for name in (*tiny.NAMES[:4], "sn", "lio"):
        for end in range(1, len(name)):
            vocabulary.setdefault(name[: end + 1], len(vocabulary))
            merges.append((name[:end], name[end]))
    tokens = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    return tokens
