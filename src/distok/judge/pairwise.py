"""Two pictures of one case by two methods: which is better? Asked in both orders, so that a liking for one side cancels."""

import hashlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from distok import seeds
from distok.evaluation.statistics import wilson
from distok.judge import preference
from distok.judge.asking import Desk, Question
from distok.judge.cache import Answer
from distok.judge.findings import Findings
from distok.judge.items import Item, Shown, methods_of, show
from distok.judge.preference import Vote
from distok.judge.prompts import CHOICES, CRITERIA, OVERALL, comparing_messages
from distok.judge.scoring import account, check_repeats, gaps, missing
from distok.judge.validation import parse_answer

Match = tuple[Item, Item]


def questions(
    matches: Sequence[Match], repeats: int = 1, mirror: bool = True, seed: int = 0, size: int | None = None
) -> list[Question]:
    """Two questions a match and repeat, mirrored; only one, with the sides drawn by ``seed``, without ``mirror``.

    The two are one group: neither counts without the other.

    Raises:
        DistokError: no repeat, or a file is not a picture.
    """
    check_repeats(repeats)
    shown: dict[Path, Shown] = {}
    asked = []
    for number, match in enumerate(matches):
        for item in match:
            if item.picture not in shown:
                shown[item.picture] = show(item.picture, size)
        for repeat, swapped in _plan(match, repeats, mirror, seed):
            first, second = reversed(match) if swapped else match
            pictures = (shown[first.picture], shown[second.picture])
            about = {"case": first.case, "first": first.method, "second": second.method}
            messages = comparing_messages(first, *pictures)
            parse = partial(parse_answer, schema=CHOICES)
            asked.append(Question(messages, pictures, parse, repeat, about, group=(number, repeat)))
    return asked


def compare(matches: Sequence[Match], desk: Desk, repeats: int = 1, mirror: bool = True, seed: int = 0) -> Findings:
    """Sum up the answers to :func:`questions` that ``desk`` holds.

    The verdict on a match is for the picture chosen more often over both orders and all repeats, a tie where neither is.
    Mirrored, an order without its mirror image is left out, so that a preference for a side cannot decide. Methods without a
    verdict are not ranked.
    """
    items = [item for match in matches for item in match]
    methods, answers = methods_of(items), iter(desk.answers())
    records: list[dict[str, Any]] = []
    votes: dict[str, list[Vote]] = {name: [] for name in (*CRITERIA, OVERALL)}
    for match in matches:
        a, b = match
        given = [(repeat, swapped, next(answers)) for repeat, swapped in _plan(match, repeats, mirror, seed)]
        records += [_record(a, b, swapped, repeat, answer) for repeat, swapped, answer in given]
        for name, own in votes.items():
            points = _points(given, name, mirror)
            if points is not None:
                own.append(Vote(a.method, b.method, (points > 0) - (points < 0), a.case))
    figures: dict[str, Any] = {"criteria": {}, "repeats": repeats, "mirror": mirror, **account(desk), **_sides(records, mirror)}
    for name, own in votes.items():
        if own:
            met = [method for method in methods if any(method in (vote.first, vote.second) for vote in own)]
            figures["criteria"][name] = {
                "pairs": preference.pairs(own, met),
                "strengths": preference.strengths(own, met, seed),
            }
    overall = figures["criteria"].get(OVERALL, {"pairs": [], "strengths": []})
    tables = preference.tables(overall["pairs"], overall["strengths"], "Choices, all in all", f"cases. {_side_note(figures)}")
    return Findings(figures, tables, records)


def _plan(match: Match, repeats: int, mirror: bool, seed: int) -> list[tuple[int, bool]]:
    """(repeat, swapped) of every question about a match.

    The sides hang on the case and its two pictures alone: with more methods or pictures, what was asked before is asked alike,
    and its answers are found again.
    """
    digests = [_digest(item.picture) for item in match]
    plan = []
    for repeat in range(repeats):
        turned = bool(seeds.derive(seed, "side", match[0].case, *sorted(digests), repeat) % 2)
        swapped = turned != (digests[0] > digests[1])
        plan += [(repeat, swapped), (repeat, not swapped)] if mirror else [(repeat, swapped)]
    return plan


@cache
def _digest(picture: Path) -> str:
    """A hash of a picture's pixels. Read once, so that a file replaced while the judge is asked keeps the side it had."""
    from distok.concept import load_picture

    pixels = load_picture(picture)
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()


def _points(given: Sequence[tuple[int, bool, Answer | None]], name: str, mirror: bool) -> int | None:
    """How much more often the first item of a match was chosen than the second; None where nothing counts."""
    by: dict[int, list[int]] = {}
    for repeat, swapped, answer in given:
        if answer is not None and answer.value is not None:
            by.setdefault(repeat, []).append(_sign(answer.value[name], swapped))
    whole = [signs for signs in by.values() if len(signs) == (2 if mirror else 1)]
    return sum(map(sum, whole)) if whole else None


def _sign(choice: str, swapped: bool) -> int:
    return 0 if choice == "tie" else 1 if (choice == "first") != swapped else -1


def _record(a: Item, b: Item, swapped: bool, repeat: int, answer: Answer | None) -> dict[str, Any]:
    value = answer.value if answer is not None and answer.value is not None else {}
    return {
        "case": a.case,
        "asked": a.asked,
        "method": a.method,
        "against": b.method,
        "picture": str(a.picture),
        "against_picture": str(b.picture),
        "repeat": repeat,
        "shown_first": (b if swapped else a).method,
        **{name: {1: "method", -1: "against", 0: "tie"}[_sign(value[name], swapped)] if value else "" for name in CHOICES},
        "missing": missing(answer),
    }


def _sides(records: Sequence[dict[str, Any]], mirror: bool) -> dict[str, Any]:
    """How often the picture shown first was chosen, of decided answers; and how often both orders agreed."""
    decided = [record for record in records if record[OVERALL] in ("method", "against")]
    first = sum((record["shown_first"] == record["method"]) == (record[OVERALL] == "method") for record in decided)
    low, high = wilson(first, len(decided))
    bias = {"share": first / len(decided) if decided else None, "low": low, "high": high, "decided": len(decided)}
    twins = list(zip(records[::2], records[1::2], strict=True)) if mirror else []
    whole = [(x[OVERALL], y[OVERALL]) for x, y in twins if x[OVERALL] and y[OVERALL]]
    agree = sum(x == y for x, y in whole) / len(whole) if whole else None
    return {"first_side": bias, "orders_agree": agree}


def _side_note(figures: dict[str, Any]) -> str:
    bias, agree = figures["first_side"], figures["orders_agree"]
    parts = [gaps(figures)]
    if bias["share"] is not None:
        parts.append(f"Shown first and chosen: {bias['share']:.0%} [{bias['low']:.0%}, {bias['high']:.0%}].")
    if agree is not None:
        parts.append(f"Both orders agree: {agree:.0%}.")
    return " ".join(parts)
