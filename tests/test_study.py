"""A study built from pictures and scored from votes: blind, balanced, strict about what it is given."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from distok.errors import DistokError
from distok.evaluation.statistics import wilson
from distok.judge.items import Item, matches, read_items
from distok.study.build import StudySettings, build_study
from distok.study.score import read_ballot, score_study
from tests import edge
from tests.judge_endpoint import picture

METHODS = ("DisTok", "CreTok", "mean of tokens")


@pytest.fixture
def manifest(tmp_path):
    """Three methods and four cases; pictures of the first method are the brightest, of the last the darkest."""
    rows = []
    for m, method in enumerate(METHODS):
        for case in range(4):
            chunks = PngImagePlugin.PngInfo()
            chunks.add_text("parameters", f"made by {method}")
            path = tmp_path / "pictures" / f"{method}-{case}.png"
            path.parent.mkdir(exist_ok=True)
            picture(200 - 60 * m, seed=10 * m + case).save(path, pnginfo=chunks)
            rows.append(
                {"picture": f"pictures/{path.name}", "method": method, "case": f"secret-{case}", "asked": "pig=0.6, owl=0.4"}
            )
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def study(manifest):
    return build_study(read_items(manifest), StudySettings(ties=True))


@pytest.fixture
def distok_command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return edge.CommandLine(capsys, monkeypatch)


def data_of(study) -> dict:
    """What the page's script gets."""
    return json.loads(re.search(r'id="study">(.*?)</script>', study.page, re.DOTALL)[1])


