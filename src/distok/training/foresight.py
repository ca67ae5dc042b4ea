"""Foresight: small networks that learn, from every reading, what the labeler will read from a token before it is drawn.

A rendered picture gives a token no gradient that a laptop could pay for; what is foreseen does. This goes beyond the paper.

Shapes: r readers, m tokens remembered, b tokens of a step, d token width, h hidden width, k known classes.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from distok import seeds
from distok.training.settings import TrainSettings

READERS = 4  # networks that differ in their start and in what they see: where they disagree, none of them is trusted alone
HIDDEN = 512
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05


class Foresight:
    """Readings so far, and the networks that learn from them: token → log-shares of the known classes.

    What it knows at a step is a pure function of (seed, step) and the readings, so it resumes with the run.

    Args:
        mean: of real tokens, which standardises a token.
        scale: spread of real tokens.
        classes: k.
        settings: of the run, those called ``foresight_…``, and the seed that every draw derives from, with the step.
    """

    def __init__(self, mean: Float[Tensor, " d"], scale: Float[Tensor, " d"], classes: int, settings: TrainSettings) -> None:
        self.mean, self.scale, self.settings = mean, scale, settings
        self.tokens = mean.new_empty(0, len(mean))
        self.distributions = mean.new_empty(0, classes)
        generator = seeds.generator(settings.seed, "foresight")
        start = _layer("into", len(mean), HIDDEN, generator) | _layer("out", HIDDEN, classes, generator)
        for i in range(settings.foresight_blocks):
            start |= _layer(f"up{i}", HIDDEN, HIDDEN, generator) | _layer(f"down{i}", HIDDEN, HIDDEN, generator)
        self.weights = {name: nn.Parameter(weight.to(mean)) for name, weight in start.items()}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def __len__(self) -> int:
        """How many readings are remembered."""
        return len(self.tokens)

    def remember(self, tokens: Float[Tensor, "b d"], distributions: Float[Tensor, "b k"]) -> None:
        """Take in readings; those that are not finite are left out, and the oldest leave: an earlier model made their tokens."""
        whole, most = torch.isfinite(distributions).all(-1), self.settings.foresight_memory
        self.tokens = torch.cat([self.tokens, tokens[whole]])[-most:]
        self.distributions = torch.cat([self.distributions, distributions[whole]])[-most:]

    def __call__(self, tokens: Float[Tensor, "b d"]) -> Float[Tensor, "r b k"]:
        """Log-shares that each network foresees in the pictures of a token."""
        return self._run(((tokens - self.mean) / self.scale).expand(READERS, -1, -1))

    def learn(self, step: int, rate: float = 1.0) -> float | None:
        """One step of every network, each on a draw of its own from what is remembered, the more likely the later it came.

        The loss is the cross-entropy −Σ_i m_i log ρ_i(t) of readings m, whose minimum is a token's mean reading.

        Args:
            rate: learning rate as a share of ``LEARNING_RATE``.

        Returns:
            The mean loss of a reading, in nats; None where there is none yet.
        """
        if not len(self):
            return None
        batch, dropout = self.settings.foresight_batch, self.settings.foresight_dropout
        rng = seeds.rng(self.settings.seed, "foresight", step)
        chosen = torch.from_numpy((len(self) * rng.random((READERS, batch)) ** 0.5).astype("int64"))
        kept = None
        if dropout:
            kept = torch.from_numpy((rng.random((READERS, batch, HIDDEN)) >= dropout) / (1 - dropout)).to(self.mean)
        shares = self._run((self.tokens[chosen] - self.mean) / self.scale, kept)
        losses = -(self.distributions[chosen] * shares).sum(-1).mean(-1)
        self.optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # a sum, so that each network learns as if it were alone
        self.optimizer.step()
        return losses.mean().item()

    def state(self) -> dict[str, Tensor]:
        """Weights, AdamW's moments and the readings."""
        state = {"tokens": self.tokens, "distributions": self.distributions}
        for name, weight in self.weights.items():
            state[name] = weight.detach()
            state |= {f"optimizer.{name}.{key}": value for key, value in self.optimizer.state.get(weight, {}).items()}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a :meth:`state`."""
        self.tokens, self.distributions = state["tokens"].to(self.mean), state["distributions"].to(self.mean)
        for name, weight in self.weights.items():
            weight.data.copy_(state[name])
            mark = f"optimizer.{name}."
            moments = {key.removeprefix(mark): value.to(self.mean.device) for key, value in state.items() if key.startswith(mark)}
            if moments:
                self.optimizer.state[weight] = moments

    def _run(self, x: Float[Tensor, "r b d"], kept: Float[Tensor, "r b h"] | None = None) -> Float[Tensor, "r b k"]:
        hidden = F.gelu(self._apply("into", x))
        for i in range(self.settings.foresight_blocks):
            hidden = hidden + self._apply(f"down{i}", F.gelu(self._apply(f"up{i}", F.layer_norm(hidden, (HIDDEN,)))))
        hidden = hidden if kept is None else hidden * kept
        return self._apply("out", hidden).log_softmax(-1)

    def _apply(self, name: str, x: Float[Tensor, "r b i"]) -> Float[Tensor, "r b o"]:
        return torch.baddbmm(self.weights[f"{name}_bias"], x, self.weights[name])


def _layer(name: str, into: int, out: int, generator: torch.Generator) -> dict[str, Tensor]:
    weights = (2 * torch.rand(READERS, into, out, generator=generator) - 1) * into**-0.5
    return {name: weights, f"{name}_bias": torch.zeros(READERS, 1, out)}
