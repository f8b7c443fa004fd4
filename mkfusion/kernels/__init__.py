"""Kernels and their Gram matrices, near the machine's limit."""

from ._base import Kernel, Product, Scaled, Sum
from ._given import FunctionKernel, Precomputed
from ._gram import KERNELS, as_kernel, combine, diagonal, gram, stack
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
    "FunctionKernel",
    "GlobalAlignment",
    "GramTransform",
    "HistogramIntersection",
    "Kernel",
    "KernelStore",
    "Laplacian",
    "Linear",
    "Matern",
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
    "combine",
    "diagonal",
    "fit_transform_gram",
    "gram",
    "ideal_kernel",
    "nearest_psd",
    "normalize",
    "stack",
    "transform_gram",
]
