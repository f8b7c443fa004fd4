"""Kernels and their Gram matrices, near the machine's limit."""

from ._approx import (
    FourierMap,
    NystroemMap,
    fourier_features,
    fourier_map,
    nystroem_features,
    nystroem_map,
)
from ._base import Kernel, Product, Scaled, Sum
from ._given import FunctionKernel, Precomputed
from ._gram import KERNELS, as_kernel, combine, diagonal, gram, stack
from ._landmarks import Landmarks, choose_landmarks, ridge_leverage_scores
from ._matrices import (
    GramTransform,
    alignment,
    center,
    fit_transform_gram,
    ideal_kernel,
    nearest_psd,
    normalize,
    transform_gram,
)
from ._sequence import GlobalAlignment, Spectrum
from ._store import KernelStore
from ._vector import (
    RBF,
    AdditiveChi2,
    Categorical,
    Chi2,
    Cosine,
    HistogramIntersection,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    RationalQuadratic,
    Sigmoid,
)

__all__ = [
    "KERNELS",
    "RBF",
    "AdditiveChi2",
    "Categorical",
    "Chi2",
    "Cosine",
    "FourierMap",
    "FunctionKernel",
    "GlobalAlignment",
    "GramTransform",
    "HistogramIntersection",
    "Kernel",
    "KernelStore",
    "Landmarks",
    "Laplacian",
    "Linear",
    "Matern",
    "NystroemMap",
    "Polynomial",
    "Precomputed",
    "Product",
    "RationalQuadratic",
    "Scaled",
    "Sigmoid",
    "Spectrum",
    "Sum",
    "alignment",
    "as_kernel",
    "center",
    "choose_landmarks",
    "combine",
    "diagonal",
    "fit_transform_gram",
    "fourier_features",
    "fourier_map",
    "gram",
    "ideal_kernel",
    "nearest_psd",
    "normalize",
    "nystroem_features",
    "nystroem_map",
    "ridge_leverage_scores",
    "stack",
    "transform_gram",
]
