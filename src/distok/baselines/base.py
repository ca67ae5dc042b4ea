"""The one signature of every method of the literature: a frozen pipeline, a mix and seeds in; pictures, a token, seconds out.

Shapes: b pictures, n creative tokens, d token width.
"""

import time
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distok.backends.base import Backend, Condition
from distok.backends.families import FAMILIES
from distok.backends.prompts import PROMPT, has_places, named
from distok.distribution import Distribution
from distok.errors import DistokError, UnavailableError

if TYPE_CHECKING:
    from PIL import Image

    from distok.concept import Concept
    from distok.labelers import Labeler
    from distok.model import DisTok

OPTIONS = ("steps", "guidance_scale", "size")
PRESETS = ("published", "menagerie")


@dataclass(frozen=True)
class Settings:
    """What a method can be told; each method has its own, with the published values as defaults."""

    def require(self, name: str, holds: bool, expected: str) -> None:
        """Refuse a value, by name and with the remedy."""
        if not holds:
            raise DistokError(f"the setting {name} is {getattr(self, name)!r}, but it must be {expected}; correct it")

    def require_whole(self, *names: str, least: int = 1) -> None:
        """Refuse what is not a whole number of at least ``least``."""
        for name in names:
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            self.require(name, whole and value >= least, f"a whole number of at least {least}")

    def require_flag(self, *names: str) -> None:
        """Refuse what is neither true nor false: ``off`` would be a text, and any text counts as true."""
        for name in names:
            self.require(name, isinstance(getattr(self, name), bool), "true or false")

    def require_within(self, low: float, high: float, *names: str) -> None:
        """Refuse what is not a number from ``low`` to ``high``."""
        for name in names:
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            self.require(name, number and low <= value <= high, f"a number from {low:g} to {high:g}")

    def require_text(self, *names: str) -> None:
        """Refuse what is not text; it may be empty."""
        for name in names:
            self.require(name, isinstance(getattr(self, name), str), "text")

    def require_place(self, *names: str) -> None:
        """Refuse a prompt without exactly one ``{}``."""
        for name in names:
            self.require(name, has_places(getattr(self, name), 1), "a prompt with one {}")


@dataclass(frozen=True, eq=False)
class Ask:
    """One concept asked for, and what there is to make it with.

    Attributes:
        backend: the frozen pipeline.
        labeler: reads pictures; None where there is none.
        mix: what is asked for.
        seeds: one a picture.
        names: the known classes, for labelers that choose from a list.
        prompt: with ``{}`` where the creature goes.
        model: a DisTok, for the methods that need one.
        options: ``steps``, ``guidance_scale``, ``size``; what is not in it is the checkpoint's own.
        callback: told (denoising steps done, in all) of the last rendering.
    """

    backend: Backend
    labeler: "Labeler | None"
    mix: Distribution
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    prompt: str = PROMPT
    model: "DisTok | None" = None
    options: Mapping[str, Any] = field(default_factory=dict)
    callback: Callable[[int, int], None] | None = None

    def by_weight(self) -> list[str]:
        """The classes, heaviest first."""
        return [name for name, _ in self.mix.top(len(self.mix.names))]

    def parts(self) -> "Iterator[tuple[int, Ask]]":
        """The same for as many pictures as are denoised together, and how many came before them; it changes none of them."""
        together = self.backend.together(self.options.get("size", self.backend.defaults.size))
        for start in range(0, len(self.seeds), together):
            yield start, replace(self, seeds=self.seeds[start : start + together])

    def others(self, title: str) -> list[str]:
        """The known classes that are not of the mix: what the labeler may take a picture for, other than what it shall be.

        Raises:
            UnavailableError: there are none; the message begins with the method's title.
        """
        others = [name for name in self.names if name not in self.mix.names]
        if not others:
            raise UnavailableError(
                f"{title}'s labeler has nothing to answer but the mix itself; give the known classes (--concepts)"
            )
        return others

    def reader(self) -> "Labeler":
        """The labeler; only for methods that say they need one, which :meth:`Baseline.make` has checked."""
        assert self.labeler is not None
        return self.labeler

    def distok(self) -> "DisTok":
        """The DisTok; only for methods that say they need one, which :meth:`Baseline.make` has checked."""
        assert self.model is not None
        return self.model

    def render(
        self,
        prompts: Sequence[str] | None,
        tokens: Float[Tensor, "n d"] | None = None,
        *,
        seeds: Sequence[int],
        condition: Condition | None = None,
        **options: Any,
    ) -> "list[Image.Image]":
        """Pictures through the backend with this concept's options; ``options`` come before them."""
        return self.backend.render(prompts, tokens, seeds=seeds, condition=condition, **{**self.options, **options})


