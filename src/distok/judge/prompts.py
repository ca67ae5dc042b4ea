"""What the judge is told. A change of a word here is a change of the instrument: the cache then asks anew.

The paper's own wording is not published; it names the four criteria, the scale of 0 to 10 and the judge. This is ours.
"""

from collections.abc import Sequence
from typing import Any

from distok.judge.items import Item, Shown
from distok.judge.validation import Choice, Number, Schema

CRITERIA = ("fusion", "alignment", "originality", "aesthetics")
OVERALL = "overall"
JSON_WANTED, CAPTION_WANTED = "exactly the one JSON object described above", "the one-sentence description"
SIDES = ("first", "second", "tie")

SCORES: Schema = {name: Number(0, 10) for name in CRITERIA}
CHOICES: Schema = {name: Choice(SIDES) for name in (*CRITERIA, OVERALL)}

_MEANING = """\
- fusion: do all that was asked for meet in one coherent creature or object, rather than stand side by side, be pasted together, \
or leave some of it out?
- alignment: does the picture show what was asked for, each part as strongly as asked, and nothing else?
- originality: is it a new, surprising creature or object, not one that already has a name?
- aesthetics: is it pleasing, well drawn and free of flaws?"""

SCORING = f"""\
You judge pictures made by image generators. You see one picture and what was asked for. \
Give four marks from 0 (worst) to 10 (best):
{_MEANING}
Use the whole scale. Judge only what you see.
Answer with one JSON object and nothing else: {{"fusion": N, "alignment": N, "originality": N, "aesthetics": N}}"""

COMPARING = f"""\
You compare pictures made by image generators. You see two pictures that answer the same wish. \
For each criterion, say which is better:
{_MEANING}
- overall: all in all.
Say "tie" where neither is better. The order in which they are shown means nothing. Judge only what you see.
Answer with one JSON object and nothing else, each value "first", "second" or "tie": \
{{"fusion": S, "alignment": S, "originality": S, "aesthetics": S, "overall": S}}"""

CAPTIONING = """\
Describe the main creature or object of this picture so exactly that an image generator can draw it again from your words alone: \
its kind or mix of kinds, body, head, parts, patterns, colours. \
At most 40 words, one plain sentence, no brackets, no mention of a picture."""

Messages = list[dict[str, Any]]


def scoring_messages(item: Item, shown: Shown) -> Messages:
    """Ask for four marks of one picture."""
    return [_system(SCORING), _user(_wish(item), [("The picture:", shown)])]


def comparing_messages(item: Item, first: Shown, second: Shown) -> Messages:
    """Ask which of two pictures of one case is better."""
    return [_system(COMPARING), _user(_wish(item), [("The first picture:", first), ("The second picture:", second)])]


def captioning_messages(shown: Shown) -> Messages:
    """Ask for a description of a picture to draw it again from."""
    return [_user(CAPTIONING, [("The picture:", shown)])]


def clarifying_messages(answer: str | None, problem: str, wanted: str) -> Messages:
    """Say what was wrong with an answer, and ask again for what is ``wanted``."""
    said = (answer or "(empty)")[:2000].encode(errors="replace").decode()  # strict endpoints refuse half of a character pair
    return [
        {"role": "assistant", "content": said},
        {"role": "user", "content": f"That cannot be used: {problem}. Answer with {wanted} and nothing else."},
    ]


def with_pictures(messages: Messages, pictures: Sequence[Shown]) -> Messages:
    """The conversation as it is sent: data URLs in the place of the pictures' names."""
    urls = {shown.name: shown.url for shown in pictures}

    def fill(part: dict[str, Any]) -> dict[str, Any]:
        return {**part, "image_url": {"url": urls[part["image_url"]["url"]]}} if part["type"] == "image_url" else part

    return [
        message if isinstance(message["content"], str) else {**message, "content": [fill(part) for part in message["content"]]}
        for message in messages
    ]


def _wish(item: Item) -> str:
    return f"What was asked for: {'one creature or object that is ' if item.mix else ''}{item.wish}"


def _system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def _user(text: str, pictures: Sequence[tuple[str, Shown]]) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for label, shown in pictures:
        content.append({"type": "text", "text": label})
        content.append({"type": "image_url", "image_url": {"url": shown.name}})
    return {"role": "user", "content": content}
