"""Tiny checkpoints of the scorers' real classes, with random weights, in the very layouts in which weights are published."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tests import tiny

PROMPTS = ("a photo of a cat", "a red dog in the snow", "the cute pig", "a snake")
BERT_WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "yes", "no", "does", "this", "figure", "show", '"', "?", "."),
    *("please", "answer", "or", *tiny.WORDS),
)  # fmt: skip


def pictures(count: int = 4, side: int = 24) -> list[Image.Image]:
    """Pictures of noise, the last one not square."""
    noise = np.random.default_rng(7).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    made = [Image.fromarray(each) for each in noise]
    return [*made[:-1], made[-1].crop((0, 0, side, side - 8))]


def seeded(build: object, seed: int = 0, spread: float = 6.0) -> torch.nn.Module:
    """A module built under a seed, its matrices enlarged so that inputs tell in the output."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build()
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(spread)
    return model.eval()


def save_clip(folder: Path, seed: int = 0) -> Path:
    """A ``CLIPModel`` folder with its processor, as CLIPScore, PickScore and the aesthetic predictor have it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokens = tiny.tokenizer()
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    config = CLIPConfig(text_config=tiny.text_config(tokens), vision_config=vision, projection_dim=16)
    seeded(lambda: CLIPModel(config), seed).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(image_processor=images, tokenizer=tokens).save_pretrained(folder)
    return folder


def open_clip_tensors(seed: int = 0, width: int = 32, depth: int = 24, layers: int = 2) -> dict[str, torch.Tensor]:
    """A state dict under open_clip's key names, as HPSv2's file has them."""
    make = torch.Generator().manual_seed(seed)
    words, out, context = len(tiny.tokenizer()), 16, 16
    shapes = {
        "positional_embedding": (context, depth), "text_projection": (depth, out), "logit_scale": (),
        "visual.class_embedding": (width,), "visual.positional_embedding": (5, width), "visual.proj": (width, out),
        "visual.conv1.weight": (width, 3, 8, 8), "visual.ln_pre.weight": (width,), "visual.ln_pre.bias": (width,),
        "visual.ln_post.weight": (width,), "visual.ln_post.bias": (width,), "token_embedding.weight": (words, depth),
        "ln_final.weight": (depth,), "ln_final.bias": (depth,),
    }  # fmt: skip
    for tower, d in (("visual.", width), ("", depth)):
        for i in range(layers):
            block = f"{tower}transformer.resblocks.{i}."
            shapes |= {f"{block}{norm}.{kind}": (d,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
            shapes |= {f"{block}attn.in_proj_weight": (3 * d, d), f"{block}attn.in_proj_bias": (3 * d,)}
            for part, (rows, columns) in {"attn.out_proj": (d, d), "mlp.c_fc": (4 * d, d), "mlp.c_proj": (d, 4 * d)}.items():
                shapes |= {f"{block}{part}.weight": (rows, columns), f"{block}{part}.bias": (rows,)}
    return {name: torch.randn(shape, generator=make) * 0.2 for name, shape in shapes.items()}


def save_open_clip(folder: Path, seed: int = 0) -> Path:
    """A folder of open_clip weights, tokenizer and ``open_clip_config.json``."""
    folder.mkdir(parents=True)
    save_file(open_clip_tensors(seed), folder / "HPS_v2.1_compressed.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"vision_cfg": {"head_width": 8}, "text_cfg": {"heads": 3}}))
    tiny.tokenizer().save_pretrained(folder)
    return folder


def bert() -> object:
    """A BERT tokenizer with one id for each of BERT_WORDS."""
    from transformers import BertTokenizerFast

    return tiny.tokenizer_of_files(
        BertTokenizerFast, {"vocab.txt": "\n".join(BERT_WORDS)}, bos_token="[DEC]", model_max_length=64
    )


def save_blip_vqa(folder: Path, seed: int = 0, cls: str = "BlipForQuestionAnswering") -> Path:
    """A ``BlipForQuestionAnswering`` folder with its processor."""
    import transformers

    tokens = bert()
    text = {
        "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 64, "encoder_hidden_size": 32, "bos_token_id": tokens.convert_tokens_to_ids("[DEC]"),
        "sep_token_id": tokens.sep_token_id, "pad_token_id": tokens.pad_token_id, "eos_token_id": tokens.sep_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
        "image_size": 16, "patch_size": 8, "initializer_range": 0.02,
    }  # fmt: skip
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16, image_text_hidden_size=16)
    seeded(lambda: getattr(transformers, cls)(config), seed).save_pretrained(folder)
    images = transformers.BlipImageProcessor(size={"height": 16, "width": 16})
    transformers.BlipProcessor(image_processor=images, tokenizer=tokens).save_pretrained(folder)
    return folder


TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _qwen_tokenizer(**options: object) -> object:
    """A byte-level tokenizer in which "Yes" is one id."""
    from transformers import Qwen2TokenizerFast

    vocabulary = {letter: i for i, letter in enumerate(tiny._byte_letters())} | {"Ye": 256, "Yes": 257}
    return tiny.byte_pair_tokenizer(Qwen2TokenizerFast, vocabulary, [("Y", "e"), ("Ye", "s")], **options)


def save_qwen(folder: Path, seed: int = 0) -> Path:
    """A ``Qwen2_5_VLForConditionalGeneration`` folder: tokenizer, image processor and chat template apart, as published."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessor

    tokens = _qwen_tokenizer()
    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokens.add_special_tokens({"additional_special_tokens": special})
    ids = {name: tokens.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end", "image_pad", "video_pad")}
    tokens.chat_template = TEMPLATE
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
            "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
            "rope_scaling": {"rope_type": "default", "type": "mrope", "mrope_section": [1, 1, 2]}, "rope_theta": 1e4,
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2,
            "out_hidden_size": 32, "window_size": 16, "fullatt_block_indexes": [1],
        },
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"], vision_end_token_id=ids["vision_end"],
    )  # fmt: skip
    seeded(lambda: Qwen2_5_VLForConditionalGeneration(config), seed, 2.0).save_pretrained(folder)
    tokens.save_pretrained(folder)
    size = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}
    Qwen2VLImageProcessor(size=size, patch_size=4, merge_size=2).save_pretrained(folder)
    return folder


