"""Kernels of low rank: features whose inner products are, or approximate, a kernel's values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from .._jit import JIT, njit
from .._parallel import on_threads, single_blas_thread, thread_count
from .._validation import check_block
from ._base import Array, Kernel
from ._gram import as_kernel, gram
from ._landmarks import Landmarks, as_samples, check_count, choose_landmarks
from ._ops import LARGEST_ANGLE, cosine
from ._vector import RBF, Laplacian, Matern, RationalQuadratic

FLOATS = (np.float64, np.float32)
ROWS = 256  # a chunk of them stays in the second cache; chunks are the same for any threads


# Nystroem -----------------------------------------------------------------------------------


class NystroemMap(NamedTuple):
    """What makes features of samples by their kernel with the landmarks.

    Attributes
    ----------
    kernel : Kernel
        With every parameter a number.
    landmarks : array of shape (n_landmarks, n_features)
        For a sequence kernel, n_landmarks cells.
    indices : ndarray of shape (n_landmarks,) or None
        The rows of X that they are, None where they are no rows of X.
    factor : ndarray of shape (n_landmarks, n_landmarks)
        The symmetric inverse square root of the landmarks' Gram matrix, on the eigenvectors that
        were kept.
    rank : int
        How many were kept: the rank of the features.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import Linear, nystroem_map
    >>> X = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]  # on one line
    >>> nystroem_map(X, Linear(), 3, rng=np.random.default_rng(0)).rank
    1
    """

    kernel: Kernel
    landmarks: Any
    indices: Array | None
    factor: Array
    rank: int


def nystroem_map(
    X: Any,
    kernel: Any = "rbf",
    n_components: int = 100,
    landmarks: Any = "uniform",
    *,
    rng: np.random.Generator | None = None,
    n_jobs: int | None = None,
) -> NystroemMap:
    r"""Learn the Nystroem approximation of a kernel, from samples.

    With landmarks Z, :math:`K \approx K_{XZ} K_{ZZ}^{+} K_{ZX}`, the inner products of the
    features :math:`K_{XZ} K_{ZZ}^{-1/2}`. Where every sample is a landmark it is exact.
    Eigenvectors of :math:`K_{ZZ}` whose eigenvalue is not over n_landmarks * eps times the
    largest are left out, eps that of the samples' type: what rounding made of 0 is not inverted.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The training samples, from which the kernel's parameters and the landmarks come. For a
        sequence kernel, the cells of n_samples sequences.
    kernel : str, Kernel or callable, default="rbf"
        A single positive definite kernel.
    n_components : int, default=100
        The number of landmarks, and of features; at most n_samples.
    landmarks : {"uniform", "kmeans", "leverage"} or array-like, default="uniform"
        How landmarks are chosen, as in :func:`choose_landmarks`; or the landmarks themselves, of
        shape (n_landmarks, n_features), and n_components counts nothing.
    rng : numpy.random.Generator, default=None
        Needed where landmarks are to be chosen.
    n_jobs : int, default=None
        Threads, as joblib counts them. The result does not depend on it.

    Returns
    -------
    map : NystroemMap

    Raises
    ------
    ValueError, TypeError
        For a kernel that is not positive definite, or whose values overflow; samples that cannot
        be landmarks; what :func:`gram` refuses.

    References
    ----------
    Williams, Seeger (2001), Using the Nystrom method to speed up kernel machines, eq. (11).

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import RBF, nystroem_features, nystroem_map
    >>> X = np.array([[0.0], [1.0], [2.0]])
    >>> found = nystroem_map(X, RBF(gamma=1.0), 3, rng=np.random.default_rng(0))
    >>> features = nystroem_features(found, X)
    >>> np.allclose(features @ features.T, RBF(gamma=1.0)(X))
    True
    """
    kernel = as_kernel(kernel)
    samples = as_samples(X, kernel)
    if not kernel.positive_definite:
        raise ValueError(
            f"{kernel!r} is not positive definite: no features have its values as inner products"
        )
    kernel = kernel.resolve(samples)
    if isinstance(landmarks, str):
        if rng is None:
            raise TypeError("rng is needed to choose landmarks: numpy.random.default_rng(seed)")
        points, indices = choose_landmarks(
            samples, n_components, landmarks, kernel=kernel, rng=rng, n_jobs=n_jobs
        )
    else:
        points, indices = Landmarks(as_samples(landmarks, kernel), None)
    factor, rank = _inverse_root(points, kernel, n_jobs)
    return NystroemMap(kernel, points, indices, factor, rank)


def _inverse_root(points: Any, kernel: Kernel, n_jobs: int | None) -> tuple[Array, int]:
    """Return K^-1/2 of the landmarks, and its rank."""
    kind = points.dtype if points.dtype.kind == "f" else np.dtype(np.float64)
    exact = points.astype(np.float64) if points.dtype == np.float32 else points
    K = gram(exact, kernel=kernel, dtype=np.float64, n_jobs=n_jobs)
    return inverse_root(K, repr(kernel), kind)


def inverse_root(K: Array, name: str, kind: Any = np.float64) -> tuple[Array, int]:
    """Return K^-1/2 on what is not rounding of the samples' type, and its rank."""
    if not np.isfinite(K).all():
        raise ValueError(f"values of {name} between landmarks overflow; rescale the features")
    largest = K.max(initial=0.0) or 1.0
    with single_blas_thread:
        values, vectors = linalg.eigh(K / largest)
        top = max(values[-1], 0.0)
        if values[0] < -1e-6 * max(top, 1.0):
            raise ValueError(
                f"{name} is not positive definite: between landmarks its eigenvalues go from "
                f"{values[0] * largest:.3g} to {values[-1] * largest:.3g}"
            )
        kept = values > len(K) * np.finfo(kind).eps * top
        scaled = vectors[:, kept] / np.sqrt(np.sqrt(values[kept]))
        return scaled @ scaled.T / np.sqrt(largest), int(kept.sum())


