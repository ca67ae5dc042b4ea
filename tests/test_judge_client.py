"""The client against a real server with faults: it tries again where that helps, and ends in one clear line where not."""

import json
import socket
import threading
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distok.errors import DistokError
from distok.judge.client import Client, DownError
from distok.judge.prompts import CRITERIA, SCORES
from distok.judge.settings import Endpoint as Settings
from distok.judge.settings import parse_extra
from distok.judge.validation import Choice, NonsenseError, parse_answer
from tests.judge_endpoint import Endpoint, Response, marks

HELLO = [{"role": "user", "content": "hello"}]


def client(url: str, **changes) -> Client:
    return Client(Settings(**{"base_url": url, "model": "judge-1", "timeout": 5.0, "backoff": 0.01, **changes}))


def in_turn(*responses: Response):
    return lambda number, request: responses[min(number, len(responses)) - 1]


def test_the_request_speaks_the_protocol(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    with Endpoint(in_turn(Response("hi"))) as server:
        reply = client(server.url + "/", key_variable="JUDGE_KEY", extra={"top_p": 1, "temperature": None}).complete(HELLO)
    assert (reply.text, reply.finish, reply.tokens_in, reply.tokens_out) == ("hi", "stop", 100, 20)
    (sent,) = server.requests
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["Authorization"] == "Bearer s3cret"
    assert sent.body == {"model": "judge-1", "messages": HELLO, "max_tokens": 200, "top_p": 1}


def test_no_key_sends_none_even_where_a_netrc_has_one(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Endpoint(in_turn(Response("hi"))) as server:
        client(server.url).complete(HELLO)
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408, 429])
def test_a_passing_fault_is_tried_again(status):
    with Endpoint(in_turn(Response(status=status), Response(status=status), Response("hi"))) as server:
        assert client(server.url).complete(HELLO).text == "hi"
    assert len(server.requests) == 3


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(date):
    wait = formatdate(time.time() + 2, usegmt=True) if date else "0.7"
    with Endpoint(in_turn(Response(status=429, headers={"Retry-After": wait}), Response("hi"))) as server:
        start = time.monotonic()
        assert client(server.url).complete(HELLO).text == "hi"
    assert 0.69 < time.monotonic() - start < 4


def test_a_wait_beyond_patience_ends_at_once():
    with Endpoint(in_turn(Response(status=429, headers={"Retry-After": "3600"}))) as server:
        start = time.monotonic()
        with pytest.raises(DownError, match="status 429, and the next attempt would be in 3600 s"):
            client(server.url).complete(HELLO)
    assert (len(server.requests), time.monotonic() - start < 1) == (1, True)


def fault(status: int, **error) -> Response:
    return Response(status=status, body=json.dumps({"error": error}).encode(), headers={"Retry-After": "3600"})


def test_a_fault_is_told_with_the_reason_the_endpoint_gives(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    answer = fault(429, message="Rate limit of\ns3cret reached \ud83d")
    with Endpoint(in_turn(answer)) as server, pytest.raises(DownError) as caught:
        client(server.url, key_variable="JUDGE_KEY").complete(HELLO)
    assert "status 429 (Rate limit of … reached ?), and the next attempt would be in 3600 s" in str(caught.value)
    answer = fault(400, message="x" * 197 + "s3cret")
    with Endpoint(in_turn(answer)) as server, pytest.raises(DownError, match=r"x{197}…") as caught:
        client(server.url, key_variable="JUDGE_KEY").complete(HELLO)
    assert "s3c" not in str(caught.value), "nor a part of the key"


@pytest.mark.parametrize("member", ["code", "type"])
@pytest.mark.parametrize(("status", "word"), [(429, "insufficient_quota"), (400, "billing_hard_limit_reached")])
def test_an_account_that_is_used_up_ends_at_once(member, status, word):
    answer = Response(status=status, body=json.dumps({"error": {"message": "You exceeded your quota", member: word}}).encode())
    with Endpoint(in_turn(Response("hi"), answer)) as server:
        asking = client(server.url)
        assert asking.complete(HELLO).text == "hi"
        with pytest.raises(DownError, match=r"says that nothing is left on the account \(You exceeded your quota\); top it up"):
            asking.complete(HELLO)
        assert len(server.requests) == 2


def test_an_absurd_retry_after_is_ignored():
    answers = [Response(status=503, headers={"Retry-After": text}) for text in ("soon", "nan", "-5")]
    with Endpoint(in_turn(*answers, Response("hi"))) as server:
        assert client(server.url).complete(HELLO).text == "hi"


def test_backoff_grows_and_is_bounded():
    with Endpoint(in_turn(Response(status=500))) as server:
        start = time.monotonic()
        with pytest.raises(DownError, match=r"fails \(4 attempts; the last: status 500\)"):
            client(server.url, attempts=4, backoff=0.1).complete(HELLO)
    assert 0.34 < time.monotonic() - start < 20  # half of 0.1 + 0.2 + 0.4 at least, by the jitter
    assert len(server.requests) == 4


def test_a_hang_past_the_time_limit_is_tried_again():
    with Endpoint(in_turn(Response("late", hang=6), Response("hi"))) as server:
        start = time.monotonic()
        assert client(server.url, timeout=0.3).complete(HELLO).text == "hi"
    assert time.monotonic() - start < 5
    with Endpoint(in_turn(Response("late", hang=1))) as server, pytest.raises(DownError, match=r"no answer within 0\.2 s"):
        client(server.url, timeout=0.2, attempts=2).complete(HELLO)


def trickling(start: bytes, byte: bytes) -> socket.socket:
    """A server that sends ``start``, and then ``byte`` ten times a second."""
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(start)
            for _ in range(200):
                try:
                    connection.sendall(byte)
                except OSError:
                    return
                time.sleep(0.1)

    threading.Thread(target=trickle, daemon=True).start()
    return listener


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("start", "byte"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (OK + b"Content-Length: 4000\r\n\r\n", b" "),
        (OK + b"Content-Length: 4000000\r\n\r\n", b" "),
        (OK + b"X-Length: unknown\r\n\r\n", b" "),
        (OK, b"X-More: 1\r\n"),
        (b"", b"H"),
    ],
)
@pytest.mark.parametrize("proxy", [False, True])
def test_an_answer_that_trickles_does_not_hold_us(start, byte, proxy, monkeypatch):
    with trickling(start, byte) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        if proxy:
            monkeypatch.setenv("http_proxy", url)
        began = time.monotonic()
        with pytest.raises(DownError, match=r"the last: no (whole )?answer within 0\.3 s"):
            client("http://judge.invalid/v1" if proxy else url, timeout=0.3, attempts=1).complete(HELLO)
        assert time.monotonic() - began < 5


