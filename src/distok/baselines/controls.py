"""The cheap controls: what anybody would try first, without a method.

Shapes: n creative tokens, d token width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok import seeds
from distok.backends import slot
from distok.backends.prompts import named
from distok.baselines.base import Ask, Baseline, Ready, Settings, class_conditions
from distok.distribution import PRIORS, Distribution, sample_prior
from distok.errors import DistokError


class Sentence(Baseline):
    """The percentages said in words."""

    name = "sentence"
    title = "sentence with percentages"
    source = "control"
    summary = "one prompt that says the percentages in words"
    weights = True

    def prepare(self, ask: Ask) -> Ready:
        """The prompt, heaviest class first."""
        parts = ", ".join(f"{weight * 100:.0f} % {name}" for name, weight in ask.mix.top(len(ask.mix.names)))
        return _said(named(f"creature that is {parts}", ask.prompt))


class NamesByWeight(Baseline):
    """The names alone, heaviest first."""

    name = "names-by-weight"
    title = "names by weight"
    source = "control"
    summary = "one prompt that names the classes, heaviest first"

    def prepare(self, ask: Ask) -> Ready:
        """The prompt."""
        return _said(named(" ".join(ask.by_weight()), ask.prompt))


class Dominant(Baseline):
    """The heaviest class."""

    name = "dominant"
    title = "dominant class alone"
    source = "control"
    summary = "the heaviest class alone"

    def prepare(self, ask: Ask) -> Ready:
        """The prompt."""
        return _said(named(ask.by_weight()[0], ask.prompt))


class MeanOfEmbeddings(Baseline):
    """The weighted mean of what the prompts condition the denoiser with."""

    name = "mean-of-embeddings"
    title = "mean of prompt embeddings"
    source = "control; embedding interpolation in Olearo et al., arXiv 2407.14280"
    summary = "the weighted mean of the classes' encoded prompts"
    weights = True

    def prepare(self, ask: Ask) -> Ready:
        """The condition."""
        weights = torch.tensor(ask.mix.weights)
        condition = class_conditions(ask)
        return Ready(condition={key: _mean(key, value, weights) for key, value in condition.items()})


def _mean(key: str, value: Tensor, weights: Tensor) -> Tensor:
    """A mask covers the longest prompt: the mean of masks would be read as shorter, wherever it is under a half."""
    if key.endswith("mask"):
        return value.amax(0, keepdim=True)
    return torch.einsum("k,k...->...", weights.to(value), value)[None]


class MeanOfTokens(Baseline):
    """Σ p_i t_i as the token."""

    name = "mean-of-tokens"
    title = "mean of tokens"
    source = "control"
    summary = "the weighted mean of the classes' input tokens, used as the token"
    weights = True

    def prepare(self, ask: Ask) -> Ready:
        """The token."""
        return shown(self, ask, mean_token(ask), ask.mix)


@dataclass(frozen=True)
class RandomZSettings(Settings):
    """Which random latent.

    Attributes:
        index: row of the sequence of latents; None (the default) takes one that belongs to the mix as a mere name, so that each
            mix of a comparison has its own.
    """

    index: int | None = None

    def __post_init__(self) -> None:
        """Check the range."""
        if self.index is not None:
            self.require_whole("index", least=0)


class RandomZ(Baseline):
    """A creature of a random latent, whatever was asked."""

    name = "random-z"
    title = "random latent"
    source = "control"
    summary = "a token from a random latent of the DisTok model, whatever is asked"
    needs_model = True
    Settings = RandomZSettings

    @torch.no_grad()
    def prepare(self, ask: Ask) -> Ready:
        """A token of ``settings.index``."""
        how: RandomZSettings = self.settings
        model = ask.distok()
        seed, row = (1, how.index) if how.index is not None else (seeds.derive(1, "random-z", str(ask.mix)), 0)
        drawn = torch.from_numpy(sample_prior(PRIORS[0], row + 1, model.settings.latent_dim, seed))[row:]
        return shown(self, ask, model.decode(model.sample_latents(drawn))[0], None)


def mean_token(ask: Ask) -> Float[Tensor, " d"]:
    """Σ p_i t_i over the classes of the mix."""
    tokens = ask.backend.name_tokens(ask.mix.names).cpu().float()
    return torch.tensor(ask.mix.weights, dtype=torch.float32) @ tokens


def _said(prompt: str) -> Ready:
    return Ready(prompt, details={"prompt": prompt})


def shown(method: Baseline, ask: Ask, token: Float[Tensor, " d"], mix: Distribution | None, **details: Any) -> Ready:
    """What a method prepares that makes one token, shown where the prompt says ``{}``."""
    if not torch.isfinite(token).all():
        raise DistokError(f"{method.title} made a token that is not finite; the model's file is damaged, train it again")
    concept = method.concept_of(ask, method.name, token, mix)
    return Ready(ask.prompt.replace("{}", slot(0)), token[None], concept=concept, details=details)
