"""Every rule against a loop, and the identities that hold between rules."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mkfusion.rules import (
    REGRESSION_RULES,
    RULES,
    Rule,
    decompose,
    decompose_predictions,
    fuse,
    fuse_predictions,
)

FIXED = [name for name, rule in RULES.items() if not rule.trained]
FIXED_NUMBERS = [name for name, rule in REGRESSION_RULES.items() if not rule.trained]
TAKES_WEIGHTS = [name for name, rule in RULES.items() if rule.weights]
ADDITIVE = [name for name, rule in RULES.items() if rule.additive and not rule.trained]
LOG = [name for name, rule in RULES.items() if rule.log and not rule.trained]


FEW = st.integers(1, 5)


@st.composite
def cases(draw, *, absent=True, unseen=True, n_experts=FEW):
    """Return posteriors, mask, priors, expert priors and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n, c = draw(n_experts), draw(st.integers(0, 7)), draw(st.integers(1, 6))
    concentration = draw(st.sampled_from([0.05, 1.0, 20.0]))
    seen = np.ones((m, c), bool)
    if unseen and c > 1:
        seen = rng.random((m, c)) < draw(st.sampled_from([0.6, 1.0]))
        seen[~seen.any(axis=1), 0] = True
    posteriors = rng.dirichlet(np.full(c, concentration), size=(m, n)) * seen[:, None, :]
    if draw(st.booleans()):
        posteriors = np.round(posteriors * 4)  # ties
    total = posteriors.sum(axis=2, keepdims=True)
    posteriors = np.where(
        total > 0,
        posteriors / np.where(total > 0, total, 1),
        seen[:, None] / seen.sum(1)[:, None, None],
    )
    mask = rng.random((m, n)) < (draw(st.sampled_from([0.5, 0.9, 1.0])) if absent else 1.0)
    own = rng.dirichlet(np.ones(c), size=m) * seen
    own[own.sum(axis=1) == 0] = 1 / c
    own = own / own.sum(axis=1, keepdims=True)
    return (
        posteriors,
        mask,
        rng.dirichlet(np.ones(c)),
        np.where(seen, np.maximum(own, 1e-3), 0),
        rng,
    )


def weights_for(name, rng, m):
    if not RULES[name].weights:
        return None
    weights = rng.random(m)
    if RULES[name].weights == "share" and m > 1:
        weights[rng.integers(m)] = 0.0
    return weights


@pytest.mark.parametrize("name", FIXED)
@given(case=cases())
def test_rule_equals_loop(name, case):
    p, mask, priors, own, rng = case
    weights = weights_for(name, rng, len(p))
    ours = fuse(p, name, mask=mask, priors=priors, expert_priors=own, weights=weights)
    default = np.ones(len(p)) if weights is None else weights
    theirs = oracles.fused(name, p, mask, priors, own, default)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["weighted", "log_pool"])
