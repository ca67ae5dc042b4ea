"""Where mixes and surprises lie in the latent space, on its two leading axes.

Shapes: n latents, w latent width.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from distok.distribution import PRIORS, sample_prior
from distok.evaluation.cases import Bench
from distok.evaluation.report import Result, Table, charted, number

SAMPLES = 200
LABELLED = 14  # classes named in the plot: those with room around them
COLOURS = {"pair": "#2563eb", "weighted": "#c2410c", "normal": "#a3a3a3", "laplace": "#a3a3a3", "cauchy": "#a3a3a3"}


@torch.no_grad()
def latent_map(bench: Bench) -> Result:
    """Project the latents of classes, evaluation cases and random samples onto the principal axes of the classes' own."""
    known = _encoded(bench, torch.stack([bench.name_token(name) for name in bench.names]))
    groups = {
        kind: _encoded(bench, torch.stack([bench.mean_token(case.asked) for case in bench.cases if case.kind == kind]))
        for kind in ("pair", "weighted")
    }
    for prior in PRIORS:
        drawn = torch.from_numpy(sample_prior(prior, SAMPLES, bench.model.settings.latent_dim, 0))
        groups[prior] = bench.model.sample_latents(drawn).double().numpy()
    centre = known.mean(0)
    _, values, axes = np.linalg.svd(known - centre, full_matrices=False)
    explained = float((values[:2] ** 2).sum() / (values**2).sum())
    figures: dict[str, Any] = {"explained by two axes": explained}
    figures |= {kind: _law(each, known) for kind, each in {"classes": known, **groups}.items()}
    rows = tuple((kind, *(number(figures[kind][key]) for key in ("radius", "nearest"))) for kind in ("classes", *groups))
    note = f"Radius: root mean square of a latent's entries. The two axes hold {explained:.0%} of the classes' variance."
    flat = {kind: (each - centre) @ axes[:2].T for kind, each in {"classes": known, **groups}.items()}
    title = "latents on the two leading axes of the classes"
    images, gap = charted("map.png", lambda plots: _plot(plots, flat, bench.names), len(PRIORS), title)
    table = Table(
        "The latent space", ("latents", "radius", "distance to the nearest class, in radii of classes"), rows, note + gap
    )
    return Result("map", figures, (table,), (), images)


def _encoded(bench: Bench, tokens: torch.Tensor) -> Float[np.ndarray, "n w"]:
    return bench.model.encode(tokens).double().numpy()


def _law(latents: Float[np.ndarray, "n w"], known: Float[np.ndarray, "m w"]) -> dict[str, float]:
    radius = float(np.sqrt((known**2).mean(1)).mean())
    apart = np.sqrt(((latents[:, None] - known[None]) ** 2).mean(-1))
    if latents is known:
        np.fill_diagonal(apart, np.inf)
    return {"radius": float(np.sqrt((latents**2).mean(1)).mean()), "nearest": float(apart.min(1).mean() / radius)}


def _plot(plots: Any, flat: dict[str, np.ndarray], names: tuple[str, ...]) -> None:
    for plot, prior in zip(plots, PRIORS, strict=True):
        for kind in (prior, "pair", "weighted"):
            plot.scatter(*flat[kind].T, s=6, color=COLOURS[kind], label=kind, alpha=0.7, linewidths=0)
        plot.scatter(*flat["classes"].T, s=9, color="#1c1917", label="classes")
        for i in _apart(flat["classes"])[:LABELLED]:
            plot.annotate(names[i], flat["classes"][i], fontsize=6, xytext=(2, 2), textcoords="offset points")
        reach = 1.3 * max(np.abs(flat[kind]).max() for kind in ("classes", "pair", "weighted"))
        plot.set(xlim=(-reach, reach), ylim=(-reach, reach))
        plot.tick_params(labelsize=7)
        plot.legend(fontsize=6, frameon=False, loc="upper right")


def _apart(places: Float[np.ndarray, "m 2"]) -> list[int]:
    """Points by the distance to their nearest neighbour, the loneliest first."""
    apart = ((places[:, None] - places[None]) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    return np.argsort(-apart.min(1), kind="stable").tolist()
