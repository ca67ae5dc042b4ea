"""Class distribution estimation: new tokens are rendered and read back by the labeler, live or ahead of time into a bank.

Shapes: m tokens, d token width, k known classes.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok import files, seeds
from distok.backends import Backend, fill
from distok.backends.offload import resting
from distok.errors import DistokError
from distok.labelers.base import BROKEN, Labeler
from distok.model import DisTok
from distok.selection import is_black
from distok.training import checkpoint, runtime
from distok.training.settings import TrainSettings
from distok.training.tasks import Allowed, random_mixtures


@torch.no_grad()
def sample_tokens(
    model: DisTok,
    known_tokens: Float[Tensor, "k d"],
    settings: TrainSettings,
    allowed: Allowed,
    step: int,
    count: int,
) -> Float[Tensor, "m d"]:
    """Tokens of latents from the prior, of encoded random mixtures, or half and half, as ``settings.estimate_from`` says.

    They are a pure function of (settings.seed, step), the model and its measured latent law. Of an odd number halved, the last
    one is a latent of the prior and a mixture in turns.
    """
    rng = seeds.rng(settings.seed, "estimate", step)
    half = (count + step // settings.estimate_every % 2) // 2
    mixed = {"prior": 0, "mixtures": count, "both": half}[settings.estimate_from]
    prior = rng.standard_normal((count - mixed, model.settings.latent_dim)).astype(np.float32)
    mixtures = random_mixtures(rng, mixed, len(known_tokens), settings.estimate_active, allowed)
    noise = rng.standard_normal((count, model.settings.token_dim)).astype(np.float32)
    device = known_tokens.device
    sampled = model.sample_latents(torch.from_numpy(prior).to(device))
    encoded = model.encode(torch.from_numpy(mixtures).to(device) @ known_tokens)
    tokens = model.decode(torch.cat([sampled, encoded]))
    return tokens + settings.estimate_jitter * model.token_scale * torch.from_numpy(noise).to(device)


def mixture_tokens(
    known_tokens: Float[Tensor, "k d"],
    allowed: Allowed,
    count: int,
    *,
    seed: int = 0,
    active: int = 4,
    jitter: float = 0.1,
    model: DisTok | None = None,
) -> Float[Tensor, "m d"]:
    """Tokens of random mixtures, with some noise, for a bank: weighted means of known tokens, or what a model makes of those.

    Args:
        model: an earlier model; its tokens lie where a better one will look for its own, and those of means do not.
        allowed: which classes may be mixed.
        active: most classes in a mixture.
        jitter: noise in units of the known tokens' spread, so that the bank covers their surroundings too.
    """
    rng = seeds.rng(seed, "bank tokens")
    mixtures = torch.from_numpy(random_mixtures(rng, count, len(known_tokens), active, allowed)).to(known_tokens)
    noise = torch.from_numpy(rng.standard_normal((count, known_tokens.shape[1])).astype(np.float32)).to(known_tokens)
    means = mixtures @ known_tokens
    if model is None:
        return means + jitter * known_tokens.std(0) * noise
    with torch.no_grad():
        return model(means) + jitter * model.token_scale * noise


def read_back(
    backend: Backend,
    labeler: Labeler,
    names: Sequence[str],
    tokens: Float[Tensor, "m d"],
    *,
    picture_seeds: Sequence[Sequence[int]],
    prompt: str = "a photo of a {}",
    steps: int | None = None,
    guidance_scale: float | None = None,
    size: int | None = None,
) -> Float[Tensor, "m k"]:
    """Render each token once per seed of its row in ``picture_seeds``, read every picture, and average the readings.

    In two phases: where the pipeline takes turns on its device (offload other than "fast"), the labeler waits in main memory
    while pictures are rendered, and rendering has left the device before it comes back to read. Then the device holds the
    text encoders and the larger of the two, not their sum.

    On a GPU or CPU that multiplies in bfloat16 rendering is quick and a little coarse, see :func:`distok.training.runtime.quick`.

    A picture that is black, as safety checkers leave them, has no reading: its token's is no number, and nothing learns from it.
    """
    if not len(tokens):
        return torch.zeros(0, len(names))
    owners = [i for i, row in enumerate(picture_seeds) for _ in row]
    waiting = () if backend.placement.mode == "fast" else labeler.networks
    with resting(waiting), runtime.quick(backend.device, backend.dtype):
        pictures = backend.render(
            [fill(prompt, i) for i in owners],
            tokens,
            seeds=[seed for row in picture_seeds for seed in row],
            steps=steps,
            guidance_scale=guidance_scale,
            size=size,
        )
    readings = labeler.probabilities(pictures, names).float().cpu()
    if not readings.isfinite().any():
        raise DistokError(f"not one of the labeler's {len(readings)} readings is a number; {BROKEN}")
    readings[[is_black(picture) for picture in pictures]] = torch.nan
    sums = torch.zeros(len(tokens), len(names)).index_add_(0, torch.tensor(owners), readings)
    return sums / torch.tensor([len(row) for row in picture_seeds])[:, None]


@dataclass(frozen=True)
class Bank:
    """Tokens with the distributions that were read from their pictures, shared by several trainings."""

    tokens: Float[Tensor, "m d"]
    distributions: Float[Tensor, "m k"]
    names: tuple[str, ...]
    record: dict[str, Any]  # how it was made: backend, pipeline, labeler, what is held out; prompt, seed, renders, … or the run

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def hash(self) -> str:
        """A short hash of all of it."""
        return _digest(json.dumps(self.record, sort_keys=True), self.tokens, self.distributions)

    @classmethod
    def load(cls, path: str | Path) -> "Bank":
        """Read a finished bank, or the readings that foresight remembers in the checkpoint of a run, oldest first.

        Raises:
            DistokError: missing, corrupt, neither, not finished, or a run that remembers none of its own.
        """
        path = Path(path)
        if checkpoint.NAME.fullmatch(path.name):
            return _of_run(path)
        bank, total = _read(path)
        if len(bank) < total:
            raise DistokError(f"{path} holds {len(bank)} of {total} concepts; collect again with the same arguments to finish it")
        return bank

    def check(self, settings: TrainSettings, backend: Backend, names: Sequence[str]) -> None:
        """Refuse a training that this bank does not fit.

        Raises:
            DistokError: it would not be used, or is of other classes, another pipeline, or less was held out.
        """
        if not settings.bank_count:
            raise DistokError(
                f"bank_count is 0, so nothing would use the bank's {len(self)} readings; set it to "
                f"{evenly(len(self), settings)} to take all of them, or give no bank"
            )
        if (self.names, self.record["backend"]) != (tuple(names), backend.hash):
            raise DistokError(
                "the estimation bank was collected for other classes or another text encoder; collect one for these"
            )
        if self.record["pipeline"] not in (backend.pipeline_hash, backend.fingerprint):
            raise DistokError(
                "the estimation bank's pictures are by another pipeline with the same text encoder, or at another guidance; "
                "collect one with this one"
            )
        if not settings.held_out <= {tuple(each) for each in self.record.get("held_out", ())}:
            raise DistokError(
                "this training holds out sets of classes that the estimation bank may show mixed; collect one that holds them out"
            )


def collect(
    backend: Backend,
    labeler: Labeler,
    names: Sequence[str],
    tokens: Float[Tensor, "m d"],
    path: str | Path,
    *,
    renders: int = 1,
    steps: int | None = None,
    guidance_scale: float | None = None,
    size: int | None = None,
    prompt: str = "a photo of a {}",
    seed: int = 0,
    held_out: Iterable[Sequence[str]] = (),
    batch: int | None = None,
    callback: Callable[[dict[str, int]], None] | None = None,
) -> Bank:
    """Render and read every token into the bank at ``path``; called again after an interruption, it goes on where it stopped.

    Args:
        tokens: what to render, for example :func:`mixture_tokens`, or :func:`sample_tokens` of an earlier model.
        held_out: the sets of classes that none of these tokens mixes. A training that holds out others takes no such bank.
        renders: pictures per token, their readings averaged. Picture r of token i has a seed of its own, so a bank does not
            depend on ``batch``.
        batch: readings between two writes; four times as many as the backend draws at once if None.
        callback: told ``{"done": …, "total": …}`` after each batch, when it is safely on disk.

    Raises:
        DistokError: ``path`` holds a bank made with other arguments.
    """
    path, tokens, own = Path(path), tokens.detach().cpu().float(), backend.defaults
    batch = batch or 4 * backend.at_once
    record = {
        "backend": backend.hash, "pipeline": backend.pipeline_hash, "labeler": labeler.hash, "prompt": prompt, "seed": seed,
        "renders": renders, "steps": own.steps if steps is None else steps, "tokens": _digest("", tokens),
        "guidance_scale": own.guidance_scale if guidance_scale is None else guidance_scale,
        "size": own.size if size is None else size, "held_out": sorted(sorted(each) for each in held_out),
    }  # fmt: skip
    distributions = torch.empty(0, len(names))
    if path.exists():
        found, _ = _read(path)
        if (found.record, found.names) != (record, tuple(names)):
            raise DistokError(
                f"{path} was collected with other tokens or settings; give another path, or delete it to start again"
            )
        distributions = found.distributions
    for start in range(len(distributions), len(tokens), batch):
        part = tokens[start : start + batch]
        rows = [[seeds.derive(seed, "bank", i, r) for r in range(renders)] for i in range(start, start + len(part))]
        read = read_back(
            backend, labeler, names, part,
            picture_seeds=rows, prompt=prompt, steps=steps, guidance_scale=guidance_scale, size=size,
        )  # fmt: skip
        distributions = torch.cat([distributions, read])
        metadata = {"kind": "bank", "names": list(names), "total": len(tokens), "record": record}
        rows_done = {"tokens": tokens[: len(distributions)], "distributions": distributions}
        files.write_tensors(path, rows_done, {"distok": json.dumps(metadata, sort_keys=True)})
        if callback:
            callback({"done": len(distributions), "total": len(tokens)})
    return Bank.load(path)


def evenly(readings: int, settings: TrainSettings) -> int:
    """How many of a bank's readings to take at each estimation so that all are taken in time: an even share, rounded up.

    The last are then taken at the last estimation or before it: of 500 over 450 estimations two at a time, until the 250th.
    """
    return math.ceil(readings / settings.estimations)


def _read(path: Path) -> tuple[Bank, int]:
    tensors, metadata = files.read_tensors(path)
    try:
        stored = files.from_json(metadata["distok"])
        if stored["kind"] != "bank":
            raise KeyError(stored["kind"])
        bank = Bank(tensors["tokens"], tensors["distributions"], tuple(stored["names"]), stored["record"])
        return bank, int(stored["total"])
    except (KeyError, TypeError, ValueError):
        raise DistokError(f"{path} is not an estimation bank; give a file written by distok.training.collect") from None


def _of_run(path: Path) -> Bank:
    """What a run has paid for teaches another, for example one with other losses."""
    stored, state = checkpoint.read(path)
    record = stored["record"]
    settings = record["settings"]
    if record["pipeline"] is None or "foresight.tokens" not in state:
        why = "nothing was rendered in it" if record["pipeline"] is None else "it learned without L_fsg (delta 0)"
        raise DistokError(f"the run of {path} remembers no readings of its own ({why}); give a checkpoint of one that does")
    kept = {name: record[name] for name in ("backend", "pipeline", "labeler")}
    made = {**kept, "held_out": settings["held_out"], "run": settings, "step": stored["step"]}
    return Bank(state["foresight.tokens"], state["foresight.distributions"], tuple(record["names"]), made)


def _digest(text: str, *tensors: Tensor) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=8)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