def nystroem_features(
    found: NystroemMap,
    X: Any,
    *,
    scales: Any = None,
    out: Array | None = None,
    n_jobs: int | None = None,
) -> Array:
    """Return Nystroem features, whose inner products approximate the kernel.

    Parameters
    ----------
    found : NystroemMap
        From :func:`nystroem_map`.
    X : array-like of shape (n_samples, n_features)
        For a sequence kernel, the cells of n_samples sequences.
    scales : array-like of shape (n_samples,), default=None
        What multiplies the rows.
    out : ndarray of shape (n_samples, n_landmarks), default=None
        Of float64 or float32, in any layout; it is written to and returned.
    n_jobs : int, default=None
        Threads, as joblib counts them. The result does not depend on it.

    Returns
    -------
    features : ndarray of shape (n_samples, n_landmarks)
        Of float32 where the samples and the landmarks are, else of float64.

    Raises
    ------
    ValueError, TypeError
        As :func:`gram`, and for an ``out`` or ``scales`` that do not fit.

    Examples
    --------
    >>> from mkfusion.kernels import Linear, nystroem_features, nystroem_map
    >>> found = nystroem_map([[2.0], [3.0]], Linear(), landmarks=[[2.0]])
    >>> nystroem_features(found, [[2.0], [3.0]])
    array([[2.],
           [3.]])
    """
    samples = as_samples(X, found.kernel)
    K = gram(samples, found.landmarks, found.kernel, n_jobs=n_jobs)
    factor = found.factor.astype(K.dtype)
    # Where nothing else is asked for, features take the place of the values that they are made of.
    result = K if out is None else _check_features(out, K.shape)
    factors = _check_scales(scales, len(K))

    def work(rows: slice) -> None:
        features = K[rows] @ factor
        np.multiply(features, 1 if factors is None else factors[rows, None], out=result[rows])

    _in_chunks(work, len(K), n_jobs)
    return result


# Fourier ------------------------------------------------------------------------------------


class FourierMap(NamedTuple):
    """What makes random Fourier features of samples.

    Attributes
    ----------
    kernel : Kernel
        With every parameter a number.
    frequencies : ndarray of shape (n_features, n_frequencies)
    phases : ndarray of shape (n_frequencies,)
        0 where features are pairs of a cosine and a sine.
    n_components : int
        The number of features: n_frequencies cosines, and sines of the first of their angles.
    centre : ndarray of shape (n_features,)
        Subtracted from samples, of which the kernel sees differences only: angles are small, and
        exact.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import fourier_map
    >>> found = fourier_map([[0.0], [1.0]], n_components=4, rng=np.random.default_rng(0))
    >>> found.frequencies.shape, found.centre
    ((1, 2), array([0.5]))
    """

    kernel: Kernel
    frequencies: Array
    phases: Array
    n_components: int
    centre: Array


