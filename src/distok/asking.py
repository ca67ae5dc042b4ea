"""What may be asked of a creator, and how its progress adds up."""

import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from distok.distribution import Distribution
from distok.distribution.parsing import EXAMPLE
from distok.errors import DistokError

PROMPT = "a photo of a {}"
MAX_PICTURES = 1000
MAX_SEED = 2**63 - 1
DRAWING = ("steps", "guidance_scale", "size", "negative_prompt")
PLACE = "<tcrt>"  # the one extra name in the private tokenizers of distok.backends; each occurrence is then numbered

Mix = Distribution | Mapping[str, float] | str
Progress = Callable[[int, int], None]  # (steps done, steps in all)


def as_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names, and not one text, whose letters would be taken for classes."""
    if isinstance(names, str):
        raise DistokError(f"the class names are the text {names[:40]!r}; give a list of names")
    return tuple(names)


def as_distribution(mix: Mix, known: Sequence[str] | None = None, strangers: bool = False) -> Distribution:
    """Return a mix in any of its forms as a ``Distribution`` over known classes (any word with None).

    Args:
        known: how the mix spells the names that are among them.
        strangers: accept other names, too, as they are typed: ``--any-words``.
    """
    if not isinstance(mix, str | Mapping | Distribution):
        raise DistokError(f"a mix is text like {EXAMPLE}, a mapping of weights or a Distribution, not a {type(mix).__name__}")
    if isinstance(mix, str):
        made = Distribution.parse(mix, known, strangers)
    else:
        made = Distribution.from_mapping(mix.as_dict() if isinstance(mix, Distribution) else mix, known, strangers)
    for name in made.names:
        check_text(name, "the class")
    return made


def slug(distribution: Distribution) -> str:
    """Return a file name for a mix: ``pig55-sheep25-snake20``, its four heaviest classes."""
    parts = [f"{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'x'}{weight * 100:.0f}" for name, weight in distribution.top(4)]
    return "-".join(parts)[:80] + ("-etc" if len(distribution.names) > 4 else "")


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that has no place for the concept, or is no text."""
    check_text(prompt, "the prompt")
    if "{}" not in prompt:
        raise DistokError(f"the prompt {prompt[:60]!r} has no {{}}; write {{}} where the concept goes, as in {PROMPT!r}")


def check_text(text: str, what: str) -> None:
    """Refuse text that no tokenizer takes as it is."""
    if not isinstance(text, str):
        raise DistokError(f"{what} is {text!r}, but text is expected")
    if any("\ud800" <= sign <= "\udfff" for sign in text):  # what Python makes of bytes that are not UTF-8
        raise DistokError(f"{what} {text[:60]!r} holds bytes that are no UTF-8; type it again")
    if PLACE in text:
        raise DistokError(f"{what} {text[:60]!r} holds {PLACE}, which is what a concept's place is called inside; leave it out")


def check_drawing(prompt: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse a prompt, steps, guidance, size or negative prompt that no pipeline takes, before one is loaded or draws.

    Returns:
        The settings, NumPy's numbers as Python's own, which recipes can hold.
    """
    check_prompt(prompt)
    if strangers := [key for key in settings if key not in DRAWING]:
        raise DistokError(f"there is no setting {strangers[0]!r} of a drawing; there are {', '.join(DRAWING)}")
    given = {key: _plain(value) for key, value in settings.items()}
    check_text(given.get("negative_prompt") or "", "the negative prompt")
    from distok.backends.base import RenderDefaults  # takes a second to import

    RenderDefaults(**{key: value for key, value in given.items() if value is not None and key != "negative_prompt"})
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float) and type(value).__module__ == "builtins":
        return value
    return int(value) if isinstance(value, Integral) else float(value) if isinstance(value, Real) else value


def check_count(n: int) -> None:
    """Refuse a number of pictures that is not in 1 … 1000."""
    if not isinstance(n, Integral):
        raise DistokError(f"the number of pictures is {n!r}; give a whole number")
    if not 1 <= n <= MAX_PICTURES:
        raise DistokError(f"cannot make {n} pictures in one go; ask for 1 to {MAX_PICTURES}")


def within(callback: Progress | None, start: int, part: int, total: int) -> Progress | None:
    """Report the steps of a part, ``part`` of ``total`` pictures after the first ``start``, as steps of the whole."""
    if callback is None:
        return None

    def report(done: int, of: int) -> None:
        callback(start * of // part + done, total * of // part)

    return report


def seeds_from(seed: int, n: int) -> list[int]:
    """The seeds of ``n`` pictures, counted up from ``seed``."""
    if not isinstance(seed, Real):
        raise DistokError(f"the seed is {seed!r}; use a whole number from 0 to 2^63 - 1")
    if not 0 <= seed <= MAX_SEED - max(n - 1, 0) or seed != int(seed):
        several = f" less the {n - 1} that {n} pictures count up" if n > 1 else ""
        raise DistokError(f"the seed is {seed}; use a whole number from 0 to 2^63 - 1{several}")
    return [int(seed) + index for index in range(n)]  # NumPy's whole numbers are not JSON
