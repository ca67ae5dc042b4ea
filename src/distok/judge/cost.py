"""What a run would cost, before anything is sent. Prices are the user's to give; token counts are rules of thumb."""

import math
from dataclasses import dataclass

from distok.errors import DistokError
from distok.judge.asking import Desk

CHARACTERS = 4  # of English text a token, roughly
# One large vendor's rule: 85 tokens a picture and 170 a tile of 512 pixels, once its sides are at most 2048 and its shorter
# one at most 768.
TILE, BASE, EACH, LONGEST, SHORTEST = 512, 85, 170, 2048, 768
ANSWER = 50  # tokens of an answer, roughly


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What the endpoint charges.

    Attributes:
        per_million_in, per_million_out: for a million tokens, in any currency; None where not known.
        image_tokens: of one picture; the tile rule if None.
    """

    per_million_in: float | None = None
    per_million_out: float | None = None
    image_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("per_million_in", "per_million_out", "image_tokens"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise DistokError(f"{name} is {value}, but at least 0 is expected; correct it")

    def sum(self, tokens_in: float, tokens_out: float) -> float | None:
        """The price of some tokens, or None where a price is not known."""
        if self.per_million_in is None or self.per_million_out is None:
            return None
        return (tokens_in * self.per_million_in + tokens_out * self.per_million_out) / 1e6


@dataclass(frozen=True)
class Estimate:
    """What is left to do: requests if every first answer is good, tokens, and the price where prices are given."""

    questions: int
    kept: int
    requests: int
    most_requests: int
    tokens_in: int
    tokens_out: int
    price: float | None

    def __str__(self) -> str:
        text = f"{self.kept} of {self.questions} answers are kept; {self.requests} to ask now"
        if not self.requests:
            return text
        price = (
            f", about {self.price:.4g} at your prices"
            if self.price is not None
            else "; for a sum give --price-in and --price-out"
        )
        return (
            f"{text} (at most {self.most_requests} requests with clarifications), roughly {self.tokens_in:,} tokens in and "
            f"{self.tokens_out:,} out{price}"
        )


def estimate(desk: Desk, prices: Prices) -> Estimate:
    """Count what asking would take."""
    count = len(desk.now)
    pictures = [shown for _, question in desk.now for shown in question.pictures]
    images = sum(_image_tokens(shown.size) if prices.image_tokens is None else prices.image_tokens for shown in pictures)
    tokens_in = math.ceil(desk.text / CHARACTERS) + images
    tokens_out = count * min(ANSWER, desk.endpoint.max_tokens)
    most = count * (desk.endpoint.clarifications + 1)
    return Estimate(desk.total, desk.total - desk.left, count, most, tokens_in, tokens_out, prices.sum(tokens_in, tokens_out))


def _image_tokens(size: tuple[int, int]) -> int:
    scale = min(1.0, LONGEST / max(size), SHORTEST / min(size))
    return BASE + EACH * math.prod(math.ceil(round(side * scale) / TILE) for side in size)
