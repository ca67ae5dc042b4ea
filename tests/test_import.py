import importlib
import importlib.metadata
import importlib.resources
import json
import pkgutil
import subprocess
import sys

import pytest

import distok

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "rich", "jaxtyping", "safetensors", "skia", "matplotlib")
MODULES = sorted(module.name for module in pkgutil.walk_packages(distok.__path__, "distok."))


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running ``code``."""
    code += "; import sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import distok", "import distok.cli", "import distok.errors, distok.files"])
def test_imports_are_light(code):
    assert loaded_after(code).isdisjoint(HEAVY)


@pytest.mark.parametrize("code", ["import distok.api, distok.gallery", "import distok.menagerie", "import distok.distribution"])
def test_these_imports_do_without_torch(code):
    assert loaded_after(code).isdisjoint({"torch", "diffusers", "transformers", "skia"})


def test_the_ruler_needs_no_artist():
    code = "import distok.menagerie.evaluator; from distok.evaluation import prompts, suites; prompts.look_prompts()"
    assert "skia" not in loaded_after(code), "whoever measures a model need not be able to draw"


def test_every_public_name_is_there():
    assert [name for name in distok.__all__ if getattr(distok, name, None) is None] == []
    assert dir(distok) == sorted(distok.__all__)
    with pytest.raises(AttributeError, match="module 'distok' has no attribute 'nonsense'"):
        _ = distok.nonsense


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_and_says_what_it_is(module):
    assert importlib.import_module(module).__doc__


def test_the_package_is_what_it_says():
    assert importlib.metadata.version("distok") == distok.__version__
    assert (importlib.resources.files("distok") / "py.typed").is_file()
