"""What is learnt from out-of-fold answers: against loops, cone programmes and simulated truth."""

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier, StackingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mkfusion.rules import (
    REGRESSION_RULES,
    RULES,
    LearntVariances,
    LearntWeights,
    Rule,
    _weights,
    decompose,
    fuse,
    fuse_predictions,
    learn_regression_rule,
    learn_rule,
)
from mkfusion.rules._weights import draw_weights

pytestmark = pytest.mark.filterwarnings("error")

TRAINED = [name for name, rule in RULES.items() if rule.trained]
LEARNABLE = [name for name, rule in RULES.items() if rule.learn]
WEIGHTED = [name for name, rule in RULES.items() if rule.learn and rule.weights]
SEARCHABLE = [name for name, rule in RULES.items() if rule.weights]
NUMBERS = [name for name, rule in REGRESSION_RULES.items() if rule.learn]
EPS = np.finfo(float).eps


def options(name):
    """What a rule of the registry cannot be learnt without."""
    return (
        {"final_estimator": LogisticRegression(tol=1e-9, max_iter=5000)}
        if name == "stacking"
        else {}
    )


def numbers_options(name):
    return {"final_estimator": DecisionTreeRegressor(random_state=0)} if name == "stacking" else {}


def dirichlet(rng, concentration, seen, n, ties):
    posteriors = rng.dirichlet(np.full(seen.shape[1], concentration), size=(len(seen), n))
    posteriors = posteriors * seen[:, None, :]
    if ties:
        posteriors = np.round(posteriors * 3)
    total = posteriors.sum(axis=2, keepdims=True)
    even = seen[:, None] / seen.sum(axis=1)[:, None, None]
    return np.where(total > 0, posteriors / np.where(total > 0, total, 1), even)


class Case:
    """Out-of-fold posteriors and labels to learn from, and posteriors to fuse."""

    def __init__(self, rng, m, n, k, *, present=1.0, unseen=False, ties=False, weighted=False):
        seen = np.ones((m, k), bool)
        if unseen:
            seen = rng.random((m, k)) < 0.7
            seen[~seen.any(axis=1), 0] = True
        concentration = rng.choice([0.1, 1.0, 5.0])
        self.rng = rng
        self.p = dirichlet(rng, concentration, seen, n, ties)
        self.q = dirichlet(rng, concentration, seen, 4, ties)
        self.mask = rng.random((m, n)) < present
        self.unheard = rng.random((m, 4)) < present
        if present < 1 and m > 1 and rng.random() < 0.3:
            self.mask[rng.integers(m)] = False
        classes = rng.permutation(k)[: rng.integers(1, k + 1)]  # some are never in y
        self.y = rng.choice(classes, size=n)
        likely = rng.random(n) < 0.6
        self.y = np.where(likely, self.p[rng.integers(m)].argmax(axis=1), self.y)
        self.weight = rng.integers(0, 4, size=n).astype(float) if weighted else np.ones(n)
        self.priors = rng.dirichlet(np.ones(k))
        own = rng.dirichlet(np.full(k, 3.0), size=m) + 1e-3
        self.own = own * seen / (own * seen).sum(axis=1, keepdims=True)

    @property
    def usable(self):
        return bool((self.mask.any(axis=0) & (self.weight > 0)).any())

    @property
    def training(self):
        return self.p, self.mask, self.y, self.weight

    def learn(self, rule, **params):
        given = {"mask": self.mask, "sample_weight": self.weight, **self.shared, **params}
        return learn_rule(self.p, self.y, rule, **given)

    @property
    def shared(self):
        return {"priors": self.priors, "expert_priors": self.own}

    def fuse_training(self, rule, weights):
        given = {"mask": self.mask, "weights": weights, **self.shared}
        return fuse(self.p, rule, log=True, **given)

    def fuse(self, rule, learnt, **params):
        return fuse(self.q, rule, mask=self.unheard, weights=learnt, **self.shared, **params)


@st.composite
def cases(draw, *, complete=False, ties=None, least=1):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    case = Case(
        rng,
        draw(st.integers(1, 4)),
        draw(st.integers(least, 14)),
        draw(st.integers(1, 5)),
        present=1.0 if complete else draw(st.sampled_from([0.5, 0.9, 1.0])),
        unseen=not complete and draw(st.booleans()),
        ties=draw(st.booleans()) if ties is None else ties,
        weighted=draw(st.booleans()),
    )
    assume(case.usable)
    return case


# Against the loops --------------------------------------------------------------------------


@given(case=cases(), smoothing=st.sampled_from([0.0, 1.0, 3.5]))
def test_naive_bayes_equals_loop(case, smoothing):
    ours = case.fuse("naive_bayes", case.learn("naive_bayes", smoothing=smoothing))
    theirs = oracles.naive_bayes(case.q, case.unheard, case.priors, case.training, smoothing)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@given(case=cases(least=6), strength=st.sampled_from([0.0, 1.0, 0.2]))
def test_bks_equals_loop(case, strength):
    ours = case.fuse("bks", case.learn("bks", strength=strength))
    theirs = oracles.bks(case.q, case.unheard, case.priors, case.training, strength)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@given(case=cases())