@dataclass(frozen=True, eq=False)
class Ready:
    """What is made once for a concept, whatever the number of its pictures.

    Attributes:
        prompt: the prompt of every picture; ``<tcrt_0>`` is row 0 of ``tokens``.
        tokens: the creative tokens in it.
        condition: what conditions the denoiser in place of both, each tensor beginning with 1.
        concept: the reusable token, where the method makes one.
        details: what a report may tell of how it went; JSON-able.
        parts: what else the method wants to keep for its pictures.
    """

    prompt: str | None = None
    tokens: Float[Tensor, "n d"] | None = None
    condition: Condition | None = None
    concept: "Concept | None" = None
    details: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method made.

    Attributes:
        pictures, seeds: one each, in order.
        concept: the reusable token; None where the method makes none.
        once_seconds: spent once for all concepts, such as the training of a universal token; 0 if it had been done before.
        concept_seconds: spent once for this concept, before any picture.
        picture_seconds: spent on all pictures.
        details: what is worth telling of how it went; JSON-able.
    """

    pictures: "list[Image.Image]"
    seeds: tuple[int, ...]
    concept: "Concept | None"
    once_seconds: float
    concept_seconds: float
    picture_seconds: float
    details: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Seconds a concept: from the mix to its first picture (drawn alone it may take longer than its share of a batch)."""
        return self.concept_seconds + self.picture_seconds / len(self.seeds)


