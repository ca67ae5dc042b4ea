"""The recipe inside a picture: a PNG's ``distok`` JSON chunk, and a ``parameters`` line that A1111-style readers understand."""

import io
import json
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, PngImagePlugin

from distok.concept.concept import Concept
from distok.errors import DistokError
from distok.files import from_json, write_bytes

CHUNK = "distok"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a picture depends on.

    Attributes:
        prompt: with ``{}`` where the concept goes.
        seed: the picture's own.
        steps, guidance_scale, size: of the sampler, as used; the picture is size pixels square.
        concept, concept_hash: the concept's name and the hash of its vectors.
        distribution: the mix asked for, or None for an explored concept.
        z: the latent that the concept was decoded from, or None.
        names_hash: of the classes that the model was trained on.
        backend, backend_hash, model_hash: the pipeline, its text encoder, the DisTok model.
        fingerprint: of the whole pipeline, see ``Backend.fingerprint``; empty where an older version wrote the picture.
        version: of the package.
    """

    prompt: str
    seed: int
    steps: int
    guidance_scale: float
    size: int
    concept: str
    concept_hash: str
    distribution: dict[str, float] | None
    z: list[float] | None
    names_hash: str
    backend: str
    backend_hash: str
    model_hash: str
    version: str
    sampler: str = ""
    negative_prompt: str = ""
    fingerprint: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return asdict(self)

    def parameters(self) -> str:
        """Return the line that A1111, and the many readers of its pictures, show."""
        lines = [self.prompt.replace("{}", self.concept)]
        if self.negative_prompt:
            lines.append(f"Negative prompt: {self.negative_prompt}")
        settings = {
            "Steps": self.steps,
            "Sampler": self.sampler or "default",
            "CFG scale": f"{self.guidance_scale:g}",
            "Seed": self.seed,
            "Size": f"{self.size}x{self.size}",
            "Model hash": self.backend_hash,
            "Model": self.backend,
            "TI hashes": f"{self.concept}: {self.concept_hash}",
            "Version": f"DisTok {self.version}",
        }
        return "\n".join([*lines, ", ".join(f"{key}: {_quoted(str(value))}" for key, value in settings.items())])


def _quoted(value: str) -> str:
    """A value as A1111 writes it, so that the commas and colons in it end nothing."""
    return json.dumps(value, ensure_ascii=False) if any(sign in value for sign in ",:\n") else value


def make_recipe(concept: Concept, **settings: Any) -> Recipe:
    """Return the recipe of a picture of ``concept``; ``settings`` are the other fields."""
    return Recipe(
        concept=concept.name,
        concept_hash=concept.hash,
        distribution=concept.distribution and concept.distribution.as_dict(),
        z=None if concept.z is None else list(concept.z),
        **settings,
    )


def write_picture(path: str | Path, picture: Image.Image, recipe: Recipe | None = None) -> Path:
    """Write a PNG atomically, with its recipe inside where one is given."""
    chunks = PngImagePlugin.PngInfo()
    if recipe is not None:
        chunks.add_text("parameters", recipe.parameters())
        chunks.add_text(CHUNK, json.dumps(recipe.as_dict()))  # ASCII, so that it is a plain tEXt chunk
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=chunks)
    return write_bytes(path, buffer.getvalue())


def load_picture(path: str | Path) -> Image.Image:
    """Read a picture as RGB, transparency laid on white, a photo turned as its camera says.

    Raises:
        DistokError: the file is missing, not a picture, broken, or too large to be one.
    """
    picture = _open(path)
    with suppress(Exception):  # whatever libraries raise on notes that are broken: then it stays as it lies
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):  # Pillow would clip what is over 255, and make it all white
        picture = picture.convert("I").point(lambda level: level / 257).convert("L")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def read_recipe(path: str | Path) -> Recipe:
    """Read the recipe back out of a PNG.

    Raises:
        DistokError: not a picture, or a picture without a (readable) recipe.
    """
    text = _open(path).info.get(CHUNK)
    if not isinstance(text, str):
        raise DistokError(f"{path} has no recipe inside; give a PNG that distok wrote and no other program has saved since")
    try:
        said = from_json(text)
        return _typed(Recipe(**{field.name: said[field.name] for field in fields(Recipe) if field.name in said}))
    except (ValueError, TypeError) as error:
        raise DistokError(
            f"the recipe inside {path} cannot be read ({error}); it may be from another version of distok"
        ) from None


def _typed(recipe: Recipe) -> Recipe:
    """The recipe, if each field is of its type; others would fail later, far from the file.

    Raises:
        TypeError: one is not.
    """
    kinds: dict[str, Any] = {"seed": int, "steps": int, "size": int, "guidance_scale": int | float}
    kinds |= {"distribution": dict | None, "z": list | None}
    for name, value in vars(recipe).items():
        if isinstance(value, bool) or not isinstance(value, kinds.get(name, str)):
            raise TypeError(f"{name} is {value!r}")
    if not all(isinstance(each, int | float) for each in (*(recipe.z or ()), *(recipe.distribution or {}).values())):
        raise TypeError("what should be numbers are none")
    return recipe


def _open(path: str | Path) -> Image.Image:
    if not Path(path).is_file():
        raise DistokError(f"{path} does not exist or is not a file; give the path of a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture: Image.Image = Image.open(path)
            picture.load()
        return picture
    except Exception as error:  # the reader of each format raises what it likes
        reason = "it holds no picture" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise DistokError(f"{path} is not a picture that can be read ({reason}); give a PNG or JPEG") from None
