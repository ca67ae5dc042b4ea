"""Everything about a training run that can be chosen, and the presets."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeGuard

from distok.backends.prompts import has_places
from distok.errors import DistokError
from distok.model import ACTIVATIONS

ESTIMATE_FROM = ("prior", "mixtures", "both")


@dataclass(frozen=True)
class TrainSettings:
    """A training run, a pure function of these settings, the backend, the labeler, the names and the bank.

    Raises:
        DistokError: a value out of range; the message names the value and the remedy.
    """

    seed: int = 0  # every draw derives from (seed, step)
    steps: int = 20_000  # optimiser steps (paper)
    sub_steps: int = 8  # tasks per step, n of the paper; one batch here, with the gradients of accumulation

    # the two networks
    latent_dim: int = 20  # w (paper)
    hidden_dim: int = 768  # hidden width (paper)
    activation: str = "gelu"  # open in the paper; smooth
    start: str = "random"  # weights at step 0: random, or linear (the weighted mean of tokens, as far as latent_dim carries it)
    input_scale: str = "sum"  # a pair enters as t1 + t2 (paper); "mean" gives pairs and distributions one scale

    # the objective
    alpha: float = 1.0  # weight of fusion, L_mix (paper); 0 removes the task
    beta: float = 1.0  # weight of consistency, L_cst (paper); 0 removes the task
    gamma: float = 0.001  # weight of the latent regulariser, L_reg (paper); 0 removes it
    delta: float = 0.0  # weight of what is foreseen, L_fsg (ours); 0 removes it, as in the paper
    epsilon_restrictive: float | None = 0.85  # cap on cos(q_r, q_a) (secondary notes, CLIP-L); None calibrates on the encoder
    epsilon_aesthetic: float | None = 0.80  # cap on cos(q_s, q_a) (secondary notes, CLIP-L); None calibrates on the encoder
    adaptive_prompt: str = "a photo of a {}"  # q_a (paper)
    restrictive_prompt: str = "a {} {}"  # q_r (paper)
    aesthetic_prompt: str = "a photo of a cute pet"  # q_s (paper)

    # which tasks
    fusion_share: float = 0.5  # chance that a task is a fusion and not a consistency; "randomly" in the paper
    novel_share: float | None = None  # chance that a fused concept is an admitted one; None draws from the whole pool (paper)
    mixture_share: float = 0.0  # chance that a fusion is of a weighted mixture of known classes; the paper fuses pairs alone
    known_share: float = 0.0  # chance that a consistency is on a known class, one-hot; the paper draws novel ones alone
    held_out: frozenset[tuple[str, ...]] = field(default_factory=frozenset)  # sets of two or more classes never mixed: the test
    tau: float = 0.85  # gate of the pool: max p below it (paper)
    pool_size: int = 4096  # admitted concepts kept; the oldest leave first

    # class distribution estimation
    estimate_every: int = 100  # steps between estimations: with one concept each, the paper's 200 renders
    estimate_count: int = 1  # concepts rendered and read at each; 0 turns rendering off
    estimate_renders: int = 1  # pictures per concept, whose readings are averaged
    estimate_steps: int | None = None  # denoising steps; None is the checkpoint's default
    estimate_size: int | None = None  # pixels, square; None is the checkpoint's own
    estimate_from: str = "prior"  # latents from the prior (paper), from encoded random mixtures, or half and half
    estimate_active: int = 4  # most classes in a random mixture, estimated or fused
    estimate_jitter: float = 0.0  # noise on tokens, in units of the real tokens' spread; widens what the pool covers
    foresight_after: int = 0  # first step at which what is foreseen counts: before, its networks only learn
    foresight_memory: int = 16_384  # readings remembered; the oldest leave first
    foresight_batch: int = 64  # readings that each of its networks learns from at a step
    foresight_blocks: int = 0  # residual blocks of its networks: hundreds of thousands of readings fill them, thousands do not
    foresight_dropout: float = 0.2  # of their last layer, while they learn
    foreseen_count: int = 64  # random mixtures whose readings are foreseen at a step; they cost no call of the text encoder
    bank_count: int = 0  # concepts taken from the estimation bank at each estimation, if a bank is given

    # optimisation (open in the paper)
    learning_rate: float = 1e-3  # AdamW peak; small MLPs stand it
    warmup: int = 200  # steps of linear warm-up, while Adam's moments settle
    weight_decay: float = 0.01  # AdamW's default
    grad_clip: float = 1.0  # largest gradient norm; a rare concept cannot throw the run
    ema_decay: float = 0.0  # running mean of the weights, used for the result; 0 is off

    threads: int = 1  # CPU threads of the steps: fixed, as sums are split by thread; one is fastest for small text encoders
    render_threads: int = 2  # CPU threads while pictures are rendered and read; fixed for the same reason
    save_every: int = 500  # steps between checkpoints; no influence on the result

    def __post_init__(self) -> None:
        object.__setattr__(self, "held_out", _unordered(self.held_out))
        self._require("seed", _is_whole(self, "seed"), "a whole number")
        counts = ("steps", "sub_steps", "latent_dim", "hidden_dim", "pool_size", "threads", "render_threads", "save_every")
        counts += ("estimate_every", "estimate_renders", "estimate_active")
        counts += ("foresight_memory", "foresight_batch", "foreseen_count")
        for name in counts:
            self._require(name, _is_whole(self, name) and getattr(self, name) >= 1, "a whole number of at least 1")
        for name in ("estimate_count", "bank_count", "warmup", "foresight_after", "foresight_blocks"):
            self._require(name, _is_whole(self, name) and getattr(self, name) >= 0, "a whole number, 0 for none")
        for name in ("alpha", "beta", "gamma", "delta", "weight_decay", "estimate_jitter"):
            self._require(name, _within(getattr(self, name), 0, float("inf")), "a number of at least 0")
        for name in ("fusion_share", "mixture_share", "known_share"):
            self._require(name, _within(getattr(self, name), 0, 1), "a number from 0 to 1")
        for name in ("ema_decay", "foresight_dropout"):
            self._require(name, _within(getattr(self, name), 0, 1) and getattr(self, name) < 1, "from 0 to below 1")
        for name in ("learning_rate", "grad_clip", "tau"):
            self._require(name, _within(getattr(self, name), 0, float("inf")) and getattr(self, name) > 0, "a number above 0")
        for name in ("epsilon_restrictive", "epsilon_aesthetic"):
            self._require(
                name, getattr(self, name) is None or _within(getattr(self, name), -1, 1), "a cosine, or none to calibrate"
            )
        self._require("novel_share", self.novel_share is None or _within(self.novel_share, 0, 1), "a number from 0 to 1, or none")
        for name in ("estimate_steps", "estimate_size"):
            given = getattr(self, name)
            self._require(name, given is None or (_is_whole(self, name) and given >= 1), "a whole number of at least 1, or none")
        self._require("estimate_from", self.estimate_from in ESTIMATE_FROM, f"one of {', '.join(ESTIMATE_FROM)}")
        self._require("input_scale", self.input_scale in ("mean", "sum"), "mean or sum")
        self._require("start", self.start in ("random", "linear"), "random or linear")
        self._require("activation", self.activation in tuple(ACTIVATIONS), f"one of {', '.join(ACTIVATIONS)}")
        self._require("alpha", self.alpha > 0 or self.beta > 0, "above 0 where beta is 0, or there is nothing to train")
        self._require(
            "estimate_active", self.mixture_share == 0 or self.estimate_active > 1, "at least 2 where mixture_share is above 0"
        )
        self._require(
            "delta",
            self.delta == 0 or self.estimate_count > 0 or self.bank_count > 0,
            "0 where nothing is read (estimate_count and bank_count 0): foresight learns from readings",
        )
        self._require("estimate_active", self.delta == 0 or self.estimate_active > 1, "at least 2 where delta is above 0")
        self._require("sub_steps", self.gamma == 0 or self.sub_steps > 1, "at least 2 where gamma is above 0 (a variance)")
        self._require("adaptive_prompt", has_places(self.adaptive_prompt, 1), "a prompt with one {}")
        self._require("restrictive_prompt", has_places(self.restrictive_prompt, 2), "a prompt with two {}")
        self._require("aesthetic_prompt", isinstance(self.aesthetic_prompt, str), "a prompt")

    @property
    def estimations(self) -> int:
        """How many times a run estimates: at its first step, and every ``estimate_every`` steps."""
        return math.ceil(self.steps / self.estimate_every)

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise DistokError(f"the training setting {name} is {getattr(self, name)!r}, but it must be {expected}; correct it")

    def to_json(self) -> str:
        """The settings as a JSON object with sorted keys; equal settings give equal text."""
        return json.dumps({**asdict(self), "held_out": sorted(map(list, self.held_out))}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TrainSettings":
        """Settings from :meth:`to_json`, or from any JSON object of some of the fields.

        Raises:
            DistokError: not JSON, an unknown field, or a value out of range.
        """
        try:
            values: dict[str, Any] = dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise DistokError(f"the training settings are not a JSON object ({error}); correct them") from None
        return preset("paper", **values)


def preset(name: str, /, **changes: Any) -> TrainSettings:
    """The settings of a preset, with changes.

    Raises:
        DistokError: no such preset or field, or a value out of range.
    """
    if name not in PRESETS:
        raise DistokError(f"there is no training preset {name!r}; choose one of {', '.join(PRESETS)}")
    known = [entry.name for entry in fields(TrainSettings)]
    for key in changes:
        if key not in known:
            raise DistokError(f"there is no training setting {key!r}; the settings are {', '.join(known)}")
    return replace(PRESETS[name], **changes)


def _unordered(sets: object) -> frozenset[tuple[str, ...]]:
    if not _is_series(sets):
        raise DistokError(f"the training setting held_out is {sets!r}, but it must be a list of lists of class names; correct it")
    result = set()
    for each in sets:
        names = tuple(each) if _is_series(each) else (each,)
        if not all(isinstance(name, str) for name in names) or not 2 <= len(names) == len(set(names)):
            raise DistokError(f"the held-out {names} must be two or more different class names; correct it")
        result.add(tuple(sorted(names)))
    return frozenset(result)


def _is_series(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it is several things: a text is one, though it can be gone through letter by letter."""
    return isinstance(value, Iterable) and not isinstance(value, str | Mapping)