def save_llava(folder: Path, seed: int = 0) -> Path:
    """A ``LlavaForConditionalGeneration`` folder with its processor: the plain case of a model that chats about a picture."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokens = _qwen_tokenizer()
    tokens.add_special_tokens({"additional_special_tokens": ["<image>"]})
    config = LlavaConfig(
        text_config={
            "model_type": "llama", "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 256,
        },
        vision_config={
            "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 16, "patch_size": 8, "projection_dim": 16,
        },
        image_token_index=tokens.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    seeded(lambda: LlavaForConditionalGeneration(config), seed, 2.0).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")
    LlavaProcessor(
        image_processor=images, tokenizer=tokens, patch_size=8, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_gemma(folder: Path, seed: int = 0) -> Path:
    """A ``Gemma3ForConditionalGeneration`` folder: its processor takes a flat list of pictures as those of one text."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor, Gemma3Processor

    special = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokens = _qwen_tokenizer(extra_special_tokens=special)
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "sliding_window": 512,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16,
            "patch_size": 4,
        },
        mm_tokens_per_image=4, boi_token_index=tokens.boi_token_id, eoi_token_index=tokens.eoi_token_id,
        image_token_index=tokens.image_token_id,
    )  # fmt: skip

    def build() -> torch.nn.Module:
        model = Gemma3ForConditionalGeneration(config)
        model.model.multi_modal_projector.mm_input_projection_weight.normal_()  # zeros at first: it would see no picture
        return model

    seeded(build, seed, 2.0).save_pretrained(folder)
    template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<start_of_image>")
    images = Gemma3ImageProcessor(size={"height": 16, "width": 16})
    Gemma3Processor(image_processor=images, tokenizer=tokens, image_seq_length=4, chat_template=template).save_pretrained(folder)
    return folder


def chat(question: str, model: str) -> str:
    """TEMPLATE filled in by hand with one picture and a question."""
    place = {"llava": "<image>", "gemma3": "<start_of_image>"}.get(model, "<|vision_start|><|image_pad|><|vision_end|>")
    return f"<|im_start|>user\n{place}{question}<|im_end|>\n<|im_start|>assistant\n"


