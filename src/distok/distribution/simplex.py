"""A ``Distribution``: weights over named classes, valid by construction.

Shapes: K = number of names asked about.
"""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from distok.distribution.parsing import EXAMPLE, parse_parts, shorten, split_parts
from distok.errors import DistokError

MAX_CLASSES = 1000
_SUM_TOLERANCE = 1e-12  # far above the rounding of a sum over MAX_CLASSES weights, so that normalising twice changes nothing


@dataclass(frozen=True)
class Distribution:
    """Weights over named classes, for example 55 % pig, 25 % sheep, 20 % snake.

    Whatever non-negative weights it is given, it holds them divided by their sum.

    Attributes:
        names: the classes, each once, in the order given.
        weights: one weight a class, in [0, 1], summing to 1.

    Raises:
        DistokError: no class, more than ``MAX_CLASSES``, a class twice, a name that is empty or cannot be pasted back, a weight
            that is negative or not finite, or weights that are all zero.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        names, weights = tuple(self.names), tuple(float(weight) for weight in self.weights)
        if len(names) != len(weights):
            raise DistokError(f"{len(names)} classes but {len(weights)} weights; give one weight for each class")
        _check_count(len(names))
        _check_names(names)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "weights", _normalise(names, weights))

    @classmethod
    def parse(cls, text: str, known: Iterable[str] | None = None, strangers: bool = False) -> "Distribution":
        """Read ``"pig=0.55, sheep=0.25"``, ``"55% pig, 45% sheep"`` or ``"pig, sheep"`` (equal weights).

        Args:
            text: the mix; weights of any positive sum.
            known: the class names to accept (case and the width of spaces do not matter); the mix spells them as they do. None
                accepts any word.
            strangers: accept other names beside the known ones, as they are typed.

        Raises:
            DistokError: see the class; and a class that is not known, with the nearest known one.
        """
        parts = split_parts(text)
        _check_count(len(parts))  # before any other work on what may be a pasted book
        return cls._of_pairs(parse_parts(parts), known, strangers)

    @classmethod
    def from_mapping(
        cls, weights: Mapping[str, float], known: Iterable[str] | None = None, strangers: bool = False
    ) -> "Distribution":
        """Build from ``{"pig": 0.55, "sheep": 0.25}``; takes names, and raises, as :meth:`parse`."""
        pairs = []
        for name, weight in weights.items():
            try:
                pairs.append((name, float(weight)))
            except (TypeError, ValueError):
                raise DistokError(f"the weight of '{shorten(str(name))}' is {weight!r}; use a number, like {EXAMPLE}") from None
        return cls._of_pairs(pairs, known, strangers)

    @classmethod
    def from_vector(
        cls, names: Sequence[str], vector: Float[np.ndarray, " k"] | Sequence[float], floor: float = 0.0
    ) -> "Distribution":
        """Build from one weight a name; weights of at most ``floor`` are left out, the rest is normalised."""
        pairs = [(name, float(weight)) for name, weight in zip(names, vector, strict=True)]
        kept = [pair for pair in pairs if not pair[1] <= floor]  # keeps NaN, which is then refused by name
        if not kept:
            raise DistokError(f"no weight is above the floor {floor:g}; lower it")
        return cls._of_pairs(kept, None)

    @classmethod
    def _of_pairs(
        cls, pairs: Sequence[tuple[str, float]], known: Iterable[str] | None, strangers: bool = False
    ) -> "Distribution":
        _check_count(len(pairs))
        names = [name for name, _ in pairs]
        spelled = names if known is None else _spell(names, known, strangers)
        return cls(tuple(spelled), tuple(weight for _, weight in pairs))

    def as_dict(self) -> dict[str, float]:
        """Return ``{name: weight}`` in the order of ``names``."""
        return dict(zip(self.names, self.weights, strict=True))

    def over(self, names: Sequence[str]) -> Float[np.ndarray, " k"]:
        """Return the weights as a float64 vector over ``names`` (0 where a name is not in the mix).

        Raises:
            DistokError: a class with weight is not among ``names``.
        """
        missing = [name for name, weight in self.as_dict().items() if weight > 0 and name not in set(names)]
        if missing:
            raise DistokError(f"class '{missing[0]}' is not among the {len(names)} classes asked for; add it to them")
        weights = self.as_dict()
        return np.array([weights.get(name, 0.0) for name in names], dtype=np.float64)

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` heaviest (name, weight) pairs, heaviest first; ties keep the order of ``names``."""
        return sorted(self.as_dict().items(), key=lambda pair: -pair[1])[:k]

    def __str__(self) -> str:
        decimals = next((d for d in (2, 3, 4, 6) if all(abs(round(w, d) - w) < 1e-9 for w in self.weights)), 4)
        return ", ".join(f"{name}={_format(weight, decimals)}" for name, weight in self.as_dict().items())


def _format(weight: float, decimals: int) -> str:
    return f"{weight:.{decimals}f}" if weight == 0 or round(weight, decimals) > 0 else f"{weight:.2g}"


def _check_count(count: int) -> None:
    if count == 0:
        raise DistokError(f"the mix is empty; name at least one class, like {EXAMPLE}")
    if count > MAX_CLASSES:
        raise DistokError(f"{count} classes are more than a mix can hold; name at most {MAX_CLASSES}")


def _check_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "=:,;\n"):
            raise DistokError(f"'{shorten(str(name))}' cannot name a class; use a word without = : , ;")
        if name.casefold() in seen:
            raise DistokError(f"class '{shorten(name)}' is named twice; add its weights up and name it once")
        seen.add(name.casefold())


def _normalise(names: Sequence[str], weights: Sequence[float]) -> tuple[float, ...]:
    for name, weight in zip(names, weights, strict=True):
        if not math.isfinite(weight):
            raise DistokError(f"the weight of '{shorten(name)}' is {weight}; use a finite number, like {EXAMPLE}")
        if weight < 0:
            raise DistokError(f"the weight of '{shorten(name)}' is {weight:g}, below zero; use 0 or more, or leave the class out")
    largest = max(weights)
    if largest == 0:
        raise DistokError(f"all weights are zero; give at least one class a weight above zero, like {EXAMPLE}")
    if largest <= 1 and abs(math.fsum(weights) - 1) <= _SUM_TOLERANCE:
        return tuple(weights)
    scaled = [weight / largest for weight in weights]  # first by the largest: the plain sum may overflow
    total = math.fsum(scaled)
    return tuple(weight / total for weight in scaled)


def _spell(names: Sequence[str], known: Iterable[str], strangers: bool) -> list[str]:
    """Return the names as ``known`` spells them; strangers to it stay as they are, or are refused."""
    spelling = {_folded(name): name for name in known}
    for name in () if strangers else names:
        if _folded(name) not in spelling:
            raise DistokError(_unknown(name, spelling))
    return [spelling.get(_folded(name), name) for name in names]


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _unknown(name: str, spelling: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name.casefold(), spelling, n=3, cutoff=0.6) if len(name) <= 100 else []
    if near:
        return f"unknown class '{shorten(name)}'; did you mean {' or '.join(repr(spelling[n]) for n in near)}?"
    listed = sorted(spelling.values())
    more = f", … ({len(listed)} in all)" if len(listed) > 8 else ""
    return f"unknown class '{shorten(name)}'; the model knows {', '.join(listed[:8])}{more}"
