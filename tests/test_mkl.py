"""Multiple kernel learning as estimators: certificates, decisions and weights by hand."""

import cvxpy as cp
import numpy as np
import oracles_mkl as oracle
import pandas as pd
import pytest
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC, SVR, OneClassSVM

from mkfusion.kernels import RBF, Linear
from mkfusion.mkl import WEIGHTINGS, MKLClassifier, MKLOneClass, MKLRegressor
from mkfusion.solvers import solve_mkl_conic

NORMS = [1, 4 / 3, 2, np.inf]
WIDTHS = {"audio": 2, "video": 3, "text": 1}
KERNELS = [
    ("near", RBF(gamma=1.0), "audio"),
    ("line", Linear(), "video"),
    ("words", RBF(gamma=0.3), "text"),
]
N = 60
over_norms = pytest.mark.parametrize("norm", NORMS)


def make(seed, n_classes=2, n=N):
    """Three modalities: a strong one, a weak one, noise."""
    rng = np.random.default_rng(seed)
    y = np.resize(np.arange(n_classes), n)
    blocks = {m: rng.normal(size=(n, width)) for m, width in WIDTHS.items()}
    blocks["audio"] += 1.5 * rng.normal(size=(n_classes, 2))[y]
    blocks["video"] += 0.7 * rng.normal(size=(n_classes, 3))[y]
    names = [f"{m}__{j}" for m, width in WIDTHS.items() for j in range(width)]
    X = pd.DataFrame(np.hstack(list(blocks.values())), columns=names)
    return X, np.array(["ant", "bee", "cow", "dog"])[y], X.sum(axis=1).to_numpy() + y


def block(X, modality):
    return X.filter(regex=f"^{modality}__").to_numpy()


def grams(X, Z=None, normalize="cosine"):
    """Return the kernels of KERNELS by scikit-learn, of shape (3, n_x, n_z)."""
    Z = X if Z is None else Z
    found = np.array(
        [
            rbf_kernel(block(X, "audio"), block(Z, "audio"), gamma=1.0),
            linear_kernel(block(X, "video"), block(Z, "video")),
            rbf_kernel(block(X, "text"), block(Z, "text"), gamma=0.3),
        ]
    )
    if normalize == "cosine":
        rows, columns = (np.linalg.norm(block(A, "video"), axis=1) for A in (X, Z))
        found[1] /= np.outer(rows, columns)
    return found


def combined(model, X, Z=None):
    return np.tensordot(model.kernel_weights_, grams(X, Z), 1)


def one_against_rest(labels):
    classes = np.unique(labels)[1 if len(np.unique(labels)) == 2 else 0 :]
    return np.array([np.where(labels == c, 1.0, -1.0) for c in classes])


def pairs(labels):
    """Return the signs of every pair of classes, the first 1, and who takes part."""
    a, b, c = (labels == name for name in np.unique(labels))
    signs = np.array([np.where(first, 1.0, -1.0) for first in (a, a, b)])
    return signs, np.array([a | b, a | c, b | c], float)


# The certificate ----------------------------------------------------------------------------


def check_certificate(task, Ks, Y, C, norm, solution, epsilon=0.1):
    """Recompute both bounds of stored coefficients; compare them with the conic optimum."""
    beta, low = solution.coef.T, solution.lower_coef.T
    alpha, low = (beta * Y.T, low * Y.T) if task == "svm" else (beta, low)
    upper = oracle.upper_bound(
        task, Ks, Y.T, C.T, solution.theta, alpha, solution.bias, epsilon=epsilon
    )
    lower = oracle.lower_bound(task, Ks, Y.T, C.T, low, norm, epsilon=epsilon)
    assert solution.objective == pytest.approx(upper, rel=1e-8, abs=1e-10)
    assert solution.gap == pytest.approx(upper - lower, rel=1e-4, abs=1e-8 * abs(upper))
    assert 0 <= solution.gap <= 1e-3 * abs(upper)
    y = None if task == "one_class" else Y.T
    costs = C[0] if task == "one_class" else C.T
    exact = solve_mkl_conic(Ks, y, costs, norm=norm, task=task, epsilon=epsilon)
    slack = 1e-7 * abs(exact.upper) + 1e-9
    assert lower <= exact.upper + slack
    assert upper >= exact.lower - slack
    total = np.linalg.norm(solution.theta, norm)
    assert total == pytest.approx(len(Ks) ** ((0 if np.isinf(norm) else 1 / norm) - 1))