@given(case=cases())
def test_weights_by_class_equal_loop(name, case):
    p, mask, priors, own, rng = case
    weights = rng.random((len(p), p.shape[2]))
    ours = fuse(p, name, mask=mask, priors=priors, expert_priors=own, weights=weights)
    np.testing.assert_allclose(
        ours, oracles.fused(name, p, mask, priors, own, weights), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", FIXED)
@given(case=cases())
def test_probabilities_are_a_distribution(name, case):
    p, mask, priors, own, _rng = case
    ours = fuse(p, name, mask=mask, priors=priors, expert_priors=own)
    assert ours.shape == p.shape[1:]
    assert (ours >= 0).all()
    np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", FIXED)
@given(case=cases(unseen=False))
def test_logarithms_agree(name, case):
    p, mask, priors, own, _rng = case
    given = {"mask": mask, "priors": priors, "expert_priors": own}
    with np.errstate(divide="ignore"):
        expected = np.log(fuse(p, name, **given))
    ours = fuse(p, name, log=True, **given)
    finite = expected > -700
    np.testing.assert_allclose(ours[finite], expected[finite], atol=1e-9)


@pytest.mark.parametrize("name", LOG)
def test_logarithms_do_not_underflow(name):
    p = np.tile([[[1e-12, 1 - 1e-12]]], (60, 1, 1))
    logs = fuse(p, name, log=True)
    assert np.isfinite(logs).all()
    if name in ("bayes", "product", "dempster_shafer"):
        np.testing.assert_allclose(logs[0, 0], 60 * np.log(1e-12), rtol=0.05)


@pytest.mark.parametrize("name", FIXED)
@given(case=cases())
def test_absent_is_removed(name, case):
    """An absent expert, whatever stands in its place, is the fusion without it."""
    p, mask, priors, own, rng = case
    weights = weights_for(name, rng, len(p))
    given = {"priors": priors, "expert_priors": own, "weights": weights}
    together = fuse(p, name, mask=mask, **given)
    garbage = np.where(mask[:, :, None], p, np.nan)
    np.testing.assert_array_equal(fuse(garbage, name, mask=mask, **given), together)
    for i in range(p.shape[1]):
        who = mask[:, i]
        if not who.any():
            np.testing.assert_allclose(together[i], priors)
            continue
        kept = None if weights is None else weights[who]
        if kept is not None and RULES[name].weights == "share" and not kept.any():
            continue
        alone = fuse(p[who, i : i + 1], name, priors=priors, expert_priors=own[who], weights=kept)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in FIXED if RULES[name].order_free])
@given(case=cases())
def test_order_of_experts_does_not_matter(name, case):
    p, mask, priors, own, rng = case
    weights = weights_for(name, rng, len(p))
    order = rng.permutation(len(p))
    one = fuse(p, name, mask=mask, priors=priors, expert_priors=own, weights=weights)
    other = fuse(
        p[order],
        name,
        mask=mask[order],
        priors=priors,
        expert_priors=own[order],
        weights=None if weights is None else weights[order],
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["mean", "max", "min", "median", "weighted", "log_pool", "borda"])
@given(case=cases(absent=False, unseen=False, n_experts=st.just(1)), copies=st.integers(2, 5))
def test_equal_experts_are_one(name, case, copies):
    p, _, priors, _own, _ = case
    one = fuse(p, name, priors=priors)
    np.testing.assert_allclose(
        fuse(np.repeat(p, copies, axis=0), name, priors=priors), one, atol=1e-12
    )


@given(case=cases(unseen=False))
def test_bayes_is_kittlers_product_where_priors_agree(case):
    p, mask, priors, _, _ = case
    count = mask.sum(axis=0)[:, None]
    floored = np.maximum(p, np.finfo(float).eps)
    expected = (1 - count) * np.log(priors) + (np.log(floored) * mask[:, :, None]).sum(axis=0)
    expected -= np.logaddexp.reduce(expected, axis=1, keepdims=True)
    ours = fuse(
        p, "bayes", mask=mask, priors=priors, expert_priors=np.tile(priors, (len(p), 1)), log=True
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@given(case=cases(n_experts=st.just(1), absent=False, unseen=False), seed=st.integers(0, 999))
def test_changed_priors_move_the_posterior_as_bayes_says(case, seed):
    p, _, _priors, own, _ = case
    new = np.random.default_rng(seed).dirichlet(np.ones(p.shape[2]) * 5)
    expected = np.maximum(p[0], np.finfo(float).eps) * new / own[0]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        fuse(p, "bayes", priors=new, expert_priors=own), expected, rtol=1e-9
    )


@given(case=cases())
def test_dempster_shafer_without_discount_is_the_product(case):
    p, mask, priors, own, _ = case
    given = {"mask": mask, "priors": priors, "expert_priors": own}
    ours = fuse(p, "dempster_shafer", **given)
    np.testing.assert_allclose(ours, fuse(p, "product", **given), rtol=0, atol=1e-14)


