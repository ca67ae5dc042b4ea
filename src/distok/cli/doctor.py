"""``distok doctor``: what is here, what is missing, and how to get it."""

import importlib
import importlib.metadata
import importlib.util
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from distok.cli import options

_NEEDED = ("torch", "diffusers", "transformers", "safetensors", "numpy", "pillow", "typer", "rich")
_EXTRAS = {
    "skia-python": "draws the Menagerie: pip install skia-python",
    "matplotlib": "plots of evaluate: pip install matplotlib",
    "peft": "the baseline DiffMorpher: pip install peft",
    "accelerate": "offloading, training by several processes: pip install accelerate",
}


def doctor(
    backend: Annotated[str | None, typer.Argument(help="A pipeline folder or hub id: show its parts instead.")] = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Show versions, devices and checkpoints, what is missing and how to get it; exit status 1 if something needed is."""
    from distok import __version__
    from distok.cli import output
    from distok.errors import DistokError

    if backend is None and device != "cpu":
        raise DistokError("--device says where a pipeline is to run; name its folder, or leave it out: all devices are shown")
    if backend is not None:
        _examine(backend, device, as_json)
        return

    with output.waiting("looking around"):
        packages = _packages()
        checkpoints = _checkpoints()
        devices = _devices()
        problems = _problems(packages, checkpoints)
    record = {
        "distok": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "devices": devices,
        "checkpoints": checkpoints,
        "problems": problems,
    }
    if as_json:
        output.print_json(record)
    else:
        _show(record)
    if problems:
        raise typer.Exit(1)


def _examine(backend: str, device: str, as_json: bool) -> None:
    """Show a pipeline's parts, what each weighs, and what is missing; exit status 1 if something is."""
    from rich.markup import escape
    from rich.table import Table

    from distok.cli import output

    with output.waiting("looking at the files"):
        found = _parts(backend, device)
    if as_json:
        output.print_json(found)
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, part in found["parts"].items():
            state = "[red]✗[/red] " + escape(part["problem"]) if part["problem"] else f"{part['bytes'] / 2**20:.1f} MiB"
            table.add_row(escape(name), escape(part["class"]), state)
        output.show(f"{output.bold(found['path'])}: {found['family']}", table)
        needs = ", ".join(f"{dtype} {size / 2**30:.2f} GiB" for dtype, size in found["needs"].items())
        output.show(f"needs about: {needs}; free on {device}: {found['free'] / 2**30:.2f} GiB")
        for problem in found["problems"]:
            output.show(f"[red]✗[/red] {escape(problem)}")
        if not found["problems"]:
            output.show("[green]✓[/green] complete")
    if found["problems"]:
        raise typer.Exit(1)


def _parts(backend: str, device: str) -> dict[str, Any]:
    import torch

    from distok import pretrained
    from distok.backends import FAMILIES, loading
    from distok.backends.families import DECODERS
    from distok.checkpoints import DTYPES, check_device
    from distok.errors import DistokError

    check_device(device)
    folder = pretrained.local_folder(backend, "model_index.json", "diffusers pipeline")
    family = str(pretrained.read_json(folder / "model_index.json").get("_class_name"))
    homes, problems = {"": folder}, []
    if family not in FAMILIES and family not in DECODERS:
        problems.append(f"{family} is not supported; see 'distok backends'")
    if family in DECODERS:
        from distok.backends.kandinsky2_2 import find_prior

        try:
            homes["prior_"] = find_prior(folder)
        except DistokError as error:
            problems.append(str(error))
    parts, whole = {}, []
    for prefix, home in homes.items():
        found = _found(home)
        parts |= {prefix + name: part for name, part in found.items()}
        whole += [(home, name) for name, part in found.items() if not part["problem"]]
    problems = [part["problem"] for part in parts.values() if part["problem"]] + problems
    needs = {}
    for dtype in DTYPES:
        sizes = [loading.weight_bytes(home, getattr(torch, dtype), only=name).get(name, 0) for home, name in whole]
        needs[dtype] = int(sum(sizes) * loading.HEADROOM)
    free = loading.free_bytes(device)
    return {"path": str(folder), "family": family, "parts": parts, "needs": needs, "free": free, "problems": problems}


def _found(folder: Path) -> dict[str, Any]:
    """Each part that the folder's ``model_index.json`` names: its class, the bytes of its weights, and what is wrong with it."""
    from distok import pretrained
    from distok.backends import loading
    from distok.errors import DistokError

    parts: dict[str, Any] = {}
    for name, kind in pretrained.read_json(folder / "model_index.json").items():
        if isinstance(kind, list) and any(kind):
            try:
                loading.check_part(folder, name)
                problem = None
            except DistokError as error:
                problem = str(error)
            weight = 0 if problem else loading.weight_bytes(folder, only=name).get(name, 0)
            parts[name] = {"class": str(kind[-1]), "bytes": weight, "problem": problem}
    return parts


def _packages() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in (*_NEEDED, *_EXTRAS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _devices() -> list[str]:
    try:
        import torch
    except (ImportError, OSError, RuntimeError):  # told under "packages"
        return []
    names = [f"cpu ({torch.get_num_threads()} threads)"]
    return names + [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]


def _checkpoints() -> dict[str, dict[str, Any]]:
    from distok.menagerie import home

    folder = Path(home())
    parts = {
        "pipeline": folder / "pipeline" / "model_index.json",
        "labeler": folder / "labeler" / "config.json",
        "model": folder / "distok.safetensors",
        "names": folder / "names.txt",
        "evaluator": folder / "evaluator.safetensors",
    }
    return {
        name: {"path": str(path.parent if path.suffix == ".json" else path), "present": path.is_file()}
        for name, path in parts.items()
    }


def _problems(packages: dict[str, str | None], checkpoints: dict[str, dict[str, Any]]) -> list[str]:
    problems = [f"{name} is not installed: pip install {name}" for name in _NEEDED if packages[name] is None]
    missing = [name for name, part in checkpoints.items() if not part["present"]]
    if missing:
        problems.append(f"the Menagerie lacks its {', '.join(missing)}: reinstall distok, or build it with 'distok world train'")
    if importlib.util.find_spec("torchvision"):
        try:
            importlib.import_module("torchvision")
        except Exception as error:  # whatever it raises, it stops every transformers model from loading
            reason = " ".join(str(error).split())[:120]
            problems.append(
                f"torchvision does not fit this torch ({reason}): pip uninstall torchvision (distok does not need it)"
            )
    return problems


def _show(record: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from distok.cli import output

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("distok", record["distok"])
    table.add_row("python", f"{record['python']} on {record['platform']}")
    for name, version in record["packages"].items():
        table.add_row(name, version or f"[yellow]not installed[/yellow] ({_EXTRAS.get(name, 'needed')})")
    table.add_row("devices", ", ".join(record["devices"]) or "[red]none: torch cannot be imported[/red]")
    for name, part in record["checkpoints"].items():
        table.add_row(
            f"menagerie {name}", escape(part["path"]) if part["present"] else f"[red]missing[/red] {escape(part['path'])}"
        )
    output.show(table, "")
    for problem in record["problems"]:
        output.show(f"[red]✗[/red] {escape(problem)}")
    if not record["problems"]:
        output.show('[green]✓[/green] all is well; try: distok create "pig=0.55, sheep=0.25, snake=0.2"')
