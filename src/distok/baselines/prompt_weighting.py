"""Prompt weighting: all names in one prompt, each stressed by its weight, as "(pig:1.4) (owl:0.6)"."""

from distok.backends.prompts import STRONGEST, named
from distok.baselines.base import Ask, Baseline, Ready
from distok.errors import UnavailableError


class PromptWeighting(Baseline):
    """The emphasis that image tools know: strength 1 leaves a name as it is, so equal weights are the plain prompt.

    A name of weight p among k has the strength k·p: the strengths of a prompt have mean 1, so that its names are together as
    loud as in the plain prompt. Beyond ``STRONGEST`` a strength is cut, and the mean is then below 1: from six names on, where
    one has more than 5/k.
    """

    name = "prompt-weighting"
    title = "prompt weighting"
    source = "the (word:1.3) syntax of AUTOMATIC1111's web UI"
    summary = "all names in one prompt, each with the emphasis (name:k·p)"
    weights = True

    def prepare(self, ask: Ask) -> Ready:
        """The prompt, heaviest name first.

        Raises:
            UnavailableError: a name has brackets, which the syntax takes for its own.
        """
        for name in ask.mix.names:
            if set(name) & set("()"):
                raise UnavailableError(f"{self.title} writes emphasis in brackets, and {name!r} has some; name it without")
        count, marked = len(ask.mix.names), ask.by_weight()[0] + "\0"  # marked, as the prompt itself may say the name
        stressed = [f"({name}:{min(count * weight, STRONGEST):.4f})" for name, weight in ask.mix.top(count)]
        prompt = named(marked, ask.prompt).replace(marked, " ".join(stressed))
        return Ready(prompt, details={"prompt": prompt})
