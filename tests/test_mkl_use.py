"""Multiple kernel learning in use: contributions, missing modalities, searches, pipelines."""

import pickle

import numpy as np
import oracles_mkl as oracle  # noqa: F401
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from test_mkl import EXACT, KERNELS, N, close, combined, grams, make

from mkfusion import LateFusionClassifier
from mkfusion.kernels import RBF, FunctionKernel, GlobalAlignment, Linear, Precomputed
from mkfusion.mkl import MKLClassifier, MKLOneClass, MKLRegressor

MODELS = {
    "two classes": MKLClassifier(KERNELS),
    "shared": MKLClassifier(KERNELS),
    "per_class": MKLClassifier(KERNELS, multi_class="per_class"),
    "ovo": MKLClassifier(KERNELS, multi_class="ovo"),
    "ridge": MKLRegressor(KERNELS),
    "svr": MKLRegressor(KERNELS, machine="svr"),
    "one class": MKLOneClass(KERNELS),
}
all_models = pytest.mark.parametrize("name", MODELS)
SCALES = [("cosine", False), ("cosine", True), ("trace", False), ("trace", True), (None, True)]

CENTRED = {"normalize": "trace", "center": True}


def data(name, seed, n=N):
    """Return X, and the target that the model takes."""
    X, labels, numbers = make(seed, 2 if name == "two classes" else 3, n)
    return X, {"ridge": numbers, "svr": numbers, "one class": None}.get(name, labels)


def decide(model, X):
    found = model.predict(X) if isinstance(model, MKLRegressor) else model.decision_function(X)
    return found.reshape(len(X), -1)


def lose(X, seed, share=0.4):
    """Lose modalities at random, at most two of a sample."""
    rng = np.random.default_rng(seed)
    lost = rng.random((len(X), 3)) < share
    lost[lost.all(axis=1), 0] = False
    X = X.copy()
    for k, modality in enumerate(("audio", "video", "text")):
        X.loc[X.index[lost[:, k]], X.filter(regex=f"^{modality}__").columns] = np.nan
    return X, ~lost


# What each modality adds --------------------------------------------------------------------


@all_models
@pytest.mark.parametrize(("normalize", "center"), SCALES)
@pytest.mark.filterwarnings("ignore:.* samples have no modality", "ignore:.* not converged")
def test_contributions_add_up(name, normalize, center, global_seed):
    X, y = data(name, global_seed, 90)
    X, there = lose(X, global_seed)
    model = clone(MODELS[name]).set_params(normalize=normalize)
    if center and name != "one class":
        model.set_params(center=True)
    train, test = slice(0, N), slice(N, None)
    model.fit(X[train], None if y is None else y[train])
    parts = model.modality_contributions(X[test])
    whole = parts.base + parts.contributions.sum(axis=1)
    np.testing.assert_allclose(whole, parts.decision, rtol=1e-12, atol=1e-12)
    if name != "ovo":
        np.testing.assert_allclose(whole, decide(model, X[test]), rtol=1e-9, atol=1e-9)
    assert parts.modalities == ["audio", "video", "text"]
    for g, present in enumerate(there[test].T):
        assert not parts.contributions[~present, g].any()
        if model.modality_weights_[parts.modalities[g]].any():
            assert parts.contributions[present, g].any()
    np.testing.assert_array_equal(parts.base, np.tile(model.intercept_, (30, 1)))


@all_models
def test_one_row_is_all_rows(name, global_seed):
    X, y = data(name, global_seed)
    model = clone(MODELS[name]).fit(X, y)
    rows = [decide(model, X[i : i + 1])[0] for i in range(N)]
    np.testing.assert_allclose(rows, decide(model, X), rtol=1e-10, atol=1e-11)


def test_many_rows_are_taken_in_pieces(global_seed, monkeypatch):
    X, y = data("shared", global_seed, 150)
    model = clone(MODELS["shared"]).fit(X, y)
    whole = decide(model, X)
    monkeypatch.setattr("mkfusion.mkl._answers.CHUNK", 1)
    np.testing.assert_allclose(decide(model, X), whole, rtol=1e-10, atol=1e-11)


