"""``distok explore``: concepts from random latents or random mixes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from distok.cli import options


def explore(
    n: Annotated[int, typer.Option("-n", help="How many concepts; one picture each.")] = 36,
    prior: Annotated[
        str, typer.Option("--prior", help="Random latents, by their law: normal, laplace or cauchy. Or mixture: random mixes.")
    ] = "normal",
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
    """Ask for a surprise: creatures from random latents or mixes, each saved as a concept, and what each one measures as."""
    from distok.asking import PROMPT, check_count, check_drawing
    from distok.cli import output
    from distok.distribution import check_surprise
    from distok.gallery import claimed, exploration_names, save_exploration, suffix

    prompt = PROMPT if prompt is None else prompt
    settings = {"steps": steps, "guidance_scale": guidance_scale, "size": size, "negative_prompt": negative_prompt}
    check_count(n)
    check_surprise(prior)  # before anything is loaded
    check_drawing(prompt, settings)
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
    names = [name for concept in concepts for name in exploration_names(concept)]
    with claimed(place, made, names, force) as folder, output.progress("drawing") as callback:
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

    columns = {"asked": record["asked"], "measured as": record["measured"]}
    columns = {head: column for head, column in columns.items() if column[0]}
    if columns:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("concept", *columns):
            table.add_column(head)
        for path, *mixes in list(zip(record["concepts"], *columns.values(), strict=True))[:12]:
            table.add_row(Path(path).stem, *(Text(heaviest(mix)) for mix in mixes))
        output.show("", table, *(["…"] if record["n"] > 12 else []), "")
    keep = output.command("create", "--concept", record["concepts"][0], "--prompt", "a watercolor of a {}", *opened)
    output.show(
        f"{record['n']} creatures on sheet.png, a picture and a concept file of each, concepts.jsonl, in {output.bold(folder)}",
        f"[dim]keep one: {keep}[/dim]",
    )


def heaviest(mix: dict[str, float]) -> str:
    """The heaviest classes of a mix, on one line; nothing of none."""
    from distok.distribution import Distribution

    if not mix:
        return ""
    return ", ".join(f"{name} {weight:.0%}" for name, weight in Distribution.from_mapping(mix).top(4) if weight >= 0.05)
