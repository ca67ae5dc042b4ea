"""The concept pool: its gate, its eviction, its state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distok.errors import DistokError
from distok.pool import ConceptPool

NAMES = ("cat", "dog", "pig")


def make(tau=0.85, size=4):
    return ConceptPool(NAMES, torch.arange(6.0).reshape(3, 2), torch.arange(9.0).reshape(3, 3), tau, size)


def offer(pool, *largest):
    """Offer concepts whose largest probability is given; each token is its number among all ever offered."""
    count = len(largest)
    distributions = torch.tensor([[p, (1 - p) * 0.7, (1 - p) * 0.3] for p in largest])
    tokens = torch.tensor(largest).reshape(-1, 1).expand(count, 2)
    return pool.admit(tokens, distributions, torch.ones(count, 3))


def test_known_classes_come_first_and_are_one_hot():
    pool = make()
    assert (len(pool), pool.known, pool.admitted) == (3, 3, 0)
    assert torch.equal(pool.distributions, torch.eye(3))
    offer(pool, 0.5)
    assert (len(pool), pool.known, pool.admitted) == (4, 3, 1)
    assert torch.equal(pool.known_tokens, torch.arange(6.0).reshape(3, 2))
    assert pool.tokens[3].tolist() == [0.5, 0.5]


def test_gate_is_strictly_below_tau_and_refuses_what_is_not_finite():
    pool = make(tau=0.75)
    assert offer(pool, 0.74, 0.75, 0.9, float("nan")).tolist() == [True, False, False, False]
    assert pool.admitted == 1


def test_the_oldest_admitted_leave_first():
    pool = make(size=3)
    for p in (0.40, 0.45, 0.50, 0.55, 0.60):
        offer(pool, p)
    assert pool.tokens[3:, 0].tolist() == pytest.approx([0.50, 0.55, 0.60])
    offer(pool, *(0.1 * i + 0.41 for i in range(4)), 0.8)
    assert pool.tokens[3:, 0].tolist() == pytest.approx([0.61, 0.71, 0.8])
    assert torch.equal(pool.distributions[:3], torch.eye(3))


@given(st.lists(st.lists(st.floats(0.42, 0.99), min_size=1, max_size=6), max_size=6), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_rows_stay_together_and_within_the_size(batches, size):
    pool = make(size=size)
    for batch in batches:
        offer(pool, *batch)
    assert pool.admitted <= size
    assert len(pool.tokens) == len(pool.distributions) == len(pool.features) == len(pool)
    assert torch.allclose(pool.tokens[3:, 0], pool.distributions[3:].amax(1))
    assert (pool.distributions[3:].amax(1) < pool.tau).all()


def test_state_restores_the_admitted_concepts():
    pool, other = make(), make()
    offer(pool, 0.4, 0.5)
    offer(other, 0.6)
    other.restore(pool.state())
    assert all(torch.equal(getattr(pool, name), getattr(other, name)) for name in ("tokens", "distributions", "features"))


def test_a_state_of_other_classes_is_refused():
    state = make().state()
    state["distributions"] = torch.zeros(0, 5)
    with pytest.raises(DistokError, match="distributions do not fit 3 classes; start a new run folder"):
        make().restore(state)


def test_rows_must_belong_to_names():
    with pytest.raises(ValueError, match="3 names, 2 tokens and 3 features"):
        ConceptPool(NAMES, torch.zeros(2, 2), torch.zeros(3, 3))
