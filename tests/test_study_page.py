"""What participants use: the session's logic in a JavaScript engine, and the whole page in a real browser where there is one."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import distok.study
from distok.judge.items import Item
from distok.study.build import StudySettings, build_study
from distok.study.score import read_ballot, score_study
from tests.judge_endpoint import picture

METHODS = ("DisTok", "CreTok", "mean of tokens")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    items = []
    for m, method in enumerate(METHODS):
        for case in range(3):
            path = folder / f"{method}-{case}.png"
            picture(200 - 60 * m, seed=10 * m + case).save(path)
            items.append(Item(path, method, str(case), "pig=0.6, owl=0.4"))
    return build_study(items, StudySettings(ties=True, trials=6, checks=2))


@pytest.fixture(scope="module")
def script(study):
    """Calls into session.js: ``script("plan(study, 'ANNA')")`` as a Python value."""
    engine = pytest.importorskip("py_mini_racer", reason="mini-racer is not installed; pip install -e '.[dev]'").MiniRacer()
    source = Path(distok.study.__file__).with_name("session.js").read_text(encoding="utf-8")
    seen = {"id": study.id, **{name: study.key[name] for name in ("ties", "blocks", "trials")}}
    engine.eval(f"{source}\nconst study = {json.dumps(seen)};")

    def call(code: str):
        return json.loads(engine.eval(f"JSON.stringify((({{ {', '.join(NAMES)} }}) => ({code}))(Session))"))

    return call


NAMES = (
    "plan",
    "start",
    "vote",
    "undo",
    "done",
    "restore",
    "store",
    "file",
    "fileName",
    "cleanCode",
    "drawCode",
    "random",
    "seedOf",
)
LOOP = "(() => { let s = start(study, 'ANNA', 'now'); while (!done(s)) s = vote(study, s, 'left', 700.4, 'then'); return s; })()"


def test_a_plan_is_a_function_of_study_and_code(script, study):
    plans = [script(f"plan(study, 'P{i}')") for i in range(200)]
    assert plans[0] == script("plan(study, 'P0')")
    for plan in plans:
        assert sorted(each["trial"] for each in plan["trials"]) == study.key["blocks"][plan["block"]]
        for each in plan["trials"]:
            assert sorted((each["left"], each["right"])) == sorted(study.key["trials"][each["trial"]]["pictures"])
    orders = {tuple(each["trial"] for each in plan["trials"]) for plan in plans}
    assert len(orders) > 190
    assert min(Counter(plan["block"] for plan in plans).values()) > 200 / len(study.key["blocks"]) / 2
    first_left = sum(e["left"] == study.key["trials"][e["trial"]]["pictures"][0] for p in plans for e in p["trials"])
    assert 0.45 < first_left / (200 * 8) < 0.55
    first = Counter(plan["trials"][0]["trial"] for plan in plans)
    assert max(first.values()) < 40


def test_the_generators_are_the_published_ones(script):
    assert script("[seedOf(''), seedOf('a'), seedOf('foobar')]") == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]  # FNV-1a test vectors
    drawn = script("(() => { const next = random(1); return Array.from({ length: 2000 }, next); })()")
    assert all(0 <= value < 1 for value in drawn)
    assert sum(drawn) / 2000 == pytest.approx(0.5, abs=0.03)
    assert drawn[0] == pytest.approx(0.6270739405881613)  # mulberry32(1)


def test_votes_undo_and_the_end(script):
    assert script("vote(study, start(study, 'A', 'now'), 'both', 1, 'now').votes") == []
    assert script("vote({ ...study, ties: false }, start(study, 'A', 'now'), 'tie', 1, 'now').votes") == []
    assert script("undo(start(study, 'A', 'now')).votes") == []
    assert script("undo(vote(study, start(study, 'A', 'now'), 'tie', 1, 'now'))") == script("start(study, 'A', 'now')")
    state = script(LOOP)
    assert (len(state["votes"]), state["finished"], state["votes"][0]["ms"]) == (8, "then", 700)
    assert script(f"vote(study, {LOOP}, 'left', 1, 'later').votes.length") == 8
    assert script(f"undo({LOOP}).finished") is None


def test_a_session_survives_a_reload(script):
    part = "vote(study, vote(study, start(study, 'ANNA', 'now'), 'right', 812, 'x'), 'tie', 90, 'x')"
    assert script(f"restore(study, store({part}))") == script(part)
    assert script(f"restore(study, store({LOOP}))") == script(LOOP)


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{", '{"study": "other"}',
        "|s.votes[0].left = 'p99'", "|s.votes[0].choice = 'both'", "|s.votes.push(s.votes[0])",
        "|s.participant = 'a b'", "|s.participant = ''",
        "|s.votes = 3", "|s.study = 'other'",
    ],
)  # fmt: skip
def test_what_is_no_session_of_this_study_is_not_resumed(script, text):
    if text.startswith("|"):
        code = f"(() => {{ const s = JSON.parse(store({LOOP})); {text[1:]}; return restore(study, JSON.stringify(s)); }})()"
    else:
        code = f"restore(study, {json.dumps(text)})"
    assert script(code) is None


def test_codes(script):
    assert script("cleanCode(' anna-7 <b>\\u00e9 ')") == "ANNA-7B"
    assert script("cleanCode('x'.repeat(99)).length") == 24
    drawn = script("(() => { const next = random(5); return Array.from({ length: 50 }, () => drawCode(next)); })()")
    assert len(set(drawn)) == 50
    assert all(code == script(f"cleanCode('{code}')") and len(code) == 8 and not set(code) & set("01IOL") for code in drawn)


def test_the_file_is_what_scoring_reads(script, study, tmp_path):
    study.save(tmp_path / "study.html")
    assert script(f"fileName({LOOP})") == f"votes-{study.id}-ANNA.json"
    (tmp_path / "votes.json").write_text(script(f"file({LOOP})"))
    ballot = read_ballot(tmp_path / "votes.json", study.key)
    assert (ballot.code, len(ballot.votes), ballot.checks) == ("ANNA", 8, 2)
    assert score_study(tmp_path / "study.key.json", [tmp_path / "votes.json"], threshold=0).figures["votes"] == 6


@pytest.fixture(scope="module")
def browser():
    why = "playwright is not among the extras; pip install playwright, and have one of these browsers: " + ", ".join(BROWSERS)
    playwright = pytest.importorskip("playwright.sync_api", reason=why)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser, study, tmp_path):
    """The page, opened from its file; everything it asks for and complains about is recorded."""
    page_file, _ = study.save(tmp_path / "study.html")
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(page_file.as_uri())
    yield page
    assert page.complaints == []
    assert {url for url in page.asked if not url.startswith(("data:", "blob:"))} == {page_file.as_uri()}
    context.close()


def count(tab) -> str:
    tab.wait_for_timeout(330)  # the pause in which a double click does not count
    return tab.inner_text("#count")


def begin(tab, code: str = "anna") -> None:
    tab.fill("#code", code)
    tab.keyboard.press("Enter")


def test_in_a_browser_from_the_first_key_to_the_file(tab, study, tmp_path):
    begin(tab)
    assert count(tab) == "1 of 8"
    assert tab.inner_text("#wish") == "60 % pig, 40 % owl"
    keys = ["ArrowLeft", "ArrowRight", " ", "ArrowLeft", "u", "ArrowRight", "ArrowLeft", "Backspace", " ", "ArrowRight"]
    for key in keys:
        tab.keyboard.press(key)
        tab.wait_for_timeout(330)
    assert tab.inner_text("#count") == "7 of 8"
    tab.reload()
    assert count(tab) == "7 of 8"
    tab.click("#tie")
    assert count(tab) == "8 of 8"
    tab.click("#left")
    tab.wait_for_selector("#end:not([hidden])")
    with tab.expect_download() as caught:
        tab.click("#download")
    assert caught.value.suggested_filename == f"votes-{study.id}-ANNA.json"
    caught.value.save_as(tmp_path / "votes.json")
    ballot = read_ballot(tmp_path / "votes.json", study.key)
    assert [vote["choice"] for vote in ballot.votes] == ["left", "right", "tie", "right", "tie", "right", "tie", "left"]
    assert all(250 <= vote["ms"] < 20_000 for vote in ballot.votes)
    tab.click("summary")
    assert tab.input_value("#text") == (tmp_path / "votes.json").read_text()


def test_in_a_browser_left_is_what_is_shown_left(tab, study):
    begin(tab)
    pictures = tab.evaluate("JSON.parse(document.getElementById('study').textContent).pictures")
    for number in range(7):
        assert count(tab) == f"{number + 1} of 8"
        shown = tab.evaluate("[...document.querySelectorAll('.choice img')].map((each) => each.src)")
        tab.keyboard.press("ArrowLeft")
        tab.wait_for_function(f"document.getElementById('count').textContent === '{number + 2} of 8'")
        kept = json.loads(tab.evaluate(f"localStorage.getItem('picture-study:{study.id}:session:ANNA')"))
        vote = kept["votes"][number]
        assert [pictures[vote["left"]], pictures[vote["right"]]] == shown
        assert vote["choice"] == "left"


def test_in_a_browser_one_press_is_one_choice(tab):
    begin(tab)
    assert count(tab) == "1 of 8"
    tab.dblclick("#left")
    assert count(tab) == "2 of 8"
    tab.keyboard.down("ArrowRight")
    for _ in range(3):
        tab.keyboard.down("ArrowRight")  # as held down
        tab.wait_for_timeout(330)
    tab.keyboard.up("ArrowRight")
    assert count(tab) == "3 of 8"
    tab.keyboard.press("Control+ArrowLeft")
    tab.focus("#undo")
    tab.keyboard.press(" ")  # on a button, space presses the button
    assert count(tab) == "2 of 8"


def test_in_a_browser_a_pair_that_is_not_shown_yet_is_not_chosen_from(tab):
    begin(tab)
    assert count(tab) == "1 of 8"
    tab.evaluate(
        "() => { window.slow = []; HTMLImageElement.prototype.decode = () => new Promise((ready) => window.slow.push(ready)); }"
    )
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("u")  # back at the first pair before the second has come
    tab.evaluate("window.slow.splice(0, 2).forEach((ready) => ready())")  # which comes now
    assert count(tab) == "1 of 8"
    tab.keyboard.press("ArrowLeft")
    assert count(tab) == "1 of 8"
    tab.evaluate("window.slow.splice(0, 2).forEach((ready) => ready())")
    assert count(tab) == "1 of 8"
    tab.keyboard.press("ArrowLeft")
    assert count(tab) == "2 of 8"


def test_in_a_browser_another_participant(tab):
    begin(tab, "<>")
    assert tab.is_visible("#no-code")
    begin(tab, "one")
    assert count(tab) == "1 of 8"
    for _ in range(8):
        tab.wait_for_timeout(330)
        tab.keyboard.press("ArrowLeft")
    tab.wait_for_selector("#end:not([hidden])")
    tab.click("#next")
    assert len(tab.input_value("#code")) == 8
    begin(tab, "two")
    assert count(tab) == "1 of 8"
    assert tab.inner_text("#who") == "TWO"
    tab.evaluate("localStorage.removeItem(Object.keys(localStorage).find((key) => key.endsWith(':last')))")
    tab.reload()
    begin(tab, "one")
    assert tab.is_visible("#end")


def test_in_a_browser_for_eyes_ears_and_thumbs(browser, study, tmp_path):
    page_file, _ = study.save(tmp_path / "study.html")
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True, color_scheme=scheme)
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.tap("text=Start")
        page.wait_for_timeout(330)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        boxes = [page.locator(each).bounding_box() for each in ("#left", "#right", "#tie", "#undo")]
        assert all(box["height"] >= 44 and box["width"] >= 44 for box in boxes)
        assert boxes[0]["y"] == boxes[1]["y"]
        assert all(box["y"] + box["height"] < 640 for box in boxes)
        assert page.evaluate("document.activeElement.id") == "trial-title"
        assert [page.get_attribute(f"#{side}-picture", "alt") for side in ("left", "right")] == ["Left picture", "Right picture"]
        assert page.evaluate(CONTRAST) >= 4.5
        page.tap("#left")
        page.wait_for_timeout(330)
        assert page.inner_text("#count") == "2 of 8"
        context.close()


CONTRAST = """(() => {
  const light = (colour) => {
    const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => linear(Number(v) / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const ratios = [...document.querySelectorAll('p, button:not(:disabled), h1, h2, span, kbd, a')].map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
  return Math.min(...ratios);
})()"""
