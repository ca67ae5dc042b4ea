"""Every suite, end to end, on the real classes at tiny size."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from distok import evaluation
from distok.backends import open_backend
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.evaluation.ablation import VARIANTS, ablation, run_ablation
from distok.evaluation.cases import ARTIST, DISTOK, METHODS, STRIDE, Bench, shoot
from distok.evaluation.exploration import exploration
from distok.evaluation.fidelity import fidelity, summarise
from distok.evaluation.pictures import Darkroom, Shot
from distok.evaluation.readings import Rulers
from distok.evaluation.report import csv_text, grid, plain
from distok.evaluation.reuse import compare_looks, reuse
from distok.evaluation.speed import _call, speed
from distok.evaluation.sweep import sweep
from distok.model import DisTok, DisTokSettings
from tests.edge import CommandLine, save_model
from tests.tiny import NAMES, run_settings

pytest.importorskip("skia")


@pytest.fixture(scope="module")
def model_file(backend, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("evaluation") / "distok.safetensors", backend)


@pytest.fixture(scope="module")
def evaluator():
    from distok.menagerie.evaluator import Evaluator, EvaluatorSettings

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Evaluator(EvaluatorSettings(side=16, widths=(8, 8), pyramid=8, looks=1, features=16)).eval()


@pytest.fixture(scope="module")
def rulers(labeler, evaluator):
    return Rulers(NAMES, labeler, evaluator)


@pytest.fixture(scope="module")
def darkroom(backend, tmp_path_factory):
    return Darkroom(backend, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def bench(backend, model_file, rulers, darkroom):
    return Bench(backend, DisTok.load(model_file), rulers, darkroom)


def test_a_picture_is_rendered_once_and_is_the_same_in_any_company(backend, tmp_path):
    told = []
    room = Darkroom(backend, tmp_path, lambda *report: told.append(report))
    token = torch.linspace(-1, 1, backend.token_dim)
    shots = [Shot("a photo of a {}", 3, token), Shot("a photo of a pig", 4), Shot("a photo of a {}", 5, token * 2)]
    first = room.develop("a stage", shots)
    assert room.rendered == 3
    assert told == [("a stage", 0, 3), ("a stage", 3, 3)]
    again = room.develop("a stage", [*shots[::-1], Shot("a photo of a pig", 6)])
    assert room.rendered == 4, "only the new one"
    for one, other in zip(first, again[2::-1], strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    alone = backend.render(["a photo of a <tcrt_0>"], token[None], seeds=[3])[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(first[0], int)).max() <= 1
    other = Darkroom(backend, tmp_path)
    other.develop("a stage", [Shot("a photo of a {}", 3, token + 0.01)])
    assert other.rendered == 1, "another token is another picture"


def test_a_damaged_picture_is_rendered_again_and_another_pipeline_shares_none(backend, tmp_path):
    from distok.backends.stable_diffusion import RenderDefaults, StableDiffusionBackend

    shot = [Shot("a photo of a pig", 0)]
    room = Darkroom(backend, tmp_path)
    (picture,) = room.develop("x", shot)
    (path,) = tmp_path.glob("*/*.png")
    path.write_bytes(path.read_bytes()[:40])
    assert np.array_equal(np.asarray(room.develop("x", shot)[0]), np.asarray(picture))
    assert room.rendered == 2
    slower = Darkroom(StableDiffusionBackend(backend.pipe, RenderDefaults(3, 3.0, 16)), tmp_path)
    slower.develop("x", shot)
    assert slower.rendered == 1, "other steps are other pictures"


def test_shots_whose_prompt_and_token_do_not_fit_are_refused():
    with pytest.raises(DistokError, match="do not fit"):
        Shot("a photo of a pig", 0, torch.zeros(4))
    with pytest.raises(DistokError, match="do not fit"):
        Shot("a photo of a {}", 0)


def test_methods_ask_for_what_they_say(bench):
    case = next(each for each in bench.cases if len(each.asked.names) == 3)
    names = [name for name, _ in case.asked.top(3)]
    made = {name: method(bench, case) for name, method in METHODS.items()}
    known = {name: bench.backend.name_tokens([name])[0] for name in names}
    mean = sum(case.asked.as_dict()[name] * known[name] for name in names)
    assert torch.allclose(made["mean of tokens"].token, mean, atol=1e-6)
    assert torch.allclose(made[DISTOK].token, bench.model(mean[None])[0], atol=1e-6)
    assert made["dominant class alone"].prompt == f"a photo of a {names[0]}"
    assert made["names by weight"].prompt == f"a photo of a {' '.join(names)}"
    assert made["sentence with percentages"].prompt.startswith(
        f"a photo of a creature that is {case.asked.top(1)[0][1] * 100:.0f} % "
    )
    states = bench.backend.prompt_embeds([f"a photo of a {name}" for name in case.asked.names])
    wanted = (torch.tensor(case.asked.weights)[:, None, None] * states).sum(0)
    assert torch.allclose(made["mean of prompt embeddings"].embeds, wanted, atol=1e-5)
    other = METHODS["random latent"](bench, bench.cases[0]).token
    assert not torch.allclose(made["random latent"].token, other)


def test_cases_of_other_classes_are_drawn_and_those_of_the_menagerie_are_shipped(bench, evaluator):
    from distok.menagerie.species import NAMES as SPECIES
    from distok.menagerie.splits import splits

    assert {case.kind for case in bench.cases} == {"pair", "weighted"}
    for case in bench.cases:
        assert set(case.asked.names) <= set(NAMES)
        assert min(case.asked.weights) >= 0.15 - 1e-9
    shipped = Bench(bench.backend, bench.model, Rulers(SPECIES, None, evaluator), bench.darkroom).cases
    assert [case.asked.names for case in shipped[:30]] == list(splits().evaluation_pairs)
    assert [case.asked.as_dict() for case in shipped[30:]] == [pytest.approx(each) for each in splits().evaluation_distributions]


def test_fidelity_compares_all_methods_on_the_same_seeds_and_renders_nothing_twice(bench, tmp_path):
    result = fidelity(bench, seeds=2, cases=4)
    result.save(tmp_path)
    rendered = bench.darkroom.rendered
    assert fidelity(bench, seeds=2, cases=4).figures == result.figures
    assert bench.darkroom.rendered == rendered
    stored = json.loads((tmp_path / "fidelity.json").read_text())
    assert set(stored["evaluator"]["all"]["methods"]) == {*METHODS, ARTIST}
    assert DISTOK not in stored["labeler"]["all"]["minus"]
    row = stored["evaluator"]["all"]["methods"][DISTOK]["kl"]
    assert row["low"] <= row["mean"] <= row["high"]
    with (tmp_path / "fidelity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (len(METHODS) + 1) * 2 * 4
    chosen = [float(r["kl"]) for r in rows if (r["method"], r["reader"]) == (DISTOK, "evaluator")]
    assert np.mean(chosen) == pytest.approx(row["mean"], rel=1e-4)
    minus = stored["evaluator"]["all"]["minus"]["mean of tokens"]["kl"]["mean"]
    assert minus == pytest.approx(row["mean"] - stored["evaluator"]["all"]["methods"]["mean of tokens"]["kl"]["mean"])
    page = Image.open(tmp_path / "fidelity.png")
    assert page.height > 8 * 128
    assert "| DisTok |" in (tmp_path / "fidelity.md").read_text()
    assert "Fidelity by the evaluator" in (tmp_path / "report.html").read_text()


def test_the_reading_of_a_case_comes_from_its_own_pictures(bench):
    cases = bench.spread(3)
    pictures = shoot(bench, METHODS[DISTOK], cases, 2, "x")
    last = cases[-1]
    alone = bench.backend.render(["a photo of a <tcrt_0>"], bench.token(last.asked)[None], seeds=[STRIDE * last.index + 1])[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(pictures[-1][1], int)).max() <= 1


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
    assert set(stored) == {"normal", "laplace", "cauchy", "single species"}
    for row in stored.values():
        assert 1 <= row["vendi"] <= 6
        assert row["both"]["mean"] <= min(row["creature"]["mean"], row["novel"]["mean"])


def test_exploration_and_looks_need_the_evaluator(bench, labeler):
    blind = Bench(bench.backend, bench.model, Rulers(NAMES, labeler), bench.darkroom)
    with pytest.raises(DistokError, match="needs the independent evaluator"):
        exploration(blind, count=2)
    assert set(fidelity(blind, seeds=1, cases=2).figures) == {"labeler", "settings"}


def test_a_sweep_goes_from_one_class_to_the_other(bench, tmp_path):
    pytest.importorskip("matplotlib")
    result = sweep(bench, seeds=2, pairs=2, points=3)
    result.save(tmp_path)
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2 * 3  # pairs, methods, readers, points
    assert sorted({float(row["asked"]) for row in rows}) == [0, 0.5, 1]
    for row in rows:
        assert float(row["low"]) <= float(row["measured"]) <= float(row["high"])
    assert Image.open(tmp_path / "sweep-curves.png").width > 300


def test_looks_are_compared_with_the_plain_picture_of_the_same_token():
    plain, moved = np.array([[1.0, 0, 0], [0, 1.0, 0]]), np.array([[1.0, 0, 0], [0, 0, 1.0]])
    found = compare_looks({"plain": plain, "repeat": plain, "snow": moved, "beach": plain})
    assert found["looks"]["beach"].mean == 0
    assert found["looks"]["snow"].mean == pytest.approx(np.log(2) / 2)
    assert found["same"].mean == pytest.approx(np.log(2) / 4)
    assert found["repeat"].mean == 0
    assert found["different"].mean == pytest.approx(np.log(2))


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A world folder, by its parts, whose text encoder takes long prompts: the tiny tokenizer spells most words out."""
    from tests import tiny

    folder = tmp_path_factory.mktemp("world")
    tiny.save_pipeline(folder / "pipeline", length=77)
    return folder


