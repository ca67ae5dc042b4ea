"""A judge's marks and choices are counted by case: pictures of one case are no independent cases."""

from types import SimpleNamespace

from PIL import Image

from distok.judge import pairwise
from distok.judge.cache import Answer
from distok.judge.items import Item
from distok.judge.prompts import CHOICES, CRITERIA
from distok.judge.scoring import assess


def test_pictures_of_one_case_count_once(tmp_path):
    marks = {"a": 2.0, "b": 4.0, "c": 9.0}
    items = [Item(tmp_path / n, "m", case, "pig=1") for n, case in (("a", "1"), ("b", "1"), ("c", "2"))]

    answers = [Answer(dict.fromkeys(CRITERIA, marks[i.picture.name])) for i in items]
    endpoint = SimpleNamespace(model="j", base_url="x")
    desk = SimpleNamespace(answers=lambda: answers, kept=dict(enumerate(answers)), begun={}, total=3, endpoint=endpoint)
    assert assess(items, desk, 1).figures["methods"]["m"]["fusion"].mean == 6


def test_marks_of_few_cases_stay_within_the_scale_and_one_case_has_no_ends(tmp_path):
    for cases, told in (("12", "6.00 [0.00, 10.00]"), ("1", "3.00")):
        marks = {"a": 3.0, "b": 9.0}
        items = [Item(tmp_path / name, "m", case, "pig=1") for name, case in zip("ab", cases, strict=False)]
        answers = [Answer(dict.fromkeys(CRITERIA, marks[item.picture.name])) for item in items]
        endpoint = SimpleNamespace(model="j", base_url="x")
        desk = SimpleNamespace(
            answers=lambda given=answers: given, kept=dict(enumerate(answers)), begun={}, total=len(answers), endpoint=endpoint
        )
        (table,) = assess(items, desk, 1).tables
        assert table.rows[0][2] == told
        assert "bootstrap" not in table.note


def test_choices_are_resampled_by_case(tmp_path, monkeypatch):
    for name, level in (("a", 10), ("b", 90)):
        Image.new("RGB", (4, 4), (level,) * 3).save(tmp_path / f"{name}.png")
    met = [(Item(tmp_path / "a.png", "one", case, "pig=1"), Item(tmp_path / "b.png", "two", case, "pig=1")) for case in "xyz"]
    given = Answer(dict.fromkeys(CHOICES, "first"))
    desk = SimpleNamespace(
        answers=lambda: [given] * 3, kept={0: given}, begun={}, total=3, endpoint=SimpleNamespace(model="j", base_url="x")
    )
    seen, strengths = [], pairwise.preference.strengths
    monkeypatch.setattr(
        pairwise.preference, "strengths", lambda votes, *more: seen.append({v.cluster for v in votes}) or strengths(votes, *more)
    )
    pairwise.compare(met, desk, mirror=False)
    assert seen == [{"x", "y", "z"}] * 5
