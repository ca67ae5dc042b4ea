"""An endpoint that fails in the middle of a run: what was paid for is kept and counted, and what is known is written."""

import time

import pytest

from distok.errors import DistokError
from distok.judge import asking, scoring
from distok.judge.asking import Desk
from distok.judge.cache import Cache
from distok.judge.items import Item
from distok.judge.settings import Endpoint as Settings
from tests.judge_endpoint import Endpoint, Request, Response, by_brightness, picture


@pytest.fixture
def items(tmp_path):
    """Six pictures, each brighter than the one before."""
    listed = []
    for case in range(6):
        path = tmp_path / "ours" / f"{case}.png"
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".txt").write_text("pig=0.6, owl=0.4")
        picture(30 + 30 * case, seed=case).save(path)
        listed.append(Item(path, "ours", str(case), "pig=0.6, owl=0.4"))
    return listed


@pytest.fixture
def desk(items, tmp_path):
    def make(server: Endpoint, retry_missing: bool = False, **changes) -> Desk:
        settings = Settings(**{"base_url": server.url, "model": "judge-1", "backoff": 0.01, "attempts": 2, **changes})
        return Desk(scoring.questions(items, 1), settings, Cache(tmp_path / "answers"), retry_missing=retry_missing)

    return make


def test_what_is_on_its_way_when_the_endpoint_fails_is_waited_for(desk, monkeypatch):
    monkeypatch.setattr(asking, "GRACE", 0.0)

    def script(number: int, request: Request) -> Response:
        if number == 1:
            return Response(status=401, hang=0.1)  # while the second request is on its way
        slow = by_brightness(number, request)
        slow.hang = 0.5
        return slow

    with Endpoint(script) as server:
        with pytest.raises(DistokError, match=r"refuses the key.*; 1 of 6 answers are kept in "):
            desk(server, concurrency=2).ask()
        assert (len(server.requests), desk(server).left) == (2, 5)


def test_nobody_waits_after_an_interrupt(desk, monkeypatch):
    monkeypatch.setattr(asking, "GRACE", 0.0)

    def script(number: int, request: Request) -> Response:
        answer = by_brightness(number, request)
        answer.hang = 0.05 if number == 1 else 2.0
        return answer

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Endpoint(script) as server:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            desk(server, concurrency=2).ask(interrupt)
        assert time.monotonic() - began < 1.5


def test_an_answer_of_no_use_is_counted_though_the_endpoint_fails_after_it(items, desk):
    with Endpoint(lambda number, request: Response("I like it!") if number == 1 else Response(status=503)) as server:
        broken = desk(server, concurrency=1)
        with pytest.raises(DistokError, match=r"status 503\); 0 of 6 answers are kept"):
            broken.ask()
        assert server.requests[1].body["messages"][2]["content"] == "I like it!"
        paid = scoring.account(broken)
        assert (paid["not_asked"], paid["missing"], paid["requests"], paid["tokens_in"]) == (6, 0, 1, 100)
        server.script = by_brightness
        again = desk(server)
        assert again.left == 6
        assert scoring.account(again)["tokens_in"] == 100
        again.ask()
    found = scoring.assess(items, again, 1).figures
    assert (found["answered"], found["requests"], found["tokens_in"], found["tokens_out"]) == (6, 7, 700, 140)


def test_what_was_paid_for_a_missing_answer_stays_counted_when_it_is_asked_again(desk):
    with Endpoint(lambda number, request: Response("I like it!")) as server:
        desk(server, clarifications=0).ask()
        server.script = by_brightness
        again = desk(server, clarifications=0, retry_missing=True)
        again.ask()
    paid = scoring.account(again)
    assert (paid["answered"], paid["requests"], paid["tokens_in"]) == (6, 12, 1200)
