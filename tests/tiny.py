"""Tiny checkpoints of the real classes, with random weights: a Stable Diffusion pipeline and a CLIP labeler, built in code."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizerFast

from distok import seeds

NAMES = ("cat", "dog", "pig", "sheep", "snake", "lion")
WORDS = ("a", "photo", "of", "the", "cute", "pet", "red", "in", "snow", *NAMES)
WIDTH = 32


def tokenizer(length: int = 16) -> CLIPTokenizerFast:
    """A CLIP tokenizer with one id for each of WORDS; every other word falls back to its bytes."""
    letters = _byte_letters()
    vocabulary = {piece: i for i, piece in enumerate([*letters, *(letter + "</w>" for letter in letters)])}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        grown, *rest = [*word[:-1], word[-1] + "</w>"]
        for piece in rest:
            if (grown, piece) not in merges:
                merges.append((grown, piece))
            grown += piece
            vocabulary.setdefault(grown, len(vocabulary))
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return byte_pair_tokenizer(CLIPTokenizerFast, vocabulary, merges, model_max_length=length, pad_token="<|endoftext|>")


def byte_pair_tokenizer(cls: Any, vocabulary: dict[str, int], merges: list[tuple[str, str]], **options: Any) -> Any:
    """A tokenizer of a byte-pair class, from the two files that every release of transformers reads."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    return tokenizer_of_files(cls, {"vocab.json": json.dumps(vocabulary), "merges.txt": "\n".join(lines) + "\n"}, **options)


