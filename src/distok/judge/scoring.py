"""The paper's assessment: every picture gets marks from 0 to 10 for fusion, alignment, originality and aesthetics.

Shapes: r repeats.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from distok.errors import DistokError
from distok.judge.asking import Desk, Question
from distok.judge.cache import Answer
from distok.judge.findings import Findings
from distok.judge.items import Item, methods_of, show
from distok.judge.prompts import CRITERIA, SCORES, scoring_messages
from distok.judge.validation import parse_answer

if TYPE_CHECKING:
    from distok.evaluation.report import Table
    from distok.evaluation.statistics import Interval

AVERAGE = "average"


def questions(items: Sequence[Item], repeats: int = 3, size: int | None = None) -> list[Question]:
    """``repeats`` questions a picture, picture by picture; ``size`` is the longest side shown.

    Raises:
        DistokError: no repeat, or a file is not a picture.
    """
    check_repeats(repeats)
    asked = []
    for item in items:
        shown = show(item.picture, size)
        messages = scoring_messages(item, shown)
        about = {"picture": item.picture.name, "method": item.method, "case": item.case}
        parse = partial(parse_answer, schema=SCORES)
        asked += [Question(messages, (shown,), parse, repeat, about) for repeat in range(repeats)]
    return asked


def assess(items: Sequence[Item], desk: Desk, repeats: int, seed: int = 0) -> Findings:
    """Sum up the answers to :func:`questions` that ``desk`` holds; what is missing or not asked yet is said, never counted as 0.

    A method's mean is over its cases (each the mean of its pictures, each the mean of its repeats), with a 95 %
    interval over cases. The spread is the standard deviation between the repeats of one picture, averaged over pictures.
    """
    from distok.evaluation.statistics import bootstrap

    answers = desk.answers()
    rows, records = [], []
    for i, item in enumerate(items):
        given = answers[i * repeats : (i + 1) * repeats]
        marks = [answer.value for answer in given if answer is not None and answer.value is not None]
        rows.append((item, marks))
        records += [_record(item, repeat, answer) for repeat, answer in enumerate(given)]
    methods: dict[str, Any] = {}
    for method in methods_of(items):
        own = [(item, marks) for item, marks in rows if item.method == method]
        scored = [(item, marks) for item, marks in own if marks]
        entry: dict[str, Any] = {"pictures": len(own), "scored": len(scored)}
        for name in (*CRITERIA, AVERAGE):
            cases: dict[str, list[float]] = {}
            for item, marks in scored:
                cases.setdefault(item.case, []).append(fmean(_mark(mark, name) for mark in marks))
            entry[name] = bootstrap([fmean(values) for values in cases.values()], seed) if cases else None
            repeated = [stdev(_mark(mark, name) for mark in marks) for _, marks in scored if len(marks) > 1]
            entry[f"{name}_spread"] = fmean(repeated) if repeated else None
        methods[method] = entry
    figures = {"methods": methods, "repeats": repeats, **account(desk)}
    return Findings(figures, (_table(methods, figures),), records)


def account(desk: Desk) -> dict[str, Any]:
    """How the asking went: answers, gaps with their reasons, tokens paid for."""
    answers = list(desk.kept.values())
    paid = [*answers, *desk.begun.values()]
    reasons = Counter(answer.reason for answer in answers if answer.value is None)
    return {
        "model": desk.endpoint.model,
        "base_url": desk.endpoint.base_url,
        "questions": desk.total,
        "answered": sum(answer.value is not None for answer in answers),
        "missing": sum(reasons.values()),
        "not_asked": desk.total - len(answers),
        "reasons": dict(reasons),
        "requests": sum(answer.requests for answer in paid),
        "tokens_in": sum(answer.tokens_in for answer in paid),
        "tokens_out": sum(answer.tokens_out for answer in paid),
    }


def check_repeats(repeats: int) -> None:
    """Refuse less than one repeat."""
    if repeats < 1:
        raise DistokError(f"repeats is {repeats}, but at least 1 is expected; correct it")


def missing(answer: Answer | None) -> str:
    """Why there is no answer of use; empty where there is one."""
    return "not asked yet" if answer is None else answer.reason


def gaps(figures: Mapping[str, Any], role: str = "Judge") -> str:
    """What is missing, in words, and who was asked."""
    parts = [f"{figures['answered']} of {figures['questions']} answers"]
    if figures["missing"]:
        parts.append(f"{figures['missing']} without a usable answer, left out")
    if figures["not_asked"]:
        parts.append(f"{figures['not_asked']} not asked yet")
    return "; ".join(parts) + f". {role}: {figures['model']}."


def _mark(mark: dict[str, float], name: str) -> float:
    return fmean(mark.values()) if name == AVERAGE else mark[name]


def _record(item: Item, repeat: int, answer: Answer | None) -> dict[str, Any]:
    value = answer.value if answer is not None and answer.value is not None else {}
    return {
        "picture": str(item.picture),
        "method": item.method,
        "case": item.case,
        "asked": item.asked,
        "repeat": repeat,
        **{name: value.get(name, "") for name in CRITERIA},
        AVERAGE: fmean(value.values()) if value else "",
        "missing": missing(answer),
    }


def _cell(interval: "Interval | None") -> str:
    """Marks end at 0 and 10, which Student's t does not know; of one case nothing is known of the spread."""
    if interval is None:
        return "–"
    ends = f" [{max(interval.low, 0):.2f}, {min(interval.high, 10):.2f}]" if isfinite(interval.low) else ""
    return f"{interval.mean:.2f}{ends}"


def _table(methods: dict[str, Any], figures: dict[str, Any]) -> "Table":
    from distok.evaluation.report import Table

    names = (*CRITERIA, AVERAGE)
    rows = []
    for method, entry in methods.items():
        cells = [_cell(entry[name]) for name in names]
        spread = entry[f"{AVERAGE}_spread"]
        rows.append((method, f"{entry['scored']}/{entry['pictures']}", *cells, "–" if spread is None else f"{spread:.2f}"))
    columns = ("method", "pictures", *names, "spread")
    note = f"Means over cases, 95 % interval; spread: of the average, between repeats. {gaps(figures)}"
    return Table("Marks, 0 to 10", columns, tuple(rows), note)
