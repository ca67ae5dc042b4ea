"""The three training objectives of the paper, and one of ours, as pure functions.

Shapes: b samples, e feature width, w latent width, r readers, k known classes. Features are L2-normalised text features E(·).
"""

from jaxtyping import Float
from torch import Tensor


def fusion_loss(
    adaptive: Float[Tensor, "b e"],
    restrictive: Float[Tensor, "b e"],
    aesthetic: Float[Tensor, " e"],
    epsilon_restrictive: float,
    epsilon_aesthetic: float,
) -> Float[Tensor, " b"]:
    """L_mix per sample: (1 − min(cos(E(q_r), E(q_a)), ε₁)) + (1 − min(cos(E(q_s), E(q_a)), ε₂)) (paper, concept fusion).

    A cosine past its threshold earns nothing more and gives exactly zero gradient, so no single concept can take over.
    """
    to_pair = _cosine(adaptive, restrictive).clamp(max=epsilon_restrictive)
    to_style = _cosine(adaptive, aesthetic.expand_as(adaptive)).clamp(max=epsilon_aesthetic)
    return (1 - to_pair) + (1 - to_style)


def consistency_loss(adaptive: Float[Tensor, "b e"], target: Float[Tensor, "b e"]) -> Float[Tensor, " b"]:
    """L_cst per sample: 1 − cos(E(q(t_crt)), E(q(t_nvl))) (paper, distribution consistency)."""
    return 1 - _cosine(adaptive, target)


def latent_loss(z: Float[Tensor, "b w"]) -> Float[Tensor, ""]:
    """L_reg = ‖mean(z)‖² / var(z) over the latents of a step, var summed over dimensions (zero mean, high variance).

    It is invariant to the scale of z, so it does not fix the prior: the latents' law is measured after training instead.
    One latent has no variance, so b ≥ 2.
    """
    return z.mean(0).square().sum() / (z.var(0).sum() + 1e-8)


def foreseen_loss(foreseen: Float[Tensor, "r b k"], asked: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """L_fsg per sample: KL(p ‖ ρ(t_crt)) = Σ_i p_i (log p_i − log ρ_i(t_crt)), the mean over readers (ours).

    Args:
        foreseen: log-shares log ρ that networks foresee in the pictures of the creative token of ``asked``.
        asked: the distribution p.
    """
    return (asked * (asked.clamp(min=1e-12).log() - foreseen)).sum(-1).mean(0)


def _cosine(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1)
