"""DisTok: weights over named classes become one reusable token for a frozen text-to-image pipeline.

    import distok

    creator = distok.open()
    creation = creator.create("pig=0.55, sheep=0.25, snake=0.2", prompt="a watercolor of a {}", n=4, seed=0)
    print(creation.measured, creation.kl)

Importing this package imports nothing heavy: every name below loads its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from distok.errors import DistokError

if TYPE_CHECKING:
    from distok.api import Creation, Creator, open
    from distok.backends import Backend, open_backend
    from distok.concept import Concept, Recipe, export_concept, import_concept, read_recipe
    from distok.distribution import Distribution, dirichlet, js, kl, sample_prior, spearman
    from distok.labelers import Labeler, open_labeler
    from distok.model import DisTok, DisTokSettings
    from distok.training import Trainer, TrainSettings

__version__ = "0.1.0"

_HOMES = {
    "distok.api": ("Creation", "Creator", "open"),
    "distok.backends": ("Backend", "open_backend"),
    "distok.concept": ("Concept", "Recipe", "export_concept", "import_concept", "read_recipe"),
    "distok.distribution": ("Distribution", "dirichlet", "js", "kl", "sample_prior", "spearman"),
    "distok.labelers": ("Labeler", "open_labeler"),
    "distok.model": ("DisTok", "DisTokSettings"),
    "distok.training": ("TrainSettings", "Trainer"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Backend",
    "Concept",
    "Creation",
    "Creator",
    "DisTok",
    "DisTokSettings",
    "DistokError",
    "Distribution",
    "Labeler",
    "Recipe",
    "TrainSettings",
    "Trainer",
    "__version__",
    "dirichlet",
    "export_concept",
    "import_concept",
    "js",
    "kl",
    "open",
    "open_backend",
    "open_labeler",
    "read_recipe",
    "sample_prior",
    "spearman",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'distok' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
