"""Files of other tools: what is in them, and the way back. Who loads them: test_concept_loaders.py."""

import hashlib
import json
import re
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from distok.concept import EXPORT_FORMATS, Concept, export_concept, import_concept, trigger
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.menagerie import home
from tests import tiny

WIDTHS = {
    "sd": {"text_encoder": 768},
    "sd2": {"text_encoder": 1024},
    "sdxl": {"text_encoder": 768, "text_encoder_2": 1280},
    "sd3": {"text_encoder": 768, "text_encoder_2": 1280, "text_encoder_3": 4096},
    "flux": {"text_encoder": 768, "text_encoder_2": 4096},
    "kandinsky21": {"prior_text_encoder": 768, "text_encoder": 1024},
    "kandinsky22": {"prior_text_encoder": 1280},
}
FITS = {"sd": "diffusers a1111", "sd2": "diffusers a1111", "sdxl": "diffusers sdxl sd3", "sd3": "sd3", "flux": "diffusers flux"}
KEYS = {
    ("sd", "diffusers"): ["<chimera>"],
    ("sd", "a1111"): ["emb_params"],
    ("sdxl", "sdxl"): ["clip_l", "clip_g"],
    ("flux", "flux"): ["clip_l", "t5xxl"],
    ("sd3", "sd3"): ["clip_l", "clip_g", "t5xxl"],
}


def make(widths, n=1, seed=0, name="chimera"):
    generator = torch.Generator().manual_seed(seed)
    vectors = {key: torch.randn(n, width, generator=generator) for key, width in widths.items()}
    provenance = {"backend": "tiny", "model_hash": "0123456789", "seed": str(seed)}
    return Concept(name, vectors, Distribution.parse("pig=0.6, sheep=0.4"), (0.1, -2.5, 1e-9), provenance)


def same(left, right):
    equal = all(torch.equal(left.vectors[key], right.vectors[key]) for key in right.vectors)
    told = [(c.name, list(c.vectors), c.distribution, c.z, c.provenance, c.hash) for c in (left, right)]
    return equal and told[0] == told[1]


