"""The settings of each kind of labeler: one frozen dataclass a kind, stored as ``labeler.json`` beside the weights."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from distok.errors import DistokError

TEMPLATE = "a photo of a {}"
QUESTION = "What animal is in the photo?"  # the paper's
NOT_SETTINGS = ("kind", "members")  # labeler.json holds these too

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """What every labeler has: scores are divided by the temperature before the softmax over names.

    Raises:
        DistokError: a value is out of range; the message names the value and the remedy.
    """

    temperature: float | None = 1.0

    def __post_init__(self) -> None:
        if self.temperature is not None:
            check_positive("temperature", self.temperature)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The settings that this kind has."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def of(cls: type[S], kind: str, values: Mapping[str, Any]) -> S:
        """The settings in ``values``, which may be the content of a ``labeler.json``; the defaults for the rest.

        Raises:
            DistokError: a setting that this kind does not have, or a value out of range.
        """
        given = {name: value for name, value in values.items() if name not in NOT_SETTINGS}
        for name in given:
            if name not in cls.names():
                raise DistokError(f"a labeler of kind {kind!r} has no setting {name!r}; it has {', '.join(cls.names())}")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """The settings as ``labeler.json`` keeps them."""
        return asdict(self)


@dataclass(frozen=True)
class ClipSettings(Settings):
    """Settings of :class:`distok.labelers.clip.ClipLabeler`; the model's own learned scale if the temperature is None."""

    template: str = TEMPLATE
    temperature: float | None = None
    reading: str = "whole"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)
        check_choice("reading", self.reading, ("whole", "places"))


@dataclass(frozen=True)
class SiglipSettings(Settings):
    """Settings of :class:`distok.labelers.siglip.SiglipLabeler`."""

    template: str = TEMPLATE
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)
        check_positive("temperature", self.temperature)


@dataclass(frozen=True)
class MatchingSettings(Settings):
    """Settings of :class:`distok.labelers.blip.BlipMatchingLabeler`; the temperature defaults by reading: 1 or 0.07."""

    template: str = TEMPLATE
    temperature: float | None = None
    reading: str = "match"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)
        check_choice("reading", self.reading, ("match", "cosine"))


@dataclass(frozen=True)
class AnswerSettings(Settings):
    """Settings of the labelers that are asked: the template turns a name into the answer, ``likelihood`` adds up its tokens."""

    question: str = QUESTION
    template: str = "{}"
    temperature: float = 1.0
    likelihood: str = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.question, str) or not self.question.strip():
            raise DistokError(f"the labeler's question is {self.question!r}; ask one, as in {QUESTION!r}")
        check_template(self.template, "{}")
        check_positive("temperature", self.temperature)
        check_choice("likelihood", self.likelihood, ("sum", "mean"))


@dataclass(frozen=True)
class EnsembleSettings(Settings):
    """Settings of :class:`distok.labelers.ensemble.EnsembleLabeler` itself; its members have their own."""

    temperature: float = 1.0
    mean: str = "arithmetic"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)
        check_choice("mean", self.mean, ("arithmetic", "geometric"))


def check_template(template: Any, example: str = TEMPLATE) -> None:
    """Check that a template has a place for the name."""
    if not isinstance(template, str) or "{}" not in template:
        raise DistokError(f"the labeler's template is {template!r}; write {{}} where the name goes, as in {example!r}")


def check_positive(what: str, value: Any) -> None:
    """Check a number that must be finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DistokError(f"the labeler's {what} is {value!r}; give a finite number above 0, such as 0.01")


def check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    """Check a setting that is one of a few words."""
    if value not in choices:
        raise DistokError(f"the labeler's {what} is {value!r}; choose one of {', '.join(choices)}")