@given(case=cases(absent=False, unseen=False))
def test_dempster_shafer_equals_combination_of_mass_functions(case):
    p, _, _, _, rng = case
    m, n, c = p.shape
    reliability = rng.random(m)
    everything = frozenset(range(c))
    ours = fuse(p, "dempster_shafer", weights=reliability)
    for i in range(n):
        combined = {everything: 1.0}
        for k in range(m):
            masses = {frozenset([j]): reliability[k] * p[k, i, j] for j in range(c)}
            masses[everything] = masses.get(everything, 0.0) + 1 - reliability[k]
            combined = oracles.dempster(combined, masses)
        np.testing.assert_allclose(ours[i], oracles.pignistic(combined, c), atol=1e-9)


def test_dempster_shafer_of_unreliable_experts_is_uniform():
    np.testing.assert_allclose(
        fuse([[[0.9, 0.1]], [[0.8, 0.2]]], "dempster_shafer", weights=[0.0, 0.0]), [[0.5, 0.5]]
    )


def test_kittlers_sum_decides_on_raw_scores_and_clips_its_probabilities():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=(3, 500))
    priors = np.array([0.7, 0.1, 0.1, 0.1])
    raw = -2 * priors + p.sum(axis=0)
    assert (raw < 0).any(axis=1).mean() > 0.1
    ours = fuse(p, "sum", priors=priors)
    np.testing.assert_array_equal(ours.argmax(axis=1), raw.argmax(axis=1))
    assert (ours[raw < 0] == 0).all()


def test_mean_and_sum_decide_alike_for_equal_priors_only():
    p = np.random.default_rng(1).dirichlet(np.ones(3), size=(4, 400))
    equal = fuse(p, "sum"), fuse(p, "mean")
    np.testing.assert_array_equal(*(q.argmax(axis=1) for q in equal))
    skewed = [0.8, 0.1, 0.1]
    other = fuse(p, "sum", priors=skewed), fuse(p, "mean", priors=skewed)
    assert (other[0].argmax(axis=1) != other[1].argmax(axis=1)).any()


def test_ties_of_votes_go_to_the_higher_mean_posterior():
    p = np.array([[[0.9, 0.1, 0.0]], [[0.4, 0.6, 0.0]]])
    assert fuse(p, "vote").argmax() == 0
    assert fuse(p[:, :, [1, 0, 2]], "vote").argmax() == 1
    np.testing.assert_allclose(fuse(p, "vote"), [[0.5, 0.5, 0]], atol=1e-14)


def test_zero_posteriors_leave_no_nan():
    p = np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    for name in FIXED:
        fused = fuse(p, name)
        assert np.isfinite(fused).all(), name
    np.testing.assert_allclose(fuse(p, "product"), [[0.5, 0.5, 0]], atol=1e-12)


def test_scores_of_zero_give_the_priors():
    p = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    np.testing.assert_allclose(fuse(p, "min", priors=[0.3, 0.7]), [[0.3, 0.7]])


def test_prior_of_zero_forbids_a_class():
    fused = fuse([[[0.9, 0.1]]], "bayes", priors=[0.0, 1.0], expert_priors=[[0.5, 0.5]])
    np.testing.assert_array_equal(fused, [[0.0, 1.0]])


