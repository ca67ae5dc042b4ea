"""DisTok on the signature of its rivals, so that a comparison runs it as it runs them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.controls import NamesByWeight, mean_token, shown
from distok.selection import candidates, closest

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
