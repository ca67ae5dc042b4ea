"""The trainer: its gradients, its tasks, its switches, the estimation bank, and resuming."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.naive_loop import accumulate
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.model import DisTok
from distok.training import MODEL_FILE, PRESETS, Bank, Trainer, TrainSettings, calibrate, collect, preset, train
from distok.training.tasks import allowed_pairs, draw, random_mixtures
from tests.tiny import NAMES


def short(**changes):
    """A run of seconds with every part in it."""
    base = {
        "steps": 12, "latent_dim": 8, "hidden_dim": 32, "warmup": 3, "tau": 0.999, "pool_size": 12, "estimate_every": 5,
        "estimate_count": 4, "estimate_steps": 1, "save_every": 4, "bank_count": 4,
    }  # fmt: skip
    return preset("menagerie", **{**base, **changes})


def trainer(backend, labeler, **changes):
    built = Trainer(short(**changes), backend, labeler, NAMES)
    built.estimate()
    return built


@pytest.fixture(scope="module")
def bank(backend, labeler, tmp_path_factory):
    mixtures = torch.from_numpy(random_mixtures(np.random.default_rng(0), 9, len(NAMES), 3))
    path = tmp_path_factory.mktemp("bank") / "bank.safetensors"
    return collect(backend, labeler, NAMES, mixtures @ backend.name_tokens(NAMES), path, steps=1, renders=2, batch=4)


# --- settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "the training setting steps is 0, but it must be a whole number of at least 1; correct it"),
        ({"sub_steps": 1}, "sub_steps is 1, but it must be at least 2 where gamma is above 0"),
        ({"alpha": -1}, "alpha is -1, but it must be a number of at least 0"),
        ({"alpha": 0, "beta": 0}, "alpha is 0, but it must be above 0 where beta is 0"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"epsilon_restrictive": 1.5}, "epsilon_restrictive is 1.5, but it must be a cosine, or none to calibrate"),
        ({"estimate_from": "noise"}, "estimate_from is 'noise', but it must be one of prior, mixtures, both"),
        ({"restrictive_prompt": "a {}"}, "restrictive_prompt is 'a {}', but it must be a prompt with two {}"),
        ({"held_out": [("cat", "cat")]}, r"the held-out pair \('cat', 'cat'\) must be two different class names"),
        ({"learning": 1}, "there is no training setting 'learning'; the settings are seed, steps"),
    ],
)
def test_settings_are_validated(change, message):
    with pytest.raises(DistokError, match=message):
        preset("paper", **change)


def test_presets():
    paper = PRESETS["paper"]
    assert (paper.latent_dim, paper.hidden_dim, paper.steps, paper.sub_steps) == (20, 768, 20_000, 8)
    assert (paper.alpha, paper.beta, paper.gamma, paper.tau) == (1, 1, 0.001, 0.85)
    assert (paper.epsilon_restrictive, paper.epsilon_aesthetic, paper.input_scale) == (0.85, 0.80, "sum")
    assert (PRESETS["menagerie"].epsilon_restrictive, PRESETS["menagerie"].input_scale) == (None, "mean")
    with pytest.raises(DistokError, match="no training preset 'big'; choose one of paper, menagerie"):
        preset("big")


def test_settings_survive_json():
    chosen = short(held_out=[("pig", "cat"), ("cat", "pig"), ("dog", "lion")])
    assert chosen.held_out == {("cat", "pig"), ("dog", "lion")}
    assert TrainSettings.from_json(chosen.to_json()) == chosen
    with pytest.raises(DistokError, match="not a JSON object"):
        TrainSettings.from_json("[1]")


# --- tasks


@given(
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda pair: pair[0] != pair[1]), max_size=10),
    st.integers(0, 9),
)
@budget(max_examples=25, deadline=None)
def test_held_out_pairs_are_never_fused(held, seed):
    chosen = short(seed=seed, held_out=[(NAMES[i], NAMES[j]) for i, j in held])
    pairs = allowed_pairs(NAMES, chosen.held_out)
    fused = set()
    for step in range(60):
        tasks = draw(step, chosen, pairs, 6, step % 4)
        assert len(tasks) == 8
        assert (np.stack([tasks.left, tasks.right]) < 6 + step % 4).all()
        assert (tasks.left != tasks.right).all()
        fused |= {frozenset((NAMES[i], NAMES[j])) for i, j in zip(tasks.left, tasks.right, strict=True) if max(i, j) < 6}
    assert not fused & {frozenset(pair) for pair in chosen.held_out}
    mixtures = random_mixtures(np.random.default_rng(seed), 200, 6, 3, pairs)
    drawn = {frozenset(NAMES[i] for i in np.flatnonzero(row)) for row in mixtures}
    assert not drawn & {frozenset(pair) for pair in chosen.held_out}


def test_every_allowed_pair_is_fused_in_both_orders():
    chosen = short(beta=0.0, held_out=[("cat", "dog")])
    pairs = allowed_pairs(NAMES, chosen.held_out)
    steps = [draw(step, chosen, pairs, 6, 0) for step in range(200)]
    fused = {(int(i), int(j)) for tasks in steps for i, j in zip(tasks.left, tasks.right, strict=True)}
    assert fused == {(i, j) for i in range(6) for j in range(6) if i != j and {i, j} != {0, 1}}


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ([("cat", "unicorn")], "names 'unicorn', which is not a known class"),
        ([(a, b) for a in NAMES for b in NAMES if a < b], "6 classes and 15 held-out pairs leave no pair to fuse"),
    ],
)
def test_impossible_held_out_pairs_are_refused(backend, held_out, message):
    with pytest.raises(DistokError, match=message):
        Trainer(short(estimate_count=0, held_out=held_out), backend, None, NAMES)


def test_tasks_are_a_function_of_seed_and_step():
    pairs = allowed_pairs(NAMES, ())
    first, again, other = (draw(step, short(), pairs, 6, 5) for step in (3, 3, 4))
    assert (first.left.tolist(), first.targets.tolist()) == (again.left.tolist(), again.targets.tolist())
    assert (first.left.tolist(), first.targets.tolist()) != (other.left.tolist(), other.targets.tolist())


def test_the_pool_is_drawn_as_asked():
    pairs = allowed_pairs(NAMES, ())

    def novel(chosen, admitted):
        tasks = [draw(step, chosen, pairs, 6, admitted) for step in range(300)]
        fused = np.concatenate([np.concatenate([one.left, one.right]) for one in tasks]) >= 6
        return fused.mean(), (np.concatenate([one.targets for one in tasks]) >= 6).mean()

    assert novel(short(novel_share=0.25, known_share=0.1), 50) == pytest.approx((0.25, 0.9), abs=0.04)
    assert novel(short(novel_share=None, known_share=0.0), 18) == pytest.approx((0.75, 1.0), abs=0.04)


@given(st.integers(1, 8), st.integers(2, 10), st.integers(0, 99))
@budget(max_examples=25, deadline=None)
def test_random_mixtures_are_distributions(most, classes, seed):
    mixtures = random_mixtures(np.random.default_rng(seed), 40, classes, most)
    assert mixtures.sum(1) == pytest.approx(np.ones(40), abs=1e-5)
    active = (mixtures > 0).sum(1)
    assert active.max() <= min(most, classes)
    assert active.min() >= 1


# --- gradients and switches


@pytest.mark.parametrize("scale", ["mean", "sum"])
def test_gradients_equal_the_papers_loop(backend, labeler, scale):
    built = trainer(backend, labeler, input_scale=scale, gamma=0.1, epsilon_restrictive=0.95, epsilon_aesthetic=0.95)
    assert built.pool.admitted > 0
    for step in range(5):
        tasks = draw(step, built.settings, built.pairs, built.pool.known, built.pool.admitted)
        built.model.zero_grad()
        batched = built.losses(tasks).total
        batched.backward()
        ours = [p.grad.clone() for p in built.model.parameters()]
        built.model.zero_grad()
        assert accumulate(built, tasks) == pytest.approx(batched.item(), rel=1e-5)
        for mine, parameter in zip(ours, built.model.parameters(), strict=True):
            assert (mine - parameter.grad).norm() <= 1e-5 * parameter.grad.norm()


@pytest.mark.parametrize(
    ("name", "share", "change"),
    [
        # Both prompts of a fusion cannot be met at once, so its loss has a floor; a class's own feature can be reached.
        ("fusion", 0.85, {"beta": 0.0, "novel_share": 0.0, "epsilon_restrictive": 1.0, "epsilon_aesthetic": 1.0}),
        ("consistency", 0.15, {"alpha": 0.0, "known_share": 1.0}),
    ],
)
def test_training_lowers_the_loss(backend, name, share, change):
    built = Trainer(short(steps=150, estimate_count=0, learning_rate=3e-3, hidden_dim=64, **change), backend, None, NAMES)
    values = [getattr(built.advance(), name).item() for _ in range(150)]
    assert np.mean(values[-20:]) < share * np.mean(values[:20])


class Counting:
    """Counts what passes through a real backend."""

    def __init__(self, backend):
        self.backend, self.encoded, self.rendered = backend, [], 0

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def encode(self, prompts, tokens=None):
        self.encoded.append(list(prompts))
        return self.backend.encode(prompts, tokens)

    def render(self, prompts, *args, **options):
        self.rendered += len(prompts)
        return self.backend.render(prompts, *args, **options)


def test_a_step_is_one_call_of_the_text_encoder(backend, labeler):
    counting = Counting(backend)
    built = Trainer(short(novel_share=0.0, estimate_every=1000), counting, labeler, NAMES)
    built.advance()
    counting.encoded.clear()
    built.advance()
    assert counting.encoded == [[f"a photo of a <tcrt_{i}>" for i in range(8)]]


def test_without_fusion_no_pair_is_ever_encoded(backend, labeler):
    counting = Counting(backend)
    built = Trainer(short(alpha=0.0, epsilon_restrictive=0.9, epsilon_aesthetic=0.9), counting, labeler, NAMES)
    losses = [built.advance() for _ in range(4)]
    prompts = {prompt for batch in counting.encoded for prompt in batch}
    assert all(prompt.startswith("a photo of a ") for prompt in prompts)
    assert built.settings.aesthetic_prompt not in prompts
    assert all(loss.fusion == 0 and loss.consistency > 0 for loss in losses)


def test_without_consistency_every_task_is_a_fusion(backend, labeler):
    counting = Counting(backend)
    built = Trainer(short(beta=0.0, novel_share=0.0), counting, labeler, NAMES)
    losses = [built.advance() for _ in range(6)]
    assert counting.rendered == 0, "pictures were rendered that nothing uses"
    assert all(loss.consistency == 0 and loss.fusion > 0 for loss in losses)
    assert len(draw(3, built.settings, built.pairs, 6, 9).left) == 8


def test_without_gamma_the_latents_are_not_regularised(backend, labeler):
    built = trainer(backend, labeler, gamma=0.0)
    losses = built.losses(draw(0, built.settings, built.pairs, 6, built.pool.admitted))
    assert losses.latent == 0
    with_it = replace(built.settings, gamma=1.0)
    built.settings = with_it
    assert built.losses(draw(0, with_it, built.pairs, 6, built.pool.admitted)).total > losses.total


def test_no_concept_and_no_fusion_is_a_step_without_effect(backend):
    built = Trainer(short(alpha=0.0, known_share=0.0, estimate_count=0), backend, None, NAMES)
    before = [p.clone() for p in built.model.parameters()]
    assert built.advance() is None
    assert built.step == 1
    assert all(torch.equal(*pair) for pair in zip(before, built.model.parameters(), strict=True))


# --- calibration


def test_thresholds_are_read_off_the_encoder(backend, labeler):
    pairs = allowed_pairs(NAMES, ())
    found = calibrate(backend, NAMES, short(), pairs)
    classes = backend.encode([f"a photo of a {name}" for name in NAMES])
    assert found.epsilon_aesthetic == pytest.approx(
        (classes @ backend.encode(["a photo of a cute pet"])[0]).mean().item(), abs=1e-4
    )
    worded = backend.encode([f"a photo of a {NAMES[i]} {NAMES[j]}" for i, j in pairs])
    meant = backend.encode([f"a {NAMES[i]} {NAMES[j]}" for i, j in pairs])
    assert ((worded * meant).sum(1) <= found.epsilon_restrictive).float().mean().item() == pytest.approx(0.9, abs=0.07)
    built = Trainer(short(epsilon_aesthetic=0.5), backend, labeler, NAMES)
    assert built.settings.epsilon_aesthetic == 0.5
    assert built.settings.epsilon_restrictive == pytest.approx(found.epsilon_restrictive)
    assert built.thresholds.endswith("epsilon_aesthetic overridden by the settings")
    assert "0.9 quantile of the cosines of 'a photo of a c1 c2' with 'a c1 c2' over 15 pairs" in built.thresholds


# --- estimation


def test_estimation_admits_what_the_labeler_read(backend, labeler):
    built = Trainer(short(estimate_renders=2, tau=1.0), backend, labeler, NAMES)
    assert built.estimate() == 4
    assert built.pool.distributions.sum(1) == pytest.approx(np.ones(10), abs=1e-4)
    features = backend.encode(["a photo of a <tcrt_0>"], built.pool.tokens[8][None])
    assert torch.allclose(built.pool.features[8], features[0], atol=1e-5)


@pytest.mark.parametrize("source", ["prior", "mixtures", "both"])
def test_estimation_sources(backend, labeler, source):
    built = trainer(backend, labeler, estimate_from=source, tau=1.0)
    other = trainer(backend, labeler, estimate_from=source, tau=1.0, seed=1)
    assert built.pool.admitted == other.pool.admitted == 4
    assert not torch.equal(built.pool.tokens[6:], other.pool.tokens[6:])


def test_a_gate_that_nothing_passes_leaves_the_pool_as_it_is(backend, labeler):
    built = Trainer(short(tau=0.01), backend, labeler, NAMES)
    assert (built.estimate(), built.pool.admitted) == (0, 0)


def test_a_bank_holds_the_readings_of_its_tokens(backend, labeler, bank):
    from distok import seeds

    pictures = backend.render(
        ["a photo of a <tcrt_0>"] * 2, bank.tokens[5:6], seeds=[seeds.derive(0, "bank", 5, r) for r in range(2)], steps=1
    )
    read = labeler.probabilities(pictures, NAMES).mean(0)
    assert torch.allclose(bank.distributions[5], read, atol=1e-4)
    assert str(Distribution.from_vector(NAMES, bank.distributions[5].double().numpy()))


def test_an_interrupted_collection_goes_on(backend, labeler, bank, tmp_path):
    path = tmp_path / "bank.safetensors"

    def collect_again(callback=None, **changes):
        return collect(
            backend, labeler, NAMES, bank.tokens, path, **{"steps": 1, "renders": 2, "batch": 4, **changes}, callback=callback
        )

    def interrupt(report):
        if report["done"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_again(interrupt)
    with pytest.raises(DistokError, match="holds 8 of 9 concepts; collect again"):
        Bank.load(path)
    with pytest.raises(DistokError, match="was collected with other tokens or settings"):
        collect_again(steps=2)
    told = []
    resumed = collect_again(told.append)
    assert told == [{"done": 9, "total": 9}]
    assert torch.equal(resumed.distributions, bank.distributions)
    assert resumed.hash == bank.hash


def test_a_bank_is_consumed_in_order(backend, bank):
    built = Trainer(short(estimate_count=0, tau=1.0), backend, None, NAMES, bank)
    for _ in range(11):
        built.advance()
    assert torch.equal(built.pool.tokens[6:], bank.tokens)  # 4, 4 and the last 1, at steps 0, 5 and 10


def test_a_bank_of_something_else_is_refused(backend, bank, tmp_path):
    for changed in (replace(bank, names=NAMES[::-1]), replace(bank, record={**bank.record, "backend": "0"})):
        with pytest.raises(DistokError, match="collected for other classes or another text encoder"):
            Trainer(short(estimate_count=0), backend, None, NAMES, changed)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(DistokError, match="not a readable safetensors file"):
        Bank.load(tmp_path / "model.safetensors")


def test_what_a_run_needs_is_asked_for(backend, labeler):
    with pytest.raises(DistokError, match="no labeler to read them; give one, or set estimate_count=0"):
        Trainer(short(), backend, None, NAMES)
    with pytest.raises(DistokError, match=r"3 class names \(2 different\); give at least 2, each once"):
        Trainer(short(), backend, labeler, ["cat", "dog", "cat"])


# --- runs


def interrupt_at(step):
    def callback(report):
        if report["step"] == step:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_an_interrupted_run_ends_the_same_to_the_byte(backend, labeler, bank, tmp_path, ema):
    chosen = short(ema_decay=ema)
    whole = train(chosen, backend, labeler, NAMES, tmp_path / "whole", bank=bank)
    for step in (3, 7, 11):
        with pytest.raises(KeyboardInterrupt):
            train(chosen, backend, labeler, NAMES, tmp_path / "parts", interrupt_at(step), bank)
    # How often it saves is no part of what a run is.
    parts = train(replace(chosen, save_every=3), backend, labeler, NAMES, tmp_path / "parts", bank=bank)
    assert parts.read_bytes() == whole.read_bytes()
    last = [(tmp_path / run / "checkpoint-12.safetensors").read_bytes() for run in ("whole", "parts")]
    assert last[0] == last[1], "the optimiser or the pool differ"
    assert train(chosen, backend, labeler, NAMES, tmp_path / "whole", bank=bank).read_bytes() == parts.read_bytes()


def test_the_last_two_checkpoints_are_kept_and_a_corrupt_one_is_passed_over(backend, labeler, tmp_path, caplog):
    chosen = short(save_every=2)
    whole = train(chosen, backend, labeler, NAMES, tmp_path / "whole").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        train(chosen, backend, labeler, NAMES, tmp_path / "run", interrupt_at(9))
    kept = sorted((tmp_path / "run").iterdir())
    assert [path.name for path in kept] == ["checkpoint-6.safetensors", "checkpoint-8.safetensors"]
    damaged = bytearray(kept[1].read_bytes())
    damaged[-1] ^= 1
    kept[1].write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert train(chosen, backend, labeler, NAMES, tmp_path / "run").read_bytes() == whole
    assert "skipping a corrupt checkpoint" in caplog.text
    assert "checkpoint-8.safetensors" in caplog.text


def test_a_folder_without_a_whole_checkpoint_is_refused(backend, labeler, tmp_path):
    (tmp_path / "checkpoint-4.safetensors").write_bytes(b"half a fi")
    with pytest.raises(DistokError, match=r"no checkpoint in .* can be read; delete the folder to start again"):
        train(short(), backend, labeler, NAMES, tmp_path)


def test_another_runs_folder_is_refused_and_told_why(backend, labeler, tmp_path):
    train(short(), backend, labeler, NAMES, tmp_path)
    with pytest.raises(DistokError, match=r"holds another run \(alpha 1.0 → 0.5, seed 0 → 7\); resume it with its own settings"):
        train(short(alpha=0.5, seed=7), backend, labeler, NAMES, tmp_path)
    with pytest.raises(DistokError, match=r"holds another run \(names"):
        train(short(), backend, labeler, NAMES[::-1], tmp_path)


def test_the_result_says_where_it_comes_from(backend, labeler, tmp_path):
    reports = []
    path = train(short(), backend, labeler, NAMES, tmp_path, reports.append)
    model = DisTok.load(path)
    assert path == tmp_path / MODEL_FILE
    assert [report["step"] for report in reports] == list(range(1, 13))
    assert {"total", "fusion", "consistency", "latent", "pool", "steps"} < set(reports[-1])
    assert model.provenance["backend"] == backend.hash
    assert "quantile of the cosines" in model.provenance["thresholds"]
    stored = TrainSettings.from_json(model.provenance["settings"])
    assert stored == replace(short(), save_every=500, **{
        name: getattr(stored, name) for name in ("epsilon_restrictive", "epsilon_aesthetic")
    })  # fmt: skip
    assert isinstance(stored.epsilon_restrictive, float)


def test_the_latent_law_is_that_of_encoded_mixtures(backend, labeler, tmp_path):
    model = DisTok.load(train(short(estimate_active=3), backend, labeler, NAMES, tmp_path))
    mixtures = torch.from_numpy(random_mixtures(np.random.default_rng(5), 4000, 6, 3)) @ backend.name_tokens(NAMES)
    latents = model.encode(mixtures).detach()
    sampled = model.sample_latents(torch.randn(4000, 8, generator=torch.Generator().manual_seed(0)))
    scale = latents.std(0).mean()
    assert ((latents.mean(0) - sampled.mean(0)).abs() < 0.15 * scale).all()
    assert ((latents.std(0) - sampled.std(0)).abs() < 0.15 * scale).all()


def test_the_callers_random_state_is_left_alone(backend, labeler):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trainer(backend, labeler).advance()
    assert torch.equal(before, torch.get_rng_state())
