"""``distok baseline``: one method of the literature on one mix."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distok.cli import options

if TYPE_CHECKING:
    from distok.backends import Backend
    from distok.labelers import Labeler
    from distok.model import DisTok


def baseline(
    name: Annotated[str | None, typer.Argument(help="The method; without one they are listed.", show_default=False)] = None,
    mix: Annotated[str | None, typer.Argument(help='The mix, like "pig=0.5, owl=0.5".', show_default=False)] = None,
    prompt: options.Prompt = None,
    n: Annotated[int, typer.Option("-n", help="How many pictures.")] = 4,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first picture; the next ones count up.")] = 0,
    out: options.OutFolder = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="published, or menagerie (the default without --backend).")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE, a setting of the method; again for more.")
    ] = None,
    any_words: Annotated[
        bool, typer.Option("--any-words", help="Allow classes that are not known, such as pet, for a new member of a kind.")
    ] = False,
    steps: options.Steps = None,
    guidance_scale: options.GuidanceScale = None,
    size: options.Size = None,
    backend: options.Backend = None,
    model: options.Model = None,
    labeler: options.Labeler = None,
    concepts: Annotated[Path | None, typer.Option("--concepts", help="The known classes, one a line.")] = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = "auto",
    offload: options.Offload = "auto",
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Run another method on the same pipeline: the literature's, or one of the cheap controls."""
    from distok.asking import as_distribution, check_count, check_drawing, seeds_from
    from distok.baselines import baseline as find
    from distok.baselines.base import PROMPT
    from distok.cli import output

    if name is None:
        _list(as_json)
        return
    method = find(name, preset or ("menagerie" if backend is None else "published"), **options.changes(change or []))
    asked = as_distribution(_needed(name, mix))
    check_count(n)
    seeds, prompt = seeds_from(seed, n), PROMPT if prompt is None else prompt
    drawing = {"steps": steps, "guidance_scale": guidance_scale, "size": size}
    check_drawing(prompt, drawing)
    with output.waiting("opening the models"):
        parts = _open(backend, model, labeler, concepts, device, dtype, offload)
        asked = as_distribution(asked, parts.names, strangers=any_words)
    with _claimed(method, asked, parts, prompt, seeds, drawing, out, force) as folder:
        with output.progress(method.title) as callback:
            outcome = method.make(
                parts.backend, parts.labeler, asked, seeds,
                names=parts.names, prompt=prompt, model=parts.model, callback=callback, **drawing,
            )  # fmt: skip
        _finish(method, asked, outcome, parts, folder, as_json)


class _Parts:
    """What was opened."""

    def __init__(
        self, backend: "Backend", labeler: "Labeler | None", names: tuple[str, ...] | None, model: "DisTok | None"
    ) -> None:
        self.backend, self.labeler, self.names, self.model = backend, labeler, names, model


def _open(
    backend: str | None, model: str | None, labeler: str | None, concepts: Path | None, device: str, dtype: str, offload: str
) -> _Parts:
    """Most methods need no DisTok, so a backend of one's own may come without a model."""
    from distok import api
    from distok.backends import open_backend
    from distok.checkpoints import as_dtype, check_device, read_names
    from distok.labelers import open_labeler

    names = read_names(concepts) if concepts else None
    if backend is None or model is not None:
        creator = api.open(backend, model, labeler, device, names, dtype, offload)
        return _Parts(creator.backend, creator.labeler, creator.names, creator.model)
    check_device(device)
    opened = open_backend(backend, device, as_dtype(dtype), offload)
    return _Parts(opened, None if labeler is None else open_labeler(labeler, device), names, None)


def _needed(name: str, mix: str | None) -> str:
    from distok.errors import DistokError

    if mix is None:
        raise DistokError(f"say what {name} shall make, as in: distok baseline {name} 'pig=0.5, owl=0.5'")
    return mix


def _claimed(
    method: Any,
    asked: Any,
    parts: "_Parts",
    prompt: str,
    seeds: list[int],
    drawing: dict[str, Any],
    out: Path | None,
    force: bool,
) -> AbstractContextManager[Path]:
    from distok.asking import slug
    from distok.baselines.saving import describe
    from distok.concept import digest, digest_weights
    from distok.gallery import claimed, suffix

    made = {**describe(method), "mix": asked.as_dict(), "prompt": prompt, "backend": parts.backend.fingerprint}
    made |= {"names": digest(*parts.names)} if parts.names else {}
    made |= {"labeler": parts.labeler.hash} if parts.labeler else {}
    made |= {"model": digest_weights(parts.model.state_dict())} if method.needs_model and parts.model else {}
    made |= {key: value for key, value in drawing.items() if value is not None}
    made = json.loads(json.dumps(made))
    place = out or Path("baselines") / f"{method.name}-{slug(asked)}-{seeds[0]}-{suffix(made)}"
    return claimed(place, made | {"seed": seeds[0]}, [f"{method.name}-{seed}.png" for seed in seeds], force)


def _finish(method: Any, asked: Any, outcome: Any, parts: _Parts, folder: Path, as_json: bool) -> None:
    from distok.baselines.saving import save_outcome, save_readings
    from distok.cli import output
    from distok.distribution import Distribution
    from distok.errors import DistokError

    names = tuple(dict.fromkeys((*(parts.names or ()), *asked.names)))
    record = save_outcome(method, asked, outcome, folder)  # before they are read: no picture is lost to that
    if parts.labeler:
        try:
            readings = parts.labeler.read(outcome.pictures, names)
        except DistokError as error:
            raise DistokError(f"{error}; the pictures are in {folder}, not measured") from error
        record = save_readings(record, asked, readings, folder)
    if as_json:
        output.print_json(record)
        return
    measured = record["measured"] and Distribution.from_mapping(record["measured"])
    output.show("", output.mix_table(asked, measured), "")
    if measured is None:
        output.show("not measured: this backend has no labeler; give one with --labeler")
    else:
        output.show(f"KL(asked ‖ measured) [bold]{record['kl']:.3f}[/bold] nats · JS {record['js']:.3f} (0 is a perfect match)")
        if set(names) == set(asked.names):
            output.show("[dim]a choice among the classes of the mix alone; give all that are known with --concepts[/dim]")
    if not method.weights:
        output.show(f"[dim]{method.title} does not follow the weights[/dim]")
    count, once = len(outcome.pictures), outcome.once_seconds
    before = f", after {once:.1f} s once for all" if once >= 0.05 else ""
    output.show(
        f"{count} picture{'s' if count > 1 else ''} by {method.title} in {output.bold(folder)}; "
        f"{outcome.seconds:.2f} s a concept{before}"
    )


def _needs(method: Any) -> str:
    return " and ".join(what for what, so in (("labeler", method.needs_labeler), ("model", method.needs_model)) if so)


def _list(as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from distok.baselines import BASELINES, baseline_class
    from distok.cli import output

    methods = [baseline_class(name) for name in BASELINES]
    if as_json:
        rows = {
            each.name: {
                "title": each.title,
                "source": each.source,
                "summary": each.summary,
                "families": list(each.families),
                "needs_labeler": each.needs_labeler,
                "needs_model": each.needs_model,
                "weights": each.weights,
            }
            for each in methods
        }
        output.print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "what it does", "weights", "needs", "source"):
        table.add_column(heading)
    for each in methods:
        marks = ("yes" if each.weights else "no", _needs(each))
        table.add_row(Text(each.name), Text(each.summary), *marks, Text(each.source, style="dim"))
    output.show(table, "")
