"""Multiple kernel learning: K = sum of beta_m K_m over kernels on modalities."""

from ._classifier import MKLClassifier
from ._features import ModalityFourierFeatures, ModalityNystroem
from ._linear import LinearMKLClassifier, LinearMKLRegressor
from ._modality_kernels import ModalityKernels
from ._one_class import MKLOneClass
from ._path import KernelPath, mkl_path
from ._regressor import MKLRegressor
from ._transformer import MKLTransformer
from ._weighting import WEIGHTINGS

__all__ = [
    "WEIGHTINGS",
    "KernelPath",
    "LinearMKLClassifier",
    "LinearMKLRegressor",
    "MKLClassifier",
    "MKLOneClass",
    "MKLRegressor",
    "MKLTransformer",
    "ModalityFourierFeatures",
    "ModalityKernels",
    "ModalityNystroem",
    "mkl_path",
]
