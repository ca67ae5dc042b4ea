"""The thresholds of fusion for a text encoder whose cosines lie elsewhere than CLIP-L's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from distok import seeds
from distok.backends import Backend
from distok.training.settings import TrainSettings
from distok.training.tasks import Allowed, random_mixtures, said

PAIRS = 256  # pairs sampled for the quantile; more move it by less than 0.01
HIGH, LOW = 0.9, 0.05  # quantiles


@dataclass(frozen=True)
class Calibration:
    """ε₁ and ε₂ of L_mix, and one line on how each was set."""

    epsilon_restrictive: float
    epsilon_aesthetic: float
    how: str


@torch.no_grad()
def calibrate(backend: Backend, names: Sequence[str], settings: TrainSettings, allowed: Allowed) -> Calibration:
    """Read both thresholds off the encoder's own cosines.

    ε₁ is the 0.9 quantile, over fusable pairs, of cos(q_a worded as "a photo of a c1 c2", q_r = "a c1 c2"): what the best of
    words would reach, so that a token is not pushed further than a perfect paraphrase. Where q_r has the words of q_a, that is
    q_r itself: ε₁ is 1, and nothing caps how close a token comes to its pair. ε₂ is the 0.05 quantile, over what fusion is asked
    for, of cos(q_r, q_s): a token as close to the generic picture as the words themselves are is close enough.
    With the mean over single classes in its place, which is higher, the generic picture pulls on nearly every mixture, and
    harder the better it is fused (docs/log.md).
    """
    rng = seeds.rng(0, "calibration")  # not the run's seed: thresholds belong to the encoder and the names
    chosen = allowed.pairs[rng.permutation(len(allowed.pairs))[:PAIRS]]
    worded = [(names[i], names[j]) for i, j in chosen]
    aloud = backend.encode([settings.adaptive_prompt.format(f"{a} {b}") for a, b in worded])
    meant = backend.encode([settings.restrictive_prompt.format(a, b) for a, b in worded])
    restrictive = float((aloud * meant).sum(-1).double().quantile(HIGH))
    what = f"{len(chosen)} pairs"
    if settings.mixture_share:
        drawn = random_mixtures(rng, PAIRS, len(names), settings.estimate_active, allowed)
        meant = torch.cat([meant, backend.encode([said(settings, names, weights) for weights in drawn])])
        what += f" and {PAIRS} mixtures"
    style = backend.encode([settings.aesthetic_prompt])
    aesthetic = float((meant @ style.T).double().quantile(LOW))
    how = (
        f"epsilon_restrictive = {HIGH} quantile of the cosines of '{settings.adaptive_prompt.format('c1 c2')}' with "
        f"'{settings.restrictive_prompt.format('c1', 'c2')}' over {len(chosen)} pairs; epsilon_aesthetic = {LOW} quantile of "
        f"those of the latter with '{settings.aesthetic_prompt}' over {what}"
    )
    # Four digits: the last bits of a cosine depend on the machine, and a run must find its own settings again on another.
    return Calibration(round(min(restrictive, 1.0), 4), round(max(min(aesthetic, 1.0), -1.0), 4), how)


def resolve(settings: TrainSettings, backend: Backend, names: Sequence[str], allowed: Allowed) -> tuple[TrainSettings, str]:
    """Settings with both thresholds as numbers, and how they were set. Given ones stay; None is calibrated."""
    given = settings.epsilon_restrictive, settings.epsilon_aesthetic
    if None not in given:
        return settings, "epsilon_restrictive and epsilon_aesthetic as given in the settings"
    found = calibrate(backend, names, settings, allowed)
    resolved = replace(
        settings,
        epsilon_restrictive=found.epsilon_restrictive if given[0] is None else given[0],
        epsilon_aesthetic=found.epsilon_aesthetic if given[1] is None else given[1],
    )
    kept = [name for name, value in zip(("epsilon_restrictive", "epsilon_aesthetic"), given, strict=True) if value is not None]
    return resolved, found.how + "".join(f"; {name} overridden by the settings" for name in kept)
