"""Choices between two: sides that stay what they are as a study grows, and a ranking of those alone that were chosen from."""

import json

import pytest

from distok.judge import pairwise
from distok.judge.asking import Desk
from distok.judge.cache import Cache
from distok.judge.items import Item, matches
from distok.judge.settings import Endpoint as Settings
from tests.judge_endpoint import Endpoint, picture

LIGHT = {"third": 60, "first": 200, "second": 120}  # a method's brightness


@pytest.fixture
def made(tmp_path):
    """The items of some methods, in their order, in some cases."""

    def make(methods: str, cases: int) -> list[Item]:
        items = []
        for method in methods.split():
            for case in range(cases):
                path = tmp_path / f"{method}-{case}.png"
                picture(LIGHT[method] + case, seed=case).save(path)
                items.append(Item(path, method, f"case-{case}", "pig=0.6, owl=0.4"))
        return items

    return make


def desk(server: Endpoint, questions, folder, **changes) -> Desk:
    return Desk(questions, Settings(base_url=server.url, model="judge-1", backoff=0.01), Cache(folder), **changes)


def test_more_methods_and_pictures_leave_the_sides_as_they_were(made, tmp_path):
    few, many = matches(made("first second", 12)), matches(made("third second first", 14))
    with Endpoint() as server:
        start = desk(server, pairwise.questions(few, 2, mirror=False), tmp_path / "answers")
        start.ask()
        assert (start.total, len(server.requests)) == (24, 24)
        found = pairwise.compare(few, start, 2, mirror=False)
        more = desk(server, pairwise.questions(many, 2, mirror=False), tmp_path / "answers")
        assert (more.total, more.left) == (3 * 14 * 2, 3 * 14 * 2 - 24), "no answer is paid again"
        more.ask()
        all_found = pairwise.compare(many, more, 2, mirror=False)
    shown = [record["shown_first"] for record in found.records]
    assert 5 <= shown.count("first") <= 19, "no side is always the same method's"
    assert any(a != b for a, b in zip(shown[::2], shown[1::2], strict=True)), "a repeat may be asked the other way round"
    (met,) = found.figures["criteria"]["overall"]["pairs"]
    assert (met["method"], met["wins"], met["losses"]) == ("first", 12, 0)
    assert [each["method"] for each in all_found.figures["criteria"]["overall"]["strengths"]] == ["first", "second", "third"]


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_limit_is_spent_on_whole_verdicts(made, tmp_path, repeats):
    met = matches(made("first second", 20))

    def verdicts(limit: int) -> int:
        asking = desk(server, pairwise.questions(met, repeats), tmp_path / "answers", limit=limit)
        asking.ask()
        records = pairwise.compare(met, asking, repeats).records
        given = [record["missing"] == "" for record in records]
        return sum(first and second for first, second in zip(given[::2], given[1::2], strict=True))

    with Endpoint() as server:
        assert verdicts(8) == 4
        assert verdicts(5) == 6  # 13 answers, one of them without its twin
        assert verdicts(1) == 7, "which is asked first in the next run"
        assert len(server.requests) == 14


def test_a_picture_that_is_replaced_while_the_judge_is_asked_keeps_its_verdict(made, tmp_path):
    few = matches(made("first second", 8))
    with Endpoint() as server:
        asking = desk(server, pairwise.questions(few, mirror=False), tmp_path / "answers")
        asking.ask()
        for a, _ in few:
            picture(0, seed=99).save(a.picture)
        found = pairwise.compare(few, asking, mirror=False)
    (met,) = found.figures["criteria"]["overall"]["pairs"]
    assert (met["wins"], met["losses"]) == (8, 0)


def test_the_seed_draws_the_sides(made):
    few = matches(made("first second", 12))

    def sides(seed):
        return [question.about["first"] for question in pairwise.questions(few, mirror=False, seed=seed)]

    assert sides(0) == sides(0)
    assert sides(0) != sides(1)


def test_methods_without_a_vote_are_not_ranked(made, tmp_path):
    met = matches(made("third first second", 1))
    with Endpoint() as server:
        asking = desk(server, pairwise.questions(met, mirror=False), tmp_path / "answers", limit=1)
        asking.ask()
        found = pairwise.compare(met, asking, mirror=False)
    (asked,) = [record for record in found.records if not record["missing"]]
    for entry in found.figures["criteria"].values():
        assert {each["method"] for each in entry["strengths"]} == {asked["method"], asked["against"]}
    assert len(found.tables[1].rows) == 2


def test_the_command_sends_the_key_and_the_settings_it_is_given(made, distok_command, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_JUDGE_KEY", "s3cret")
    items = made("first second", 3)
    rows = [{"picture": str(each.picture), "method": each.method, "case": each.case, "asked": each.asked} for each in items]
    (tmp_path / "manifest.json").write_text(json.dumps(rows))
    with Endpoint() as server:
        words = ["judge", "pairs", "manifest.json", "--base-url", server.url, "--model", "judge-1", "--timeout", 20]
        settings = ["--key-variable", "MY_JUDGE_KEY", "--max-tokens", 77, "--temperature", 0.5, "--no-mirror", "--repeats", 2]
        status, out, err = distok_command(*words, "--out", "out", *settings, "--json")
        assert (status, len(server.requests)) == (0, 3 * 2), err
        assert {request.headers["Authorization"] for request in server.requests} == {"Bearer s3cret"}
        assert {(request.body["max_tokens"], request.body["temperature"]) for request in server.requests} == {(77, 0.5)}
        assert "s3cret" not in out + err
        assert all(b"s3cret" not in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
        assert distok_command(*words, "--out", "plain", "--limit", 1)[0] == 0
        assert "Authorization" not in server.requests[-1].headers
        monkeypatch.delenv("MY_JUDGE_KEY")
        status, _, err = distok_command(*words, "--out", "none", "--key-variable", "MY_JUDGE_KEY")
        assert (status, err.splitlines()[-1]) == (
            2,
            "distok: the environment variable MY_JUDGE_KEY holds no usable key; set it, or leave --key-variable out",
        )
        assert len(server.requests) == 3 * 2 + 1
