"""Marks and choices from end to end: blind pictures, a cache that never pays twice, resuming, and gaps that are no zeros."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from distok.errors import DistokError
from distok.judge import items as judge_items
from distok.judge import pairwise, scoring
from distok.judge.asking import Desk
from distok.judge.cache import Cache
from distok.judge.cost import Prices, estimate
from distok.judge.cost import _image_tokens as image_tokens
from distok.judge.settings import Endpoint as Settings
from tests import edge
from tests.judge_endpoint import Endpoint, Request, Response, by_brightness, choices, level, marks, picture

SCRIPT = Path(sys.executable).with_name("distok")
LIGHT = {"DisTok": (200, 180, 160), "mean of tokens": (120, 100, 110)}  # a method's brightness in each case


@pytest.fixture
def gallery(tmp_path):
    """A manifest of two methods and three cases; every picture carries its method in name, chunk and comment."""
    rows = []
    for method, values in LIGHT.items():
        for case, value in enumerate(values):
            chunks = PngImagePlugin.PngInfo()
            chunks.add_text("parameters", f"made by {method}")
            chunks.add_itxt("secret", f"{method} 2026")
            name = f"{method.replace(' ', '_')}-secret-{case}.png"
            picture(value, seed=case).save(tmp_path / name, pnginfo=chunks, dpi=(300, 300), exif=b"Exif\0\0secret")
            rows.append({"picture": name, "method": method, "case": f"case-{case}", "asked": "pig=0.6, owl=0.4"})
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, judge_items.FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def distok_command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return edge.CommandLine(capsys, monkeypatch)


def options(server: Endpoint, *more: object) -> list[object]:
    return ["--base-url", server.url, "--model", "judge-1", "--backoff", 0.01, "--timeout", 20, *more]


def desk(server: Endpoint, questions, folder: Path, **changes) -> Desk:
    how = {key: changes.pop(key) for key in ("clarifications", "concurrency", "attempts", "model") if key in changes}
    settings = Settings(**{"base_url": server.url, "model": "judge-1", "backoff": 0.01, **how})
    return Desk(questions, settings, Cache(folder), **changes)


def test_pictures_are_blind(gallery, tmp_path, distok_command):
    with Endpoint() as server:
        assert distok_command("judge", "score", gallery, "--out", "out", "--repeats", 1, *options(server))[0] == 0
        assert distok_command("judge", "pairs", gallery, "--out", "out", *options(server))[0] == 0
    assert len(server.requests) == 6 + 6
    for request in server.requests:
        for word in ("DisTok", "mean of tokens", "mean_of_tokens", "secret", "manifest", "case-", ".png", str(tmp_path)):
            assert word.encode() not in request.raw
            assert word not in request.text.replace("distok", "")
        for data in request.pictures:
            assert re.findall(rb"IHDR|IDAT|IEND|tEXt|iTXt|zTXt|eXIf|pHYs|iCCP|tIME|gAMA", data)[::2] in ([b"IHDR", b"IEND"],)
            with Image.open(io.BytesIO(data)) as shown:
                assert (shown.info, shown.mode) == ({}, "RGB")
    assert "60 % pig, 40 % owl" in server.requests[0].text


def test_marks_reach_the_tables(gallery, distok_command, tmp_path):
    with Endpoint() as server:
        status, out, err = distok_command("judge", "score", gallery, "--out", "out", "--json", *options(server, "--repeats", 2))
    assert (status, len(server.requests)) == (0, 12)
    assert "0 of 12 answers are kept; 12 to ask now (at most 36 requests" in err
    said = json.loads(out)
    for method, values in LIGHT.items():
        entry = said["methods"][method]
        expected = sum(values) / 3 / 25.5
        assert entry["fusion"]["mean"] == entry["average"]["mean"] == pytest.approx(expected, abs=0.05)
        assert entry["fusion"]["low"] < expected < entry["fusion"]["high"]
        assert (entry["pictures"], entry["scored"], entry["average_spread"]) == (3, 3, 0)
    assert (said["answered"], said["missing"], said["requests"], said["tokens_in"], said["tokens_out"]) == (12, 0, 12, 1200, 240)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert len(rows) == 12
    assert {row["method"] for row in rows} == set(LIGHT)
    assert float(rows[0]["average"]) == pytest.approx(200 / 25.5, abs=0.1)
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["methods"] == said["methods"]
    status, out, _ = distok_command("judge", "score", gallery, "--out", "out", *options(server, "--repeats", 2))
    assert status == 0  # the endpoint is gone by now: everything comes from the answers kept
    assert out.count("3/3") == 2
    assert "12 of 12 answers" in out


def test_nothing_is_paid_twice(gallery, tmp_path):
    listed = judge_items.read_items(gallery)
    with Endpoint() as server:
        first = desk(server, scoring.questions(listed, 2), tmp_path / "answers")
        first.ask()
        again = desk(server, scoring.questions(listed, 2), tmp_path / "answers")
        again.ask()
        assert (len(server.requests), again.left) == (12, 0)
        assert again.answers() == first.answers()
        # More repeats ask only for what is new; another model, or other wishes, ask for everything.
        more = desk(server, scoring.questions(listed, 3), tmp_path / "answers")
        assert (more.left, more.total) == (6, 18)
        assert desk(server, scoring.questions(listed, 2), tmp_path / "answers", model="judge-2").left == 12
        changed = [judge_items.Item(i.picture, i.method, i.case, "pig=0.5, owl=0.5") for i in listed]
        assert desk(server, scoring.questions(changed, 2), tmp_path / "answers").left == 12
        # The same pixels under another name, with other metadata, are the same picture.
        with Image.open(listed[0].picture) as opened:
            opened.convert("RGB").save(tmp_path / "renamed.png")
        renamed = [judge_items.Item(tmp_path / "renamed.png", "x", "y", listed[0].asked)]
        assert desk(server, scoring.questions(renamed, 2), tmp_path / "answers").left == 0


def test_a_damaged_answer_is_asked_again(gallery, tmp_path):
    listed = judge_items.read_items(gallery)[:2]
    with Endpoint() as server:
        desk(server, scoring.questions(listed, 1), tmp_path / "answers").ask()
        kept = sorted((tmp_path / "answers").rglob("*.json"))
        kept[0].write_bytes(kept[0].read_bytes()[:20])
        kept[1].write_text('{"version": 0, "answer": {}}')
        assert desk(server, scoring.questions(listed, 1), tmp_path / "answers").left == 2


def test_the_order_is_shuffled_by_the_seed(gallery, tmp_path):
    listed = judge_items.read_items(gallery)
    orders = []
    for number, seed in enumerate((0, 0, 1)):
        with Endpoint() as server:
            desk(server, scoring.questions(listed, 1), tmp_path / str(number), seed=seed, concurrency=1).ask()
        orders.append([level(request.pictures[0]) for request in server.requests])
    given = [level(judge_items.show(item.picture).data) for item in listed]
    assert sorted(orders[0]) == sorted(given)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != given


def test_nonsense_is_asked_again_and_then_missing_never_zero(gallery, tmp_path):
    listed = judge_items.read_items(gallery)

    useless = [Response("I like it!"), Response("{}", finish="length"), Response(marks(11))]

    def script(number: int, request: Request) -> Response:
        light = level(request.pictures[0])
        if light > 7.5:  # the brightest, of DisTok
            return useless[sum(level(each.pictures[0]) > 7.5 for each in server.requests) - 1]
        if 4.5 < light < 5 and len(request.body["messages"]) == 2:
            return Response("```\nnot yet\n```")  # and a good answer when asked again
        return Response(marks(light))

    with Endpoint(script) as server:
        asking = desk(server, scoring.questions(listed, 1), tmp_path / "answers", concurrency=1)
        asking.ask()
        found = scoring.assess(listed, asking, 1)
    entry = found.figures["methods"]["DisTok"]
    assert (entry["pictures"], entry["scored"]) == (3, 2)
    assert entry["fusion"].mean == pytest.approx((180 + 160) / 2 / 25.5, abs=0.05)
    assert (found.figures["answered"], found.figures["missing"], found.figures["not_asked"]) == (5, 1, 0)
    assert found.figures["reasons"] == {"no usable answer: 'fusion' is 11, outside 0 to 10": 1}
    (gap,) = [record for record in found.records if record["missing"]]
    assert (gap["method"], gap["case"], gap["fusion"], gap["average"]) == ("DisTok", "case-0", "", "")
    asked = [r.body["messages"] for r in server.requests if level(r.pictures[0]) > 7.5]
    assert [len(messages) for messages in asked] == [2, 4, 4]
    assert asked[1][2] == {"role": "assistant", "content": "I like it!"}
    assert "cannot be used: the answer is not JSON" in asked[1][3]["content"]
    assert "'fusion' is missing, and it was cut off" in asked[2][3]["content"]
    # A gap is kept too, and asked again only on request.
    assert desk(server, scoring.questions(listed, 1), tmp_path / "answers").left == 0
    assert desk(server, scoring.questions(listed, 1), tmp_path / "answers", retry_missing=True).left == 1


def test_all_nonsense_leaves_no_figure(gallery, tmp_path):
    listed = judge_items.read_items(gallery)
    with Endpoint(lambda number, request: Response(None)) as server:
        asking = desk(server, scoring.questions(listed, 1), tmp_path / "answers", clarifications=0)
        asking.ask()
        found = scoring.assess(listed, asking, 1)
        met = judge_items.matches(listed)
        choosing = desk(server, pairwise.questions(met), tmp_path / "answers", clarifications=0)
        choosing.ask()
        chosen = pairwise.compare(met, choosing)
    assert found.figures["methods"]["DisTok"]["fusion"] is None
    assert found.tables[0].rows[0][1:3] == ("0/3", "–")
    assert (chosen.figures["criteria"], chosen.figures["first_side"]["share"]) == ({}, None)


def test_dry_run_and_limit(gallery, distok_command):
    with Endpoint() as server:
        prices = ("--price-in", 2.5, "--price-out", 10, "--image-tokens", 100)
        status, out, err = distok_command(
            "judge", "score", gallery, "--out", "out", "--dry-run", "--json", *options(server, *prices)
        )
        said = json.loads(out)
        assert (status, len(server.requests)) == (0, 0)
        assert (said["questions"], said["requests"], said["most_requests"], said["kept"]) == (18, 18, 54, 0)
        assert said["tokens_out"] == 18 * 50
        assert said["tokens_in"] > 18 * 100
        assert said["price"] == pytest.approx((said["tokens_in"] * 2.5 + said["tokens_out"] * 10) / 1e6)
        assert "at your prices" in err
        assert not Path("out").exists()
        status, out, err = distok_command("judge", "score", gallery, "--out", "out", "--limit", 5, *options(server))
        assert (status, len(server.requests)) == (0, 5)
        assert "for a sum give --price-in and --price-out" in err
        assert "5 of 18 answers; 13 not asked yet" in out
        status, out, err = distok_command("judge", "score", gallery, "--out", "out", *options(server))
        assert (status, len(server.requests)) == (0, 18)
        assert "5 of 18 answers are kept; 13 to ask now" in err


def test_the_estimate_counts_characters_and_tiles(gallery, tmp_path):
    listed = judge_items.read_items(gallery)
    with Endpoint() as server:
        asking = desk(server, scoring.questions(listed, 1), tmp_path / "answers")
        asking.ask()
        said = [message["content"] for request in server.requests for message in request.body["messages"]]
        parts = [part for content in said for part in ([{"text": content}] if isinstance(content, str) else content)]
        words = sum(len(part.get("text", "")) for part in parts)
    sizes = {(512, 512): 1, (16, 16): 1, (513, 512): 2, (1024, 1024): 4, (2048, 2048): 4, (4096, 1024): 4, (3000, 300): 4}
    for size, tiles in sizes.items():
        assert image_tokens(size) == 85 + 170 * tiles, size
    fresh = estimate(desk(server, scoring.questions(listed, 1), tmp_path / "none"), Prices())
    assert fresh.tokens_in == pytest.approx(6 * 255 + words / 4, rel=0.03)  # one tile each, and a token each four characters
    assert (fresh.price, fresh.requests) == (None, 6)
    with pytest.raises(DistokError, match="per_million_in is -1, but at least 0"):
        Prices(per_million_in=-1)


@pytest.mark.parametrize(
    ("fault", "seconds", "message"),
    [
        (Response(status=503), 20, "fails (2 attempts; the last: status 503)"),
        (Response("x", hang=3), 0.5, "no answer within 0.5 s"),
        (Response(body=b"<html>"), 20, "its answer is not JSON"),
    ],
)
def test_a_dying_endpoint_ends_in_one_line_and_a_resumable_state(fault, seconds, message, gallery, distok_command):
    kept = Path("out/answers")  # an answer that is late on a busy machine is asked for again, and does not count

    def script(number: int, request: Request) -> Response:
        return by_brightness(number, request) if len(list(kept.rglob("*.json"))) < 4 else fault

    with Endpoint(script) as server:
        more = options(server, "--repeats", 2, "--attempts", 2, "--timeout", seconds, "--concurrency", 1)
        status, out, err = distok_command("judge", "score", gallery, "--out", "out", *more)
        assert (status, out) == (2, "")
        last = err.splitlines()[-1]
        assert last.startswith("distok: http://127.0.0.1")
        assert message in last
        assert last.endswith("; 4 of 12 answers are kept in out/answers, run the same command again to go on")
        assert "Traceback" not in err
        server.script = by_brightness
        before = len(server.requests)
        patient = options(server, "--repeats", 2)
        assert distok_command("judge", "score", gallery, "--out", "out", *patient)[0] == 0
        assert len(server.requests) - before == 8


def test_a_run_killed_in_the_middle_sends_only_what_is_missing(gallery, tmp_path):
    def slow(number: int, request: Request) -> Response:
        answer = by_brightness(number, request)
        answer.hang = 0.1
        return answer

    with Endpoint(slow) as server:
        command = [
            SCRIPT,
            "judge",
            "score",
            gallery,
            "--out",
            tmp_path / "out",
            *options(server, "--repeats", 5, "--concurrency", 2),
        ]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ends = time.monotonic() + 60
        while len(server.requests) < 9:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < ends
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        process.stderr.close()
        kept = len(list((tmp_path / "out" / "answers").rglob("*.json")))
        assert 0 < kept < 30
        assert not (tmp_path / "out" / "scores.json").exists()
        time.sleep(0.3)  # what was in flight has arrived
        before = len(server.requests)
        done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert len(server.requests) - before == 30 - kept
        assert json.loads(done.stdout)["answered"] == 30
        assert all(json.loads(path.read_text()) for path in (tmp_path / "out" / "answers").rglob("*.json"))


def test_choices_cancel_a_liking_for_a_side(gallery, distok_command, tmp_path):
    with Endpoint(lambda number, request: Response(choices("first"))) as server:
        status, out, _ = distok_command("judge", "pairs", gallery, "--out", "out", "--json", *options(server))
        said = json.loads(out)
        assert (status, len(server.requests)) == (0, 6)
    (met,) = said["criteria"]["overall"]["pairs"]
    assert (met["wins"], met["losses"], met["ties"], met["share"]) == (0, 0, 3, None)
    assert [entry["strength"] for entry in said["criteria"]["overall"]["strengths"]] == pytest.approx([0, 0])
    assert (said["first_side"]["share"], said["orders_agree"]) == (1, 0)
    rows = list(csv.DictReader((tmp_path / "out" / "pairs.csv").open()))
    assert {row["shown_first"] for row in rows} == set(LIGHT)


def test_choices_find_the_better_method(gallery, distok_command):
    with Endpoint() as server:
        status, out, _ = distok_command("judge", "pairs", gallery, "--out", "out", "--json", *options(server))
        assert (status, len(server.requests)) == (0, 6)
        said = json.loads(out)
        assert distok_command("judge", "pairs", gallery, "--out", "two", "--no-mirror", *options(server))[0] == 0
        assert len(server.requests) == 9
        status, out, _ = distok_command("judge", "pairs", gallery, "--out", "out", *options(server))
    (met,) = said["criteria"]["originality"]["pairs"]
    assert (met["method"], met["wins"], met["losses"], met["ties"], met["share"]) == ("DisTok", 3, 0, 0, 1)
    assert met["low"] == pytest.approx(0.4385, abs=1e-4)  # Wilson, 3 of 3
    assert said["criteria"]["overall"]["strengths"][0]["method"] == "DisTok"
    assert (said["first_side"]["share"], said["orders_agree"]) == (0.5, 1)
    for text in ("3:0", "Bradley–Terry strength", "Shown first and chosen: 50%", "Both orders agree: 100%"):
        assert text in out


def test_an_order_without_its_mirror_image_does_not_count(gallery, tmp_path):
    met = judge_items.matches(judge_items.read_items(gallery))
    with Endpoint() as server:
        asking = desk(server, pairwise.questions(met), tmp_path / "answers", limit=1)
        asking.ask()
        found = pairwise.compare(met, asking)
    assert found.figures["criteria"] == {}
    assert found.figures["not_asked"] == 5
    assert len([record for record in found.records if record["missing"] == ""]) == 1


def test_repeats_of_a_choice_make_one_verdict(gallery, tmp_path):
    met = judge_items.matches(judge_items.read_items(gallery))[:1]
    light = [level(judge_items.show(item.picture).data) for item in met[0]]
    said = iter(["first", "first", "second", "tie"])  # one draw; then one win of an order and a tie

    with Endpoint(lambda number, request: Response(choices(next(said)))) as server:
        questions = pairwise.questions(met, repeats=2)
        for question in questions:  # in this order, so that the script fits
            desk(server, [question], tmp_path / "answers").ask()
        found = pairwise.compare(met, desk(server, questions, tmp_path / "answers"), repeats=2)
        shown = [level(request.pictures[0]) for request in server.requests]
    (pair,) = found.figures["criteria"]["overall"]["pairs"]
    second_shown_third = light[0] if shown[2] == pytest.approx(light[1]) else light[1]
    assert (pair["wins"], pair["losses"]) == ((1, 0) if second_shown_third == light[0] else (0, 1))


def test_other_bad_input(gallery, tmp_path, distok_command):
    with pytest.raises(DistokError, match="none cannot be read"):
        judge_items.read_items(tmp_path / "none")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DistokError, match="is not a readable manifest"):
        judge_items.read_items(tmp_path / "bad.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DistokError, match="holds no pictures in folders by method"):
        judge_items.read_items(tmp_path / "empty")
    one = judge_items.read_items(gallery)[:3]
    with pytest.raises(DistokError, match="no case has pictures by two methods"):
        judge_items.matches(one)
    one[0].picture.write_text("not a picture")
    with pytest.raises(DistokError, match="is not a picture that can be read"):
        scoring.questions(one, 1)
    assert distok_command("judge", "score", gallery, "--out", "out")[::2] == (
        2,
        "distok: say who is asked: --base-url URL of an OpenAI-compatible endpoint, and --model NAME there\n",
    )
    said = ("--base-url", "http://127.0.0.1:1/v1", "--model", "m")
    status, _, err = distok_command("judge", "score", gallery, "--out", "o", *said)
    assert (status, "is not a picture that can be read" in err) == (2, True)


def test_a_limit_below_zero_is_refused_before_anybody_is_asked(gallery, tmp_path, distok_command):
    with Endpoint() as server:
        text = "limit is -1, but a number of questions of at least 0 is expected; correct it"
        with pytest.raises(DistokError, match=text):
            desk(server, scoring.questions(judge_items.read_items(gallery), 1), tmp_path / "answers", limit=-1)
        status, _, err = distok_command("judge", "score", gallery, "--out", "o", *options(server, "--limit", -1))
        assert (status, err) == (2, f"distok: {text}\n")
        assert not server.requests
