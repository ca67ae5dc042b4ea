"""Several labelers as one: each brought to a calibrated sharpness, then averaged.

Shapes: b pictures, k names, m members.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from distok.errors import DistokError
from distok.labelers.base import Labeler, check_request
from distok.labelers.settings import EnsembleSettings, check_positive

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Member:
    """A labeler's part in an ensemble.

    Args:
        labeler: any labeler.
        weight: its weight in the mean, relative to the other members'.
        temperature: its readings enter as p^(1 / temperature), normalised; on top of its own temperature.

    Raises:
        DistokError: weight or temperature is not a finite number above 0.
    """

    labeler: Labeler
    weight: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("weight in the ensemble", self.weight)
        check_positive("temperature in the ensemble", self.temperature)


class EnsembleLabeler(Labeler):
    """The weighted mean of its members' readings.

    "arithmetic" (the default) is Σ w_i p_i: a mix of opinions, in which no member can veto a name that others see;
    "geometric" is ∏ p_i^w_i, normalised: a name needs every member's support. (The linear and the logarithmic opinion pool of
    Genest and Zidek 1986.)

    Raises:
        DistokError: no members, or an ensemble among them.
    """

    kind = "ensemble"

    def __init__(self, members: Sequence[Member], settings: EnsembleSettings | None = None) -> None:
        if not members:
            raise DistokError("an ensemble of 0 labelers; list at least one under members")
        if any(isinstance(member.labeler, EnsembleLabeler) for member in members):
            raise DistokError("an ensemble cannot be a member of an ensemble; list its members instead")
        self.members, self.settings = tuple(members), settings or EnsembleSettings()

    @property
    def hash(self) -> str:
        """A short hash of the members' hashes, their weights and temperatures, and the settings."""
        parts = [[member.labeler.hash, member.weight, member.temperature] for member in self.members]
        text = json.dumps([self.kind, parts, self.settings.as_dict()], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """Those of all members."""
        return tuple(network for member in self.members for network in member.labeler.networks)

    def probabilities(self, pictures: "Sequence[Image.Image]", names: Sequence[str]) -> Float[Tensor, "b k"]:
        """The mean of the members' tempered readings, at the ensemble's own temperature; see :class:`Labeler`."""
        check_request(pictures, names)
        return self.combined([member.labeler.probabilities(pictures, names) for member in self.members])

    def combined(self, readings: Sequence[Float[Tensor, "b k"]]) -> Float[Tensor, "b k"]:
        """The ensemble's reading from its members' readings, in their order."""
        device = readings[0].device
        tempered = [
            log_tempered(reading.to(device), member.temperature) for reading, member in zip(readings, self.members, strict=True)
        ]
        weights = torch.tensor([member.weight for member in self.members], device=device)
        log_p, shares = torch.stack(tempered), (weights / weights.sum())[:, None, None]
        mean = (shares.log() + log_p).logsumexp(0) if self.settings.mean == "arithmetic" else (shares * log_p).sum(0)
        return (mean / self.settings.temperature).softmax(-1)

    def tempered(self, factor: float) -> Labeler:
        """The same members at ``factor`` times the ensemble's own temperature; see :class:`Labeler`."""
        return EnsembleLabeler(self.members, replace(self.settings, temperature=self.settings.temperature * factor))

    def stored(self, folder: Path) -> dict[str, Any]:
        """What ``labeler.json`` in ``folder`` keeps; members are named relative to it.

        Raises:
            DistokError: a member was not opened from a folder.
        """
        members = []
        for member in self.members:
            source, settings = member.labeler.source, getattr(member.labeler, "settings", None)
            if source is None:
                raise DistokError(
                    "a member of the ensemble was not opened from a folder, so it cannot be named; use open_labeler"
                )
            named = os.path.relpath(source, folder) if Path(source).exists() else source
            row = {"labeler": named, "weight": member.weight, "temperature": member.temperature}
            members.append(row | ({"settings": settings.as_dict()} if settings else {}))
        return {"kind": self.kind, **self.settings.as_dict(), "members": members}


def log_tempered(reading: Float[Tensor, "b k"], temperature: float) -> Float[Tensor, "b k"]:
    """log of p^(1 / temperature), normalised; a probability of 0 counts as the smallest that single precision has, 1e-38."""
    return (reading.float().clamp_min(torch.finfo(torch.float32).tiny).log() / temperature).log_softmax(-1)
