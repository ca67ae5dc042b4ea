"""Talks to an OpenAI-compatible endpoint: time limits, retries with back-off, and plain words for faults."""

import json
import math
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

from distok.errors import DistokError
from distok.judge.settings import Endpoint

if TYPE_CHECKING:
    import requests

PART = 1 << 16  # bytes read at a time
LARGEST = 4 << 20  # bytes of an answer; a chat completion is far smaller
PASSING = frozenset({408, 409, 425, 429})  # and all of 5xx: worth another attempt
AT_ONE = frozenset({500, 504})  # of these, those that one request alone may cause
OF_ONE = frozenset({400, 413, 422})  # where others are answered, due to this one's pictures or words
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # with 429 or 400, but no wait and no other picture helps
REFUSALS = frozenset({"content_policy_violation", "content_filter"})  # of one picture, not of our request


class DownError(DistokError):
    """The endpoint cannot be used now; what is answered so far stays.

    Attributes:
        own: whether it may be due to this very request, so that another may succeed.
    """

    def __init__(self, reason: str, own: bool = False) -> None:
        super().__init__(reason)
        self.own = own


@dataclass(frozen=True)
class Reply:
    """What came back: the text (None where the model refused), why it ended, and the tokens the endpoint counted.

    ``refused`` says why the endpoint does not answer this very request, though it answers others; empty where it does.
    """

    text: str | None
    finish: str
    tokens_in: int = 0
    tokens_out: int = 0
    refused: str = ""


class _FailedError(Exception):
    """One attempt failed in a way that another may not; ``own`` where the request itself may be what it fails at."""

    def __init__(self, reason: str, wait: float | None = None, status: int = 0, own: bool = True) -> None:
        super().__init__(reason)
        self.wait, self.status, self.own = wait, status, own