# Missing modalities -------------------------------------------------------------------------


def masked(Ks, there, there_too):
    """Return z_i z_j K(i, j) / sqrt(r_i r_j)."""
    shares, shares_too = there.mean(axis=1), there_too.mean(axis=1)
    return np.array(
        [
            K * np.outer(there[:, m] / np.sqrt(shares), there_too[:, m] / np.sqrt(shares_too))
            for m, K in enumerate(Ks)
        ]
    )


def test_missing_modalities_by_hand(global_seed):
    whole, y = data("two classes", global_seed, 90)
    X, there = lose(whole, global_seed)
    model = MKLClassifier(KERNELS, weighting=[1, 2, 1], **EXACT).fit(X[:N], y[:N])
    K, new = (
        np.tensordot([0.25, 0.5, 0.25], masked(grams(A, whole[:N]), there[rows], there[:N]), 1)
        for A, rows in ((whole[:N], slice(0, N)), (whole[N:], slice(N, None)))
    )
    machine = SVC(kernel="precomputed", tol=1e-8).fit(K, y[:N])
    close(model.decision_function(X[N:]), machine.decision_function(new))
    np.testing.assert_allclose(model.combined_kernel_, K, rtol=1e-10, atol=1e-12)


def test_a_row_that_no_weight_sees_has_the_intercept(global_seed):
    X, y = data("shared", global_seed)
    model = MKLClassifier(KERNELS, weighting=[1, 0, 1]).fit(X, y)
    new = X[:3].copy()
    new.iloc[1, [0, 1, 5]] = np.nan  # has video only
    with pytest.warns(UserWarning, match="1 of 3 samples have no modality whose kernel has a w"):
        found = model.decision_function(new)
    np.testing.assert_array_equal(found[1], model.intercept_)
    np.testing.assert_allclose(found[[0, 2]], model.decision_function(X)[[0, 2]], rtol=1e-12)


def test_kernels_of_weight_0_are_not_read(global_seed):
    X, y = data("shared", global_seed)
    model = MKLClassifier(KERNELS, weighting=[1, 0, 1]).fit(X, y)
    new = X.copy()
    new["video__1"] = np.where(np.arange(N) % 2, np.nan, 1e308)  # there in part
    np.testing.assert_array_equal(model.decision_function(new), model.decision_function(X))


def test_a_product_needs_every_modality(global_seed):
    X, y = data("two classes", global_seed)
    holes, _ = lose(X, global_seed)
    with pytest.raises(ValueError, match=r"multiplies kernels, and \d+ samples lack a modality"):
        MKLClassifier(KERNELS, weighting="product").fit(holes, y)
    model = MKLClassifier(KERNELS, weighting="product").fit(X, y)
    new = X[:3].copy()
    new.iloc[1, 5] = np.nan
    with pytest.warns(UserWarning, match="1 of 3 samples have not every modality"):
        assert model.decision_function(new)[1] == model.intercept_[0]


def test_a_modality_that_nobody_has_is_left_out(global_seed):
    X, y = data("shared", global_seed)
    X[["video__0", "video__1", "video__2"]] = np.nan
    with pytest.warns(UserWarning, match="'video' is missing for every sample"):
        model = MKLClassifier(KERNELS).fit(X, y)
    assert model.kernel_names_ == ["near", "words"]
    rest = MKLClassifier([KERNELS[0], KERNELS[2]]).fit(X[["audio__0", "audio__1", "text__0"]], y)
    np.testing.assert_array_equal(rest.dual_coef_, model.dual_coef_)


# Centring and traces ------------------------------------------------------------------------