def test_decision_template_equals_loop(case):
    learnt = case.learn("decision_template")
    for (m, c), template in oracles.templates(*case.training).items():
        np.testing.assert_allclose(learnt.templates[m, c], template, rtol=1e-9, atol=1e-12)
    theirs = oracles.decision_template(
        case.q, case.unheard, case.priors, case.training, learnt.steepness
    )
    ours = case.fuse("decision_template", learnt, log=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@given(case=cases(least=4))
def test_steepness_is_the_best_of_a_grid(case):
    learnt = case.learn("decision_template")
    heard = case.mask.any(axis=0) & (case.weight > 0)

    def loss(steepness):
        fused = oracles.decision_template(case.p, case.mask, case.priors, case.training, steepness)
        return oracles.mean_log_loss(fused[heard], case.y[heard], case.weight[heard])

    grid = min(loss(steepness) for steepness in np.exp(np.linspace(-3, 10, 80)))
    assert loss(learnt.steepness) <= grid + 1e-6


@given(case=cases())
def test_pools_equal_loop(case):
    weights = case.rng.dirichlet(np.ones(len(case.q)))
    temperature = float(case.rng.uniform(0.2, 4))
    given = case.unheard, case.priors, case.own, weights, temperature
    for name in ("weighted", "log_pool"):
        found = LearntWeights(weights, temperature, 0.0, 0.0, 1, True)
        theirs = oracles.learnt_pool(name, case.q, *given)
        np.testing.assert_allclose(case.fuse(name, found), theirs, rtol=1e-8, atol=1e-12)


# Stacking, against scikit-learn's -----------------------------------------------------------


def experts_of(X, k):
    """Different models on different columns, as scikit-learn's stacking wants them."""
    models = [LogisticRegression(), DecisionTreeClassifier(max_depth=3, random_state=0)]
    return [(str(i), model) for i, model in enumerate([*models, GaussianNB()])][: 1 + k]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_stacking_equals_scikit_learns(n_classes, weighted, global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.permutation(np.arange(120) % n_classes)
    X = rng.normal(size=(120, 4)) + y[:, None]
    weight = rng.integers(1, 4, size=120).astype(float) if weighted else None
    given = {} if weight is None else {"sample_weight": weight}
    experts, final = experts_of(X, 2), LogisticRegression(max_iter=1000)
    theirs = StackingClassifier(experts, final, cv=StratifiedKFold(4)).fit(X, y, **given)
    out_of_fold = [
        cross_val_predict(model, X, y, cv=StratifiedKFold(4), method="predict_proba", params=given)
        for _, model in experts
    ]
    learnt = learn_rule(out_of_fold, y, "stacking", final_estimator=final, **given)
    assert learnt.model is not final
    assert not hasattr(final, "classes_")
    np.testing.assert_allclose(learnt.model.coef_, theirs.final_estimator_.coef_, rtol=1e-7)
    told = [model.predict_proba(X) for model in theirs.estimators_]
    np.testing.assert_allclose(
        fuse(told, "stacking", weights=learnt), theirs.predict_proba(X), rtol=1e-7, atol=1e-12
    )


def test_stacking_of_numbers_equals_scikit_learns(global_seed):
    rng = np.random.default_rng(global_seed)
    X = rng.normal(size=(90, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.normal(size=90)
    experts = [("a", LinearRegression()), ("b", DecisionTreeRegressor(random_state=0))]
    theirs = StackingRegressor(experts, LinearRegression(), cv=3).fit(X, y)
    out_of_fold = [cross_val_predict(model, X, y, cv=3) for _, model in experts]
    learnt = learn_regression_rule(out_of_fold, y, "stacking", final_estimator=LinearRegression())
    told = [model.predict(X) for model in theirs.estimators_]
    np.testing.assert_allclose(
        fuse_predictions(told, "stacking", weights=learnt), theirs.predict(X), rtol=1e-9
    )


class Recorder(BaseEstimator):
    """Remembers what it is fitted on, and answers something of every column asked."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        angles = np.outer(1 + np.arange(X.shape[1]), 1 + self.classes_)
        return softmax(X @ np.cos(angles), axis=1)


@given(case=cases())
def test_stacking_fills_with_priors_and_marks(case):
    learnt = case.learn("stacking", final_estimator=Recorder())
    last = slice(1, None) if case.p.shape[2] == 2 else slice(None)
    kept = case.mask.any(axis=0) & (case.weight > 0)
    marked = [m for m, rows in enumerate(case.mask[:, kept]) if not rows.all()]
    expected = oracles.stacked(
        case.p[:, kept][..., last], case.mask[:, kept], case.priors[last], marked
    )
    np.testing.assert_array_equal(learnt.model.X_, expected)
    np.testing.assert_array_equal(learnt.model.y_, case.y[kept])
    if (case.weight[kept] == 1).all():
        assert learnt.model.weight_ is None
    else:
        np.testing.assert_array_equal(learnt.model.weight_, case.weight[kept])
    asked = oracles.stacked(case.q[..., last], case.unheard, case.priors[last], marked)
    told = np.zeros(case.q.shape[1:])
    told[:, learnt.model.classes_] = learnt.model.predict_proba(asked)
    theirs = np.where(case.unheard.any(axis=0)[:, None], told, case.priors)
    np.testing.assert_allclose(case.fuse("stacking", learnt), theirs, rtol=1e-9, atol=1e-12)


def test_stacking_keeps_nan_for_who_takes_it(global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.integers(0, 3, size=300)
    p = rng.dirichlet(np.ones(3), size=(2, 300)) * 0.3 + 0.7 * np.eye(3)[y]
    mask = rng.random((2, 300)) < 0.7
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0)
    learnt = learn_rule(p, y, "stacking", mask=mask, final_estimator=model, takes_nan=True)
    heard = mask.any(axis=0)
    columns = np.where(mask[:, :, None], p, np.nan).transpose(1, 0, 2).reshape(300, -1)
    assert learnt.model.n_features_in_ == 6
    theirs = model.fit(columns[heard], y[heard]).predict_proba(columns)
    theirs[~heard] = 1 / 3
    np.testing.assert_allclose(fuse(p, "stacking", mask=mask, weights=learnt), theirs, rtol=1e-12)


# Weights: gradients, certificates, optima ---------------------------------------------------


def public_loss(case, name, weights, temperature=1.0):
    """The log loss of fuse itself on what the weights were learnt from."""
    found = LearntWeights(weights, temperature, 0.0, 0.0, 1, True)
    kept = case.mask.any(axis=0) & (case.weight > 0)
    logs = fuse(
        case.p[:, kept], name, mask=case.mask[:, kept], weights=found, log=True, **case.shared
    )
    true = logs[np.arange(kept.sum()), case.y[kept]]
    return -(true @ case.weight[kept]) / case.weight[kept].sum()


def natural_place(name, found):
    return found.weights if name == "dempster_shafer" else found.weights / found.temperature


def natural_loss(case, name):
    """The loss as a function of reliabilities, or of weights over the temperature."""
    if name == "dempster_shafer":
        return partial(public_loss, case, name)
    return lambda g: public_loss(case, name, g / g.sum(), 1 / g.sum())


def scale_of_descent(case, name):
    """There and back, as LearntWeights.residual says."""
    if name == "dempster_shafer":
        return lambda w: -np.log1p(-np.minimum(w, 1 - 1e-9)), lambda t: -np.expm1(-t)
    if name == "log_pool" and is_complete(case):
        return np.array, np.array
    return np.log, np.exp


@pytest.mark.parametrize("name", WEIGHTED)
@given(case=cases(least=4))
def test_loss_and_certificate_are_those_of_fuse(name, case):
    assume(case.mask[:, case.weight > 0].any(axis=1).all())  # of whom is silent nothing is learnt
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = case.learn(name)
    loss, at = natural_loss(case, name), natural_place(name, found)
    np.testing.assert_allclose(loss(at), found.loss, rtol=1e-6, atol=1e-9, err_msg=f"{found}")
    assert name != "weighted" or (found.weights > 0).all()  # nobody's word is lost in the floor
    least, largest = bounds_of(name, case)
    there, back = scale_of_descent(case, name)
    bounds = there(np.maximum(least, 1e-300)), there(np.array(largest))
    left = projected_gradient(lambda t: loss(back(t)), there(np.maximum(at, 1e-300)), *bounds)
    if found.converged and not near_floor(case) and at.sum() < 100:  # no cliff for differences
        assert left < 2e-5 + 1e-6 * at.sum()  # the loss is rounded in units of the logarithms


def near_floor(case):
    """Whether floored logarithms may have kinks among the weights."""
    return bool(((case.p > 0) & (case.p < 1e-9)).any())


def is_complete(case):
    kept = case.mask.any(axis=0) & (case.weight > 0)
    return bool(case.mask[:, kept].all() and (case.own > 0).all())


def bounds_of(name, case):
    """Where weights may lie: off 0, where that would leave a sample or a class unheard."""
    least = 0.0 if is_complete(case) and name != "weighted" else 1e-6
    return least, 1 - 1e-9 if name == "dempster_shafer" else 1e3


def projected_gradient(loss, at, least, largest):
    """By finite differences, on one side at a bound."""
    gradient = np.zeros(len(at))
    for m, value in enumerate(at):
        step = np.zeros(len(at))
        step[m] = 1e-5 * max(abs(value), 1e-2)
        up, down = (value + step[m] <= largest) * step, (value - step[m] >= least) * step
        gradient[m] = (loss(at + up) - loss(at - down)) / (up + down)[m]
    return np.abs(at - np.clip(at - gradient, least, largest)).max()


@pytest.mark.parametrize("name", WEIGHTED)
@given(case=cases(least=4))
def test_no_direction_is_better(name, case):
    """Multiplying single weights, or all, never gains anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = case.learn(name)
    loss, at = natural_loss(case, name), natural_place(name, found)
    assume(found.converged and at.max() > 1e-5 and not near_floor(case))
    least, largest = bounds_of(name, case)
    for factor in (0.98, 1.02):
        for each in [np.ones(len(at)), *np.eye(len(at))[at > 1e-3]]:  # below it curves too much
            moved = at * np.where(each, factor, 1.0)
            moved = np.clip(moved, least, largest)
            gain = found.loss - loss(moved)
            # Those who are not believed keep a millionth of their word, and near 1 a
            # reliability is descended in by the logarithm of its doubt.
            assert (
                gain <= 1e-6 * np.abs(moved - at).sum() + 1e-6 * (name == "dempster_shafer") + 1e-8
            )


@given(case=cases(complete=True, least=3))
def test_log_pool_of_complete_data_is_better_than_a_grid(case):
    """It is convex: no stalled descent, and none that ends in the corner where all are 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = case.learn("log_pool")
    logs = np.log(np.maximum(case.p, EPS))
    true = logs[:, np.arange(len(case.y)), case.y]
    share = case.weight / case.weight.sum()
    slack = 1e-6 if found.temperature < 1e5 else 1e-4  # the flattest is not quite flat
    scales = np.array([0.0, 0.03, 0.1, 0.4, 1.0, 2.5])
    for g in np.stack(np.meshgrid(*[scales] * len(case.p)), axis=-1).reshape(-1, len(case.p)):
        loss = share @ (logsumexp(np.tensordot(g, logs, 1), axis=1) - g @ true)
        assert found.loss <= loss + slack


@pytest.mark.parametrize(
    ("name", "seed"),
    [("log_pool", 607), ("log_pool", 739), *(("weighted", s) for s in (240, 333, 785, 982))],
)
def test_hard_descents_are_better_than_a_grid(name, seed):
    """A descent stalled here, or met a valley that is not the deepest."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5), rng.integers(3, 15), rng.integers(1, 6)
    case = Case(
        rng,
        *sizes,
        present=rng.choice([0.5, 0.9, 1.0]),
        unseen=rng.random() < 0.5,
        ties=rng.random() < 0.5,
        weighted=rng.random() < 0.5,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = case.learn(name)
    loss = natural_loss(case, name)
    scales = [1e-6, 3e-4, 3e-3, 0.03, 0.1, 0.3, 1.0, 3.0]
    grid = np.stack(np.meshgrid(*[scales] * len(case.p)), axis=-1).reshape(-1, len(case.p))
    assert found.loss <= min(map(loss, grid)) + 1e-3


def test_steepness_heeds_samples_beyond_the_floor():
    """One bad sample in 300 costs the more the steeper, without end."""
    p = np.full((1, 301, 2), 0.52)
    p[0, ::2, 0] = 0.48
    p[0, 300, 0] = 1.0
    p[0, :, 1] = 1 - p[0, :, 0]
    y = (np.arange(301) % 2 == 0).astype(int)  # 1 where the second class is the likelier
    y[300] = 1
    learnt = learn_rule(p, y, "decision_template")
    assert 100 < learnt.steepness < 3000


@pytest.mark.parametrize("name", ["weighted", "log_pool"])
@given(case=cases(least=3))
def test_gradient_of_a_pool_equals_finite_differences(name, case):
    mask, own = case.mask[:, case.weight > 0], case.own
    p, y, w = case.p[:, case.weight > 0], case.y[case.weight > 0], case.weight[case.weight > 0]
    log = name == "log_pool"
    speaks = mask[:, :, None] & (own > 0)[:, None, :]
    values = np.log(np.maximum(p, EPS)) if log else np.maximum(p, 1e-3)  # off the floor's corner
    base = np.where(speaks.any(axis=0), 0.0, np.log(EPS))
    objective = _weights._pool_objective(_weights._Mixture(values, speaks), y, w, log, base)
    check_gradient(objective, case.rng.uniform(0.1, 2, size=len(p)))


@given(case=cases(least=3))
def test_gradient_of_reliabilities_equals_finite_differences(case):
    chosen = case.weight > 0
    objective = _weights._evidence_objective(
        case.p[:, chosen], case.mask[:, chosen], case.y[chosen], case.weight[chosen], case.own
    )
    check_gradient(objective, case.rng.uniform(0.05, 0.95, size=len(case.p)))


def check_gradient(objective, at):
    numeric = [
        (objective(at + step)[0] - objective(at - step)[0]) / 2e-6
        for step in 1e-6 * np.eye(len(at))
    ]
    np.testing.assert_allclose(objective(at)[1], numeric, rtol=1e-5, atol=1e-7)


def simulated(rng, n, k, strengths):
    """Experts that are softmax scores of the label, each with noise of its own."""
    y = rng.integers(0, k, size=n)
    p = np.stack([softmax(rng.normal(size=(n, k)) + s * np.eye(k)[y], axis=1) for s in strengths])
    return p, y


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("seed", range(3))  # of other draws the cone solver is not always sure
def test_log_pool_equals_the_cone_programme(n_classes, seed):
    rng = np.random.default_rng(seed)
    p, y = simulated(rng, 80, n_classes, [0.3, 1.0, 0.0, 0.6])
    weight = rng.integers(0, 3, size=80).astype(float)
    found = learn_rule(p, y, "log_pool", sample_weight=weight)
    g, loss = oracles.log_pool_optimum(p, y, weight)
    assert abs(found.loss - loss) < 1e-6
    np.testing.assert_allclose(found.weights / found.temperature, g, atol=2e-3)
    assert found.converged
    assert found.residual <= 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_linear_pool_with_its_temperature_beats_the_cone_programme_without(seed):
    rng = np.random.default_rng(seed)
    p, y = simulated(rng, 150, 3, [0.3, 1.5, 0.8])
    _, loss = oracles.linear_pool_optimum(p, y, np.ones(150))
    assert learn_rule(p, y, "weighted").loss <= loss + 1e-7


def test_linear_pool_at_temperature_one_is_the_cone_programme():
    """One who is told the true posteriors of a mixture needs no temperature."""
    p = np.random.default_rng(0).dirichlet(np.ones(2), size=(2, 40))
    rows = np.repeat(p, 2, axis=1)  # each row as both classes, as often as the mixture says
    y, weight = np.tile([0, 1], 40), (0.7 * p[0] + 0.3 * p[1]).ravel()
    shares, loss = oracles.linear_pool_optimum(rows, y, weight)
    found = learn_rule(rows, y, "weighted", sample_weight=weight)
    np.testing.assert_allclose(found.weights, shares, atol=1e-3)
    np.testing.assert_allclose(found.temperature, 1.0, atol=1e-3)
    np.testing.assert_allclose(found.loss, loss, atol=1e-7)
    np.testing.assert_allclose(found.weights, [0.7, 0.3], atol=1e-4)


@given(seed=st.integers(0, 9999), m=st.integers(1, 5), weighted=st.booleans())
def test_shares_of_numbers_equal_the_quadratic_programme(seed, m, weighted):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=30) * 10
    f = y + rng.normal(size=(m, 30)) * rng.uniform(1, 10, size=m)[:, None] + rng.normal()
    weight = rng.integers(0, 3, size=30).astype(float) if weighted else np.ones(30)
    found = learn_regression_rule(f, y, "weighted", sample_weight=weight)
    shares, loss = oracles.shares_optimum(f, y, weight)
    assert abs(found.loss - loss) < 1e-6
    np.testing.assert_allclose(found.weights, shares, atol=5e-3)
    assert found.loss - loss <= found.residual + 1e-9
    share = weight / weight.sum()
    unit = share @ np.square(y - share @ y)
    gradient = 2 * f @ (share * (found.weights @ f - y)) / unit
    gap = found.weights @ gradient - gradient.min()
    np.testing.assert_allclose(found.residual, gap, rtol=1e-6, atol=1e-12)
    assert gap < 1e-5


def test_search_of_numbers_falls_back_to_the_mean():
    """The good one is absent from half of the rows, where the mean is better than the other."""
    y = 5 + np.random.default_rng(0).normal(size=40)
    f, mask = np.stack([y, y + 100]), np.array([[True, False] * 20, [True] * 40])
    found = learn_regression_rule(f, y, "weighted", mask=mask, weights="search", random_state=0)
    np.testing.assert_array_equal(found.weights, [1, 0])
    np.testing.assert_allclose(
        found.loss, np.square(y - y.mean())[1::2].sum() / 40 / y.var(), rtol=1e-9
    )


def test_shares_of_several_outputs_count_each_in_its_own_variance():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 2))
    f = y + rng.normal(size=(3, 60, 2)) * 0.5
    found = learn_regression_rule(f, y, "weighted")
    scaled = learn_regression_rule(f * [1.0, 1e3], y * [1.0, 1e3], "weighted")
    np.testing.assert_allclose(found.weights, scaled.weights, atol=1e-5)
    np.testing.assert_allclose(found.loss, scaled.loss, rtol=1e-6)
    shares = found.weights
    error = np.square(np.tensordot(shares, f, 1) - y).mean(axis=0) / y.var(axis=0)
    np.testing.assert_allclose(found.loss, error.mean(), rtol=1e-9)


@pytest.mark.parametrize("name", WEIGHTED)
def test_early_stop_warns_with_what_is_left(name, global_seed):
    p, y = simulated(np.random.default_rng(global_seed), 200, 3, [0.2, 1.5, 3.0])
    with pytest.warns(ConvergenceWarning, match=r"after 1 iterations.*projected gradient") as seen:
        found = learn_rule(p, y, name, max_iter=1)
    assert not found.converged
    assert f"{found.residual:.2g}" in str(seen[0].message)
    assert "test_trained_rules" in seen[0].filename


# What is true is found ----------------------------------------------------------------------


def pool_truth(seed, n=4000):
    """Labels drawn from a logarithmic pool of known scaled weights."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), size=(3, n))
    g = np.array([0.9, 0.4, 0.0])
    logs = np.tensordot(g, np.log(np.maximum(p, EPS)), 1)
    truth = softmax(logs, axis=1)
    y = (rng.random(n)[:, None] > truth.cumsum(axis=1)).sum(axis=1)
    return p, np.minimum(y, 2), g, truth


def check_truth_is_recovered(seed):
    p, y, g, truth = pool_truth(seed)
    found = learn_rule(p, y, "log_pool")
    z = np.log(np.maximum(p, EPS))
    centred = z - (truth * z).sum(axis=2, keepdims=True)
    information = np.einsum("mic,lic,ic->ml", centred, centred, truth)
    error = np.sqrt(np.diag(np.linalg.inv(information)))
    assert (np.abs(found.weights / found.temperature - g) < 4.5 * error).all()
    mask = np.random.default_rng(seed).random(p.shape[:2]) < 0.9
    mask[0] = True
    assert learn_rule(p, y, "log_pool", mask=mask).weights.argmax() == 0


def check_noise_is_ignored(seed):
    rng = np.random.default_rng(seed)
    n = 4000
    truth, noise = rng.dirichlet([1.0, 1.0, 1.0], size=(2, n))
    y = (rng.random(n)[:, None] > truth.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    for name in WEIGHTED:
        found = learn_rule([truth, noise], y, name)
        limit = 0.3 if name == "dempster_shafer" else 0.12
        assert found.weights[1] < limit * found.weights[0], (name, found)
    for name in ("weighted", "log_pool"):
        found = learn_rule([truth, noise], y, name)
        assert abs(found.temperature - 1) < 0.15


def check_residuals_are_recovered(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=3000)
    f = y + rng.normal(size=(2, 3000)) * [[1.0], [2.0]]
    variances = learn_regression_rule(f, y, "inverse_variance").variances.ravel()
    np.testing.assert_allclose(variances, [1, 4], rtol=0.15)
    weights = learn_regression_rule(f, y, "weighted").weights
    np.testing.assert_allclose(weights, [0.8, 0.2], atol=0.07)


CHECKS = [check_truth_is_recovered, check_noise_is_ignored, check_residuals_are_recovered]


@pytest.mark.parametrize("check", CHECKS)
def test_truth_is_found(check, global_seed):
    check(global_seed)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_truth_is_found_for_every_seed(check):
    for seed in range(100):
        check(seed)


# Search -------------------------------------------------------------------------------------


def search_score(case, rule, weights, counts):
    logs = case.fuse_training(rule, weights)
    true = np.maximum(logs[np.arange(len(logs)), case.y], np.log(EPS))
    wrong = logs.argmax(axis=1) != case.y
    kept = case.mask.any(axis=0) * case.weight
    return (wrong if counts else -true) @ kept / kept.sum()


@pytest.mark.parametrize("how", ["search", "search_by_class"])
@pytest.mark.parametrize("name", SEARCHABLE)
@given(case=cases(least=3, ties=False), counts=st.sampled_from([None, "accuracy", "log_loss"]))
def test_search_takes_the_best_of_what_it_tries(name, how, case, counts):
    if how == "search_by_class" and not RULES[name].additive:
        with pytest.raises(ValueError, match="one weight for each expert"):
            case.learn(name, weights=how)
        return
    m, _, k = case.p.shape
    found = case.learn(name, weights=how, n_draws=20, scoring=counts, random_state=3)
    kind = RULES[name].weights
    tried = draw_weights(kind, m, k if how == "search_by_class" else None, 20, 3)
    by_count = counts == "accuracy" or (counts is None and name in ("vote", "borda"))
    scores = [search_score(case, name, weights, by_count) for weights in tried]
    np.testing.assert_allclose(found.loss, min(scores), rtol=1e-9, atol=1e-12)
    mine = search_score(case, name, found.weights, by_count)
    np.testing.assert_allclose(mine, min(scores), rtol=1e-9, atol=1e-12)
    assert np.isnan(found.residual)
    assert found.n_iter == len(tried)
    again = case.learn(RULES[name], weights=how, n_draws=20, scoring=counts, random_state=3)
    np.testing.assert_array_equal(found.weights, again.weights)


@pytest.mark.parametrize("name", SEARCHABLE)
def test_search_in_batches_leaves_no_seam(name, global_seed):
    rng = np.random.default_rng(global_seed)
    case = Case(rng, 4, 900, 5, present=0.8, unseen=True, ties=True, weighted=True)
    found = case.learn(name, weights="search", n_draws=400, random_state=0)
    tried = draw_weights(RULES[name].weights, 4, None, 400, 0)
    counts = name in ("vote", "borda")
    mine = search_score(case, name, found.weights, counts)
    np.testing.assert_allclose(found.loss, mine, rtol=1e-9)
    others = [search_score(case, name, weights, counts) for weights in tried[::7]]
    assert found.loss <= min(others) + 1e-12


def test_what_is_tried_holds_the_centre_and_the_corners():
    plain = draw_weights("share", 3, None, 50, 0)
    np.testing.assert_array_equal(plain[:4], [[1 / 3] * 3, *np.eye(3)])
    by_class = draw_weights("share", 3, 4, 50, 0)
    np.testing.assert_array_equal(by_class[1:4], np.repeat(np.eye(3)[:, :, None], 4, axis=2))
    for tried in (plain, by_class):
        assert (tried >= 0).all()
        np.testing.assert_allclose(tried.sum(axis=1), 1.0, rtol=1e-12)
        assert len(np.unique(tried, axis=0)) == 54
    reliabilities = draw_weights("reliability", 3, None, 50, 0)
    np.testing.assert_array_equal(reliabilities[:4], [np.ones(3), *np.eye(3)])
    assert (reliabilities <= 1).all()
    assert (reliabilities[4:].sum(axis=1) > 1.5).any()


def test_search_of_numbers_takes_the_best_of_what_it_tries(global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.normal(size=40)
    f = y + rng.normal(size=(3, 40)) * [[1], [2], [3]]
    mask, weight = rng.random((3, 40)) < 0.8, rng.integers(0, 3, size=40).astype(float)
    given = {"mask": mask, "sample_weight": weight}
    found = learn_regression_rule(
        f, y, "weighted", weights="search", n_draws=30, random_state=1, **given
    )
    kept = mask.any(axis=0) * weight
    mean = kept @ y / kept.sum()
    variance = kept @ np.square(y - mean) / kept.sum()

    def loss(weights):
        fused = oracles.fused_predictions("weighted", f, mask, weights, np.ones(3), mean)
        return kept @ np.square(fused - y) / kept.sum() / variance

    scores = [loss(weights) for weights in draw_weights("share", 3, None, 30, 1)]
    np.testing.assert_allclose(found.loss, min(scores), rtol=1e-9)
    np.testing.assert_allclose(loss(found.weights), min(scores), rtol=1e-9)


# What holds for every rule that is learnt ---------------------------------------------------

CLOSED = ["naive_bayes", "bks", "decision_template"]


def nice(rng, *, n=90, present=0.8):
    """A case without ties, whose optimum is inside and alone."""
    case = Case(rng, 3, n, 3, present=present)
    truth = np.eye(3)[case.y][None]
    case.p = softmax(rng.normal(size=(3, n, 3)) + truth * [[[0.5]], [[1.0]], [[1.5]]], axis=2)
    case.mask = rng.random((3, n)) < present
    case.mask[0, ::3] = True
    case.weight = rng.integers(0, 3, size=n).astype(float)
    case.own = np.full((3, 3), 1 / 3)
    return case


def changed(case, **changes):
    other = copy.copy(case)
    vars(other).update(changes)
    return other


def without(case, m):
    others = np.arange(len(case.p)) != m
    names = ("p", "q", "mask", "unheard", "own")
    return changed(case, **{name: getattr(case, name)[others] for name in names})


def absent_at_predict(case, m):
    return changed(case, unheard=case.unheard & (np.arange(len(case.p)) != m)[:, None])


def same(name, one, two):
    """Exact for what is counted; to the accuracy of a descent for what is descended to."""
    tolerance = 1e-9 if name in CLOSED else 2e-4
    np.testing.assert_allclose(one, two, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["naive_bayes", "bks"])
@given(case=cases())
def test_absent_at_predict_is_learnt_and_applied_without(name, case):
    """No number of these two is learnt from several experts at once."""
    assume(len(case.p) > 1)
    rest = without(case, 0)
    assume(rest.usable)
    ours = absent_at_predict(case, 0).fuse(name, case.learn(name))
    np.testing.assert_allclose(ours, rest.fuse(name, rest.learn(name)), rtol=1e-9, atol=1e-12)


@given(case=cases())
def test_absent_at_predict_is_the_templates_without_at_the_same_steepness(case):
    assume(len(case.p) > 1)
    rest = without(case, 0)
    assume(rest.usable)
    learnt = case.learn("decision_template")
    theirs = rest.learn("decision_template")._replace(steepness=learnt.steepness)
    ours = absent_at_predict(case, 0).fuse("decision_template", learnt)
    np.testing.assert_allclose(ours, rest.fuse("decision_template", theirs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", WEIGHTED)
@given(case=cases())
def test_absent_at_predict_is_the_weights_of_the_others(name, case):
    assume(len(case.p) > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        learnt = case.learn(name)
    rest = without(case, 0)
    theirs = learnt._replace(weights=learnt.weights[1:])
    assume(theirs.weights.any())
    ours = absent_at_predict(case, 0).fuse(name, learnt)
    np.testing.assert_allclose(ours, rest.fuse(name, theirs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LEARNABLE if name != "stacking"])
def test_absent_in_training_too_is_learnt_and_applied_without(name, global_seed):
    case = nice(np.random.default_rng(global_seed))
    case.mask[2] = False
    rest = without(case, 2)
    ours = absent_at_predict(case, 2).fuse(name, case.learn(name))
    same(name, ours, rest.fuse(name, rest.learn(name)))


@pytest.mark.parametrize("name", SEARCHABLE)
@given(case=cases(complete=False))
def test_weight_zero_removes_an_expert(name, case):
    """Also where it alone has seen a class, or is alone."""
    m = len(case.p)
    assume(m > 1)
    weights = np.append(0.0, case.rng.uniform(0.1, 0.9, size=m - 1))
    rest = without(case, 0)
    np.testing.assert_allclose(
        case.fuse(name, weights), rest.fuse(name, weights[1:]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", LEARNABLE)
def test_order_of_experts_does_not_matter(name, global_seed):
    case = nice(np.random.default_rng(global_seed))
    order = [2, 0, 1]
    names = ("p", "q", "mask", "unheard", "own")
    other = changed(case, **{key: getattr(case, key)[order] for key in names})
    ours, theirs = (c.fuse(name, c.learn(name, **options(name))) for c in (case, other))
    if RULES[name].order_free:
        same(name, ours, theirs)


@pytest.mark.parametrize("name", LEARNABLE)
def test_permuting_classes_permutes_the_answer(name, global_seed):
    case = nice(np.random.default_rng(global_seed))
    order = np.array([2, 0, 1])  # place c of the other holds class order[c]
    other = changed(
        case,
        p=case.p[:, :, order],
        q=case.q[:, :, order],
        y=np.argsort(order)[case.y],
        priors=case.priors[order],
        own=case.own[:, order],
    )
    ours, theirs = (c.fuse(name, c.learn(name, **options(name))) for c in (case, other))
    same(name, ours[:, order], theirs)


@pytest.mark.parametrize("name", LEARNABLE)
def test_weights_are_repeated_rows(name, global_seed):
    case = nice(np.random.default_rng(global_seed))
    rows = np.repeat(np.arange(len(case.y)), case.weight.astype(int))
    other = changed(
        case, p=case.p[:, rows], mask=case.mask[:, rows], y=case.y[rows], weight=np.ones(len(rows))
    )
    ours, theirs = (c.fuse(name, c.learn(name, **options(name))) for c in (case, other))
    same(name, ours, theirs)
    if RULES[name].weights:
        given = {"weights": "search", "n_draws": 30, "random_state": 0}
        one, two = (c.learn(name, **given) for c in (case, other))
        np.testing.assert_array_equal(one.weights, two.weights)


@pytest.mark.parametrize("name", LEARNABLE)
def test_rows_without_experts_or_weight_do_not_count(name, global_seed):
    case = nice(np.random.default_rng(global_seed))
    junk = np.full((3, 5, 3), [0.0, 0.0, 1.0])
    other = changed(
        case,
        p=np.concatenate([case.p, junk, junk], axis=1),
        mask=np.hstack([case.mask, np.ones((3, 5), bool), np.zeros((3, 5), bool)]),
        y=np.append(case.y, np.zeros(10, int)),
        weight=np.concatenate([case.weight, np.zeros(5), np.full(5, 50.0)]),
    )
    ours, theirs = (c.fuse(name, c.learn(name, **options(name))) for c in (case, other))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", LEARNABLE)
@given(case=cases())
def test_answers_are_distributions_row_by_row(name, case):
    given = {"final_estimator": Recorder()} if name == "stacking" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        learnt = case.learn(name, **given)
    whole = case.fuse(name, learnt)
    assert (whole >= 0).all()
    np.testing.assert_allclose(whole.sum(axis=1), 1.0, rtol=1e-9)
    for i in range(4):
        row = changed(case, q=case.q[:, [i]], unheard=case.unheard[:, [i]])
        np.testing.assert_allclose(row.fuse(name, learnt)[0], whole[i], rtol=1e-9, atol=1e-14)
    empty = changed(case, q=case.q[:, :0], unheard=case.unheard[:, :0])
    assert empty.fuse(name, learnt).shape == (0, case.q.shape[2])
    if RULES[name].additive:
        given = {"mask": case.unheard, "weights": learnt, **case.shared}
        parts = decompose(case.q, name, **given)
        np.testing.assert_array_equal(parts.base + parts.contributions.sum(axis=0), parts.decision)
        assert (parts.contributions[~case.unheard] == 0).all()
        if RULES[name].log:
            np.testing.assert_allclose(
                parts.decision, case.fuse(name, learnt, log=True), rtol=1e-9, atol=1e-9
            )
        else:
            untempered = case.fuse(name, learnt._replace(temperature=1.0))
            np.testing.assert_allclose(parts.decision, untempered, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LEARNABLE)
def test_nothing_is_written_to_and_what_is_learnt_pickles(name, global_seed):
    case = nice(np.random.default_rng(global_seed))
    for key in ("p", "q", "mask", "unheard", "y", "weight", "priors", "own"):
        getattr(case, key).setflags(write=False)
    learnt = case.learn(name, **options(name))
    ours = case.fuse(name, learnt)
    again = pickle.loads(pickle.dumps(learnt))
    np.testing.assert_array_equal(ours, case.fuse(name, again))
    if RULES[name].weights:
        case.learn(name, weights="search", n_draws=5)
    lists = learn_rule(case.p.tolist(), case.y.tolist(), name, **options(name))
    assert type(lists) is type(learnt)


def test_nan_says_absent(global_seed):
    case = nice(np.random.default_rng(global_seed))
    told = np.where(case.mask[:, :, None], case.p, np.nan)
    junk = np.where(case.mask[:, :, None], case.p, 1e200)
    for name in LEARNABLE:
        ours = case.fuse(name, case.learn(name, **options(name)))
        for p, mask in ((told, None), (junk, case.mask)):
            other = changed(case, p=p, mask=mask)
            np.testing.assert_array_equal(
                ours, case.fuse(name, other.learn(name, **options(name)))
            )
        learnt = case.learn(name, **options(name))
        asked = changed(case, q=np.where(case.unheard[:, :, None], case.q, 1e200))
        np.testing.assert_array_equal(ours, asked.fuse(name, learnt))


def test_tie_goes_to_the_first_label():
    p = np.array([[[0.5, 0.5], [0.1, 0.9]]])
    learnt = learn_rule(p, [0, 1], "naive_bayes", smoothing=0.0)
    np.testing.assert_allclose(np.exp(learnt.logs[0]), np.eye(2), atol=1e-15)


# Numbers ------------------------------------------------------------------------------------


@given(seed=st.integers(0, 9999), m=st.integers(1, 4))
def test_variances_are_mean_squared_residuals(seed, m):
    rng = np.random.default_rng(seed)
    f, y, mask = rng.normal(size=(m, 12)), rng.normal(size=12), rng.random((m, 12)) < 0.7
    mask[0, 0] = True
    weight = rng.integers(0, 3, size=12).astype(float)
    weight[0] = 1.0
    given = {"mask": mask, "sample_weight": weight}
    learnt = learn_regression_rule(f, y, "inverse_variance", **given)
    assert isinstance(learnt, LearntVariances)
    theirs = oracles.mean_squared_residuals(f, mask, y, weight)
    known = ~np.isnan(theirs)
    np.testing.assert_allclose(learnt.variances[known, 0], theirs[known], rtol=1e-9)
    variances = np.where(known, theirs, learnt.variances[:, 0])
    fused = oracles.fused_predictions("inverse_variance", f, mask, np.ones(m), variances, 7.0)
    ours = fuse_predictions(f, "inverse_variance", mask=mask, weights=learnt, fallback=7.0)
    np.testing.assert_allclose(ours, fused, rtol=1e-9)


def test_perfect_expert_takes_all_by_inverse_variance():
    y = np.arange(5.0)
    learnt = learn_regression_rule([y, y + 1], y, "inverse_variance")
    fused = fuse_predictions([[3.0], [9.0]], "inverse_variance", weights=learnt)
    np.testing.assert_allclose(fused, [3.0], atol=1e-9)


@pytest.mark.parametrize("outputs", [(), (2,)])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_keep_the_house(name, outputs, global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.normal(size=(60, *outputs))
    f = y + rng.normal(size=(3, 60, *outputs))
    mask, weight = rng.random((3, 60)) < 0.8, rng.integers(0, 3, size=60).astype(float)
    mask[0, 0], weight[0] = True, 1.0

    def answer(f, y, mask, weight, asked=f, asked_mask=mask):
        for array in (f, y, mask, weight):
            array.setflags(write=False)
        learnt = learn_regression_rule(
            f, y, name, mask=mask, sample_weight=weight, **numbers_options(name)
        )
        learnt = pickle.loads(pickle.dumps(learnt))
        whole = fuse_predictions(asked, name, mask=asked_mask, weights=learnt, fallback=-1.0)
        one = fuse_predictions(
            asked[:, 3:4], name, mask=asked_mask[:, 3:4], weights=learnt, fallback=-1.0
        )
        np.testing.assert_allclose(one[0], whole[3], rtol=1e-12)
        return whole

    ours = answer(f, y, mask, weight)
    assert ours.shape == y.shape
    np.testing.assert_array_equal(ours[~mask.any(axis=0)], -1.0)
    rows = np.repeat(np.arange(60), weight.astype(int))
    repeated = answer(f[:, rows], y[rows], mask[:, rows], np.ones(len(rows)))
    atol = 1e-4 if name == "weighted" else 1e-9
    if name != "stacking":  # a tree breaks its ties by the order of rows
        np.testing.assert_allclose(ours, repeated, atol=atol)
        order = [1, 2, 0]
        other = answer(f[order], y, mask[order], weight, f[order], mask[order])
        np.testing.assert_allclose(ours, other, atol=atol)


# Hostile ------------------------------------------------------------------------------------


def hostile_cases():
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(3), size=(2, 20)), rng.integers(0, 3, size=20)
    truth = np.eye(3)[y][None].repeat(2, axis=0)
    many = rng.dirichlet(np.full(300, 0.1), size=(2, 60))
    half = np.where(np.arange(20) < 10, 1e-310, 1.0)
    own = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    return {
        "300 classes": (many, rng.integers(0, 300, size=60), {}),
        "one class": (p, y * 0, {}),
        "a class never in y": (p, np.minimum(y, 1), {}),
        "one sample": (p[:, :1], y[:1], {}),
        "one expert": (p[:1], y, {}),
        "a single column": (np.ones((2, 20, 1)), y * 0, {}),
        "separable": (truth, y, {}),
        "always wrong": (truth[:, :, [1, 2, 0]], y, {}),
        "constant": (np.full((2, 20, 3), 1 / 3), y, {}),
        "all zero": (np.zeros((2, 20, 3)), y, {}),
        "denormal posteriors": (np.full((2, 20, 3), 5e-324), y, {}),
        "identical": (p[[0, 0, 0]], y, {}),
        "denormal weights": (p, y, {"sample_weight": np.full(20, 5e-324)}),
        "some denormal weights": (p, y, {"sample_weight": half}),
        "a prior of zero": (p, y, {"priors": [0.0, 0.4, 0.6]}),
        "a class that nobody saw": (p, y, {"expert_priors": own}),
        "float32 and uint8": (p.astype(np.float32), y.astype(np.uint8), {}),
    }


@pytest.mark.parametrize("what", hostile_cases())
@pytest.mark.parametrize("name", sorted({*LEARNABLE, *SEARCHABLE}))
def test_hostile_case_gives_a_finite_answer(name, what):
    p, y, given = hostile_cases()[what]
    ways = [None] if RULES[name].learn else []
    ways += ["search"] if RULES[name].weights else []
    for way in ways:
        more = {"n_draws": 10} if way else {}
        if name == "stacking":
            more = {"final_estimator": Recorder()}
        learnt = learn_rule(p, y, name, weights=way, **more, **given)
        if isinstance(learnt, LearntWeights):
            assert np.isfinite([learnt.loss, learnt.temperature, *learnt.weights]).all()
            assert learnt.converged
        given_to_fuse = {k: v for k, v in given.items() if k != "sample_weight"}
        fused = fuse(p, name, weights=learnt, **given_to_fuse)
        assert np.isfinite(fused).all()
        np.testing.assert_allclose(fused.sum(axis=1), 1.0, rtol=1e-9)
        if RULES[name].additive:
            parts = decompose(p, name, weights=learnt, **given_to_fuse)
            assert np.isfinite(parts.contributions).all()


BAD = [
    ({"y": [0, 1]}, "y must hold 3 places of classes"),
    ({"y": [0.0, 1.0, 1.0]}, "y must hold 3 places.*float64"),
    ({"y": ["a", "b", "a"]}, "y must hold 3 places"),
    ({"y": [True, False, True]}, "y must hold 3 places"),
    ({"y": [[0], [1], [1]]}, "y must hold 3 places"),
    ({"y": [0, 1, 2]}, r"y must lie in 0 \.\.\. 1, got 0 to 2"),
    ({"y": [0, -1, 1]}, r"y must lie in 0 \.\.\. 1, got -1 to 1"),
    ({"sample_weight": [1, np.nan, 1]}, "sample_weight contains NaN"),
    ({"sample_weight": [1, -1, 1]}, "Negative values in data passed to `sample_weight`"),
    ({"sample_weight": [0, 0, 0]}, "at least one non-zero"),
    ({"sample_weight": [1, 1]}, "sample_weight.shape"),
    ({"sample_weight": [1, 1e308, 1e308]}, "sample_weight goes up to 1e.308"),
    ({"posteriors": np.full((2, 3, 2), np.nan)}, "nothing to learn from: no sample has an exp"),
    ({"mask": np.zeros((2, 3), bool)}, "nothing to learn from: no sample has an expert"),
    ({"posteriors": np.full((2, 3, 2), np.inf)}, "expert 0 hold NaN or infinity"),
    ({"posteriors": np.empty((2, 0, 2)), "y": np.empty(0, int)}, "nothing to learn from"),
    ({"expert_priors": [[np.nan, 1], [0.5, 0.5]]}, "expert_priors must be non-negative"),
    ({"expert_priors": [[-0.5, 1.5], [0.5, 0.5]]}, "expert_priors must be non-negative"),
    ({"rule": "mean"}, "'mean' has nothing to learn"),
    ({"rule": "naive"}, "rule must be one of"),
    ({"weights": "guess"}, "weights must be one of"),
    ({"weights": "search"}, "'naive_bayes' takes no weights that could be searched"),
    ({"rule": "borda", "weights": "search", "scoring": "auc"}, "scoring must be one of"),
    ({"rule": "stacking"}, "needs final_estimator, a classifier"),
    ({"smoothing": -1.0}, "smoothing must be a non-negative number, got -1.0"),
    ({"smoothing": np.nan}, "smoothing must be a non-negative number, got nan"),
    ({"rule": "bks", "strength": "a"}, "strength must be a non-negative number, got 'a'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_argument_is_refused(arguments, message):
    given = {"posteriors": np.full((2, 3, 2), 0.5), "y": [0, 1, 1], "rule": "naive_bayes"}
    with pytest.raises(ValueError, match=message):
        learn_rule(**{**given, **arguments})


BAD_NUMBERS = [
    ({"y": [0.0, 1.0]}, r"y must have shape \(3, 1\).*got \(2,\)"),
    ({"y": np.zeros(6)}, r"y must have shape \(3, 1\).*got \(6,\)"),
    ({"y": [0.0, np.nan, 1.0]}, "y holds NaN or infinity"),
    ({"sample_weight": [1, np.nan, 1]}, "sample_weight contains NaN"),
    ({"sample_weight": [1, -1, 1]}, "Negative values in data passed to `sample_weight`"),
    ({"predictions": np.full((2, 3), np.nan)}, "nothing to learn from: no sample has an expert"),
    ({"predictions": [[0.0, 1.0, np.inf]] * 2}, "expert 0 hold NaN or infinity"),
    ({"rule": "mean"}, "'mean' has nothing to learn"),
    ({"rule": "stacking"}, "needs final_estimator, a regressor"),
    ({"rule": "inverse_variance", "weights": "search"}, "rule that takes weights: 'weighted'"),
    ({"weights": "search_by_class"}, "weights must be one of"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_NUMBERS)
def test_bad_argument_for_numbers_is_refused(arguments, message):
    given = {"predictions": np.zeros((2, 3)), "y": [0.0, 1.0, 1.0], "rule": "weighted"}
    with pytest.raises(ValueError, match=message):
        learn_regression_rule(**{**given, **arguments})


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_learnt_fits_what_is_fused(name):
    p, y = np.full((3, 4, 3), 1 / 3), [0, 1, 2, 1]
    given = {"final_estimator": Recorder()} if name == "stacking" else {}
    learnt = learn_rule(p, y, name, **given)
    for wrong in (None, [0.5, 0.5], LearntWeights(np.ones(3), 1.0, 0.0, 0.0, 1, True)):
        with pytest.raises(ValueError, match=f"'{name}' must be learnt first"):
            fuse(p, name, weights=wrong)
    with pytest.raises(ValueError, match=r"was learnt from 3 experts.*got 2 experts"):
        fuse(p[:2], name, weights=learnt)
    if name != "stacking":
        with pytest.raises(ValueError, match="3 experts and 3 classes, got 3 experts and 2"):
            fuse(p[:, :, :2], name, weights=learnt)


def test_weights_that_are_none_are_refused():
    p, f = np.full((2, 3, 2), 0.5), np.zeros((2, 3))
    for wrong in ([np.nan, 1.0], [-1.0, 2.0], [np.inf, 1.0], [1e308, 1e308]):
        for name in SEARCHABLE:
            with pytest.raises(ValueError, match="weights must be non-negative and finite"):
                fuse(p, name, weights=wrong)
        with pytest.raises(ValueError, match="weights must be non-negative and finite"):
            fuse_predictions(f, "weighted", weights=wrong)
    with pytest.raises(ValueError, match="must be learnt first"):
        fuse_predictions(f, "stacking", weights=[0.5, 0.5])
    for name in ("weighted", "mean"):
        with pytest.raises(ValueError, match="weights"):
            fuse_predictions(f, name, weights=LearntVariances(np.ones((2, 1))))


def test_hostile_numbers_give_a_finite_answer():
    y, n = np.linspace(0, 1, 6), 6
    for f in ([y, y], [np.zeros(n), np.zeros(n)], [y * 1e9, y], [y], [np.full(n, 5e-324), y]):
        for target in (y, np.zeros(n), np.full(n, 5e-324)):
            for name in NUMBERS:
                learnt = learn_regression_rule(f, target, name, **numbers_options(name))
                assert np.isfinite(fuse_predictions(f, name, weights=learnt)).all()


# The door -----------------------------------------------------------------------------------


def test_users_own_rule_is_learnt_and_used():
    """Any array will do for what it learns: it is no weights of experts."""

    def learn(posteriors, mask, y, sample_weight, priors, expert_priors, *, power=1.0):
        right = (posteriors.argmax(axis=2) == y) & mask
        return (right @ sample_weight / (mask @ sample_weight)) ** power - 0.5

    def scores(posteriors, mask, priors, expert_priors, learnt):
        return np.exp(np.einsum("m,mi,mic->ic", learnt, mask.astype(float), posteriors))

    own = Rule(scores, learn=learn)
    assert own.trained
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 30))
    y = p[0].argmax(axis=1)
    learnt = learn_rule(p, y, own, power=2.0)
    assert learnt[0] == 0.5
    assert learnt[1] < 0  # which is no weight, and nobody is silent for it
    mask = np.array([[True] * 20 + [False] * 10, [True] * 30])
    expected = softmax(np.einsum("m,mi,mic->ic", learnt, mask.astype(float), p), axis=1)
    np.testing.assert_allclose(fuse(p, own, mask=mask, weights=learnt), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="must be learnt first"):
        fuse(p, own)


def test_users_own_rule_of_numbers_is_learnt_and_used():
    def learn(predictions, mask, y, sample_weight):
        return np.average(predictions[0, :, 0] - y[:, 0], weights=sample_weight)

    own = Rule(lambda predictions, mask, learnt, variances: predictions[0] - learnt, learn=learn)
    learnt = learn_regression_rule([[1.0, 2.0]], [0.0, 1.0], own)
    np.testing.assert_allclose(fuse_predictions([[5.0]], own, weights=learnt), [4.0])
    with pytest.raises(ValueError, match="must be learnt first"):
        fuse_predictions([[5.0]], own)


def test_users_own_rule_with_weights_can_be_searched():
    own = Rule(
        lambda p, mask, priors, expert_priors, weights: np.einsum("m,mic->ic", weights, p),
        weights="share",
    )
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 50))
    ours = learn_rule(p, p[0].argmax(axis=1), own, weights="search", random_state=0)
    theirs = learn_rule(p, p[0].argmax(axis=1), "weighted", weights="search", random_state=0)
    np.testing.assert_array_equal(ours.weights, theirs.weights)
