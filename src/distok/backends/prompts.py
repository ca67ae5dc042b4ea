"""How prompts are spelled: ``<tcrt_i>`` for creative token i, ``(words:1.3)`` for emphasis."""

import re

from distok.asking import PROMPT  # what a class or a concept is asked for with, where nothing else is said
from distok.errors import DistokError

SLOT = re.compile(r"<tcrt_(\d+)>")  # the name of creative token i in a prompt
_STRESS = re.compile(r"\(([^()]+):([0-9]*\.?[0-9]+)\)")
STRONGEST = 5.0  # emphasis beyond it leaves the range of any text encoder


def slot(index: int) -> str:
    """The name of row ``index`` of the creative tokens, as prompts spell it."""
    return f"<tcrt_{index}>"


def fill(prompt: str, index: int = 0) -> str:
    """Put creative token ``index`` where ``prompt`` says ``{}``.

    Raises:
        DistokError: the prompt has no ``{}``.
    """
    if "{}" not in prompt:
        raise DistokError(f"the prompt {prompt!r} has no {{}}; write {{}} where the concept goes, as in 'a photo of a {{}}'")
    return prompt.replace("{}", slot(index))


def named(name: str, prompt: str = PROMPT) -> str:
    """Put a class name where ``prompt`` says ``{}``, with the article that English wants before it."""
    vowel = name[:1].lower() in tuple("aeiou") and not name.lower().startswith("uni")
    return (prompt.replace("a {}", "an {}") if vowel else prompt).replace("{}", name)


def emphasis(prompt: str) -> tuple[str, list[tuple[int, int, float]]]:
    """Take ``(words:1.3)`` out of a prompt: the plain prompt, and (start, end, strength) of each stressed span in it.

    A strength of 1 changes nothing, 0 takes the words' meaning away, at most ``STRONGEST``. Other brackets are ordinary text.

    Raises:
        DistokError: a strength above ``STRONGEST``.
    """
    plain, spans, last = "", [], 0
    for match in _STRESS.finditer(prompt):
        strength = float(match[2])
        if strength > STRONGEST:
            raise DistokError(f"the emphasis {match[0]!r} is {strength}; give a number from 0 to {STRONGEST:g}")
        plain += prompt[last : match.start()]
        spans.append((len(plain), len(plain) + len(match[1]), strength))
        plain += match[1]
        last = match.end()
    return plain + prompt[last:], spans


def has_places(value: object, count: int) -> bool:
    """Whether a value is text with exactly ``count`` times ``{}``, and no other brace that would be taken for a place."""
    return isinstance(value, str) and value.count("{}") == value.count("{") == value.count("}") == count
