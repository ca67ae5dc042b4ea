"""``distok study`` from the command line: the words of the page, ties, and files that are left out."""

import json
import re
from pathlib import Path

import pytest

from tests.judge_endpoint import picture


@pytest.fixture
def pictures(tmp_path):
    """Two methods and two cases, in a folder."""
    for number, method in enumerate(("DisTok", "CreTok")):
        (tmp_path / "pictures" / method).mkdir(parents=True)
        for case in ("a", "b"):
            picture(200 - 80 * number, seed=number + ord(case)).save(tmp_path / "pictures" / method / f"{case}.png")
            (tmp_path / "pictures" / method / f"{case}.txt").write_text("pig=0.6, owl=0.4")
    return tmp_path / "pictures"


def seen(page: Path) -> dict:
    """What the page's script gets."""
    return json.loads(re.search(r'id="study">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def votes(key: dict, code: str) -> dict:
    """The file of a participant to whom all pairs look alike, and who sees what the checks show."""
    given = []
    for trial in key["blocks"][0]:
        left, right = key["trials"][trial]["pictures"]
        answer = key["trials"][trial].get("answer", "tie")
        choice = {left: "left", right: "right"}.get(answer, "tie")
        given.append({"trial": trial, "left": left, "right": right, "choice": choice, "ms": 700})
    times = {"started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:05:00Z"}
    about = {"format": "picture-study-votes", "version": 1, "study": key["study"], "participant": code, "block": 0}
    return {**about, "votes": given, **times}


def test_the_page_has_the_words_and_the_ties_it_is_given(pictures, distok_command):
    words = ["--title", "Which <beast>?", "--intro", "Please look twice.", "--question", "Which would you keep?"]
    assert distok_command("study", "build", pictures, "--out", "study.html", "--ties", *words)[0] == 0
    page = Path("study.html").read_text()
    assert "<title>Which &lt;beast&gt;?</title>" in page
    assert "<p>Please look twice.</p>" in page
    assert '<h2 class="question" id="trial-title" tabindex="-1">Which would you keep?</h2>' in page
    key = json.loads(Path("study.key.json").read_text())
    assert (seen(Path("study.html"))["ties"], key["ties"]) == (True, True)
    assert "tie" in {trial.get("answer") for trial in key["trials"].values()}, "a check with twice the same picture"
    assert distok_command("study", "build", pictures, "--out", "plain.html")[0] == 0
    assert (seen(Path("plain.html"))["ties"], json.loads(Path("plain.key.json").read_text())["ties"]) == (False, False)
    assert "Which &lt;beast&gt;?" not in Path("plain.html").read_text()


def test_files_that_cannot_be_used_are_left_out_where_that_is_asked_for(pictures, distok_command):
    distok_command("study", "build", pictures, "--out", "study.html", "--ties")
    key = json.loads(Path("study.key.json").read_text())
    Path("votes").mkdir()
    Path("votes/A1.json").write_text(json.dumps(votes(key, "A1")))
    Path("votes/B2.json").write_text("half a fi")
    words = ["study", "score", "study.key.json", "votes", "--out", "results", "--json"]
    status, out, err = distok_command(*words)
    assert (status, out, "B2.json is not JSON" in err) == (2, "", True)
    assert not Path("results").exists()
    status, out, _ = distok_command(*words, "--skip-refused")
    said = json.loads(out)
    assert (status, said["participants"], len(said["refused"])) == (0, 1, 1)
    assert "B2.json is not JSON" in said["refused"][0]
    assert [(each["wins"], each["losses"], each["ties"]) for each in said["pairs"]] == [(0, 0, 2)]