def test_reuse_renders_every_look(patient, rulers, model_file, tmp_path):
    backend = open_backend(patient / "pipeline")
    result = reuse(Bench(backend, DisTok.load(model_file), rulers, Darkroom(backend)), seeds=1, tokens=2)
    result.save(tmp_path)
    assert len(result.figures["evaluator"]["looks"]) == 5 + 6 + 4
    assert (tmp_path / "reuse.png").is_file()


def test_a_world_is_checked_by_what_it_holds(patient, evaluator, labeler_folder, tmp_path):
    """The evaluator alone first, then with labeler and pipeline, then with a DisTok."""
    from distok.evaluation.instrument import Sizes
    from distok.menagerie.species import NAMES as SPECIES

    sizes = Sizes(drawn=6, seeds=1, species=2, tokens=2, reused=1)
    world = tmp_path / "world"
    with pytest.raises(DistokError, match=r"there is no evaluator at .*distok world train"):
        evaluation.check_world(tmp_path / "out", world=world)
    evaluator.save(world / "evaluator.safetensors")
    told = []
    found = evaluation.check_world(tmp_path / "out", lambda *report: told.append(report), world=world, sizes=sizes)
    assert found["missing"] == ["labeler", "pipeline"]
    assert told[-1] == ("the artist's own pictures", 8, 8)
    assert {"evaluator: KL, four, weighted", "evaluator: both parents the top 2, pairs, equal"} <= set(found["figures"])
    (world / "pipeline").symlink_to(patient / "pipeline")
    (world / "labeler").symlink_to(labeler_folder)
    full = evaluation.check_world(tmp_path / "out", world=world, sizes=sizes)
    assert full["missing"] == ["distok.safetensors"]
    assert found["figures"].items() <= full["figures"].items(), "what the artist drew reads the same again"
    wanted = {
        "labeler: top-1, single species",
        "checkpoint: style neon",
        "checkpoint: scene beach",
        "checkpoint: accessory red hat",
    }
    assert wanted <= set(full["figures"])
    assert (
        full["figures"]["checkpoint: Fréchet distance to the artist"] > full["figures"]["the artist: Fréchet distance to himself"]
    )
    bars = {each["figure"]: each for each in full["bars"]}
    assert bars["checkpoint: top-1, single species"]["passed"] is False, "an untrained pipeline draws no species"
    stored = json.loads((tmp_path / "out" / "world.json").read_text())
    assert stored["figures"].keys() == full["figures"].keys()
    assert "MISS" in (tmp_path / "out" / "world.md").read_text()
    backend = open_backend(patient / "pipeline")
    model = DisTok(DisTokSettings(backend.token_dim, latent_dim=4, hidden_dim=16))
    model.fit_tokens(backend.name_tokens(SPECIES))
    model.save(world / "distok.safetensors", {"names": json.dumps(SPECIES), "backend": backend.hash})
    last = evaluation.check_world(tmp_path / "out", world=world, sizes=sizes)
    assert last["missing"] == []
    assert "reuse: JS between different tokens" in last["figures"]


