"""``distok explore``: concepts from random latents."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distok.cli import options


def explore(
    n: Annotated[int, typer.Option("-n", help="How many concepts; one picture each.")] = 36,
    prior: Annotated[str, typer.Option("--prior", help="The law of the latents: normal, laplace or cauchy.")] = "normal",
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other creatures.")] = 0,
    prompt: options.Prompt = None,
    out: options.OutFolder = None,
    steps: options.Steps = None,
    guidance_scale: options.GuidanceScale = None,
    size: options.Size = None,
    negative_prompt: options.NegativePrompt = None,
    backend: options.Backend = None,
    model: options.Model = None,
    labeler: options.Labeler = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    offload: options.Offload = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Ask for a surprise: creatures from random latents, each saved as a concept, and what each one measures as."""
    from distok.asking import PROMPT, check_count, check_prompt
    from distok.cli import output
    from distok.distribution import sample_prior
    from distok.gallery import claimed, save_exploration, suffix

    prompt = PROMPT if prompt is None else prompt
    check_prompt(prompt)
    check_count(n)
    sample_prior(prior, 1, 1, seed)  # refuses an unknown prior before anything is loaded
    settings: dict[str, Any] = {
        "steps": steps,
        "guidance_scale": guidance_scale,
        "size": size,
        "negative_prompt": negative_prompt,
    }
    with output.waiting("opening the models"):
        from distok import api

        creator = api.open(backend, model, labeler, device, dtype=dtype, offload=offload)
    given = {key: value for key, value in settings.items() if value is not None}
    made = {
        "n": n,
        "prior": prior,
        "seed": seed,
        "prompt": prompt,
        "model": creator.model_hash,
        "backend": creator.backend.fingerprint,
        "labeler": creator.labeler and creator.labeler.hash,
        **given,
    }
    concepts = creator.explore(n, prior, seed)
    place = out or Path("explorations") / f"{prior}-{seed}-{suffix(made)}"
    with claimed(place, made, force) as folder, output.progress("drawing") as callback:
        record = save_exploration(creator, concepts, folder, prompt, seed, callback, **settings)
    record = {"prior": prior, **record}
    if as_json:
        output.print_json(record)
    else:
        _show(record, folder, output.opened(backend, model, labeler, device, dtype, offload))


def _show(record: dict[str, Any], folder: Path, opened: list[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    from distok.cli import output
    from distok.distribution import Distribution

    if record["measured"][0]:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("concept", "measured as"):
            table.add_column(column)
        for path, measured in list(zip(record["concepts"], record["measured"], strict=True))[:12]:
            top = [pair for pair in Distribution.from_mapping(measured).top(3) if pair[1] >= 0.05]
            table.add_row(Path(path).stem, Text(", ".join(f"{name} {weight:.0%}" for name, weight in top)))
        output.show("", table, *(["…"] if record["n"] > 12 else []), "")
    keep = output.command("create", "--concept", record["concepts"][0], "--prompt", "a watercolor of a {}", *opened)
    output.show(
        f"{record['n']} creatures on sheet.png, a picture and a concept file of each, concepts.jsonl, in {output.bold(folder)}",
        f"[dim]keep one: {keep}[/dim]",
    )
