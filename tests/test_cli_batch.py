"""``distok batch``: what it makes, what it finds made, and what becomes of a line that fails."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import distok
from distok.errors import DistokError

LIST = 'mix,prompt,n,seed\n"pig=0.75, sheep=0.25",,2,\ncat,a red {},,7\n'


@pytest.fixture
def listed():
    Path("mixes.csv").write_text(LIST)
    return "mixes.csv"


def read(name="creations/batch-mixes"):
    with Path(f"{name}.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    return table, [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]


def pictures(folder):
    return {path.name: np.asarray(Image.open(path)) for path in Path(folder).glob("*.png")}


def test_each_mix_is_made_as_create_makes_it(distok_command, parts, listed):
    status, out, err = distok_command("batch", listed, "-n", 1, "--steps", 2, *parts)
    assert status == 0
    assert "2 mixes; KL(asked ‖ measured)" in out
    assert err.splitlines()[-1] == "mixes: 2 of 2, 0 s left"
    table, lines = read()
    assert [(row["mix"], row["prompt"], row["n"], row["seed"], row["error"]) for row in table] == [
        ("pig=0.75, sheep=0.25", "a photo of a {}", "2", "0", ""),
        ("cat=1.00", "a red {}", "1", "7", ""),
    ]
    assert [float(row["kl"]) for row in table] == [line["kl"] for line in lines]
    words = (["pig=0.75, sheep=0.25", "-n", 2], ["cat", "-n", 1, "--prompt", "a red {}", "--seed", 7])
    for line, mix in zip(lines, words, strict=True):
        before = pictures(line["folder"])
        status, out, _ = distok_command("create", *mix, "--steps", 2, "--json", *parts)
        record = json.loads(out)
        assert (status, Path(record["concept"]).parent) == (0, Path(line["folder"])), "in the very same folder"
        assert record["measured"] == line["measured"]
        assert all(np.array_equal(before[name], each) for name, each in pictures(line["folder"]).items())
    assert Image.open("creations/batch-mixes.png").width > 500, "two pictures beside each other"


def test_run_again_it_makes_what_is_missing(distok_command, parts, listed, monkeypatch):
    assert distok_command("batch", listed, "-n", 1, "--json", *parts)[0] == 0
    first, second = (Path(line["folder"]) for line in read()[1])
    before, made = (first / "creation.json").stat().st_mtime_ns, []
    next(path for path in second.glob("*.png") if path.name != "sheet.png").unlink()
    create = distok.api.Creator.create
    monkeypatch.setattr("distok.api.Creator.create", lambda self, *a, **k: made.append(a[0].name) or create(self, *a, **k))
    told = json.loads(distok_command("batch", listed, "-n", 1, "--json", *parts)[1])
    assert ({key: told[key] for key in ("mixes", "kept", "failed")}, made) == ({"mixes": 2, "kept": 1, "failed": 0}, ["cat100"])
    assert (first / "creation.json").stat().st_mtime_ns == before
    assert [each["kept"] for each in told["creations"]] == [True, False]
    more = json.loads(distok_command("batch", listed, "-n", 3, "--json", *parts)[1])
    assert (more["kept"], [len(each["pictures"]) for each in more["creations"]]) == (1, [2, 3]), "more pictures are asked for"
    record = json.loads((first / "creation.json").read_text())
    picture = first / Path(record["pictures"][0]).name
    for damaged, content in (
        (first / "creation.json", b"{"),
        (first / "creation.json", json.dumps({key: record[key] for key in record if key != "kl"}).encode()),
        (first / "creation.json", json.dumps(record | {"measured": ["cat"]}).encode()),
        (picture, picture.read_bytes()[:200]),
        (first / "concept.safetensors", b""),
    ):
        damaged.write_bytes(content)
        again = json.loads(distok_command("batch", listed, "-n", 3, "--json", *parts)[1])
        assert (again["kept"], again["failed"]) == (1, 0), f"{damaged.name} is damaged, and made again"
    assert json.loads((first / "creation.json").read_text()) == record
    unread = json.loads(distok_command("batch", listed, "-n", 3, "--json", *parts[:4])[1])
    assert (unread["kept"], [each["kl"] for each in unread["creations"]]) == (0, [None, None]), "without a reader, others"
    assert json.loads(distok_command("batch", listed, "-n", 3, "--json", *parts[:4])[1])["kept"] == 2


def test_what_cannot_be_made_says_why_and_the_others_go_on(distok_command, parts, listed, monkeypatch):
    measure = distok.api.Creator.measure

    def fails(self, creation):
        if creation.concept.name == "cat100":
            return measure(self, creation)
        raise DistokError("the answer is no list")

    monkeypatch.setattr("distok.api.Creator.measure", fails)
    status, out, err = distok_command("batch", listed, "-n", 1, *parts)
    assert status == 2
    assert "1 mix; KL(asked" in out
    folder = next(path for path in Path("creations").iterdir() if path.name.startswith("pig"))
    why = f"the answer is no list; the pictures are in {folder}, not measured"
    assert err.splitlines()[-1] == f"distok: 1 of 2 mixes could not be made, the first because: {why}"
    table, _ = read()
    assert [(row["mix"], row["error"]) for row in table] == [("pig=0.75, sheep=0.25", why), ("cat=1.00", "")]
    assert len(pictures(folder)) == 3, "two pictures and their sheet"
    monkeypatch.setattr("distok.api.Creator.measure", measure)
    told = json.loads(distok_command("batch", listed, "-n", 1, "--json", *parts)[1])
    assert (told["kept"], told["failed"]) == (1, 0), "pictures that nobody has read are not finished"


def test_a_stop_leaves_the_tables_of_what_is_made(distok_command, parts, listed, monkeypatch):
    create = distok.api.Creator.create

    def stops(self, concept, *given, **told):
        if concept.name == "cat100":
            raise KeyboardInterrupt
        return create(self, concept, *given, **told)

    monkeypatch.setattr("distok.api.Creator.create", stops)
    status, _, err = distok_command("batch", listed, "-n", 1, *parts)
    assert (status, err.splitlines()[-1]) == (130, "distok: stopped; run the same command again to go on")
    assert [row["mix"] for row in read()[0]] == ["pig=0.75, sheep=0.25"]
    assert [path.name[:3] for path in Path("creations").iterdir() if path.is_dir()] == ["pig"]


def test_options_reach_the_drawing(distok_command, parts):
    Path("one.txt").write_text("cat, dog\n")
    words = ("--guidance-scale", 2.5, "--negative-prompt", "red", "--size", 16, "--seed", 3, "--out", "x")
    told = json.loads(distok_command("batch", "one.txt", "-n", 1, *words, "--best-of", 2, "--refine", 2, "--json", *parts)[1])
    (made,) = told["creations"]
    recipe = distok.read_recipe(made["pictures"][0])
    assert (recipe.guidance_scale, recipe.negative_prompt, recipe.size) == (2.5, "red", 16)
    assert recipe.seed in (3, 1003), "the better of two"
    assert (made["seed"], read("x/batch-one")[0][0]["seed"]) == (3, "3"), "what was asked for"
    account = json.loads(Path(made["folder"], "made.json").read_text())
    assert (account["best_of"], account["refine"], account["seed"]) == (2, 2, 3)
    assert told["table"] == "x/batch-one.csv"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--refine", 1), "distok: --refine 1 corrects nothing"),
        (("--steps", 0), "distok: steps is 0"),
        (("--best-of", 0), "distok: cannot choose the best of 0 pictures"),
        (("-n", 0), "distok: cannot make 0 pictures in one go"),
        (("--prompt", "a cat"), "distok: the prompt 'a cat' has no {}; write {} where the concept goes"),
    ],
)
def test_a_mistake_is_found_before_anything_is_made(distok_command, parts, words, told):
    Path("one.txt").write_text("cat, dog\n")
    status, _, err = distok_command("batch", "one.txt", *words, *parts)
    assert (status, told in err, Path("creations").exists()) == (2, True, False), err
    assert len(err.splitlines()) == 1


def test_prompts_of_one_mix_have_folders_of_their_own(distok_command, parts, monkeypatch):
    """Also where the first digits of two of them are the same, by which folders are told apart elsewhere."""
    from distok import concept

    digest = concept.digest
    monkeypatch.setattr(concept, "digest", lambda *parts: "0000" + digest(*parts)[4:])
    Path("two.csv").write_text("mix,prompt\ncat,a red {}\ncat,a {}\n")
    told = json.loads(distok_command("batch", "two.csv", "-n", 1, "--json", *parts)[1])
    assert (told["failed"], len({made["folder"] for made in told["creations"]})) == (0, 2)


def test_what_is_there_is_found_from_elsewhere(distok_command, parts, monkeypatch):
    Path("a").mkdir()
    Path("a/one.txt").write_text("cat\n")
    monkeypatch.chdir("a")
    assert distok_command("batch", "one.txt", "-n", 1, "-o", "x", *parts)[0] == 0
    monkeypatch.chdir("..")
    told = json.loads(distok_command("batch", "a/one.txt", "-n", 1, "-o", "a/x", "--json", *parts)[1])
    (made,) = told["creations"]
    assert told["kept"] == 1
    assert all(
        Path(path).is_file() for path in (*made["pictures"], made["concept"], made["sheet"], *map(told.get, ("table", "lines")))
    )


def test_another_account_is_not_finished(distok_command, parts, listed):
    from distok.gallery import finished

    assert distok_command("batch", listed, "-n", 1, *parts)[0] == 0
    folder = Path(read()[1][1]["folder"])
    made = json.loads((folder / "made.json").read_text())
    assert finished(folder, made, 1, measured=True)["pictures"] == [str(folder / "cat100-7.png")]
    assert finished(folder, made | {"prompt": "a {}"}, 1, measured=True) is None
    assert finished(folder, made, 2, measured=True) is None


@pytest.mark.parametrize("name", ["batch-one.csv", "batch-one.jsonl", "batch-one.png"])
def test_a_file_of_another_hand_stays(distok_command, parts, name):
    Path("creations").mkdir()
    Path("creations", name).write_text("mine")
    Path("one.txt").write_text("cat\n")
    status, _, err = distok_command("batch", "one.txt", "-n", 1, *parts)
    told = f"distok: creations/{name} is there already, and not of a batch; choose another --out, or another name for the list\n"
    assert (status, err, Path("creations", name).read_text()) == (2, told, "mine")


def test_a_list_in_the_folder_it_writes_into_stays(distok_command, parts):
    Path("creations").mkdir()
    Path("creations/mixes.csv").write_text(LIST)
    assert distok_command("batch", "creations/mixes.csv", "-n", 1, *parts)[0] == 0
    assert Path("creations/mixes.csv").read_text() == LIST