def header(path):
    """The header as the format defines it, read without the library: 8 bytes of length, then JSON."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


@pytest.mark.parametrize(("kind", "style"), KEYS)
def test_a_file_has_the_keys_that_its_tool_looks_for(kind, style, tmp_path):
    concept = make(WIDTHS[kind], n=2)
    (path,) = export_concept(concept, tmp_path, style)
    assert path == tmp_path / "chimera.safetensors"
    found, content = header(path)
    told = found.pop("__metadata__")
    assert set(found) == set(KEYS[kind, style])
    for name, encoder in zip(KEYS[kind, style], WIDTHS[kind], strict=True):
        assert (found[name]["dtype"], found[name]["shape"]) == ("F32", [2, WIDTHS[kind][encoder]])
        assert torch.equal(load_file(path)[name], concept.vectors[encoder])
    assert all(isinstance(value, str) for value in told.values())
    assert told["modelspec.sai_model_spec"] == "1.0.0"
    assert told["modelspec.title"] == "chimera"
    assert told["modelspec.hash_sha256"] == "0x" + hashlib.sha256(content).hexdigest()
    assert told["modelspec.trigger_phrase"] == trigger(concept, path, style)
    assert len(told["modelspec.date"]) == len("2026-01-31")
    assert "pig=0.60, sheep=0.40" in told["modelspec.description"]


@pytest.mark.parametrize(
    ("kind", "style", "architecture", "implementation"),
    [
        ("sd", "a1111", "stable-diffusion-v1", "https://github.com/Stability-AI/generative-models"),
        ("sd", "diffusers", "stable-diffusion-v1", "diffusers"),
        ("sd2", "a1111", "stable-diffusion-v2-768-v", "https://github.com/Stability-AI/generative-models"),
        ("sdxl", "sdxl", "stable-diffusion-xl-v1-base", "https://github.com/Stability-AI/generative-models"),
        ("sdxl", "diffusers", "stable-diffusion-xl-v1-base", "diffusers"),
        ("sd3", "sd3", "stable-diffusion-3", "https://github.com/Stability-AI/generative-models"),
        ("flux", "flux", "flux-1", "https://github.com/black-forest-labs/flux"),
    ],
)
def test_modelspec_names_the_architecture(kind, style, architecture, implementation, tmp_path):
    told = header(export_concept(make(WIDTHS[kind]), tmp_path, style)[0])[0]["__metadata__"]
    assert told["modelspec.architecture"] == f"{architecture}/textual-inversion"
    assert told["modelspec.implementation"] == implementation


@pytest.mark.parametrize("kind", WIDTHS)
def test_what_fits_comes_back_and_what_does_not_is_refused(kind, tmp_path):
    concept = make(WIDTHS[kind])
    fits = FITS.get(kind, "").split()
    for style in EXPORT_FORMATS:
        if style in fits:
            assert same(import_concept(*export_concept(concept, tmp_path / f"{style}.safetensors", style)), concept)
            continue
        with pytest.raises(DistokError) as refused:
            export_concept(concept, tmp_path / f"{style}.safetensors", style)
        said = " and ".join(f"{key} {width}" for key, width in WIDTHS[kind].items())
        assert f"concept 'chimera' is for {said}, but the {style} format holds text_encoder 768" in str(refused.value)
        remedy = f"choose {' or '.join(fits)}" if fits else "no other tool loads it: keep the concept file"
        assert str(refused.value).endswith(remedy)
        assert not (tmp_path / f"{style}.safetensors").exists()


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_round_trip_changes_no_bit(tmp_path_factory, data):
    style = data.draw(st.sampled_from(EXPORT_FORMATS))
    encoders = {"a1111": 1, "sdxl": 2, "flux": 2}.get(style) or data.draw(st.integers(1 if style == "diffusers" else 2, 2))
    keys = ("text_encoder", "text_encoder_2")[:encoders]
    n = data.draw(st.integers(1, 4))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)  # the smallest and the largest too
    rows = {key: [[data.draw(numbers) for _ in range(data.draw(st.just(3)))] for _ in range(n)] for key in keys}
    mix = data.draw(st.none() | st.just(Distribution.parse("pig=0.1, cow=0.9")))
    z = data.draw(st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4).map(tuple))
    concept = Concept("x", {key: torch.tensor(value) for key, value in rows.items()}, mix, z, {"seed": "ü"})
    folder = tmp_path_factory.mktemp("trip")
    assert same(import_concept(*export_concept(concept, folder, style)), concept)


def test_a_file_there_is_kept(tmp_path):
    export_concept(make(WIDTHS["sdxl"]), tmp_path / "x.safetensors", "sdxl")
    before = (tmp_path / "x.safetensors").read_bytes()
    with pytest.raises(DistokError, match=r"x.safetensors exists already; write over it with --force"):
        export_concept(make(WIDTHS["sdxl"], seed=1), tmp_path / "x.safetensors", "sdxl")
    assert (tmp_path / "x.safetensors").read_bytes() == before
    export_concept(make(WIDTHS["sdxl"], seed=1), tmp_path / "x.safetensors", "sdxl", overwrite=True)
    assert same(import_concept(tmp_path / "x.safetensors"), make(WIDTHS["sdxl"], seed=1))
    (tmp_path / "y.text_encoder_2.safetensors").write_bytes(b"mine")  # the second of two files: the first is not written either
    with pytest.raises(DistokError, match="exists already"):
        export_concept(make(WIDTHS["sdxl"]), tmp_path / "y.safetensors", "diffusers")
    assert not (tmp_path / "y.text_encoder.safetensors").exists()


def test_exports_that_cannot_be(tmp_path):
    uneven = Concept("uneven", {"text_encoder": torch.ones(1, 768), "text_encoder_2": torch.ones(2, 1280)})
    with pytest.raises(DistokError, match=r"different numbers \(1 for text_encoder and 2 for text_encoder_2\)"):
        export_concept(uneven, tmp_path, "sdxl")
    with pytest.raises(DistokError, match="unknown export format 'pt'; choose diffusers, a1111, sdxl, flux, sd3"):
        export_concept(make(WIDTHS["sd"]), tmp_path, "pt")
    with pytest.raises(DistokError, match=r"x.pt does not end in .safetensors"):
        export_concept(make(WIDTHS["sd"]), tmp_path / "x.pt")


FOREIGN = [
    ({"<cat-toy>": (768,)}, {"text_encoder": 768}, "cat-toy"),
    ({"my cat": (3, 1024)}, {"text_encoder": 1024}, "my-cat"),
    ({"emb_params": (8, 768)}, {"text_encoder": 768}, "easy"),
    ({"*": (1, 768)}, {"text_encoder": 768}, "easy"),
    ({"clip_g": (2, 1280), "clip_l": (2, 768)}, {"text_encoder": 768, "text_encoder_2": 1280}, "easy"),
    ({"clip_l": (2, 768), "t5": (2, 4096)}, {"text_encoder": 768, "text_encoder_2": 4096}, "easy"),
    ({"clip_l": (1, 768), "clip_g": (1, 1280), "t5xxl": (1, 4096)}, WIDTHS["sd3"], "easy"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("tensors", "widths", "name"), FOREIGN)
def test_a_file_of_another_tool_is_a_concept_without_a_past(tensors, widths, name, dtype, tmp_path):
    held = {key: torch.randn(shape).to(dtype) for key, shape in tensors.items()}
    save_file(held, tmp_path / "easy.safetensors")
    concept = import_concept(tmp_path / "easy.safetensors")
    assert (concept.name, concept.distribution, concept.z) == (name, None, None)
    assert concept.provenance == {"imported_from": "easy.safetensors"}
    assert concept.widths == widths
    found = sorted((value for value in concept.vectors.values()), key=lambda value: value.shape[1])
    given_ = sorted((value.float().reshape(-1, value.shape[-1]) for value in held.values()), key=lambda value: value.shape[1])
    assert all(torch.equal(left, right) for left, right in zip(found, given_, strict=True))
    again = Concept.load(concept.save(tmp_path / "concept.safetensors"))
    assert list(again.for_backend(widths)) == list(widths)
    assert import_concept(tmp_path / "easy.safetensors", name="mine").name == "mine"


def test_one_file_an_encoder_is_taken_in_order(tmp_path):
    save_file({"<a>": torch.ones(768)}, tmp_path / "l.safetensors")
    save_file({"<a>": torch.ones(1280)}, tmp_path / "g.safetensors")
    concept = import_concept(tmp_path / "l.safetensors", tmp_path / "g.safetensors")
    assert (concept.name, concept.widths) == ("a", WIDTHS["sdxl"])


def test_files_of_one_export_belong_together(tmp_path):
    concept = make(WIDTHS["sdxl"])
    first, second = export_concept(concept, tmp_path, "diffusers")
    assert same(import_concept(second, first), concept)
    with pytest.raises(DistokError, match="is one of several files of a concept; give that for text_encoder_2 too"):
        import_concept(first)
    with pytest.raises(DistokError, match="is for text_encoder, and so is a file before it"):
        import_concept(first, first)
    _, stranger = export_concept(make(WIDTHS["sdxl"], seed=1, name="other"), tmp_path, "diffusers")
    with pytest.raises(DistokError, match="are not of one concept"):
        import_concept(first, stranger)
    foreign = tmp_path / "foreign.safetensors"  # of no export: in the place of either file
    save_file({"<a>": torch.ones(1280)}, foreign)
    for pair in ((first, foreign), (foreign, second)):
        with pytest.raises(DistokError, match=f"{re.escape(', '.join(map(str, pair)))} are not of one concept"):
            import_concept(*pair)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": torch.ones(4), "b": torch.ones(4)}, "holds a, b, but a textual inversion holds one token, emb_params, or clip_l"),
        ({}, "holds nothing, but a textual inversion holds one token"),
        ({"clip_l": torch.ones(1, 768), "unet": torch.ones(2)}, "holds clip_l, unet, but a textual inversion"),
        ({"projection.weight": torch.ones(4, 4)}, "holds projection.weight, but a textual inversion"),
        ({"emb_params": torch.ones(1, 2, 3)}, r"'emb_params' is torch.float32 \(1, 2, 3\), but vectors \[d\] or \[n, d\]"),
        ({"emb_params": torch.ones(1, 3, dtype=torch.int64)}, "'emb_params' is torch.int64"),
        ({"emb_params": torch.ones(0, 3)}, r"'emb_params' is torch.float32 \(0, 3\)"),
        ({"emb_params": torch.ones(76, 3)}, "holds 76 vectors, but a prompt has room for 75"),
        ({"emb_params": torch.full((1, 3), float("inf"))}, "are not finite numbers"),
        ({"clip_l": torch.ones(1, 1280), "clip_g": torch.ones(1, 768)}, "'clip_[gl]' is (768|1280) wide, which is another text"),
        ({"clip_l": torch.ones(1, 768), "clip_g": torch.ones(2, 1280)}, "vectors of different numbers"),
        ({"emb_params": torch.ones(1, 4096)}, "'emb_params' is 4096 wide, which is another text encoder's width"),
    ],
)
def test_what_is_no_textual_inversion_is_refused(tensors, message, tmp_path):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(DistokError, match=message) as refused:
        import_concept(tmp_path / "x.safetensors")
    assert "\n" not in str(refused.value)


def test_our_own_files_are_checked(tmp_path):
    concept = make(WIDTHS["sd"])
    (path,) = export_concept(concept, tmp_path / "x.safetensors", "a1111")
    told = header(path)[0]["__metadata__"]
    save_file({"emb_params": concept.vectors["text_encoder"] * 2}, path, told)
    with pytest.raises(DistokError, match=r"the vectors in .*x.safetensors \([0-9a-f]{10}\) are not those that were exported"):
        import_concept(path)
    for said in ("{", "[]", json.dumps({"export": "a1111"}), json.dumps(json.loads(told["distok"]) | {"z": ["a"]})):
        save_file({"emb_params": concept.vectors["text_encoder"]}, path, told | {"distok": said})
        with pytest.raises(
            DistokError,
            match=r"x.safetensors cannot be read|is a DisTok concept already|is not a DisTok concept that",
        ):
            import_concept(path)
    with pytest.raises(DistokError, match="is a DisTok concept already; use it as it is"):
        import_concept(concept.save(tmp_path / "concept.safetensors"))
    with pytest.raises(DistokError, match="is a DisTok model, not a token"):
        import_concept(home() / "distok.safetensors")
    (exported,) = export_concept(concept, tmp_path / "y.safetensors", "a1111")
    with pytest.raises(DistokError, match=r"was exported for other tools; turn it back into a concept with 'distok import"):
        Concept.load(exported)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(["", "a1111", "text_encoder"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["emb_params", "x"]), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(["export", "tensors", "widths", "hash", "name", "distribution", "z", "provenance", "format"]), junk)
@settings(max_examples=150, deadline=None)
def test_whatever_is_in_the_metadata_is_refused_or_read(tmp_path_factory, key, value):
    concept = make({"text_encoder": 4})
    folder = tmp_path_factory.mktemp("junk")
    told = header(export_concept(concept, folder / "x.safetensors", "a1111")[0])[0]["__metadata__"]
    said = json.dumps(json.loads(told["distok"]) | {key: value})
    save_file({"emb_params": concept.vectors["text_encoder"]}, folder / "x.safetensors", told | {"distok": said})
    refused = ""
    try:
        found = import_concept(folder / "x.safetensors")
    except DistokError as error:
        refused = str(error)
    assert "\n" not in refused
    assert refused or found.hash == concept.hash


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -1])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_truncated_file_is_refused(name, kept, tmp_path):
    path = export_concept(make(WIDTHS["sd"]), tmp_path / "x.safetensors", "a1111")[0].rename(tmp_path / name)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DistokError, match="is not a readable safetensors file"):
        import_concept(path, allow_pickle=True)
    with pytest.raises(DistokError, match="does not exist or is not a file"):
        import_concept(tmp_path)


def test_the_commands_there_and_back(distok_command, tmp_path):
    concept = make(WIDTHS["sdxl"])
    concept.save("concept.safetensors")
    status, out, _ = distok_command(
        "export", "concept.safetensors", "--format", "sdxl", "--name", "beast", "--out", "beast.safetensors"
    )
    assert status == 0
    assert "models/embeddings/" in out
    assert "embedding:beast" in out
    status, out, _ = distok_command("import", "beast.safetensors")
    assert (status, "wrote beast-concept.safetensors" in out, "pig=0.60, sheep=0.40" in out) == (0, True, True)
    again = Concept.load("beast-concept.safetensors")
    assert (again.name, again.hash, again.z, again.distribution) == ("beast", concept.hash, concept.z, concept.distribution)
    status, out, _ = distok_command("export", "concept.safetensors")
    assert status == 0
    assert "text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2" in out
    files = ["chimera-diffusers.text_encoder.safetensors", "chimera-diffusers.text_encoder_2.safetensors"]
    assert distok_command("import", *files, "--name", "back", "--out", "back.safetensors")[0] == 0
    assert Concept.load("back.safetensors").hash == concept.hash


def test_the_commands_refuse_in_one_line(distok_command):
    def refused(*words):
        status, out, err = distok_command(*words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        return err

    make(WIDTHS["sd"]).save("concept.safetensors")
    assert "text_encoder 768, but the flux format holds" in refused("export", "concept.safetensors", "--format", "flux")
    assert distok_command("export", "concept.safetensors", "--format", "a1111")[0] == 0
    assert "exists already; write over it with --force" in refused("export", "concept.safetensors", "--format", "a1111")
    assert distok_command("export", "concept.safetensors", "--format", "a1111", "--force")[0] == 0
    assert "is the concept itself" in refused("export", "concept.safetensors", "--out", "concept.safetensors", "--force")
    file = "chimera-a1111.safetensors"
    assert distok_command("import", file)[0] == 0
    assert "exists already; write over it with --force" in refused("import", file)
    assert distok_command("import", file, "--force")[0] == 0
    assert "is the file to import; choose another" in refused("import", file, "--out", file, "--force")
    assert "cannot name a concept" in refused("import", file, "--name", "a/b")
    torch.save({"<cat>": torch.ones(768)}, "cat.bin")
    assert "is a pickle" in refused("import", "cat.bin")
    assert distok_command("import", "cat.bin", "--allow-pickle")[0] == 0
    assert Concept.load("cat-concept.safetensors").widths == {"text_encoder": 768}


def test_widths_of_no_published_checkpoint_are_said(distok_command):
    make({"text_encoder": tiny.WIDTH}).save("concept.safetensors")
    status, out, _ = distok_command("export", "concept.safetensors", "--format", "a1111")
    assert status == 0
    assert "its vectors are for text_encoder 32: only a checkpoint with these widths loads them" in out
