"""The one signature of every model that reads a picture back as a distribution.

Shapes: b pictures, k names.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from distok.errors import DistokError

BROKEN = "its weights are damaged, or its numbers too large for the type it computes in"

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from distok.distribution import Distribution
    from distok.labelers.settings import Settings


class Labeler(ABC):
    """A vision-language model that says how much of each named class it sees in a picture."""

    kind: str  # its row in distok.labelers.kinds; a labeler of your own needs neither
    settings: "Settings"  # of that row's class
    source: str | None = None  # the folder, file or id that it was opened from

    @property
    @abstractmethod
    def hash(self) -> str:
        """A short hash of the weights and settings that decide a reading."""

    @abstractmethod
    def probabilities(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b k"]:
        """p(c | picture) over ``names``; rows sum to 1 (paper: softmax of the VLM's scores).

        Raises:
            DistokError: no names or no pictures.
        """

    @property
    def networks(self) -> "tuple[nn.Module, ...]":
        """The networks that may leave the device while pictures are painted; none if it has nothing there."""
        return ()

    def read(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> "list[Distribution]":
        """The same readings as validated distributions, one per picture.

        Raises:
            DistokError: no names or no pictures, or readings that are no numbers.
        """
        from distok.distribution import Distribution

        shares = self.probabilities(pictures, names).double().cpu()
        if not shares.isfinite().all():
            raise DistokError(f"the labeler's readings are no numbers; {BROKEN}")
        return [Distribution.from_vector(names, row) for row in shares.numpy()]

    def tempered(self, factor: float) -> "Labeler":
        """A labeler that reads p^(1 / factor), normalised: flatter than this one for a factor above 1, sharper below.

        Raises:
            DistokError: the factor is not a finite number above 0.
        """
        from distok.labelers.ensemble import EnsembleLabeler, Member

        return EnsembleLabeler([Member(self, temperature=factor)])


def check_request(pictures: "Sequence[Image.Image]", names: Sequence[str]) -> None:
    """Check that there is something to read.

    Raises:
        DistokError: no names or no pictures.
    """
    if not pictures or not names:
        raise DistokError(f"{len(pictures)} pictures and {len(names)} names; give at least one of each")
