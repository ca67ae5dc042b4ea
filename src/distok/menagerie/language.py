"""The Menagerie's tokenizer and its contrastive text-image model, made of ordinary transformers classes."""

import copy
import json
import tempfile
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTextConfig, CLIPTokenizer, ResNetConfig, VisionTextDualEncoderConfig, VisionTextDualEncoderModel
from transformers.convert_slow_tokenizer import bytes_to_unicode

from distok.files import read_tensors, write_tensors, write_text
from distok.labelers.clip import flat_features
from distok.menagerie.captions import WORDS

CONTEXT = 24
LABEL_SIDE = 128


def make_tokenizer(words: tuple[str, ...] = WORDS) -> CLIPTokenizer:
    """A byte-pair tokenizer in which every given word is one id; any other word falls back to its bytes.

    Merges apply in their order, so those of an earlier word can break a later one up ("at" makes "c at" of "cat"); each word
    is therefore spelled with the merges so far, and only what is left of it is joined, which disturbs no earlier word.
    """
    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(f"{char}</w>" for char in alphabet)]
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = _spell(word, ranks)
        while len(pieces) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            tokens.append(pieces[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    with tempfile.TemporaryDirectory() as folder:  # by files: the constructor takes other arguments in transformers 4 than in 5
        write_text(Path(folder) / "vocab.json", json.dumps(vocab))
        write_text(Path(folder) / "merges.txt", "\n".join(["#version: 0.2", *map(" ".join, ranks), ""]))
        return CLIPTokenizer.from_pretrained(folder, model_max_length=CONTEXT, pad_token="<|endoftext|>")


def _spell(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The pieces byte-pair encoding leaves of a word: the earliest merge first, wherever it applies."""
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    while known := [pair for pair in pairwise(pieces) if pair in ranks]:
        first = min(known, key=ranks.__getitem__)
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == first:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def make_clip(tokenizer: CLIPTokenizer, width: int = 192, layers: int = 2, side: int = LABEL_SIDE) -> VisionTextDualEncoderModel:
    """A small dual encoder: a causal text transformer of two layers and a ResNet as image tower.

    In a race over the same 105 batches of 64 (docs/log.md) the ResNet was down to a cross-entropy of 2.3 where a MobileNet stood
    at 3.0 and a LeViT at 3.8; a ViT is slower still.
    """
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 48,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = ResNetConfig(
        embedding_size=width // 6,
        hidden_sizes=[width // 5, width // 5 * 2, width // 5 * 4, width // 3 * 4],
        depths=[1, 2, 2, 2],
        layer_type="basic",
        image_size=side,
        hidden_size=width // 3 * 4,  # what the dual encoder asks every image tower for
    )
    model = VisionTextDualEncoderModel(VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=width))
    return flat_features(model)


def name_as_published(weights: Path, tower: str = "") -> None:
    """Name a saved CLIP text encoder's weights as published checkpoints do, with ``text_model.`` before each.

    transformers 5 reads this too, but leaves the prefix out on saving; transformers 4 and other tools then find no weight
    of theirs and go on with random ones.

    Args:
        weights: the safetensors file, written anew.
        tower: what stands before the encoder's own names: nothing, or "text_model." in a dual encoder.
    """
    tensors, metadata = read_tensors(weights)
    inner = f"{tower}text_model."
    bare = [name for name in tensors if name.startswith(tower) and not name.startswith(inner)]
    named = {name: inner + name.removeprefix(tower) if name in bare else name for name in tensors}
    write_tensors(weights, {named[name]: tensor for name, tensor in tensors.items()}, metadata)


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a tokenizer with ``vocab.json`` and ``merges.txt`` too, the only form that transformers 4 and older tools read."""
    tokenizer.save_pretrained(folder)
    if hasattr(tokenizer, "backend_tokenizer"):
        tokenizer.backend_tokenizer.model.save(str(folder))


def save_projection(clip: VisionTextDualEncoderModel, folder: Path) -> None:
    """Write the text projection beside the text encoder, so that E(q) is the projected embedding."""
    write_tensors(folder / "projection.safetensors", {"weight": clip.text_projection.weight})


def save_labeler(clip: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, folder: Path, temperature: float) -> None:
    """Write the labeler's folder: model, tokenizer, image processor and its reading rule."""
    from transformers import CLIPImageProcessor

    side = clip.config.vision_config.image_size
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(clip).half().save_pretrained(folder)
    name_as_published(folder / "model.safetensors", "text_model.")
    save_tokenizer(tokenizer, folder)
    CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=2,
    ).save_pretrained(folder)
    rule = {"kind": "clip", "template": "a photo of a {}", "temperature": temperature, "reading": "places"}
    write_text(folder / "labeler.json", json.dumps(rule, indent=1))
