"""Conformal prediction from its definition, one sample and one candidate at a time."""

import math
from fractions import Fraction


def conforms(known, score, alpha):
    """Is a score no larger than the quantile of the known ones and infinity?

    As a p-value: with the sample itself, more than alpha are at least as strange.
    """
    as_strange = 1 + sum(own >= score for own in known)
    return Fraction(as_strange, len(known) + 1) > Fraction(str(alpha))


def lac(posteriors, c):
    return 1 - posteriors[c]


def aps(posteriors, c, share=1.0):
    """The posteriors of what is more probable, and a share of that of c itself."""
    before = sum(p for k, p in enumerate(posteriors) if (-p, k) < (-posteriors[c], c))
    return before + share * posteriors[c]


def crossed_bounds(centres, residuals, alpha):
    """CV+ of one sample: the centre and the residual of every calibration sample's own model."""
    n = len(centres)
    place = math.ceil((n + 1) * (1 - Fraction(str(alpha))))
    if place > n:
        return -math.inf, math.inf
    above = sorted(c + r for c, r in zip(centres, residuals, strict=True))
    below = sorted((c - r for c, r in zip(centres, residuals, strict=True)), reverse=True)
    return below[place - 1], above[place - 1]
