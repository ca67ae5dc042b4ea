import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import distok
from tests import edge, tiny

MIX = "pig=0.55, sheep=0.25, snake=0.2"
SCRIPT = Path(sys.executable).with_name("distok")


@pytest.fixture
def world(backend, pipeline_folder, labeler_folder, tmp_path_factory, monkeypatch):
    """A tiny world in the place of the shipped one."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(pipeline_folder, home / "pipeline")
    shutil.copytree(labeler_folder, home / "labeler")
    names = (*tiny.NAMES, "tiger", "penguin", "owl", "fox", "frog")
    edge.save_model(home / "distok.safetensors", backend, names)
    (home / "names.txt").write_text("\n".join(names))
    tiny.evaluator().save(home / "evaluator.safetensors")
    monkeypatch.setattr("distok.menagerie.home", lambda: home)
    return home


def script(*words: object, **options) -> subprocess.CompletedProcess:
    assert SCRIPT.is_file(), "the package is not installed: pip install -e '.[dev]'"
    return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=250, **options)


def pixels(path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened, dtype=np.int16)


def test_create_refines_a_mix_and_keeps_how(distok_command, parts, tmp_path):
    status, out, _ = distok_command("create", MIX, "-n", 1, "--refine", 2, "--steps", 1, "--json", *parts)
    assert status == 0
    record = json.loads(out)
    assert record["asked"] == pytest.approx({"pig": 0.55, "sheep": 0.25, "snake": 0.2})
    concept = distok.Concept.load(tmp_path / record["concept"])
    assert concept.provenance["refined"] == "2 rounds of 8 previews, seed 0"
    assert set(distok.Distribution.parse(concept.provenance["given"]).names) == {"pig", "sheep", "snake"}
    assert distok_command("create", MIX, "-n", 1, "--steps", 1, "--json", *parts)[0] == 0, "without it, another folder"


def test_a_refinement_that_cannot_be_is_refused_before_a_folder_is_made(distok_command, parts, tmp_path):
    for words, text in (
        ((MIX, "--refine", 1, *parts), "--refine 1 corrects nothing: its one round gives the weights that were asked"),
        ((MIX, "--refine", 2, *parts[:4]), "--refine reads pictures as it goes, and this backend has no labeler"),
        (("--concept", "x", "--refine", 2, *parts), "--refine corrects the weights of a mix"),
    ):
        status, _, err = distok_command("create", *words)
        assert (status, text in err) == (2, True), err
    assert not (tmp_path / "creations").exists()


def test_the_installed_command_creates_pictures(parts, tmp_path):
    done = script("create", MIX, "-n", 2, "--json", *parts, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["asked"] == pytest.approx({"pig": 0.55, "sheep": 0.25, "snake": 0.2})
    assert sum(record["measured"].values()) == pytest.approx(1)
    assert record["kl"] == pytest.approx(
        distok.kl(distok.Distribution.from_mapping(record["asked"]), distok.Distribution.from_mapping(record["measured"]))
    )
    assert (record["seed"], record["seeds"], record["prompt"]) == (0, [0, 1], "a photo of a {}")
    folder = tmp_path / Path(record["concept"]).parent
    assert {path.name for path in folder.iterdir()} == {
        "pig55-sheep25-snake20-0.png", "pig55-sheep25-snake20-1.png", "concept.safetensors", "sheet.png", "made.json",
        "creation.json",
    }  # fmt: skip


def test_help_comes_at_once_and_names_every_command():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = script("--help", env={**os.environ, "COLUMNS": "100"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, which a busy machine does not stretch much; about 0.2 s, and 2 s and more once torch is imported.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert done.returncode == 0
    expected = "create explore read train export import score judge study backends world evaluate baseline demo doctor"
    for name in expected.split():
        assert f" {name} " in done.stdout


def test_version_and_no_command(distok_command):
    assert distok_command("--version") == (0, f"distok {distok.__version__}\n", "")
    status, out, _ = distok_command()
    assert status == 0
    assert "Usage" in out


def test_a_person_sees_asked_and_measured_side_by_side(distok_command, parts):
    status, out, _ = distok_command("create", MIX, "-n", 1, *parts)
    assert status == 0
    header, pig = out.splitlines()[1:3]
    assert header.split() == ["class", "asked", "measured"]
    assert pig.split()[0] == "pig"
    assert "55.0%" in pig
    assert "KL(asked ‖ measured)" in out
    assert "1 picture, sheet.png and concept.safetensors in creations/pig55-sheep25-snake20-0-" in out


def test_library_and_command_line_give_the_same_result(distok_command, parts, tmp_path):
    _, out, _ = distok_command("create", MIX, "-n", 2, "--seed", 3, "--prompt", "a red {}", "--steps", 3, "--json", *parts)
    record = json.loads(out)
    creator = distok.open(*parts[1::2])
    creation = creator.create(MIX, "a red {}", n=2, seed=3, steps=3)
    assert (creation.kl, creation.measured.as_dict()) == (record["kl"], record["measured"])
    for path, picture in zip(record["pictures"], creation.pictures, strict=True):
        assert np.array_equal(pixels(path), np.asarray(picture))
    assert distok.Concept.load(record["concept"]).hash == creation.concept.hash


def test_a_concept_is_used_again(distok_command, parts):
    _, out, _ = distok_command("create", MIX, "-n", 1, "--json", *parts)
    first = json.loads(out)
    _, out, _ = distok_command("create", "--concept", first["concept"], "--prompt", "a red {}", "-n", 1, "--json", *parts)
    second = json.loads(out)
    assert second["asked"] == first["asked"]
    assert second["z"] == first["z"]
    assert second["concept"] != first["concept"]
    assert np.abs(pixels(first["pictures"][0]) - pixels(second["pictures"][0])).max() > 0


def test_a_picture_is_made_again_from_itself(distok_command, parts):
    _, out, _ = distok_command("create", MIX, "-n", 3, "--prompt", "a red {}", "--steps", 3, "--json", *parts)
    picture = json.loads(out)["pictures"][2]
    _, out, _ = distok_command("create", "--from-picture", picture, "-n", 1, "--out", "again", "--json", *parts)
    again = json.loads(out)
    assert (again["seed"], again["steps"], again["prompt"]) == (2, 3, "a red {}")
    assert np.abs(pixels(again["pictures"][0]) - pixels(picture)).max() <= 1


def test_a_picture_of_another_models_concept_says_so(distok_command, parts, backend, tmp_path):
    other = edge.save_model(tmp_path / "other" / "distok.safetensors", backend, tiny.NAMES[:4])
    theirs = [*parts[:3], other, *parts[4:]]
    _, out, _ = distok_command("create", "cat, dog", "-n", 1, "--json", *theirs)
    _, out, _ = distok_command("create", "--concept", json.loads(out)["concept"], "-n", 1, "--json", *parts)
    picture = json.loads(out)["pictures"][0]
    status, _, err = distok_command("create", "--from-picture", picture, *parts)
    assert (status, "the picture was made with model" in err) == (2, True), "not another creature under its name"
    assert distok_command("create", "--from-picture", picture, "-n", 1, "--out", "again", *theirs)[0] == 0


def test_the_line_to_use_it_again_opens_the_same(distok_command, parts):
    for words in (("create", MIX, "-n", 1), ("explore", "-n", 1)):
        _, out, _ = distok_command(*words, *parts)
        line = next(shlex.split(line.partition(": ")[2]) for line in out.splitlines() if "distok create --concept" in line)
        assert line[line.index("--backend") :] == [str(part) for part in parts]
        assert distok_command(*line[1:], "-n", 1)[0] == 0


def test_the_line_to_use_a_model_opens_it_as_it_was_trained(distok_command, parts):
    Path("names.txt").write_text("\n".join(tiny.NAMES))
    words = ["train", *parts[:2], "--concepts", "names.txt", "--steps", 2, "--set", "estimate_count=0", "--dtype", "bfloat16"]
    line = ""
    for command in ([*words, "--out", "run"], ["explore", "-n", 1, *parts[:2], "--model", "run", "--dtype", "bfloat16"]):
        status, out, _ = distok_command(*command)
        line = next(line.partition(": ")[2] for line in out.splitlines() if "distok create" in line)
        assert (status, "--dtype bfloat16" in line, "--device" in line, "--offload" in line) == (0, True, False, False)
        assert distok_command(*shlex.split(line)[1:], "-n", 1)[0] == 0


def test_explore_saves_a_concept_and_a_line_for_each_picture(distok_command, parts):
    status, out, _ = distok_command("explore", "-n", 3, "--prior", "cauchy", "--seed", 2, "--json", *parts)
    record = json.loads(out)
    assert status == 0
    lines = [json.loads(line) for line in Path(record["lines"]).read_text().splitlines()]
    assert [line["picture"] for line in lines] == record["pictures"]
    for line in lines:
        assert sum(line["measured"].values()) == pytest.approx(1)
        concept = distok.Concept.load(line["concept"])
        assert (concept.distribution, list(concept.z)) == (None, line["z"])
        assert distok.read_recipe(line["picture"]).concept_hash == concept.hash
    status, out, _ = distok_command("create", "--concept", lines[0]["concept"], "-n", 1, "--json", *parts)
    assert (json.loads(out)["asked"], json.loads(out)["kl"]) == (None, None)


def test_explore_shows_what_was_found(distok_command, parts):
    status, out, _ = distok_command("explore", "-n", 2, *parts)
    assert status == 0
    assert "normal-0-000" in out
    assert "2 creatures on sheet.png" in out
    assert "asked" not in out
    status, out, _ = distok_command("explore", "-n", 2, "--prior", "mixture", *parts)
    assert (status, "asked" in out) == (0, True)
    _, out, _ = distok_command("explore", "-n", 2, "--prior", "mixture", "--json", *parts)
    record = json.loads(out)
    concepts = [distok.Concept.load(path) for path in record["concepts"]]
    assert [concept.distribution.as_dict() for concept in concepts] == record["asked"]


def test_read_gives_a_mix_to_paste(distok_command, parts):
    _, out, _ = distok_command("create", MIX, "-n", 1, "--json", *parts)
    picture = json.loads(out)["pictures"][0]
    status, out, _ = distok_command("read", picture, *parts[2:], "--json")
    read = json.loads(out)
    assert status == 0
    assert set(distok.Distribution.parse(read["mix"], tiny.NAMES).names) <= set(tiny.NAMES)
    _, out, _ = distok_command("read", picture, *parts[2:])
    assert read["mix"] in out.splitlines(), "which backend goes with the model is not known, so no command"
    assert "asked" in out  # it is one of ours


def test_export_tells_how_to_use_the_file(distok_command, parts):
    _, out, _ = distok_command("create", MIX, "-n", 1, "--json", *parts)
    concept = json.loads(out)["concept"]
    status, out, _ = distok_command("export", concept)
    assert status == 0
    assert "pipe.load_textual_inversion(" in out
    assert "<pig55-sheep25-snake20>" in out
    assert distok_command("export", concept, "--format", "a1111", "--out", "chimera.safetensors")[0] == 0
    status, _, err = distok_command("export", concept, "--out", concept)
    assert (status, "is the concept itself; choose another file with --out" in err) == (2, True)


def test_train_then_create(distok_command, parts, tmp_path, monkeypatch):
    Path("names.txt").write_text("\n".join(tiny.NAMES))
    words = ["train", *parts[:2], *parts[4:], "--concepts", "names.txt", "--steps", 4, "--set", "hidden_dim=16"]
    words += ["--set", "estimate_every=2", "--out", "my run"]
    status, out, err = distok_command(*words)
    assert status == 0
    assert "--model 'my run/distok.safetensors'" in out
    told = re.findall(r"training: (\d) of 4, \d+ s left", err)
    assert told == ["2", "3", "4"], "in a log file a long training says how far it is"
    assert "pictures will be drawn" not in err
    assert "L_fsg" not in err
    model = Path("my run/distok.safetensors").read_bytes()
    monkeypatch.setattr("distok.cli.train.MANY", 1)
    status, _, err = distok_command(*words)  # again: nothing left to do
    assert (status, "2 pictures will be drawn, hours of a CPU; give --device cuda" in err) == (0, True)
    assert Path("my run/distok.safetensors").read_bytes() == model
    assert distok_command("create", "cat, lion", "-n", 1, *parts[:2], "--model", "my run")[0] == 0
    late = ["--set", "delta=0.5", "--set", "foresight_after=4", "--out", "late"]
    status, _, err = distok_command(*words[:-2], *late)
    assert (status, "L_fsg begins at step 4, after the last; give more steps, or --set foresight_after=N" in err) == (0, True)


def test_train_collects_readings_first_and_only_once(distok_command, parts):
    from distok.training import Bank

    Path("names.txt").write_text("\n".join(tiny.NAMES))
    words = ["train", *parts[:2], *parts[4:], "--concepts", "names.txt", "--steps", 3, "--set", "hidden_dim=16"]
    words += ["--set", "estimate_count=0", "--set", "estimate_steps=1", "--set", "estimate_size=8", "--set", "estimate_every=2"]
    words += ["--set", "adaptive_prompt=a red {}", "--set", "delta=0.3", "--seed", 3, "--collect", 4, "--out", "run"]
    assert distok_command(*words)[0] == 0
    collected = Bank.load("run/bank.safetensors")
    assert (len(collected), collected.record["size"], collected.record["prompt"]) == (4, 8, "a red {}")
    assert collected.record["seed"] == 3
    settings = json.loads(distok.model.DisTok.load("run/distok.safetensors").provenance["settings"])
    assert settings["bank_count"] == 2, "all of them, over the two times that 3 steps read"
    made = Path("run/bank.safetensors").stat().st_mtime_ns
    assert distok_command(*words)[0] == 0
    assert Path("run/bank.safetensors").stat().st_mtime_ns == made
    Path("run/bank.safetensors").unlink()
    status, _, err = distok_command(*words)
    assert (status, "run holds a run that had no bank to read from; collect into another --out" in err) == (2, True)
    assert not Path("run/bank.safetensors").exists(), "pictures were drawn for a run that cannot take them"
    Path("a file").write_text("mine")
    status, _, err = distok_command(*words[:-1], "a file")
    assert (status, "cannot write to a file" in err) == (2, True)
    status, _, err = distok_command("train", *parts[:2], "--concepts", "names.txt", "--collect", 4, "--out", "other")
    assert (status, "needs a labeler; give one with --labeler" in err) == (2, True)
    status, _, err = distok_command(*words[: words.index("--collect")], "--collect-from", "run", "--out", "other")
    assert (status, "say with --collect how many" in err) == (2, True)


def test_readings_are_of_tokens_that_the_text_encoder_takes(distok_command, parts):
    model = distok.model.DisTok(distok.model.DisTokSettings(8, latent_dim=2, hidden_dim=4))
    model.fit_tokens(torch.eye(8))
    model.save("narrow/distok.safetensors", {})
    Path("names.txt").write_text("\n".join(tiny.NAMES))
    words = [
        "train",
        *parts[:2],
        *parts[4:],
        "--concepts",
        "names.txt",
        "--collect",
        4,
        "--collect-from",
        "narrow",
        "--out",
        "run",
    ]
    status, _, err = distok_command(*words)
    assert (status, f"narrow makes tokens of width 8, this text encoder's have {tiny.WIDTH}" in err) == (2, True)


def test_names_with_brackets_are_no_markup(distok_command, parts):
    status, out, _ = distok_command("create", "pig[red]x[/red]", "--any-words", "-n", 1, "--out", "a[b]", *parts)
    assert status == 0
    assert "pig[red]x[/red]" in out
    assert "a[b]" in out


def test_the_artist_draws_a_mix_the_same_each_time(distok_command):
    words = [
        "world",
        "draw",
        "pig=0.5, cow=0.5",
        "-n",
        2,
        "--seed",
        4,
        "--style",
        "watercolor",
        "--scene",
        "beach",
        "--out",
        "art",
    ]
    status, out, _ = distok_command(*words)
    assert (status, len(out.split())) == (0, 2)
    for path, seed in zip(out.split(), (4, 5), strict=True):
        assert re.fullmatch(rf"art/pig50-cow50-watercolor-beach-[0-9a-f]{{4}}-{seed}\.png", path)
    first = [pixels(path) for path in out.split()]
    assert np.abs(first[0] - first[1]).max() > 0
    distok_command(*words)
    assert np.array_equal(pixels(out.split()[0]), first[0])


def test_report_tables_are_shown_as_they_are(capsys):
    from distok.cli import output
    from distok.evaluation.report import Table

    output.show_tables([Table("A [b] title", ("figure", "value"), (("KL [x]", "0.3"),), "a note")])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [["A", "[b]", "title"], ["figure", "value"], ["KL", "[x]", "0.3"], ["a", "note"]]


def test_with_no_options_the_shipped_world_is_used(distok_command, world):
    status, out, _ = distok_command("create", "tiger, frog", "-n", 1, "--json")
    record = json.loads(out)
    assert (status, record["backend"]) == (0, "menagerie")
    status, out, _ = distok_command("read", record["pictures"][0])
    assert status == 0
    assert distok_command(*shlex.split(out.splitlines()[-1])[1:], "-n", 1)[0] == 0
    Path("other.txt").write_text("dragon\nunicorn\n")
    _, out, _ = distok_command("read", record["pictures"][0], "--concepts", "other.txt")
    assert "distok create" not in out
    assert distok_command("explore", "-n", 1)[0] == 0
    status, out, _ = distok_command("train", "--preset", "paper", "--steps", 2, "--set", "estimate_count=0", "--out", "run")
    assert (status, "use it: distok create 'cat=0.6, dog=0.4' --model run/distok.safetensors\n" in out) == (0, True)
    assert distok_command(*shlex.split(out.split("use it: distok ")[1]), "-n", 1)[0] == 0


def test_demo_lays_everything_on_one_page(distok_command, world, tmp_path):
    status, out, _ = distok_command("demo", "--out", "out/demo")
    sheet = tmp_path / "out" / "demo" / "sheet.png"
    assert status == 0
    assert str(sheet) in out.replace("\n", "")
    with Image.open(sheet) as page:
        assert page.size[1] > 1.5 * page.size[0]  # six rows of three
    assert len(list((tmp_path / "out" / "demo").glob("*/*.png"))) == 3 * (3 + 1) + 9 + 1
    assert distok_command("demo", "--out", "out/demo", "--seed", 1)[0] == 0, "its own folder"


def test_a_demo_keeps_what_it_has_drawn_where_it_cannot_be_read(distok_command, world, monkeypatch):
    def fails(*_):
        raise distok.DistokError("the answer is no list")

    monkeypatch.setattr("distok.api.Creator.measure", fails)
    status, _, err = distok_command("demo")
    folder = Path("out/demo/pig55-sheep25-snake20")
    assert (status, err) == (2, f"distok: the answer is no list; the pictures are in {folder}, not measured\n")
    assert len(list(folder.glob("*.png"))) == 3 + 1


def test_doctor_finds_all_well(distok_command, world):
    status, out, _ = distok_command("doctor")
    assert (status, "all is well" in out) == (0, True)
    status, out, _ = distok_command("doctor", "--json")
    record = json.loads(out)
    assert (status, record["problems"], record["distok"]) == (0, [], distok.__version__)
    assert record["packages"]["torch"]
    assert record["devices"][0].startswith("cpu")


def test_doctor_says_what_is_missing_and_how_to_get_it(distok_command, world):
    shutil.rmtree(world / "labeler")
    (world / "distok.safetensors").unlink()
    status, out, _ = distok_command("doctor")
    assert status == 1
    assert "the Menagerie lacks its labeler, model: reinstall distok, or build it with 'distok world train'" in out


def test_output_survives_a_terminal_without_our_signs():
    done = script("doctor", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("?")  # a tick or a cross
