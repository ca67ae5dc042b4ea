"""The suites of the paper's report, on real classes at tiny size: items on disk, figures by hand, what a second run changes."""

import copy
import csv
import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from distok.distribution import Distribution
from distok.errors import DistokError, UnavailableError
from distok.evaluation.cases import ARTIST, DISTOK, Case
from distok.evaluation.contest import Contest, Item, run_all, show
from distok.evaluation.exploration import exploration
from distok.evaluation.latent_map import latent_map
from distok.evaluation.methods import methods, said, set_measures
from distok.evaluation.refinement import refinement
from distok.evaluation.sensitivity import sensitivity
from distok.evaluation.series import fused, series
from distok.evaluation.surprise import surprise
from tests.edge import stamps
from tests.tiny import NAMES

pytest_plugins = ("tests.evaluation_parts",)
OPTIONS = {"steps": 1}


@pytest.fixture
def contest(bench, tmp_path):
    return Contest(bench, tmp_path, options=OPTIONS)


def pair(index=0):
    return Case(index, "pair", Distribution(NAMES[:2], (0.5, 0.5)))


class TestItems:
    def test_a_contest_that_was_stopped_goes_on_with_what_is_missing(self, contest, tmp_path):
        first = contest.run("distok", [pair()], 2, "x")[0]
        before = stamps(tmp_path)
        more = contest.run("distok", [pair(), pair(1)], 3, "x")
        after = stamps(tmp_path)
        pictures = {path for path in before if path.suffix == ".png"}
        assert len(pictures) == 2
        assert all(after[path] == before[path] for path in pictures), "what is there is not made again"
        assert more[0].seeds == (0, 1, 2)
        assert more[1].seeds == (100, 101, 102)
        for who in ("labeler", "evaluator"):
            assert np.allclose(more[0].readings[who][:2], first.readings[who], atol=1e-6)
            assert more[0].readings[who].shape == (3, len(NAMES))
        whole = Contest(contest.bench, tmp_path / "fresh", options=OPTIONS).run("distok", [pair()], 3, "x")[0]
        assert np.allclose(whole.readings["evaluator"], more[0].readings["evaluator"], atol=1e-4), "in whatever parts it was made"
        assert np.array_equal(whole.looks["owners"], more[0].looks["owners"])

    def test_a_damaged_item_is_made_again(self, contest, tmp_path):
        found = contest.run("distok", [pair()], 1, "x")[0]
        (path,) = tmp_path.rglob("*.safetensors")
        path.write_bytes(path.read_bytes()[:50])
        again = contest.run("distok", [pair()], 1, "x")[0]
        assert np.array_equal(found.readings["labeler"], again.readings["labeler"])

    def test_other_settings_are_other_items(self, bench, contest, tmp_path):
        contest.run("distok", [pair()], 1, "x")
        Contest(bench, tmp_path, options={"steps": 2}).run("distok", [pair()], 1, "x")
        assert len(list(tmp_path.rglob("*.safetensors"))) == 2

    def test_another_model_is_another_item_only_for_methods_that_use_it(self, bench, contest, tmp_path):
        for name in ("distok", "dominant"):
            contest.run(name, [pair()], 1, "x")
        before = stamps(tmp_path)
        other = copy.deepcopy(bench.model)
        with torch.no_grad():
            other.decoder[2].bias.add_(1)
        again = Contest(replace(bench, model=other), tmp_path, options=OPTIONS)
        for name in ("distok", "dominant"):
            again.run(name, [pair()], 1, "x")
        fresh = {path.parts[1] for path in stamps(tmp_path).keys() - before.keys()}
        assert fresh == {"distok"}
        assert all(stamps(tmp_path)[path] == stamp for path, stamp in before.items())

    def test_changed_code_of_a_method_makes_what_wraps_it_new_too(self, contest, tmp_path, monkeypatch):
        from distok.baselines import baseline_class

        contest.run("names-best", [pair()], 1, "x")
        monkeypatch.setattr(baseline_class("names-by-weight"), "revision", 2)
        contest.run("names-best", [pair()], 1, "x")
        assert len(list(tmp_path.rglob("*.safetensors"))) == 2

    def test_a_reading_outlives_its_picture(self, contest):
        item = contest.run("distok", [pair()], 1, "x")[0]
        assert show(item).size == (16, 16)
        item.paths[0].unlink()
        again = contest.run("distok", [pair()], 1, "x")[0]
        assert show(again) is None
        assert np.array_equal(again.readings["labeler"], item.readings["labeler"])

    def test_who_cannot_take_part_is_named_and_never_counted(self, contest):
        found, absent = run_all(contest, ("dominant", "prior-interpolation"), [pair()], 1, "x")
        assert set(found) == {"dominant class alone", ARTIST}
        assert [each.title for each in absent] == ["prior interpolation"]
        assert "does not run on a StableDiffusionPipeline" in absent[0].reason
        with pytest.raises(DistokError, match=r"no method could take part: prior interpolation: .*does not run"):
            run_all(contest, ("prior-interpolation",), [pair()], 1, "x")


