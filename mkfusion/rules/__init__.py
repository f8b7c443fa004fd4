"""Rules that combine what several experts say of the same samples.

A rule is a function of one signature on arrays, and :data:`RULES` names them all::

    scores = rule(posteriors, mask, priors, expert_priors, weights)

========================  ===========================================================
``posteriors``            (n_experts, n_samples, n_classes), p_m(c | x)
``mask``                  (n_experts, n_samples), True where expert m speaks of sample i
``priors``                (n_classes,), P(c) where the rule is used
``expert_priors``         (n_experts, n_classes), P_m(c) that expert m was trained with;
                          0 says that it never saw the class
``weights``               (n_experts,) or (n_experts, n_classes); for a trained rule what its
                          ``learn`` returned
``scores``                (n_samples, n_classes), to scale; logarithms if the rule says so
========================  ===========================================================

:func:`fuse` is the front: it checks, fills in the defaults, calls the rule, gives the priors to
samples of which no expert speaks, and normalises. :func:`learn_rule` learns what a rule needs
from out-of-fold posteriors. :func:`fuse_predictions`, :func:`learn_regression_rule` and
:data:`REGRESSION_RULES` are the same for numbers instead of classes.
"""

from ._fuse import RULES, decompose, fuse, learn_rule
from ._numbers import (
    REGRESSION_RULES,
    LearntVariances,
    decompose_predictions,
    fuse_predictions,
    learn_regression_rule,
)
from ._rule import Decomposition, LearntWeights, Parts, Rule

__all__ = [
    "REGRESSION_RULES",
    "RULES",
    "Decomposition",
    "LearntVariances",
    "LearntWeights",
    "Parts",
    "Rule",
    "decompose",
    "decompose_predictions",
    "fuse",
    "fuse_predictions",
    "learn_regression_rule",
    "learn_rule",
]