def fourier_map(
    X: Any,
    kernel: Any = "rbf",
    n_components: int = 100,
    *,
    orthogonal: bool = False,
    paired: bool = True,
    rng: np.random.Generator,
) -> FourierMap:
    r"""Draw the frequencies of random Fourier features, for samples like X.

    A kernel of differences is the mean of :math:`\cos w'(x - y)` over frequencies w of its own
    distribution. The D features are pairs :math:`\sqrt{2 / D} \, (\cos w_r'x, \; \sin w_r'x)` for
    D / 2 frequencies, or with ``paired=False`` and phases b drawn from a full turn
    :math:`\sqrt{2 / D} \, \cos(w_r'x + b_r)` for D. Pairs are the default: every sample has length
    1 as the kernel says, and for as many features the variance is less (for the Gaussian kernel
    everywhere), though there are half as many frequencies. Where D is odd, the one without a
    partner is a cosine with a phase.

    Frequencies are :math:`w_r = \sqrt{v_r} g_r` with standard normal g. The kernels differ in v:

    ==================  ========================================================================
    RBF                 2 gamma
    Laplacian           gamma^2 / h^2 with h standard normal for each feature: w is Cauchy
    Matern              2 nu / (c length_scale^2), c chi-squared with 2 nu degrees of freedom
    RationalQuadratic   Gamma with shape alpha and mean 1 / length_scale^2
    ==================  ========================================================================

    With ``orthogonal`` the g come in blocks of n_features that are orthogonal to one another, each
    still standard normal by itself, so that features stay unbiased; v is drawn for each frequency
    as before. For all kernels but the Laplacian, v stretches g as a whole, and frequencies of a
    block are orthogonal too; for the Laplacian only the g are.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The training samples: the kernel's parameters and the centre are learnt from them.
    kernel : str or Kernel, default="rbf"
        RBF, Laplacian, Matern or RationalQuadratic.
    n_components : int, default=100
        The number of features.
    orthogonal : bool, default=False
        Draw orthogonal frequencies.
    paired : bool, default=True
        Cosines and sines of the same angles, or cosines alone with random phases.
    rng : numpy.random.Generator

    Returns
    -------
    map : FourierMap

    Raises
    ------
    ValueError, TypeError
        For another kernel, or what :func:`gram` refuses in X.

    References
    ----------
    Rahimi, Recht (2007), Random features for large-scale kernel machines, Algorithm 1.

    Sutherland, Schneider (2015), On the error of random Fourier features, section 2, for the
    variance of pairs.

    Yu, Suresh, Choromanski, Holtmann-Rice, Kumar (2016), Orthogonal random features, eq. (4).

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import RBF, fourier_features, fourier_map
    >>> X = np.array([[0.0], [1.0]])
    >>> found = fourier_map(X, RBF(gamma=0.5), 2000, rng=np.random.default_rng(0))
    >>> features = fourier_features(found, X)
    >>> np.abs(features @ features.T - RBF(gamma=0.5)(X)).max() < 0.1
    True
    """
    kernel = as_kernel(kernel)
    if type(kernel) not in SPECTRA:
        names = ", ".join(kind.__name__ for kind in SPECTRA)
        raise ValueError(f"Fourier features need one of the kernels {names}, got {kernel!r}")
    samples = as_samples(X, kernel)
    if not len(samples):
        raise ValueError("X has no samples to learn from")
    count = check_count("n_components", n_components)
    kernel = kernel.resolve(samples)
    shape = ((count + 1) // 2 if paired else count, samples.shape[1])
    directions = _orthogonal_normal(shape, rng) if orthogonal else rng.standard_normal(shape)
    frequencies = directions * np.sqrt(SPECTRA[type(kernel)](kernel, shape, rng))
    phases = rng.uniform(0, 2 * np.pi, len(frequencies))
    if paired:
        phases[: count // 2] = 0
    scale = np.abs(samples).max() or 1.0  # so that no sum overflows
    centre = (samples / scale).mean(axis=0, dtype=np.float64) * scale
    return FourierMap(kernel, np.ascontiguousarray(frequencies.T), phases, count, centre)


def _rbf(kernel: Any, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    return 2.0 * kernel.gamma


def _laplacian(kernel: Any, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    return (kernel.gamma / rng.standard_normal(shape)) ** 2


def _matern(kernel: Any, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    degrees = 2.0 * kernel.nu
    return degrees / rng.chisquare(degrees, (shape[0], 1)) / kernel.length_scale**2


def _rational(kernel: Any, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    return rng.gamma(kernel.alpha, 1.0 / kernel.alpha, (shape[0], 1)) / kernel.length_scale**2


#: Kernels of differences, each with the v that multiplies the squares of its frequencies.
SPECTRA: dict[type[Kernel], Callable[..., Any]] = {
    RBF: _rbf,
    Laplacian: _laplacian,
    Matern: _matern,
    RationalQuadratic: _rational,
}


def _orthogonal_normal(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Return standard normal rows, orthogonal in blocks of as many as they have features.

    Their signs are as the decomposition has them: a cosine of differences does not see them.
    """
    count, width = shape
    found = np.empty(shape)
    with single_blas_thread:
        for start in range(0, count, width):
            block = found[start : start + width]
            q, _ = np.linalg.qr(rng.standard_normal((width, len(block))))
            lengths = np.sqrt(rng.chisquare(width, len(block)))
            block[:] = (q * lengths).T
    return found


def fourier_features(
    found: FourierMap,
    X: Any,
    *,
    scales: Any = None,
    out: Array | None = None,
    n_jobs: int | None = None,
) -> Array:
    """Return random Fourier features, whose inner products are the kernel's values on average.

    Parameters
    ----------
    found : FourierMap
        From :func:`fourier_map`.
    X : array-like of shape (n_samples, n_features)
    scales : array-like of shape (n_samples,), default=None
        What multiplies the rows.
    out : ndarray of shape (n_samples, n_components), default=None
        Of float64 or float32, in any layout; it is written to and returned.
    n_jobs : int, default=None
        Threads, as joblib counts them. The result does not depend on it.

    Returns
    -------
    features : ndarray of shape (n_samples, n_components)
        All cosines, then all sines. Of the type of X, float32 or float64; in float32 an
        angle, and with it a feature, is exact to about 1e-7 times its magnitude.

    Raises
    ------
    ValueError, TypeError
        For NaN or infinity, another number of features than at the drawing, angles that
        overflow, and an ``out`` or ``scales`` that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.kernels import fourier_features, fourier_map
    >>> found = fourier_map([[0.0], [1.0]], n_components=4, rng=np.random.default_rng(0))
    >>> features = fourier_features(found, [[0.3]])
    >>> (features @ features.T).round(12)
    array([[1.]])
    """
    samples = check_block(X)
    if samples.shape[1] != len(found.centre):
        raise ValueError(
            f"X must have the {len(found.centre)} features that frequencies were drawn for, got "
            f"{samples.shape[1]}"
        )
    shape = (len(samples), found.n_components)
    result = np.empty(shape, samples.dtype) if out is None else _check_features(out, shape)
    factors = _check_scales(scales, len(samples))
    kind = samples.dtype.type
    frequencies, phases, centre = (
        part.astype(kind) for part in (found.frequencies, found.phases, found.centre)
    )
    reach = np.abs(found.frequencies).sum(axis=0).max()
    cosines, sines = slice(len(phases)), slice(len(phases), shape[1])
    length = kind(np.sqrt(2 / shape[1]))
    free: deque[Array] = deque()

    def work(rows: slice) -> None:
        scratch = free.pop() if free else np.empty((ROWS, shape[1]), kind)
        chunk, bound = _shifted(samples[rows], centre, reach)
        angles = scratch[: len(chunk)]
        np.matmul(chunk, frequencies, out=angles[:, cosines])
        if phases.any():
            angles[:, cosines] += phases
        np.subtract(angles[:, : shape[1] - len(phases)], kind(np.pi / 2), out=angles[:, sines])
        _take_cosines(angles.reshape(-1), length, bound)
        np.multiply(angles, 1 if factors is None else factors[rows, None], out=result[rows])
        free.append(scratch)

    _in_chunks(work, len(samples), n_jobs)
    return result


def _shifted(chunk: Array, centre: Array, reach: Any) -> tuple[Array, float]:
    """Return samples relative to the centre, and a bound on the magnitude of their angles."""
    with np.errstate(over="ignore"):
        shifted = chunk - centre
        bound = np.abs(shifted).max() * shifted.dtype.type(reach) + 2 * np.pi
    if not np.isfinite(bound):
        raise ValueError("the angles of Fourier features overflow; rescale the features of X")
    return shifted, float(bound)


def _take_cosines(angles: Array, length: Any, bound: float) -> None:
    """Put length * cosine in the place of angles, whose magnitude is within the bound."""
    if JIT and bound <= LARGEST_ANGLE:
        _cosines(angles, length)
    else:
        np.cos(angles, out=angles)
        angles *= length


@njit
def _cosines(angles, length):  # type: ignore[no-untyped-def]
    for i in range(angles.size):
        angles[i] = length * cosine(angles[i])


# Both ---------------------------------------------------------------------------------------


def _in_chunks(work: Callable[[slice], None], n_rows: int, n_jobs: int | None) -> None:
    """Work on chunks of rows, each with one BLAS thread whatever the number of ours."""
    chunks = [slice(i, min(i + ROWS, n_rows)) for i in range(0, n_rows, ROWS)]
    with single_blas_thread:
        on_threads(work, chunks, thread_count(n_jobs))


def _check_features(out: Any, shape: tuple[int, int]) -> Array:
    fits = isinstance(out, np.ndarray) and out.shape == shape and out.dtype in FLOATS
    if not (fits and out.flags.writeable):
        raise ValueError(
            f"out must be a writeable array of float64 or float32, of shape {shape}, got "
            f"{getattr(out, 'dtype', type(out).__name__)} of shape {np.shape(out)}"
        )
    return out


def _check_scales(scales: Any, n_samples: int) -> Array | None:
    if scales is None:
        return None
    numbers = np.asarray(scales, dtype=np.float64)
    if numbers.shape != (n_samples,) or not np.isfinite(numbers).all():
        raise ValueError(
            f"scales must be {n_samples} finite numbers, one for each sample, got shape "
            f"{numbers.shape}"
        )
    return numbers
