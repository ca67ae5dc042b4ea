"""DisTok: the distribution encoder E_dis and the creative decoder D_tok, two small MLPs around a latent space.

Shapes: b batch, n samples, d token width, w latent width, k names, s text encoders.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from distok import files
from distok.errors import DistokError
from distok.hub import WEIGHTS, HubModel

ACTIVATIONS = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


@dataclass(frozen=True)
class DisTokSettings:
    """Sizes of the two networks.

    Raises:
        DistokError: a width below 1, parts that are no token, or an unknown activation or input scale.
    """

    token_dim: int  # width d of the text encoder's input embeddings
    latent_dim: int = 20  # width w of the latent (paper)
    hidden_dim: int = 768  # hidden width of both MLPs (paper)
    activation: str = "gelu"  # the paper leaves it open; smooth, so finite differences agree with gradients
    input_scale: Literal["mean", "sum"] = "mean"  # a fused pair enters as (t1 + t2) / 2 or, as in the paper, t1 + t2
    parts: tuple[int, ...] = ()  # widths of the text encoders that a token joins; none where it is of one

    def __post_init__(self) -> None:
        for name in ("token_dim", "latent_dim", "hidden_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise DistokError(f"{name} is {value!r}, but a width is a whole number of at least 1; correct it")
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.parts and (sum(self.parts) != self.token_dim or min(self.parts) < 1):
            raise DistokError(f"parts are {self.parts}, but have to add up to token_dim, {self.token_dim}; correct one")
        if self.activation not in ACTIVATIONS:
            raise DistokError(f"activation is {self.activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        if self.input_scale not in ("mean", "sum"):
            raise DistokError(f"input_scale is {self.input_scale!r}; choose 'mean' or 'sum'")


class DisTok(nn.Module, HubModel):
    """Mixture of known tokens → latent → creative token: t = D_tok(E_dis(Σ p_i t_i)) (paper, distribution input).

    A token is a function of the latent alone, so that latents can also be sampled. Inputs are standardised by the mean and
    spread of real tokens, and outputs mapped back through them with their radius capped at the largest real one, for each text
    encoder's part: no frozen encoder meets a token longer than those it was trained on.
    """

    token_mean: Tensor
    token_scale: Tensor
    token_radius: Tensor
    latent_mean: Tensor
    latent_factor: Tensor

    def __init__(self, settings: DisTokSettings) -> None:
        super().__init__()
        self.settings = settings
        self.provenance: dict[str, str] = {}
        d, h, w = settings.token_dim, settings.hidden_dim, settings.latent_dim
        activation = ACTIVATIONS[settings.activation]
        self.encoder = nn.Sequential(nn.Linear(d, h), activation(), nn.Linear(h, w))
        self.decoder = nn.Sequential(nn.Linear(w, h), activation(), nn.Linear(h, d))
        self.register_buffer("token_mean", torch.zeros(d))
        self.register_buffer("token_scale", torch.ones(d))
        self.register_buffer("token_radius", torch.ones([len(settings.parts)] if settings.parts else []))
        self.register_buffer("latent_mean", torch.zeros(w))
        self.register_buffer("latent_factor", torch.eye(w))

    @torch.no_grad()
    def fit_tokens(self, tokens: Float[Tensor, "k d"]) -> None:
        """Take mean, spread and largest radius from real tokens; k ≥ 2 for a spread to exist."""
        if tokens.shape[0] < 2:
            raise DistokError(f"the spread of tokens needs at least 2 known classes, got {tokens.shape[0]}; name more classes")
        self.token_mean.copy_(tokens.mean(0))
        scale = tokens.std(0)
        # A dimension that no name uses would otherwise be blown up when it is standardised.
        floors = [1e-2 * part.mean().clamp(min=1e-8) for part in scale.split(self._widths)]
        self.token_scale.copy_(torch.maximum(scale, self._over(torch.stack(floors))))
        self.token_radius.copy_(self._radius(self._standardise(tokens)).amax(0).view_as(self.token_radius))

    @torch.no_grad()
    def start_linear(self, tokens: Float[Tensor, "k d"]) -> None:
        """Begin as the projection of a mixture on the leading w directions of real tokens; call after :meth:`fit_tokens`.

        With w ≥ k − 1 that is the weighted mean of tokens itself, a control that is hard to beat: training starts there and
        learns what is better. It needs no other layer: every activation here has f(x) − f(−x) = c·x, so a pair of hidden
        units passes a coordinate on. The hidden units that are left keep their random inputs and begin with outputs of zero.

        Raises:
            DistokError: fewer than 2·w hidden units, or more latents than a token is wide.
        """
        w, h = self.settings.latent_dim, self.settings.hidden_dim
        if h < 2 * w:
            raise DistokError(f"a linear start takes two hidden units a latent: hidden_dim must be at least {2 * w}, not {h}")
        standard = self._standardise(tokens).double()
        _, values, directions = torch.linalg.svd(standard, full_matrices=True)
        if w > len(directions):
            raise DistokError(f"a linear start has at most {len(directions)} latent dimensions here, not {w}; lower latent_dim")
        scale = (values[:w].square().sum() / (len(tokens) * w)).sqrt()  # latents of real tokens have unit mean square
        down, up = (directions[:w] / scale).to(tokens), (directions[:w] * scale).T.to(tokens)
        _pass_through(self.encoder, down, torch.eye(w).to(tokens))
        _pass_through(self.decoder, torch.eye(w).to(tokens), up)

    def pair(self, left: Float[Tensor, "b d"], right: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The input of a fused pair: the mean of two tokens, or their sum (paper) with ``input_scale="sum"``."""
        return left + right if self.settings.input_scale == "sum" else (left + right) / 2

    def encode(self, mixture: Float[Tensor, "b d"]) -> Float[Tensor, "b w"]:
        """E_dis of a weighted mixture of known tokens."""
        return self.encoder(self._standardise(mixture))

    def decode(self, z: Float[Tensor, "b w"]) -> Float[Tensor, "b d"]:
        """D_tok of a latent, at the scale of real tokens."""
        direction = self.decoder(z)
        shrink = self.token_radius / torch.maximum(self._radius(direction), self.token_radius)
        return self.token_mean + self.token_scale * direction * self._over(shrink)

    def forward(self, mixture: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The creative token of a mixture."""
        return self.decode(self.encode(mixture))

    @torch.no_grad()
    def fit_latents(self, latents: Float[Tensor, "n w"]) -> None:
        """Take mean and covariance from latents of encoded mixtures, so that sampling follows what encoding produces.

        The regulariser of the paper is scale-invariant: it cannot make N(0, I) the right prior, so the law is measured. The
        full covariance is kept (as its Cholesky factor) because latents of shared classes are correlated; at the widths used
        here it costs nothing.
        """
        mean, centred = latents.double().mean(0), latents.double() - latents.double().mean(0)
        covariance = centred.T @ centred / max(len(latents) - 1, 1)
        # A little of the mean variance keeps the factor defined when latents span fewer dimensions than w.
        covariance.diagonal().add_(1e-4 * covariance.diagonal().mean() + 1e-12)
        self.latent_mean.copy_(mean)
        self.latent_factor.copy_(torch.linalg.cholesky(covariance))

    def sample_latents(self, prior: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """Map samples of any zero-mean, unit-variance law onto the measured law of latents."""
        return self.latent_mean + prior @ self.latent_factor.T

    def save(self, path: str | Path, provenance: Mapping[str, str] | None = None) -> Path:
        """Write weights, buffers, settings and ``provenance`` (strings) to one safetensors file."""
        settings = asdict(self.settings)
        if not self.settings.parts:
            del settings["parts"]  # as in files from before a token had parts
        record = {"kind": "distok", "settings": settings, "provenance": dict(provenance or self.provenance)}
        return files.write_tensors(path, self.state_dict(), {"distok": json.dumps(record, sort_keys=True)})

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory / WEIGHTS)

    @classmethod
    def load(cls, path: str | Path) -> "DisTok":
        """Read a model written by :meth:`save`; its ``provenance`` holds what was stored with it.

        Raises:
            DistokError: the file is missing, truncated, or not a DisTok model.
        """
        tensors, metadata = files.read_tensors(path)
        try:
            record = files.from_json(metadata["distok"])
            if record["kind"] != "distok":
                raise KeyError(record["kind"])
            known = {field.name for field in fields(DisTokSettings)}
            model = cls(DisTokSettings(**{key: value for key, value in record["settings"].items() if key in known}))
            model.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError):
            raise DistokError(f"{path} is not a DisTok model; give a distok.safetensors file written by `distok train`") from None
        model.provenance = record.get("provenance", {})
        return model.eval()

    def _standardise(self, mixture: Tensor) -> Tensor:
        return (mixture - self.token_mean) / self.token_scale

    @property
    def _widths(self) -> list[int]:
        return list(self.settings.parts) or [self.settings.token_dim]

    def _radius(self, direction: Float[Tensor, "b d"]) -> Float[Tensor, "b s"]:
        squares = [part.square().mean(-1, keepdim=True) for part in direction.split(self._widths, -1)]
        return torch.cat(squares, -1).clamp(min=1e-12).sqrt()  # the floor keeps the root differentiable at zero

    def _over(self, values: Float[Tensor, "*b s"]) -> Float[Tensor, "*b d"]:
        """A value of each part, for every number of it."""
        parts = zip(values.split(1, -1), self._widths, strict=True)
        return torch.cat([each.expand(*each.shape[:-1], width) for each, width in parts], -1)


def _pass_through(network: nn.Sequential, into: Float[Tensor, "m n"], out: Float[Tensor, "o m"]) -> None:
    """Make a two-layer network the linear map ``out @ into``, by 2·m of its hidden units."""
    first, activation, last = network[0], network[1], network[2]
    one = torch.ones((), device=into.device)
    gain = activation(one) - activation(-one)  # c of f(x) − f(−x) = c·x
    m = len(into)
    first.weight[: 2 * m] = torch.cat([into, -into])
    first.bias[: 2 * m] = 0
    last.weight.zero_()
    last.bias.zero_()
    last.weight[:, : 2 * m] = torch.cat([out, -out], 1) / gain
