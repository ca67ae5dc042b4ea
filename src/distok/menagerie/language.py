"""The Menagerie's tokenizer and its contrastive text-image model, made of ordinary transformers classes."""

from pathlib import Path

from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig
from transformers.convert_slow_tokenizer import bytes_to_unicode

from distok.files import write_tensors, write_text
from distok.menagerie.captions import WORDS

CONTEXT = 24
LABEL_SIDE = 64


def make_tokenizer(words: tuple[str, ...] = WORDS) -> CLIPTokenizer:
    """A byte-pair tokenizer in which every given word is one id; any other word falls back to its bytes."""
    alphabet = list(bytes_to_unicode().values())
    tokens = [*alphabet, *(f"{char}</w>" for char in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        built = pieces[0]
        for piece in pieces[1:]:
            if (built, piece) not in merges:
                merges.append((built, piece))
            built += piece
            tokens.append(built)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT, pad_token="<|endoftext|>")


def make_clip(tokenizer: CLIPTokenizer, width: int = 192, layers: int = 4, side: int = LABEL_SIDE) -> CLIPModel:
    """A small CLIP: a causal text transformer and a vision transformer with patches of 8."""
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
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=3 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 48,
        image_size=side,
        patch_size=8,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=width))


def text_tower(clip: CLIPModel) -> CLIPTextModel:
    """The text transformer as the ``CLIPTextModel`` a Stable Diffusion pipeline wants, with the same weights."""
    tower = CLIPTextModel(clip.config.text_config)
    source = {key.removeprefix("text_model."): value for key, value in clip.state_dict().items() if key.startswith("text_model.")}
    prefix = "text_model." if any(key.startswith("text_model.") for key in tower.state_dict()) else ""
    tower.load_state_dict({prefix + key: value for key, value in source.items()}, strict=False)
    return tower.eval()


def save_projection(clip: CLIPModel, folder: Path) -> None:
    """Write the text projection beside the text encoder, so that E(q) is the projected embedding."""
    write_tensors(folder / "projection.safetensors", {"weight": clip.text_projection.weight})


def save_labeler(clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path, temperature: float) -> None:
    """Write the labeler's folder: model, tokenizer, image processor and its reading rule."""
    import json

    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    side = clip.config.vision_config.image_size
    folder.mkdir(parents=True, exist_ok=True)
    clip.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        resample=2,
    ).save_pretrained(folder)
    write_text(
        folder / "labeler.json", json.dumps({"kind": "clip", "template": "a photo of a {}", "temperature": temperature}, indent=1)
    )
