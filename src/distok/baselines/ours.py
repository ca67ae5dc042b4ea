"""DisTok on the signature of its rivals, so that a comparison runs it as it runs them."""

import torch

from distok.baselines.base import Ask, Baseline, Ready
from distok.baselines.controls import mean_token, shown


class Ours(Baseline):
    """The creative token D_tok(E_dis(Σ p_i t_i))."""

    name = "distok"
    title = "DisTok"
    source = "this project"
    summary = "the creative token of the mix, in one forward pass"
    needs_model = True
    weights = True

    @torch.no_grad()
    def prepare(self, ask: Ask) -> Ready:
        """The token."""
        return shown(self, ask, ask.distok()(mean_token(ask)[None])[0], ask.mix)
