"""Early fusion: identities with kernels on blocks, scaling, absence, names, the interface."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion import EarlyFusionClassifier, EarlyFusionRegressor, ModalityConcatenator

MODALITIES = {"audio": slice(0, 3), "video": slice(3, 5), "text": slice(5, 9)}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    return rng.normal(size=(90, 9)) + y[:, None], y


@pytest.fixture
def frame(table):
    X, y = table
    names = [f"{m}__{j}" for m, cut in MODALITIES.items() for j in range(cut.stop - cut.start)]
    return pd.DataFrame(X, columns=names), y


# Identities ---------------------------------------------------------------------------------


def weighted_blocks(X, weights):
    return [w * X[:, cut] for w, cut in zip(weights, MODALITIES.values(), strict=True)]


def test_linear_svc_is_svc_on_the_sum_of_block_grams(table):
    X, y = table
    weights = [0.3, 2.0, 1.1]
    early = EarlyFusionClassifier(SVC(kernel="linear"), MODALITIES, weights=weights).fit(X, y)
    gram = sum(block @ block.T for block in weighted_blocks(X, weights))
    other = SVC(kernel="precomputed").fit(gram, y)
    assert_allclose(early.decision_function(X), other.decision_function(gram), atol=1e-10)


def test_rbf_svc_is_svc_on_the_product_of_block_rbfs(table):
    X, y = table
    weights = [0.3, 2.0, 1.1]
    early = EarlyFusionClassifier(SVC(gamma=0.1), MODALITIES, weights=weights).fit(X, y)
    gram = np.prod([rbf_kernel(block, gamma=0.1) for block in weighted_blocks(X, weights)], axis=0)
    other = SVC(kernel="precomputed").fit(gram, y)
    assert_allclose(early.decision_function(X), other.decision_function(gram), atol=1e-10)


@given(seed=st.integers(0, 10_000))
def test_permuted_columns_leave_predictions_as_they_are(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(40, 9)), rng.integers(2, size=40)
    order = rng.permutation(9)
    moved = {
        m: [int(np.flatnonzero(order == j)[0]) for j in range(9)[cut]]
        for m, cut in MODALITIES.items()
    }
    model = KNeighborsClassifier()
    one = EarlyFusionClassifier(model, MODALITIES, scaling="frobenius").fit(X, y)
    other = EarlyFusionClassifier(model, moved, scaling="frobenius").fit(X[:, order], y)
    assert_array_equal(one.predict_proba(X), other.predict_proba(X[:, order]))


@pytest.mark.parametrize("scaling", [None, "sqrt_dim", "frobenius", "spectral"])
def test_weight_zero_removes_a_block(scaling, table):
    X, y = table
    given = {"scaling": scaling, "estimator": SVC()}
    one = EarlyFusionClassifier(modalities=MODALITIES, weights=[1, 0, 2], **given).fit(X, y)
    kept = {name: MODALITIES[name] for name in ("audio", "text")}
    with pytest.warns(
        UserWarning, match="columns 3, 4 of X belong to no modality and are not used"
    ):
        other = EarlyFusionClassifier(modalities=kept, weights=[1, 2], **given).fit(X, y)
    assert_array_equal(one.decision_function(X), other.decision_function(X))


def test_weight_zero_removes_a_block_that_is_missing(frame):
    X, y = frame
    X.iloc[:9, 3:5] = np.nan
    fusion = EarlyFusionClassifier(weights={"audio": 1, "video": 0, "text": 1}).fit(X, y)
    assert list(fusion.concatenator_.output_slices_) == ["audio", "text"]


# Scaling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scaling", "norm"),
    [
        (None, lambda B: 1.0),
        ("sqrt_dim", lambda B: np.sqrt(B.shape[1])),
        ("frobenius", np.linalg.norm),
        ("spectral", lambda B: np.linalg.svd(B)[1][0]),
    ],
)
@pytest.mark.parametrize("shape", [(50, 9), (5, 9)])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_blocks_are_divided_by_their_scale(scaling, norm, shape, form):
    X = np.random.default_rng(0).normal(size=shape)
    Z = ModalityConcatenator(modalities=MODALITIES, scaling=scaling).fit_transform(form(X))
    expected = np.hstack([X[:, cut] / norm(X[:, cut]) for cut in MODALITIES.values()])
    assert_allclose(Z.toarray() if sparse.issparse(Z) else Z, expected, rtol=1e-10)


@pytest.mark.parametrize("scaling", ["frobenius", "spectral"])
@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e308])
def test_scales_survive_extremes(scaling, size):
    X = np.random.default_rng(0).uniform(0.1, 1, size=(20, 4))
    modalities = {"a": [0, 1], "b": [2, 3]}
    joined = ModalityConcatenator(modalities=modalities, scaling=scaling)
    plain = joined.fit_transform(X)
    extreme = joined.fit_transform(X * np.array([size, size, 1, 1]))
    assert_allclose(extreme, plain, rtol=1e-2 if size < 1e-300 else 1e-10)


@pytest.mark.parametrize("scaling", ["frobenius", "spectral"])
def test_block_of_zeros_stays_zero(scaling, table):
    X, _ = table
    X[:, :3] = 0
    Z = ModalityConcatenator(modalities=MODALITIES, scaling=scaling).fit_transform(X)
    assert_array_equal(Z[:, :3], 0)


@pytest.mark.parametrize("scaling", ["frobenius", "spectral"])
def test_scale_counts_weights_as_repeated_rows(scaling, table):
    X, _ = table
    weight = np.random.default_rng(0).integers(0, 4, size=len(X))
    joined = ModalityConcatenator(modalities=MODALITIES, scaling=scaling)
    weighted = joined.fit(X, sample_weight=weight).scales_
    repeated = joined.fit(np.repeat(X, weight, axis=0)).scales_
    assert weighted == pytest.approx(repeated, rel=1e-12)


def test_infinity_has_no_scale(table):
    X, _ = table
    X[0, 0] = np.inf
    with pytest.raises(ValueError, match="needs finite values") as caught:
        ModalityConcatenator(modalities=MODALITIES, scaling="frobenius").fit(X)
    assert "audio" in caught.value.__notes__[0]


# Transformers -------------------------------------------------------------------------------


def test_transformers_by_modality(frame):
    X, _ = frame
    joined = ModalityConcatenator(
        [("text", PCA(2)), ("video", "drop")], transformer=StandardScaler()
    )
    Z = joined.fit_transform(X)
    expected = [StandardScaler().fit_transform(X.iloc[:, :3]), PCA(2).fit_transform(X.iloc[:, 5:])]
    assert_allclose(Z, np.hstack(expected))
    assert_allclose(joined.transform(X), Z, atol=1e-12)
    assert list(joined.get_feature_names_out()) == [
        *("audio__0", "audio__1", "audio__2"),
        *("text__pca0", "text__pca1"),
    ]
    assert joined.output_slices_ == {"audio": slice(0, 3), "text": slice(3, 5)}


def test_training_rows_are_those_of_fit_transform():
    """TargetEncoder cross-fits its training rows; the model must see those."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a__c": rng.integers(20, size=80).astype(str), "b__x": rng.normal(size=80)})
    y = rng.integers(2, size=80)
    encoder = TargetEncoder(cv=4, random_state=0, shuffle=True)
    fusion = EarlyFusionClassifier(LogisticRegression(), transformers=[("a", encoder)]).fit(X, y)
    crossed = np.hstack([clone(encoder).fit_transform(X[["a__c"]], y), X[["b__x"]]])
    assert_allclose(fusion.estimator_.coef_, LogisticRegression().fit(crossed, y).coef_)


