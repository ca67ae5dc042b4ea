"""Training a DisTok: settings and presets, the trainer, and the estimation bank."""

from distok.training.calibration import Calibration, calibrate
from distok.training.estimation import Bank, collect, evenly, mixture_tokens, sample_tokens
from distok.training.parallel import Processes
from distok.training.settings import PRESETS, TrainSettings, preset
from distok.training.tasks import Allowed
from distok.training.trainer import MODEL_FILE, Losses, Trainer, train

__all__ = [
    "MODEL_FILE",
    "PRESETS",
    "Allowed",
    "Bank",
    "Calibration",
    "Losses",
    "Processes",
    "TrainSettings",
    "Trainer",
    "calibrate",
    "collect",
    "evenly",
    "mixture_tokens",
    "preset",
    "sample_tokens",
    "train",
]