def test_unseen_class_is_neutral_in_bayes():
    """Who never saw a class says nothing of it: the others' ratio decides."""
    p = np.array([[[0.5, 0.5, 0.0]], [[0.1, 0.2, 0.7]]])
    own = np.array([[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    fused = fuse(p, "bayes", expert_priors=own)
    np.testing.assert_allclose(fused, p[1], rtol=1e-12)


# Contributions ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ADDITIVE)
@given(case=cases())
def test_contributions_add_up(name, case):
    p, mask, priors, own, rng = case
    given = {"mask": mask, "priors": priors, "expert_priors": own}
    given["weights"] = weights_for(name, rng, len(p))
    parts = decompose(p, name, **given)
    np.testing.assert_array_equal(parts.base + parts.contributions.sum(axis=0), parts.decision)
    if name == "sum":
        expected = oracles.rule_scores(name, p, mask, priors, own, np.ones(len(p)))
        rows = mask.any(axis=0) & (expected.sum(axis=1) > 0)
        expected = expected[rows] / expected[rows].sum(axis=1, keepdims=True)
        np.testing.assert_allclose(parts.decision[rows], expected, atol=1e-9)
    else:
        fused = fuse(p, name, log=RULES[name].log, **given)
        np.testing.assert_allclose(parts.decision, fused, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ADDITIVE)
@given(case=cases())
def test_absent_contributes_nothing(name, case):
    p, mask, priors, own, _ = case
    parts = decompose(p, name, mask=mask, priors=priors, expert_priors=own)
    assert (parts.contributions[~mask] == 0).all()


def test_rule_without_parts_is_refused():
    with pytest.raises(ValueError, match="'max' is not additive; those that are: 'bayes'"):
        decompose([[[0.5, 0.5]]], "max")


# Numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIXED_NUMBERS)
@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 5), n=st.integers(0, 6))
def test_regression_rule_equals_loop(name, seed, m, n):
    rng = np.random.default_rng(seed)
    f, mask = rng.normal(size=(m, n)) * 10, rng.random((m, n)) < 0.7
    weights, variances = rng.random(m) + 0.01, rng.random(m) + 0.01
    weights[1:] *= rng.random(m - 1) < 0.6
    given = {"weights": weights} if name == "weighted" else {}
    if name == "inverse_variance":
        given = {"variances": variances}
    ours = fuse_predictions(f, name, mask=mask, fallback=3.5, **given)
    np.testing.assert_allclose(
        ours, oracles.fused_predictions(name, f, mask, weights, variances, 3.5), rtol=1e-9
    )
    if REGRESSION_RULES[name].additive:
        parts = decompose_predictions(f, name, mask=mask, fallback=3.5, **given)
        np.testing.assert_allclose(parts.decision[:, 0], ours, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 9999))
def test_inverse_variance_is_a_kalman_update(seed):
    """Observations of one static state, one after the other, and all at once."""
    rng = np.random.default_rng(seed)
    observations, variances = rng.normal(size=(4, 1)), rng.random(4) + 0.1
    state, spread = observations[0, 0], variances[0]
    for observation, variance in zip(observations[1:, 0], variances[1:], strict=True):
        gain = spread / (spread + variance)
        state, spread = state + gain * (observation - state), (1 - gain) * spread
    ours = fuse_predictions(observations, "inverse_variance", variances=variances)
    np.testing.assert_allclose(ours, [state], rtol=1e-12, atol=1e-14)


def test_inverse_variance_survives_extremes():
    values = fuse_predictions([[1.0], [2.0]], "inverse_variance", variances=[1e-308, 1e308])
    np.testing.assert_allclose(values, [1.0])


def test_variances_by_sample():
    values = fuse_predictions(
        [[0.0, 0.0], [1.0, 1.0]], "inverse_variance", variances=[[1, 3], [1, 1]]
    )
    np.testing.assert_allclose(values, [0.5, 0.75])


# The door -----------------------------------------------------------------------------------


