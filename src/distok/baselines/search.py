"""Any method with a labeler in the loop: a choice among its pictures, or weights corrected by what its pictures read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.controls import NamesByWeight
from distok.baselines.ours import Ours
from distok.baselines.prompt_weighting import PromptWeighting
from distok.distribution import Distribution
from distok.selection import PREVIEWS, ROUNDS, candidates, closest, preview_steps, refine, visible

if TYPE_CHECKING:
    from PIL import Image


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
            lit = visible(drawn)
            place = lit[closest(ask.mix, ask.reader().read([drawn[each] for each in lit], ask.names))]
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
        pictures: previews drawn of each.
    """

    rounds: int = ROUNDS
    pictures: int = PREVIEWS

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("rounds", "pictures")


class Refined(Baseline):
    """A method given weights that were corrected, once for a concept, by what the labeler read; each picture is then drawn once.

    Attributes:
        of: the method.
    """

    of: ClassVar[type[Baseline]]
    needs_labeler = True
    weights = True
    Settings = RefinedSettings

    def prepare(self, ask: Ask) -> Ready:
        """What the method prepares for the best round's weights."""
        method, steps = self.of(), ask.options.get("steps", ask.backend.defaults.steps)
        options = {**ask.options, "steps": preview_steps(steps)}

        def look(given: Distribution, seeds: Sequence[int]) -> list[Distribution]:
            turn = replace(ask, mix=given, seeds=tuple(seeds), options=options, callback=None)
            pictures, _ = method.draw(turn, method.prepare(turn))
            return ask.reader().read([pictures[each] for each in visible(pictures)], ask.names)

        found = refine(ask.mix, look, self.settings.rounds, self.settings.pictures)
        ready = method.prepare(replace(ask, mix=found.given))
        concept = ready.concept
        if concept is not None:
            made = {**concept.provenance, "method": self.name, "settings": repr(self.settings)}
            concept = replace(concept, name=self.name, distribution=ask.mix, provenance=made)
        told = {"given": str(found.given), "kl of each round": list(found.kl)}
        return replace(ready, concept=concept, details={**ready.details, **told})


class DistokRefined(Refined):
    """DisTok with corrected weights: ``distok create --refine``."""

    of = Ours
    name = "distok-refined"
    title = "DisTok, refined"
    source = "this project"
    summary = "DisTok, its weights corrected by the labeler's readings before any picture is kept"
    needs_model = True


class WeightingRefined(Refined):
    """What the same correction gives to emphasised words: the control of :class:`DistokRefined`."""

    of = PromptWeighting
    name = "weighting-refined"
    title = "prompt weighting, refined"
    source = "control"
    summary = "prompt weighting, its weights corrected by the labeler's readings before any picture is kept"