def test_an_answer_that_says_it_is_too_large_is_not_read():
    with trickling(OK + b"Content-Length: 9000000\r\n\r\n", b" ") as server:
        began = time.monotonic()
        with pytest.raises(DownError, match="the answer is larger than any chat completion"):
            client(f"http://127.0.0.1:{server.getsockname()[1]}/v1", attempts=1).complete(HELLO)
        assert time.monotonic() - began < 5


def test_a_connection_is_used_again_and_outlives_the_deadline_of_its_last_request():
    with Endpoint(in_turn(Response("hi"))) as server:
        patient, hurried = client(server.url), client(server.url, timeout=1.0)
        patient._mine = hurried._mine  # the same session
        assert hurried.complete(HELLO).text == "hi"
        server.script = in_turn(Response("again", hang=1.5))  # across the end of the first one's deadline
        assert patient.complete(HELLO).text == "again"
        assert len(server.requests) == 2


def test_a_host_that_no_name_can_have():
    with pytest.raises(DownError, match=r"http://a\.\.b/v1/chat/completions cannot be asked"):
        client("http://a..b/v1", attempts=1).complete(HELLO)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        DownError, match=rf"http://127.0.0.1:{port}/v1/chat/completions fails \(2 attempts; the last: no connection"
    ):
        client(f"http://127.0.0.1:{port}/v1", attempts=2).complete(HELLO)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>gateway</html>", "its answer is not JSON"),
        (b"[" * 100_000, "its answer is not JSON"),
        (b"{}", "its answer is not a chat completion"),
        (b'{"choices": []}', "its answer is not a chat completion"),
        (b'{"choices": [{"message": {"content": 3}}]}', "its answer is not a chat completion"),
        (b'"' + b"x" * (5 << 20) + b'"', "its answer is larger|the answer is larger"),
    ],
)
def test_what_is_no_completion_is_a_fault(body, message):
    with Endpoint(in_turn(Response(body=body))) as server, pytest.raises(DownError, match=message):
        client(server.url, attempts=2).complete(HELLO)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"refuses the key \(bad key …\); check JUDGE_KEY"),
        (403, "forbids this"),
        (404, "knows no such address or model .*; check --base-url and --model"),
        (400, r"refuses the request with status 400 \(bad key …\); check the settings, see --extra"),
        (301, "refuses the request with status 301"),
    ],
)
def test_a_refusal_is_not_tried_again_and_the_key_is_not_shown(status, message, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    answer = Response(
        status=status, body=b'{"error": {"message": "bad key s3cret"}}', headers={"Location": "http://127.0.0.1:1/"}
    )
    with Endpoint(in_turn(answer)) as server, pytest.raises(DownError, match=message) as caught:
        client(server.url, key_variable="JUDGE_KEY").complete(HELLO)
    assert len(server.requests) == 1
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_with_an_odd_code_is_a_refusal():
    answer = Response(status=400, body=b'{"error": {"code": [], "message": "no"}}')
    with Endpoint(in_turn(answer)) as server, pytest.raises(DownError, match=r"refuses the request with status 400 \(no\)"):
        client(server.url).complete(HELLO)


def test_a_content_filter_is_about_one_picture():
    answer = Response(status=400, body=b'{"error": {"code": "content_policy_violation", "message": "no"}}')
    with Endpoint(in_turn(answer)) as server:
        assert client(server.url).complete(HELLO).finish == "content_filter"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'; give an address like"),
        ({"base_url": "http://[::1"}, r"base_url is 'http://\[::1'; give an address like"),
        ({"base_url": "http://localhost:eight/v1"}, "base_url is 'http://localhost:eight/v1'; give an address like"),
        ({"base_url": "http://me:pw@host/v1"}, "base_url holds a user"),
        ({"model": " "}, "model is empty"),
        ({"attempts": 0}, "attempts is 0, but a whole number of at least 1"),
        ({"timeout": 0.0}, "timeout is 0.0, but seconds above 0"),
        ({"temperature": 3.0}, "temperature is 3.0, but a number from 0 to 2"),
        ({"extra": {"model": "x"}}, "extra holds model"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(DistokError, match=message):
        client("http://127.0.0.1:1/v1") if not changes else client(**{"url": "http://127.0.0.1:1/v1", **changes})


def test_a_key_that_is_not_there(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(DistokError, match="the environment variable NO_SUCH_KEY holds no usable key; set it"):
        client("http://127.0.0.1:1/v1", key_variable="NO_SUCH_KEY")
    assert parse_extra(None) == {}
    with pytest.raises(DistokError, match="extra is '3', but a JSON object is expected"):
        parse_extra("3")
    with pytest.raises(DistokError, match="but a JSON object is expected"):
        parse_extra("[" * 100_000)


GOOD = {name: i for i, name in enumerate(CRITERIA)}


@pytest.mark.parametrize("text", [json.dumps(GOOD), f"```json\n{json.dumps(GOOD)}\n```", f"  {json.dumps(GOOD)}\n"])
def test_good_answers(text):
    assert parse_answer(text, SCORES) == GOOD


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "empty"),
        ("", "empty"),
        ("I would say 8 out of 10.", "not JSON"),
        ("Sure! " + json.dumps(GOOD), "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1, 2]", "not a JSON object"),
        (json.dumps({**GOOD, "fusion": 11}), "'fusion' is 11, outside 0 to 10"),
        (json.dumps({**GOOD, "fusion": -0.1}), "outside"),
        (json.dumps({**GOOD, "fusion": 10**400}), "'fusion' is 10{39}, outside 0 to 10"),
        (json.dumps({**GOOD, "fusion": -(10**400)}), "'fusion' is -10{38}, outside 0 to 10"),
        (json.dumps({**GOOD, "fusion": float("inf")}), "'fusion' is Infinity, not a number"),
        (json.dumps({**GOOD, "fusion": 1e300}), "outside 0 to 10"),
        (json.dumps({**GOOD, "fusion": True}), "'fusion' is true, not a number"),
        (json.dumps({**GOOD, "fusion": "8"}), "not a number"),
        (json.dumps({**GOOD, "fusion": float("nan")}), "not a number"),
        (json.dumps({**GOOD, "fusion": None}), "not a number"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "aesthetics"}), "'aesthetics' is missing"),
        (json.dumps({**GOOD, "charm": 1}), '"charm" was not asked for'),
        ('{"fusion": 1, "fusion": 2, "alignment": 1, "originality": 1, "aesthetics": 1}', "given twice"),
    ],
)
def test_nonsense_is_named(text, problem):
    with pytest.raises(NonsenseError, match=problem):
        parse_answer(text, SCORES)


def test_a_choice_is_one_of_its_words():
    schema = {"overall": Choice(("first", "second", "tie"))}
    assert parse_answer('{"overall": "tie"}', schema) == {"overall": "tie"}
    for bad in ("First", "both", 1, None, ["tie"]):
        with pytest.raises(NonsenseError, match="not one of first, second, tie"):
            parse_answer(json.dumps({"overall": bad}), schema)


@given(st.text(max_size=60) | st.recursive(st.none() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5).map(json.dumps))
def test_no_text_breaks_the_reader(text):
    try:
        value = parse_answer(text, SCORES)
    except NonsenseError:
        return
    assert set(value) == set(CRITERIA)


@given(st.lists(st.floats(0, 10), min_size=4, max_size=4))
def test_any_marks_in_range_are_read_exactly(values):
    assert list(parse_answer(json.dumps(dict(zip(CRITERIA, values, strict=True))), SCORES).values()) == values
    assert parse_answer(marks(3.5), SCORES) == dict.fromkeys(CRITERIA, 3.5)