def _is_whole(settings: TrainSettings, name: str) -> bool:
    value = getattr(settings, name)
    return isinstance(value, int) and not isinstance(value, bool)


def _within(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and value != float("inf")


PRESETS: dict[str, TrainSettings] = {
    # As published: thresholds of CLIP-L, a pair as a sum, about 200 renders in all.
    "paper": TrainSettings(),
    # As published, with the thresholds read off the text encoder at hand: for every pipeline but the paper's own base.
    "calibrated": TrainSettings(epsilon_restrictive=None, epsilon_aesthetic=None),
    # For the shipped world, whose text encoder is not CLIP-L and where a picture costs milliseconds. It starts as the weighted
    # mean of tokens, in as many latents as 60 classes need. Its encoder hears "photo of" as loudly as a name, so q_r has the
    # words of q_a: with "a c1 c2" fusion unlearns the photo, not the mean. Most fusions are of weighted mixtures of up to four
    # classes, whose q_r names them in order: so that no parent is lost. Fewer, larger steps; thousands of readings of the
    # model's own tokens, from which foresight learns what a token will show and teaches the weights. All of it in docs/log.md.
    # `distok evaluate methods` at 022c84d: KL 0.58 [0.44, 0.72], on weighted mixes 0.88, JS 0.118.
    "menagerie": TrainSettings(
        steps=9000,
        sub_steps=32,
        latent_dim=64,
        start="linear",
        input_scale="mean",
        delta=0.3,
        foresight_after=800,
        epsilon_restrictive=None,
        epsilon_aesthetic=None,
        restrictive_prompt="a photo of a {} {}",
        novel_share=0.25,
        mixture_share=0.7,
        known_share=0.1,
        pool_size=16_384,
        estimate_every=20,
        estimate_count=32,
        estimate_steps=6,
        estimate_from="mixtures",
        estimate_jitter=0.1,
        learning_rate=2e-3,
    ),
}
# For the shipped world on a GPU, where pictures are read by the hundred thousand: foresight has deeper networks for them.
# `distok evaluate methods` at f027b53: KL 0.40 [0.30, 0.49], on weighted mixes 0.60, JS 0.086.
PRESETS["menagerie-gpu"] = replace(
    PRESETS["menagerie"],
    steps=6000,
    delta=1.0,
    estimate_every=10,
    estimate_count=512,
    foresight_after=400,
    foresight_memory=262_144,
    foresight_batch=512,
    foresight_blocks=1,
    foresight_dropout=0.0,
    foreseen_count=128,
    render_threads=4,
)
# The same for a CPU that multiplies in bfloat16, in some two hours of a core: fewer readings, which dropout makes the most of.
# `distok evaluate methods` at c41dd45: KL 0.43 [0.33, 0.55], on weighted mixes 0.62, JS 0.098.
PRESETS["menagerie-long"] = replace(
    PRESETS["menagerie-gpu"], estimate_count=128, foresight_batch=256, foresight_dropout=0.4, render_threads=1
)
