"""open_clip weights, whose keys are named otherwise, as a transformers ``CLIPModel``: the layout of HPSv2 and HPSv2.1.

The folder holds one ``.safetensors`` with the published keys, a CLIP tokenizer and, unless it is a ViT-H-14,
``open_clip_config.json``, because the number of heads cannot be read off the weights. Shapes: d width.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from distok import pretrained
from distok.errors import DistokError
from distok.files import read_tensors

CONFIG = "open_clip_config.json"
_H14 = {"vision_cfg": {"head_width": 80}, "text_cfg": {"heads": 16}}
_MARK = "visual.conv1.weight"
# of one block: open_clip's name -> CLIPModel's; in_proj is cut in three apart
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TOP = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_TOWERS = {"visual.transformer.resblocks.": "vision_model.", "transformer.resblocks.": "text_model."}


def is_layout(folder: Path) -> bool:
    """Whether a folder's weights have open_clip's key names."""
    return _weights(folder) is not None


def load(folder: Path, tokenizer: Any) -> tuple[Any, Any]:
    """The model that ``tokenizer`` belongs to, and an image processor of CLIP's own mean and deviation.

    Raises:
        DistokError: weights that do not make a whole model.
    """
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    path = _weights(folder)
    if path is None:
        raise DistokError(f"{folder} holds no open_clip weights; give a .safetensors with the key {_MARK}")
    tensors, _ = read_tensors(path)
    stored = pretrained.read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {"model_cfg": _H14}
    model = CLIPModel(CLIPConfig(**config(tensors, stored.get("model_cfg", stored), tokenizer)))
    lost = model.load_state_dict(rename(tensors), strict=False)
    if lost.missing_keys or lost.unexpected_keys:
        name = (lost.missing_keys or lost.unexpected_keys)[0]
        raise DistokError(f"{path} does not make a whole CLIP model ({name}); convert the published weights again")
    tokenizer.model_max_length = model.config.text_config.max_position_embeddings
    side = model.config.vision_config.image_size
    return model, CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's tensors under ``CLIPModel``'s names: projections transposed, query, key and value apart.

    Keys that stand for no weight of ours keep their names, so that loading can tell.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "attn_mask":  # a constant that some files carry
            continue
        if name in ("visual.proj", "text_projection"):
            found["visual_projection.weight" if name == "visual.proj" else "text_projection.weight"] = tensor.T
        elif name in _TOP:
            found[_TOP[name]] = tensor
        else:
            found |= _block(name, tensor)
    return found


def config(tensors: Mapping[str, Tensor], stored: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    """``CLIPConfig`` fields from the shapes of the weights; numbers of heads from open_clip's own ``model_cfg``."""
    vision, text = stored.get("vision_cfg", {}), stored.get("text_cfg", {})
    width, _, patch, _ = tensors["visual.conv1.weight"].shape
    words, depth = tensors["token_embedding.weight"].shape
    act = "quick_gelu" if stored.get("quick_gelu") else "gelu"
    cells = len(tensors["visual.positional_embedding"]) - 1
    return {
        "projection_dim": tensors["visual.proj"].shape[1],
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": len(tensors["visual.transformer.resblocks.0.mlp.c_fc.bias"]),
            "num_hidden_layers": _layers(tensors, "visual.transformer.resblocks."),
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": round(cells**0.5) * patch,
            "patch_size": patch,
            "hidden_act": act,
            "projection_dim": tensors["visual.proj"].shape[1],
        },
        "text_config": {
            "vocab_size": words,
            "hidden_size": depth,
            "intermediate_size": len(tensors["transformer.resblocks.0.mlp.c_fc.bias"]),
            "num_hidden_layers": _layers(tensors, "transformer.resblocks."),
            "num_attention_heads": text.get("heads", max(1, depth // 64)),
            "max_position_embeddings": len(tensors["positional_embedding"]),
            "hidden_act": act,
            "projection_dim": tensors["visual.proj"].shape[1],
            **{f"{key}_token_id": getattr(tokenizer, f"{key}_token_id") for key in ("bos", "eos", "pad")},
        },
    }


def _weights(folder: Path) -> Path | None:
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                if _MARK in file.keys():  # noqa: SIM118
                    return path
        except (SafetensorError, OSError, ValueError) as error:
            raise DistokError(f"{path} is corrupt or truncated ({error}); copy the checkpoint again") from None
    return None


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name[len(prefix) :].split(".")[0]) for name in tensors if name.startswith(prefix))


def _block(name: str, tensor: Tensor) -> dict[str, Tensor]:
    for prefix, tower in _TOWERS.items():
        if not name.startswith(prefix):
            continue
        number, _, rest = name[len(prefix) :].partition(".")
        ours = f"{tower}encoder.layers.{number}."
        part, _, kind = rest.rpartition(".")
        if part in _BLOCK:
            return {f"{ours}{_BLOCK[part]}.{kind}": tensor}
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = rest.rpartition("_")[2]
            return {f"{ours}self_attn.{key}_proj.{kind}": each for key, each in zip("qkv", tensor.chunk(3), strict=True)}
    return {name: tensor}
