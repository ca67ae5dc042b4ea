"""From a checkpoint's folder to a pipeline: check its parts, see whether it fits, load it without a network."""

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from distok import pretrained
from distok.backends.base import RenderDefaults
from distok.backends.offload import stays
from distok.errors import DistokError

OFFLOAD = ("auto", "fast", "balanced", "low")
HEADROOM = 1.2  # of the weights: what a forward pass of a few pictures takes beside them
NO_WEIGHTS = ("scheduler", "feature_extractor", "image_processor")


def check_parts(folder: Path) -> dict[str, str]:
    """The parts that ``model_index.json`` names, each with its class.

    Raises:
        DistokError: a part is missing or corrupt; the message names it.
    """
    parts = {}
    for name, kind in pretrained.read_json(folder / "model_index.json").items():
        if not isinstance(kind, list) or not any(kind):
            continue
        check_part(folder, name)
        if (folder / name / f"{kind[0]}.py").exists():  # older releases of diffusers would run it, unasked
            raise DistokError(
                f"{folder / name} brings a program of its own, {kind[0]}.py, which is never run; use a checkpoint without"
            )
        parts[name] = str(kind[-1])
    return parts


def check_part(folder: Path, name: str) -> None:
    """Check one part of a checkpoint.

    Raises:
        DistokError: it is missing or corrupt; the message names it.
    """
    if not (folder / name).is_dir():
        raise DistokError(f"{folder / name} is missing; copy the whole checkpoint again")
    if "tokenizer" in name:
        pretrained.check_tokenizer(folder / name)
    elif not name.endswith(NO_WEIGHTS):
        pretrained.check_weights(folder / name)


def weight_bytes(folder: Path, dtype: torch.dtype | None = None, only: str | None = None) -> dict[str, int]:
    """Bytes that each part's weights take in memory, from the headers of its files; nothing is loaded.

    Args:
        dtype: the type the weights are loaded as; as stored if None.
        only: one part; all if None.
    """
    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for part in sorted(path for path in _named(folder) if path.is_dir() and only in (None, path.name)):
        for file in _chosen(sorted(part.glob("*model*.safetensors"))):
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    piece = tensors.get_slice(name)
                    width = _WIDTHS.get(piece.get_dtype(), 4) if dtype is None else dtype.itemsize
                    count = 1
                    for side in piece.get_shape():
                        count *= side
                    sizes[part.name] = sizes.get(part.name, 0) + width * count
    return sizes


_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1}


