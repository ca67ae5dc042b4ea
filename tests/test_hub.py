"""A DisTok as a hub repository: folders, the local cache, a pinned revision, a push to a server that speaks as the hub does."""

import json
import os
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from distok.errors import DistokError
from distok.menagerie import home
from distok.model import DisTok, DisTokSettings

NAMES = ("pig", "sheep", "cow")
OFFLINE = "not in the local hub cache, and HF_HUB_OFFLINE=1 forbids the network; set HF_HUB_OFFLINE=0 to allow it"


def make(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DisTok(DisTokSettings(token_dim=16, latent_dim=4, hidden_dim=32))
    model.provenance = {"names": json.dumps(NAMES), "backend": "abc"}
    return model.eval()


def same(left, right):
    tensors = left.state_dict()
    return all(torch.equal(value, tensors[key]) for key, value in right.state_dict().items()) and left.settings == right.settings


@pytest.fixture
def cache(tmp_path):
    """A hub cache of two revisions, as huggingface_hub lays it out."""
    repository = tmp_path / "cache" / "models--person--creatures"
    for seed, revision in enumerate(("a" * 40, "b" * 40)):
        make(seed).save_pretrained(repository / "snapshots" / revision)
    for name, revision in (("main", "b" * 40), ("v1", "a" * 40)):
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / name).write_text(revision)
    return tmp_path / "cache"


def test_a_saved_folder_is_the_model(tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "creatures")
    assert sorted(path.name for path in (tmp_path / "creatures").iterdir()) == ["README.md", "config.json", "distok.safetensors"]
    for given in (tmp_path / "creatures", str(tmp_path / "creatures" / "distok.safetensors")):
        again = DisTok.from_pretrained(given)
        assert same(again, model)
        assert (again.provenance, again.training) == (model.provenance, False)
    assert json.loads((tmp_path / "creatures" / "config.json").read_text())["settings"]["token_dim"] == 16


def test_the_file_is_the_one_that_save_writes(tmp_path):
    """The shipped model, metadata and all, byte for byte; a training run's folder has no config.json and loads too."""
    shipped = home() / "distok.safetensors"
    model = DisTok.from_pretrained(shipped)
    model.save_pretrained(tmp_path / "menagerie")
    assert (tmp_path / "menagerie" / "distok.safetensors").read_bytes() == shipped.read_bytes()
    (tmp_path / "menagerie" / "config.json").unlink()
    assert same(DisTok.from_pretrained(tmp_path / "menagerie"), model)


def test_the_card_has_the_figures_or_says_that_there_are_none(tmp_path):
    folder = tmp_path / "creatures"
    make().save_pretrained(folder, figures={"KL | asked, measured": 0.25, "pictures": 64})
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.license) == ("distok", "apache-2.0")
    assert "| KL \\| asked, measured | 0.25 |" in card.text
    assert "| pictures | 64 |" in card.text
    assert "3 known classes: pig, sheep, cow" in card.text
    assert "No figures" not in card.text
    make(1).save_pretrained(folder)  # another model: the figures of the first are gone from the card
    text = (folder / "README.md").read_text()
    assert "No figures were measured." in text
    assert "0.25" not in text


