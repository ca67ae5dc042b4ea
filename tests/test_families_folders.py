"""Folders of the families as people have them: too large, in half precision, in shards, broken; and the commands on them."""

import json
import shutil

import pytest
import torch

from distok.backends import FAMILIES, open_backend
from distok.errors import DistokError
from tests import tiny_families
from tests.tiny import NAMES


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """A tiny pipeline of the family that a test names, in a folder of that name."""
    torch.set_num_threads(1)
    return tiny_families.save(request.param, tmp_path_factory.mktemp("family") / request.param)


@pytest.mark.parametrize("folder", ["sdxl"], indirect=True, scope="module")
def test_too_little_memory_is_said_before_loading(folder, monkeypatch):
    from distok.backends import loading

    sizes = loading.weight_bytes(folder)
    stored = sum(path.stat().st_size for path in folder.glob("*/*.safetensors"))
    assert 0.8 * stored < sum(sizes.values()) <= stored
    assert sum(loading.weight_bytes(folder, torch.float16).values()) * 2 == sum(
        loading.weight_bytes(folder, torch.float32).values()
    )
    monkeypatch.setattr(loading, "free_bytes", lambda device: 1000)
    monkeypatch.setattr("distok.backends.pipeline.load_pipeline", lambda *given: pytest.fail("it was loaded all the same"))
    with pytest.raises(DistokError, match=r"takes about 0\.0 GiB on cpu, and 0\.0 GiB are free; give --dtype bfloat16"):
        open_backend(folder)


@pytest.mark.parametrize("folder", ["sdxl"], indirect=True, scope="module")
def test_offload_is_chosen_by_what_fits(folder):
    from distok.backends.loading import choose_offload, weight_bytes

    sizes = weight_bytes(folder)
    text = sizes["text_encoder"] + sizes["text_encoder_2"]
    needed = {"fast": sum(sizes.values()), "balanced": text + max(sizes["unet"], sizes["vae"]), "low": text}
    for mode, size in needed.items():
        assert choose_offload(folder, sizes, "cuda", None, "auto", int(1.2 * size) + 1) == mode
        with pytest.raises(DistokError, match=r"takes about .* or --offload auto"):
            choose_offload(folder, sizes, "cuda", None, mode, size)
    with pytest.raises(DistokError, match="offload 'low' moves weights between a GPU and memory, and the device is cpu"):
        open_backend(folder, offload="low")
    with pytest.raises(DistokError, match="offload is 'some'; choose one of auto, fast, balanced, low"):
        open_backend(folder, offload="some")


