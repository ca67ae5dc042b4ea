"""The artifact: a creative token with where it came from, as a file, inside a picture, and exported to other tools."""

from distok.concept.concept import Concept, digest, digest_weights
from distok.concept.export import export_concept, targets, trigger
from distok.concept.formats import EXPORT_FORMATS, unusual
from distok.concept.importing import import_concept
from distok.concept.picture import Recipe, load_picture, make_recipe, read_recipe, write_picture
from distok.concept.sheet import contact_sheet

__all__ = [
    "EXPORT_FORMATS",
    "Concept",
    "Recipe",
    "contact_sheet",
    "digest",
    "digest_weights",
    "export_concept",
    "import_concept",
    "load_picture",
    "make_recipe",
    "read_recipe",
    "targets",
    "trigger",
    "unusual",
    "write_picture",
]