class Baseline(ABC):
    """A method of the literature, or a control, on the backends' signature.

    A picture is a pure function of (backend, labeler, settings, mix, prompt, names, its seed); the pipeline is never changed.

    Attributes:
        name: as on the command line.
        title: as in tables.
        source: paper, or where the idea is from.
        summary: what it does, in a line.
        families: the pipelines' class names that it runs on.
        needs_labeler: whether it reads pictures as it goes.
        needs_model: whether it needs a DisTok model of the backend.
        needs_features: whether it searches by E(q).
        weights: whether it knows what the weights of a mix are.
        least: the fewest classes it can mix.
        revision: raised with every change of the code that changes its pictures: an evaluation then makes them again.
        Settings: the class of its settings; the published values are the defaults.
        MENAGERIE: settings for the shipped world, where the published ones make no sense at its size.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    summary: ClassVar[str]
    families: ClassVar[tuple[str, ...]] = tuple(FAMILIES)
    needs_labeler: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    weights: ClassVar[bool] = False
    least: ClassVar[int] = 1
    revision: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings: Any = settings or self.Settings()

    @property
    def picture_revision(self) -> int:
        """Its own revision, and that of the method that it wraps."""
        return self.revision + getattr(self, "of", Baseline).revision - 1

    @classmethod
    def preset(cls, name: str = "published", /, **changes: Any) -> "Baseline":
        """This method with the settings of a preset, and changes.

        Args:
            name: "published", or "menagerie" for the shipped world.

        Raises:
            DistokError: no such preset or setting, or a value out of range.
        """
        if name not in PRESETS:
            raise DistokError(f"there is no preset {name!r}; choose {' or '.join(PRESETS)}")
        known = [entry.name for entry in fields(cls.Settings)]
        for key in changes:
            if key not in known:
                has = f"its settings are {', '.join(known)}" if known else "it has none"
                raise DistokError(f"{cls.name} has no setting {key!r}; {has}")
        base = cls.MENAGERIE if name == "menagerie" else {}
        return cls(replace(cls.Settings(), **{**base, **changes}))

    def make(
        self,
        backend: Backend,
        labeler: "Labeler | None",
        mix: Distribution,
        seeds: Sequence[int],
        *,
        names: Sequence[str] | None = None,
        prompt: str = PROMPT,
        model: "DisTok | None" = None,
        callback: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Outcome:
        """Make one concept and draw it once a seed.

        Args:
            backend: a frozen pipeline.
            labeler: what reads pictures, where the method does.
            mix: what to make; a class of weight 0 is no part of it.
            seeds: one a picture; picture i depends on seed i alone.
            names: the known classes; those of the mix if None.
            prompt: with ``{}`` where the creature goes.
            model: a DisTok, for the methods that need one.
            callback: told (done, in all): denoising steps, or pictures where a method draws them one by one.
            options: ``steps``, ``guidance_scale``, ``size``; the method's published value, or else the checkpoint's own, if None.

        Raises:
            DistokError: the method does not run on this backend, with this mix or without a labeler; or a value is out of range.
        """
        known = tuple(dict.fromkeys((*(names or ()), *mix.names)))
        if 0 in mix.weights:
            mix = Distribution.from_vector(mix.names, mix.weights)
        self._check(backend, labeler, model, mix, seeds, prompt, options)
        own = {key: value for key in OPTIONS if (value := getattr(self.settings, key, None)) is not None}
        ask = Ask(
            backend,
            labeler,
            mix,
            tuple(int(seed) for seed in seeds),
            known,
            prompt,
            model,
            own | {key: value for key, value in options.items() if value is not None},
            callback,
        )
        backend.check_size(replace(backend.defaults, **ask.options).size)  # refused before anything is learned
        start = time.perf_counter()
        try:
            self.learn(ask)
            learned = time.perf_counter()
            ready = self.prepare(ask)
            prepared = time.perf_counter()
            pictures, details = self.draw(ask, ready)
        finally:
            backend.placement.leave()  # some methods call the pipeline's parts themselves
        spent = (learned - start, prepared - learned, time.perf_counter() - prepared)
        return Outcome(pictures, ask.seeds, ready.concept, *spent, {**ready.details, **details})

    def learn(self, ask: Ask) -> None:  # noqa: B027 - not every method learns
        """What is done once for all concepts; nothing for most."""

    def prepare(self, ask: Ask) -> Ready:
        """What is done once for this concept."""
        return Ready()

    def draw(self, ask: Ask, ready: Ready) -> "tuple[list[Image.Image], dict[str, Any]]":
        """The pictures, and details that only they tell; by default one prompt or condition for all seeds."""
        count = len(ask.seeds)
        if ready.condition is not None:
            condition = {key: value.expand(count, *value.shape[1:]) for key, value in ready.condition.items()}
            return ask.render(None, seeds=ask.seeds, condition=condition, callback=ask.callback), {}
        assert ready.prompt is not None
        return ask.render([ready.prompt] * count, ready.tokens, seeds=ask.seeds, callback=ask.callback), {}

    def concept_of(self, ask: Ask, name: str, token: Float[Tensor, " d"], mix: Distribution | None) -> "Concept":
        """A token as a reusable concept."""
        from distok.concept import Concept

        made = {"method": self.name, "backend_hash": ask.backend.hash, "settings": repr(self.settings)}
        return Concept(name, ask.backend.split(token.detach()[None]), mix, None, made)

    def _check(
        self,
        backend: Backend,
        labeler: "Labeler | None",
        model: "DisTok | None",
        mix: Distribution,
        seeds: Sequence[int],
        prompt: str,
        options: Mapping[str, Any],
    ) -> None:
        if backend.family not in self.families:
            raise UnavailableError(f"{self.title} does not run on a {backend.family}; it runs on {', '.join(self.families)}")
        if self.needs_labeler and labeler is None:
            raise UnavailableError(f"{self.title} reads pictures as it goes; give a labeler")
        if self.needs_model and model is None:
            raise UnavailableError(f"{self.title} needs the DisTok that was trained for this backend; give the model")
        if len(mix.names) < self.least:
            raise UnavailableError(f"{self.title} mixes at least {self.least} classes and got '{mix}'; name another one")
        if not seeds:
            raise DistokError(f"{self.title} got no seed; give one for each picture")
        if "{}" not in prompt:
            raise DistokError(f"the prompt {prompt!r} has no {{}}; write {{}} where the creature goes, as in {PROMPT!r}")
        strangers = [key for key in options if key not in OPTIONS]
        if strangers:
            raise DistokError(f"{self.title} has no rendering option {strangers[0]!r}; the options are {', '.join(OPTIONS)}")


@torch.no_grad()
def class_conditions(ask: Ask) -> Condition:
    """What the prompt of each class of the mix conditions the denoiser with, in the mix's order."""
    return ask.backend.condition([named(name, ask.prompt) for name in ask.mix.names])
