"""Foresight: what its networks learn from readings, what they teach the model, and that both resume."""

from dataclasses import replace

import pytest
import torch

from distok import files
from distok.errors import DistokError
from distok.model import DisTok
from distok.objectives import foreseen_loss
from distok.training import MODEL_FILE, Bank, Trainer, train
from distok.training.foresight import READERS, Foresight
from distok.training.tasks import draw
from tests.tiny import NAMES
from tests.tiny import run_settings as short


def readings(count, classes=5, width=12, seed=0):
    """Tokens, and distributions that are a smooth function of them."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(count, width, generator=generator)
    law = torch.randn(width, classes, generator=torch.Generator().manual_seed(99))
    return tokens, (tokens @ law / 2).softmax(-1)


def fresh(size=4096, seed=0, **changes):
    return Foresight(torch.zeros(12), torch.ones(12), 5, short(foresight_memory=size, seed=seed, **changes))


def divergence(asked, logs):
    return (asked * (asked.log() - logs)).sum(-1).mean()


def test_the_loss_is_the_mean_divergence_over_readers():
    asked = torch.tensor([[0.75, 0.25, 0.0]])
    foreseen = torch.tensor([[[0.75, 0.25, 1e-9]], [[0.5, 0.25, 0.25]]]).log()
    expected = 0.5 * (0.0 + 0.75 * torch.log(torch.tensor(1.5)))
    assert foreseen_loss(foreseen, asked).tolist() == pytest.approx([expected.item()], abs=1e-6)


@pytest.mark.parametrize("blocks", [0, 2])
def test_readings_teach_what_unseen_tokens_will_read(blocks):
    foresight = fresh(foresight_blocks=blocks)
    foresight.remember(*readings(2000))
    tokens, asked = readings(300, seed=1)
    before = divergence(asked, foresight(tokens))
    losses = [foresight.learn(step) for step in range(600)]
    after = divergence(asked, foresight(tokens))
    assert foresight(tokens).shape == (READERS, 300, 5)
    assert after < 0.1 * before
    assert losses[-1] < losses[0]
    assert not torch.equal(*foresight(tokens)[:2]), "the networks are copies of each other"


def test_a_reading_that_is_not_finite_is_left_out_and_the_oldest_leave_first():
    foresight = fresh(size=6)
    tokens, distributions = readings(8)
    distributions[2, 1] = float("nan")
    foresight.remember(tokens, distributions)
    assert torch.equal(foresight.tokens, tokens[[1, 3, 4, 5, 6, 7]])
    assert torch.equal(foresight.distributions, distributions[[1, 3, 4, 5, 6, 7]])


def test_without_readings_there_is_nothing_to_learn():
    foresight = fresh()
    before = [weight.clone() for weight in foresight.weights.values()]
    assert foresight.learn(0) is None
    assert all(torch.equal(*pair) for pair in zip(before, foresight.weights.values(), strict=True))


def test_what_is_foreseen_is_a_function_of_seed_step_and_readings():
    one, other, seeded = fresh(), fresh(), fresh(seed=1)
    for each in (one, other, seeded):
        each.remember(*readings(50))
        for step in range(5):
            each.learn(step)
    tokens = readings(4, seed=2)[0]
    assert torch.equal(one(tokens), other(tokens))
    assert not torch.equal(one(tokens), seeded(tokens))
    restored = fresh(seed=0)
    restored.restore({name: value.clone() for name, value in one.state().items()})
    for each in (one, restored):
        each.remember(*readings(50, seed=3))
        each.learn(5)
    assert torch.equal(one(tokens), restored(tokens))


def test_the_models_step_moves_the_model_alone_and_leaves_no_trace_in_what_the_networks_learn(backend, labeler):
    def fresh_trainer():
        built = Trainer(short(delta=1.0, alpha=1e-9, beta=0.0, gamma=0.0, estimate_count=6), backend, labeler, NAMES)
        built.estimate()
        return built

    built, untouched = fresh_trainer(), fresh_trainer().foresight
    losses = built.losses(draw(0, built.settings, built.allowed, built.pool.distributions))
    assert losses.foreseen > 0
    assert losses.total.item() == pytest.approx(losses.foreseen.item(), abs=1e-6)
    before = [weight.detach().clone() for weight in built.model.parameters()]
    built.optimizer.zero_grad()
    losses.total.backward()
    built.optimizer.step()
    assert not any(torch.equal(*pair) for pair in zip(before, built.model.parameters(), strict=True))
    assert same_weights(built.foresight, untouched)
    for each in (built.foresight, untouched):
        each.learn(1)
    assert same_weights(built.foresight, untouched), "the model's gradient was learnt from"


def same_weights(one, other):
    return all(torch.equal(weight, other.weights[name]) for name, weight in one.weights.items())


def test_it_counts_from_the_step_asked_and_learns_before(backend, labeler):
    built = Trainer(short(delta=1.0, foresight_after=3), backend, labeler, NAMES)
    start = built.foresight.weights["into"].detach().clone()
    losses = [built.advance().foreseen.item() for _ in range(3)]
    assert losses == [0, 0, 0]
    assert not torch.equal(start, built.foresight.weights["into"]), "it learns before it counts"
    assert min(built.advance().foreseen.item() for _ in range(2)) > 0
    assert len(built.foresight) == 4, "one estimation of four tokens, admitted or not"


def test_every_reading_is_remembered_though_none_is_admitted(backend, labeler):
    built = Trainer(short(delta=1.0, tau=1e-6, beta=0.0, novel_share=0.0), backend, labeler, NAMES)
    assert built.estimate() == 0
    assert (len(built.foresight), built.pool.admitted) == (4, 0)


@pytest.mark.parametrize(
    "change",
    [{"foresight_batch": 7}, {"foresight_dropout": 0.0}, {"foresight_blocks": 1}, {"foresight_memory": 3}, {"foreseen_count": 5}],
)
def test_each_setting_of_foresight_reaches_it(backend, labeler, change):
    def losses(**chosen):
        built = Trainer(short(delta=1.0, estimate_count=8, **chosen), backend, labeler, NAMES)
        return [built.advance().foreseen.item() for _ in range(4)]

    assert losses() == losses()
    assert losses() != losses(**change)


def test_a_training_towards_what_is_foreseen_gets_there(backend, labeler):
    change = {"steps": 300, "alpha": 1e-6, "beta": 0.0, "gamma": 0.0, "start": "random", "estimate_every": 1000}
    built = Trainer(short(delta=1.0, estimate_count=24, foresight_after=100, **change), backend, labeler, NAMES)
    values = [built.advance().foreseen.item() for _ in range(300)]
    assert sum(values[-20:]) < 0.9 * sum(values[100:120])


@pytest.mark.parametrize("change", [{}, {"foresight_blocks": 1, "foresight_dropout": 0.0, "foresight_batch": 8}])
def test_an_interrupted_run_with_foresight_ends_the_same_to_the_byte(backend, labeler, bank, tmp_path, change):
    chosen = short(delta=0.5, foresight_after=2, **change)
    whole = train(chosen, backend, labeler, NAMES, tmp_path / "whole", bank=bank)

    def stop(report):
        if report["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(chosen, backend, labeler, NAMES, tmp_path / "parts", stop, bank)
    parts = train(chosen, backend, labeler, NAMES, tmp_path / "parts", bank=bank)
    assert parts.read_bytes() == whole.read_bytes()
    without = train(short(delta=0.0), backend, labeler, NAMES, tmp_path / "without", bank=bank)
    ours, theirs = (dict(DisTok.load(path).named_parameters()) for path in (whole, without))
    assert whole.name == MODEL_FILE
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours), "delta had no effect"


def test_what_a_run_has_read_teaches_another(backend, labeler, bank, tmp_path):
    run = short(delta=0.5, estimate_count=3, held_out=[("pig", "cat")], steps=6, foresight_memory=20)
    given = replace(bank, record={**bank.record, "held_out": [["cat", "pig"]]})
    train(run, backend, labeler, NAMES, tmp_path / "run", bank=given)
    readings = Bank.load(tmp_path / "run" / "checkpoint-6.safetensors")
    assert len(readings) == 14, "twice four of the bank and three of its own"
    assert torch.equal(readings.tokens[7:11], bank.tokens[4:8]), "the oldest first"
    assert readings.names == tuple(NAMES)
    other = short(delta=0.5, estimate_count=0, bank_count=7, held_out=[("pig", "cat")], seed=1, foresight_memory=20)
    built = Trainer(other, backend, None, NAMES, readings)
    for _ in range(6):
        built.advance()
    assert torch.equal(built.foresight.tokens, readings.tokens)
    assert torch.equal(built.foresight.distributions, readings.distributions)
    assert built.provenance()["bank"] == readings.hash
    with pytest.raises(DistokError, match="holds out sets of classes that the estimation bank may show mixed"):
        Trainer(replace(other, held_out=frozenset({("dog", "lion")})), backend, None, NAMES, readings)
    elsewhere = replace(readings, record={**readings.record, "pipeline": "0"})
    with pytest.raises(DistokError, match="by another pipeline"):
        Trainer(other, backend, None, NAMES, elsewhere)


def test_a_run_that_remembers_no_readings_of_its_own_is_no_bank(backend, labeler, bank, tmp_path):
    for folder, changes, why in (
        ("a", {"delta": 0.0}, r"it learned without L_fsg \(delta 0\)"),
        ("b", {"delta": 0.5, "estimate_count": 0}, "nothing was rendered in it"),
    ):
        train(short(steps=2, **changes), backend, labeler, NAMES, tmp_path / folder, bank=bank)
        with pytest.raises(DistokError, match=rf"remembers no readings of its own \({why}\); give a checkpoint of one that does"):
            Bank.load(tmp_path / folder / "checkpoint-2.safetensors")
    damaged = tmp_path / "a" / "checkpoint-2.safetensors"
    tensors, _ = files.read_tensors(damaged)
    files.write_tensors(damaged, tensors, {"distok": "{"})
    with pytest.raises(DistokError, match="does not hold what was written to it"):
        Bank.load(damaged)
