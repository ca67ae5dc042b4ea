"""Where surprises come from: random distributions over classes, and random latents.

Shapes: n = number of draws, w = latent dimension.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from distok.distribution.simplex import Distribution
from distok.errors import DistokError
from distok.seeds import rng

# A Cauchy law has no variance. Clipped at ±CAUCHY_CLIP and scaled by CAUCHY_SCALE its variance is 1 (to eight digits): it then
# has a narrower core and far heavier tails than the other two.
CAUCHY_CLIP = 6.0
CAUCHY_SCALE = 0.13320027727760064

_DRAWS: dict[str, Callable[[np.random.Generator, int], Float[np.ndarray, " w"]]] = {
    "normal": lambda random, dim: random.standard_normal(dim),
    "laplace": lambda random, dim: random.laplace(scale=np.sqrt(0.5), size=dim),
    "cauchy": lambda random, dim: np.clip(CAUCHY_SCALE * random.standard_cauchy(dim), -CAUCHY_CLIP, CAUCHY_CLIP),
}
PRIORS = tuple(_DRAWS)
MIXTURE = "mixture"  # not a law of latents: a random mix, encoded
SURPRISES = (*PRIORS, MIXTURE)
# Of a random mix: how many classes, and weights that seldom leave one of them out of sight.
PARENTS = (2, 3)
CONCENTRATION = 4.0


def sample_prior(kind: str, n: int, dim: int, seed: int) -> Float[np.ndarray, "n w"]:
    """Draw ``n`` float32 latents of zero mean and unit variance; row i depends on ``(kind, seed, i)`` alone, never on ``n``.

    Args:
        kind: "normal", "laplace", or "cauchy" (clipped; see ``CAUCHY_CLIP``).
        n: how many, at least 1.
        dim: the latent dimension w, at least 1.
        seed: any integer.

    Raises:
        DistokError: an unknown kind, or n or dim below 1.
    """
    if kind not in _DRAWS:
        raise DistokError(f"unknown prior '{kind}'; choose {', '.join(PRIORS[:-1])} or {PRIORS[-1]}")
    if n < 1 or dim < 1:
        raise DistokError(f"cannot draw {n} latents of dimension {dim}; both must be at least 1")
    return np.stack([_DRAWS[kind](rng(seed, "prior", kind, row), dim) for row in range(n)]).astype(np.float32)


def check_surprise(kind: str) -> None:
    """Refuse what is none of ``SURPRISES``."""
    if kind not in SURPRISES:
        raise DistokError(f"unknown prior '{kind}'; choose {', '.join(PRIORS)} or {MIXTURE}")


def random_mixes(names: Sequence[str], n: int, seed: int) -> list[Distribution]:
    """Deal ``n`` mixes of 2 or 3 of the names; those of one shuffle share no name.

    The names are dealt like cards, and shuffled anew when fewer are left than a mix takes. So the first mixes are as different as
    mixes can be, and mix i depends on ``(names, seed, i)`` alone, never on ``n``.

    Raises:
        DistokError: there are no names.
    """
    dealt, deck = [], list[str]()
    for row in range(n):
        random = rng(seed, "prior", MIXTURE, row)
        classes = min(int(random.choice(PARENTS)), len(names))
        if len(deck) < classes:
            deck = [names[i] for i in random.permutation(len(names))]
        dealt.append(dirichlet(deck[:classes], random, classes, CONCENTRATION))
        deck = deck[classes:]
    return dealt


def dirichlet(
    names: Sequence[str], random: np.random.Generator, classes: int | None = None, concentration: float = 1.0
) -> Distribution:
    """Draw a distribution over ``classes`` of the names (all of them by default) from a symmetric Dirichlet law.

    Args:
        names: the classes to draw from.
        random: the source of randomness, see ``distok.seeds.rng``.
        classes: how many different classes the mix names.
        concentration: 1 is uniform over all mixes; below 1 one class dominates; above 1 the weights are alike.

    Raises:
        DistokError: ``classes`` is not in 1 … len(names), or ``concentration`` is not above 0.
    """
    classes = len(names) if classes is None else classes
    if not 1 <= classes <= len(names):
        raise DistokError(f"cannot draw {classes} of {len(names)} classes; ask for 1 to {len(names)}")
    if not concentration > 0 or not np.isfinite(concentration):
        raise DistokError(f"concentration is {concentration}; it must be a number above 0, like 1")
    chosen = random.choice(len(names), size=classes, replace=False)
    return Distribution.from_vector(
        [names[index] for index in chosen], random.dirichlet(np.full(classes, concentration)), floor=-1.0
    )