def free_bytes(device: str) -> int:
    """Memory that is free for weights on a device, in bytes."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 62  # a system that does not say: try


def choose_offload(
    folder: Path, sizes: Mapping[str, int], device: str, dtype: torch.dtype | None, offload: str = "auto", free: int | None = None
) -> str:
    """Which of "fast" (all weights on the device), "balanced" (a part at a time) and "low" (a layer at a time) to load with.

    The text encoders are on the device in every mode; see :mod:`distok.backends.offload`.

    Args:
        folder: of the checkpoint, for messages.
        sizes: bytes of each part's weights as ``dtype``.
        offload: one of these, or "auto": the first that the memory estimate allows.
        free: bytes free on the device; measured if None.

    Raises:
        DistokError: an unknown mode, an offload without a GPU, or too little memory by the estimate.
    """
    if offload not in OFFLOAD:
        raise DistokError(f"offload is {offload!r}; choose one of {', '.join(OFFLOAD)}")
    gpu = torch.device(device).type != "cpu"
    if offload in ("balanced", "low") and not gpu:
        raise DistokError(f"offload {offload!r} moves weights between a GPU and memory, and the device is {device}; leave it out")
    free = free_bytes(device) if free is None else free
    needed = dict.fromkeys(("fast", "balanced", "low"), 0)
    for mode in needed:
        needed[mode] = sum(size for name, size in sizes.items() if stays(name, mode))
    needed["balanced"] += max((size for name, size in sizes.items() if not stays(name, "balanced")), default=0)
    for mode in ("fast", "balanced", "low") if gpu else ("fast",):
        if offload in ("auto", mode) and needed[mode] * HEADROOM <= free:
            if mode != "fast" and find_spec("accelerate") is None:
                raise DistokError(
                    f"offload {mode!r} moves weights with accelerate, which is not installed; pip install accelerate"
                )
            return mode
    mode = "fast" if offload == "auto" else offload
    remedy = (
        "give --dtype bfloat16" if dtype in (None, torch.float32) else "close other programs or use a machine with more memory"
    )
    if gpu:
        remedy += ", or --offload auto"
    wanted, there = needed[mode] * HEADROOM / 2**30, free / 2**30
    raise DistokError(f"{folder} takes about {wanted:.1f} GiB on {device}, and {there:.1f} GiB are free; {remedy}")


def read_defaults(folder: Path, own: RenderDefaults) -> RenderDefaults:
    """How the checkpoint wants to be rendered: ``distok.json`` in its folder over the family's own.

    Raises:
        DistokError: a value is out of range.
    """
    path = folder / "distok.json"
    stored = pretrained.read_json(path) if path.is_file() else {}
    known = {field.name for field in fields(RenderDefaults)}
    try:
        return replace(own, **{key: value for key, value in stored.items() if key in known})
    except DistokError as error:
        raise DistokError(f"{path}: {error}") from None


def load_pipeline(folder: Path, cls: str, dtype: torch.dtype | None) -> Any:
    """Load a pipeline of a diffusers class from its folder into main memory.

    Raises:
        DistokError: it cannot be loaded.
    """
    with pretrained.loading(folder):
        import diffusers
        from diffusers.utils import is_accelerate_available
        from packaging.version import Version

        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        if dtype is not None:
            options["dtype" if Version(diffusers.__version__) >= Version("0.42") else "torch_dtype"] = dtype
        # A part that the checkpoint leaves out, such as T5 of Stable Diffusion 3, has to be said to be none.
        index = pretrained.read_json(folder / "model_index.json")
        options |= {name: None for name, kind in index.items() if isinstance(kind, list) and not any(kind)}
        if _only_variants(folder):
            options["variant"] = "fp16"
        pipe = getattr(diffusers, cls).from_pretrained(folder, low_cpu_mem_usage=is_accelerate_available(), **options)
        _check_names(folder, pipe)
    return pipe


def _check_names(folder: Path, pipe: Any) -> None:
    """Refuse a CLIP text encoder saved by transformers 5 under transformers 4, which finds no weight of its own and only warns.

    Raises:
        DistokError: no name in the encoder's file is one of the loaded encoder's.
    """
    import transformers
    from safetensors import safe_open

    if not transformers.__version__.startswith("4."):
        return
    for name, part in pipe.components.items():
        if "text_encoder" not in name or part is None:
            continue
        stored: set[str] = set()
        for file in (folder / name).glob("*model*.safetensors"):
            with safe_open(file, framework="pt") as tensors:
                stored |= set(tensors.keys())
        if not stored & part.state_dict().keys():
            raise DistokError(
                f"{folder / name} was saved by transformers 5, and the installed {transformers.__version__} would leave it "
                "random; upgrade: pip install 'transformers>=5'"
            )


def check_vocabulary(folder: Path, tokenizer: Any, encoder: Any) -> None:
    """Refuse a tokenizer that has lost its words, which some classes load without a word.

    Raises:
        DistokError: it names more ids than the encoder embeds, or hardly any.
    """
    if tokenizer is None or encoder is None:
        raise DistokError(f"{folder} was saved without one of its text encoders or tokenizers; copy the whole checkpoint again")
    rows = encoder.get_input_embeddings().num_embeddings
    if not 2 < len(tokenizer) <= rows:
        raise DistokError(f"{folder}: a tokenizer of {len(tokenizer)} ids does not fit an embedding of {rows}; copy it again")


def _chosen(files: list[Path]) -> list[Path]:
    """Of several precisions of the same weights, those that are loaded."""
    plain = [file for file in files if not _HALF.search(file.name) and ".non_ema." not in file.name]
    return plain or files


_HALF = re.compile(r"\.fp16[.-]")  # model.fp16.safetensors, or a shard: model.fp16-00001-of-00002.safetensors


def _named(folder: Path) -> list[Path]:
    """The parts of a pipeline: repositories hold other folders too, such as a second decoder."""
    index = folder / "model_index.json"
    parts = pretrained.read_json(index) if index.is_file() else {}
    return [path for path in folder.iterdir() if not parts or isinstance(parts.get(path.name), list)]


def _only_variants(folder: Path) -> bool:
    """Whether a part has half precision alone. The library then takes that for each part that has it."""
    parts = [list(part.glob("*model*.safetensors")) for part in _named(folder) if part.is_dir()]
    return any(files and all(_HALF.search(file.name) for file in files) for files in parts)