@over_norms
@pytest.mark.parametrize("weighted", [False, True])
def test_certificate_of_two_classes(norm, weighted, global_seed):
    X, y, _ = make(global_seed)
    weight, by_class = np.ones(N), {"ant": 1.0, "bee": 1.0}
    if weighted:
        weight, by_class = np.random.default_rng(0).uniform(0.2, 2, N), {"ant": 0.5, "bee": 3.0}
        weight[:5] = 0
    model = MKLClassifier(KERNELS, norm=norm, C=2.0, class_weight=by_class)
    model.fit(X, y, sample_weight=weight)
    costs = 2.0 * weight * pd.Series(y).map(by_class).to_numpy()
    Y = one_against_rest(y)
    check_certificate("svm", grams(X), Y, costs[None], norm, model.solution_)
    assert model.objective_ == model.solution_.objective
    assert model.duality_gap_ == model.solution_.gap
    assert model.history_.shape == (model.n_iter_, 2)
    assert np.array_equal(model.kernel_weights_, model.solution_.theta)


@over_norms
@pytest.mark.parametrize("multi_class", ["shared", "per_class", "ovo"])
def test_certificate_of_three_classes(norm, multi_class, global_seed):
    X, y, _ = make(global_seed, n_classes=3)
    weight = np.random.default_rng(1).uniform(0.2, 2, N)
    model = MKLClassifier(KERNELS, norm=norm, multi_class=multi_class, class_weight="balanced")
    model.fit(X, y, sample_weight=weight)
    sums = pd.Series(weight).groupby(y).sum()
    balanced = weight * pd.Series(y).map(weight.sum() / (3 * sums)).to_numpy()
    Y, costs = one_against_rest(y), np.tile(balanced, (3, 1))
    if multi_class == "ovo":
        Y, there = pairs(y)
        costs = costs * there
    if multi_class != "per_class":
        check_certificate("svm", grams(X), Y, costs, norm, model.solution_)
        return
    for c, solution in enumerate(model.solution_):
        check_certificate("svm", grams(X), Y[c : c + 1], costs[:1], norm, solution)
    assert model.objective_ == pytest.approx(sum(s.objective for s in model.solution_))
    assert model.duality_gap_ == pytest.approx(sum(s.gap for s in model.solution_))
    assert model.kernel_weights_.shape == (3, 3)
    assert model.n_iter_ == max(map(len, model.history_))


@over_norms
@pytest.mark.parametrize("machine", ["ridge", "svr"])
def test_certificate_of_regression(norm, machine, global_seed):
    X, _, y = make(global_seed)
    weight = np.random.default_rng(1).uniform(0.2, 2, N)
    outputs = np.column_stack([y, X["audio__0"]])
    model = MKLRegressor(KERNELS, norm=norm, machine=machine, C=3.0, epsilon=0.2)
    model.fit(X, outputs, sample_weight=weight)
    costs = np.tile(3.0 * weight, (2, 1))
    check_certificate(machine, grams(X), outputs.T, costs, norm, model.solution_, epsilon=0.2)


@over_norms
def test_certificate_of_one_class(norm, global_seed):
    X, _, _ = make(global_seed)
    weight = np.random.default_rng(1).uniform(0.2, 2, N)
    model = MKLOneClass(KERNELS, weighting="exact", norm=norm, nu=0.3).fit(X, sample_weight=weight)
    costs = weight[None] / (0.3 * weight.sum())
    Y = np.ones((1, N))
    check_certificate("one_class", grams(X), Y, costs, norm, model.solution_)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("machine", ["svm", "ovo", "ridge", "svr", "one_class"])
def test_conic_solver_finds_the_same(machine, norm, global_seed):
    X, labels, y = make(global_seed, n_classes=3 if machine == "ovo" else 2)
    options = {"norm": norm, "tol": 1e-6}
    if machine in ("svm", "ovo"):
        model, y = MKLClassifier(KERNELS, multi_class="ovo", **options), labels
    elif machine == "one_class":
        model = MKLOneClass(KERNELS, weighting="exact", nu=0.3, **options)
    else:
        model = MKLRegressor(KERNELS, machine=machine, **options)
    newton = model.fit(X, y)
    theta, objective = newton.kernel_weights_, newton.objective_
    conic = model.set_params(solver="qp").fit(X, y)
    assert conic.objective_ == pytest.approx(objective, rel=2e-6, abs=1e-9)
    assert conic.duality_gap_ <= 1e-6 * abs(conic.objective_)
    np.testing.assert_allclose(conic.kernel_weights_, theta, atol=0.02)