def test_the_ablation_trains_each_variant_from_one_bank_and_compares_them(bench, labeler, bank, tmp_path):
    settings = run_settings(steps=6, estimate_every=2, bank_count=3)
    models = run_ablation(bench.backend, labeler, bank, tmp_path, seeds=(0, 1), settings=settings)
    assert set(models) == set(VARIANTS)
    trained = {variant: DisTok.load(files[0]).provenance for variant, files in models.items()}
    told = {variant: json.loads(record["settings"]) for variant, record in trained.items()}
    assert (told["without L_cst"]["beta"], told["without L_reg"]["gamma"], told["full"]["beta"]) == (0, 0, 1)
    assert all(record["bank"] == bank.hash for record in trained.values())
    written = models["full"][0].stat().st_mtime_ns
    run_ablation(bench.backend, labeler, bank, tmp_path, seeds=(0, 1), settings=settings)
    assert models["full"][0].stat().st_mtime_ns == written, "what is trained is not trained again"
    result = ablation(bench, models, seeds=1, cases=3, samples=3)
    rows = result.figures["evaluator"]
    assert rows["full"]["kl rise"].mean == 0
    assert len(rows["without L_cst"]["kl by training seed"]) == 2
    assert rows["without L_cst"]["kl rise"].mean == pytest.approx(rows["without L_cst"]["kl"].mean - rows["full"]["kl"].mean)
    assert len(result.figures["diversity"]) == 6


