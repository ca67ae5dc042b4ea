"""``distok baseline``: what it prints, what it leaves on disk, and what it says of mistakes."""

import json

import pytest

from distok.baselines import BASELINES
from distok.errors import DistokError
from tests import edge
from tests.tiny import NAMES


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """``distok``, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return edge.CommandLine(capsys, monkeypatch)


class TestCommandLine:
    def test_a_method_of_a_backend_without_a_model(self, command, pipeline_folder, labeler_folder, tmp_path):
        (tmp_path / "names.txt").write_text("\n".join(NAMES))
        words = ["baseline", "bass", "cat=0.5, dog=0.5", "--backend", pipeline_folder, "--labeler", labeler_folder]
        words += ["--concepts", "names.txt", "-n", 2, "--seed", 3, "--set", "pool=3", "--out", "made", "--json"]
        status, out, err = command(*words)
        assert status == 0, err
        record = json.loads(out)
        assert record["method"] == "bass"
        assert record["settings"]["pool"] == 3
        assert record["seeds"] == [3, 4]
        assert [(tmp_path / path).is_file() for path in record["pictures"]] == [True, True]
        assert set(record["measured"]) == set(NAMES)
        assert record["kl"] > 0
        assert record["seconds"]["per_concept"] == pytest.approx(record["seconds"]["concept"] + record["seconds"]["pictures"] / 2)
        assert json.loads((tmp_path / "made" / "baseline.json").read_text()) == record
        assert command(*words)[0] == 0, "the same again may write over itself"
        status, _, err = command(*words, "--set", "pool=4")
        assert (status, "choose another --out, or add --force" in err) == (2, True)

    def test_a_concept_that_a_method_made_can_be_used_elsewhere(self, command, pipeline_folder, tmp_path):
        from distok.concept import Concept

        words = ["baseline", "mean-of-tokens", "cat, dog", "--backend", pipeline_folder, "-n", 1, "--out", "made"]
        status, out, err = command(*words)
        assert status == 0, err
        assert "not measured: this backend has no labeler" in out
        assert Concept.load(tmp_path / "made" / "concept.safetensors").provenance["method"] == "mean-of-tokens"

    def test_words_that_are_not_known_are_refused_unless_allowed(self, command, pipeline_folder, labeler_folder, tmp_path):
        (tmp_path / "names.txt").write_text("\n".join(NAMES))
        words = ["baseline", "concept-lab", "pet=1", "--backend", pipeline_folder, "--labeler", labeler_folder, "-n", 1]
        words += ["--concepts", "names.txt", "--set", "steps_of_training=3", "--set", "query_prompt=a photo of a {}", "--json"]
        status, _, err = command(*words)
        assert (status, "unknown class 'pet'" in err) == (2, True)
        status, out, err = command(*words, "--any-words")
        assert status == 0, err
        (negative,) = json.loads(out)["details"]["negatives"]
        assert negative in NAMES

    def test_a_reading_among_the_mix_alone_says_so(self, command, pipeline_folder, labeler_folder, tmp_path):
        (tmp_path / "names.txt").write_text("\n".join(NAMES))
        words = ["baseline", "dominant", "cat, dog", "--backend", pipeline_folder, "--labeler", labeler_folder, "-n", 1]
        for more, closed in (([], True), (["--concepts", "names.txt"], False)):
            status, out, err = command(*words, *more, "--out", f"made-{closed}")
            assert status == 0, err
            assert ("a choice among the classes of the mix alone; give all that are known with --concepts" in out) == closed

    def test_other_known_classes_are_another_folder(self, command, pipeline_folder, tmp_path):
        words = [
            "baseline",
            "cretok",
            "cat, dog",
            "--backend",
            pipeline_folder,
            "-n",
            1,
            "--set",
            "steps_of_training=1",
            "--json",
        ]
        folders = []
        for known in (NAMES, NAMES, NAMES[:3]):
            (tmp_path / "names.txt").write_text("\n".join(known))
            status, out, err = command(*words, "--concepts", "names.txt")
            assert status == 0, err
            folders.append(json.loads(out)["sheet"])
        assert folders[0] == folders[1] != folders[2]

    def test_pictures_that_cannot_be_read_are_kept(self, command, pipeline_folder, labeler_folder, tmp_path, monkeypatch):
        def broken(*_):
            raise DistokError("the labeler sees nothing")

        monkeypatch.setattr("distok.labelers.clip.ClipLabeler.probabilities", broken)
        words = ["baseline", "dominant", "cat=1", "--backend", pipeline_folder, "--labeler", labeler_folder]
        status, out, err = command(*words, "-n", 1, "--out", "made")
        assert (status, out) == (2, "")
        assert "the labeler sees nothing; the pictures are in made, not measured" in err
        assert (tmp_path / "made" / "dominant-0.png").is_file()
        assert json.loads((tmp_path / "made" / "baseline.json").read_text())["measured"] is None

    def test_any_words_spell_known_classes_as_they_are_known(self, command, pipeline_folder, labeler_folder, tmp_path):
        (tmp_path / "names.txt").write_text("\n".join(NAMES))
        words = ["baseline", "dominant", "Cat=0.6, red=0.4", "--any-words", "--backend", pipeline_folder, "--json"]
        status, out, err = command(*words, "--labeler", labeler_folder, "--concepts", "names.txt", "-n", 1)
        assert status == 0, err
        assert set(json.loads(out)["measured"]) == {*NAMES, "red"}

    def test_the_largest_seed_is_one(self, command, pipeline_folder):
        words = ["baseline", "dominant", "cat=1", "--backend", pipeline_folder, "-n", 1, "--json"]
        status, out, err = command(*words, "--seed", 2**63 - 1)
        assert (status, json.loads(out)["seeds"]) == (0, [2**63 - 1]), err
        assert "use a whole number from 0 to 2^63 - 1" in command(*words, "--seed", 2**63)[2]

    def test_without_a_name_the_methods_are_listed(self, command):
        status, out, _ = command("baseline", "--json")
        rows = json.loads(out)
        assert (status, list(rows)) == (0, list(BASELINES))
        assert rows["magic-mix"]["families"] == ["StableDiffusionPipeline"]
        assert "concept-lab" in command("baseline")[1]

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["bas", "cat"], "there is no baseline 'bas'; did you mean 'bass'?"),
            (["bass"], "say what bass shall make"),
            (["bass", "cat, dog", "--set", "pool"], "--set 'pool' has no value; write NAME=VALUE"),
            (["bass", "cat, dog", "--set", "pool=many"], "pool is 'many'"),
            (["diff-morpher", "cat, dog", "--set", "adain=off"], "adain is 'off', but it must be true or false"),
            (["concept-lab", "cat, dog", "--set", "templates=[1]"], "templates is (1,), but it must be prompts with one {}"),
            (["bass", "cat, dog", "--seed", "-1"], "the seed is -1"),
            (["bass", "cat, dog", "-n", "0"], "cannot make 0 pictures"),
            (["bass", "cat=0"], "all weights are zero"),
        ],
    )
    def test_mistakes_are_one_line(self, command, words, text):
        status, out, err = command("baseline", *words)
        assert (status, out) == (2, "")
        assert text in err
        assert err.count("\n") == 1
