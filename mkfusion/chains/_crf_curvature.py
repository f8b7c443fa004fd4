r"""The curvature of a conditional random field's objective, from paths drawn from the model.

The Hessian of -log p(y | x) is the covariance of the score under the model itself,

.. math:: H = \sum_i s_i\, \mathrm{Cov}_{y \sim p(y|x_i)} \nabla \log p(y, x_i),

which knows how the labels of neighbouring steps hang together; where labels last long, that is
nearly all there is to know. Paths of as many sequences as are needed are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._chain import posteriors
from ._crf_design import Design, gradient
from ._crf_loops import draw_paths
from ._crf_objective import ChainGradient, Layout, Potentials, view_indicator

__all__ = ["drawn_scores"]

Array = np.ndarray

_DRAWS = 4  # from each sequence, where there are enough
_MOST_PASSES = 15  # over all steps, that drawing may take


def drawn_scores(
    design: Design, layout: Layout, at: Potentials, weights: Array, n_scores: int, seed: int
) -> Iterator[ChainGradient]:
    """Yield scores whose outer products add up to the Hessian of the loss, in expectation."""
    rng = np.random.default_rng(seed)
    n = len(design.offsets) - 1
    used = np.arange(n)[:: max(1, n * _DRAWS // n_scores)]
    draws = min(-(-n_scores // len(used)), _MOST_PASSES)
    bias, transition = at.on_chain(layout)
    marks = [view_indicator(layout, v) for v in range(len(layout.views))]
    start = np.zeros(len(bias))
    for i in used:
        a, b = design.offsets[i], design.offsets[i + 1]
        blocks = tuple(block[a:b] for block in design.blocks)
        piece = Design(blocks, design.contexts, np.array([0, b - a]))
        unary = at.unary(piece, layout)
        mean = posteriors(start, transition, unary, piece.offsets)
        paths = np.empty((draws, b - a), dtype=np.int64)
        draw_paths(transition, unary, rng.random((draws, b - a)), np.empty_like(unary), paths)
        size = np.sqrt(weights[i] * n / (len(used) * draws))
        residuals = np.repeat(-mean.marginals[:, None], draws, axis=1)  # (n_steps, draws, S)
        residuals[np.arange(b - a)[:, None], np.arange(draws), paths.T] += 1.0
        residuals *= size
        coefs = [
            gradient(piece, which, (residuals @ mark).reshape(b - a, -1)).reshape(
                draws, mark.shape[1], -1
            )
            for which, mark in zip(layout.views, marks, strict=True)
        ]
        by_bias = residuals.sum(axis=0)
        for r, path in enumerate(paths):
            moves = path[:-1] * len(bias) + path[1:]
            pairs = np.bincount(moves, minlength=len(bias) ** 2).reshape(mean.pairs.shape)
            yield ChainGradient(
                [coef[r] for coef in coefs], by_bias[r], size * (pairs - mean.pairs)
            )
