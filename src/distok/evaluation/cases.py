"""What is asked for in an evaluation, what a suite works with, and the artist as the floor.

Shapes: k classes, d token width.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from distok import seeds
from distok.backends.prompts import PROMPT
from distok.distribution import MIXTURE, Distribution, random_mixes, sample_prior
from distok.errors import DistokError
from distok.evaluation.pictures import Darkroom, Shot
from distok.evaluation.readings import Rulers

if TYPE_CHECKING:
    from PIL import Image

    from distok.backends import Backend
    from distok.model import DisTok

STRIDE = 100  # seeds between cases: case i has the seeds STRIDE·i, STRIDE·i + 1, …, the same for every method


@dataclass(frozen=True)
class Case:
    """One thing asked for."""

    index: int
    kind: str  # "pair" or "weighted"
    asked: Distribution

    def seeds(self, count: int) -> list[int]:
        """Its first ``count`` seeds."""
        return [STRIDE * self.index + i for i in range(count)]


@dataclass(frozen=True, eq=False)
class Bench:
    """All that a suite needs.

    Attributes:
        backend, model: a frozen pipeline and the DisTok trained for it.
        rulers: the readers of pictures.
        darkroom: renders and keeps pictures.
        label: what the backend is called.
    """

    backend: "Backend"
    model: "DisTok"
    rulers: Rulers
    darkroom: Darkroom
    label: str = ""
    _tokens: dict[str, Tensor] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The known classes."""
        return self.rulers.names

    @cached_property
    def of_menagerie(self) -> bool:
        """Whether all of these classes are the Menagerie's, so that its captions' words are understood."""
        from distok.menagerie.species import NAMES

        return set(self.names) <= set(NAMES)

    @property
    def kind(self) -> Distribution:
        """A kind that all of these classes are of, for methods that look for a new member of one."""
        return Distribution(("creature" if self.of_menagerie else "pet",), (1.0,))

    @cached_property
    def has_artist(self) -> bool:
        """Whether the artist can draw all of these classes here."""
        from distok.menagerie import need_artist

        with suppress(DistokError):
            need_artist()
            return self.of_menagerie
        return False

    @cached_property
    def cases(self) -> list[Case]:
        """The shipped evaluation set where its classes are known; otherwise 30 and 30 drawn from these, by a fixed seed."""
        from distok.menagerie.species import NAMES

        if set(NAMES) <= set(self.names):
            from distok.menagerie.splits import splits

            pairs: Sequence[Sequence[str]] = splits().evaluation_pairs
            weighted = [Distribution.from_mapping(each) for each in splits().evaluation_distributions]
        else:
            pairs, weighted = _drawn_cases(self.names, self.model.provenance.get("settings"))
        asked = [("pair", Distribution(tuple(pair), (0.5, 0.5))) for pair in pairs] + [("weighted", each) for each in weighted]
        return [Case(i, kind, each) for i, (kind, each) in enumerate(asked)]

    def met(self, cases: Sequence[Case]) -> int:
        """How many of the cases this DisTok could mix in training: their sets of classes are not among those it held out."""
        return sum(frozenset(case.asked.names) not in self._held_out for case in cases)

    @property
    def found_checked(self) -> bool:
        """Whether what concepts found in training show was held to what is held out, too: not so in the first revision."""
        return not self._held_out or int(self.model.provenance.get("revision", "1")) > 1

    @property
    def _held_out(self) -> set[frozenset[str]]:
        return {frozenset(each) for each in json.loads(self.model.provenance.get("settings", "{}")).get("held_out", [])}

    def spread(self, count: int | None) -> list[Case]:
        """``count`` of the cases, evenly from all of them; all with None."""
        if count is None or count >= len(self.cases):
            return self.cases
        return [self.cases[i] for i in np.linspace(0, len(self.cases) - 1, count).round().astype(int)]

    @cached_property
    def model_hash(self) -> str:
        """Ten hexadecimal digits of the DisTok's weights."""
        from distok.concept import digest_weights

        return digest_weights(self.model.state_dict())

    @property
    def hashes(self) -> dict[str, Any]:
        """Of all that decides what is measured and said of it: the pipeline, the readers, the DisTok and what it held out."""
        from distok.concept import digest

        held_out = digest(json.dumps([sorted(map(sorted, self._held_out)), self.found_checked]))
        readers = list(self.rulers.hashes)
        return {
            "pipeline": self.backend.pipeline_hash,
            "features": self.backend.feature_hash,
            "readers": readers,
            "model": self.model_hash,
            "held out": held_out,
        }

    def name_token(self, name: str) -> Float[Tensor, " d"]:
        """The input token t of a class."""
        if name not in self._tokens:
            self._tokens[name] = self.backend.name_tokens([name])[0].cpu().float()
        return self._tokens[name]

    def mean_token(self, asked: Distribution) -> Float[Tensor, " d"]:
        """Σ p_i t_i."""
        return sum((weight * self.name_token(name) for name, weight in asked.as_dict().items()), torch.zeros(()))

    @torch.no_grad()
    def token(self, asked: Distribution, model: "DisTok | None" = None) -> Float[Tensor, " d"]:
        """The creative token D_tok(E_dis(Σ p_i t_i))."""
        return (model or self.model)(self.mean_token(asked)[None])[0]

    @torch.no_grad()
    def random_tokens(
        self, prior: str, count: int, seed: int = 0, model: "DisTok | None" = None, raw: bool = False
    ) -> Float[Tensor, "n d"]:
        """Creative tokens of random latents, or of random mixes with the prior "mixture"; row i of ``(prior, seed, i)`` alone.

        Latents go through their measured law; ``raw`` takes them as they are drawn, as the paper does.
        """
        model = model or self.model
        if prior == MIXTURE:
            return torch.stack([self.token(mix, model) for mix in random_mixes(self.names, count, seed)])
        drawn = torch.from_numpy(sample_prior(prior, count, model.settings.latent_dim, seed))
        return torch.cat([model.decode(row[None] if raw else model.sample_latents(row[None])) for row in drawn])


