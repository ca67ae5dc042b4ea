"""Text to pairs of (class name, weight); what the weights mean is checked by ``Distribution``."""

import re

from distok.errors import DistokError

EXAMPLE = "pig=0.55, sheep=0.25, snake=0.2"
SEVERAL, ALONE = 0.25, 0.02  # that percentages of a mix, and of a class alone, may be off a whole

_NUMBER = r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_ASSIGNED = re.compile(r"(?P<name>[^=:]*)[=:](?P<weight>.*)", re.DOTALL)
_NUMBER_FIRST = re.compile(rf"(?P<weight>(?:{_NUMBER})\s*%?)(?:\s+|(?<=%))(?P<name>\D.*)", re.DOTALL)
_NUMBER_LAST = re.compile(rf"(?P<name>.*\S)\s+(?P<weight>(?:{_NUMBER})\s*%?)", re.DOTALL)
_PERCENT_FIRST = re.compile(rf"\s*(?:{_NUMBER})\s*%")
_ORDINAL = re.compile(r"\d+[.)]\s+\D.*", re.DOTALL)
_BARE_NUMBER = re.compile(rf"(?:{_NUMBER})\s*%?")


def split_parts(text: str) -> list[str]:
    """Cut a mix at commas, semicolons and line ends, dropping empty parts."""
    return [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]


def parse_parts(parts: list[str]) -> list[tuple[str, float]]:
    """Return (name, weight) of every part; names alone all weigh the same.

    Raises:
        DistokError: a weight is not a number, a number has no name, or some names have a weight and others none.
    """
    pairs = [_parse_part(part) for part in parts]
    bare = [name for name, weight in pairs if weight is None]
    if bare and len(bare) < len(pairs):
        raise DistokError(f"class '{shorten(bare[0])}' has no weight; give every class one, or none to any: {EXAMPLE}")
    _check_units(parts, pairs)
    return [(name, 1.0 if weight is None else weight) for name, weight in pairs]


def is_weighted(text: str) -> bool:
    """Whether text that may be a prompt is meant as a mix: it says ``=`` or ``%``, and each part has a weight of its own.

    "A pig that is 55% sheep", "50% off, a poster" and "blade runner 2049" are prompts; "pig=2, owl=1" and "55% pig, 45% sheep"
    are mixes. Percentages make a whole, roughly where there are several: "50% off" alone is no half of anything.
    """
    parts = split_parts(text)
    try:
        pairs = [_parse_part(part) for part in parts]
        _check_units(parts, pairs)
    except DistokError:
        return False
    if not any(sign in text for sign in "=%") or any(weight is None or set("=%") & set(name) for name, weight in pairs):
        return False
    return "%" not in text or abs(sum(weight or 0 for _, weight in pairs) - 1) <= (SEVERAL if len(pairs) > 1 else ALONE)


def _check_units(parts: list[str], pairs: list[tuple[str, float | None]]) -> None:
    """Some in per cent and others as parts of a whole would be a hundred times as heavy."""
    with_sign = [part.rstrip().endswith("%") or bool(_PERCENT_FIRST.match(part)) for part in parts]
    without = [
        (name, weight)
        for (name, weight), sign in zip(pairs, with_sign, strict=True)
        if not sign and weight is not None and abs(weight) > 1
    ]
    if any(with_sign) and without:
        name, weight = without[0]
        raise DistokError(f"the weight of '{shorten(name)}' is {weight:g}, and others are in per cent; write '{weight:g}%'")


def shorten(text: str, limit: int = 40) -> str:
    """Make text fit for one line of an error message."""
    text = "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _parse_part(part: str) -> tuple[str, float | None]:
    if _BARE_NUMBER.fullmatch(part):
        raise DistokError(f"'{shorten(part)}' is a number without a class; write decimals with a point, like {EXAMPLE}")
    if _ORDINAL.fullmatch(part) and "=" not in part:
        raise DistokError(
            f"'{shorten(part)}' looks like a line of a numbered list; leave the numbers out, or give weights: {EXAMPLE}"
        )
    match = _ASSIGNED.fullmatch(part) or _NUMBER_FIRST.fullmatch(part) or _NUMBER_LAST.fullmatch(part)
    if match is None:
        return part, None
    name, weight = match["name"].strip(), match["weight"].strip()
    if not name:
        raise DistokError(f"'{shorten(part)}' has a weight but no class; write it like {EXAMPLE}")
    return name, _parse_weight(name, weight)


def _parse_weight(name: str, text: str) -> float:
    percent = text.endswith("%")
    try:
        value = float(text.removesuffix("%").strip())
    except ValueError:
        raise DistokError(
            f"the weight of '{shorten(name)}' is '{shorten(text)}', not a number; write it like {EXAMPLE}"
        ) from None
    return value / 100 if percent else value
