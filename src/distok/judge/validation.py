"""A small strict reader of the judge's JSON answers: exactly the members asked for, each of its kind and in its range."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)


class NonsenseError(ValueError):
    """An answer that is not what was asked for; its text says what is wrong, to the model."""


@dataclass(frozen=True)
class Number:
    """A number in [low, high]."""

    low: float
    high: float

    def check(self, value: Any) -> float:
        """The value, or why not."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # A whole number is not made a float of, here or in words: of hundreds of digits, it is too large for one.
        if not number or (isinstance(value, float) and not math.isfinite(value)):
            raise NonsenseError(f"is {json.dumps(value)[:40]}, not a number")
        if not self.low <= value <= self.high:
            raise NonsenseError(f"is {json.dumps(value)[:40]}, outside {self.low:g} to {self.high:g}")
        return float(value)


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: Sequence[str]

    def check(self, value: Any) -> str:
        """The value, or why not."""
        if not isinstance(value, str) or value not in self.words:
            raise NonsenseError(f"is {json.dumps(value)[:40]}, not one of {', '.join(self.words)}")
        return value


Schema = Mapping[str, Number | Choice]


def parse_answer(text: str | None, schema: Schema) -> dict[str, float | str]:
    """Read one JSON object with exactly the members of ``schema``; a markdown fence around it is allowed, nothing else is.

    Raises:
        NonsenseError: it is anything else; says what.
    """
    text = (text or "").strip()
    if not text:
        raise NonsenseError("the answer is empty")
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text, object_pairs_hook=_once)
    except NonsenseError:
        raise
    except (ValueError, RecursionError):
        raise NonsenseError("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise NonsenseError("the answer is not a JSON object")
    for name in value:
        if name not in schema:
            raise NonsenseError(f"{json.dumps(name)[:40]} was not asked for")
    for name in schema:
        if name not in value:
            raise NonsenseError(f"{name!r} is missing")
    found: dict[str, float | str] = {}
    for name, rule in schema.items():
        try:
            found[name] = rule.check(value[name])
        except NonsenseError as error:
            raise NonsenseError(f"{name!r} {error}") from None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise NonsenseError("a member is given twice")
    return dict(pairs)
