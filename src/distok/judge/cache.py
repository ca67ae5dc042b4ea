"""Answers kept on disk, one small file each, so that nothing is asked twice."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distok.files import write_text

VERSION = 1


@dataclass(frozen=True)
class Answer:
    """What the judge made of one question.

    Attributes:
        value: the validated answer, or None where there is none.
        reason: why there is none.
        tokens_in, tokens_out: paid for it, clarifications included; 0 where the endpoint does not count.
        requests: exchanges it took.
        unfinished: of a question that is still to be answered, after an endpoint failed: what was paid for so far.
    """

    value: Any
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    requests: int = 0
    unfinished: bool = False


class Cache:
    """A folder of answers under the hash of all that decides them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> Answer | None:
        """The answer, or None where there is none that can be read."""
        try:
            record = json.loads(self._path(key).read_text(encoding="utf-8"))
            json.dumps(record["answer"], ensure_ascii=False).encode()  # half of a character pair is no text: nobody can use it
            return Answer(**record["answer"]) if record["version"] == VERSION else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # damaged or foreign: it is asked again

    def put(self, key: str, answer: Answer, question: Mapping[str, Any]) -> None:
        """Keep an answer; ``question`` is stored beside it for people to read."""
        record = {"version": VERSION, "question": dict(question), "answer": asdict(answer)}
        write_text(self._path(key), json.dumps(record, indent=1, allow_nan=False) + "\n")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


def key_of(body: Any, base_url: str, repeat: int, clarifications: int) -> str:
    """A hash of all that decides an answer.

    Args:
        body: the request, with a hash of its pixels in the place of each picture, since encoders differ between versions; and
            the words that a useless answer is asked for again with.
        base_url: two endpoints may know different models by one name.
        repeat: the number of the repeat.
        clarifications: how often a useless answer is asked for again.
    """
    text = json.dumps([VERSION, base_url.rstrip("/"), repeat, clarifications, body], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
