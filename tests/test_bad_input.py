import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests import edge, tiny

MIX = "pig=0.55, sheep=0.25, snake=0.2"


@pytest.fixture(scope="module")
def model(backend, tmp_path_factory):
    return edge.save_model(tmp_path_factory.mktemp("run") / "distok.safetensors", backend)


@pytest.fixture
def refuse(capsys, monkeypatch, tmp_path, pipeline_folder, labeler_folder, model):
    """Run a command with the tiny checkpoints and return its one line on stderr; anything but a polite refusal fails."""
    monkeypatch.chdir(tmp_path)
    call = edge.CommandLine(capsys, monkeypatch)

    def run(*words: object, backend: object = pipeline_folder, labeler: object = labeler_folder, model: object = model) -> str:
        parts = ["--backend", backend, "--model", model, "--labeler", labeler] if words[0] in ("create", "explore") else []
        status, out, err = call(*words, *parts)
        assert (status, out) == (2, "")
        assert err.startswith("distok: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return run


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("pigg=1", "unknown class 'pigg'; did you mean 'pig'?"),
        ("zebra=1", "unknown class 'zebra'; the model knows cat, dog, lion, pig, sheep, snake"),
        ("pig=-1, cat=2", "the weight of 'pig' is -1, below zero; use 0 or more, or leave the class out"),
        ("pig=nan", "the weight of 'pig' is nan; use a finite number"),
        ("pig=inf, cat=1", "the weight of 'pig' is inf; use a finite number"),
        ("pig=0, cat=0", "all weights are zero; give at least one class a weight above zero"),
        ("", "the mix is empty; name at least one class"),
        ("pig=1, pig=1", "class 'pig' is named twice; add its weights up and name it once"),
        (",".join(f"c{i}=1" for i in range(10_000)), "10000 classes are more than a mix can hold; name at most 1000"),
    ],
)
def test_mixes(refuse, mix, message):
    assert message in refuse("create", mix)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", MIX, "--prompt", "a photo of a cat"], "has no {}; write {} where the concept goes"),
        (["create", MIX, "--prompt", ""], "has no {}; write {} where the concept goes"),
        (
            ["create", MIX, "--prompt", "a cute red photo " * 9 + "{}"],
            "is too long: its concept falls past 16 tokens; shorten it",
        ),
        (["create", MIX, "-n", -1], "cannot make -1 pictures in one go; ask for 1 to 1000"),
        (["create", MIX, "-n", 0], "cannot make 0 pictures"),
        (["create", MIX, "-n", 1_000_000], "cannot make 1000000 pictures in one go; ask for 1 to 1000"),
        (["create", MIX, "-n", "many"], "Invalid value for '-n'"),
        (["create", MIX, "--seed", -5], "the seed is -5; use a whole number from 0 to 2^63 - 1"),
        (["create", MIX, "--seed", 2**63 - 1, "-n", 2], "from 0 to 2^63 - 1 less the 1 that 2 pictures count up"),
        (["create", MIX, "--steps", 0], "steps is 0"),
        (
            ["create", MIX, "--seed", 2**63 - 1, "-n", 1, "--best-of", 3],
            "is too large to choose the best of 3: their seeds",
        ),
        (["create", MIX, "--steps", 1001], "steps is 1001, but this pipeline was trained with 1000; ask for 1000 at most"),
        (["create", MIX, "--size", 80_000_000], "but a multiple of 8 pixels is expected, 16384 at most; correct it"),
        (["create", MIX, "--prompt", "a \udcff {}"], r"the prompt 'a \udcff {}' holds bytes that are no UTF-8; type it again"),
        (["create", MIX, "--negative-prompt", "\udcff"], r"the negative prompt '\udcff' holds bytes that are no UTF-8"),
        (["create", "\udcff, cat", "--any-words"], r"the class '\udcff' holds bytes that are no UTF-8"),
        (["create", "<tcrt>, cat", "--any-words"], "the class '<tcrt>' holds <tcrt>, which is what a concept's place is called"),
        (["create", MIX, "--prompt", "a <tcrt> {}"], "the prompt 'a <tcrt> {}' holds <tcrt>, which is what a concept's place"),
        (["create", MIX, "--device", "meta"], "device 'meta' is not here"),
        (["baseline", "sentence", "pig, owl", "--prompt", "a \udcff {}"], "holds bytes that are no UTF-8; type it again"),
        (["export", "c.safetensors", "--format", "a1111/forge"], "unknown export format 'a1111/forge'; choose diffusers, a1111"),
        (["create", MIX, "--guidance-scale", "nan"], "guidance_scale is nan"),
        (["create", MIX, "--size", 13], "size is 13"),
        (["create", MIX, "--device", "toaster"], "unknown device 'toaster'; choose cpu or cuda"),
        (["create", MIX, "--device", "xpu"], "device 'xpu' is not here"),
        (["evaluate", "map", "--out", "r", "--device", "toaster"], "unknown device 'toaster'; choose cpu or cuda"),
        (["world", "train", "--stage", "vae", "--out", "w", "--device", "toaster"], "unknown device 'toaster'"),
        (["create", MIX, "--colour", "red"], "No such option"),  # the rest of the line is worded by the release of click
        (["create", MIX, "--concept", "c.safetensors"], "say what to make: a mix like"),
        (["create", "--concept", "c.safetensors", "--refine", 3], "--refine corrects the weights of a mix; give a mix"),
        (["create", MIX, "--refine", 65], "cannot refine by 65 rounds; give a number from 1 to 64"),
        (["create"], "say what to make: a mix like"),
        (["create", "--from-picture", "nothing.png"], "nothing.png does not exist or is not a file"),
        (["explore", "-n", -3], "cannot make -3 pictures"),
        (["explore", "-n", 5000], "cannot make 5000 pictures in one go; ask for 1 to 1000"),
        (["explore", "--prior", "uniform"], "unknown prior 'uniform'; choose normal, laplace, cauchy or mixture"),
        (["explore", "--prompt", "no place"], "has no {}"),
        (["read", "nothing.png"], "nothing.png does not exist or is not a file; give the path of a picture"),
        (["export", "nothing.safetensors"], "nothing.safetensors does not exist or is not a file"),
        (["train", "--backend", "x", "--out", "run"], "a backend of your own needs the classes to mix"),
        (["train", "--concepts", "nothing.txt", "--out", "run"], "nothing.txt cannot be read"),
        (["train", "--set", "steps", "--out", "run"], "--set 'steps' has no value; write NAME=VALUE"),
        (["train", "--set", "bank_count=80", "--out", "run"], "bank_count says how much of a bank is read at a time; give one"),
        (["train", "--set", "colour=1", "--out", "run"], "there is no training setting 'colour'"),
        (["train", "--set", "name=first", "--out", "run"], "there is no training setting 'name'"),
        (["baseline", "bass", "pig, owl", "--set", "preset=1"], "bass has no setting 'preset'"),
        (["baseline", "bass", "pig, owl", "--set", "name=1"], "bass has no setting 'name'"),
        (["train", "--preset", "huge", "--out", "run"], "there is no training preset 'huge'"),
        (["world", "draw", "pgi"], "unknown class 'pgi'; did you mean 'pig'"),
        (["world", "draw", "pig", "--scene", "mars"], "unknown scene 'mars'; the artist knows meadow"),
        (["world", "draw", "pig", "--size", 33], "the artist draws sides that are multiples of 32 up to 4096, not 33; try 32"),
        (["world", "train", "--stage", "dreams", "--out", "run"], "there is no stage 'dreams'; choose from"),
        (["evaluate", "nonsense", "--out", "report"], "unknown suite 'nonsense'; choose world, fidelity"),
        (
            ["evaluate", "ablation", "--out", "report", "--training-seeds", "5-9"],
            "--training-seeds '5-9' is not a list of whole numbers; write them by commas, as in 5,6,7",
        ),
        (["doctor", "--device", "cuda"], "--device says where a pipeline is to run; name its folder, or leave it out"),
        (["create", "--concept", "c.safetensors", "--any-words"], "--any-words lets a mix name other classes; give a mix"),
        (["nonsense"], "No such command 'nonsense'; see 'distok --help'"),
    ],
)
def test_options(refuse, words, message):
    assert message in refuse(*words)


