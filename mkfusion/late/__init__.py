"""Late fusion: a model per modality, their decisions combined by a rule."""

from .._contributions import ModalityContributions
from ._classifier import LateFusionClassifier
from ._regressor import LateFusionRegressor

__all__ = ["LateFusionClassifier", "LateFusionRegressor", "ModalityContributions"]
