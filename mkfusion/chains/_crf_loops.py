# mypy: disable-error-code="no-untyped-def"
"""Compiled loops of conditional random fields: paths drawn from the chain."""

import numpy as np

from .._jit import njit

__all__ = ["draw_paths"]


def _draw_paths(transition, unary, uniforms, forward, paths):
    """Draw paths[r] with the probability that the chain gives them, from uniforms[r]."""
    n_steps, n_states = unary.shape
    for j in range(n_states):
        forward[0, j] = unary[0, j]
    for t in range(1, n_steps):
        for j in range(n_states):
            top = -np.inf
            for i in range(n_states):
                top = max(top, forward[t - 1, i] + transition[i, j])
            total = 0.0
            if top > -np.inf:
                for i in range(n_states):
                    total += np.exp(forward[t - 1, i] + transition[i, j] - top)
                forward[t, j] = unary[t, j] + top + np.log(total)
            else:
                forward[t, j] = -np.inf
    for r in range(len(uniforms)):
        following = 0
        for back in range(n_steps):
            t = n_steps - 1 - back
            top = -np.inf
            for i in range(n_states):
                step = transition[i, following] if back else 0.0
                top = max(top, forward[t, i] + step)
            total = 0.0
            for i in range(n_states):
                step = transition[i, following] if back else 0.0
                total += np.exp(forward[t, i] + step - top)
            left = uniforms[r, t] * total
            found = 0
            for i in range(n_states):
                step = transition[i, following] if back else 0.0
                share = np.exp(forward[t, i] + step - top)
                if share > 0.0:
                    found = i
                    left -= share
                    if left < 0.0:
                        break
            paths[r, t] = found
            following = found


draw_paths = njit(_draw_paths)