def test_callable_enters_as_a_built_in_does():
    def geometric(posteriors, mask, priors, expert_priors, weights):
        return np.exp(np.log(posteriors).mean(axis=0))

    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 20))
    np.testing.assert_allclose(fuse(p, geometric), fuse(p, "log_pool"), rtol=1e-12)
    logs = Rule(lambda p, *_: np.log(p).mean(axis=0), log=True)
    np.testing.assert_allclose(fuse(p, logs), fuse(p, "log_pool"), rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda p, *_: p, "must return scores of shape"),
        (lambda p, *_: p[0] * np.nan, "returned NaN"),
    ],
)
def test_bad_callable_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        fuse(np.full((2, 3, 2), 0.5), scores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "bayse"}, "rule must be one of 'bayes', 'product'"),
        ({"rule": None}, "rule must be one of"),
        ({"posteriors": [[0.5, 0.5]]}, r"shape \(n_experts, n_samples, n_classes\)"),
        ({"posteriors": np.empty((0, 3, 2))}, "at least one expert"),
        ({"posteriors": [[[0.5, -0.5]]]}, "non-negative, got -0.5"),
        ({"posteriors": [[[0.5, np.nan]]]}, "expert 0 hold NaN"),
        ({"posteriors": [[[0.5, np.inf]]]}, "NaN or infinity"),
        ({"mask": [[True, False]]}, r"mask must have shape \(2, 1\), got \(1, 2\)"),
        ({"priors": [0.5, 0.6]}, "sum to 1.*1.1"),
        ({"priors": [0.5, 0.5, 0.0]}, "priors must have length 2"),
        ({"priors": [-0.5, 1.5]}, "non-negative and sum to 1"),
        ({"priors": [np.nan, 1.0]}, "finite"),
        ({"expert_priors": [[0.5, 0.5]]}, r"expert_priors must have shape \(2, 2\)"),
        ({"weights": [0.5, 0.5]}, "'mean'|takes no weights; those that do: 'vote'"),
        ({"rule": "weighted", "weights": [1, 2, 3]}, "weights must have shape"),
        ({"rule": "weighted", "weights": [0, 0]}, "not all be zero"),
        (
            {"rule": "dempster_shafer", "weights": [0.5, 1.5]},
            r"reliabilities in \[0, 1\], got 1.5",
        ),
        ({"rule": "vote", "weights": np.ones((2, 2))}, "one weight for each expert"),
    ],
)
def test_bad_argument_is_refused(arguments, message):
    given = {"posteriors": [[[0.5, 0.5]], [[0.2, 0.8]]], "rule": "mean", **arguments}
    with pytest.raises(ValueError, match=message):
        fuse(**given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "bayes"}, "rule must be one of 'mean', 'median'"),
        ({"rule": "inverse_variance"}, "needs variances"),
        ({"rule": "inverse_variance", "variances": [1.0, 0.0]}, "positive"),
        ({"rule": "inverse_variance", "variances": [1.0]}, "variances must have shape"),
        ({"rule": "weighted", "weights": [1.0]}, "weights must have shape"),
        ({"rule": "mean", "weights": [1.0, 1.0]}, "takes no weights"),
        ({"rule": "mean", "predictions": [[np.inf], [0.0]]}, "expert 0 hold NaN or infinity"),
    ],
)
def test_bad_argument_for_numbers_is_refused(arguments, message):
    given = {"predictions": [[0.5], [0.2]], **arguments}
    with pytest.raises(ValueError, match=message):
        fuse_predictions(**given)


@pytest.mark.parametrize("name", FIXED)
def test_arguments_are_never_written_to(name):
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 5))
    mask, priors = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 1, 0]], bool), np.array([0.2, 0.3, 0.5])
    own = np.tile(priors, (2, 1))
    for array in (p, mask, priors, own):
        array.setflags(write=False)
    fuse(p, name, mask=mask, priors=priors, expert_priors=own)
    if RULES[name].additive:
        decompose(p, name, mask=mask, priors=priors, expert_priors=own)


def test_batches_leave_no_seam():
    """More rows than one batch: each row as if it were alone."""
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 20_000))
    mask = np.random.default_rng(1).random((3, 20_000)) < 0.8
    for name in FIXED:
        whole = fuse(p, name, mask=mask)
        for i in (0, 8191, 8192, 16384, 19_999):
            np.testing.assert_allclose(
                whole[i], fuse(p[:, i : i + 1], name, mask=mask[:, i : i + 1])[0], rtol=1e-12
            )


@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_weight_zero_removes_an_expert(name):
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 50))
    weights = [0.5, 0.0, 1.0]
    np.testing.assert_allclose(
        fuse(p, name, weights=weights),
        fuse(p[[0, 2]], name, weights=[0.5, 1.0]),
        rtol=1e-12,
        atol=1e-14,
    )
