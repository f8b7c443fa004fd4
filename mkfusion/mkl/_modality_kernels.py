"""The one place where kernels meet modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from .._models import concerning
from .._validation import check_block, check_option, frame_values, listed, warn
from ..kernels import Kernel, KernelStore, as_kernel, combine, diagonal, stack
from ..modality import MultimodalMixin, as_list, fill_cells, presence, take_block

Triple = tuple[str, Any, str]


class ModalityKernels(MultimodalMixin, _BaseComposition):
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

    @property
    def _pairs(self) -> Any:
        """The triples without their modalities: scikit-learn's composition reads pairs."""
        try:
            return [(name, kernel) for name, kernel, _ in self.kernels or []]
        except (TypeError, ValueError):
            return self.kernels

    @_pairs.setter
    def _pairs(self, pairs: list[tuple[str, Any]]) -> None:
        seen = [modality for _, _, modality in self.kernels or []]
        self.kernels = [(*pair, modality) for pair, modality in zip(pairs, seen, strict=True)]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the kernels as ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of the kernels.

        Returns
        -------
        params : dict
        """
        return self._get_params("_pairs", deep=deep)

    def set_params(self, **params: Any) -> Any:
        """Set parameters; ``name="drop"`` leaves a kernel out.

        Parameters
        ----------
        **params : dict
            Parameters of this object, and of the kernels as ``name__parameter``.

        Returns
        -------
        self : object
        """
        self._set_params("_pairs", **params)
        return self

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
        check_option("normalize", self.normalize, ("cosine", None))
        table = self._read_fit(X)
        triples = self._triples()
        used = [name for name in self._columns if any(name == seen for _, _, seen in triples)]
        found = presence(table, {name: self._columns[name] for name in used})
        there = dict(zip(used, found, strict=True))
        for name in [name for name in used if not there[name].any()]:
            warn(f"modality {name!r} is missing for every sample and its kernels are left out")
        triples = [triple for triple in triples if there[triple[2]].any()]
        if not triples:
            raise ValueError("no kernel is left: each is dropped, or its modality missing")
        self._used = [name for name in used if there[name].any()]
        mask = np.array([there[name] for name in self._used])
        nobody = np.flatnonzero(~mask.any(axis=0))
        if nobody.size:
            raise ValueError(
                f"{nobody.size} samples have none of the modalities {listed(self._used)} "
                f"(first at row {nobody[0]}); nothing can be learnt from them: drop those rows"
            )
        self._blocks = self._read_blocks(table, mask)
        self._mask = mask
        self.kernels_: list[Kernel] = []
        self.kernel_names_: list[str] = []
        self.kernel_modalities_: list[str] = []
        for name, kernel, modality in triples:
            present = _rows(self._blocks[modality], there[modality])
            with concerning(modality):
                singles = as_kernel(kernel).resolve(present).expand()
            many = len(singles) > 1
            self.kernels_ += singles
            self.kernel_names_ += [f"{name}_{k}" if many else name for k in range(len(singles))]
            self.kernel_modalities_ += [modality] * len(singles)
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

    # Names ----------------------------------------------------------------------------------

    def _triples(self) -> list[Triple]:
        """Return the kernels in use: those that are named, and the prototype for the rest."""
        triples = []
        for triple in self.kernels or []:
            if not isinstance(triple, tuple | list) or len(triple) != 3:
                raise ValueError(
                    f"kernels must be a list of (name, kernel, modality), got {triple!r} in it"
                )
            triples.append(tuple(triple))
        names = [name for name, _, _ in triples]
        self._validate_names(names)
        for name, _, modality in triples:
            if modality not in self._columns:
                raise ValueError(
                    f"kernel {name!r} names the modality {modality!r}, which is no modality of X; "
                    f"the modalities are {listed(self._columns, 30)}"
                )
        seen = {modality for _, _, modality in triples}
        rest = [(name, self.kernel, name) for name in self._columns if name not in seen]
        twice = [name for name, _, _ in rest if name in names]
        if twice:
            raise ValueError(
                f"kernels {listed(twice)} have the names of modalities that no kernel names; "
                "rename them, or name those modalities"
            )
        return [triple for triple in [*triples, *rest] if not _is_drop(triple[1])]

    def _weights(self, weights: Any) -> np.ndarray:
        if isinstance(weights, Mapping):
            if set(weights) != set(self.kernel_names_):
                raise ValueError(
                    f"weights must give one weight for each of {listed(self.kernel_names_, 30)}, "
                    f"got weights for {listed(weights, 30)}"
                )
            weights = [weights[name] for name in self.kernel_names_]
        return np.asarray(weights, dtype=np.float64)

    # Features -------------------------------------------------------------------------------

    def _new(self, X: Any) -> tuple[dict[str, Any], np.ndarray | None, np.ndarray]:
        """Return blocks, scales and presence of new samples."""
        table = self._read(X)
        mask = presence(table, {name: self._columns[name] for name in self._used})
        blocks = self._read_blocks(table, mask)
        return blocks, self._scales(blocks, mask), mask

    def _read_blocks(self, table: Any, mask: np.ndarray) -> dict[str, Any]:
        """Return each modality's features; what stands for the absent ones counts nothing."""
        blocks = {}
        for name, rows in zip(self._used, mask, strict=True):
            with concerning(name):
                blocks[name] = _features(take_block(table, as_list(self._columns[name])), rows)
        return blocks

    def _seen(self, blocks: dict[str, Any]) -> list[Any]:
        """Return the block that each kernel sees."""
        return [blocks[name] for name in self.kernel_modalities_]

    def _scales(self, blocks: dict[str, Any], mask: np.ndarray) -> np.ndarray | None:
        """Return what multiplies the rows of each kernel, None where nothing does."""
        shares = mask.mean(axis=0)
        here = mask / np.sqrt(np.where(shares > 0, shares, 1))
        scales = here[[self._used.index(name) for name in self.kernel_modalities_]]
        if self.normalize == "cosine":
            for m, (kernel, name) in enumerate(
                zip(self.kernels_, self.kernel_modalities_, strict=True)
            ):
                if kernel.unit_diagonal:
                    continue
                with concerning(name):
                    scales[m] *= _inverse_norms(kernel, blocks[name], mask[self._used.index(name)])
        return None if (scales == 1).all() else scales


