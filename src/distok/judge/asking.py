"""Many questions to one endpoint: what is already answered, what the rest would cost, and asking it, resumably."""

import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from distok import files, seeds
from distok.errors import DistokError
from distok.judge.cache import Answer, Cache, key_of
from distok.judge.client import Client, DownError
from distok.judge.items import Shown
from distok.judge.prompts import JSON_WANTED, Messages, clarifying_messages, with_pictures
from distok.judge.settings import Endpoint
from distok.judge.validation import NonsenseError

Progress = Callable[[int, int], None]
GRACE = 2.0  # seconds for what is being written when a run is stopped


@dataclass(frozen=True, eq=False)
class Question:
    """One thing to ask.

    Attributes:
        messages: the conversation, with the pictures' names in their place.
        pictures: shown in it.
        parse: text to a JSON-able value; raises NonsenseError.
        repeat: its number among equal questions.
        about: for people who read the cache; is not sent.
        wanted: the kind of answer, in words, for asking again.
        group: questions of one group count only together, and are asked one after the other; None is a group of its own.
    """

    messages: Messages
    pictures: Sequence[Shown]
    parse: Callable[[str | None], Any]
    repeat: int
    about: dict[str, Any]
    wanted: str = JSON_WANTED
    group: Hashable = None


class Desk:
    """Questions, the answers already kept (``kept``), those paid for in part (``begun``), and what is left to ask.

    Args:
        questions: all of them; equal ones share an answer.
        endpoint: who answers.
        cache: where answers are kept.
        seed: of the order in which they are asked.
        limit: ask at most so many now; it may cut a group, which the next run then completes first.
        retry_missing: ask again what ended without a usable answer.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        endpoint: Endpoint,
        cache: Cache,
        seed: int = 0,
        limit: int | None = None,
        retry_missing: bool = False,
    ) -> None:
        if limit is not None and limit < 0:
            raise DistokError(f"limit is {limit}, but a number of questions of at least 0 is expected; correct it")
        self.endpoint, self.cache = endpoint, cache
        self.keys = [self._key(question) for question in questions]
        distinct = dict(zip(self.keys, questions, strict=True))
        self._look()
        again = {key for key, answer in self.kept.items() if answer.value is None} if retry_missing else set()
        left = [key for key in distinct if key not in self.kept or key in again]
        self.left = len(left)
        self.now = [(key, distinct[key]) for key in self._ordered(left, distinct, seed)[:limit]]
        self.total = len(distinct)

    def ask(self, callback: Progress | None = None) -> None:
        """Ask what is to be asked now; every answer is kept as soon as it is there.

        Where the endpoint fails, what it is working on is waited for, as it will be paid for.

        Raises:
            DistokError: the endpoint cannot be used; says how much is kept. Run again to go on.
        """
        if not self.now:
            return
        files.check_folder(self.cache.folder)  # before anything is paid for that could not be kept
        client = Client(self.endpoint, sum(answer.value is not None for answer in self.kept.values()))
        work: queue.SimpleQueue[tuple[str, Question]] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[str, Answer | BaseException]] = queue.SimpleQueue()
        for job in self.now:
            work.put(job)
        # Daemons: Ctrl-C must not wait for an endpoint that hangs.
        threads = [
            threading.Thread(target=self._work, args=(client, work, done), daemon=True)
            for _ in range(min(self.endpoint.concurrency, len(self.now)))
        ]
        for thread in threads:
            thread.start()
        patience, fault = GRACE, None
        try:
            for count in range(1, len(self.now) + 1):
                key, answer = done.get()
                if isinstance(answer, DownError):
                    patience, fault = self.endpoint.timeout + GRACE, answer
                    break
                if isinstance(answer, BaseException):
                    raise answer
                self.kept[key] = answer
                self.begun.pop(key, None)
                if callback:
                    callback(count, len(self.now))
        finally:
            client.stop.set()
            ends = time.monotonic() + patience
            for thread in threads:
                thread.join(max(0.0, ends - time.monotonic()))
        if fault:
            self._look()
            raise DistokError(f"{fault}; {self._state()}")

    def answers(self) -> list[Answer | None]:
        """One answer a question, in their order; None where it is not asked yet."""
        return [self.kept.get(key) for key in self.keys]

    def _look(self) -> None:
        """Find what the cache holds."""
        found = {key: answer for key in dict.fromkeys(self.keys) if (answer := self.cache.get(key)) is not None}
        self.kept = {key: answer for key, answer in found.items() if not answer.unfinished}
        self.begun = {key: answer for key, answer in found.items() if answer.unfinished}

    def _ordered(self, left: Sequence[str], distinct: dict[str, Question], seed: int) -> list[str]:
        """The keys of what is left, group by group in an order drawn by ``seed``.

        Groups with an answer already come first. What was begun comes last: the endpoint may have failed because of it.
        """

        def group(key: str) -> Hashable:
            return key if distinct[key].group is None else ("group", distinct[key].group)

        groups: dict[Hashable, list[str]] = {}
        for key in left:
            groups.setdefault(group(key), []).append(key)
        place = {group(key): -1 for key, answer in self.kept.items() if answer.value is not None}
        place.update({group(key): 1 for key in self.begun})
        names = list(groups)
        drawn = [names[i] for i in seeds.rng(seed, "judge order").permutation(len(names))]
        return [key for name in sorted(drawn, key=lambda name: place.get(name, 0)) for key in groups[name]]

    def _work(self, client: Client, work: Any, done: Any) -> None:
        while not client.stop.is_set():
            try:
                key, question = work.get_nowait()
            except queue.Empty:
                return
            try:
                about = {**question.about, "model": self.endpoint.model, "repeat": question.repeat}
                keep = partial(self.cache.put, key, question=about)
                answer = converse(client, question, keep, self.kept.get(key) or self.begun.get(key) or Answer(None))
                keep(answer)
            except BaseException as error:  # handed to the thread that waits
                done.put((key, error))
                return
            done.put((key, answer))

    def _state(self) -> str:
        return f"{len(self.kept)} of {self.total} answers are kept in {self.cache.folder}, run the same command again to go on"

    def _key(self, question: Question) -> str:
        endpoint = self.endpoint
        again = clarifying_messages("", "", question.wanted) if endpoint.clarifications else []
        return key_of([endpoint.body(question.messages), again], endpoint.base_url, question.repeat, endpoint.clarifications)

    @cached_property
    def text(self) -> int:
        """Characters of text in what is to be asked now."""
        return sum(_characters(question.messages) for _, question in self.now)


def converse(client: Client, question: Question, keep: Callable[[Answer], object], before: Answer) -> Answer:
    """Ask one question; an answer that is of no use is asked for again, with what is wrong with it, and then given up.

    Args:
        client, question: who is asked what.
        keep: told what has been paid for so far whenever an answer was of no use, since the next request may fail, and where
            the endpoint may have failed because of this question.
        before: what was paid for it in earlier runs; is added.

    Raises:
        DownError: the endpoint cannot be used.
    """
    asked = messages = with_pictures(question.messages, question.pictures)
    paid, reason = (before.tokens_in, before.tokens_out, before.requests), ""
    for _ in range(client.endpoint.clarifications + 1):
        try:
            reply = client.complete(messages, again=before.unfinished)
        except DownError as error:
            if error.own:
                keep(Answer(None, f"not finished: {error}", *paid, unfinished=True))
            raise
        paid = (paid[0] + reply.tokens_in, paid[1] + reply.tokens_out, paid[2] + 1)
        if reply.text is None and reply.finish == "content_filter":
            return Answer(None, "the endpoint's content filter refused it", *paid)
        if reply.refused:
            return Answer(None, reply.refused, *paid)
        try:
            return Answer(question.parse(reply.text), "", *paid)
        except NonsenseError as error:
            reason = f"{error}, and it was cut off" if reply.finish == "length" else str(error)
        keep(Answer(None, f"not finished: {reason}", *paid, unfinished=True))
        messages = [*asked, *clarifying_messages(reply.text, reason, question.wanted)]
    return Answer(None, f"no usable answer: {reason}", *paid)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return 0 if value.startswith("picture:") else len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0