# Decisions ----------------------------------------------------------------------------------

EXACT = {"tol": 1e-9, "max_iter": 1000}


def close(found, expected, atol=2e-3):
    np.testing.assert_allclose(found, expected, atol=atol, rtol=atol)


def svc(K, y, **options):
    return SVC(kernel="precomputed", tol=1e-8, **options).fit(K, y)


@over_norms
def test_two_classes_decide_as_svc(norm, global_seed):
    X, y, _ = make(global_seed, n=90)
    weight = np.random.default_rng(0).uniform(0.2, 2, N)
    train, test = X[:N], X[N:]
    model = MKLClassifier(KERNELS, norm=norm, C=2.0, class_weight={"ant": 2.0, "bee": 1.0})
    model.fit(train, y[:N], sample_weight=weight)
    # Weights that are learnt, then the machine to the end.
    model.set_params(weighting=model.kernel_weights_, **EXACT)
    model.fit(train, y[:N], sample_weight=weight)
    shares = model.kernel_weights_
    K = np.tensordot(shares, grams(train), 1)
    other = SVC(kernel="precomputed", C=2.0, class_weight={"ant": 2.0}, tol=1e-8)
    other.fit(K, y[:N], sample_weight=weight)
    close(model.decision_function(test), other.decision_function(combined(model, test, train)))
    assert np.array_equal(model.predict(train), other.predict(K))
    assert shares.sum() == pytest.approx(1)


def test_three_classes_decide_as_one_against_the_rest(global_seed):
    X, y, _ = make(global_seed, n_classes=3, n=90)
    train, test = X[:N], X[N:]
    model = MKLClassifier(KERNELS, weighting="uniform", **EXACT).fit(train, y[:N])
    K, new = combined(model, train), combined(model, test, train)
    found = [svc(K, y[:N] == c).decision_function(new) for c in ("ant", "bee", "cow")]
    close(model.decision_function(test), np.array(found).T)
    assert np.array_equal(model.predict(test), model.classes_[np.argmax(found, axis=0)])


def test_pairs_decide_as_svc(global_seed):
    X, y, _ = make(global_seed, n_classes=3, n=90)
    train, test = X[:N], X[N:]
    model = MKLClassifier(KERNELS, weighting="uniform", multi_class="ovo", **EXACT)
    model.fit(train, y[:N])
    other = svc(combined(model, train), y[:N], decision_function_shape="ovo")
    margins = other.decision_function(combined(model, test, train))
    parts = model.modality_contributions(test)
    close(parts.decision, margins)
    assert list(parts.classes) == ["ant - bee", "ant - cow", "bee - cow"]
    sure = (np.abs(margins) > 0.01).all(axis=1)
    other.set_params(decision_function_shape="ovr")
    expected = other.decision_function(combined(model, test, train))
    close(model.decision_function(test)[sure], expected[sure])


def test_classes_have_weights_of_their_own(global_seed):
    X, y, _ = make(global_seed, n_classes=3)
    model = MKLClassifier(KERNELS, multi_class="per_class", tol=1e-7, max_iter=1000).fit(X, y)
    for c, name in enumerate(model.classes_):
        alone = MKLClassifier(KERNELS, tol=1e-7, max_iter=1000).fit(X, y == name)
        assert np.array_equal(alone.kernel_weights_, model.kernel_weights_[c])
        close(model.decision_function(X)[:, c], alone.decision_function(X), 1e-12)
        for modality, weights in alone.modality_weights_.items():
            assert model.modality_weights_[modality][c] == weights


@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_one_kernel_is_svc(gamma, global_seed):
    X, y, _ = make(global_seed)
    A = X[["audio__0", "audio__1"]]
    with pytest.warns(UserWarning, match="nothing is fused"):
        model = MKLClassifier(RBF(gamma), C=3.0, **EXACT).fit(A, y)
    expected = SVC(gamma=gamma, C=3.0, tol=1e-8).fit(A, y).decision_function(A)
    close(model.decision_function(A), expected)
    assert model.kernel_weights_.tolist() == [1.0]


def test_support_vector_regression(global_seed):
    X, _, y = make(global_seed)
    options = {"C": 2.0, "epsilon": 0.3}
    model = MKLRegressor(KERNELS, machine="svr", weighting=[1, 2, 1], **options, **EXACT)
    model.fit(X, y)
    K = combined(model, X)
    other = SVR(kernel="precomputed", tol=1e-9, **options).fit(K, y)
    close(model.predict(X), other.predict(K))
    assert model.score(X, y) == pytest.approx(other.score(K, y), abs=1e-3)


