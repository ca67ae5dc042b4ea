"""The cheap controls by name. What they ask for is said once, in ``distok.evaluation.cases``.

Shapes: n creative tokens, d token width.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from distok.backends import slot
from distok.baselines.base import PROMPT, Ask, Baseline, Ready, Settings
from distok.errors import DistokError


class Control(Baseline):
    """A control of the evaluation, asked for one mix.

    Attributes:
        method: its name in ``distok.evaluation.cases.METHODS``.
    """

    method: ClassVar[str]

    def prepare(self, ask: Ask) -> Ready:
        """The shot that the evaluation takes of this mix, in the words of the asked prompt."""
        from distok.evaluation.cases import METHODS, Case

        if ask.prompt != PROMPT:
            raise DistokError(f"{self.title} is measured with the prompt {PROMPT!r} alone; leave the prompt out")
        shot = METHODS[self.method](_bench(ask), Case(self._index(), "asked", ask.mix))
        if shot.condition is not None:
            return Ready(condition={key: value[None] for key, value in shot.condition.items()})
        if shot.token is None:
            return Ready(shot.prompt, details={"prompt": shot.prompt})
        mix = ask.mix if self.weights else None
        concept = self.concept_of(ask, self.name, shot.token, mix)
        return Ready(shot.prompt.replace("{}", slot(0)), shot.token[None], concept=concept)

    def _index(self) -> int:
        return 0


class Sentence(Control):
    """The percentages said in words."""

    name = "sentence"
    title = "sentence with percentages"
    method = "sentence with percentages"
    source = "control"
    summary = "one prompt that says the percentages in words"
    weights = True


class NamesByWeight(Control):
    """The names alone, heaviest first."""

    name = "names-by-weight"
    title = "names by weight"
    method = "names by weight"
    source = "control"
    summary = "one prompt that names the classes, heaviest first"


class MeanOfTokens(Control):
    """Σ p_i t_i as the token."""

    name = "mean-of-tokens"
    title = "mean of tokens"
    method = "mean of tokens"
    source = "control"
    summary = "the weighted mean of the classes' input tokens, used as the token"
    weights = True


class MeanOfEmbeddings(Control):
    """The weighted mean of what the prompts condition the denoiser with."""

    name = "mean-of-embeddings"
    title = "mean of prompt embeddings"
    method = "mean of prompt embeddings"
    source = "control; embedding interpolation in Olearo et al., arXiv 2407.14280"
    summary = "the weighted mean of the classes' encoded prompts"
    weights = True


class Dominant(Control):
    """The heaviest class."""

    name = "dominant"
    title = "dominant class alone"
    method = "dominant class alone"
    source = "control"
    summary = "the heaviest class alone"


@dataclass(frozen=True)
class RandomZSettings(Settings):
    """Which random latent.

    Attributes:
        index: row of the sequence of latents; the evaluation takes the number of the case.
    """

    index: int = 0

    def __post_init__(self) -> None:
        """Check the range."""
        self.require_whole("index", least=0)


class RandomZ(Control):
    """A creature of a random latent, whatever was asked."""

    name = "random-z"
    title = "random latent"
    method = "random latent"
    source = "control"
    summary = "a token from a random latent of the DisTok model, whatever is asked"
    Settings = RandomZSettings

    def prepare(self, ask: Ask) -> Ready:
        """A token of ``settings.index``; see :class:`Control`."""
        if ask.model is None:
            raise DistokError("random-z decodes a latent of a DisTok; give the model")
        return super().prepare(ask)

    def _index(self) -> int:
        return int(self.settings.index)


class _NoReader:
    """In place of the evaluation's rulers: controls read no picture."""

    names: tuple[str, ...] = ()


def _bench(ask: Ask) -> Any:
    """A bench of which a control uses the backend and the model alone."""
    from distok.evaluation.cases import Bench
    from distok.evaluation.pictures import Darkroom

    return Bench(ask.backend, ask.model, _NoReader(), Darkroom(ask.backend))  # type: ignore[arg-type]