def test_speed_times_pictures_and_commands(bench, pipeline_folder, model_file, labeler_folder):
    options = ("--backend", str(pipeline_folder), "--model", str(model_file), "--labeler", str(labeler_folder))
    figures = speed(bench, options, repeats=1, batch=2).figures["figures"]
    assert set(figures) == {
        "speed: seconds a picture, batch of 2",
        "speed: seconds from cold, distok create -n 4",
        "speed: seconds, distok --help",
    }
    assert all(value > 0 for value in figures.values())
    with pytest.raises(DistokError, match="'distok nonsense' failed"):
        _call(["nonsense"])


def test_a_suite_by_name_resumes_and_reports(pipeline_folder, model_file, labeler_folder, tmp_path):
    parts = {"backend": pipeline_folder, "model": model_file, "labeler": labeler_folder}
    told = []
    tables = evaluation.run("fidelity", tmp_path, **parts, seeds=1, cases=2, callback=lambda *report: told.append(report))
    assert tables["fidelity"][0].title == "Fidelity by the labeler"
    assert ("fidelity: DisTok", 2, 2) in told
    evaluation.run("fidelity", tmp_path, **parts, seeds=2, cases=2, callback=lambda *report: told.append(report))
    assert ("fidelity: DisTok", 2, 4) in told, "the first two were there"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"suite": "fidelty"}, "did you mean 'fidelity'"),
        ({"suite": "x"}, "choose world, fidelity"),
        ({"seeds": 0}, "seeds is 0; ask for 1 to 50"),
        ({"cases": 1}, "an interval needs at least 2"),
        ({"steps": 0}, "train for at least 1"),
        ({"suite": "world", "backend": "x"}, "measures the Menagerie alone"),
    ],
)
def test_what_cannot_be_run_is_refused_with_one_line(changes, text, tmp_path):
    with pytest.raises(DistokError, match=text):
        evaluation.run(**{"suite": "fidelity", "out": tmp_path, **changes})


def test_the_command_line_shows_the_tables(capsys, monkeypatch, pipeline_folder, model_file, labeler_folder, tmp_path):
    call = CommandLine(capsys, monkeypatch)
    parts = ("--backend", pipeline_folder, "--model", model_file, "--labeler", labeler_folder)
    status, out, _ = call("evaluate", "fidelity", "--out", tmp_path / "r", "--seeds", 1, "--cases", 2, *parts)
    assert status == 0
    assert "Fidelity by the labeler" in out
    assert "mean of tokens" in out
    status, _, err = call("evaluate", "nonsense", "--out", tmp_path / "r", *parts)
    assert (status, len(err.strip().splitlines())) == (2, 1)


def test_figures_become_json_and_records_csv():
    assert plain({"a": np.float64(0.5), "b": [np.array([1, 2])], "c": float("nan"), 3: True}) == {
        "a": 0.5, "b": [[1, 2]], "c": None, "3": True,
    }  # fmt: skip
    assert csv_text([{"x": 0.123456789, "y": "a, b"}]) == 'x,y\n0.123457,"a, b"\n'
    assert grid({"row": [Image.new("RGB", (8, 8))] * 2}, ["one", "two"], cell=16)[:4] == b"\x89PNG"
    assert Distribution.parse("pig, owl").names == ("pig", "owl")