class TestSuites:
    def test_methods_gives_every_number_and_says_what_is_missing(self, bench, tmp_path):
        result = methods(bench, tmp_path, seeds=2, cases=2, chosen=("dominant", "prior-interpolation"))
        result.save(tmp_path)
        stored = json.loads((tmp_path / "methods.json").read_text())
        assert set(stored["sets"]) == {DISTOK, "dominant class alone", ARTIST}
        assert not {"frechet", "kid"} & set(stored["sets"][ARTIST]), "the artist's pictures against the very same"
        assert all({"frechet", "kid"} <= set(row) for title, row in stored["sets"].items() if title != ARTIST)
        assert 1 <= stored["sets"][DISTOK]["vendi"]["mean"] <= 4
        assert set(stored["absent"]) == {"prior interpolation"}
        assert "get yuvalkirstain/PickScore_v1 with" in stored["scorers"]["pickscore"]
        text = (tmp_path / "methods.md").read_text()
        assert "| pickscore | missing: the weights of pickscore are not here" in text
        assert "Could not take part" in text
        with (tmp_path / "methods.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 3 * 2 * 2  # methods, readers, cases

    def test_set_measures_count_zones_and_shares(self, bench):
        from distok.menagerie import species

        names = species.NAMES
        asked = Distribution((names[0], names[1]), (0.5, 0.5))
        zones = len(species.ZONES)
        half = np.array([[0] * (zones // 2) + [1] * (zones - zones // 2), [0] * zones])
        shares = np.zeros((2, len(names)))
        shares[0, :2] = 0.5
        shares[1, 0] = 1
        looks = {"features": np.eye(2), "owners": half, "creature": np.array([0.9, 0.1])}
        found = set_measures(bench, [Item(Case(0, "pair", asked), (0, 1), {"evaluator": shares}, looks, ())], None)
        assert (found["creature"].mean, found["novel"].mean, found["duplicates"].mean) == (0.5, 0.5, 0)
        assert found["vendi"].mean == pytest.approx(2)
        assert found["part faithfulness"].mean == pytest.approx((1 + 0.5) / 2)
        assert found["part novelty"].mean == pytest.approx(0.25)
        assert "frechet" not in found

    def test_scorers_are_asked_in_words(self):
        mixed = Item(Case(0, "x", Distribution(("pig", "owl"), (0.2, 0.8))), (0,), {}, {}, ())
        assert said(mixed) == "a photo of a creature that is a mix of owl and pig"
        assert said(Item(Case(0, "x", Distribution(("pig",), (1.0,))), (0,), {}, {}, ())) == "a photo of a pig"

    def test_sensitivity_repeats_the_comparison_under_each_setting(self, bench, tmp_path):
        result = sensitivity(bench, tmp_path, seeds=1, cases=2, chosen=("dominant",))
        found = result.figures["by setting"]
        own = bench.backend.defaults
        assert len(found) == 5
        assert f"guidance {own.guidance_scale / 2:g}" in found
        row = found[f"{own.steps * 2} steps"]["labeler"]["dominant class alone"]
        distok = found[f"{own.steps * 2} steps"]["labeler"][DISTOK]
        assert row["DisTok minus it, kl"].mean == pytest.approx(distok["kl"].mean - row["kl"].mean)
        assert len({round(each["labeler"][DISTOK]["kl"].mean, 9) for each in found.values()}) > 1, "the settings act"

    def test_a_refinement_is_priced_by_its_renders(self, bench, labeler, tmp_path, monkeypatch):
        from distok.baselines import baseline
        from distok.baselines.prompt_weighting import PromptWeighting

        result = refinement(bench, tmp_path, seeds=2, cases=3, marks=(1, 2, 4))
        assert len(result.records) == 2 * 2 * 3 * 3, "methods, readers, cases, marks"
        table = next(table for table in result.tables if table.title.endswith("labeler"))
        shown = [row[:3] for row in table.rows]
        for name, title in (("distok-refined", DISTOK), ("weighting-refined", "prompt weighting")):
            rows = [record for record in result.records if (record["reader"], record["method"]) == ("labeler", title)]
            by = {(record["case"], record["rounds"]): record for record in rows}
            moved = 0
            for case in bench.spread(3):
                assert by[case.index, 1]["given"] == str(case.asked), "one round gives what was asked"
                found = baseline(name, rounds=4).make(
                    bench.backend, labeler, case.asked, case.seeds(1), names=bench.names, model=bench.model
                )
                assert by[case.index, 4]["given"] == found.details["given"], "the search is the one that the method makes"
                moved += by[case.index, 4]["given"] != str(case.asked)
            assert moved, "or nothing was searched"
            assert [row for row in shown if row[0] == title] == [(title, "1", "0"), (title, "2", "16"), (title, "4", "32")]
            for rounds, row in result.figures["by reader"]["labeler"][title].items():
                mean = np.mean([by[case.index, rounds]["kl"] for case in bench.spread(3)])
                start = np.mean([by[case.index, 1]["kl"] for case in bench.spread(3)])
                assert row["kl gained"].mean == pytest.approx(mean - start)
        before = stamps(tmp_path)
        refinement(bench, tmp_path, seeds=2, cases=3, marks=(1, 2, 4))
        assert stamps(tmp_path) == before, "what was searched is not searched again"
        one = refinement(bench, tmp_path, seeds=1, cases=2, chosen=("weighting-refined",), marks=(1,))

        def refused(*_):
            raise UnavailableError("names with brackets")

        monkeypatch.setattr(PromptWeighting, "prepare", refused)
        both = refinement(bench, tmp_path / "other", seeds=1, cases=2, marks=(1,))
        assert {record["method"] for record in one.records} == {"prompt weighting"}
        assert {record["method"] for record in both.records} == {DISTOK}, "one that cannot take part stops no other"
        assert both.tables[-1].rows == (("prompt weighting, refined", "names with brackets"),)
        with pytest.raises(DistokError, match="sentence refines nothing; choose distok-refined or weighting-refined"):
            refinement(bench, tmp_path, seeds=1, cases=2, chosen=("sentence",))
        with pytest.raises(DistokError, match="a refinement reads pictures as it goes; give a labeler"):
            refinement(replace(bench, rulers=replace(bench.rulers, labeler=None)), tmp_path)

    def test_the_series_shows_one_run_at_three_moments(self, bench, tmp_path, monkeypatch):
        from distok.evaluation import series as module
        from tests.tiny import run_settings

        monkeypatch.setattr(module, "settings_of", lambda *_: run_settings())
        figures = series(bench, tmp_path, seeds=1, chains=2, marks=(2, 3, 6)).figures
        assert len(figures) == 3 * 3
        assert figures["6/4"]["seen"].mean <= 4
        kept = [path.read_bytes() for path in sorted(tmp_path.glob("at-*.safetensors"))]
        assert len(set(kept)) == 3, "training moved between them"
        before = stamps(tmp_path)
        series(bench, tmp_path, seeds=1, chains=2, marks=(2, 3, 6))
        assert stamps(tmp_path) == before, "what is trained is not trained again"

    def test_a_series_killed_between_a_checkpoint_and_its_model_goes_on(self, bench, tmp_path, monkeypatch):
        from distok.evaluation import series as module
        from distok.training import Trainer
        from tests.tiny import run_settings

        monkeypatch.setattr(module, "settings_of", lambda *_: run_settings(save_every=3))
        whole = series(bench, tmp_path / "whole", seeds=1, chains=2, marks=(3, 6)).figures
        save = Trainer.save

        def killed(trainer, out):
            save(trainer, out)
            raise KeyboardInterrupt

        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(Trainer, "save", killed)
                with pytest.raises(KeyboardInterrupt):
                    series(bench, tmp_path / "cut", seeds=1, chains=2, marks=(3, 6))
        assert series(bench, tmp_path / "cut", seeds=1, chains=2, marks=(3, 6)).figures == whole

    def test_a_model_that_learned_from_a_bank_has_a_series_too(self, bench, tmp_path, monkeypatch):
        from distok.evaluation import series as module
        from tests.tiny import run_settings

        monkeypatch.setattr(module, "settings_of", lambda *_: run_settings(estimate_count=0, bank_count=4, delta=0.5))
        assert len(series(bench, tmp_path, seeds=1, chains=2, marks=(2,)).figures) == 3

    def test_a_series_of_too_few_classes_is_refused_before_it_trains(self, bench, tmp_path):
        few = replace(bench, rulers=replace(bench.rulers, names=NAMES[:3]))
        with pytest.raises(UnavailableError, match="chains of 4 classes are fused, and this model knows 3"):
            series(few, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_what_needs_the_evaluator_says_so_before_it_draws(self, bench, tmp_path, monkeypatch):
        blind = replace(bench, rulers=replace(bench.rulers, evaluator=None))
        monkeypatch.setattr(type(bench.darkroom), "develop", lambda *_: pytest.fail("drawn in vain"))
        for suite in (lambda: exploration(blind), lambda: surprise(blind, tmp_path)):
            with pytest.raises(UnavailableError, match="needs the independent evaluator; give its file with --evaluator"):
                suite()

    def test_scores_are_kept_method_by_method(self, bench, tmp_path, monkeypatch):
        from distok.evaluation import methods as module
        from distok.scorers import Scale, Scorer

        class Lightness(Scorer):
            name, scale, hash, seen, device = "clipscore", Scale(0, 1), "0123", 0, ""

            def _score(self, pictures, prompts):
                type(self).seen += len(pictures)
                return torch.tensor([np.asarray(each).mean() / 255 for each in pictures])

        def opened(wanted, settings):
            Lightness.device = settings.device
            return {kind: Lightness() for kind in wanted}

        monkeypatch.setattr(module, "open_scorers", opened)
        one = {"seeds": 1, "chosen": ("dominant",), "scorers": {"clipscore": None}, "device": "somewhere"}
        first = methods(bench, tmp_path, cases=2, **one).figures["scorers"]["clipscore"]
        assert (Lightness.seen, Lightness.device) == (3 * 2, "somewhere"), "two methods and the artist on two cases"
        assert methods(bench, tmp_path, cases=2, **one).figures["scorers"]["clipscore"] == first
        assert Lightness.seen == 6, "nothing is scored twice"
        methods(bench, tmp_path, cases=3, **one)
        assert Lightness.seen == 6 + 3, "of the middle case alone"

    def test_a_chain_is_fused_one_class_at_a_time(self, bench):
        a, b, c = (bench.name_token(name)[None] for name in NAMES[:3])
        with torch.no_grad():
            wanted = bench.model(bench.model.pair(bench.model(bench.model.pair(a, b)), c))[0]
        assert torch.allclose(fused(bench, bench.model, NAMES[:3]), wanted, atol=1e-6)

    def test_the_map_holds_every_kind_of_latent(self, bench):
        pytest.importorskip("matplotlib")
        result = latent_map(bench)
        assert {"classes", "pair", "weighted", "normal", "laplace", "cauchy"} <= set(result.figures)
        assert 0 < result.figures["explained by two axes"] <= 1
        assert result.images["map.png"].startswith(b"\x89PNG")


class TestKills:
    def test_a_suite_killed_at_any_point_loses_no_finished_item(self, tmp_path, pipeline_folder, model_file, labeler_folder):
        parts = {"--backend": pipeline_folder, "--model": model_file, "--labeler": labeler_folder, "--methods": "dominant"}
        words = ["evaluate", "fidelity", "--seeds", 2, "--cases", 8, *(word for pair in parts.items() for word in pair)]

        def start(out):
            command = [sys.executable, "-m", "distok", *map(str, words), "--out", str(out)]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def items(out):
            return {path: path.read_bytes() for path in out.rglob("*.safetensors")}

        killed, whole, finished = tmp_path / "killed", tmp_path / "whole", {}
        for wanted in (1, 5):
            run = start(killed)
            deadline = time.monotonic() + 120
            while len(items(killed)) < wanted and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            run.kill()
            run.wait()
            found = items(killed)
            assert len(found) >= wanted
            assert all(found[path] == data for path, data in finished.items()), "a finished item was touched"
            finished = found
        for out in (killed, whole):
            run = start(out)
            assert run.communicate(timeout=200)[1].count("Traceback") == 0
            assert run.returncode == 0
        assert all(items(killed)[path] == data for path, data in finished.items())
        assert {path.name: data for path, data in items(killed).items()} == {
            path.name: data for path, data in items(whole).items()
        }
        assert (killed / "fidelity.csv").read_text() == (whole / "fidelity.csv").read_text()
