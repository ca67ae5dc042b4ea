"""Where the judge is asked, and how."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from distok.errors import DistokError


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible chat-completions endpoint.

    Attributes:
        base_url: up to and without ``/chat/completions``, for example ``http://localhost:8000/v1``.
        model: the model's name there.
        key_variable: the environment variable that holds the key; None sends no key.
        temperature: 0 makes repeats as equal as the endpoint can.
        max_tokens: of an answer; at least 1.
        extra: members to put into every request; None as a value takes a member out (for endpoints that refuse ``temperature``).
        timeout: seconds for one answer, above 0.
        attempts: how often one request is sent at most when the endpoint fails; at least 1.
        backoff: seconds before the second attempt; doubled for each further one, with jitter.
        longest_wait: seconds; a longer wait, by back-off or by the endpoint's wish, ends the run.
        clarifications: how often an answer that is not what was asked for is asked for again; 0 or more.
        concurrency: requests under way at a time; at least 1.
    """

    base_url: str
    model: str
    key_variable: str | None = None
    temperature: float = 0.0
    max_tokens: int = 200
    extra: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 60.0
    attempts: int = 5
    backoff: float = 1.0
    longest_wait: float = 120.0
    clarifications: int = 2
    concurrency: int = 4

    def __post_init__(self) -> None:
        parts = _split(self.base_url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise DistokError(f"base_url is {self.base_url!r}; give an address like http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise DistokError(
                "base_url holds a user, a query or a fragment; give the bare address, and the key by --key-variable"
            )
        if not self.model.strip():
            raise DistokError("model is empty; give the name that the endpoint knows its model by")
        for name, least in (("max_tokens", 1), ("attempts", 1), ("clarifications", 0), ("concurrency", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise DistokError(f"{name} is {value!r}, but a whole number of at least {least} is expected; correct it")
        for name in ("timeout", "longest_wait"):
            if not 0 < getattr(self, name) < math.inf:
                raise DistokError(f"{name} is {getattr(self, name)!r}, but seconds above 0 are expected; correct it")
        if not 0 <= self.backoff < math.inf:
            raise DistokError(f"backoff is {self.backoff}, but seconds of at least 0 are expected; correct it")
        if not 0 <= self.temperature <= 2:
            raise DistokError(f"temperature is {self.temperature}, but a number from 0 to 2 is expected; correct it")
        if {"model", "messages", "stream"} & set(self.extra):
            raise DistokError("extra holds model, messages or stream, which are not for it to set; leave them out")

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.base_url.rstrip("/") + "/chat/completions"

    def key(self) -> str | None:
        """The key.

        Raises:
            DistokError: its variable is not set, or holds signs that no header can carry.
        """
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise DistokError(
                f"the environment variable {self.key_variable} holds no usable key; set it, or leave --key-variable out"
            )
        return key

    def body(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The members of a request."""
        body = {"model": self.model, "messages": messages, "temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in {**body, **self.extra}.items() if value is not None}


def _split(address: str) -> SplitResult | None:
    """An address in its parts; None where it has none, as with a [ that nothing closes, or a port that is no number."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # read only when asked for
    except ValueError:
        return None
    return parts


def parse_extra(text: str | None) -> dict[str, Any]:
    """Read ``--extra``, a JSON object.

    Raises:
        DistokError: it is something else.
    """
    try:
        extra = json.loads(text or "{}")
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise DistokError(f"extra is {text!r}, but a JSON object is expected, such as '{{\"top_p\": 1}}'")
    return extra