def test_a_card_of_ones_own_is_kept(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    make().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    with pytest.raises(DistokError, match=r"README.md is not a card of distok's and is kept, so figures have no place"):
        make().save_pretrained(tmp_path, figures={"KL": 1})


def test_a_hub_id_and_a_pinned_revision_come_from_the_cache(cache):
    first, second = make(0), make(1)
    assert not same(first, second)
    assert same(DisTok.from_pretrained("person/creatures", cache_dir=cache), second)
    assert same(DisTok.from_pretrained("person/creatures", revision="v1", cache_dir=cache), first)
    assert same(DisTok.from_pretrained("person/creatures", revision="a" * 40, cache_dir=cache), first)
    assert DisTok.from_pretrained("person/creatures", cache_dir=cache).provenance["backend"] == "abc"
    (cache / "models--person--creatures" / "snapshots" / ("a" * 40) / "config.json").unlink()  # a file put there by hand
    assert same(DisTok.from_pretrained("person/creatures", revision="v1", cache_dir=cache), first)


def test_what_is_not_cached_is_one_line(cache):
    with pytest.raises(DistokError) as refused:
        DisTok.from_pretrained("person/creatures", revision="c" * 40, cache_dir=cache)
    assert f"person/creatures at revision {'c' * 40} is no folder here and cannot be had from the hub ({OFFLINE})" in str(
        refused.value
    )
    with pytest.raises(DistokError, match="person/nothing is no folder here") as refused:
        DisTok.from_pretrained("person/nothing", cache_dir=cache)
    assert "\n" not in str(refused.value)
    with pytest.raises(DistokError, match="Repo id must be in the form"):
        DisTok.from_pretrained("no/such/folder", cache_dir=cache)


def test_a_broken_snapshot_is_named(cache):
    path = cache / "models--person--creatures" / "snapshots" / ("b" * 40) / "distok.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DistokError, match=r"distok\.safetensors is not a readable safetensors file"):
        DisTok.from_pretrained("person/creatures", cache_dir=cache)
    with pytest.raises(DistokError, match="does not exist"):
        DisTok.from_pretrained(cache)


def test_a_push_is_refused_offline():
    with pytest.raises(DistokError, match=r"person/creatures cannot be pushed to the hub \(HF_HUB_OFFLINE=1 forbids the network"):
        make().push_to_hub("person/creatures")


UNASKED = """
import huggingface_hub.constants, sys
from distok.errors import DistokError
from distok.model import DisTok

for call in (DisTok.from_pretrained, DisTok.load(sys.argv[1]).push_to_hub):
    try:
        call("person/creatures")
    except DistokError as error:
        print(error)
"""


def test_a_library_that_was_imported_before_asks_no_network_either(tmp_path):
    """It reads HF_HUB_OFFLINE on import, before DisTok has set it; the tests' guard ends whatever asks for a host."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | {"HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", UNASKED, make().save(tmp_path / "distok.safetensors")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    load, push = done.stdout.splitlines()
    assert OFFLINE in load
    assert "person/creatures cannot be pushed to the hub (HF_HUB_OFFLINE=1 forbids the network" in push


SERVER = '''
import base64, json, socket, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION, store, seen = "d" * 40, {}, []


class Hub(BaseHTTPRequestHandler):
    """The requests of create_repo, upload_folder and hf_hub_download, answered as the hub answers them."""

    def log_message(self, *words): pass

    def answer(self, body, status=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen.append((self.path.split("?")[0], self.headers.get("authorization")))
        if "/preupload/" in self.path:
            paths = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    store[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"http://{self.headers['Host']}/person/creatures/commit/{REVISION}", "commitOid": REVISION})
        elif self.path == "/api/repos/create":
            self.answer({"url": f"http://{self.headers['Host']}/person/creatures"})
        else:
            self.answer({"warnings": [], "errors": []})

    def do_GET(self):
        if self.path.startswith("/api/models/person/creatures/revision/"):  # huggingface_hub below 1 asks how to upload
            return self.answer({"id": "person/creatures", "xetEnabled": False})
        head, _, name = self.path.partition("/resolve/")
        revision, _, name = name.partition("/")
        if head == "/person/creatures" and revision in ("main", REVISION) and name in store:
            self.answer(store[name], ETag=f'"{len(store[name])}"', X_Repo_Commit=REVISION)
        else:
            self.answer({"error": "not found"}, 404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    socket.create_connection(server.server_address, timeout=5).close()
except OSError:
    sys.exit(77)  # no loopback on this machine

import os

os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
from distok.model import DisTok

model = DisTok.load(sys.argv[1])
url = model.push_to_hub("person/creatures", figures={"KL": 0.25}, token="hf_secret")
for name, data in store.items():
    (Path(sys.argv[2]) / name).write_bytes(data)
again = DisTok.from_pretrained("person/creatures", revision=REVISION)
again.save(Path(sys.argv[2]) / "again.safetensors")
cards = []
for options in ({"ignore_patterns": "README.md"}, {}):
    store["README.md"] = b"mine"
    model.push_to_hub("person/creatures", token="hf_secret", **options)
    cards.append(store["README.md"] == b"mine")
print(json.dumps({"url": url.commit_url, "seen": seen, "kept": cards}))
'''


def test_a_push_arrives_and_loads_again(tmp_path):
    """huggingface_hub itself, online, against a server on this machine."""
    path = make().save(tmp_path / "distok.safetensors")
    (tmp_path / "got").mkdir()
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SERVER, path, tmp_path / "got"], env=environment, capture_output=True, text=True, timeout=120
    )
    if done.returncode == 77:
        pytest.skip("no loopback interface")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["url"].endswith(f"/person/creatures/commit/{'d' * 40}")
    assert ["/api/repos/create", "Bearer hf_secret"] in told["seen"]
    assert told["kept"] == [True, False], "a card that somebody wrote on the hub"
    assert (tmp_path / "got" / "distok.safetensors").read_bytes() == path.read_bytes()
    assert (tmp_path / "got" / "again.safetensors").read_bytes() == path.read_bytes()
    card = (tmp_path / "got" / "README.md").read_text()
    assert 'DisTok.from_pretrained("person/creatures")' in card
    assert "| KL | 0.25 |" in card