@pytest.mark.parametrize("command", [["create", MIX, "-n", 1], ["explore", "-n", 1]])
def test_a_folder_that_cannot_be_written(refuse, command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot write to file/deep (Not a directory); choose another folder with --out" in refuse(
        *command, "--out", "file/deep"
    )


def test_a_name_that_is_too_long_for_the_system(refuse, tmp_path):
    from distok import Concept

    concept = Concept("c", {"text_encoder": torch.ones(1, 768)}).save(tmp_path / "c.safetensors")
    target = "x" * 250 + ".safetensors"
    said = f"distok: cannot use {target} (File name too long); choose another path, and run the command again\n"
    assert refuse("export", concept, "--out", target) == said


def test_a_folder_that_may_not_be_looked_into(refuse, monkeypatch, tmp_path):
    inside = Path.exists

    def exists(self, **options):  # as for anybody but root, who runs tests, too
        if self.name == "closed":
            raise PermissionError(13, "Permission denied", str(self))
        return inside(self, **options)

    monkeypatch.setattr(Path, "exists", exists)
    assert "cannot use closed (Permission denied); choose another path" in refuse("create", MIX, "--out", "closed")


def test_concept_files(refuse, tmp_path):
    (tmp_path / "poem.safetensors").write_text("a poem, not tensors")
    assert "is not a readable safetensors file" in refuse("create", "--concept", "poem.safetensors")
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "foreign.safetensors")
    assert "a safetensors file but not a DisTok concept" in refuse("create", "--concept", "foreign.safetensors")
    from distok import Concept

    wide = Concept("wide", {"text_encoder": torch.ones(1, 768)}).save(tmp_path / "wide.safetensors")
    refused = refuse("create", "--concept", wide)
    assert "is for text_encoder" in refused
    assert "open the backend it was made with" in refused
    assert "768" in refused
    wide.write_bytes(wide.read_bytes()[:-100])
    assert "copy it or make it again" in refuse("create", "--concept", wide)


