"""DisTok on the signature of its rivals, so that a comparison runs it as it runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from distok.backends.prompts import fill
from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.controls import NamesByWeight, mean_token, shown
from distok.distribution import Distribution
from distok.selection import candidates, closest, refine

if TYPE_CHECKING:
    from PIL import Image


class Ours(Baseline):
    """The creative token D_tok(E_dis(Σ p_i t_i))."""

    name = "distok"
    title = "DisTok"
    source = "this project"
    summary = "the creative token of the mix, in one forward pass"
    needs_model = True
    weights = True

    @torch.no_grad()
    def prepare(self, ask: Ask) -> Ready:
        """The token."""
        return shown(self, ask, ask.distok()(mean_token(ask)[None])[0], ask.mix)


@dataclass(frozen=True)
class BestOfSettings(Settings):
    """How long to look.

    Attributes:
        pool: candidates of each picture.
    """

    pool: int = 8

    def __post_init__(self) -> None:
        """Check the range."""
        self.require_whole("pool")


class BestOf(Baseline):
    """A method's pictures from several seeds; the labeler keeps the one closest to the mix.

    Attributes:
        of: the method.
    """

    of: ClassVar[type[Baseline]]
    source = "this project"
    needs_labeler = True
    Settings = BestOfSettings

    def prepare(self, ask: Ask) -> Ready:
        """As the method does."""
        return self.of().prepare(ask)

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """The chosen pictures; their seeds are among the details."""
        pictures, chosen = [], []
        for seed in ask.seeds:
            numbers = candidates(seed, self.settings.pool)
            drawn, _ = self.of().draw(replace(ask, seeds=tuple(numbers)), ready)
            place = closest(ask.mix, ask.reader().read(drawn, ask.names))
            pictures.append(drawn[place])
            chosen.append(numbers[place])
        return pictures, {"chosen seeds": chosen}


class DistokBest(BestOf):
    """DisTok with a choice."""

    of = Ours
    name = "distok-best"
    title = "DisTok, best of several"
    summary = "DisTok, and of several pictures the one that the labeler reads as closest to the mix"
    needs_model = True
    weights = True


class NamesBest(BestOf):
    """What the same choice gives without a method: the control of :class:`DistokBest`."""

    of = NamesByWeight
    name = "names-best"
    title = "names by weight, best of several"
    source = "control"
    summary = "names by weight, and of several pictures the one that the labeler reads as closest to the mix"
    weights = True


@dataclass(frozen=True)
class RefinedSettings(Settings):
    """How long to look.

    Attributes:
        rounds: mixes that are tried.
        pictures: drawn of each.
    """

    rounds: int = 5
    pictures: int = 4

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("rounds", "pictures")


class DistokRefined(Baseline):
    """DisTok with weights that were corrected, once for a concept, by what the labeler read; each picture is then drawn once."""

    name = "distok-refined"
    title = "DisTok, refined"
    source = "this project"
    summary = "DisTok, its weights corrected by the labeler's readings before any picture is kept"
    needs_labeler = True
    needs_model = True
    weights = True
    Settings = RefinedSettings

    @torch.no_grad()
    def prepare(self, ask: Ask) -> Ready:
        """The token of the best round."""

        def look(given: Distribution, seeds: Sequence[int]) -> list[Distribution]:
            token = ask.distok()(mean_token(replace(ask, mix=given))[None])
            return ask.reader().read(ask.render([fill(ask.prompt, 0)] * len(seeds), token, seeds=seeds), ask.names)

        found = refine(ask.mix, look, self.settings.rounds, self.settings.pictures)
        token = ask.distok()(mean_token(replace(ask, mix=found.given))[None])[0]
        ready = shown(self, ask, token, ask.mix)
        return replace(ready, details={**ready.details, "given": str(found.given), "kl of each round": list(found.kl)})
