"""``distok score`` and the table behind it."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from distok.concept import write_picture
from distok.concept.picture import Recipe
from distok.errors import DistokError
from distok.scorers import Missing, sets
from distok.scorers.table import METRICS, Tools, score
from tests import edge, tiny, tiny_scorers
from tests.tiny_scorers import pictures

MIX = "cat=0.5, dog=0.5"
RECIPE = Recipe(
    prompt="a photo of a {}", seed=0, steps=2, guidance_scale=3.0, size=16, concept="cat50dog50", concept_hash="0",
    distribution={"cat": 0.5, "dog": 0.5}, z=None, names_hash="", backend="", backend_hash="", model_hash="", version="",
)  # fmt: skip


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return tiny_scorers.save_clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture
def tools(labeler_folder, clip_folder):
    return Tools(labeler=labeler_folder, names=tiny.NAMES, features=clip_folder, reference=pictures()[:2])


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "art"
    folder.mkdir()
    for i, picture in enumerate(pictures()):
        picture.save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def distok_command(capsys, monkeypatch, tmp_path, labeler_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("\n".join(tiny.NAMES))
    return edge.CommandLine(capsys, monkeypatch)


@pytest.fixture
def options(labeler_folder, clip_folder):
    return ["--labeler", labeler_folder, "--concepts", "names.txt", "--features", clip_folder]


class TestTable:
    def test_every_kind_of_measure_at_once(self, tools, clip_folder):
        wanted = {"clipscore": clip_folder, "kl": None, "unnamed": None, "unseen": None, "vendi": None, "frechet": None}
        found = score(pictures(), wanted, "a photo of a cat", MIX, tools)
        assert list(found.each) == ["clipscore", "kl", "unnamed", "unseen"]
        assert all(len(values) == 4 for values in found.each.values())
        assert found.each["kl"] == tools.open("kl")(pictures(), MIX).tolist()
        assert 1 <= found.whole["vendi"] <= 4
        assert found.whole["frechet"] > 0
        assert found.missing == []
        assert set(found.hashes) == set(found.each)
        assert [found.scales[name].higher_is_better for name in ("clipscore", "kl", "frechet")] == [True, False, False]

    def test_missing_measures_keep_their_place_and_leave_the_others_alone(self, tools, tmp_path):
        found = score(pictures(), {"pickscore": tmp_path / "none", "kl": None, "lpips": None}, "a cat", MIX, tools)
        assert isinstance(found.each["pickscore"], Missing)
        assert isinstance(found.whole["lpips"], Missing)
        assert len(found.each["kl"]) == 4
        assert [lost.name for lost in found.missing] == ["pickscore", "lpips"]

    def test_a_damaged_extractor_is_missing_and_not_zero(self, labeler_folder, tmp_path):
        tools = Tools(labeler=labeler_folder, names=tiny.NAMES, features=tmp_path / "gone")
        found = score(pictures(), {"vendi": None, "unnamed": None}, tools=tools)
        assert str(found.whole["vendi"]).startswith("missing: ")
        assert len(found.each["unnamed"]) == 4

    def test_mistakes_of_the_call_are_errors(self, tools, clip_folder):
        with pytest.raises(DistokError, match="no metric was named; choose among vqascore, clipscore"):
            score(pictures(), {}, tools=tools)
        with pytest.raises(DistokError, match="unknown metric 'fid'; choose among"):
            score(pictures(), {"fid": None}, tools=tools)
        with pytest.raises(DistokError, match="CLIPScore compares a picture with a prompt"):
            score(pictures(), {"clipscore": clip_folder}, tools=tools)
        with pytest.raises(DistokError, match="kid compares with pictures of known classes"):
            score(pictures(), {"kid": None}, tools=Tools())
        for metric, instead in (
            ("kl", "--labeler"),
            ("unnamed", "--labeler"),
            ("vendi", "--features"),
            ("part-novelty", "evaluator"),
        ):
            with pytest.raises(DistokError, match=f"{metric} has no weights of its own, and was given here; .*{instead}"):
                score(pictures(), {metric: "here"}, tools=tools)
        assert len(set(METRICS)) == len(METRICS)


@pytest.fixture
def damaged(tmp_path):
    """A CLIP folder of whose weights some are no numbers."""
    from safetensors.torch import load_file, save_file

    folder = tiny_scorers.save_clip(tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"][:] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


class TestNotFinite:
    def test_what_is_no_number_is_missing_and_leaves_the_others_alone(self, tools, damaged):
        found = score(pictures(), {"clipscore": damaged, "kl": None, "unnamed": None}, "a cat", MIX, tools)
        assert str(found.each["clipscore"]) == (
            "missing: a CLIP feature is not finite; use dtype float32, or copy the weights again"
        )
        assert [len(found.each[name]) for name in ("kl", "unnamed")] == [4, 4]
        assert "clipscore" not in found.hashes

    def test_a_whole_set_of_it_too(self, labeler_folder, damaged):
        tools = Tools(labeler=labeler_folder, names=tiny.NAMES, features=damaged, reference=pictures()[:2])
        found = score(pictures(), {"unseen": None, "kl": None, **dict.fromkeys(sets.SCALES)}, None, MIX, tools)
        assert {lost.name for lost in found.missing} == {"unseen", *sets.SCALES}
        assert len(found.each["kl"]) == 4

    def test_the_json_holds_no_nan(self, distok_command, files, options, damaged):
        words = ["-m", f"clipscore={damaged}", "-m", "kl", "--prompt", "a cat", "--mix", MIX, "--json", *options]
        status, out, err = distok_command("score", files, *words)
        assert status == 0, err
        assert "is not finite" in json.loads(out)["missing"]["clipscore"]


class TestCommand:
    def test_a_table_for_a_person(self, distok_command, files, options, clip_folder):
        metrics = ["-m", f"clipscore={clip_folder}", "-m", "KL", "-m", "vendi", "-m", "hpsv2=nowhere"]
        status, out, err = distok_command("score", files, *metrics, "--prompt", "a cat", "--mix", MIX, *options)
        assert (status, err) == (0, "")
        assert "clipscore ↑" in out
        assert "kl ↓" in out
        assert [line.split()[0] for line in out.splitlines() if ".png" in line] == ["0.png", "1.png", "2.png", "3.png"]
        assert "mean" in out
        assert "vendi ↑ of 4 pictures: " in out
        assert "hpsv2: missing: the weights of hpsv2 are not at nowhere; get xswu/HPSv2 with 'hf download xswu/HPSv2'" in out

    def test_one_json_object_for_a_program(self, distok_command, files, options):
        metrics = ["-m", "js", "-m", "unnamed", "-m", "duplicates", "-m", "pickscore=nowhere"]
        prompts = ["--mix", MIX, "--prompt", "a cat"]
        status, out, _ = distok_command("score", files / "0.png", files / "2.png", *metrics, *prompts, "--json", *options)
        record = json.loads(out)
        assert status == 0
        assert [row["picture"] for row in record["pictures"]] == [str(files / "0.png"), str(files / "2.png")]
        assert record["mean"]["js"] == pytest.approx(sum(row["js"] for row in record["pictures"]) / 2)
        assert "pickscore" in record["missing"]
        assert "pickscore" not in record["mean"]
        assert record["set"].keys() == {"duplicates"}
        assert record["higher_is_better"] == {"js": False, "unnamed": True, "duplicates": False}

    def test_a_class_of_any_words_is_read_among_the_known_ones(self, distok_command, tmp_path, options, labeler_folder):
        write_picture(tmp_path / "own.png", pictures()[0], replace(RECIPE, distribution={"kitty": 0.5, "pig": 0.5}))
        status, out, err = distok_command("score", "own.png", "-m", "kl", "--json", "--labeler", labeler_folder)
        assert (status, err) == (0, "")
        assert json.loads(out)["mean"]["kl"] >= 0
        status, _, err = distok_command("score", "own.png", "-m", "kl", *options)
        assert (status, "unknown class 'kitty'" in err) == (2, True), "a list of a person's own is what it is"
        write_picture(tmp_path / "own.png", pictures()[0], replace(RECIPE, distribution={"Abyssinian": 0.5, "Bengal": 0.5}))
        status, _, err = distok_command("score", "own.png", "-m", "kl", "--labeler", labeler_folder)
        assert (status, "unknown class 'Abyssinian'" in err) == (2, True), "a picture of another model"

    def test_prompt_and_mix_come_from_the_pictures_own_recipe(self, distok_command, tmp_path, options, clip_folder):
        write_picture(tmp_path / "own.png", pictures()[0], RECIPE)
        metrics = ["-m", f"clipscore={clip_folder}", "-m", "kl", "--json", *options]
        _, own, _ = distok_command("score", "own.png", *metrics)
        _, told, _ = distok_command("score", "own.png", *metrics, "--prompt", "a photo of a cat dog", "--mix", MIX)
        assert json.loads(own) == json.loads(told)
        asked = {"cat": 0.5, "lion": 0.0, "dog": 0.5}
        write_picture(tmp_path / "own.png", pictures()[0], replace(RECIPE, distribution=asked))
        assert json.loads(distok_command("score", "own.png", *metrics[:2], "--json")[1])["mean"] == {
            "clipscore": json.loads(told)["mean"]["clipscore"]
        }, "a class of no weight is no word"

    def test_an_explored_picture_has_no_words_to_compare_with(self, distok_command, tmp_path, options, clip_folder):
        write_picture(tmp_path / "own.png", pictures()[0], replace(RECIPE, concept="normal-0-003", distribution=None))
        status, out, err = distok_command("score", "own.png", "-m", f"clipscore={clip_folder}", *options)
        assert (status, out) == (2, "")
        assert "own.png is of an explored concept and holds no words to compare with; give one with --prompt" in err
        assert distok_command("score", "own.png", "-m", f"clipscore={clip_folder}", "--prompt", "a cat", *options)[0] == 0

    def test_errors_are_one_line(self, distok_command, files, options, tmp_path):
        (tmp_path / "empty").mkdir()
        for words, text in (
            ([files, "-m", "kl", *options], "0.png holds no mix that was asked for; give one with --mix"),
            ([files, "-m", "pickscore"], "0.png holds no recipe to take a prompt from; give one with --prompt"),
            ([files, "-m", "fid"], "unknown metric 'fid'; choose among vqascore,"),
            ([files], "no metric was named; choose among vqascore,"),
            ([files, "-m", "pickscore=nowhere", "-p", "a cat"], "nothing could be measured; pickscore: the weights of"),
            (["empty", "-m", "vendi"], "empty holds no picture; give a folder of PNG or JPEG files"),
            ([files, "-m", "kl", "--mix", "catt=1", *options], "unknown class 'catt'; did you mean 'cat'?"),
            ([files, "-m", "clipscore=a", "-m", "clipscore=b"], "--metric clipscore is given twice"),
            ([files, "-m", "kid"], "kid compares with pictures of known classes; give them as the reference (--reference)"),
            ([files, "-m", "kl", "--mix", MIX, "--dtype", "int8", *options], "dtype is 'int8'; choose one of float32"),
            ([files, "-m", "kl", "--mix", MIX, "--device", "tpux", *options], "unknown device 'tpux'"),
        ):
            status, out, err = distok_command("score", *words)
            assert (status, out, err.count("\n")) == (2, "", 1), err
            assert text in err

    def test_a_reference_folder_and_pictures_of_other_sizes(self, distok_command, files, options, tmp_path):
        known = tmp_path / "known"
        known.mkdir()
        for i, picture in enumerate(pictures()[:3]):
            picture.resize((40, 30)).save(known / f"{i}.jpg")
        Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(files / "clear.png")
        metrics = ["-m", "frechet", "-m", "kid", "-m", "unseen", "--reference", known, "--json"]
        status, out, _ = distok_command("score", files, *metrics, *options)
        record = json.loads(out)
        assert (status, len(record["pictures"])) == (0, 5)
        assert record["set"].keys() == {"frechet", "kid"}
