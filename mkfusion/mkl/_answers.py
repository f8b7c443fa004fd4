"""What machines on kernels answer of new samples, by the support vectors that they keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import _num_samples, check_is_fitted

from .._contributions import ModalityContributions
from .._parallel import single_blas_thread
from .._validation import warn
from ..kernels import combine
from ._composition import is_gram
from ._shared import SharedKernels
from ._view import formed

__all__ = ["Heard", "KernelAnswers"]

Array = np.ndarray

CHUNK = 2**22  # entries of the kernel between new samples and support vectors made at a time


class Heard(NamedTuple):
    """What the kernels that have weight see of new samples."""

    blocks: dict[str, Any]
    scales: Any  # shape: (n_kernels, n_samples), or None
    asked: int = 0  # which table it is


class KernelAnswers(SharedKernels):
    """Decisions of machines whose weights and support vectors are known."""

    weighting: Any

    def _answers(self, X: Any, groups: Array) -> Array:
        """Return ``K_g beta`` of new samples, of shape (n_samples, n_groups, n_problems).

        K_g is the kernel combined by the weights of a group, of shape (n_groups, 1 or n_problems,
        n_kernels).
        """
        heard = self._heard(X)
        n = _num_samples(X)
        answers = np.zeros((n, len(groups), len(self.dual_coef_)))
        step = max(64, CHUNK // max(1, len(self.support_)))
        for first in range(0, n, step):
            rows = slice(first, first + step)
            for g, weights in enumerate(groups):
                for theta, shares in _sums(weights):
                    K = self._kernel_of(heard, rows, theta)
                    if K is not None:
                        with single_blas_thread, np.errstate(over="ignore", invalid="ignore"):
                            answers[rows, g] += K @ (shares * self.dual_coef_).T
        wrong = np.flatnonzero(~np.isfinite(answers).all(axis=(1, 2)))
        if wrong.size:
            raise ValueError(
                f"the kernels of the sample at row {wrong[0]} of X overflow; rescale its features"
            )
        return answers

    def _heard(self, X: Any) -> Heard:
        """Return what the kernels that have weight see of new samples."""
        check_is_fitted(self)
        used = self._used_kernels
        blocks, scales, mask = self._new(X, used.tolist())
        there = mask[[self._used.index(self.kernel_modalities_[m]) for m in used]]
        product = self._way.form == "product"
        silent = int((~(there.all(axis=0) if product else there.any(axis=0))).sum())
        if silent:
            lack = "not every modality" if product else "no modality whose kernel has a weight"
            warn(
                f"{silent} of {mask.shape[1]} samples have {lack}; nothing is known of them but "
                "the intercept"
            )
        return Heard(blocks, scales, self._asked(X))

    def _kernel_of(self, heard: Heard, rows: slice, theta: Array) -> Array | None:
        """Return the combined kernel between some new samples and the support vectors."""
        used = self._used_kernels
        if not theta[used].any() or not len(self.support_):
            return None
        shared = self._shared_with(heard)
        if shared is not None:

            def weighed(weights: Array) -> Array:
                numbers = weights[used] * self._factors[used]
                each = zip(numbers, shared, strict=True)
                return sum(number * K[rows][:, self.support_] for number, K in each)

            return formed(self._way.form, theta, weighed)
        kernels = [self.kernels_[m] for m in used]
        new, old = [], []
        for kernel, m in zip(kernels, used, strict=True):
            name = self.kernel_modalities_[m]
            block, support = heard.blocks[name][rows], self._support[name]
            if is_gram(kernel):  # its columns are the training samples
                block, support = block[:, self.support_], support[:, self.support_]
            new.append(block)
            old.append(support)
        own = self._support_scales

        def mixed(weights: Array) -> Array:
            return combine(
                kernels, weights[used] * self._factors[used], new, old,
                row_scales=None if heard.scales is None else heard.scales[:, rows],
                column_scales=None if own is None else own[used], n_jobs=self.n_jobs,
            )  # fmt: skip

        return formed(self._way.form, theta, mixed)

    def _shared_with(self, heard: Heard) -> list[Array] | None:
        """Return the kernels between new and all training samples, where copies share them."""
        if self._known is None or not hasattr(self, "_training"):
            return None
        blocks, scales = self._training
        found = []
        for k, m in enumerate(self._used_kernels):
            name = self.kernel_modalities_[m]
            new = heard.blocks[name], None if heard.scales is None else heard.scales[k]
            old = blocks[name], None if scales is None else scales[m]
            K = self._shared_values(heard.asked, m, new, old)
            if K is None:
                return None
            found.append(K)
        return found

    def _decide(self, X: Any) -> Array:
        """Return the decisions of the machines, of shape (n_samples, n_problems)."""
        check_is_fitted(self)
        weights = np.atleast_2d(self.kernel_weights_)
        return self._answers(X, weights[None])[:, 0] + self.intercept_

    def _contributions(self, X: Any, names: Sequence[Any]) -> ModalityContributions:
        """Return what each modality adds to each decision."""
        check_is_fitted(self)
        if self._way.form != "linear":
            raise ValueError(
                f"weighting={self.weighting!r} multiplies kernels: its decisions are no sum over "
                "modalities"
            )
        weights = np.atleast_2d(self.kernel_weights_)
        modalities = list(dict.fromkeys(self.kernel_modalities_))
        groups = np.zeros((len(modalities), *weights.shape))
        for g, modality in enumerate(modalities):
            own = self._kernels_of(modality)
            groups[g][:, own] = weights[:, own]
        parts = self._answers(X, groups)
        base = np.repeat(self.intercept_[None], len(parts), axis=0)
        scale = "prediction" if is_regressor(self) else "decision value"
        return ModalityContributions(
            parts, base, base + parts.sum(axis=1), modalities, np.asarray(names), scale
        )


def _sums(weights: Array) -> Iterator[tuple[Array, Any]]:
    """Yield the sums of kernels to make, each with its share in the kernel of every problem.

    Weights that all problems have in common take one sum, others the single kernels.
    """
    if (weights == weights[0]).all():
        yield weights[0], 1.0
    else:
        for m, single in enumerate(np.eye(weights.shape[1])):
            yield single * weights[:, m].any(), weights[:, m, None]