def tokenizer_of_files(cls: Any, files: dict[str, str], **options: Any) -> Any:
    """A tokenizer from the text of its files: constructors take other arguments in transformers 4 than in 5."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        return cls.from_pretrained(folder, **options)


def one_file(folder: Path) -> None:
    """Leave of a tokenizer only ``tokenizer.json``, as transformers 5 writes it; 4 writes its older files too."""
    for name in ("vocab.json", "merges.txt", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)


def text_config(tokens: CLIPTokenizerFast, width: int = WIDTH, layers: int = 2, length: int = 16, **changes: object) -> dict:
    """The settings of a text encoder that fits ``tokens``."""
    return {
        "vocab_size": len(tokens), "hidden_size": width, "intermediate_size": 2 * width, "projection_dim": width // 2,
        "num_hidden_layers": layers, "num_attention_heads": 4, "max_position_embeddings": length,
        "bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id,
        **changes,
    }  # fmt: skip


def drawn(module: torch.nn.Module, seed: int = 0, table: float = 0.02, as_torch: bool = False) -> Any:
    """The module with weights of our own, so that a tiny checkpoint is the same under every release of the libraries.

    Releases build and draw their layers in different orders; here each weight has a generator of its own, by its name.
    Matrices are normal with variance 1 / fan-in and biases 0, or both with the third of it that torch itself gives them;
    embeddings and lone vectors have the spread ``table``; what the library makes constant, such as a norm's ones, stays.
    """
    named = dict(module.named_parameters())
    tables = {id(each.weight) for each in module.modules() if isinstance(each, torch.nn.Embedding)}
    with torch.no_grad():
        for name, parameter in named.items():
            if (parameter == parameter.flatten()[0]).all():
                continue
            bias = name.endswith(".bias")
            if bias and not as_torch:
                parameter.zero_()
                continue
            matrix = named[name.removesuffix("bias") + "weight"] if bias else parameter
            scale = ((3 if as_torch else 1) * matrix[0].numel()) ** -0.5
            if (parameter.ndim < 2 and not bias) or id(parameter) in tables:
                scale = table
            bare = name.replace("text_model.", "")  # there once, twice or not at all, as the release will have it
            noise = torch.randn(parameter.shape, generator=seeds.generator(seed, bare), dtype=torch.float32)
            parameter.copy_(noise * scale)
    return module


def drawn_pipeline(pipe: Any, seed: int = 0) -> Any:
    """A diffusers pipeline whose networks are :func:`drawn`, its CLIP text encoders :func:`spread`."""
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            t5 = type(part).__name__ == "T5EncoderModel"
            # Larger weights than torch's own make a denoiser blow up the last bits.
            as_torch = type(part).__module__.startswith("diffusers.models")
            drawn(part, seeds.derive(seed, name), table=1.0 if t5 else 0.02, as_torch=as_torch)
            if type(part).__name__.startswith("CLIPText"):
                spread(part)
    return pipe


def pipeline(seed: int = 0, width: int = WIDTH, layers: int = 2, length: int = 16, **text: object) -> object:
    """A ``StableDiffusionPipeline`` that draws 16 x 16 pixels."""
    from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        tokens = tokenizer(length)
        parts = {
            "tokenizer": tokens,
            "text_encoder": CLIPTextModel(CLIPTextConfig(**text_config(tokens, width, layers, length, **text))),
            "unet": UNet2DConditionModel(
                sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=width, attention_head_dim=4,
            ),
            "vae": AutoencoderTiny(
                encoder_block_out_channels=(16, 16), decoder_block_out_channels=(16, 16),
                num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), latent_channels=4,
            ),
            "scheduler": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        }  # fmt: skip
        parts |= {"safety_checker": None, "feature_extractor": None}
        return drawn_pipeline(StableDiffusionPipeline(**parts, requires_safety_checker=False), seed)


def save_pipeline(folder: Path, projection: bool = True, **options: object) -> Path:
    """A pipeline folder as a user has it, with ``distok.json`` and, if asked, the encoder's projection."""
    pipe = pipeline(**options)
    pipe.save_pretrained(folder)
    one_file(folder / "tokenizer")
    (folder / "distok.json").write_text(json.dumps({"steps": 2, "guidance_scale": 3.0, "size": 16}))
    if projection:
        width = pipe.text_encoder.config.hidden_size
        weight = torch.randn(width // 2, width, generator=torch.Generator().manual_seed(1))
        save_file({"weight": weight}, folder / "text_encoder" / "projection.safetensors")
    return folder


def save_labeler(folder: Path, seed: int = 0, temperature: float = 0.05) -> Path:
    """A labeler folder as a user has it: CLIPModel, its processor, ``labeler.json``."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    with torch.random.fork_rng(devices=[]):
        tokens = tokenizer()
        vision = {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
            "image_size": 16, "patch_size": 8,
        }  # fmt: skip
        config = CLIPConfig(text_config=text_config(tokens), vision_config=vision, projection_dim=16)
        model = drawn(CLIPModel(config), seed)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    model.save_pretrained(folder)
    CLIPProcessor(image_processor=images, tokenizer=tokens).save_pretrained(folder)
    one_file(folder)
    (folder / "labeler.json").write_text(json.dumps({"kind": "clip", "template": "a photo of a {}", "temperature": temperature}))
    return folder


def evaluator() -> torch.nn.Module:
    """An evaluator with random weights that looks at 16 x 16 pixels."""
    from distok.menagerie.evaluator import Evaluator, EvaluatorSettings

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Evaluator(EvaluatorSettings(side=16, fold=1, widths=(8, 8), pyramid=8, looks=1, features=16)).eval()


def run_settings(**changes: object) -> object:
    """The settings of a training of seconds with every part in it."""
    from distok.training import preset

    short = {
        "steps": 12, "sub_steps": 8, "latent_dim": 8, "hidden_dim": 32, "warmup": 3, "tau": 0.999, "pool_size": 12,
        "estimate_every": 5, "estimate_count": 4, "estimate_steps": 1, "save_every": 4, "bank_count": 4,
        "estimate_from": "both", "delta": 0.0, "foresight_after": 0, "foresight_memory": 12,
    }  # fmt: skip
    return preset("menagerie", **{**short, **changes})


def spread(encoder: torch.nn.Module) -> torch.nn.Module:
    """Larger weights than the initial ones, so that the text feature tells prompts apart as a trained encoder does."""
    with torch.no_grad():
        encoder.get_input_embeddings().weight.mul_(5)
        for name, parameter in encoder.named_parameters():
            if "layers" in name and parameter.ndim == 2:
                parameter.mul_(4)
    return encoder


def _byte_letters() -> list[str]:
    """CLIP's printable stand-ins for the 256 bytes, in the order of its vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(rest))]
