"""Kernels by name and modality: what every estimator shares that takes a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.metaestimators import _BaseComposition

from .._models import concerning
from .._validation import check_block, check_option, frame_values, listed, warn
from ..kernels import Kernel, Precomputed, as_kernel, diagonal
from ..modality import MultimodalMixin, as_list, fill_cells, presence, take_block
from ._picture import kernels_picture

Triple = tuple[str, Any, str]


class KernelComposition(MultimodalMixin, _BaseComposition):
    """Reads ``kernels=[(name, kernel, modality), ...]`` and ``kernel``, the prototype, on one X.

    ``kernels`` may be one kernel too, which is then the prototype. A subclass has these
    parameters, ``normalize``, and what MultimodalMixin needs. After :meth:`_fit_kernels` it has
    ``kernels_``, ``kernel_names_``, ``kernel_modalities_``, and in ``_used`` the modalities that
    a kernel sees and that some sample has.
    """

    missing_modality = "skips"
    _normalizations: tuple[str | None, ...] = ("cosine", None)

    kernels: Any
    kernel: Any
    normalize: str | None

    @property
    def _pairs(self) -> Any:
        """The triples without their modalities: scikit-learn's composition reads pairs."""
        if self._is_one(self.kernels):
            return []
        try:
            return [(name, kernel) for name, kernel, _ in self.kernels or []]
        except (TypeError, ValueError):
            return self.kernels

    @_pairs.setter
    def _pairs(self, pairs: list[tuple[str, Any]]) -> None:
        seen = [modality for _, _, modality in self.kernels or []]
        self.kernels = [(*pair, modality) for pair, modality in zip(pairs, seen, strict=True)]

    @staticmethod
    def _is_one(kernels: Any) -> bool:
        """Tell whether ``kernels`` is one kernel for every modality."""
        return isinstance(kernels, str | Kernel) or callable(kernels)

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
        if "kernels" in params:  # the others may be names and parameters of its kernels
            self.kernels = params.pop("kernels")
        self._set_params("_pairs", **params)
        return self

    def _sk_visual_block_(self) -> Any:
        """Return the picture that scikit-learn shows of this object."""
        return kernels_picture(self)

    def _fit_kernels(self, X: Any) -> tuple[dict[str, Any], np.ndarray]:
        """Resolve modalities and kernels; return each modality's features, and who has which.

        The mask has a row for each modality in use.
        """
        check_option("normalize", self.normalize, self._normalizations)
        self._cosine = self.normalize == "cosine"
        table = self._read_fit(X)
        triples = self._triples()
        seen = {modality for _, _, modality in triples}
        columns = {name: found for name, found in self._columns.items() if name in seen}
        there = dict(zip(columns, presence(table, columns), strict=True))
        for name in [name for name in columns if not there[name].any()]:
            warn(f"modality {name!r} is missing for every sample and its kernels are left out")
            del there[name]
        triples = [triple for triple in triples if triple[2] in there]
        if not triples:
            raise ValueError("no kernel is left: each is dropped, or its modality missing")
        self._used = list(there)
        mask = np.array(list(there.values()))
        nobody = np.flatnonzero(~mask.any(axis=0))
        if nobody.size:
            raise ValueError(
                f"{nobody.size} samples have none of the modalities {listed(self._used)} "
                f"(first at row {nobody[0]}); nothing can be learnt from them: drop those rows"
            )
        self._stand_ins: dict[str, Any] = {}
        blocks = self._read_blocks(table, mask)
        for name, block in blocks.items():
            if block.dtype == object:  # a cell for new samples that have none
                self._stand_ins[name] = block[:1].copy()
        self.kernels_: list[Kernel] = []
        self.kernel_names_: list[str] = []
        self.kernel_modalities_: list[str] = []
        for name, kernel, modality in triples:
            with concerning(modality):
                present = present_rows(blocks[modality], there[modality])
                singles = as_kernel(kernel).resolve(present).expand()
                if self._cosine:
                    _check_normalized(singles, present)
            many = len(singles) > 1
            self.kernels_ += singles
            self.kernel_names_ += [f"{name}_{k}" if many else name for k in range(len(singles))]
            self.kernel_modalities_ += [modality] * len(singles)
        twice = {name for name in self.kernel_names_ if self.kernel_names_.count(name) > 1}
        if twice:
            raise ValueError(
                f"kernels {listed(sorted(twice))} stand twice, once as one of a bank; rename one"
            )
        return blocks, mask

    def _triples(self) -> list[Triple]:
        """Return the kernels in use: those that are named, and the prototype for the rest."""
        if self._is_one(self.kernels):
            return [(name, self.kernels, name) for name in self._columns]
        given = [] if self.kernels is None else self.kernels
        if not isinstance(given, list | tuple):
            raise TypeError(
                f"kernels must be a list of (name, kernel, modality) or one kernel, got {given!r}"
            )
        for triple in given:
            whole = isinstance(triple, tuple | list) and len(triple) == 3
            if not whole or not isinstance(triple[0], str):
                raise ValueError(
                    f"kernels must be a list of (name, kernel, modality), got {triple!r} in it"
                )
        triples: list[Any] = [tuple(triple) for triple in given]
        names = [name for name, _, _ in triples]
        self._validate_names(names)
        for name, _, modality in triples:
            if modality not in list(self._columns):
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

    def _new(
        self, X: Any, kernels: Sequence[int] | None = None
    ) -> tuple[dict[str, Any], np.ndarray | None, np.ndarray]:
        """Return blocks, scales and presence of new samples, for some of the kernels.

        The mask has a row for each modality in use; blocks are those that the kernels see.
        """
        chosen = range(len(self.kernels_)) if kernels is None else kernels
        table = self._read(X)
        mask = presence(table, {name: self._columns[name] for name in self._used})
        seen = {self.kernel_modalities_[m] for m in chosen}
        blocks = self._read_blocks(table, mask, [name for name in self._used if name in seen])
        return blocks, self._scales(blocks, mask, chosen), mask

    def _read_blocks(
        self, table: Any, mask: np.ndarray, names: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Return each modality's features; what stands for the absent ones counts nothing."""
        blocks = {}
        for name in self._used if names is None else names:
            with concerning(name):
                rows = mask[self._used.index(name)]
                block = take_block(table, as_list(self._columns[name]))
                blocks[name] = _features(block, rows, self._stand_ins.get(name))
        return blocks

    def _scales(
        self, blocks: dict[str, Any], mask: np.ndarray, kernels: Sequence[int] | None = None
    ) -> np.ndarray | None:
        """Return what multiplies the rows of each kernel, None where nothing does."""
        chosen = range(len(self.kernels_)) if kernels is None else kernels
        seen = [self.kernel_modalities_[m] for m in chosen]
        shares = mask.mean(axis=0)
        here = mask / np.sqrt(np.where(shares > 0, shares, 1))
        scales = here[[self._used.index(name) for name in seen]]
        if self._cosine:
            for row, (m, name) in enumerate(zip(chosen, seen, strict=True)):
                kernel = self.kernels_[m]
                if kernel.unit_diagonal or is_gram(kernel):
                    continue
                with concerning(name):
                    there = mask[self._used.index(name)]
                    scales[row] *= _inverse_norms(kernel, blocks[name], there)
        return None if (scales == 1).all() else scales


def is_gram(kernel: Kernel) -> bool:
    """Tell whether a kernel's features are its values with the training samples."""
    return any(map(_is_raw, leaves_of(kernel)))


def is_gram_alone(kernel: Kernel) -> bool:
    """Tell whether that is all they are: a column of a sample that is not needed may go."""
    return all(map(_is_raw, leaves_of(kernel)))


def leaves_of(kernel: Kernel) -> list[Kernel]:
    """Return the kernels that a kernel is composed of."""
    return [leaf for _, term in kernel._terms() for leaf in term]


def _is_raw(kernel: Kernel) -> bool:
    return isinstance(kernel, Precomputed) and kernel.matrix is None


def _check_normalized(kernels: list[Kernel], block: Any) -> None:
    """Refuse Gram matrices whose new rows could not be normalised: k(x, x) is not among them."""
    for kernel in filter(is_gram, kernels):
        values = diagonal(block, kernel)
        if not np.allclose(values, 1.0):
            raise ValueError(
                f"normalize='cosine' needs k(x, x) of new samples, which a Gram matrix with the "
                f"training samples does not hold, and its diagonal is not 1 (from "
                f"{values.min():.3g} to {values.max():.3g}); use normalize='trace' or None, "
                "normalise all samples beforehand, or give matrix="
            )


def _inverse_norms(kernel: Kernel, block: Any, rows: np.ndarray) -> np.ndarray:
    """Return 1 / sqrt(k(x, x)), and 0 where that is 0 or the sample is absent."""
    found = np.zeros(len(rows))
    if not rows.any():
        return found
    values = diagonal(present_rows(block, rows), kernel)
    if not np.isfinite(values).all():
        row = np.flatnonzero(rows)[~np.isfinite(values)][0]
        raise ValueError(
            f"{kernel!r} overflows: k(x, x) of the sample at row {row} is not finite; rescale the "
            "features"
        )
    if (values < 0).any():
        raise ValueError(
            f"{kernel!r} has negative values k(x, x) (least {values.min():.3g}), which cosine "
            "normalisation cannot divide by; use normalize=None"
        )
    found[rows] = np.divide(1.0, np.sqrt(values), out=np.zeros_like(values), where=values > 0)
    return found


def _features(block: Any, rows: np.ndarray, stand_in: Any = None) -> Any:
    """Return numbers as an array, and sequences or text as an array of cells."""
    single = isinstance(block, pd.DataFrame) and block.shape[1] == 1
    if single and not pd.api.types.is_numeric_dtype(block.dtypes.iloc[0]):
        cells = fill_cells(block.iloc[:, 0])
        if not rows.all():
            cells[~rows] = cells[np.flatnonzero(rows)[:1]] if stand_in is None else stand_in
        return cells
    values = frame_values(block) if isinstance(block, pd.DataFrame) else block
    if not rows.all() and not sparse.issparse(values):
        values = np.array(values)
        values[~rows] = 0
    return check_block(values)


def present_rows(block: Any, rows: np.ndarray) -> Any:
    """Return the rows of the samples that have the modality."""
    return block if rows.all() else block[rows]


def _is_drop(kernel: Any) -> bool:
    return isinstance(kernel, str) and kernel == "drop"
