"""The Menagerie: the small world of plush animals that DisTok ships with. Imports nothing heavy by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


LARGEST = 4096  # pixels of a side; drawing takes sixteen bytes for each, and more than that helps nobody
SYSTEM = "libegl1 libgl1 libexpat1"  # what skia-python needs of a bare Linux


def home() -> Path:
    """The folder of the shipped checkpoint: pipeline, labeler, evaluator.safetensors, distok.safetensors, names.txt."""
    return Path(__file__).parent.parent / "assets" / "menagerie"


def need_artist() -> None:
    """Refuse, with the remedy, where the drawing library is not installed or lacks a library of the system."""
    from distok.errors import UnavailableError

    try:
        import skia  # noqa: F401
    except ModuleNotFoundError:
        raise UnavailableError("drawing needs skia-python; install it with: pip install skia-python") from None
    except ImportError as error:
        raise UnavailableError(f"skia-python cannot be opened ({error}); on Debian or Ubuntu: apt-get install {SYSTEM}") from None


def draw(
    weights: Mapping[str, float],
    seed: int = 0,
    style: str = "photo",
    scene: str | None = None,
    accessories: tuple[str, ...] = (),
    size: int = 128,
) -> "Image.Image":
    """Have the artist draw a creature with ``weights`` over species; a pure function of its arguments.

    Raises:
        DistokError: an unknown species, style, scene or accessory, weights that are none, more than one accessory, a size that
            is no multiple of 32 or too large, or the drawing library is not installed.
    """
    need_artist()
    from PIL import Image

    from distok.distribution import Distribution
    from distok.errors import DistokError
    from distok.menagerie.artist import draw as paint
    from distok.menagerie.artist import recipe

    if size % 32 or not 32 <= size <= LARGEST:
        nearest = min(max(32, round(size / 32) * 32), LARGEST)
        raise DistokError(f"the artist draws sides that are multiples of 32 up to {LARGEST}, not {size}; try {nearest}")
    if len(accessories) > 1:
        raise DistokError(f"the artist gives one accessory, not {len(accessories)}; choose one of {', '.join(accessories)}")
    made = recipe(
        Distribution.from_mapping(weights).as_dict(), seed, style, scene, accessory=accessories[0] if accessories else None
    )
    return Image.fromarray(paint(made, size))


def train_world(out: str | Path, **options: Any) -> Path:
    """See :func:`distok.menagerie.world.train_world`."""
    need_artist()
    from distok.pretrained import quiet

    quiet()
    from distok.menagerie.world import train_world as train

    return train(out, **options)