def image_reward_tensors(seed: int = 0, width: int = 64, depth: int = 32) -> dict[str, torch.Tensor]:
    """A state dict under the key names of the published ``ImageReward.pt``, its unused projections included."""
    make = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, inner: int) -> None:
        shapes.update({f"{name}.weight": (out, inner), f"{name}.bias": (out,)})

    def norm(name: str, d: int) -> None:
        shapes.update({f"{name}.weight": (d,), f"{name}.bias": (d,)})

    eyes, reader = "blip.visual_encoder.", "blip.text_encoder."
    shapes |= {f"{eyes}cls_token": (1, 1, width), f"{eyes}pos_embed": (1, 5, width)}
    shapes |= {f"{eyes}patch_embed.proj.weight": (width, 3, 8, 8), f"{eyes}patch_embed.proj.bias": (width,)}
    for i in range(2):
        norm(f"{eyes}blocks.{i}.norm1", width)
        linear(f"{eyes}blocks.{i}.attn.qkv", 3 * width, width)
        linear(f"{eyes}blocks.{i}.attn.proj", width, width)
        norm(f"{eyes}blocks.{i}.norm2", width)
        linear(f"{eyes}blocks.{i}.mlp.fc1", 4 * width, width)
        linear(f"{eyes}blocks.{i}.mlp.fc2", width, 4 * width)
    norm(f"{eyes}norm", width)
    shapes |= {f"{reader}embeddings.word_embeddings.weight": (len(BERT_WORDS), depth)}
    shapes |= {f"{reader}embeddings.position_embeddings.weight": (40, depth)}
    norm(f"{reader}embeddings.LayerNorm", depth)
    for i in range(2):
        layer = f"{reader}encoder.layer.{i}."
        for kind, inner in (("attention", depth), ("crossattention", width)):
            linear(f"{layer}{kind}.self.query", depth, depth)
            linear(f"{layer}{kind}.self.key", depth, inner)
            linear(f"{layer}{kind}.self.value", depth, inner)
            linear(f"{layer}{kind}.output.dense", depth, depth)
            norm(f"{layer}{kind}.output.LayerNorm", depth)
        linear(f"{layer}intermediate.dense", 2 * depth, depth)
        linear(f"{layer}output.dense", depth, 2 * depth)
        norm(f"{layer}output.LayerNorm", depth)
    linear("blip.vision_proj", 8, width)
    linear("blip.text_proj", 8, depth)
    sizes = (depth, 24, 12, 8, 4, 1)
    for number, inner, out in zip((0, 2, 4, 6, 7), sizes, sizes[1:], strict=False):
        linear(f"mlp.layers.{number}", out, inner)
    tensors = {name: torch.randn(shape, generator=make) * 0.3 for name, shape in shapes.items()}
    return tensors | {f"{reader}embeddings.position_ids": torch.arange(40)[None]}


MED = {
    "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": 32, "intermediate_size": 64, "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40, "num_attention_heads": 4, "num_hidden_layers": 2, "pad_token_id": 0,
    "vocab_size": len(BERT_WORDS), "encoder_width": 768, "add_cross_attention": True,
}  # fmt: skip


def save_image_reward(folder: Path, seed: int = 0) -> Path:
    """A folder as ``ImageReward.pt`` makes it once converted: weights, ``med_config.json``, BERT tokenizer."""
    folder.mkdir(parents=True)
    save_file(image_reward_tensors(seed), folder / "ImageReward.safetensors")
    (folder / "med_config.json").write_text(json.dumps(MED))
    bert().save_pretrained(folder)
    return folder


def aesthetic_head(layout: str, width: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    """A head in one of the published layouts: "linear" (one layer), "mlp" (no activations) or "relu"."""
    make = torch.Generator().manual_seed(seed)
    if layout == "linear":
        return {"weight": torch.randn(1, width, generator=make), "bias": torch.randn(1, generator=make)}
    numbers, sizes = ((0, 2, 4, 6, 7) if layout == "mlp" else (0, 3, 6, 9, 11)), (width, 20, 12, 8, 4, 1)
    tensors = {}
    for number, inner, out in zip(numbers, sizes, sizes[1:], strict=False):
        tensors[f"layers.{number}.weight"] = torch.randn(out, inner, generator=make)
        tensors[f"layers.{number}.bias"] = torch.randn(out, generator=make)
    return tensors


def save_aesthetic(folder: Path, layout: str = "mlp") -> Path:
    """A CLIP folder with a head beside it."""
    save_clip(folder)
    save_file(aesthetic_head(layout), folder / "aesthetic.safetensors")
    return folder
