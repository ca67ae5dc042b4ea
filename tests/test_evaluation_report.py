"""Reports: where figures come from, when they are made again, the page over them, and what moved between two."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from distok import evaluation
from distok.backends import open_backend
from distok.errors import DistokError
from distok.evaluation.comparison import compare_reports
from distok.evaluation.origin import Origin
from distok.evaluation.report import Result, Table, chart
from tests.edge import CommandLine, stamps

pytest_plugins = ("tests.evaluation_parts",)


class TestOrigin:
    def test_a_second_run_changes_nothing(self, tmp_path, pipeline_folder, model_file, labeler_folder, monkeypatch):
        from distok.evaluation import origin

        monkeypatch.setattr(origin, "commit", lambda: "abc")
        setup = evaluation.Setup(pipeline_folder, model_file, labeler_folder)
        job = evaluation.Job(tmp_path, setup, seeds=1, cases=2, methods=("dominant",))
        first = evaluation.run("fidelity", job, "distok evaluate fidelity")
        before = stamps(tmp_path)
        again = evaluation.run("fidelity", job, "typed otherwise")
        assert again == first
        assert stamps(tmp_path) == before
        (tmp_path / "report.html").unlink()
        evaluation.run("fidelity", job)
        assert stamps(tmp_path).keys() == before.keys(), "the page is back"
        stored = json.loads((tmp_path / "fidelity.json").read_text())["origin"]
        assert (stored["command"], stored["commit"], stored["asked"]["seeds"]) == ("distok evaluate fidelity", "abc", 1)
        assert stored["versions"]["torch"] == torch.__version__
        assert "Made by: distok evaluate fidelity; commit abc; seeds 1, cases 2;" in (tmp_path / "report.html").read_text()
        monkeypatch.setattr(origin, "commit", lambda: "def")
        evaluation.run("fidelity", job)
        assert stamps(tmp_path) != before, "other code is run again"

    @pytest.mark.parametrize(
        ("asked", "own", "more", "told", "refused"),
        [
            ("guidance_scale", "guidance_scale", 20, "guidance", {-1.0: "guidance"}),
            ("denoising_steps", "steps", 2, "denoising steps", {0: "steps is 0", 5000: "was trained with 1000"}),
        ],
    )
    def test_another_way_of_drawing_makes_other_pictures(
        self, asked, own, more, told, refused, tmp_path, pipeline_folder, model_file, labeler_folder
    ):
        setup = evaluation.Setup(pipeline_folder, model_file, labeler_folder)
        job = evaluation.Job(tmp_path, setup, seeds=1, cases=2, methods=("dominant",))
        default = getattr(open_backend(pipeline_folder).defaults, own)
        readings = {}
        for value in (None, default, default + more):
            out = tmp_path / str(value)
            evaluation.run("fidelity", replace(job, out=out, setup=replace(setup, **{asked: value})))
            readings[value] = (out / "fidelity.csv").read_text()
        assert readings[default] == readings[None]
        assert readings[default + more] != readings[None]
        (table, *_) = compare_reports(tmp_path / str(default), tmp_path / str(default + more))
        assert table.note.endswith(f"What was asked for differs in {told}.")
        for value, said in refused.items():
            with pytest.raises(DistokError, match=said):
                evaluation.run("fidelity", replace(job, out=tmp_path / "x", setup=replace(setup, **{asked: value})))

    def test_changed_files_and_broken_reports_are_never_taken_over(self, tmp_path, monkeypatch):
        from distok.evaluation import origin

        for commit, held in (("abc", True), ("abc+", False)):
            monkeypatch.setattr(origin, "commit", lambda commit=commit: commit)
            made = Origin.of("x", {"seeds": 1})
            Result("x", {}, (Table("t", ("a",), (("b",),)),)).save(tmp_path, made)
            assert (made.held(tmp_path) is not None) == held
        monkeypatch.setattr(origin, "commit", lambda: "abc")
        (tmp_path / "x.json").write_text('{"origin": ')
        assert Origin.of("x", {"seeds": 1}).held(tmp_path) is None

    def test_a_report_that_lacks_a_file_is_made_again(self, tmp_path, monkeypatch):
        from distok.evaluation import origin

        monkeypatch.setattr(origin, "commit", lambda: "abc")
        made, table = Origin.of("x", {"seeds": 1}), Table("t", ("a",), (("b",),))
        result = Result("x", {}, (table,), [{"case": 1}], {"x.png": b"a picture"})
        for lost in ("x.csv", "x.md", "x.html", "x.png", "x.json"):
            result.save(tmp_path, made)
            assert made.held(tmp_path) == result.tables
            (tmp_path / lost).unlink()
            assert made.held(tmp_path) is None, lost
        result.save(tmp_path, made)
        replace(result, records=()).save(tmp_path, made)
        assert not (tmp_path / "x.csv").exists(), "of another run"

    def test_a_report_killed_while_it_is_written_over_is_no_longer_the_one_before(self, tmp_path, monkeypatch):
        from distok.evaluation import origin, report

        monkeypatch.setattr(origin, "commit", lambda: "abc")
        ten, twenty = (Origin.of("x", {"seeds": seeds}) for seeds in (10, 20))
        result = Result("x", {}, (Table("t", ("a",), (("b",),)),), [{"case": 1}])
        result.save(tmp_path, ten)
        monkeypatch.setattr(report, "write_index", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            result.save(tmp_path, twenty)
        assert ten.held(tmp_path) is None, "its page is that of twenty"

    @pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
    def test_the_commit_is_that_of_this_checkout(self, tmp_path, monkeypatch):
        from distok.evaluation import origin

        package = tmp_path / "src" / "distok"
        (package / "evaluation").mkdir(parents=True)
        monkeypatch.setattr(origin, "__file__", str(package / "evaluation" / "origin.py"))
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a hook that runs these tests sets them
            monkeypatch.delenv(name, raising=False)

        def git(*words):
            who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
            return subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True).stdout

        git("init")
        (tmp_path / "README.md").write_text("somebody else's")
        git("add", "README.md")
        git("commit", "-m", "1")
        (package / "errors.py").write_text("1")
        assert origin.commit() == "", "a copy inside somebody else's repository"
        git("add", "src")
        git("commit", "-m", "2")
        made = git("rev-parse", "HEAD")[:10]
        (tmp_path / "README.md").write_text("changed, but no code")
        assert origin.commit() == made
        (package / "errors.py").write_text("2")
        assert origin.commit() == made + "+"
        git("commit", "-am", "3")
        (package / "new.py").write_text("3")
        assert origin.commit() == git("rev-parse", "HEAD")[:10] + "+" != made + "+"


ASKED = {"seeds": 10, "guidance_scale": None, "hashes": {"pipeline": "a", "readers": ["b", "c"], "model": "d"}}


class TestComparison:
    @staticmethod
    def report(folder, values, seeds=(0,), hit=1.0, asked="pig=0.5, owl=0.5", origin=None):
        rows = [
            {"variant": "full", "training seed": seed, "method": "DisTok", "reader": "evaluator", "case": case, "asked": asked}
            | {"kl": value + seed, "js": 0.1, "top1": hit, "topk": float(case % 2)}
            for seed in seeds
            for case, value in values.items()
        ]
        Result("fidelity", {}, (), rows).save(folder, origin or Origin.of("fidelity", ASKED))
        return folder

    def test_what_moved_is_paired_by_case(self, tmp_path):
        first = self.report(tmp_path / "a", {case: 1.0 + case for case in range(8)})
        second = self.report(tmp_path / "b", {case: 0.5 + case for case in range(1, 9)})
        (table,) = compare_reports(first, second)
        rows = {row[2]: row for row in table.rows}
        assert rows["KL (asked ‖ measured)"][3:] == ("5.000", "4.500", "-0.500 [-0.500, -0.500]", "better")
        assert rows["JS"][-1] == "the same"

    def test_more_is_better_for_hits(self, tmp_path):
        first = self.report(tmp_path / "a", dict.fromkeys(range(6), 1.0))
        second = self.report(tmp_path / "b", dict.fromkeys(range(6), 2.0), hit=0.0)
        rows = {row[2]: row[-1] for row in compare_reports(first, second)[0].rows}
        assert rows["KL (asked ‖ measured)"] == "worse"
        assert rows["top-1 hit"] == "worse"
        assert rows["top-k hit"] == "the same"

    def test_what_differs_by_rounding_alone_is_the_same(self, tmp_path):
        first = self.report(tmp_path / "a", {case: 1.0 + case for case in range(8)})
        second = self.report(tmp_path / "b", {case: 1.0 + case - 1e-5 for case in range(8)})
        third = self.report(tmp_path / "c", {case: 1.0 + case - 1e-3 for case in range(8)})
        fourth = self.report(tmp_path / "d", {case: 1.5 + case - case % 2 for case in range(8)})
        verdicts = [{row[2]: row[-2:] for row in compare_reports(first, each)[0].rows} for each in (second, third, fourth)]
        assert verdicts[0]["KL (asked ‖ measured)"] == ("0.000 [0.000, 0.000]", "the same")
        assert verdicts[1]["KL (asked ‖ measured)"] == ("-0.001 [-0.001, -0.001]", "better")
        assert verdicts[2]["KL (asked ‖ measured)"][1] == "no difference shown"

    def test_other_numbers_of_pictures_or_other_readers_get_no_verdict(self, tmp_path):
        apart = {
            "same": {},
            "other numbers of pictures": {"seeds": 2},
            "other readers": {"hashes": ASKED["hashes"] | {"readers": ["b", "x"]}},
            "guidance": {"guidance_scale": 9.0, "hashes": ASKED["hashes"] | {"model": "y"}},
            "denoising steps": {"denoising_steps": 6},
            "readers unknown": {"hashes": {}},
        }
        folders = {}
        for i, (name, change) in enumerate(apart.items()):
            folders[name] = self.report(tmp_path / name, dict.fromkeys(range(8), 1.0 + i), origin=Origin.of("x", ASKED | change))
        for name in ("other numbers of pictures", "other readers"):
            (table,) = compare_reports(folders["same"], folders[name])
            assert {row[-1] for row in table.rows} == {name}
            assert table.note.endswith(f"What was asked for differs in {name.removeprefix('other ')}.")
        (table,) = compare_reports(folders["same"], folders["guidance"])
        assert table.rows[0][-1] == "worse", "another model is what is compared"
        assert table.note.endswith("What was asked for differs in guidance.")
        (table,) = compare_reports(folders["same"], folders["denoising steps"])
        assert table.note.endswith("What was asked for differs in denoising steps."), "a report of before did not say them"
        (table,) = compare_reports(folders["readers unknown"], folders["guidance"])
        assert {row[-1] for row in table.rows} == {"readers unknown"}
        (folders["guidance"] / "fidelity.json").unlink()
        (table,) = compare_reports(folders["same"], folders["guidance"])
        assert {row[-1] for row in table.rows} == {"numbers of pictures unknown"}, "a run killed as it wrote"

    def test_five_cases_get_no_verdict_however_clear_they_look(self, tmp_path):
        first, second = (self.report(tmp_path / name, dict.fromkeys(range(5), kl)) for name, kl in (("a", 1.0), ("b", 2.0)))
        assert {row[-1] for row in compare_reports(first, second)[0].rows} == {"fewer than 6 cases"}

    def test_another_mix_under_the_same_number_is_another_case(self, tmp_path):
        first = self.report(tmp_path / "a", dict.fromkeys(range(8), 1.0))
        second = self.report(tmp_path / "b", dict.fromkeys(range(8), 1.0), asked="pig=0.5, fox=0.5")
        with pytest.raises(DistokError, match="have no suite, method and case in common"):
            compare_reports(first, second)

    def test_training_seeds_of_a_case_count_once(self, tmp_path):
        first, second = self.report(tmp_path / "a", {0: 1.0, 1: 1.0}, seeds=(0, 2)), self.report(tmp_path / "b", {0: 1.0, 1: 1.0})
        assert compare_reports(first, second)[0].rows[0][3:6] == ("2.000", "1.000", "-1.000 [-1.000, -1.000]")

    def test_mistakes_get_one_line(self, tmp_path, capsys, monkeypatch):
        first = self.report(tmp_path / "a", {case: 1.0 + case for case in range(7)})
        other = self.report(tmp_path / "b", {8: 1.0, 9: 2.0})
        with pytest.raises(DistokError, match="have no suite, method and case in common"):
            compare_reports(first, other)
        with pytest.raises(DistokError, match="nowhere holds no report with cases"):
            compare_reports(first, tmp_path / "nowhere")
        (other / "fidelity.csv").write_text("a,b\n1,2\n")
        with pytest.raises(DistokError, match="is not a table of this version"):
            compare_reports(first, other)
        call = CommandLine(capsys, monkeypatch)
        status, out, _ = call("evaluate", "--compare", first, first)
        assert (status, "the same" in out, "no difference shown" in out) == (0, True, False)
        status, _, err = call("evaluate", "--out", tmp_path / "c")
        assert (status, "say what to measure" in err) == (2, True)
        for words in (["fidelity"], ["--out", tmp_path / "c"], ["--seeds", 10], ["--backend", "x"], ["--cases", 4]):
            status, _, err = call("evaluate", "--compare", first, first, *words)
            idle = "suite" if words[0] == "fidelity" else words[0]
            assert (status, f"--compare measures nothing and writes nothing; leave out {idle}" in err) == (2, True)


class TestPages:
    def test_words_of_a_table_are_text_and_no_markup(self):
        text = Table("a < b", ("R&D", "x"), (("<script>", '"1"'),), "1 > 0 & <b>").html()
        assert "<h3>a &lt; b</h3>" in text
        assert "<th>R&amp;D</th><th>x</th>" in text
        assert "<td>&lt;script&gt;</td><td>&quot;1&quot;</td>" in text
        assert "<p>1 &gt; 0 &amp; &lt;b&gt;</p>" in text

    def test_columns_of_figures_are_set_flush_right(self):
        rows = (("DisTok", "0.5 [0.4, 0.6]", "3 things", "–", "why"), ("BASS", "-1.000", "no thing", "100.0%", ""))
        table = Table("t", ("method", "KL", "what", "share", "reason"), rows)
        assert "| --- | ---: | --- | ---: | --- |" in table.markdown()
        right = '<td class="n">'
        assert f"<tr><td>BASS</td>{right}-1.000</td><td>no thing</td>{right}100.0%</td><td></td></tr>" in table.html()

    def test_the_page_holds_every_suite_that_is_there_in_the_order_of_suites(self, tmp_path):
        for suite in ("sweep", "fidelity", "sweep"):
            page = Result(suite, {}, (Table(f"table of {suite}", ("a",), (("b",),)),)).save(tmp_path)
        text = page.read_text()
        parts = ['<a href="#fidelity">', '<a href="#sweep">', '<h2 id="fidelity">', "table of fidelity", '<h2 id="sweep">']
        places = [text.index(part) for part in [*parts, "table of sweep"]]
        assert places == sorted(places)
        assert (text.count("<h2"), text.count("<a ")) == (2, 2)

    def test_a_plot_without_matplotlib_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(DistokError, match=r"plots need matplotlib; install it with: pip install "):
            chart(lambda axes: pytest.fail("drawn"), 1, "a title")