DISTOK = "DisTok"
ARTIST = "the artist (floor)"


def shoot(
    bench: Bench, token: Callable[[Distribution], Tensor], cases: Sequence[Case], count: int, stage: str
) -> "list[list[Image.Image]]":
    """``count`` pictures of each case with the token of its mix; picture j of a case has the case's seed j."""
    shots = [Shot(PROMPT, seed, row) for case in cases for row in [token(case.asked)] for seed in case.seeds(count)]
    pictures = bench.darkroom.develop(stage, shots)
    return [pictures[i : i + count] for i in range(0, len(pictures), count)]


def artist_pictures(asked: Distribution, numbers: Sequence[int], size: int = 128) -> "list[Image.Image]":
    """The artist's own pictures of a mix, which no training saw (their seeds are derived under a name of their own)."""
    from PIL import Image

    from distok.menagerie.artist import draw, recipe

    return [Image.fromarray(draw(recipe(asked.as_dict(), seeds.derive(n, "evaluation")), size)) for n in numbers]


def _drawn_cases(names: Sequence[str], settings: str | None) -> tuple[list[tuple[str, str]], list[Distribution]]:
    """Cases over other classes: pairs (those that training held out, where it did), and mixes of 2 to 4 of at least 0.15."""
    random = seeds.rng(0, "evaluation cases")
    held_out = [tuple(each) for each in json.loads(settings or "{}").get("held_out", []) if len(each) == 2]
    every = held_out or [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    pairs = [every[i] for i in sorted(random.permutation(len(every))[:30])]
    weighted = []
    for i in range(30):
        classes = min(2 + i % 3, len(names))
        chosen = random.choice(len(names), classes, replace=False)
        shares = 0.15 + (1 - 0.15 * classes) * random.dirichlet(np.ones(classes))
        weighted.append(Distribution(tuple(names[j] for j in chosen), tuple(shares)))
    return pairs, weighted
