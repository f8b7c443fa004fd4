"""A temperature by length: the formula, the gradient, the optimum, and what cannot be learnt."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.metrics import log_loss

from mkfusion.chains._temperature import (
    Temperature,
    constant_temperature,
    learn_temperature,
    log_posteriors,
    temperature_loss,
)

PRIORS = np.array([0.5, 0.3, 0.2])


def saturated(seed, n=400, a=1.0, b=0.6):
    """Scores whose posteriors are right at exp(a + b log T), and far too sharp at 1."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 400, size=n)
    right = rng.normal(scale=1.5, size=(n, 3))
    shares = softmax(right + np.log(PRIORS), axis=1)
    y = np.array([rng.choice(3, p=row) for row in shares])
    return right * np.exp(a + b * np.log(lengths))[:, None], y, lengths


def given(a, b):
    return Temperature(a, b, np.nan, 0.0, 0, True, 0, "given")


def test_posteriors_are_the_formula():
    scores = np.array([[-10.0, -12.0, -30.0], [-400.0, -390.0, -395.0]])
    lengths = np.array([4, 100])
    tau = np.exp(0.3 + 0.5 * np.log(lengths))
    expected = PRIORS * np.exp(scores / tau[:, None])
    expected /= expected.sum(axis=1, keepdims=True)
    found = np.exp(log_posteriors(scores, np.log(PRIORS), lengths, given(0.3, 0.5)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_posteriors_of_huge_and_of_impossible_scores():
    scores = np.array([[-1e300, -np.inf, -1e300], [-np.inf] * 3, [-1e8, -1e8 - 1, -np.inf]])
    found = log_posteriors(scores, np.log(PRIORS), np.array([1, 5, 9]), constant_temperature())
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(found[0]), [5 / 7, 0, 2 / 7])
    np.testing.assert_allclose(np.exp(found[1]), PRIORS)
    assert found[2, 2] == -np.inf


def test_a_constant_temperature_is_the_same_for_all_lengths():
    np.testing.assert_allclose(constant_temperature(2.5).at(np.array([0, 1, 7, 1000])), 2.5)


@pytest.mark.parametrize("point", [(0.0, 0.0), (3.0, 0.4), (-1.0, -0.7)])
def test_gradient_is_that_of_finite_differences(point, global_seed):
    scores, y, lengths = saturated(global_seed, 60)
    scores = scores / 50 - (scores / 50).max(axis=1, keepdims=True)
    scores[0, (y[0] + 1) % 3] = -np.inf
    logs = np.log(lengths) - np.log(lengths).mean()
    weights = np.random.default_rng(global_seed).uniform(size=60)
    arguments = scores, y, logs, np.log(PRIORS), weights
    gradient = temperature_loss(np.array(point), *arguments)[1]
    step = 1e-5
    for k in range(2):
        ends = [
            temperature_loss(np.array(point) + sign * step * np.eye(2)[k], *arguments)[0]
            for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient[k], abs=1e-7, rel=1e-6)


def test_the_optimum_is_that_of_a_general_solver(global_seed):
    scores, y, lengths = saturated(global_seed)
    middle = np.log(lengths).mean()
    rows = np.arange(len(y))

    def loss(point):
        tau = np.exp(point[0] + point[1] * np.log(lengths))
        z = scores / tau[:, None] + np.log(PRIORS)
        top = z.max(axis=1)
        sums = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
        level = point[0] + point[1] * middle
        return (sums - z[rows, y]).sum() + (level / 5) ** 2 / 2 + point[1] ** 2 / 2

    found = learn_temperature(scores, y, lengths, np.log(PRIORS))
    reference = min(
        (
            minimize(loss, [a, b], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
            for a in (0.0, 2.0)
            for b in (0.0, 1.0)
        ),
        key=lambda run: run.fun,
    )
    assert loss([found.a, found.b]) <= reference.fun + 1e-6
    assert found.converged
    assert found.gradient < 1e-6
    assert found.n_samples == len(y)
    assert found.loss == pytest.approx(
        log_loss(y, np.exp(log_posteriors(scores, np.log(PRIORS), lengths, found))), rel=1e-9
    )


def test_it_finds_the_temperature_that_the_data_have(global_seed):
    scores, y, lengths = saturated(global_seed, n=3000)
    found = learn_temperature(scores, y, lengths, np.log(PRIORS))
    np.testing.assert_allclose(
        np.log(found.at(np.array([20, 200]))), 1 + 0.6 * np.log([20, 200]), atol=0.35
    )
    cold = np.exp(log_posteriors(scores, np.log(PRIORS), lengths, constant_temperature()))
    warm = np.exp(log_posteriors(scores, np.log(PRIORS), lengths, found))
    assert log_loss(y, warm) < 0.5 * log_loss(y, cold)
    np.testing.assert_array_equal(
        warm.argmax(axis=1) == y,
        (scores / found.at(lengths)[:, None] + np.log(PRIORS)).argmax(1) == y,
    )


def test_lengths_that_are_all_one_leave_the_slope_at_zero(global_seed):
    scores, y, _ = saturated(global_seed)
    found = learn_temperature(scores, y, np.full(len(y), 50), np.log(PRIORS))
    assert found.b == pytest.approx(0, abs=1e-6)
    assert found.converged


def test_scores_without_a_mistake_give_a_finite_temperature():
    y = np.arange(30) % 3
    found = learn_temperature(np.eye(3)[y] * 50.0, y, np.full(30, 10), np.log(PRIORS))
    assert found.converged
    assert abs(np.log(found.at(np.array([10]))[0])) < 5


def test_weights_are_repetitions(global_seed):
    scores, y, lengths = saturated(global_seed, 80)
    weights = np.random.default_rng(global_seed).integers(0, 4, size=80)
    weighted = learn_temperature(scores, y, lengths, np.log(PRIORS), sample_weight=weights)
    repeated = learn_temperature(
        *(np.repeat(values, weights, axis=0) for values in (scores, y, lengths)), np.log(PRIORS)
    )
    np.testing.assert_allclose(weighted[:3], repeated[:3], rtol=1e-6, atol=1e-7)


def test_samples_that_their_class_cannot_have_made_are_left_out(global_seed):
    scores, y, lengths = saturated(global_seed, 100)
    lost = scores.copy()
    lost[:10][np.arange(10), y[:10]] = -np.inf
    found = learn_temperature(lost, y, lengths, np.log(PRIORS))
    expected = learn_temperature(scores[10:], y[10:], lengths[10:], np.log(PRIORS))
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-6)
    assert found.n_samples == 90
    nothing = learn_temperature(np.full((4, 3), -np.inf), y[:4], lengths[:4], np.log(PRIORS))
    assert nothing.at(np.array([9]))[0] == 1
    assert "no sample" in nothing.origin