@pytest.mark.parametrize("folder", ["sdxl"], indirect=True, scope="module")
def test_half_precision_files_are_found_by_their_variant(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "half")
    for path in copied.glob("*/*model*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert open_backend(copied).hash == open_backend(folder).hash


@pytest.mark.parametrize("folder", ["sd3"], indirect=True, scope="module")
def test_half_precision_of_some_parts_and_in_shards(folder, tmp_path):
    """As published: both precisions of the text encoders, T5 in shards, and the transformer in one alone."""
    from distok.backends import loading

    copied = shutil.copytree(folder, tmp_path / "both")
    plain = loading.weight_bytes(folder)
    big = open_backend(folder).pipe.text_encoder_3
    big.save_pretrained(copied / "text_encoder_3", variant="fp16", max_shard_size="40KB")
    assert list((copied / "text_encoder_3").glob("model.fp16-00001-of-*.safetensors")), "not in shards"
    (copied / "vae_1_0").mkdir()
    shutil.copy(next((folder / "vae").glob("*.safetensors")), copied / "vae_1_0" / "diffusion_pytorch_model.safetensors")
    shutil.copy(next((folder / "vae").glob("*.safetensors")), copied / "vae" / "diffusion_pytorch_model.non_ema.safetensors")
    assert loading.weight_bytes(copied) == plain, "nothing is counted twice"
    (copied / "text_encoder_3" / "model.safetensors").unlink()
    assert open_backend(copied).hash == open_backend(folder).hash


@pytest.mark.parametrize("folder", ["sd1", "flux"], indirect=True, scope="module")
def test_a_checkpoint_in_half_precision_is_opened_in_single(folder, tmp_path):
    """Left to itself each library takes another type, and parts of two types do not work together."""
    half = open_backend(folder, dtype=torch.bfloat16)
    half.pipe.save_pretrained(tmp_path / "half")
    backend = open_backend(tmp_path / "half")
    parts = [part for part in backend.pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert {weight.dtype for part in parts for weight in part.parameters()} == {torch.float32}
    assert torch.isfinite(backend.render_pixels(["a cat"], seeds=[1], steps=1, size=32)).all()


@pytest.mark.parametrize("folder", ["flux"], indirect=True, scope="module")
def test_an_unsupported_family_names_the_supported(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps({**index, "_class_name": "SanaPipeline"}))
    with pytest.raises(DistokError, match="is a SanaPipeline, which is not supported; supported families: StableDiff"):
        open_backend(copied)


def test_distok_backends_shows_every_family(distok_command):
    status, out, _ = distok_command("backends")
    shown = " ".join(out.split())
    assert status == 0
    for name, family in FAMILIES.items():
        assert name in shown
        assert all(key in shown for key in family.enters)
    status, out, _ = distok_command("backends", "--json")
    assert (status, list(json.loads(out))) == (0, list(FAMILIES))


@pytest.mark.parametrize("folder", ["sdxl"], indirect=True, scope="module")
def test_doctor_lists_what_a_checkpoint_lacks(folder, tmp_path, distok_command):
    status, out, _ = distok_command("doctor", folder, "--json")
    whole = json.loads(out)
    assert (status, whole["problems"]) == (0, [])
    assert whole["needs"]["float32"] == pytest.approx(2 * whole["needs"]["float16"], abs=2)
    copied = shutil.copytree(folder, tmp_path / "broken")
    shutil.rmtree(copied / "text_encoder_2")
    (copied / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no")
    status, out, _ = distok_command("doctor", copied)
    shown = " ".join(out.split())
    assert status == 1
    assert "text_encoder_2 is missing; copy the whole checkpoint again" in shown
    assert "diffusion_pytorch_model.safetensors is corrupt or truncated" in shown


@pytest.mark.parametrize("folder", ["kandinsky21", "flux"], indirect=True, scope="module")
def test_training_and_creating_from_the_command_line(folder, tmp_path, distok_command):
    """The family's own preset trains; the model makes a picture; another family's concept is refused."""
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    papers = folder.name == "kandinsky21"
    (folder / "distok.json").write_text(json.dumps({"steps": 1, "size": 64 if papers else 32, "prior_steps": 2}))
    train = ["train", "--backend", folder, "--concepts", "names.txt", "--out", "run"]
    assert distok_command(*train, "--steps", 3, "--set", "hidden_dim=16", "--set", "estimate_count=0")[0] == 0
    from distok.model import DisTok

    settings = json.loads(DisTok.load(tmp_path / "run" / "distok.safetensors").provenance["settings"])
    assert (settings["epsilon_restrictive"] == 0.85) == papers, "the paper's thresholds are its own base's"
    status, out, _ = distok_command("create", "cat=0.7, dog=0.3", "--backend", folder, "--model", "run", "-n", 1, "--json")
    made = json.loads(out)
    assert (status, len(made["pictures"])) == (0, 1)
    from distok.concept import Concept

    assert {k: v.shape[1] for k, v in Concept.load(made["concept"]).vectors.items()} == open_backend(folder).widths
    with pytest.raises(DistokError, match=r"is for .* and .* takes text_encoder 7"):
        Concept.load(made["concept"]).for_backend({"text_encoder": 7})
