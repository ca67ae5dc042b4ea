"""ConceptLab: one token is optimised to be of its classes and, in turns with the labeler, unlike what it is taken for.

Richardson et al., arXiv 2308.02669. Shapes: b prompts, p positives, m negatives, d token width, e feature width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from distok import seeds
from distok.backends import slot
from distok.backends.base import Condition
from distok.backends.prompts import has_places, named
from distok.baselines.base import Ask, Baseline, Ready, Settings
from distok.baselines.prior_interpolation import PRIORS
from distok.errors import UnavailableError

if TYPE_CHECKING:
    from distok.backends import Backend

TEMPLATES = (  # photographs, and half as many of the works of hand that the method also trains on; our own words
    "a photo of a {}",
    "a detailed photo of a {}",
    "a photo of one {}",
    "a portrait photo of a {}",
    "a painting of a {}",
    "a watercolor of a {}",
)
PATHS = ("auto", "prior", "text")
MAX_COSINE, MIN_COSINE = 0.28, 0.20  # published, of a picture embedding and a text in the space of CLIP-L


@dataclass(frozen=True)
class ConceptLabSettings(Settings):
    """The published values (the code's configurations for new concepts), where nothing else is said.

    Attributes:
        steps_of_training: optimiser steps.
        learning_rate, weight_decay: of AdamW on the one token.
        max_cosine: a positive earns nothing beyond it; None is the published 0.28 through the prior, see :func:`constraints`.
        min_cosine: a negative costs nothing below it; None is the published 0.20 through the prior.
        positive_factor: weight of the positive term.
        query_every: steps between questions to the labeler.
        live_negatives: whether the labeler's answers become negatives; None as published: yes for a new member of one class
            ("pet=1"), no for a mix of several.
        path: what is compared with the class words: the prior's picture embedding, or the text feature; "auto" takes the
            prior where there is one.
        prior_steps, prior_guidance_scale: of the prior in training.
        templates: prompts trained on, one a step.
        query_prompt, query_seed: of the picture shown to the labeler.
        start: the word that a mix of several begins at, such as a kind they belong to; its heaviest class if empty (ours). One
            class begins at its own word, as published.
        seed: of all draws.
    """

    steps_of_training: int = 2500
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    max_cosine: float | None = None
    min_cosine: float | None = None
    positive_factor: float = 1.0
    query_every: int = 250
    live_negatives: bool | None = None
    path: str = "auto"
    prior_steps: int = 5
    prior_guidance_scale: float = 4.0
    templates: tuple[str, ...] = TEMPLATES
    query_prompt: str = "Professional high-quality art of a {}. photorealistic, 4k, HQ"
    query_seed: int = 42
    start: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.require_whole("steps_of_training", "query_every", "prior_steps")
        self.require_whole("query_seed", "seed", least=0)
        self.require_within(0, 10, "learning_rate", "weight_decay", "positive_factor")
        self.require_within(0, 100, "prior_guidance_scale")
        for name in ("max_cosine", "min_cosine"):
            if getattr(self, name) is not None:
                self.require_within(-1, 1, name)
        self.require("path", self.path in PATHS, f"one of {', '.join(PATHS)}")
        if self.live_negatives is not None:
            self.require_flag("live_negatives")
        several = isinstance(self.templates, tuple | list) and len(self.templates) > 0
        self.require("templates", several and all(has_places(t, 1) for t in self.templates), "prompts with one {}")
        self.require_place("query_prompt")
        self.require_text("start")


class ConceptLab(Baseline):
    """A token optimised for one concept; its pictures are drawn as those of any token.

    Where it is learned through a prior, the prior alone is told of it: a decoder's own prompt stays empty, as published.
    """

    name = "concept-lab"
    title = "ConceptLab"
    source = "arXiv 2308.02669; github.com/kfirgoldberg/ConceptLab"
    summary = "one token optimised toward the classes and away from what the labeler takes it for"
    needs_features = True
    weights = True
    revision = 2
    Settings = ConceptLabSettings
    MENAGERIE: ClassVar[Mapping[str, Any]] = {
        "templates": ("a photo of a {}", "a watercolor of a {}", "a pencil sketch of a {}"),  # in the words of that world
        "query_prompt": "a photo of a {}",
        "start": "creature",
    }

    def prepare(self, ask: Ask) -> Ready:
        """Optimise the token."""
        how: ConceptLabSettings = self.settings
        live = len(ask.mix.names) == 1 if how.live_negatives is None else how.live_negatives
        if live and ask.labeler is None:
            raise UnavailableError("ConceptLab asks a labeler for its negatives; give one, or set live_negatives to false")
        by_prior = _by_prior(ask.backend, how.path)
        space = _Space(ask.backend, how, by_prior)
        maximum, minimum = constraints(how, space, ask)
        word = how.start if how.start and len(ask.mix.names) > 1 else ask.by_weight()[0]
        start = ask.backend.split(ask.backend.name_tokens([word]).float())
        learned = [key for key in ask.backend.widths if not by_prior or key.startswith("prior_")]
        parameters = {key: start[key].clone().requires_grad_() for key in learned}
        optimiser = torch.optim.AdamW(parameters.values(), lr=how.learning_rate, weight_decay=how.weight_decay)
        weights, negatives = torch.tensor(ask.mix.weights), []
        for step in range(how.steps_of_training):
            token = ask.backend.join({**start, **parameters})
            if live and step % how.query_every == 0:
                negatives.append(self._question(ask, token.detach(), by_prior))
            template = how.templates[int(seeds.rng(how.seed, "concept-lab", step).integers(len(how.templates)))]
            found = space.of_token(template, token, seeds.derive(how.seed, "concept-lab prior", step) % 2**31)
            positive = found @ space.of_words(template, ask.mix.names).T
            negative = found @ space.of_words(template, negatives).T if negatives else positive[:, :0]
            loss = concept_lab_loss(positive[0], weights, negative[0], maximum, minimum, how.positive_factor)
            # Not loss.backward(), which would leave gradients in the pipeline's prior.
            for parameter, gradient in zip(
                parameters.values(), torch.autograd.grad(loss, tuple(parameters.values())), strict=True
            ):
                parameter.grad = gradient
            optimiser.step()
        token = ask.backend.join({**start, **parameters}).detach().cpu()
        concept = self.concept_of(ask, "concept-lab", token[0], ask.mix)
        details = {"negatives": negatives, "path": "prior" if by_prior else "text", "max_cosine": maximum, "min_cosine": minimum}
        prompt = ask.prompt.replace("{}", slot(0))
        condition = _condition(ask.backend, prompt, token) if by_prior else None
        return Ready(prompt, token, condition, concept=concept, details=details)

    def _question(self, ask: Ask, token: Float[Tensor, "1 d"], by_prior: bool) -> str:
        """What the labeler takes the concept for, other than what it shall be."""
        how, choices = self.settings, ask.others(self.title)
        prompt = how.query_prompt.replace("{}", slot(0))
        condition = _condition(ask.backend, prompt, token) if by_prior else None
        picture = ask.render(None if by_prior else [prompt], token, seeds=[how.query_seed], condition=condition)
        reading = ask.reader().probabilities(picture, choices)[0]
        return choices[int(reading.argmax())]


def concept_lab_loss(
    positive: Float[Tensor, " p"],
    weights: Float[Tensor, " p"],
    negative: Float[Tensor, " m"],
    max_cosine: float,
    min_cosine: float,
    factor: float = 1.0,
) -> Float[Tensor, ""]:
    """½ (mean_neg + max_neg) + factor · Σ_k w_k (1 − pos_k), with pos clipped from above and neg from below (paper, eq. 4 to 7).

    Args:
        positive, negative: cosines of the concept with the class words; no negatives cost nothing.
        weights: w of the positives.
    """
    loss = factor * (weights.to(positive) * (1 - positive.clamp(max=max_cosine))).sum()
    if len(negative):
        held = negative.clamp(min=min_cosine)
        loss = loss + 0.5 * (held.mean() + held.max())
    return loss


class _Space:
    """Where a concept and class words are compared: all vectors have unit length."""

    def __init__(self, backend: "Backend", how: ConceptLabSettings, by_prior: bool) -> None:
        self.backend: Any = backend
        self.how, self.by_prior = how, by_prior
        self._words: dict[tuple[str, str], Tensor] = {}

    @torch.no_grad()
    def of_words(self, template: str, names: Sequence[str]) -> Float[Tensor, "b e"]:
        """Class words in a template."""
        new = [name for name in dict.fromkeys(names) if (template, name) not in self._words]
        if new:
            features = self._features([named(name, template) for name in new])
            self._words |= {(template, name): row for name, row in zip(new, features, strict=True)}
        return torch.stack([self._words[template, name] for name in names])

    def of_token(self, template: str, token: Float[Tensor, "1 d"], seed: int) -> Float[Tensor, "1 e"]:
        """The concept in a template, differentiable in its token."""
        prompt = template.replace("{}", slot(0))
        if not self.by_prior:
            return self.backend.encode([prompt], token)
        condition = self.backend.condition([prompt], token)
        options = {"steps": self.how.prior_steps, "guidance_scale": self.how.prior_guidance_scale}
        return F.normalize(self.backend.image_embeds(condition, [seed], **options).float(), dim=-1)

    def _features(self, prompts: Sequence[str]) -> Float[Tensor, "b e"]:
        if not self.by_prior:
            return self.backend.encode(prompts)
        # Kandinsky 2.1 compares with its multilingual encoder, which lies in the same space as the prior's pictures; 2.2 has
        # the prior's own encoder alone.
        key, encoder = list(self.backend.encoders.items())[-1]
        return self.backend.feature(key, encoder.encode(prompts).pooled)


def constraints(how: ConceptLabSettings, space: _Space, ask: Ask) -> tuple[float, float]:
    """(max_cosine, min_cosine): as set; else as published through the prior, and read off the encoder in the space of texts.

    The published values belong to cosines between a picture embedding and a text. Between texts of one encoder a word may
    reach 1, so positives are not capped, and a negative counts down to the mean cosine between different classes: no further
    apart than classes are from each other.
    """
    maximum = how.max_cosine if how.max_cosine is not None else MAX_COSINE if space.by_prior else 1.0
    if how.min_cosine is not None or space.by_prior:
        return maximum, MIN_COSINE if how.min_cosine is None else how.min_cosine
    words = space.of_words(how.templates[0], ask.names)
    count = len(words)
    if count < 2:
        return maximum, -1.0
    cosines = words @ words.T
    return maximum, float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))


@torch.no_grad()
def _condition(backend: "Backend", prompt: str, token: Float[Tensor, "1 d"]) -> Condition:
    """What conditions a pipeline whose prior alone hears the prompt."""
    empty = backend.condition([""])
    return backend.condition([prompt], token) | {key: value for key, value in empty.items() if key.startswith("text_")}


def _by_prior(backend: "Backend", path: str) -> bool:
    has = backend.family in PRIORS
    if path == "prior" and not has:
        raise UnavailableError(f"a {backend.family} has no prior; set path to text or auto")
    return has and path != "text"
