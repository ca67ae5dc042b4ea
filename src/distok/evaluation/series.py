"""Concepts fused again and again, as training goes on: the 2K / 3K / 10K series.

Shapes: c chains, r pictures of a concept, k classes, d token width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok import seeds as randomness
from distok.backends.prompts import PROMPT
from distok.errors import DistokError, UnavailableError
from distok.evaluation.ablation import settings_of
from distok.evaluation.cases import Bench
from distok.evaluation.pictures import Shot
from distok.evaluation.report import Result, Table, grid
from distok.evaluation.statistics import bootstrap

if TYPE_CHECKING:
    from distok.model import DisTok

MARKS = (2_000, 3_000, 10_000)  # steps of the paper's figure
DEPTHS = (2, 3, 4)  # classes in a chain of fusions: ((a + b) + c) + d
SEEN = 0.1  # share from which a class counts as seen


def series(bench: Bench, folder: Path, seeds: int = 4, chains: int = 8, marks: Sequence[int] = MARKS) -> Result:
    """Train with 8 tasks a step as published, keep the model at each of ``marks``, and fuse chains of classes with it.

    Args:
        bench: its labeler reads for the training where its model's settings render; its model takes no part.
        folder: of the training run, which is resumed.
        seeds: pictures a concept.
        chains: how many chains of classes.
        marks: steps to look at; the last one ends the training.
    """
    if len(bench.names) < max(DEPTHS):
        raise UnavailableError(f"chains of {max(DEPTHS)} classes are fused, and this model knows {len(bench.names)}")
    models = _trained(bench, folder, marks)
    random = randomness.rng(0, "series")
    members = [random.choice(len(bench.names), max(DEPTHS), replace=False) for _ in range(chains)]
    figures, rows, lines = {}, {}, []
    reader = bench.rulers.who[-1]
    for mark, model in models.items():
        for depth in DEPTHS:
            tokens = [fused(bench, model, [bench.names[i] for i in chain[:depth]]) for chain in members]
            shots = [Shot(PROMPT, s, token) for token in tokens for s in range(seeds)]
            pictures = bench.darkroom.develop(f"series: {mark} steps, {depth} classes", shots)
            rows[f"{mark} steps, {depth} classes"] = pictures[::seeds]
            shares = bench.rulers.read(reader, pictures).reshape(chains, seeds, -1).mean(1)
            wanted = [shares[i, chain[:depth]] for i, chain in enumerate(members)]
            row = {
                "seen": bootstrap([float((each >= SEEN).sum()) for each in wanted]),
                "entropy": bootstrap([_entropy(each) for each in shares]),
                "elsewhere": bootstrap([1 - float(each.sum()) for each in wanted]),
            }
            figures[f"{mark}/{depth}"] = row
            lines.append((str(mark), str(depth), *(str(row[key]) for key in ("seen", "entropy", "elsewhere"))))
    heads = (
        "steps",
        "classes fused",
        f"of them seen (share ≥ {SEEN:g})",
        "entropy of the reading, nats",
        "share of other classes",
    )
    note = f"{chains} chains, {seeds} pictures each, by the {reader}; a concept is fused with one more class at a time."
    captions = [", ".join(bench.names[i] for i in chain).replace(", ", "\n") for chain in members]
    table = Table("Fusion as training goes on", heads, tuple(lines), note)
    return Result("series", figures, (table,), (), {"series.png": grid(rows, captions)})


@torch.no_grad()
def fused(bench: Bench, model: "DisTok", names: Sequence[str]) -> Float[Tensor, " d"]:
    """((a + b) + c) + …: each time the creative token so far is fused with one more class, as pool entries are in training."""
    token = bench.name_token(names[0])
    for name in names[1:]:
        token = model(model.pair(token[None], bench.name_token(name)[None]))[0]
    return token


def _trained(bench: Bench, folder: Path, marks: Sequence[int]) -> "dict[int, DisTok]":
    from distok.model import DisTok
    from distok.training import Trainer, runtime

    paths = {mark: folder / f"at-{mark}.safetensors" for mark in marks}
    settings = replace(
        settings_of(bench.model, bench.names), seed=1, steps=max(marks), sub_steps=8, delta=0.0, render_threads=1,
        estimate_every=100, estimate_count=4 if bench.rulers.labeler else 0, bank_count=0,
    )  # fmt: skip
    with runtime.deterministic(settings.threads):
        trainer = Trainer(settings, bench.backend, bench.rulers.labeler, bench.names)

        def look(report: dict[str, Any]) -> None:
            step = int(report["step"])
            bench.darkroom.tell("series: training", step, settings.steps)
            if step in paths:
                trainer.measure_latents()
                trainer.model.save(paths[step], trainer.provenance())

        if not all(_is_of(path, trainer.provenance()) for path in paths.values()):
            trainer.resume(folder)
            look({"step": trainer.step})  # a run that was killed at a mark had saved its checkpoint, and not yet the model
            trainer.run(folder, look)
    lost = [path for path in paths.values() if not _is_of(path, trainer.provenance())]
    if lost:
        raise DistokError(f"{lost[0]} is gone, and the training in {folder} is past that step; delete {folder} and run again")
    return {mark: DisTok.load(path) for mark, path in paths.items()}


def _is_of(path: Path, provenance: Mapping[str, str]) -> bool:
    """Whether the model in a file was made by the run of this provenance."""
    from distok.model import DisTok

    return path.is_file() and DisTok.load(path).provenance.items() >= provenance.items()


def _entropy(shares: Float[np.ndarray, " k"]) -> float:
    held = shares[shares > 0]
    return float(-(held * np.log(held)).sum())
