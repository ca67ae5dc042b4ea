"""An endpoint that fails in the middle of a run: what was paid for is kept and counted, and what is known is written."""

import json
import threading
import time
from pathlib import Path

import pytest

from distok.errors import DistokError
from distok.judge import asking, scoring
from distok.judge.asking import Desk
from distok.judge.cache import Cache
from distok.judge.items import Item
from distok.judge.settings import Endpoint as Settings
from tests import edge
from tests.judge_endpoint import Endpoint, Request, Response, by_brightness, level, picture


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

    second = threading.Event()

    def script(number: int, request: Request) -> Response:
        if number == 1:
            second.wait(5)
            return Response(status=401)
        second.set()
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
        answer.hang = 0.05 if number == 1 else 30.0
        return answer

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Endpoint(script) as server:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            desk(server, concurrency=2).ask(interrupt)
        assert time.monotonic() - began < 10


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


def refusing(answer: Response, light: float = 1.2):
    """A judge that gives ``answer`` for one picture alone, by default the darkest, which is not asked first."""
    return lambda number, request: answer if abs(level(request.pictures[0]) - light) < 0.1 else by_brightness(number, request)


def refusal(status: int) -> Response:
    return Response(status=status, body=b'{"error": {"message": "too odd \\ud83d"}}')


@pytest.fixture
def distok_command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return edge.CommandLine(capsys, monkeypatch)


def score(server: Endpoint, *more: object) -> list[object]:
    how = ("--repeats", 1, "--concurrency", 1, "--backoff", 0.01, "--attempts", 2)
    return ["judge", "score", ".", "--out", "out", "--base-url", server.url, "--model", "judge-1", *how, *more]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_picture_that_is_refused_is_missing_where_others_are_answered(status, items, distok_command, tmp_path):
    with Endpoint(refusing(refusal(status))) as server:
        ended, out, _ = distok_command(*score(server, "--json"))
        said = json.loads(out)
        assert (ended, len(server.requests)) == (0, 6)
        assert (said["answered"], said["missing"], said["not_asked"]) == (5, 1, 0)
        reason = f"the endpoint refuses it with status {status} (too odd ?)"
        assert said["reasons"] == {reason: 1}
        assert reason in (tmp_path / "out" / "scores.csv").read_text()
        # Answers kept from an earlier run show as well that the refusal is of this picture.
        again, out, _ = distok_command(*score(server, "--retry-missing"))
        assert (again, len(server.requests)) == (0, 7)


@pytest.mark.parametrize(
    ("fault", "tries", "said"),
    [
        (refusal(400), 1, "refuses it with status 400"),
        (refusal(500), 2, "fails at it, and answers others (2 attempts; the last: status 500 (too odd"),
        (refusal(504), 2, "the last: status 504"),
        (refusal(200), 2, "the last: its answer is not a chat completion (too odd"),
        (Response(hang=0.6), 2, "the last: no answer within 0.3 s"),
    ],
)
def test_a_picture_that_ended_a_run_is_asked_last_in_the_next_and_ends_no_more(fault, tries, said, items, distok_command):
    with Endpoint(lambda number, request: fault) as server:
        more = ("--timeout", 0.3) if fault.hang else ()
        assert distok_command(*score(server, *more))[0] == 2
        first = level(server.requests[0].pictures[0])
        server.script = refusing(fault, first)
        ended, out, _ = distok_command(*score(server, *more))
        again = [level(request.pictures[0]) == first for request in server.requests[-tries - 5 :]]
        assert again == [False] * 5 + [True] * tries
    assert (ended, "5 of 6 answers" in out) == (0, True)
    assert said in Path("out/scores.csv").read_text()


@pytest.mark.parametrize("status", [502, 503])
def test_an_endpoint_that_is_down_makes_no_picture_missing(status, items, distok_command):
    with Endpoint(lambda number, request: by_brightness(number, request) if number <= 5 else Response(status=status)) as server:
        for _ in range(3):
            ended, _, err = distok_command(*score(server))
            assert (ended, "5 of 6 answers are kept" in err) == (2, True)


def test_nothing_is_paid_for_that_could_not_be_kept(items, distok_command):
    Path("answers").write_text("a file")
    with Endpoint(by_brightness) as server:
        ended, _, err = distok_command(*score(server, "--cache", "answers"))
        assert (ended, len(server.requests), "cannot write to answers" in err) == (2, 0, True)


def test_a_refusal_before_any_answer_ends_the_run(items, distok_command, tmp_path):
    with Endpoint(lambda number, request: refusal(400)) as server:
        ended, _, err = distok_command(*score(server))
        assert (ended, len(server.requests)) == (2, 1)
        assert "refuses the request with status 400 (too odd ?); check the settings, see --extra; 0 of 6" in err.splitlines()[-1]
    assert not (tmp_path / "out" / "scores.json").exists()


def test_a_picture_at_which_the_endpoint_breaks_is_missing_where_others_are_answered_meanwhile(desk):
    others = threading.Semaphore(0)

    def script(number: int, request: Request) -> Response:
        answer = refusing(Response(status=500))(number, request)
        if answer.status == 500:
            others.acquire(timeout=5)  # so that another is asked before each attempt ends
        else:
            others.release()
        return answer

    with Endpoint(script) as server:
        asked = desk(server, concurrency=2, attempts=3)
        asked.ask()
    account = scoring.account(asked)
    assert (account["answered"], account["missing"]) == (5, 1)
    assert list(account["reasons"]) == ["the endpoint fails at it, and answers others (3 attempts; the last: status 500)"]


@pytest.mark.parametrize("status", [401, 500, 503])
def test_what_is_kept_is_written_though_the_endpoint_fails(status, items, distok_command, tmp_path):
    with Endpoint(lambda number, request: by_brightness(number, request) if number <= 4 else Response(status=status)) as server:
        ended, out, err = distok_command(*score(server))
    assert (ended, out) == (2, "")
    told, last = err.splitlines()[-2:]
    assert told == "written, of the answers kept so far: out/scores.json, out/scores.csv"
    assert last.endswith("; 4 of 6 answers are kept in out/answers, run the same command again to go on")
    said = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (said["answered"], said["missing"], said["not_asked"]) == (4, 0, 2)
    assert said["methods"]["ours"]["scored"] == 4
