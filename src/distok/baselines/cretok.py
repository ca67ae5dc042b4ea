"""CreTok: one universal token learns to mean "creative", from pairs of names and no picture.

Feng et al., arXiv 2410.24160. Shapes: n pairs of a step, d token width, e feature width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distok import seeds
from distok.backends import fill, slot
from distok.backends.prompts import has_places
from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.errors import DistokError

SAMPLED = 256  # pairs that a calibrated threshold is read off
CACHED = 20_000  # ordered pairs whose constant feature is encoded once; beyond it each step encodes its own


@dataclass(frozen=True)
class CreTokSettings(Settings):
    """The published values, where nothing else is said.

    Attributes:
        theta: a cosine beyond it earns nothing and gives no gradient; None reads it off the encoder, see :func:`calibrated`.
        steps_of_training: optimiser steps.
        learning_rate: of Adam (which optimiser was not found), falling along a cosine to 0.
        pairs: n, pairs a step.
        adaptive: P_a.
        restrictive: P_r; both orders of a pair are drawn.
        start: the word whose token it starts from (ours: the word it redefines).
        spoken: the prompt in which the token is used: its first ``{}`` is the token, its second the names (ours, after the
            published examples).
        joint: between two names there.
        seed: of the pairs.
    """

    theta: float | None = 0.5
    steps_of_training: int = 10_000
    learning_rate: float = 0.01
    pairs: int = 16
    adaptive: str = "a photo of a {} mixture"
    restrictive: str = "a {} {}"
    start: str = "creative"
    spoken: str = "{} mixture that looks like a {}"
    joint: str = " and a "
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("steps_of_training", "pairs")
        self.require_whole("seed", least=0)
        if self.theta is not None:
            self.require_within(-1, 1, "theta")
        self.require_within(0, 10, "learning_rate")
        self.require_place("adaptive")
        for name in ("restrictive", "spoken"):
            self.require(name, has_places(getattr(self, name), 2), "words with two {}")
        self.require("start", isinstance(self.start, str) and bool(self.start.strip()), "a word")
        self.require_text("joint")


class CreTok(Baseline):
    """The token is learned once for a backend and its classes and kept by this object; it says nothing of weights."""

    name = "cretok"
    title = "CreTok"
    source = "arXiv 2410.24160 (CVPR 2025)"
    summary = 'one universal token for "creative", trained on pairs of names; a mix is named beside it'
    least = 2
    needs_features = True
    Settings = CreTokSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {
        "theta": None,  # its names alone lie at 0.65 from each other: beyond 0.5 from the start
        "adaptive": "a photo of a {}",  # that world has never heard "mixture" or "looks like"
        "restrictive": "a photo of a {} {}",
        "start": "creature",
        "spoken": "{} {}",
        "joint": " ",
    }

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._tokens: dict[tuple[str, str, tuple[str, ...]], Tensor] = {}

    def learn(self, ask: Ask) -> None:
        """Train the token, if it has not been trained for this backend and these names."""
        key = (ask.backend.hash, ask.backend.feature_hash, ask.names)
        if key not in self._tokens:
            self._tokens[key] = train(ask, self.settings)

    def prepare(self, ask: Ask) -> Ready:
        """The names beside the token, heaviest first."""
        how: CreTokSettings = self.settings
        token = self._tokens[ask.backend.hash, ask.backend.feature_hash, ask.names]
        spoken = how.spoken.replace("{}", slot(0), 1).replace("{}", how.joint.join(ask.by_weight()))
        prompt = ask.prompt.replace("{}", spoken)
        return Ready(prompt, token[None], concept=self.concept_of(ask, "cretok", token, None), details={"prompt": prompt})


def cretok_loss(adaptive: Float[Tensor, "1 e"], restrictive: Float[Tensor, "n e"], theta: float) -> Float[Tensor, ""]:
    """Mean over pairs of 1 − min(cos(E(P_r), E(P_a)), θ) (paper); features have unit length."""
    return (1 - (restrictive * adaptive).sum(-1).clamp(max=theta)).mean()


def train(ask: Ask, how: CreTokSettings) -> Float[Tensor, " d"]:
    """The universal token, of the names that ``ask`` knows."""
    names = ask.names
    if len(names) < 2:
        raise DistokError("CreTok learns from pairs of classes; give at least two names")
    ordered = [(a, b) for a in names for b in names if a != b]
    known = _encode(ask, how, ordered) if len(ordered) <= CACHED else None
    theta = calibrated(ask, how, ordered) if how.theta is None else how.theta
    token = ask.backend.name_tokens([how.start]).float().requires_grad_()
    optimiser = torch.optim.Adam([token], lr=how.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps_of_training)
    for step in range(how.steps_of_training):
        drawn = seeds.rng(how.seed, "cretok", step).integers(len(ordered), size=how.pairs)
        restrictive = _encode(ask, how, [ordered[i] for i in drawn]) if known is None else known[torch.from_numpy(drawn)]
        loss = cretok_loss(ask.backend.encode([fill(how.adaptive)], token), restrictive, theta)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return token.detach()[0].cpu()


def calibrated(ask: Ask, how: CreTokSettings, pairs: "list[tuple[str, str]]") -> float:
    """θ for an encoder whose cosines lie elsewhere than CLIP's: what a feature that is equally near to all pairs reaches.

    Beyond it a token could only come nearer to some pairs by leaving others.
    """
    chosen = seeds.rng(how.seed, "cretok theta").permutation(len(pairs))[:SAMPLED]
    features = _encode(ask, how, [pairs[i] for i in chosen])
    middle = torch.nn.functional.normalize(features.mean(0), dim=0)
    return float((features @ middle).mean())


@torch.no_grad()
def _encode(ask: Ask, how: CreTokSettings, pairs: "list[tuple[str, str]]") -> Float[Tensor, "n e"]:
    prompts = [how.restrictive.format(a, b) for a, b in pairs]
    return torch.cat([ask.backend.encode(prompts[i : i + 256]) for i in range(0, len(prompts), 256)])
