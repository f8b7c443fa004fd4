"""The one place where kernels meet modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._validation import listed, warn
from ..kernels import KernelStore, combine, stack
from ._composition import KernelComposition, Triple


class ModalityKernels(KernelComposition):
    r"""Kernels on modalities, resolved against X, with absent modalities masked.

    Kernel m sees one modality. With :math:`z_{im} = 1` where sample i has it and else 0, and with
    :math:`r_i` the share of the modalities in use that sample i has, the kernels are

    .. math:: \tilde K_m(i, j) = \frac{z_{im} z_{jm}}{\sqrt{r_i r_j}} K_m(i, j),

    which are positive semi-definite where :math:`K_m` is, and equal to it where nothing is
    missing. Their sum is linear in its weights.

    Parameters
    ----------
    kernels : list of (str, kernel, str), default=None
        Name, kernel (a name, a :class:`~mkfusion.kernels.Kernel`, a function of (X, Y), or "drop")
        and modality. Several may see one modality; a bank counts as its single kernels, named
        ``name_0``, ``name_1`` and so on.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame.
    kernel : kernel, default="rbf"
        The prototype for every modality that ``kernels`` does not name; "drop" leaves those out.
    normalize : {"cosine", None}, default="cosine"
        Divide K(x, y) by sqrt(K(x, x) K(y, y)), of which 0 / 0 is 0, so that the weights compare.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.

    Attributes
    ----------
    kernels_ : list of Kernel
        The single kernels, with every parameter a number, learnt from the samples that have the
        modality.
    kernel_names_ : list of str
    kernel_modalities_ : list of str
        The modality that each kernel sees.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a sample has none of the modalities in use, a name stands twice, a kernel names no
        modality of X, or a kernel refuses its features.

    Examples
    --------
    >>> import pandas as pd
    >>> from mkfusion.mkl import ModalityKernels
    >>> X = pd.DataFrame({"audio__pitch": [0.0, 1.0, None], "video__hue": [0.0, 1.0, 1.0]})
    >>> kernels = ModalityKernels([("pitch", "rbf", "audio"), ("hue", "rbf", "video")]).fit(X)
    >>> kernels.combine([0.5, 0.5]).round(3)
    array([[1.   , 0.015, 0.008],
           [0.015, 1.   , 0.707],
           [0.008, 0.707, 1.   ]])
    """

    def __init__(
        self,
        kernels: list[Triple] | None = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        kernel: Any = "rbf",
        normalize: str | None = "cosine",
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.kernels = kernels
        self.modalities = modalities
        self.kernel = kernel
        self.normalize = normalize
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        return tags

    def fit(self, X: Any, y: Any = None) -> Any:
        """Resolve modalities and kernels, and remember the training samples.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            A modality that is NaN (None for text or sequences) in all its columns is missing for
            the sample.
        y : ignored

        Returns
        -------
        self : object
        """
        self._blocks, mask = self._fit_kernels(X)
        self._own_scales = self._scales(self._blocks, mask)
        return self

    def combine(self, weights: Any, X: Any = None, out: Any = None) -> np.ndarray:
        """Return the weighted sum of the kernels between X and the training samples.

        Parameters
        ----------
        weights : array-like of shape (n_kernels,) or mapping of str to float
            By kernel, in the order of ``kernel_names_``.
        X : DataFrame or array-like of shape (n_samples, n_features), default=None
            None takes the training samples.
        out : ndarray, default=None
            C-contiguous, of float64 or float32; it is written to and returned.

        Returns
        -------
        K : ndarray of shape (n_samples, n_training_samples)
            A sample of which no kernel with a weight speaks has a row of zeros, and there is a
            warning.
        """
        check_is_fitted(self)
        numbers = self._weights(weights)
        if X is None:
            return combine(
                self.kernels_, numbers, self._seen(self._blocks), row_scales=self._own_scales,
                out=out, n_jobs=self.n_jobs,
            )  # fmt: skip
        blocks, scales, mask = self._new(X)
        heard = [self._used.index(name) for name in self.kernel_modalities_]
        silent = int((~mask[heard][numbers != 0].any(axis=0)).sum())
        if silent:
            warn(
                f"{silent} of {mask.shape[1]} samples have no modality whose kernel has a weight; "
                "nothing is known of them but the intercept"
            )
        return combine(
            self.kernels_, numbers, self._seen(blocks), self._seen(self._blocks),
            row_scales=scales, column_scales=self._own_scales, out=out, n_jobs=self.n_jobs,
        )  # fmt: skip

    def gram(self, X: Any = None) -> np.ndarray:
        """Return every kernel between X and the training samples.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features), default=None
            None takes the training samples.

        Returns
        -------
        K : ndarray of shape (n_kernels, n_samples, n_training_samples)
        """
        check_is_fitted(self)
        own, scales = self._seen(self._blocks), self._own_scales
        if X is None:
            return stack(self.kernels_, own, row_scales=scales, n_jobs=self.n_jobs)
        blocks, rows, _ = self._new(X)
        return stack(
            self.kernels_, self._seen(blocks), own, row_scales=rows, column_scales=scales,
            n_jobs=self.n_jobs,
        )  # fmt: skip

    def store(self, **options: Any) -> KernelStore:
        """Return the kernels of the training samples, for methods that ask again and again.

        Parameters
        ----------
        **options : dict
            ``dtype``, ``memory_budget``, ``mode`` and ``path`` of
            :class:`~mkfusion.kernels.KernelStore`.

        Returns
        -------
        store : KernelStore
        """
        check_is_fitted(self)
        blocks = self._seen(self._blocks)
        return KernelStore(
            self.kernels_, blocks, scales=self._own_scales, n_jobs=self.n_jobs, **options
        )

    def _weights(self, weights: Any) -> np.ndarray:
        if isinstance(weights, Mapping):
            if set(weights) != set(self.kernel_names_):
                raise ValueError(
                    f"weights must give one weight for each of {listed(self.kernel_names_, 30)}, "
                    f"got weights for {listed(weights, 30)}"
                )
            weights = [weights[name] for name in self.kernel_names_]
        numbers = np.asarray(weights, dtype=np.float64)
        if numbers.shape != (len(self.kernels_),):
            raise ValueError(
                f"weights must have one entry for each of {len(self.kernels_)} kernels "
                f"({listed(self.kernel_names_, 30)}), got shape {numbers.shape}"
            )
        return numbers

    def _seen(self, blocks: dict[str, Any]) -> list[Any]:
        """Return the block that each kernel sees."""
        return [blocks[name] for name in self.kernel_modalities_]
