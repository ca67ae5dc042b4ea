"""What foresight's networks are shown as they learn."""

import pytest
import torch

from distok.training.foresight import Foresight
from tests.tiny import run_settings as short


def fresh(scale=1.0, **changes):
    return Foresight(torch.full((12,), 2.0), torch.full((12,), scale), 5, short(**changes))


def test_a_token_is_standardised_alike_where_it_is_learnt_and_where_it_is_foreseen():
    foresight = fresh(3.0, foresight_memory=9, foresight_dropout=0.0)
    tokens, shares = torch.randn(9, 12, generator=torch.Generator().manual_seed(0)), torch.eye(5)[[0, 1, 2, 3, 4, 0, 1, 2, 3]]
    foresight.remember(tokens, shares)
    seen = []
    run = foresight._run
    foresight._run = lambda x, kept=None: seen.append(x) or run(x, kept)
    foresight.learn(0)
    foresight(tokens)
    learnt, foreseen = seen[0].reshape(-1, 12), seen[1][0]
    assert all((foreseen - row).abs().amax(1).min() < 1e-6 for row in learnt)


def test_later_readings_are_drawn_oftener():
    foresight = fresh(foresight_memory=1000, foresight_batch=4000, foresight_dropout=0.0)
    tokens = torch.arange(1000.0)[:, None].expand(-1, 12)
    foresight.remember(tokens, torch.full((1000, 5), 0.2))
    seen = []
    run = foresight._run
    foresight._run = lambda x, kept=None: seen.append(x) or run(x, kept)
    foresight.learn(0)
    assert (seen[0][..., 0] + 2).mean().item() == pytest.approx(1000 * 2 / 3, rel=0.02)  # the density rises along a line


def test_dropout_keeps_the_mean():
    foresight = fresh(foresight_memory=9, foresight_batch=64, foresight_dropout=0.25)
    foresight.remember(torch.randn(9, 12), torch.full((9, 5), 0.2))
    seen = []
    run = foresight._run
    foresight._run = lambda x, kept=None: seen.append(kept) or run(x, kept)
    foresight.learn(0)
    assert seen[0].mean().item() == pytest.approx(1, abs=0.02)
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