def _inverse_norms(kernel: Kernel, block: Any, rows: np.ndarray) -> np.ndarray:
    """Return 1 / sqrt(k(x, x)), and 0 where that is 0 or the sample is absent."""
    found = np.zeros(len(rows))
    values = diagonal(_rows(block, rows), kernel)
    if (values < 0).any():
        raise ValueError(
            f"{kernel!r} has negative values k(x, x) (least {values.min():.3g}), which cosine "
            "normalisation cannot divide by; use normalize=None"
        )
    found[rows] = np.divide(1.0, np.sqrt(values), out=np.zeros_like(values), where=values > 0)
    return found


def _features(block: Any, rows: np.ndarray) -> Any:
    """Return numbers as an array, and sequences or text as a list of cells."""
    single = isinstance(block, pd.DataFrame) and block.shape[1] == 1
    if single and not pd.api.types.is_numeric_dtype(block.dtypes.iloc[0]):
        cells = fill_cells(block.iloc[:, 0])
        if not rows.all() and rows.any():
            cells[~rows] = cells[np.flatnonzero(rows)[:1]]
        return cells
    values = frame_values(block) if isinstance(block, pd.DataFrame) else block
    if not rows.all():
        values = np.array(values)
        values[~rows] = 0
    return check_block(values)


def _rows(block: Any, rows: np.ndarray) -> Any:
    return block if rows.all() else block[rows]


def _is_drop(kernel: Any) -> bool:
    return isinstance(kernel, str) and kernel == "drop"
