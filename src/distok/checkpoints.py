"""Where a creator's parts lie, and which classes a model knows; loads no weights."""

from pathlib import Path
from typing import Any

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.files import from_json

DTYPES = ("float32", "bfloat16", "float16")


def locate(
    backend: str | Path | None = None, model: str | Path | None = None, labeler: str | Path | None = None
) -> tuple[str | Path, Path, str | Path | None]:
    """Return where pipeline, model file and labeler lie; those not given are the Menagerie's. Loads nothing.

    Raises:
        DistokError: a backend without a model, or a part of the Menagerie is not there.
    """
    if backend is None:
        backend, model, labeler = shipped("pipeline"), model or shipped("distok.safetensors"), labeler or shipped("labeler")
    elif model is None:
        raise DistokError(
            f"a backend needs the DisTok model trained for it; give --model, or run 'distok train --backend {backend}'"
        )
    return backend, model_file(model), labeler


def shipped(part: str) -> Path:
    """Return the path of a part of the Menagerie: pipeline, labeler, distok.safetensors or names.txt.

    Raises:
        DistokError: it is not there.
    """
    from distok.menagerie import home

    path = Path(home()) / part
    if not path.exists():
        raise DistokError(f"the Menagerie's {part} is not at {path}; reinstall distok, or build it with 'distok world train'")
    return path


def known_names(model: str | Path) -> tuple[str, ...]:
    """Return the classes that a model was trained on: from its own file, or from ``names.txt`` beside it.

    Raises:
        DistokError: neither says.
    """
    from safetensors import SafetensorError, safe_open

    path = model_file(model)
    if not path.is_file():
        raise DistokError(f"{path} does not exist or is not a file; give the distok.safetensors of a training run")
    try:
        with safe_open(path, framework="numpy") as file:
            record = from_json((file.metadata() or {}).get("distok", "{}"))
            stored = record.get("provenance", {}).get("names")
            names = None if stored is None else tuple(map(str, from_json(stored)))
    except (SafetensorError, OSError, ValueError, AttributeError, TypeError) as error:
        raise DistokError(f"{path} is corrupt or not a DisTok model ({error}); copy it again or train it anew") from None
    beside = path.with_name("names.txt")
    if record.get("kind") != "distok":
        raise DistokError(f"{path} is not a DisTok model; give a distok.safetensors file written by `distok train`")
    if names is not None:
        return names
    if beside.is_file():
        return read_names(beside)
    raise DistokError(f"{path} does not say which classes it knows; put them, one a line, into {beside}")


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read class names, one a line; empty lines and lines that start with # are left out.

    Raises:
        DistokError: the file cannot be read, names nothing, or names something twice.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise DistokError(f"{path} cannot be read ({reason}); give a text file with one class name a line") from None
    names = tuple(line for line in lines if line and not line.startswith("#"))
    if not names:
        raise DistokError(f"{path} names no class; write one a line")
    known: set[str] = set()
    for name in names:
        if name.casefold() in known:
            raise DistokError(f"{path} has class '{name}' twice; remove one of the lines")
        known.add(name.casefold())
    try:
        return Distribution(names, (1.0,) * len(names)).names
    except DistokError as error:
        raise DistokError(f"{path}: {error}") from None


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have, before a library does in its own words."""
    import torch

    try:
        torch.device(device)
    except RuntimeError:
        raise DistokError(f"unknown device '{device}'; choose cpu or cuda") from None
    try:
        torch.ones(1, device=device).item()  # "meta" has tensors, but no numbers in them
    except (AssertionError, RuntimeError, NotImplementedError):  # a library's own words, another for each kind of device
        raise DistokError(
            f"device '{device}' is not here ({torch.cuda.device_count()} CUDA devices); choose cpu, or see 'distok doctor'"
        ) from None


def native_bf16(device: Any) -> bool:
    """Whether a device multiplies matrices in bfloat16 itself: a GPU, or a CPU with AVX-512 BF16 or AMX.

    Any other CPU emulates it, many times slower than single precision (docs/log.md).

    Args:
        device: a torch.device or its name.
    """
    import torch

    if torch.device(device).type != "cpu":
        return True
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)  # older releases of torch cannot say


def as_dtype(name: str) -> Any:
    """The torch type of a name; None for "auto", which leaves it to what is opened: float32.

    Raises:
        DistokError: another name.
    """
    if name == "auto":
        return None
    if name not in DTYPES:
        raise DistokError(f"unknown dtype '{name}'; choose auto, {', '.join(DTYPES)}")
    import torch

    return getattr(torch, name)


def model_file(path: str | Path) -> Path:
    """The file of a model, which may be given by the folder of its run."""
    path = Path(path)
    return path / "distok.safetensors" if path.is_dir() else path