class Client:
    """Sends chat completions; may be used by several threads.

    Args:
        endpoint: where and how.
        answered: how many answers this endpoint has given with these settings; until the first, a refusal is not of one request.

    Raises:
        DistokError: the key's variable is not set.
    """

    def __init__(self, endpoint: Endpoint, answered: int = 0) -> None:
        self.endpoint, self.answered = endpoint, answered
        self._key = endpoint.key()
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._open_from = 0.0  # monotonic; after "too many requests" every thread holds back
        self.stop = threading.Event()  # set: no further attempts, waits end
        self.sent = 0  # requests that left, for the record

    def complete(self, messages: list[dict[str, Any]], again: bool = False) -> Reply:
        """Send one request, again where the endpoint fails.

        A request that is refused or fails where others are answered is a reply too, see :attr:`Reply.refused`.

        Args:
            again: an earlier run ended at this request; then answers of before count as those to others.

        Raises:
            DownError: it fails at every attempt, asks for too long a wait, refuses the request, is not paid any more, or
                :attr:`stop` was set.
        """
        endpoint, before = self.endpoint, self.answered
        for attempt in range(1, endpoint.attempts + 1):
            self._wait(self._open_from - time.monotonic())
            try:
                return self._attempt(messages)
            except _FailedError as error:
                last, wait = error, endpoint.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            if last.wait is not None:
                wait = max(last.wait, wait) if last.wait > 0 else wait
                with self._lock:
                    self._open_from = max(self._open_from, time.monotonic() + last.wait)
            if attempt == endpoint.attempts:
                break
            if wait > endpoint.longest_wait:
                raise DownError(f"{endpoint.url}: {last}, and the next attempt would be in {wait:.0f} s")
            self._wait(wait)
        tries = f"{endpoint.attempts} attempts" if endpoint.attempts > 1 else "1 attempt"
        if last.own and self.answered > (0 if again else before):
            return Reply(None, "", refused=f"the endpoint fails at it, and answers others ({tries}; the last: {last})")
        raise DownError(f"{endpoint.url} fails ({tries}; the last: {last})", own=last.own or last.status >= 500)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise DownError("stopped")

    def _attempt(self, messages: list[dict[str, Any]]) -> Reply:
        import requests
        from urllib3.exceptions import HTTPError

        from distok.judge.deadline import Deadline

        endpoint, session = self.endpoint, self._session()
        self.sent += 1
        late = f"no answer within {endpoint.timeout:g} s"
        with Deadline(endpoint.timeout) as deadline:
            try:
                with session.post(
                    endpoint.url,
                    json=endpoint.body(messages),
                    timeout=(min(10.0, endpoint.timeout), endpoint.timeout),
                    auth=self._authorise,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    late = f"no whole answer within {endpoint.timeout:g} s"
                    body = _body(response)
                    if deadline.over:  # an answer of unknown length looks whole when it is cut off
                        raise _FailedError(late)
                    return self._read(response.status_code, response.headers, body)
            except requests.Timeout:
                raise _FailedError(late) from None
            except (
                requests.ConnectionError,
                requests.exceptions.ChunkedEncodingError,
                requests.exceptions.ContentDecodingError,
            ) as error:
                slow = deadline.over or "timed out" in str(error).lower()
                raise _FailedError(late if slow else "no connection, or it broke off", own=slow) from None
            except (requests.RequestException, HTTPError) as error:  # urllib3's own, where a host cannot even be read
                raise DownError(f"{endpoint.url} cannot be asked ({type(error).__name__}: {error})") from None

    def _session(self) -> "requests.Session":
        if not hasattr(self._mine, "session"):
            from distok.judge.deadline import open_session

            self._mine.session = open_session()
        session: requests.Session = self._mine.session
        return session

    def _authorise(self, request: Any) -> Any:
        """Set the key ourselves: a session would prefer what a ``.netrc`` says."""
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _read(self, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if status != 200:
            self._check_account(_error(value))
        if status in PASSING or status >= 500:
            self._failed(status, value, _retry_after(headers.get("Retry-After")))
        if status != 200:
            return self._refused(status, value)
        if value is None:
            raise _FailedError("its answer is not JSON")
        reply = _reply(value)
        if reply is None:
            said = self._said(_error(value))
            raise _FailedError(f"its answer is not a chat completion{f' ({said})' if said else ''}")
        with self._lock:
            self.answered += 1
        return reply

    def _check_account(self, error: Mapping[str, Any]) -> None:
        if {str(error.get("code")), str(error.get("type"))} & SPENT:
            said = self._said(error) or "no reason given"
            raise DownError(f"{self.endpoint.url} says that nothing is left on the account ({said}); top it up")

    def _failed(self, status: int, value: Any, wait: float | None) -> NoReturn:
        said = self._said(_error(value))
        raise _FailedError(f"status {status} ({said})" if said else f"status {status}", wait, status, status in AT_ONE)

    def _refused(self, status: int, value: Any) -> Reply:
        error = _error(value)
        if str(error.get("code")) in REFUSALS:
            return Reply(None, "content_filter")
        said = self._said(error) or "no reason given"
        if status in OF_ONE and self.answered:
            return Reply(None, "", refused=f"the endpoint refuses it with status {status} ({said})")
        key = f"check {self.endpoint.key_variable}" if self.endpoint.key_variable else "give one with --key-variable"
        what = {
            401: f"refuses the key ({said}); {key}",
            403: f"forbids this ({said}); check the key's rights",
            404: f"knows no such address or model ({said}); check --base-url and --model",
        }.get(status, f"refuses the request with status {status} ({said}); check the settings, see --extra")
        raise DownError(f"{self.endpoint.url} {what}", own=status in OF_ONE)

    def _said(self, error: Mapping[str, Any]) -> str:
        """What an endpoint says of a fault, on one line, without the key and what cannot be written; empty where nothing."""
        said = " ".join(str(error.get("message") or "").split())
        if self._key:
            said = said.replace(self._key, "…")
        return said.encode(errors="replace").decode()[:200]


def _error(value: Any) -> dict[str, Any]:
    """The account of a fault in an answer's body: mostly an object with a message and a code, here and there a mere text."""
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {"message": error}


def _body(response: "requests.Response") -> bytes:
    length, body = response.headers.get("Content-Length", ""), b""
    size = int(length) if length.isdecimal() else 0
    for part in response.iter_content(PART) if size <= LARGEST else ():
        body += part
        size = max(size, len(body))
        if size > LARGEST:
            break
    if size > LARGEST:
        raise _FailedError("the answer is larger than any chat completion")
    return body


def _reply(value: Any) -> Reply | None:
    """The parts of a chat completion that matter; None where it is none."""
    try:
        choice = value["choices"][0]
        text = choice["message"].get("content")
        usage = value.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    if text is not None and not isinstance(text, str):
        return None
    sent, said = (n if isinstance(n, int) and not isinstance(n, bool) and n >= 0 else 0 for n in counts)
    return Reply(text, str(choice.get("finish_reason") or ""), sent, said)


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None where nothing usable is said."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