@pytest.mark.parametrize(("normalize", "center"), SCALES)
@pytest.mark.parametrize("weighted", [False, True])
def test_centred_and_scaled_kernels_by_hand(normalize, center, weighted, global_seed):
    X, y = data("two classes", global_seed)
    weight = np.random.default_rng(1).uniform(0.2, 2, N) if weighted else np.ones(N)
    Ks = grams(X, normalize=normalize)
    shares = weight / weight.sum()
    H = np.eye(N) - (np.outer(np.ones(N), shares) if center else 0)
    Ks = np.array([H @ K @ H.T for K in Ks])
    if normalize == "trace":
        Ks = np.array([K / (K.diagonal() @ shares) for K in Ks])
    K = np.tensordot([0.5, 0.25, 0.25], Ks, 1)
    machine = SVC(kernel="precomputed", tol=1e-8, C=2).fit(K, y, sample_weight=weight)
    model = MKLClassifier(
        KERNELS, weighting=[2, 1, 1], normalize=normalize, center=center, C=2, **EXACT
    )
    model.fit(X, y, sample_weight=weight)
    close(model.decision_function(X), machine.decision_function(K))
    # Learnt weights are certified on these kernels.
    model.set_params(weighting="svm", tol=1e-3).fit(X, y, sample_weight=weight)
    theta, (beta,), (bias,) = model.solution_[:3]
    f = np.tensordot(theta, Ks, 1) @ beta + bias
    signs = np.where(y == "bee", 1, -1)
    loss = (2 * weight * np.maximum(0, 1 - signs * f)).sum()
    forms = np.array([beta @ K @ beta for K in Ks])
    assert model.objective_ == pytest.approx(theta @ forms / 2 + loss, rel=1e-8)
    low = model.solution_.lower_coef[0]
    bound = signs @ low - max(low @ K @ low for K in Ks) / 2
    assert model.objective_ - model.duality_gap_ == pytest.approx(bound, rel=1e-8)
    np.testing.assert_allclose(model.decision_function(X), f, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["two classes", "per_class", "ovo", "ridge", "svr"])
def test_centring_changes_no_decision(name, global_seed):
    X, y = data(name, global_seed, 90)
    train, test = X[:N], X[N:]
    plain = clone(MODELS[name]).set_params(normalize=None, weighting=[1, 2, 1], **EXACT)
    centred = clone(plain).set_params(center=True)
    expected = plain.fit(train, y[:N]).modality_contributions(test).decision
    close(centred.fit(train, y[:N]).modality_contributions(test).decision, expected)


# Parameters by name -------------------------------------------------------------------------


