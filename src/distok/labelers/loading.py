"""The parts of a labeler's checkpoint folder: model, tokenizer, image processor. None of them needs torchvision."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from distok import pretrained
from distok.errors import DistokError

TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("spiece.model",), ("vocab.json", "merges.txt"))
IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
SCALES = ("logit_scale", "logit_bias")
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def precision(dtype: "str | torch.dtype | None", device: str) -> torch.dtype:
    """The type that the weights are loaded as: single precision unless a GPU is told otherwise.

    Raises:
        DistokError: no such precision, or half precision on the CPU.
    """
    name = str(dtype or "float32").removeprefix("torch.")
    if name not in PRECISIONS:
        raise DistokError(f"the labeler's dtype is {name!r}; choose one of {', '.join(PRECISIONS)}")
    if name != "float32" and device == "cpu":
        raise DistokError(f"the labeler's dtype is {name!r}, but on the CPU labelers read in float32; leave it out or use a GPU")
    return PRECISIONS[name]


def load_model(folder: Path, model_class: str, device: str, dtype: torch.dtype) -> Any:
    """A transformers model in evaluation mode, from safetensors only.

    Raises:
        DistokError: the weights are missing, pickled only or corrupt, or do not fill the model.
    """
    pretrained.check_weights(folder)
    with pretrained.loading(folder):
        import transformers

        model, info = getattr(transformers, model_class).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
        )
    missing = sorted(info["missing_keys"])
    if missing:  # transformers would leave these at random and only warn
        raise DistokError(
            f"{folder} lacks {len(missing)} weights of a {type(model).__name__}, {missing[0]} among them; "
            "give a checkpoint of that class"
        )
    if dtype != torch.float32:
        model.stored_scales = _stored_scales(folder)
    return model.eval().requires_grad_(False).to(device)


def exact(model: Any, name: str) -> float:
    """A learned ``logit_scale`` or ``logit_bias`` as it is stored.

    Cast to bfloat16 with the weights, CLIP's scale of ln 100 would make every logit a percent too small.
    """
    stored: dict[str, float] = getattr(model, "stored_scales", {})
    return stored[name] if name in stored else getattr(model, name).item()


def _stored_scales(folder: Path) -> dict[str, float]:
    from safetensors import SafetensorError, safe_open

    found = {}
    for path in folder.glob("*.safetensors"):
        # One that cannot be read is another variant's: what the model was loaded from could.
        with suppress(SafetensorError, OSError), safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name).item() for name in SCALES if name in file.keys()}  # noqa: SIM118
    return found


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer. Looked for first: without its files some classes load an empty vocabulary and say nothing.

    Raises:
        DistokError: its files are missing or corrupt.
    """
    if not any(all((folder / name).is_file() for name in files) for files in TOKENIZERS):
        raise DistokError(f"{folder} holds no tokenizer ({_either(TOKENIZERS)}); copy the checkpoint again")
    with pretrained.loading(folder):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def is_torchvision(processor: Any) -> bool:
    """Whether an image processor of transformers 4 or 5 is built on torchvision, and so can work on a GPU."""
    return any(each.__name__ in ("TorchvisionBackend", "BaseImageProcessorFast") for each in type(processor).__mro__)


def load_image_processor(folder: Path) -> Any:
    """The folder's image processor.

    Raises:
        DistokError: its file is missing or corrupt.
    """
    if not any((folder / name).is_file() for name in IMAGE_PROCESSORS):
        raise DistokError(f"{folder} holds no image processor ({' or '.join(IMAGE_PROCESSORS)}); copy the checkpoint again")
    with pretrained.loading(folder):
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(folder, local_files_only=True)


def hash_of(model: torch.nn.Module, settings: str) -> str:
    """A short hash of the settings and of every weight."""
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        # A text tower of transformers 4 names its weights with the prefix twice, one of transformers 5 once.
        digest.update(name.replace("text_model.text_model.", "text_model.").encode())
        digest.update(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _either(choices: tuple[tuple[str, ...], ...]) -> str:
    return " or ".join(" with ".join(files) for files in choices)
