"""Two rules: the mean of posteriors by how sure each expert is, and by how often it was right."""

import numpy as np

from mkfusion.rules import Rule


def surest(posteriors, mask, priors, expert_priors, weights):
    """Return sum_m v_m(x) p_m(c | x), with v_m = 1 - H(p_m) / log K."""
    logs = np.log(np.maximum(posteriors, np.finfo(float).tiny))
    entropy = -(posteriors * logs).sum(axis=2)
    voice = np.maximum(1 - entropy / np.log(posteriors.shape[2]), 0)
    return np.einsum("mi,mic->ic", np.where(mask, voice, 0.0), posteriors)


SUREST = Rule(surest)


def proven(posteriors, mask, priors, expert_priors, weights):
    """Return sum_m a_m p_m(c | x), with a_m from :func:`learn_proven` as ``weights``."""
    voice = np.where(mask, weights[:, None], 0.0)
    return np.einsum("mi,mic->ic", voice, posteriors)


def learn_proven(posteriors, mask, y, sample_weight, priors, expert_priors, *, least=0.0):
    """Return by how much each expert beats the largest class, on samples it has not seen."""
    right = (posteriors.argmax(axis=2) == y) * mask
    accuracy = (right * sample_weight).sum(axis=1) / (mask * sample_weight).sum(axis=1)
    return np.maximum(accuracy - priors.max(), least)


PROVEN = Rule(proven, learn=learn_proven)
