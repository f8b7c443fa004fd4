"""The pages on extending: the parts that they add hold the properties of the built-in ones."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import expon
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from mkfusion import LateFusionClassifier, MKLClassifier, MKLRegressor, MultistreamHMM
from mkfusion.kernels import RBF, gram
from mkfusion.rules import fuse, learn_rule

PAGES = Path(__file__).resolve().parents[1] / "docs" / "extending"


def page(name):
    """Return what an example of the docs defines."""
    return runpy.run_path(str(PAGES / f"own_{name}.py"), run_name=f"own_{name}")


def table(rng, n=60):
    """Return a modality that tells two classes apart, one of noise, and the classes."""
    y = np.arange(n) % 2
    X = pd.DataFrame(
        rng.normal(size=(n, 6)), columns=[f"{m}__{j}" for m in "ab" for j in range(3)]
    )
    X.loc[:, ["a__0", "a__1", "a__2"]] += 2.0 * y[:, None]
    return X, y


# The kernel ---------------------------------------------------------------------------------


@pytest.fixture
def tanimoto():
    return page("kernel")["Tanimoto"]


def test_kernel_is_its_formula(tanimoto, global_seed):
    X = np.random.default_rng(global_seed).poisson(1.0, size=(12, 5)).astype(float)
    K = gram(X, kernel=tanimoto(0.5))
    for i, x in enumerate(X):
        for j, y in enumerate(X):
            shared = sum(x * y)
            value = (shared + 0.5) / (sum(x * x) + sum(y * y) - shared + 0.5)
            assert K[i, j] == pytest.approx(value, rel=1e-12)


def test_kernel_has_the_traits_that_it_states(tanimoto, global_seed):
    X = np.random.default_rng(global_seed).normal(size=(40, 4))
    X[0] = 0.0
    K = gram(X, kernel=tanimoto())
    assert (K == K.T).all()
    np.testing.assert_allclose(K.diagonal(), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(K).min() > -1e-10


def test_kernel_composes_and_is_searched_by_name(tanimoto, global_seed):
    X, y = table(np.random.default_rng(global_seed))
    block = X[["a__0", "a__1", "a__2"]].to_numpy()
    both = gram(block, kernel=tanimoto() + 2.0 * RBF(gamma=1.0))
    np.testing.assert_allclose(
        both, gram(block, kernel=tanimoto()) + 2 * gram(block, kernel=RBF(gamma=1.0)), rtol=1e-12
    )
    fusion = MKLClassifier([("counts", tanimoto(), "a"), ("near", RBF(gamma=0.1), "b")])
    search = GridSearchCV(fusion, {"counts__smoothing": [1e-3, 1.0]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.7
    assert clone(fusion).get_params()["counts__smoothing"] == 1.0


# The rules ----------------------------------------------------------------------------------


def posteriors(rng, n_experts=3, n_samples=50, n_classes=4):
    return rng.dirichlet(np.ones(n_classes), size=(n_experts, n_samples))


@pytest.fixture
def rules():
    return page("rule")


def test_rule_of_equal_experts_is_one_of_them(rules, global_seed):
    p = posteriors(np.random.default_rng(global_seed), n_experts=1)
    np.testing.assert_allclose(fuse(np.repeat(p, 3, axis=0), rules["SUREST"]), p[0], atol=1e-12)


def test_rule_does_not_heed_order_nor_who_is_unsure(rules, global_seed):
    p = posteriors(np.random.default_rng(global_seed))
    fused = fuse(p, rules["SUREST"])
    np.testing.assert_allclose(fuse(p[::-1], rules["SUREST"]), fused, atol=1e-12)
    unsure = np.full((1, *p.shape[1:]), 0.25)
    np.testing.assert_allclose(fuse(np.vstack([p, unsure]), rules["SUREST"]), fused, atol=1e-12)


def test_absent_expert_is_one_that_is_not_there(rules, global_seed):
    p = posteriors(np.random.default_rng(global_seed))
    absent = p.copy()
    absent[1] = np.nan
    for rule, weights in ((rules["SUREST"], None), (rules["PROVEN"], np.array([0.4, 0.3, 0.1]))):
        some = None if weights is None else weights[[0, 2]]
        np.testing.assert_allclose(
            fuse(absent, rule, weights=weights), fuse(p[[0, 2]], rule, weights=some), atol=1e-12
        )


def test_what_stands_where_an_expert_is_absent_does_not_matter(rules, global_seed):
    rng = np.random.default_rng(global_seed)
    p, junk = posteriors(rng), posteriors(rng)
    mask = rng.random(p.shape[:2]) < 0.6
    other = np.where(mask[:, :, None], p, junk)
    weights = np.array([0.4, 0.3, 0.1])
    for name in ("surest", "proven"):
        first, second = (rules[name](q, mask, None, None, weights) for q in (p, other))
        np.testing.assert_array_equal(first, second)


def test_trained_rule_learns_whom_to_hear(rules, global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.integers(4, size=400)
    right = 0.2 + 0.2 * np.eye(4)[y]
    noise = posteriors(rng, 1, 400)[0]
    learnt = learn_rule([right / right.sum(axis=1, keepdims=True), noise], y, rules["PROVEN"])
    assert learnt[0] == pytest.approx(1 - 0.25)
    assert learnt[1] < 0.15


def test_rules_serve_late_fusion(rules, global_seed):
    X, y = table(np.random.default_rng(global_seed), 200)
    for rule in (rules["surest"], rules["SUREST"], rules["PROVEN"]):
        fusion = LateFusionClassifier(estimator=LogisticRegression(), rule=rule)
        fusion.fit(X[:100], y[:100])
        assert fusion.score(X[100:], y[100:]) > 0.8
    assert fusion.learnt_[0] > fusion.learnt_[1]


# The weighting ------------------------------------------------------------------------------


def test_weighting_is_its_formula(global_seed):
    cohesion = page("weighting")["cohesion"]
    X, y = table(np.random.default_rng(global_seed))
    kernels = [("one", RBF(gamma=0.2), "a"), ("two", RBF(gamma=0.2), "b")]
    fusion = MKLClassifier(kernels, weighting=cohesion).fit(X, y)
    found = []
    for name in "ab":
        K = gram(X.filter(like=f"{name}__"), kernel=RBF(gamma=0.2))
        inside = K[y[:, None] == y].mean()
        found.append(max(inside - K.mean(), 0))
    np.testing.assert_allclose(fusion.kernel_weights_, np.array(found) / sum(found), rtol=1e-9)
    assert fusion.kernel_weights_[0] > 0.8


def test_weighting_treats_twins_alike_and_is_searched(global_seed):
    cohesion = page("weighting")["cohesion"]
    X, y = table(np.random.default_rng(global_seed))
    kernels = [(name, RBF(gamma=0.2), "a") for name in ("one", "two")]
    fusion = MKLClassifier([*kernels, ("noise", RBF(gamma=0.2), "b")], weighting=cohesion)
    fusion.fit(X, y)
    assert fusion.kernel_weights_[0] == pytest.approx(fusion.kernel_weights_[1], rel=1e-12)
    search = GridSearchCV(MKLClassifier(), {"weighting": ["uniform", cohesion]}, cv=2)
    assert search.fit(X, y).best_score_ > 0.7


# The emission -------------------------------------------------------------------------------


@pytest.fixture
def exponential():
    return page("emission")["ExponentialEmission"]


def test_emission_is_its_density(exponential, global_seed):
    rng = np.random.default_rng(global_seed)
    rates, times = rng.uniform(0.5, 3, size=(3, 2)), rng.exponential(size=(20, 2))
    expected = expon(scale=1 / rates).logpdf(times[:, None, :]).sum(axis=2)
    np.testing.assert_allclose(exponential(rates).log_density(times), expected, rtol=1e-12)


def test_emission_maximises_the_weighted_likelihood(exponential, global_seed):
    rng = np.random.default_rng(global_seed)
    times, weights = rng.exponential(size=(200, 2)), rng.dirichlet(np.ones(2), size=200)
    best = exponential(np.ones((2, 2))).reestimate(times, weights)
    value = (weights * best.log_density(times)).sum()
    for factor in (0.99, 1.01):
        for place in np.ndindex(2, 2):
            rates = best.rates.copy()
            rates[place] *= factor
            assert (weights * exponential(rates).log_density(times)).sum() < value


def test_emission_finds_what_it_drew(exponential, global_seed):
    rng = np.random.default_rng(global_seed)
    truth = exponential(np.array([[0.5], [5.0]]))
    states = np.repeat([0, 1, 0], [40, 60, 40])
    cells = [truth.sample(states, rng) for _ in range(20)]
    frame = pd.DataFrame({"gaps": pd.Series(cells, dtype=object)})
    options = {"modalities": {"gaps": ["gaps"]}, "random_state": 0, "n_init": 3}
    model = MultistreamHMM(2, emissions={"gaps": exponential}, **options).fit(frame)
    history = np.asarray(model.history_)
    assert (np.diff(history) >= -1e-8 * np.abs(history[:-1])).all()
    found = np.sort(model.emissions_["gaps"].rates.ravel())
    np.testing.assert_allclose(found, [0.5, 5.0], rtol=0.15)


def test_absent_steps_and_wrong_times(exponential, global_seed):
    emission = exponential(np.array([[1.0], [2.0]]))
    times, present = np.array([[0.5], [np.nan]]), np.array([True, False])
    assert (emission.log_density(times, present)[1] == 0).all()
    alone = emission.reestimate(times[:1], np.array([[1.0, 0.5]]))
    beside = emission.reestimate(times, np.array([[1.0, 0.5], [0.0, 0.0]]))
    np.testing.assert_array_equal(alone.rates, beside.rates)
    with pytest.raises(ValueError, match="finite times of 0 or more"):
        emission.log_density(np.array([[-1.0]]))


def test_regressor_takes_the_kernel_too(tanimoto, global_seed):
    X, y = table(np.random.default_rng(global_seed))
    assert MKLRegressor(kernel=tanimoto()).fit(X, y.astype(float)).score(X, y) > 0.5
