"""Features by modality whose inner products approximate a weighted sum of kernels."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from .._models import concerning
from .._validation import check_option, check_weight_vector, listed, warn
from ..kernels._approx import (
    FourierMap,
    NystroemMap,
    fourier_features,
    fourier_map,
    nystroem_features,
    nystroem_map,
)
from ..kernels._landmarks import LANDMARKS
from ._composition import KernelComposition, Triple, present_rows


class _ModalityFeatures(TransformerMixin, KernelComposition):
    """A map for each kernel, its features side by side; subclasses learn and apply the maps."""

    weights: Any
    n_components: Any
    random_state: Any
    n_jobs: int | None
    _kind: str

    def _learn(self, block: Any, kernel: Any, count: Any, rng: np.random.Generator) -> Any:
        """Return the map that is learnt from the samples that have the modality."""
        raise NotImplementedError

    def _apply(self, found: Any, block: Any, **options: Any) -> np.ndarray:
        """Return the features of samples by a map."""
        raise NotImplementedError

    def _width(self, found: Any) -> int:
        """Return the number of a map's features."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learn a map for each kernel, from the samples that have its modality.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for sequences) in all its columns is missing for the
            sample.
        y : ignored

        Returns
        -------
        self : object
        """
        blocks, mask = self._fit_kernels(X)
        names = self.kernel_names_
        betas = np.ones(len(names))
        if self.weights is not None:
            betas = check_weight_vector("weights", self.weights, names)
            if betas.ndim != 1 or not betas.any():
                raise ValueError(
                    f"weights must be one number for each of {listed(names, 30)}, not all 0, got "
                    f"{self.weights!r}"
                )
        counts = self._counts(names)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        maps = {}
        for m in np.flatnonzero(betas):
            modality = self.kernel_modalities_[m]
            present = present_rows(blocks[modality], mask[self._used.index(modality)])
            # By name, so that no kernel's draws depend on which others there are.
            rng = np.random.default_rng([seed, *names[m].encode()])
            with concerning(modality):
                maps[names[m]] = self._learn(present, self.kernels_[m], counts[m], rng)
        self._roots = np.sqrt(betas)
        self.maps_ = maps
        ends = np.cumsum([0, *map(self._width, maps.values())]).tolist()
        self.output_slices_ = {
            name: slice(*pair) for name, pair in zip(maps, pairwise(ends), strict=True)
        }
        return self

    def _counts(self, names: list[str]) -> list[Any]:
        if not isinstance(self.n_components, Mapping):
            return [self.n_components] * len(names)
        if set(self.n_components) != set(names):
            raise ValueError(
                f"n_components must be one number, or give one for each of {listed(names, 30)}, "
                f"got {self.n_components!r}"
            )
        return [self.n_components[name] for name in names]

    def transform(self, X: Any) -> Any:
        """Return the features of each kernel, side by side.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_features_out)
            0 in the columns of a modality that the sample lacks. A sample without any has zeros
            only, and there is a warning.
        """
        check_is_fitted(self)
        blocks, scales, mask = self._new(X)
        nobody = int((~mask.any(axis=0)).sum())
        if nobody:
            warn(
                f"{nobody} of {mask.shape[1]} samples have none of the modalities "
                f"{listed(self._used)}, and only zeros for features"
            )
        single = all(block.dtype == np.float32 for block in blocks.values())
        width = list(self.output_slices_.values())[-1].stop
        Z = np.zeros((mask.shape[1], width), np.float32 if single else np.float64)
        for name, found in self.maps_.items():
            m = self.kernel_names_.index(name)
            modality = self.kernel_modalities_[m]
            rows = mask[self._used.index(modality)]
            factors = self._factors(m, scales, len(rows))
            target = Z[:, self.output_slices_[name]]
            with concerning(modality):
                if rows.all():
                    self._apply(found, blocks[modality], scales=factors, out=target)
                elif rows.any():
                    block, own = blocks[modality][rows], factors[rows]
                    target[rows] = self._apply(found, block, scales=own)
        return Z

    def _factors(self, m: int, scales: np.ndarray | None, n_samples: int) -> Any:
        """Return what multiplies the features of kernel m, None where nothing does."""
        if scales is not None:
            return scales[m] * self._roots[m]
        return None if self._roots[m] == 1 else np.full(n_samples, self._roots[m])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, each with its kernel as prefix.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Compared with the names that were seen at fit.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features)
        names = [
            f"{name}__{self._kind}{j}"
            for name, found in self.maps_.items()
            for j in range(self._width(found))
        ]
        return np.array(names, dtype=object)


class ModalityNystroem(_ModalityFeatures):
    r"""Nystroem features of the kernels on modalities, side by side.

    With landmarks :math:`Z_m` among the training samples, the features of kernel m are

    .. math:: \phi_m(x) = \sqrt{\beta_m}\,
              \frac{z_m}{\sqrt{r}}\, K_m(Z_m, Z_m)^{-1/2} K_m(Z_m, x_m),

    where :math:`z_m` is 1 where the sample has the modality and else 0, and r the share of the
    modalities in use that it has. Their inner products approximate the kernel
    :math:`\sum_m \beta_m \tilde K_m(x, x')` of :class:`ModalityKernels`, so that a linear model on
    them approximates a kernel machine on it. Where every sample is a landmark they are equal.

    Parameters
    ----------
    kernels : list of (str, kernel, str), default=None
        Name, kernel (a name, a :class:`~mkfusion.kernels.Kernel`, a function of (X, Y), or "drop")
        and modality. Several may see one modality; a bank counts as its single kernels, named
        ``name_0``, ``name_1`` and so on. Kernels must be positive definite; that of a modality of
        sequences compares sequences.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    kernel : kernel, default="rbf"
        The prototype for every modality that ``kernels`` does not name, under the modality's
        name; "drop" leaves those out.
    normalize : {"cosine", None}, default="cosine"
        Divide K(x, y) by sqrt(K(x, x) K(y, y)), of which 0 / 0 is 0, so that the weights compare.
    n_components : int or mapping of str to int, default=100
        Landmarks, for every kernel or by kernel; at most as many as there are samples.
    weights : array-like of shape (n_kernels,) or mapping of str to float, default=None
        Beta by kernel, not negative; None is 1. A kernel of weight 0 has no features.
    landmarks : {"uniform", "kmeans", "leverage"}, default="uniform"
        How landmarks are chosen; see :func:`~mkfusion.kernels.choose_landmarks`.
    random_state : int, RandomState instance or None, default=None
        Seed of the landmarks. A kernel's depend on its name, not on the other kernels.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.

    Attributes
    ----------
    maps_ : dict of str to NystroemMap
        Landmarks and factor of each kernel that has a weight.
    output_slices_ : dict of str to slice
        Where each kernel's features stand in the output.
    kernels_ : list of Kernel
        With every parameter a number, learnt from the samples that have the modality.
    kernel_names_ : list of str
    kernel_modalities_ : list of str
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a sample has none of the modalities in use, a name stands twice, a kernel names no
        modality of X, is not positive definite or refuses its features.

    References
    ----------
    Williams, Seeger (2001), Using the Nystrom method to speed up kernel machines, eq. (11).

    Zhang, Kwok (2008), Improved Nystrom low-rank approximation and error analysis, section 3.

    Musco, Musco (2017), Recursive sampling for the Nystrom method, Algorithm 2.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion.mkl import ModalityNystroem
    >>> X = pd.DataFrame({"audio__pitch": [0.0, 1.0, 3.0], "video__hue": [0.0, 1.0, None]})
    >>> features = ModalityNystroem(n_components=2, random_state=0).fit(X)
    >>> features.transform(X).shape
    (3, 4)
    >>> features.get_feature_names_out()[:3].tolist()
    ['audio__nystroem0', 'audio__nystroem1', 'video__nystroem0']
    """

    _kind = "nystroem"

    def __init__(
        self,
        kernels: list[Triple] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        normalize: str | None = "cosine",
        n_components: Any = 100,
        weights: Any = None,
        landmarks: str = "uniform",
        random_state: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.kernels = kernels
        self.modalities = modalities
        self.kernel = kernel
        self.normalize = normalize
        self.n_components = n_components
        self.weights = weights
        self.landmarks = landmarks
        self.random_state = random_state
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs

    def _learn(self, block: Any, kernel: Any, count: Any, rng: np.random.Generator) -> NystroemMap:
        check_option("landmarks", self.landmarks, LANDMARKS)
        return nystroem_map(block, kernel, count, self.landmarks, rng=rng, n_jobs=self.n_jobs)

    def _apply(self, found: NystroemMap, block: Any, **options: Any) -> np.ndarray:
        return nystroem_features(found, block, n_jobs=self.n_jobs, **options)

    def _width(self, found: NystroemMap) -> int:
        return len(found.factor)


class ModalityFourierFeatures(_ModalityFeatures):
    r"""Random Fourier features of the kernels on modalities, side by side.

    With D / 2 frequencies w drawn for kernel m, its D features are the pairs

    .. math:: \sqrt{\beta_m}\, \frac{z_m}{\sqrt{r}}\, \sqrt{\frac{2}{D}}
              \left( \cos w_k' x_m, \; \sin w_k' x_m \right),

    where :math:`z_m` is 1 where the sample has the modality and else 0, and r the share of the
    modalities in use that it has. Their inner products are on average the kernel
    :math:`\sum_m \beta_m \tilde K_m(x, x')` of :class:`ModalityKernels`. Nothing but the kernels'
    parameters is learnt from the samples: more of them cost no more to learn from.

    Parameters
    ----------
    kernels : list of (str, kernel, str), default=None
        Name, kernel (RBF, Laplacian, Matern or RationalQuadratic, or a name of these, or "drop")
        and modality. Several may see one modality; a bank counts as its single kernels, named
        ``name_0``, ``name_1`` and so on.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    kernel : kernel, default="rbf"
        The prototype for every modality that ``kernels`` does not name, under the modality's
        name; "drop" leaves those out.
    n_components : int or mapping of str to int, default=100
        Features, for every kernel or by kernel.
    weights : array-like of shape (n_kernels,) or mapping of str to float, default=None
        Beta by kernel, not negative; None is 1. A kernel of weight 0 has no features.
    orthogonal : bool, default=False
        Draw frequencies in orthogonal blocks, which lowers the variance; see
        :func:`~mkfusion.kernels.fourier_map`.
    paired : bool, default=True
        Cosines and sines of the same angles, or cosines alone with random phases.
    random_state : int, RandomState instance or None, default=None
        Seed of the frequencies. A kernel's depend on its name, not on the other kernels.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.

    Attributes
    ----------
    maps_ : dict of str to FourierMap
        Frequencies, phases and centre of each kernel that has a weight.
    output_slices_ : dict of str to slice
        Where each kernel's features stand in the output.
    kernels_ : list of Kernel
        With every parameter a number, learnt from the samples that have the modality.
    kernel_names_ : list of str
    kernel_modalities_ : list of str
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a sample has none of the modalities in use, a name stands twice, or a kernel names no
        modality of X or has no Fourier features.

    References
    ----------
    Rahimi, Recht (2007), Random features for large-scale kernel machines, Algorithm 1.

    Yu, Suresh, Choromanski, Holtmann-Rice, Kumar (2016), Orthogonal random features, eq. (4).

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion.mkl import ModalityFourierFeatures
    >>> X = pd.DataFrame({"audio__pitch": [0.0, 1.0, 3.0], "video__hue": [0.0, 1.0, None]})
    >>> features = ModalityFourierFeatures(n_components=4, random_state=0)
    >>> Z = features.fit_transform(X)
    >>> (Z * Z).sum(axis=1).round(12)
    array([2., 2., 2.])
    >>> features.get_feature_names_out()[:2].tolist()
    ['audio__fourier0', 'audio__fourier1']
    """

    _kind = "fourier"
    normalize = None  # all these kernels have a diagonal of 1

    def __init__(
        self,
        kernels: list[Triple] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        n_components: Any = 100,
        weights: Any = None,
        orthogonal: bool = False,
        paired: bool = True,
        random_state: Any = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.kernels = kernels
        self.modalities = modalities
        self.kernel = kernel
        self.n_components = n_components
        self.weights = weights
        self.orthogonal = orthogonal
        self.paired = paired
        self.random_state = random_state
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs

    def _learn(self, block: Any, kernel: Any, count: Any, rng: np.random.Generator) -> FourierMap:
        return fourier_map(
            block, kernel, count, orthogonal=self.orthogonal, paired=self.paired, rng=rng
        )

    def _apply(self, found: FourierMap, block: Any, **options: Any) -> np.ndarray:
        return fourier_features(found, block, n_jobs=self.n_jobs, **options)

    def _width(self, found: FourierMap) -> int:
        return found.n_components