def test_ridge_regression_in_closed_form(global_seed):
    X, _, y = make(global_seed)
    weight = np.random.default_rng(1).uniform(0.2, 2, N)
    outputs = np.column_stack([y, X["audio__0"]])
    model = MKLRegressor(KERNELS, weighting=[1, 2, 1], C=2.0).fit(X, outputs, sample_weight=weight)
    K = combined(model, X)
    system = np.block([[K + np.diag(0.5 / weight), np.ones((N, 1))], [np.ones((1, N)), 0.0]])
    found = np.linalg.solve(system, np.vstack([outputs, np.zeros(2)]))
    np.testing.assert_allclose(model.dual_coef_.T, found[:N][model.support_], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.intercept_, found[N], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.predict(X), K @ found[:N] + found[N], rtol=1e-8, atol=1e-9)
    single = MKLRegressor(KERNELS, weighting=[1, 2, 1], C=2.0).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(single.predict(X), model.predict(X)[:, 0], rtol=1e-10)


def test_one_class(global_seed):
    X, _, _ = make(global_seed)
    model = MKLOneClass(KERNELS, nu=0.4, tol=1e-9, max_iter=1000).fit(X)
    K = combined(model, X)
    other = OneClassSVM(kernel="precomputed", nu=0.4, tol=1e-9).fit(K)
    scale = 0.4 * N  # libsvm's alpha sum to it, ours to 1
    close(model.decision_function(X) * scale, other.decision_function(K))
    close(model.score_samples(X) * scale, other.score_samples(K))
    assert set(model.predict(X)) == {-1, 1}
    assert model.dual_coef_.sum() == pytest.approx(1)


def test_infinite_norm_is_uniform(global_seed):
    X, y, _ = make(global_seed, n_classes=3)
    learnt = MKLClassifier(KERNELS, norm=np.inf, **EXACT).fit(X, y)
    uniform = MKLClassifier(KERNELS, weighting="uniform", **EXACT).fit(X, y)
    np.testing.assert_allclose(learnt.kernel_weights_, uniform.kernel_weights_, atol=1e-8)
    assert learnt.objective_ == pytest.approx(uniform.objective_, rel=1e-8)


# Weights ------------------------------------------------------------------------------------


def centred(K):
    H = np.eye(len(K)) - 1 / len(K)
    return H @ K @ H


def ideal(y):
    """Return 1 for samples of one class, and -1 / (K - 1) for others."""
    return np.where(y[:, None] == y, 1.0, -1 / (len(np.unique(y)) - 1))