def test_words_beside_categories_beside_numbers():
    rng = np.random.default_rng(0)
    y = rng.choice(["good", "poor"], size=60)
    X = pd.DataFrame(
        {"review": [f"a {label} film" for label in y], "genre": rng.choice([*"ab"], 60), "n": 1.0}
    )
    fusion = EarlyFusionClassifier(
        LogisticRegression(),
        {
            "words": "review",
            "kind": ["genre"],
            "numbers": make_column_selector(dtype_include=float),
        },
        transformers=[("words", TfidfVectorizer()), ("kind", OneHotEncoder())],
    ).fit(X, y)
    assert fusion.score(X, y) == 1
    assert sparse.issparse(fusion.concatenator_.transform(X))
    assert list(fusion.concatenator_.get_feature_names_out()) == [
        *("words__film", "words__good", "words__poor", "kind__genre_a", "kind__genre_b"),
        "numbers__n",
    ]


def test_text_without_transformer_is_refused_by_name():
    X = pd.DataFrame({"words__a": ["x", "y"], "n__b": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"modality 'words' holds what is not a number.*Tfidf"):
        EarlyFusionClassifier().set_params(transformer="passthrough").fit(X, [0, 1])


def test_sparse_and_dense_agree(table):
    X, y = table
    dense = EarlyFusionClassifier(LogisticRegression(), MODALITIES).fit(X, y).predict_proba(X)
    for form in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        S = form(X)
        other = EarlyFusionClassifier(LogisticRegression(), MODALITIES).fit(S, y).predict_proba(S)
        assert_allclose(other, dense, atol=1e-4)


def test_dtype_is_kept(table):
    X, _ = table
    Z = ModalityConcatenator(modalities=MODALITIES).fit_transform(X.astype(np.float32))
    assert Z.dtype == np.float32


# Absence ------------------------------------------------------------------------------------


def test_transformers_see_present_rows_only_and_absent_ones_become_nan(frame):
    X, _ = frame
    X.iloc[:30, :3] = np.nan
    joined = ModalityConcatenator([("audio", PCA(2))])
    Z = joined.fit_transform(X)
    assert np.isnan(Z[:30, :2]).all()
    assert_allclose(Z[30:, :2], PCA(2).fit_transform(X.iloc[30:, :3]))
    assert_array_equal(np.isnan(joined.transform(X)), np.isnan(Z))


def test_absent_modality_passes_to_a_model_that_takes_nan(frame):
    X, y = frame
    X.iloc[:30, :3] = np.nan
    fusion = EarlyFusionClassifier(HistGradientBoostingClassifier(max_iter=5)).fit(X, y)
    assert fusion.predict(X).shape == y.shape
    imputed = make_pipeline(SimpleImputer(), LogisticRegression())
    assert EarlyFusionClassifier(imputed).fit(X, y).score(X, y) > 0.5


def test_absent_modality_is_refused_with_what_to_do(frame):
    X, y = frame
    missing = X.copy()
    missing.iloc[:30, :3] = np.nan
    message = (
        "modalities 'audio' are missing for some samples, and LogisticRegression did not take "
        ".*HistGradientBoosting.*SimpleImputer.*late fusion"
    )
    with pytest.raises(ValueError, match=f"(?s){message}"):
        EarlyFusionClassifier().fit(missing, y)
    fusion = EarlyFusionClassifier().fit(X, y)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        fusion.predict(missing)


def test_error_that_is_not_of_absence_comes_as_it_is(frame):
    X, y = frame
    X.iloc[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        EarlyFusionClassifier().fit(X, y)


def test_absence_in_a_sparse_block_is_refused():
    X = pd.DataFrame({"words": ["a film", None, "the film"], "n": [1.0, 2.0, 3.0]})
    joined = ModalityConcatenator([("words", TfidfVectorizer())], {"words": "words", "n": ["n"]})
    with pytest.raises(ValueError, match="'words' is sparse and missing for 1 of 3 samples"):
        joined.fit(X)


def test_modality_that_no_sample_has_is_left_out(frame):
    X, y = frame
    X.iloc[:, :3] = np.nan
    with pytest.warns(UserWarning, match="modality 'audio' is missing for every sample"):
        fusion = EarlyFusionClassifier().fit(X, y)
    assert fusion.predict(X).shape == y.shape
    everything = pytest.warns(UserWarning, match="is missing for every sample")
    with everything, pytest.raises(ValueError, match="no modality is left"):
        EarlyFusionClassifier().fit(X * np.nan, y)


# scikit-learn's ways ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:nothing is fused")
@parametrize_with_checks(
    [
        EarlyFusionClassifier(HistGradientBoostingClassifier(max_iter=5)),
        EarlyFusionClassifier(GaussianNB(), scaling="frobenius"),
        EarlyFusionRegressor(LinearRegression(), scaling="spectral"),
        ModalityConcatenator(scaling="frobenius", transformer=StandardScaler()),
    ]
)
def test_other_models_keep_the_contract(estimator, check):
    check(estimator)


def test_kinds_are_known():
    assert is_classifier(EarlyFusionClassifier())
    assert is_regressor(EarlyFusionRegressor())


def test_default_standardises_each_modality_and_then_scales(frame):
    X, y = frame
    fusion = EarlyFusionClassifier(weights=[1, 2, 3]).fit(X, y)
    expected = StandardScaler().fit_transform(X) * [1, 1, 1, 2, 2, 3, 3, 3, 3]
    assert_allclose(fusion.concatenator_.transform(X), expected)
    plain = EarlyFusionClassifier(LogisticRegression()).fit(X, y)
    assert_array_equal(plain.concatenator_.transform(X), X)


def test_methods_are_those_of_the_model(frame):
    X, y = frame
    assert not hasattr(EarlyFusionClassifier(SVC()), "predict_proba")
    assert hasattr(EarlyFusionClassifier(SVC()), "decision_function")
    assert not hasattr(EarlyFusionClassifier(GaussianNB()).fit(X, y), "decision_function")
    fusion = EarlyFusionClassifier().fit(X, y)
    assert_allclose(np.exp(fusion.predict_log_proba(X)), fusion.predict_proba(X))


def test_grid_search_over_everything(frame):
    X, y = frame
    search = GridSearchCV(
        Pipeline(
            [
                ("scale", StandardScaler().set_output(transform="pandas")),
                ("fuse", EarlyFusionClassifier(SVC(), transformers=[("text", PCA())])),
            ]
        ),
        {
            "fuse__estimator__C": [0.1, 1],
            "fuse__text__n_components": [1, 3],
            "fuse__scaling": [None, "frobenius"],
            "fuse__modalities": [None, {"audio": slice(0, 4), "text": slice(4, 9)}],
        },
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 16
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 1


def test_copies_and_names(frame):
    X, y = frame
    fusion = EarlyFusionClassifier(SVC(), scaling="sqrt_dim").fit(X, y)
    again = pickle.loads(pickle.dumps(fusion))
    assert_array_equal(again.decision_function(X), fusion.decision_function(X))
    assert list(fusion.feature_names_in_) == list(X.columns)
    assert fusion.n_features_in_ == 9
    assert list(fusion.modalities_) == list(MODALITIES)
    with pytest.raises(ValueError, match="modality 'video' lacks the columns 'video__0'"):
        fusion.predict(X.drop(columns="video__0"))


def test_pandas_output(frame):
    X, _ = frame
    with sklearn.config_context(transform_output="pandas"):
        Z = ModalityConcatenator([("text", PCA(1))]).fit_transform(X)
    assert list(Z.columns[-2:]) == ["video__1", "text__pca0"]
    assert Z.index.equals(X.index)


def test_whole_weights_are_repeated_rows(frame):
    X, y = frame
    weight = np.random.default_rng(0).integers(0, 4, size=len(y))
    again = np.repeat(np.arange(len(y)), weight)
    given = {"estimator": Ridge(), "transformer": StandardScaler(), "scaling": "frobenius"}
    weighted = EarlyFusionRegressor(**given).fit(X, y, weight).predict(X)
    repeated = EarlyFusionRegressor(**given).fit(X.iloc[again], y[again]).predict(X)
    assert_allclose(weighted, repeated, rtol=1e-9)


def test_model_without_weights_refuses_them(frame):
    X, y = frame
    with pytest.raises(TypeError, match="KNeighborsClassifier takes no sample_weight"):
        EarlyFusionClassifier(KNeighborsClassifier()).fit(X, y, np.ones(len(y)))


def test_metadata_routing(frame):
    X, y = frame
    weight = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        fusion = EarlyFusionClassifier(
            GaussianNB().set_fit_request(sample_weight=True),
            transformer=StandardScaler().set_fit_request(sample_weight=False),
        ).fit(X, y, sample_weight=weight)
    Z = StandardScaler().fit_transform(X)
    assert_allclose(fusion.estimator_.theta_, GaussianNB().fit(Z, y, weight).theta_)


def test_several_outputs(frame):
    X, y = frame
    both = np.column_stack([y, -y]).astype(float)
    assert EarlyFusionRegressor().fit(X, both).predict(X).shape == both.shape


def test_regressor_that_takes_nan(frame):
    X, y = frame
    X.iloc[:30, :3] = np.nan
    model = HistGradientBoostingRegressor(max_iter=5)
    assert EarlyFusionRegressor(model).fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scaling": "max"}, "scaling must be one of None, 'sqrt_dim', 'frobenius', 'spectral'"),
        ({"weights": [1, 2]}, "weights must have length 3"),
        ({"weights": {"audio": 1}}, "weights must give one weight for each of"),
        ({"weights": [0, 0, 0]}, "no modality is left"),
        ({"transformers": [("smell", PCA())]}, "transformers names 'smell'"),
        ({"transformers": PCA()}, "transformers must be a list"),
    ],
)
def test_bad_argument_is_refused(given, message, frame):
    X, y = frame
    with pytest.raises(ValueError, match=message):
        EarlyFusionClassifier(**given).fit(X, y)


def test_labels_for_several_outputs_are_refused(frame):
    X, y = frame
    with pytest.raises(ValueError, match="multi-label targets are not supported"):
        EarlyFusionClassifier().fit(X, np.eye(3, dtype=int)[y])


@pytest.mark.parametrize("cls", [EarlyFusionClassifier, EarlyFusionRegressor])
def test_a_list_of_models_is_refused_by_name(cls):
    with pytest.raises(TypeError, match=r"estimator must be one model.*got a list.*transformers="):
        cls([("a", StandardScaler())]).fit(np.ones((4, 2)), [0, 1, 0, 1])


def test_what_a_model_says_of_nan_is_cut_to_its_first_line():
    X = np.arange(24.0).reshape(6, 4)
    X[0, :2] = np.nan
    modalities = {"a": [0, 1], "b": [2, 3]}
    with pytest.raises(ValueError, match="put SimpleImputer before the model") as caught:
        EarlyFusionClassifier(modalities=modalities).fit(X, [0, 1] * 3)
    assert "HistGradientBoostingClassifier and Regressor" not in str(caught.value)
