"""Early fusion: the modalities' features side by side, and one model on them."""

from ._concatenator import ModalityConcatenator
from ._estimators import EarlyFusionClassifier, EarlyFusionRegressor

__all__ = ["EarlyFusionClassifier", "EarlyFusionRegressor", "ModalityConcatenator"]
