"""Every suite, end to end, on the real classes at tiny size."""

import csv
import itertools
import json
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from distok.backends import open_backend
from distok.baselines import baseline_class
from distok.distribution import js
from distok.errors import DistokError, UnavailableError
from distok.evaluation.ablation import READINGS, VARIANTS, ablation, published, run_ablation
from distok.evaluation.cases import ARTIST, DISTOK, Bench
from distok.evaluation.contest import CONTROLS
from distok.evaluation.exploration import exploration
from distok.evaluation.fidelity import fidelity, summarise
from distok.evaluation.latent_map import latent_map
from distok.evaluation.pictures import Darkroom
from distok.evaluation.readings import Rulers
from distok.evaluation.reuse import compare_looks, reuse
from distok.evaluation.sweep import sweep
from distok.model import DisTok
from distok.training import preset
from tests.tiny import NAMES, run_settings

pytest_plugins = ("tests.evaluation_parts",)


def test_fidelity_compares_all_methods_on_the_same_seeds(bench, tmp_path):
    result = fidelity(bench, tmp_path, seeds=2, cases=4)
    result.save(tmp_path)
    stored = json.loads((tmp_path / "fidelity.json").read_text())
    titles = {baseline_class(name).title for name in ("distok", *CONTROLS)}
    assert set(stored["evaluator"]["all"]["methods"]) == {*titles, ARTIST}
    assert DISTOK not in stored["labeler"]["all"]["minus"]
    row = stored["evaluator"]["all"]["methods"][DISTOK]["kl"]
    assert row["low"] <= row["mean"] <= row["high"]
    with (tmp_path / "fidelity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (len(titles) + 1) * 2 * 4
    chosen = [float(r["kl"]) for r in rows if (r["method"], r["reader"]) == (DISTOK, "evaluator")]
    assert np.mean(chosen) == pytest.approx(row["mean"], rel=1e-4)
    minus = stored["evaluator"]["all"]["minus"]["mean of tokens"]["kl"]["mean"]
    assert minus == pytest.approx(row["mean"] - stored["evaluator"]["all"]["methods"]["mean of tokens"]["kl"]["mean"])
    page = Image.open(tmp_path / "fidelity.png")
    assert page.height > 8 * 128
    assert "| DisTok |" in (tmp_path / "fidelity.md").read_text()
    report = (tmp_path / "report.html").read_text()
    assert "Fidelity by the evaluator" in report
    assert 'src="data:image/png;base64,' in report
    assert 'src="fidelity' not in report, "the page can be sent alone"


def test_summaries_pair_cases_by_number_and_not_by_order():
    def record(method, case, value):
        return {"method": method, "reader": "labeler", "case": case, "kind": "pair"} | dict.fromkeys(
            [name for key in ("kl", "kl_reverse", "js", "top1", "topk", "spearman") for name in (key, f"each_{key}")], value
        )

    records = [record(DISTOK, case, float(case)) for case in range(8)] + [record("other", case, case + 0.5) for case in range(8)][
        ::-1
    ]
    difference = summarise(records)["labeler"]["pair"]["minus"]["other"]["kl"]
    assert (difference.mean, difference.low, difference.high) == (-0.5, -0.5, -0.5)


def test_exploration_judges_each_prior_beside_single_species(bench, tmp_path):
    result = exploration(bench, count=6)
    result.save(tmp_path)
    stored = json.loads((tmp_path / "exploration.json").read_text())
    assert set(stored) == {"normal", "laplace", "cauchy", "mixture", "single species", "tables"}
    for row in (stored[name] for name in stored if name != "tables"):
        assert 1 <= row["vendi"]["mean"] <= 6
        assert row["vendi"]["low"] < row["vendi"]["mean"] < row["vendi"]["high"]
        assert row["both"]["mean"] <= min(row["creature"]["mean"], row["novel"]["mean"])


def test_exploration_and_looks_need_the_evaluator(bench, labeler, tmp_path):
    blind = Bench(bench.backend, bench.model, Rulers(NAMES, labeler), bench.darkroom)
    with pytest.raises(DistokError, match="needs the independent evaluator"):
        exploration(blind, count=2)
    assert set(fidelity(blind, tmp_path, seeds=1, cases=2).figures) == {"labeler", "settings", "absent"}


def test_a_sweep_is_summed_up_by_how_far_the_measured_weight_is_from_the_asked(bench, tmp_path):
    pytest.importorskip("matplotlib")
    result = sweep(bench, seeds=2, pairs=2, points=3)
    result.save(tmp_path)
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2 * 3  # pairs, methods, readers, points
    assert sorted({float(row["asked"]) for row in rows}) == [0, 0.5, 1]
    missed = {}
    for row in rows:
        assert float(row["low"]) <= float(row["measured"]) <= float(row["high"])
        missed.setdefault((row["reader"], row["method"]), []).append(abs(float(row["measured"]) - float(row["asked"])))
    expected = {key: np.mean(each) for key, each in missed.items()}
    assert len(set(expected.values())) == 2 * 3, "by reader and by method"
    for who, other in itertools.product(("labeler", "evaluator"), ("mean of tokens", ARTIST)):
        expected[who, f"{DISTOK} minus {other}"] = expected[who, DISTOK] - expected[who, other]
    told = {(who, method): error.mean for who, each in result.figures.items() for method, error in each.items()}
    assert told == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert Image.open(tmp_path / "sweep-curves.png").width > 300


def test_figures_outlive_a_library_that_draws_them(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for name, result in (("sweep-curves", sweep(bench, seeds=1, pairs=1, points=2)), ("map", latent_map(bench))):
        result.save(tmp_path)
        assert f"No {name}.png: plots need matplotlib; install it with: pip install matplotlib." in result.tables[0].note
        assert not (tmp_path / f"{name}.png").exists()
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 1 + 3 * 2 * 2  # methods, readers, points
    assert set(result.figures) > {"classes", "pair", "weighted"}


def test_looks_are_compared_with_the_plain_picture_of_the_same_token():
    plain, moved = np.array([[1.0, 0, 0], [0, 1.0, 0]]), np.array([[1.0, 0, 0], [0, 0, 1.0]])
    found = compare_looks({"plain": plain, "repeat": plain, "snow": moved, "beach": plain})
    assert found["looks"]["beach"].mean == 0
    assert found["looks"]["snow"].mean == pytest.approx(np.log(2) / 2)
    assert found["same"].mean == pytest.approx(np.log(2) / 4)
    assert found["repeat"].mean == 0
    assert found["different"].mean == pytest.approx(np.log(2))
    assert (found["different"].low, found["different"].high) == (0, pytest.approx(np.log(2))), "two tokens say nothing"


def test_pairs_of_tokens_are_no_independent_cases():
    rng, held = np.random.default_rng(0), []
    truth = np.mean([js(*rng.dirichlet([0.3] * 4, 2)) for _ in range(20_000)])
    for _ in range(60):
        plain = rng.dirichlet([0.3] * 4, 12)
        found = compare_looks({"plain": plain, "repeat": plain, "snow": plain})["different"]
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) > 0.85, "a bootstrap of each token's mean holds it in two of three"


def test_reuse_renders_every_look(patient, rulers, model_file, tmp_path):
    backend = open_backend(patient / "pipeline")
    result = reuse(Bench(backend, DisTok.load(model_file), rulers, Darkroom(backend)), seeds=1, tokens=2)
    result.save(tmp_path)
    assert len(result.figures["evaluator"]["looks"]) == 5 + 6 + 4
    assert (tmp_path / "reuse.png").is_file()


def test_the_ablation_trains_each_variant_from_one_bank_and_compares_them(bench, bank, tmp_path):
    settings = run_settings(steps=6, estimate_every=2, bank_count=3, delta=0.5, foresight_after=1)
    models = run_ablation(bench.backend, None, NAMES, tmp_path, seeds=(0, 1), settings=settings, bank=bank)
    assert set(models) == set(VARIANTS)
    trained = {variant: DisTok.load(files[0]).provenance for variant, files in models.items()}
    told = {variant: json.loads(record["settings"]) for variant, record in trained.items()}
    assert [record["beta"] for record in told.values()] == [1, 0, 1, 1, 0, 1]
    assert [record["gamma"] > 0 for record in told.values()] == [True, True, False, True, True, False]
    assert [record["delta"] for record in told.values()] == [0.5, 0, 0.5, 0, 0, 0], "ours but where it is taken out"
    assert all(record["bank"] == bank.hash for record in trained.values())
    written, steps = models["ours"][0].read_bytes(), []
    again = {"seeds": (0, 1), "settings": settings, "bank": bank}
    run_ablation(bench.backend, None, NAMES, tmp_path, **again, callback=lambda *step: steps.append(step))
    assert (models["ours"][0].read_bytes(), steps) == (written, []), "what is trained is not trained again"
    with pytest.raises(DistokError, match="holds another run"):
        run_ablation(bench.backend, None, NAMES, tmp_path, **again, steps=8)
    result = ablation(bench, models, seeds=1, cases=3, samples=3)
    rows = result.figures["evaluator"]
    assert rows["ours"]["kl rise"].mean == 0
    assert len(rows["ours, without L_fsg and L_cst"]["kl by training seed"]) == 2
    without = rows["ours, without L_fsg and L_cst"]
    assert without["kl rise"].mean == pytest.approx(without["kl"].mean - rows["ours"]["kl"].mean)
    apart = result.figures["evaluator"]["as published, without L_cst"]
    seeds = np.array(apart["kl by training seed"]) - np.array(rows["as published"]["kl by training seed"])
    assert apart["kl rise by training seed"].mean == pytest.approx(seeds.mean())
    reach = 12.706 * seeds.std(ddof=1) / np.sqrt(2)
    assert apart["kl rise by training seed"].low == pytest.approx(seeds.mean() - reach), "two seeds say next to nothing"
    assert apart["kl rise"].mean == pytest.approx(apart["kl"].mean - rows["as published"]["kl"].mean)
    assert len(result.figures["diversity"]) == 2 * len(VARIANTS)
    assert any(row["vendi, raw"] != row["vendi, measured"] for row in result.figures["diversity"])


def test_without_a_bank_each_variant_reads_its_own_tokens(bench, labeler, tmp_path, monkeypatch):
    chosen = ("ours", "ours, without L_reg", "as published")
    monkeypatch.setattr("distok.evaluation.ablation.VARIANTS", {name: VARIANTS[name] for name in chosen})
    settings = run_settings(steps=6, estimate_count=1, delta=0.5, bank_count=2)
    models = run_ablation(bench.backend, labeler, NAMES, tmp_path, seeds=(0,), settings=settings)
    assert tuple(models) == chosen
    for files in models.values():
        record = DisTok.load(files[0]).provenance
        told = json.loads(record["settings"])
        assert (told["estimate_count"], told["bank_count"]) == (1, 0)
        assert (record["labeler"], record["bank"]) == (labeler.hash, "null")
    models = run_ablation(bench.backend, labeler, NAMES, tmp_path / "few", seeds=(0,), settings=settings, readings=3)
    assert set(run_ablation(bench.backend, labeler, NAMES, tmp_path, (0,), None, settings, recipe="published")) == {
        "as published"
    }
    only = {"labeler": labeler, "names": NAMES, "seeds": (0,), "settings": settings, "recipe": "ours"}
    assert set(run_ablation(bench.backend, out=tmp_path, without="reg", **only)) == {"ours", "ours, without L_reg"}
    assert set(run_ablation(bench.backend, out=tmp_path, without="read", **only)) == {"ours"}, "the other one is not among these"
    record = json.loads(DisTok.load(models["ours"][0]).provenance["settings"])
    assert (record["steps"], record["estimate_every"], record["estimate_count"]) == (6, 5, 2), "3 readings in two rounds"
    monkeypatch.setattr("distok.evaluation.ablation.READINGS", 4)  # of a recipe for a GPU, a CPU's share is taken
    many = run_settings(steps=6, estimate_count=500, gamma=0.0)
    models = run_ablation(bench.backend, labeler, NAMES, tmp_path / "many", seeds=(0,), settings=many)
    assert json.loads(DisTok.load(models["ours"][0]).provenance["settings"])["estimate_count"] == 2
    assert set(models) == {"ours", "as published"}, "there was no L_reg to do without"
    with pytest.raises(UnavailableError, match="models read what they render, and there is no labeler; give one, or a bank"):
        run_ablation(bench.backend, None, NAMES, tmp_path, settings=settings)


def test_beside_a_bank_each_model_reads_tokens_of_its_own(bench, labeler, bank, tmp_path, monkeypatch):
    monkeypatch.setattr("distok.evaluation.ablation.VARIANTS", {"ours": VARIANTS["ours"]})
    given = {"names": NAMES, "out": tmp_path, "seeds": (0, 1), "settings": run_settings(steps=6, delta=0.5), "bank": bank}
    with pytest.raises(UnavailableError, match="read what they render, and there is no labeler; give one, or the bank alone"):
        run_ablation(bench.backend, None, readings=2, **given)
    models = run_ablation(bench.backend, labeler, readings=2, **given)
    record = DisTok.load(models["ours"][0]).provenance
    assert (record["bank"], record["labeler"]) == (bank.hash, labeler.hash)
    told = ablation(bench, models, seeds=1, cases=2, samples=3).figures["settings"]["training"]
    assert told == ["6 steps of 8 tasks, 2 readings of its own and readings of a bank"]


def test_as_published_is_the_paper_s_recipe_but_for_the_budget_and_the_encoder():
    odd = {"tau": 0.5, "beta": 0.0, "ema_decay": 0.9, "epsilon_aesthetic": 0.3, "fusion_share": 0.2, "latent_dim": 9}
    ours, paper = (
        run_settings(delta=0.5, sub_steps=16, restrictive_prompt="a {} with {}", held_out=[("pig", "owl")], **odd),
        preset("calibrated"),
    )
    apart = {each.name for each in fields(paper) if getattr(published(ours), each.name) != getattr(paper, each.name)}
    budget = {"steps", "sub_steps", "learning_rate", "estimate_every", "estimate_count", "estimate_steps", "pool_size"}
    assert apart == budget | {"bank_count", "save_every", "restrictive_prompt", "held_out"}
    assert all(getattr(published(ours), name) == getattr(ours, name) for name in apart)


def test_the_budget_of_an_ablation(bench, labeler, bank, tmp_path, monkeypatch):
    trained = {}

    def kept(settings, backend, labeler, names, folder, *rest):
        trained[folder.name] = settings
        return folder

    monkeypatch.setattr("distok.training.train", kept)

    def ours(settings, **given):
        run_ablation(bench.backend, labeler, NAMES, tmp_path, (0,), settings=settings, **given)
        return trained["ours-0"]

    gpu, cpu = preset("menagerie-gpu"), preset("menagerie")
    few = ours(gpu, steps=3000)
    assert few.estimate_count * few.estimations == READINGS
    assert few.foresight_after == gpu.foresight_after // 2, "in proportion"
    assert (few.foresight_blocks, few.foresight_batch, few.delta) == (cpu.foresight_blocks, cpu.foresight_batch, gpu.delta)
    many = ours(gpu, readings=READINGS + 600)
    assert (many.foresight_blocks, many.estimate_count) == (gpu.foresight_blocks, 25)
    shared = ours(gpu, bank=bank)
    assert (shared.foresight_blocks, shared.estimate_count, shared.bank_count) == (cpu.foresight_blocks, 0, 1)
    both = ours(gpu, bank=bank, readings=1500)
    assert (both.bank_count, both.estimate_count, both.foresight_blocks) == (1, 3, cpu.foresight_blocks), "both are few"
    seldom, alone = ours(gpu, bank=bank, readings=3), ours(gpu, bank=bank)
    assert seldom == replace(alone, estimate_count=1), "the bank comes as it would alone"
    assert ours(gpu, bank=bank, readings=READINGS).foresight_blocks == gpu.foresight_blocks, "together they are many"
    rare = ours(gpu, readings=100)
    assert (rare.estimate_every, rare.estimate_count, rare.estimations) == (60, 1, 100)
    banked = ours(replace(cpu, estimate_count=0, bank_count=9))
    assert (banked.bank_count, banked.estimate_count * banked.estimations) == (0, READINGS), "what a bank taught is read anew"
    assert trained["as-published-0"].estimate_count == banked.estimate_count
