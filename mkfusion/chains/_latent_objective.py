"""Conditional random fields with hidden states that belong to labels, in one chain or several.

The objective and its gradient are those of `_crf_objective`, for states of which several stand
for one label; here is which states there are, and the best of several searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations, product
from typing import Any, NamedTuple

import numpy as np

from ._crf_design import Design
from ._crf_objective import Layout
from ._crf_optimum import CRFFit, Penalties, fit_chain

__all__ = ["LatentFit", "fit_latent", "latent_layout", "n_latent_states"]

Array = np.ndarray


class LatentFit(NamedTuple):
    """The best of several searches.

    Attributes
    ----------
    best : CRFFit
    objectives : ndarray of shape (n_init,)
        What each search came to.
    """

    best: CRFFit
    objectives: Array


def n_latent_states(n_labels: int, n_states: Sequence[int]) -> int:
    """Return the states of the chain: for each label, all combinations of the views' states."""
    return n_labels * int(np.prod(n_states, dtype=object))


def latent_layout(
    views: Sequence[Sequence[int]],
    n_labels: int,
    n_states: Sequence[int],
    *,
    linked: bool = False,
    coupled: bool = False,
    forbidden: Array | None = None,
) -> Layout:
    """Return the layout in which every label has ``n_states[v]`` states of its own in view v.

    State k of label y in view v is number ``y * n_states[v] + k`` of that view. The chain's states
    are, label by label, the combinations of the views' states, those of the last view fastest.
    """
    inside = np.array(list(product(*(range(k) for k in n_states))))
    labels = np.repeat(np.arange(n_labels), len(inside))
    own = np.tile(inside, (n_labels, 1)) + labels[:, None] * np.asarray(n_states)
    alone = len(n_states) == 1
    numbers = range(len(n_states))
    return Layout(
        tuple(tuple(which) for which in views),
        tuple(n_labels * k for k in n_states),
        tuple(None if alone else own[:, v] for v in numbers),
        tuple(combinations(numbers, 2)) if linked else (),
        tuple(permutations(numbers, 2)) if coupled else (),
        labels,
        forbidden,
    )


def fit_latent(
    design: Design,
    codes: Array,
    layout: Layout,
    penalties: Penalties,
    rngs: Sequence[np.random.Generator],
    **options: Any,
) -> LatentFit:
    """Search from each generator's own start, and keep the lowest objective.

    Without hidden states the objective is convex, and one search from 0 finds its minimum.

    Parameters
    ----------
    design, codes, layout, penalties : as in `fit_chain`
    rngs : sequence of Generator
    **options
        Of `fit_chain`.

    Returns
    -------
    fit : LatentFit
    """
    hidden = len(layout.labels) > int(layout.labels.max()) + 1
    starts = rngs if hidden else [None]
    best, objectives = None, []
    for rng in starts:
        found = fit_chain(design, codes, layout, penalties, rng=rng, **options)
        objectives.append(found.objective)
        if best is None or found.objective < best.objective:
            best = found
    assert best is not None
    return LatentFit(best, np.array(objectives))