def alignment(K, T):
    K, T = centred(K), centred(T)
    size = np.linalg.norm(K) * np.linalg.norm(T)
    return (K * T).sum() / size if size else 0.0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_alignment_of_each_kernel(n_classes, global_seed):
    X, y, _ = make(global_seed, n_classes)
    model = MKLClassifier(KERNELS, weighting="alignment").fit(X, y)
    found = np.maximum([alignment(K, ideal(y)) for K in grams(X)], 0)
    np.testing.assert_allclose(model.kernel_weights_, found / found.sum(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("numbers", [False, True])
def test_alignf_has_the_best_alignment_of_the_simplex(numbers, global_seed):
    X, labels, y = make(global_seed, 3)
    T = np.outer(y, y) if numbers else ideal(labels)
    model = MKLRegressor(KERNELS) if numbers else MKLClassifier(KERNELS)
    model.set_params(weighting="alignf").fit(X, y if numbers else labels)
    grid = oracle.simplex_grid(3, 25)
    Ks = grams(X)
    best = max(alignment(np.tensordot(theta, Ks, 1), T) for theta in grid)
    reached = alignment(combined(model, X), T)
    assert best - 1e-9 <= reached <= best + 0.01


def test_alignment_qp_is_the_nearest_of_the_simplex(global_seed):
    X, y, _ = make(global_seed, 3)
    Ks, T = [centred(K) for K in grams(X)], centred(ideal(y))

    def distance(theta):
        return np.square(np.tensordot(theta, Ks, 1) - T).sum()

    model = MKLClassifier(KERNELS, weighting="alignment_qp").fit(X, y)
    best = min(map(distance, oracle.simplex_grid(3, 25)))
    assert distance(model.kernel_weights_) <= best * (1 + 1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_easy_weights_by_a_quadratic_programme(n_classes, global_seed):
    X, y, _ = make(global_seed, n_classes)
    Ks, forms = grams(X), 0.0
    for signs in one_against_rest(y):
        Q = oracle.easy_matrix(Ks.sum(axis=0), signs, 0.3)
        root = np.linalg.cholesky(Q)
        gamma = cp.Variable(N, nonneg=True)
        sums = [cp.sum(gamma[signs > 0]) == 1, cp.sum(gamma[signs < 0]) == 1]
        cp.Problem(cp.Minimize(cp.sum_squares(root.T @ gamma)), sums).solve(solver="CLARABEL")
        v = gamma.value * signs
        forms = forms + np.array([v @ K @ v for K in Ks])
    model = MKLClassifier(KERNELS, weighting="easy", lam=0.3).fit(X, y)
    np.testing.assert_allclose(model.kernel_weights_, forms / forms.sum(), atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_accuracy_of_each_kernel_out_of_fold(n_classes, global_seed):
    X, y, _ = make(global_seed, n_classes)
    codes = np.unique(y, return_inverse=True)[1]
    for j in range(3):  # kernels of noise have decisions that are all but equal
        X[f"video__{j}"] += 2 * np.eye(3)[codes, j]
    gains = []
    for K in grams(X)[:2]:
        decisions = np.zeros((N, 1 if n_classes == 2 else 3))
        for train, test in StratifiedKFold(3).split(X, y):
            for c, signs in enumerate(one_against_rest(y)):
                machine = SVC(kernel="precomputed", tol=1e-5).fit(
                    K[np.ix_(train, train)], signs[train]
                )
                decisions[test, c] = machine.decision_function(K[np.ix_(test, train)])
        found = (decisions[:, 0] > 0) * 1 if n_classes == 2 else decisions.argmax(axis=1)
        gains.append(max(0.0, np.mean(found == codes) - 1 / n_classes))
    model = MKLClassifier(KERNELS[:2], kernel="drop", weighting="accuracy").fit(X, y)
    few = 3.5 / N / sum(gains)  # samples may lie on the boundary
    np.testing.assert_allclose(model.kernel_weights_, np.array(gains) / sum(gains), atol=few)


@pytest.mark.parametrize("form", ["product", "quadratic"])
def test_kernels_that_are_multiplied(form, global_seed):
    X, y, numbers = make(global_seed, n=90)
    train, test = X[:N], X[N:]

    def formed(Ks):
        return Ks.prod(axis=0) if form == "product" else Ks.mean(axis=0) ** 2

    K, new = formed(grams(train)), formed(grams(test, train))
    model = MKLClassifier(KERNELS, weighting=form, **EXACT).fit(train, y[:N])
    close(model.decision_function(test), svc(K, y[:N]).decision_function(new))
    np.testing.assert_allclose(model.combined_kernel_, K, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="multiplies kernels"):
        model.modality_contributions(test)
    ridge = MKLRegressor(KERNELS, weighting=form).fit(train, numbers[:N])
    np.testing.assert_allclose(ridge.combined_kernel_, K, rtol=1e-10, atol=1e-12)


def test_weights_that_are_given(global_seed):
    X, y, _ = make(global_seed, n_classes=3)
    shares = np.array([0.5, 0.0, 1.5])
    by_name = {"words": 1.5, "near": 0.5, "line": 0.0}

    def function(kernels, labels):
        assert np.array_equal(labels, y)
        np.testing.assert_allclose(kernels.combine(shares), np.tensordot(shares, grams(X), 1))
        return shares

    for weighting in (shares, shares.tolist(), by_name, function):
        model = MKLClassifier(KERNELS, weighting=weighting).fit(X, y)
        assert model.kernel_weights_.tolist() == [0.25, 0.0, 0.75]
        assert model.modality_weights_ == {"audio": 0.25, "video": 0.0, "text": 0.75}
        np.testing.assert_allclose(model.combined_kernel_, combined(model, X), rtol=1e-12)


def test_every_weighting_gives_weights(global_seed):
    X, y, numbers = make(global_seed)
    for name, way in WEIGHTINGS.items():
        for kind, model, target in (
            ("classes", MKLClassifier(KERNELS), y),
            ("numbers", MKLRegressor(KERNELS), numbers),
            ("none", MKLOneClass(KERNELS), None),
        ):
            model.set_params(weighting=name)
            if kind not in way.targets:
                with pytest.raises(ValueError, match="weighting must be one of"):
                    model.fit(X, target)
                continue
            theta = model.fit(X, target).kernel_weights_
            assert theta.min() >= 0
            assert theta.sum() == pytest.approx(1)
