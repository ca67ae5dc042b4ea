"""The bars that a world and its tools are held to, and whether figures pass them."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from distok.evaluation.report import Table, number, share


@dataclass(frozen=True)
class Bar:
    """A limit for every figure whose key matches ``key`` (``*`` matches any text)."""

    key: str
    limit: float
    at_least: bool

    def passed(self, value: float) -> bool:
        """Whether a figure meets it; one that is not a number does not."""
        return value >= self.limit if self.at_least else value <= self.limit


BARS: tuple[Bar, ...] = (
    Bar("evaluator: KL, single species", 0.03, False),
    Bar("evaluator: KL, pairs, *", 0.10, False),
    Bar("evaluator: KL, held-out pairs", 0.10, False),
    Bar("evaluator: KL, three, *", 0.20, False),
    Bar("evaluator: KL, four, *", 0.20, False),
    Bar("evaluator: both parents the top 2, *", 0.95, True),
    Bar("labeler: top-1, single species", 0.99, True),
    Bar("labeler: both parents in the top 3, held-out pairs", 0.85, True),
    Bar("checkpoint: top-1, single species", 0.95, True),
    Bar("checkpoint: both parents in the top 3, held-out pairs", 0.75, True),
    Bar("checkpoint: style *", 0.90, True),
    Bar("checkpoint: scene *", 0.90, True),
    Bar("checkpoint: accessory *", 0.90, True),
    Bar("speed: seconds a picture, batch of 8", 0.5, False),
    Bar("speed: seconds from cold, distok create -n 4", 10.0, False),
    Bar("speed: seconds, distok --help", 0.5, False),
)


def bar_of(key: str) -> Bar | None:
    """The bar a figure is held to, if there is one."""
    return next((bar for bar in BARS if fnmatchcase(key, bar.key)), None)


def verdicts(figures: Mapping[str, float]) -> list[dict[str, object]]:
    """Each figure with its limit (None where it has no bar) and whether it passed."""
    found = []
    for key, value in figures.items():
        bar = bar_of(key)
        sign = None if bar is None else f"{'≥' if bar.at_least else '≤'} {bar.limit:g}"
        found.append({"figure": key, "value": value, "bar": sign, "passed": None if bar is None else bar.passed(value)})
    return found


def verdict_table(title: str, figures: Mapping[str, float], note: str = "") -> Table:
    """Figures beside their bars, with pass or MISS."""
    rows = []
    for each in verdicts(figures):
        value, bar = figures[str(each["figure"])], bar_of(str(each["figure"]))
        as_share = any(word in str(each["figure"]) for word in ("top", "style", "scene", "accessory", "share"))
        limit = "" if bar is None else f"{'≥' if bar.at_least else '≤'} {share(bar.limit) if as_share else number(bar.limit)}"
        result = "" if bar is None else "pass" if each["passed"] else "MISS"
        rows.append((str(each["figure"]), share(value) if as_share else number(value), limit, result))
    return Table(title, ("figure", "measured", "bar", ""), tuple(rows), note)