def image(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def ballot(study, code: str, prefer=METHODS, attentive: bool = True, block: int = 0) -> dict:
    """The file of a participant who likes methods in that order, and has seen every pair with the key's second picture left."""
    votes = []
    for number, trial in enumerate(study.key["blocks"][block]):
        secret = study.key["trials"][trial]
        first, second = secret["pictures"]
        if secret["kind"] == "check":
            wrong = second if secret["answer"] == first else first
            picked = secret["answer"] if attentive else wrong
        else:
            picked = first if prefer.index(secret["methods"][0]) < prefer.index(secret["methods"][1]) else second
        choice = "tie" if picked == "tie" else "left" if picked == second else "right"
        votes.append({"trial": trial, "left": second, "right": first, "choice": choice, "ms": 500 + number})
    return {
        "format": "picture-study-votes", "version": 1, "study": study.id, "participant": code, "block": block, "votes": votes,
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:05:00Z",
    }  # fmt: skip


@pytest.fixture
def sent(study, tmp_path):
    """The key, and a folder of votes: four who prefer as METHODS says, one who prefers otherwise, one who did not look."""
    study.save(tmp_path / "study.html")
    folder = tmp_path / "votes"
    folder.mkdir()
    for code in ("A1", "B2", "C3", "D4"):
        (folder / f"{code}.json").write_text(json.dumps(ballot(study, code)))
    (folder / "E5.json").write_text(json.dumps(ballot(study, "E5", METHODS[::-1])))
    (folder / "F6.json").write_text(json.dumps(ballot(study, "F6", attentive=False)))
    return tmp_path / "study.key.json", folder


def test_a_page_that_is_no_study_is_not_written_over(study, tmp_path):
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(
        DistokError, match=r"mine\.html is there and no study of this project; choose another --out, or add --force"
    ):
        study.save(tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"
    study.save(tmp_path / "mine.html", force=True)
    assert study.save(tmp_path / "mine.html")[0].read_text() == study.page, "its own page it may write again"


def test_the_page_says_nothing_about_methods(study, manifest):
    shown = re.sub(r"base64,[A-Za-z0-9+/=]+", "", study.page)
    for word in (
        *METHODS,
        "distok",
        "secret-",
        "pictures/",
        ".png",
        "manifest",
        '"check"',
        '"vote"',
        'answer":',
        str(manifest.parent),
    ):
        assert word.lower() not in shown.lower(), word
    assert "60 % pig, 40 % owl" in shown
    for item in read_items(manifest):
        assert base64.b64encode(item.picture.read_bytes()).decode() not in study.page


def test_pictures_in_the_page_are_pixels_alone(study):
    data = data_of(study)
    assert len(data["pictures"]) == 12 + 2 * 4
    for url in data["pictures"].values():
        assert url.startswith("data:image/jpeg;base64,")
        with image(url) as opened:
            assert set(opened.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert not opened.getexif()


def test_the_page_asks_nobody_for_anything(study):
    outside = re.findall(r"""(?:src|href|action)=["']([^"']*)|url\(([^)]*)|@import""", study.page)
    assert outside == [("data:,", "")]
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+|http-equiv", "", study.page)
    assert "default-src 'none'" in study.page
    assert all(word not in study.page for word in ("fetch(", "XMLHttpRequest", "sendBeacon", "WebSocket"))


def test_key_and_page_agree(study, manifest):
    data, key = data_of(study), study.key
    assert (data["id"], data["blocks"], data["ties"]) == (key["study"], key["blocks"], True)
    made = {item.picture: item for item in read_items(manifest)}
    kinds = [secret["kind"] for secret in key["trials"].values()]
    assert (kinds.count("vote"), kinds.count("check")) == (12, 4)
    for name, secret in key["trials"].items():
        assert set(data["trials"][name]) == {"pictures", "wish"}
        assert data["trials"][name]["pictures"] == sorted(secret["pictures"])
        if secret["kind"] == "vote":
            assert secret["methods"][0] != secret["methods"][1]
            for file, method, shown in zip(secret["files"], secret["methods"], secret["pictures"], strict=True):
                (item,) = [item for path, item in made.items() if str(path) == file]
                assert (item.method, item.case) == (method, secret["case"])
                with image(data["pictures"][shown]) as opened, Image.open(file) as original:
                    assert np.asarray(opened).mean() == pytest.approx(np.asarray(original).mean(), abs=3)


def test_attention_checks_have_a_right_answer(study):
    data = data_of(study)
    checks = [secret for secret in study.key["trials"].values() if secret["kind"] == "check"]
    assert sorted(secret["answer"] == "tie" for secret in checks) == [False, False, True, True]
    for secret in checks:
        first, second = (data["pictures"][name] for name in secret["pictures"])
        if secret["answer"] == "tie":
            assert first == second
        else:
            assert secret["answer"] == secret["pictures"][0]
            with image(first) as whole, image(second) as mixed:
                assert whole.size == mixed.size
                assert np.asarray(whole).mean() == pytest.approx(np.asarray(mixed).mean(), abs=3)
                assert not np.array_equal(np.asarray(whole), np.asarray(mixed))


def test_a_picture_of_one_colour_makes_no_check(manifest):
    items = read_items(manifest)
    for item in items[:-1]:
        Image.new("RGB", (24, 24), "black").save(item.picture)  # as a safety filter leaves it
    study = build_study(items, StudySettings(checks=6))
    pictures = data_of(study)["pictures"]
    for secret in study.key["trials"].values():
        if secret["kind"] == "check":
            first, second = (pictures[name] for name in secret["pictures"])
            assert (first != second, secret["case"]) == (True, items[-1].case)
    Image.new("RGB", (24, 24), "black").save(items[-1].picture)
    with pytest.raises(DistokError, match="every picture is of one colour, so that no attention check has an answer"):
        build_study(items)
    assert build_study(items, StudySettings(checks=0)).key["trials"]


def test_without_ties_every_check_has_a_better_picture(manifest):
    study = build_study(read_items(manifest), StudySettings(checks=3))
    answers = [secret["answer"] for secret in study.key["trials"].values() if secret["kind"] == "check"]
    assert len(answers) == 3
    assert "tie" not in answers


def test_blocks_are_equal_balanced_and_cover_everything(manifest):
    study = build_study(read_items(manifest), StudySettings(trials=5, checks=2))
    blocks = study.key["blocks"]
    assert [len(block) for block in blocks] == [7, 7, 7]
    votes = [[t for t in block if study.key["trials"][t]["kind"] == "vote"] for block in blocks]
    assert len({trial for block in votes for trial in block}) == 12
    for block in votes:
        assert len(set(block)) == 5
        met = [tuple(study.key["trials"][trial]["methods"]) for trial in block]
        assert max(map(met.count, met)) <= 2
    checks = [t for block in blocks for t in block if study.key["trials"][t]["kind"] == "check"]
    assert len(set(checks)) == 6  # none is shared, so that how often a pair occurs tells nothing


def test_the_same_settings_make_the_same_study(manifest):
    items = read_items(manifest)
    assert build_study(items).page == build_study(items).page
    other = build_study(items, StudySettings(seed=1))
    assert other.id != build_study(items).id
    assert other.key["trials"] != build_study(items).key["trials"]


def test_texts_cannot_break_the_page(manifest):
    items = [
        Item(i.picture, i.method, i.case, "a </script><script>alert(1)</script> & {{study}} pig") for i in read_items(manifest)
    ]
    settings = StudySettings(question="Which <b>one</b>?", title="A & B {{css}}", intro='say "hi"')
    study = build_study(items, settings)
    assert "<script>alert" not in study.page
    assert "Which &lt;b&gt;one&lt;/b&gt;?" in study.page
    assert study.page.count("</script>") == 2
    assert {trial["wish"] for trial in data_of(study)["trials"].values()} == {items[0].asked}


def test_a_key_with_votes_is_not_written_over(study, manifest, tmp_path):
    page, key = study.save(tmp_path / "study.html")
    assert (page.name, key.name) == ("study.html", "study.key.json")
    study.save(tmp_path / "study.html")  # the same study again is no loss
    other = build_study(read_items(manifest), StudySettings(seed=1))
    with pytest.raises(DistokError, match=r"study.key.json is the key of another study, and its votes would be lost"):
        other.save(tmp_path / "study.html")
    assert json.loads(key.read_text())["study"] == study.id
    other.save(tmp_path / "study.html", force=True)
    assert json.loads(key.read_text())["study"] == other.id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials is 0, but at least 1"),
        ({"checks": -1}, "checks is -1"),
        ({"size": 8}, "size is 8"),
        ({"question": " "}, "the question is empty"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(DistokError, match=message):
        StudySettings(**changes)


def test_votes_are_counted_and_the_inattentive_dropped(sent, distok_command):
    key, folder = sent
    status, out, _ = distok_command("study", "score", key, folder, "--out", "results", "--json")
    said = json.loads(out)
    assert (status, said["participants"], said["votes"]) == (0, 5, 60)
    assert said["dropped"] == [{"participant": "F6", "passed": 0, "checks": 4}]
    for entry in said["pairs"]:
        assert (entry["wins"], entry["losses"], entry["ties"]) == (16, 4, 0)
        assert (entry["low"], entry["high"]) == pytest.approx(wilson(16, 20))
        assert entry["sign_test"] == pytest.approx(2 * sum([1, 20, 190, 1140, 4845]) / 2**20)
    assert [entry["method"] for entry in said["strengths"]] == list(METHODS)
    assert all(entry["low"] < entry["strength"] < entry["high"] for entry in said["strengths"][::2])
    assert said["left_side"]["share"] == pytest.approx(0.2)  # the key's second picture was left, and lost in 4 of 5 files
    assert said["kept"][0]["median_seconds"] == pytest.approx(0.5075)
    status, out, _ = distok_command("study", "score", key, folder, "--out", "results")
    for text in (
        "16:4",
        "80.0%",
        "60 votes of 5 participants; 1 dropped (fewer than 75% of their attention checks)",
        "mean of tokens",
    ):
        assert text in out
    rows = (key.parent / "results" / "study.csv").read_text().splitlines()
    assert rows[0] == "participant,number,case,method,against,won,choice,ms"
    assert len(rows) == 61
    assert json.loads((key.parent / "results" / "study.json").read_text())["votes"] == 60


def test_the_threshold_is_a_setting(sent, study):
    key, folder = sent
    assert score_study(key, [folder], threshold=0).figures["participants"] == 6
    half = ballot(study, "G7")
    checks = [v for v in half["votes"] if study.key["trials"][v["trial"]]["kind"] == "check"]
    for vote in checks[:2]:
        vote["choice"] = {"left": "right", "right": "left", "tie": "left"}[vote["choice"]]
    (folder / "G7.json").write_text(json.dumps(half))
    assert read_ballot(folder / "G7.json", study.key).passed == 2
    assert score_study(key, [folder], threshold=0.5).figures["participants"] == 6
    assert score_study(key, [folder], threshold=0.51).figures["participants"] == 5
    with pytest.raises(DistokError, match="the threshold is 2, but a share from 0 to 1"):
        score_study(key, [folder], threshold=2)
    with pytest.raises(DistokError, match="none of 1 participants passed 75% of the attention checks; lower --threshold"):
        score_study(key, [folder / "F6.json"])


def test_ties_are_counted_beside_wins(study, tmp_path):
    study.save(tmp_path / "study.html")
    undecided = ballot(study, "T1")
    for vote in undecided["votes"]:
        if study.key["trials"][vote["trial"]]["kind"] == "vote":
            vote["choice"] = "tie"
    (tmp_path / "t.json").write_text(json.dumps(undecided))
    figures = score_study(tmp_path / "study.key.json", [tmp_path / "t.json"]).figures
    assert {(e["wins"], e["losses"], e["ties"], e["share"], e["low"], e["high"]) for e in figures["pairs"]} == {
        (0, 0, 4, None, 0, 1)
    }
    assert [e["strength"] for e in figures["strengths"]] == pytest.approx([0, 0, 0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b.update(study="other"), r"G7.json is of another study \(other, not [0-9a-f]+\); leave it out"),
        (lambda b: b["votes"].pop(), r"is not complete \(15 of 16 answers\); let G7 finish, or leave it out"),
        (lambda b: b.update(participant="A1"), r"is a second file of A1, after .*A1.json; leave one out"),
        (lambda b: b.update(participant="../x"), "names no participant"),
        (lambda b: b.update(format="else"), "is not a votes file"),
        (lambda b: b.update(block=7), "is of a block that this study does not have"),
        (lambda b: b["votes"].append(b["votes"][0]), "answers other pairs than G7 was shown"),
        (lambda b: b["votes"].__setitem__(0, b["votes"][1]), "answers other pairs than G7 was shown"),
        (lambda b: b["votes"].__setitem__(0, 3), "answers other pairs than G7 was shown"),
        (lambda b: b["votes"][0].update(left="p99"), "shows other pictures than the study's"),
        (lambda b: b["votes"][0].update(choice="both"), "has no choice that the study allows"),
        (lambda b: b["votes"][0].update(ms=-1), "has no time"),
        (lambda b: b["votes"][0].update(ms=float("nan")), "has no time"),
        (lambda b: b.pop("votes"), "holds no votes"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(damage, message, sent, study):
    key, folder = sent
    said = ballot(study, "G7")
    damage(said)
    (folder / "G7.json").write_text(json.dumps(said))
    with pytest.raises(DistokError, match=message) as caught:
        score_study(key, [folder])
    assert "\n" not in str(caught.value)
    found = score_study(key, [folder], skip_refused=True)
    assert (found.figures["participants"], len(found.figures["refused"])) == (5, 1)
    assert re.search(message, found.figures["refused"][0])
    assert "1 files refused" in found.tables[1].note


def test_other_files_are_refused_too(sent, tmp_path, distok_command):
    key, folder = sent
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "none").mkdir()
    for votes, message in (
        (tmp_path / "text.json", "text.json is not JSON"),
        (tmp_path / "list.json", "holds list, not a JSON object"),
        (tmp_path / "gone.json", "gone.json cannot be read"),
        (tmp_path / "none", "there are no votes"),
        (key, "is not a votes file"),
    ):
        with pytest.raises(DistokError, match=message):
            score_study(key, [votes])
    with pytest.raises(DistokError, match="is not the key of a study; give the"):
        score_study(folder / "A1.json", [folder])
    status, out, err = distok_command("study", "score", key, tmp_path / "text.json", "--out", "results")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda key, trial: key["trials"].clear(),
        lambda key, trial: trial.pop("kind"),
        lambda key, trial: trial["pictures"].pop(),
        lambda key, trial: trial.update(methods=["DisTok", "another"], answer="another", kind="vote"),
        lambda key, trial: trial.update(answer="p0", kind="check"),
        lambda key, trial: key.update(blocks=[3]),
    ],
)
def test_a_damaged_key_is_refused(sent, harm):
    key, folder = sent
    held = json.loads(key.read_text())
    harm(held, next(iter(held["trials"].values())))
    key.write_text(json.dumps(held))
    with pytest.raises(DistokError, match=r"study.key.json is damaged, or was changed by hand; build the study again"):
        score_study(key, [folder])


def test_the_command_builds(manifest, tmp_path, distok_command):
    status, out, err = distok_command("study", "build", manifest, "--out", "s/page.html", "--trials", 5, "--checks", 2)
    assert (status, err) == (0, "")
    assert "page: s/page.html" in out
    assert "5 pairs and 2 attention checks, in 3 blocks" in out
    assert "key: s/page.key.json; keep it to yourself" in out
    status, out, _ = distok_command("study", "build", manifest, "--out", "s/two.html", "--json")
    said = json.loads(out)
    assert (said["pairs"], said["checks"], said["blocks"]) == (12, 4, 1)
    assert said["bytes"] == (tmp_path / "s" / "two.html").stat().st_size
    one = [Item(i.picture, i.method, i.case, i.asked) for i in read_items(manifest) if i.method == "DisTok"]
    with pytest.raises(DistokError, match="no case has pictures by two methods"):
        build_study(one)
    assert len(matches(read_items(manifest))) == 12