@pytest.fixture
def pipeline():
    scaled = make_column_transformer(
        (StandardScaler(), ["fac__0", "fac__1"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    kernels = [("fac_rbf", RBF(gamma=0.5), "fac"), ("fou_lin", Linear(), "fou")]
    return Pipeline([("scale", scaled), ("mkl", MKLClassifier(kernels))])


@pytest.fixture
def table(global_seed):
    X, y, _ = make(global_seed, n_classes=3)
    return X.set_axis(["fac__0", "fac__1", "fou__0", "fou__1", "fou__2", "mor__0"], axis=1), y


SEARCHES = [
    {"mkl__C": [0.1, 10.0]},
    {"mkl__norm": [1, 2, np.inf]},
    {"mkl__weighting": ["svm", "alignf", "uniform", [1, 0, 1]]},
    {"mkl__fac_rbf__gamma": [1e-3, 0.5]},
    {"mkl__fac_rbf": [RBF(1.0), "linear", "drop"]},
    {"mkl__kernel": ["linear", RBF(2.0)]},
    {"mkl__kernels": [RBF(0.1), Linear()]},
    {
        "mkl__kernels": [None],
        "mkl__modalities": [{"fac": [0, 1]}, {"all": slice(0, 6), "mor": "mor__0"}],
        "mkl__allow_overlap": [True],
    },
]


@pytest.mark.parametrize("grid", SEARCHES, ids=lambda grid: "-".join(grid))
@pytest.mark.filterwarnings("ignore:nothing is fused", "ignore:columns .* belong to no modality")
def test_a_search_finds_what_fitting_by_hand_finds(pipeline, table, grid):
    X, y = table
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    scores = [
        cross_val_score(clone(pipeline).set_params(**params), X, y, cv=2).mean()
        for params in search.cv_results_["params"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], scores)
    best = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.decision_function(X), best.decision_function(X))


def test_parameters_reach_the_kernels(table):
    X, y = table
    model = MKLClassifier([("fac_rbf", RBF(gamma=0.5), "fac")])
    model.set_params(fac_rbf__gamma=2.0, kernel="linear")
    assert clone(model).fit(X, y).kernels_[0].gamma == 2.0
    model.set_params(fac_rbf=Linear())
    assert isinstance(clone(model).fit(X, y).kernels_[0], Linear)
    model.set_params(fac_rbf="drop")
    assert clone(model).fit(X, y).kernel_names_ == ["fou", "mor"]
    model.set_params(kernels=[("fou_rbf", RBF(), "fou")], fou_rbf__gamma=3.0)
    assert model.get_params()["fou_rbf__gamma"] == 3.0
    model.set_params(kernels=[("new", RBF(), "fou")], new="drop")
    assert model.kernels == [("new", "drop", "fou")]
    model.set_params(kernels=RBF()).set_params(kernels__gamma=4.0)
    assert [kernel.gamma for kernel in clone(model).fit(X, y).kernels_] == [4.0] * 3


def test_parameters_changed_after_the_fit_change_nothing(global_seed):
    X, y = data("shared", global_seed)
    kernels = [(name, clone(kernel), modality) for name, kernel, modality in KERNELS]
    model = MKLClassifier(kernels, center=True).fit(X, y)
    wanted = model.decision_function(X), model.combined_kernel_
    model.set_params(
        normalize=None, center=False, weighting="product", multi_class="ovo", C=-1, dtype="f4",
        modalities={"x": [0]}, near__gamma=50.0, line="drop", norm=0, memory_budget=1,
    )  # fmt: skip
    np.testing.assert_array_equal(model.decision_function(X), wanted[0])
    np.testing.assert_array_equal(model.combined_kernel_, wanted[1])


# Beside other estimators --------------------------------------------------------------------


@all_models
@pytest.mark.parametrize("weighting", ["uniform", [1, 2, 1], {"near": 1, "line": 0, "words": 1}])
def test_pickled_decisions_are_the_same(name, weighting, global_seed):
    X, y = data(name, global_seed)
    model = clone(MODELS[name]).set_params(weighting=weighting).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(decide(again, X), decide(model, X))
    if name != "per_class":
        np.testing.assert_allclose(model.combined_kernel_, combined(model, X), rtol=1e-10)
    with pytest.raises(AttributeError, match="combined_kernel_ needs the training samples"):
        _ = again.combined_kernel_
    with pytest.raises(AttributeError, match="fit again"):
        _ = pickle.loads(pickle.dumps(again)).combined_kernel_


def test_weights_by_class_have_no_one_kernel(global_seed):
    X, y = data("per_class", global_seed)
    model = clone(MODELS["per_class"]).fit(X, y)
    with pytest.raises(AttributeError, match="for weights that the classes share"):
        _ = model.combined_kernel_


def test_sample_weights_are_routed(pipeline, table):
    X, y = table
    weight = np.random.default_rng(0).uniform(0.1, 3, N)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline["mkl"].set_fit_request(sample_weight=True)
        pipeline["scale"].transformers[0][1].set_fit_request(sample_weight=False)
        routed = pipeline.fit(X, y, sample_weight=weight).decision_function(X)
    Z = pipeline["scale"].transform(X)
    by_hand = clone(pipeline["mkl"]).fit(Z, y, sample_weight=weight).decision_function(Z)
    np.testing.assert_array_equal(routed, by_hand)
    assert np.abs(clone(pipeline).fit(X, y).decision_function(X) - routed).max() > 1e-3


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.filterwarnings("ignore:nothing is fused")
def test_probabilities_by_calibration_and_in_late_fusion(n_classes, global_seed):
    X, y, _ = make(global_seed, n_classes, 120)
    calibrated = CalibratedClassifierCV(MKLClassifier(KERNELS), cv=3).fit(X, y)
    found = calibrated.predict_proba(X)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (calibrated.predict(X) == y).mean() > 1 / n_classes + 0.05
    fusion = LateFusionClassifier(estimator=MKLClassifier(kernel="rbf"), cv=3).fit(X, y)
    assert fusion.predict_proba(X).shape == (120, n_classes)
    assert (fusion.predict(X) == y).mean() > 1 / n_classes + 0.05


def test_frames_arrays_and_lists_are_one(global_seed):
    X, y = data("shared", global_seed)
    modalities = {"audio": [0, 1], "video": [2, 3, 4], "text": [5]}
    wanted = MKLClassifier(KERNELS).fit(X, y)
    for table in (X.to_numpy(), X.to_numpy().tolist(), np.asfortranarray(X.to_numpy())):
        model = MKLClassifier(KERNELS, modalities).fit(table, y.tolist())
        np.testing.assert_array_equal(model.predict(table), wanted.predict(X))
        np.testing.assert_allclose(
            model.decision_function(table), wanted.decision_function(X), rtol=1e-9, atol=1e-9
        )
    assert set(wanted.predict(X)) <= {"ant", "bee", "cow"}


def test_sequences_in_cells(global_seed):
    X, y = data("two classes", global_seed)
    rng = np.random.default_rng(global_seed)
    lengths = rng.integers(3, 7, size=N)
    shift = (y == "bee") * 2.0
    X["mov"] = [rng.normal(size=(k, 2)) + s for k, s in zip(lengths, shift, strict=True)]
    X.loc[[2, 5], "mov"] = None
    series = GlobalAlignment(sigma=2.0)
    model = MKLClassifier([*KERNELS, ("mov", series, "mov")], weighting="uniform").fit(X, y)
    whole = model.decision_function(X)
    for rows in ([0], [2], [2, 5], [5, 6]):  # also rows that all lack the sequence
        found = model.decision_function(X.iloc[rows])
        np.testing.assert_allclose(found, whole[rows], rtol=1e-9, atol=1e-10)
    assert (model.predict(X) == y).mean() > 0.7


def test_given_grams(global_seed):
    X, y = data("two classes", global_seed, 90)
    Ks = grams(X)
    train, test = np.arange(N), np.arange(N, 90)
    options = {"weighting": [1, 2, 1], **EXACT}
    wanted = MKLClassifier(KERNELS, **options).fit(X[:N], y[:N])
    rows = pd.DataFrame({f"{name}__row": np.arange(90) for name, *_ in KERNELS})
    triples = [(f"k{m}", Precomputed(K), KERNELS[m][0]) for m, K in enumerate(Ks)]
    by_row = MKLClassifier(triples, **options).fit(rows.iloc[train], y[:N])
    columns = {name: list(range(m * N, (m + 1) * N)) for m, (name, *_) in enumerate(KERNELS)}
    raw = MKLClassifier(modalities=columns, kernel=Precomputed(), **options)
    raw.fit(np.hstack([K[:N, :N] for K in Ks]), y[:N])
    functions = [
        ("near", lambda A, B: np.exp(-((A[:, None] - B) ** 2).sum(axis=2)), "audio"),
        ("line", FunctionKernel(lambda A, B: A @ B.T), "video"),
        ("words", RBF(0.3), "text"),
    ]
    by_function = MKLClassifier(functions, **options).fit(X[:N], y[:N])
    expected = wanted.decision_function(X[N:])
    for found in (
        by_row.decision_function(rows.iloc[test]),
        raw.decision_function(np.hstack([K[N:, :N] for K in Ks])),
        by_function.decision_function(X[N:]),
    ):
        close(found, expected)


def test_a_gram_matrix_whose_columns_are_features_too(global_seed):
    X, y = data("two classes", global_seed, 90)
    G = grams(X)[0]
    K = G[:N, :N]
    model = MKLClassifier(Precomputed() + Linear(), {"g": slice(0, N)}, normalize=None, **EXACT)
    model.fit(K, y[:N])
    machine = SVC(kernel="precomputed", tol=1e-8).fit(K + K @ K, y[:N])
    close(
        model.decision_function(G[N:, :N]),
        machine.decision_function(G[N:, :N] + G[N:, :N] @ K),
    )


# Threads, memory, types ---------------------------------------------------------------------


@all_models
def test_bitwise_equal_for_any_number_of_threads(name, global_seed):
    X, y = data(name, global_seed, 300)
    one, two = (clone(MODELS[name]).set_params(n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.kernel_weights_, two.kernel_weights_)
    np.testing.assert_array_equal(one.dual_coef_, two.dual_coef_)
    np.testing.assert_array_equal(decide(one, X), decide(two, X))


@all_models
def test_float32_kernels(name, global_seed):
    X, y = data(name, global_seed)
    model = clone(MODELS[name]).set_params(weighting=[1, 2, 1], tol=1e-6).fit(X, y)
    wanted = model.modality_contributions(X).decision
    found = model.set_params(dtype="float32").fit(X, y).modality_contributions(X).decision
    np.testing.assert_allclose(found, wanted, atol=2e-3 if name != "ridge" else 1e-4)


def test_a_budget_that_keeps_no_kernel_gives_the_same_weights(global_seed):
    X, y = data("shared", global_seed, 200)
    roomy = MKLClassifier(KERNELS, memory_budget="100MB", tol=1e-6).fit(X, y)
    tight = MKLClassifier(KERNELS, memory_budget="450KB", tol=1e-6).fit(X, y)
    assert tight.objective_ == pytest.approx(roomy.objective_, rel=2e-6)
    np.testing.assert_allclose(tight.kernel_weights_, roomy.kernel_weights_, atol=5e-3)
    np.testing.assert_allclose(tight.decision_function(X), roomy.decision_function(X), atol=1e-2)


def test_a_budget_that_is_too_small_is_refused_before_anything_is_made(monkeypatch):
    X, y = data("shared", 0, 1000)

    def never(*args, **kwargs):
        raise AssertionError("a kernel was made")

    monkeypatch.setattr("mkfusion.mkl._view.KernelStore", never)
    monkeypatch.setattr("mkfusion.mkl._view.combine", never)
    for weighting in ("accuracy", "easy", "product"):  # these need a whole matrix
        model = MKLClassifier(KERNELS, memory_budget="3 MB", weighting=weighting)
        with pytest.raises(MemoryError, match=r"of 1000 samples needs 4\.0 MB, and 3\.0 MB"):
            model.fit(X, y)
        model.set_params(dtype="float64")
        with pytest.raises(MemoryError, match=r"needs 8\.0 MB, .* use dtype='float32'"):
            model.fit(X, y)


@pytest.mark.parametrize("options", [{}, {"weighting": "uniform"}, {"norm": 2}, CENTRED])
def test_where_the_combined_kernel_has_no_room_its_rows_are_asked_for(options, global_seed):
    X, y = data("shared", global_seed, 120)
    whole = MKLClassifier(KERNELS, tol=1e-4, **options).fit(X, y)
    rows = MKLClassifier(KERNELS, tol=1e-4, memory_budget=4e4, **options).fit(X, y)
    assert rows.duality_gap_ <= 1e-4 * rows.objective_
    assert rows.objective_ == pytest.approx(whole.objective_, rel=2e-4)
    np.testing.assert_allclose(rows.kernel_weights_, whole.kernel_weights_, atol=0.02)
    np.testing.assert_allclose(rows.decision_function(X), whole.decision_function(X), atol=0.05)


def test_progress_is_shown_when_asked_for(capfd):
    X, y = data("shared", 0)
    MKLClassifier(KERNELS).fit(X, y)
    assert capfd.readouterr().err == ""
    MKLClassifier(KERNELS, verbose=2).fit(X, y)
    assert "MKLClassifier" in capfd.readouterr().err
