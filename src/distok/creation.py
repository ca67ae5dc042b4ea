"""What was made: a concept's pictures, and what a labeler read of them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from distok.distribution import Distribution, js, kl, mean

if TYPE_CHECKING:
    from PIL import Image

    from distok.concept import Concept, Recipe


@dataclass(frozen=True, eq=False)
class Creation:
    """What came out, beside what was asked.

    Attributes:
        concept: the reusable token.
        prompt: with ``{}`` where the token went.
        pictures, seeds, recipes: one each, in order.
        readings: the labeler's reading of each picture; empty where none has read them.
    """

    concept: "Concept"
    prompt: str
    pictures: "list[Image.Image]"
    seeds: list[int]
    recipes: "list[Recipe]"
    readings: list[Distribution] = field(default_factory=list)

    @property
    def asked(self) -> Distribution | None:
        """The mix asked for; None for an explored concept."""
        return self.concept.distribution

    @cached_property
    def measured(self) -> Distribution | None:
        """The mean of the readings; None where there are none."""
        return mean(self.readings) if self.readings else None

    @cached_property
    def kl(self) -> float | None:
        """KL(asked ‖ measured) in nats; None where a side is missing."""
        return kl(self.asked, self.measured) if self.asked and self.measured else None

    @cached_property
    def js(self) -> float | None:
        """The Jensen-Shannon divergence of the two in nats; None where a side is missing."""
        return js(self.asked, self.measured) if self.asked and self.measured else None
