"""Multiple kernel learning: K = sum of beta_m K_m over kernels on modalities."""

from ._features import ModalityFourierFeatures, ModalityNystroem
from ._modality_kernels import ModalityKernels

__all__ = ["ModalityFourierFeatures", "ModalityKernels", "ModalityNystroem"]
