"""What is read from pictures, by the labeler and by the independent evaluator, and how far it lies from what was asked.

Shapes: b pictures, s pictures of one case, k classes, f features, z zones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from distok.distribution import compare
from distok.errors import DistokError, UnavailableError

if TYPE_CHECKING:
    from PIL import Image

    from distok.labelers import Labeler
    from distok.menagerie.evaluator import Evaluator, Reading

METRICS = ("kl", "kl_reverse", "js", "top1", "topk", "spearman")
HEADINGS = {
    "kl": "KL (asked ‖ measured)",
    "kl_reverse": "KL (measured ‖ asked)",
    "js": "JS",
    "top1": "top-1 hit",
    "topk": "top-k hit",
    "spearman": "Spearman",
}
HIGHER_IS_BETTER = ("top1", "topk", "spearman")


@dataclass(frozen=True)
class Rulers:
    """The two readers of pictures.

    Attributes:
        names: the classes, in the order of every reading.
        labeler: the one that supervised the training; None measures with the evaluator alone.
        evaluator: the independent one; None where a world has none.
    """

    names: tuple[str, ...]
    labeler: "Labeler | None" = None
    evaluator: "Evaluator | None" = None

    def __post_init__(self) -> None:
        """Refuse to measure with nothing, or with an evaluator of other classes."""
        if self.labeler is None and self.evaluator is None:
            raise DistokError("nothing to measure with; give a labeler or an evaluator")
        if self.evaluator is not None:
            from distok.menagerie.species import NAMES

            strangers = [name for name in self.names if name not in NAMES]
            if strangers:
                raise DistokError(f"the evaluator reads the Menagerie's species and not {strangers[0]!r}; leave it out")

    @property
    def who(self) -> tuple[str, ...]:
        """Which readers there are: labeler, evaluator."""
        return tuple(name for name in ("labeler", "evaluator") if getattr(self, name) is not None)

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """A short hash of each reader."""
        from distok.labelers.loading import hash_of

        found = () if self.labeler is None else (self.labeler.hash,)
        return found if self.evaluator is None else (*found, hash_of(self.evaluator, "evaluator"))

    def read(self, who: str, pictures: "Sequence[Image.Image]") -> Float[np.ndarray, "b k"]:
        """Shares of the classes in each picture, by one reader; rows sum to 1."""
        if who == "evaluator":
            return self.look(pictures).mix
        if self.labeler is None:
            raise UnavailableError("there is no labeler; give one")
        return self.labeler.probabilities(pictures, self.names).double().cpu().numpy()

    def look(self, pictures: "Sequence[Image.Image] | np.ndarray") -> "Looks":
        """All that the evaluator sees.

        Raises:
            DistokError: there is no evaluator.
        """
        return Looks.of(self.need_evaluator().read(pictures), self.names)

    def need_evaluator(self) -> "Evaluator":
        """The evaluator; a suite that cannot do without it asks before it draws anything.

        Raises:
            UnavailableError: there is none.
        """
        if self.evaluator is None:
            raise UnavailableError("this needs the independent evaluator; give its file with --evaluator")
        return self.evaluator


@dataclass(frozen=True)
class Looks:
    """The evaluator's reading as arrays; see ``distok.menagerie.evaluator.Reading``.

    The mix is over the names asked; ``owners`` is the most probable parent of each zone, as a row of ``species.NAMES``.
    """

    mix: Float[np.ndarray, "b k"]
    style: Float[np.ndarray, "b styles"]
    scene: Float[np.ndarray, "b scenes"]
    accessory: Float[np.ndarray, "b accessories"]
    creature: Float[np.ndarray, " b"]
    features: Float[np.ndarray, "b f"]
    owners: Int[np.ndarray, "b z"]

    @classmethod
    def of(cls, reading: "Reading", names: Sequence[str]) -> "Looks":
        """Take over a reading, its mix over ``names`` (renormalised where they are fewer than the species)."""
        from distok.menagerie.species import NAMES

        fields = {key: getattr(reading, key).double().cpu().numpy() for key in cls.__annotations__ if key != "owners"}
        fields["owners"] = reading.zones.argmax(-1).cpu().numpy()
        chosen = fields["mix"][:, [NAMES.index(name) for name in names]]
        fields["mix"] = chosen / np.maximum(chosen.sum(1, keepdims=True), 1e-12)
        return cls(**fields)


def measure(asked: Float[np.ndarray, " k"], readings: Float[np.ndarray, "s k"]) -> dict[str, float]:
    """Compare the mean of a case's readings with what was asked; ``each_…`` is the mean over its single pictures."""
    alone = [compare(asked, row) for row in readings]
    return compare(asked, readings.mean(0)) | {f"each_{key}": float(np.mean([one[key] for one in alone])) for key in METRICS}


def parents_within(asked: Mapping[str, float], shares: Float[np.ndarray, " k"], names: Sequence[str], top: int) -> bool:
    """Whether every class asked for has a share, and is among the ``top`` largest whatever the order of those that tie."""
    least = min(shares[names.index(name)] for name in asked)
    return bool(least > 0 and (shares >= least).sum() <= top)