def test_things_that_are_no_pictures(refuse, tmp_path):
    (tmp_path / "poem.png").write_text("a poem, not a picture")
    assert "poem.png is not a picture that can be read (it holds no picture); give a PNG or JPEG" in refuse("read", "poem.png")
    assert "does not exist or is not a file" in refuse("read", tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model_index.json").unlink(), "is not a diffusers pipeline (it holds no model_index.json)"),
        (lambda folder: (folder / "model_index.json").write_text("{"), "model_index.json is not readable JSON"),
        (lambda folder: shutil.rmtree(folder / "unet"), "unet is missing; copy the whole checkpoint again"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer is missing"),
        (lambda folder: cut(folder / "vae"), "is corrupt or truncated"),
        (lambda folder: cut(folder / "text_encoder"), "is corrupt or truncated"),
    ],
)
def test_spoiled_pipelines(refuse, pipeline_folder, tmp_path, spoil, message):
    shutil.copytree(pipeline_folder, tmp_path / "pipeline")
    spoil(tmp_path / "pipeline")
    assert message in refuse("create", MIX, backend="pipeline")


def cut(folder: Path) -> None:
    """Lose the end of a part's weights, as an interrupted copy does."""
    for path in folder.glob("*model*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])


def test_spoiled_models_and_labelers(refuse, model, labeler_folder, tmp_path):
    assert "does not exist or is not a file" in refuse("create", MIX, model="nothing.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(model.read_bytes()[:-10])
    assert "is corrupt or not a DisTok model" in refuse("create", MIX, model="cut.safetensors")
    assert "nothing does not exist here" in refuse("create", MIX, labeler="nothing")
    shutil.copytree(labeler_folder, tmp_path / "labeler")
    cut(tmp_path / "labeler")
    assert "is corrupt or truncated" in refuse("create", MIX, labeler="labeler")


def test_nothing_is_written_when_something_is_wrong(refuse, tmp_path):
    refuse("create", "pigg")
    refuse("create", MIX, "--prompt", "none")
    refuse("explore", "--prior", "uniform")
    assert list(tmp_path.iterdir()) == []


def _listening():
    """A background job ignores SIGINT, and a thread may have blocked it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def test_ctrl_c_that_something_swallowed_is_raised_again(tmp_path):
    """Libraries have places that catch whatever comes, and Ctrl-C may come there."""
    (tmp_path / "run.py").write_text(
        "import sys, time\n"
        "from distok.cli import main\n"
        "module = sys.modules['distok.cli.main']\n"
        "module.AGAIN = 0.2\n"
        "def deaf(**_):\n"
        "    for _ in range(2):\n"
        "        try:\n"
        "            print('ready', flush=True)\n"
        "            time.sleep(60)\n"
        "        except BaseException:\n"
        "            pass\n"
        "    time.sleep(60)\n"
        "module.app = deaf\n"
        "main()\n"
    )
    running = subprocess.Popen(
        [sys.executable, tmp_path / "run.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_listening
    )
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (130, "ready\n"), err
    assert err == "distok: stopped\n", "not every command can go on"


def test_ctrl_c_ends_in_one_line(tmp_path, pipeline_folder):
    (tmp_path / "names.txt").write_text("\n".join(tiny.NAMES))
    words = ["train", "--backend", pipeline_folder, "--concepts", "names.txt", "--out", "run", "--steps", "1000000"]
    words += ["--set", "estimate_count=0", "--set", "save_every=1", "--set", "hidden_dim=16"]
    running = subprocess.Popen(
        [Path(sys.executable).with_name("distok"), *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"},
        preexec_fn=_listening,
    )
    deadline = time.monotonic() + 100
    while not any((tmp_path / "run").glob("*")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    begun = [path.name for path in (tmp_path / "run").glob("*")]
    running.send_signal(signal.SIGINT)
    try:
        out, err = running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        status = Path(f"/proc/{running.pid}/status")  # asleep, and are signals held back?
        states = (
            [line for line in status.read_text().splitlines() if line.startswith(("State", "Sig", "Shd"))]
            if status.exists()
            else []
        )
        running.send_signal(signal.SIGABRT)  # the fault handler tells where it is
        said = running.communicate(timeout=30)[1]
        pytest.fail(f"it went on for a minute; at Ctrl-C its folder held {begun}; {states}; now it is here: {said}")
    assert begun, f"nothing was written: {err}"
    assert (running.returncode, out) == (130, "")
    assert err == "distok: stopped; run the same command again to go on\n"
