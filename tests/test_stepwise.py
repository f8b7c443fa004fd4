"""Transformers of tables, applied to the steps of sequences."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks

from mkfusion.datasets import load_watch
from mkfusion.graphical import StepwiseTransformer, as_sequence_frame
from mkfusion.graphical._streams import SequenceMixin

pytestmark = pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")


class MomentClassifier(ClassifierMixin, SequenceMixin, BaseEstimator):
    """The class whose mean of moments is nearest."""

    def __init__(self, modalities=None, remainder="drop", allow_overlap=False):
        self.modalities = modalities
        self.remainder = remainder
        self.allow_overlap = allow_overlap

    def _moments(self, sequences):
        moments = []
        for own in sequences.values():
            counts = np.diff(own.offsets)[:, None]
            for values in (own.values, own.values**2):
                moments.append(np.add.reduceat(values, own.offsets[:-1]) / counts)
        return np.hstack(moments)

    def fit(self, X, y):
        moments = self._moments(self._read_fit_sequences(X))
        self.classes_ = np.unique(y)
        self.means_ = np.array([moments[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, X):
        moments = self._moments(self._read_sequences(X))
        apart = ((moments[:, None] - self.means_) ** 2).sum(axis=2)
        return self.classes_[apart.argmin(axis=1)]


@pytest.fixture
def cells(global_seed):
    rng = np.random.default_rng(global_seed)
    made = {
        "a": [rng.normal(3, 2, size=(T, 3)) for T in (4, 1, 6)],
        "b": [rng.normal(size=(T, 2)) for T in (2, 5, 3)],
    }
    return as_sequence_frame(made).set_axis(["p", "q", "r"])


@pytest.fixture(scope="module")
def watch():
    data = load_watch()
    X = data.data.map(lambda cell: cell[::5])
    return X, data.target.to_numpy(), data.groups.to_numpy()


def assert_cells(found, expected):
    assert found.dtype == object
    for one, other in zip(found, expected, strict=True):
        if other is None:
            assert one is None
        else:
            np.testing.assert_allclose(one, other, rtol=1e-12)


@parametrize_with_checks(
    [StepwiseTransformer(StandardScaler()), StepwiseTransformer(PolynomialFeatures(2))]
)
def test_check(estimator, check):
    check(estimator)


# What is computed -----------------------------------------------------------------------------


def test_equals_the_transformer_on_stacked_steps(cells):
    fitted = StepwiseTransformer(StandardScaler())
    Z = fitted.fit_transform(cells)
    assert list(Z.columns) == ["a", "b"]
    assert Z.index.equals(cells.index)
    for name in ("a", "b"):
        stacked = StandardScaler().fit(np.concatenate(list(cells[name])))
        assert_cells(Z[name], [stacked.transform(cell) for cell in cells[name]])
        assert_cells(fitted.transform(cells)[name], Z[name])
        np.testing.assert_allclose(fitted.named_transformers_[name].mean_, stacked.mean_)
    one = fitted.transform(cells.iloc[[1]])
    assert_cells(one["a"], [Z["a"].loc["q"]])


def test_absent_cells_and_steps_are_left_out_and_absent_again(cells):
    cells.at["q", "a"] = None
    cells["b"].loc["r"][1] = np.nan
    there = np.concatenate([cells["a"].loc["p"], cells["a"].loc["r"]])
    b = np.concatenate(list(cells["b"]))
    fitted = StepwiseTransformer(StandardScaler())
    Z = fitted.fit_transform(cells)
    scaler = StandardScaler().fit(there)
    assert_cells(Z["a"], [scaler.transform(cells["a"].loc["p"]), None,
                          scaler.transform(cells["a"].loc["r"])])  # fmt: skip
    scaler = StandardScaler().fit(b[~np.isnan(b).any(axis=1)])
    assert_cells(Z["b"], [scaler.transform(cell) for cell in cells["b"]])
    assert np.isnan(Z["b"].loc["r"][1]).all()
    nothing = fitted.transform(cells.loc[["q"]])
    assert nothing["a"].tolist() == [None]
    assert nothing["b"].loc["q"].shape == (5, 2)


def test_other_holes_are_the_transformer_s_business(cells):
    cells["a"].loc["p"][2, 1] = np.nan
    Z = StepwiseTransformer(SimpleImputer()).fit_transform(cells)
    a = np.concatenate(list(cells["a"]))
    assert Z["a"].loc["p"][2, 1] == pytest.approx(np.nanmean(a[:, 1]))
    with pytest.raises(ValueError, match="NaN") as caught:
        StepwiseTransformer(PCA(1)).fit(cells)
    assert any("'a'" in note for note in caught.value.__notes__)


def test_transformers_by_modality(cells):
    step = StepwiseTransformer(StandardScaler(), transformers=[("a", PCA(2))])
    Z = step.fit_transform(cells)
    assert Z["a"].loc["p"].shape == (4, 2)
    assert isinstance(step.named_transformers_["b"], StandardScaler)
    for own in ("passthrough", "drop"):
        Z = step.set_params(transformers=[("a", own)]).fit_transform(cells)
        assert list(Z) == (["a", "b"] if own == "passthrough" else ["b"])
    assert_cells(StepwiseTransformer().fit_transform(cells)["a"], cells["a"])
    with pytest.raises(ValueError, match="transformers names 'c', which is no modality"):
        StepwiseTransformer(transformers=[("c", PCA())]).fit(cells)
    with pytest.raises(ValueError, match="no modality is left"):
        StepwiseTransformer(transformers=[("a", "drop"), ("b", "drop")]).fit(cells)


def test_number_columns_beside_cells(cells):
    X = cells.assign(c__u=[1.0, 2.0, 6.0], c__v=[0.0, np.nan, 1.0])
    X.loc["q", "c__u"] = np.nan
    step = StepwiseTransformer(StandardScaler())
    Z = step.fit_transform(X)
    assert list(Z.columns) == ["a", "b", "c__u", "c__v"] == list(step.get_feature_names_out())
    np.testing.assert_allclose(Z["c__u"], [-1, np.nan, 1])
    alone = StepwiseTransformer(StandardScaler()).fit_transform(X[["c__u", "c__v"]])
    np.testing.assert_allclose(alone, Z[["c__u", "c__v"]].to_numpy())


def test_number_columns_are_transformed_as_they_are(global_seed):
    X = np.random.default_rng(global_seed).normal(size=(20, 5))
    modalities = {"a": [0, 1], "b": slice(2, 5)}
    step = StepwiseTransformer(PCA(2), modalities).fit(X)
    expected = np.hstack([PCA(2).fit_transform(X[:, :2]), PCA(2).fit_transform(X[:, 2:])])
    np.testing.assert_allclose(step.transform(X), expected)
    assert list(step.get_feature_names_out()) == ["a__pca0", "a__pca1", "b__pca0", "b__pca1"]
    documents = pd.DataFrame({"words": ["to be", "or not to be"]})
    counted = StepwiseTransformer(CountVectorizer(), {"w": "words"}).fit(documents)
    np.testing.assert_array_equal(
        counted.transform(documents).toarray(), [[1, 0, 0, 1], [1, 1, 1, 1]]
    )


def test_symbols():
    X = as_sequence_frame({"w": [["u", "v"], ["v"], None], "x": [[1, 2], [3], [4]]})
    step = StepwiseTransformer(transformers=[("w", OneHotEncoder())])
    Z = step.fit_transform(X)
    assert_cells(Z["w"], [[[1, 0], [0, 1]], [[0, 1]], None])
    assert StepwiseTransformer().fit_transform(X)["w"].iloc[0].tolist() == [["u"], ["v"]]


def test_labels_and_weights_reach_the_steps(cells):
    y = np.array([0, 1, 0])
    step = StepwiseTransformer(LinearDiscriminantAnalysis()).fit(cells, y)
    stacked = np.concatenate(list(cells["a"]))
    direct = LinearDiscriminantAnalysis().fit(stacked, np.repeat(y, [4, 1, 6]))
    np.testing.assert_allclose(step.named_transformers_["a"].scalings_, direct.scalings_)
    holes = cells.map(np.copy)
    holes["a"].loc["p"][0] = np.nan
    step.fit(holes, y)
    direct.fit(stacked[1:], np.repeat(y, [3, 1, 6]))
    np.testing.assert_allclose(step.named_transformers_["a"].scalings_, direct.scalings_)
    weighted = StepwiseTransformer(StandardScaler()).fit(cells, sample_weight=[1.0, 2.0, 0.0])
    mean = np.average(stacked, axis=0, weights=np.repeat([1.0, 2.0, 0.0], [4, 1, 6]))
    np.testing.assert_allclose(weighted.named_transformers_["a"].mean_, mean)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        routed = StepwiseTransformer(scaler).fit(cells, sample_weight=[1.0, 2.0, 0.0])
        np.testing.assert_allclose(routed.named_transformers_["a"].mean_, mean)


@pytest.mark.parametrize("form", [list, lambda c: np.array([None, *c], object)[1:]])
def test_bare_cells(form, cells):
    X = form(list(cells["a"]))
    Z = StepwiseTransformer(StandardScaler()).fit_transform(X)
    expected = StandardScaler().fit_transform(np.concatenate(list(cells["a"])))
    assert_cells(Z["X"], np.split(expected, [4, 5]))
    cube = np.arange(24.0).reshape(2, 4, 3)
    assert_cells(StepwiseTransformer().fit_transform(cube)["X"], cube)


# As scikit-learn's users know it --------------------------------------------------------------


def test_names_out(cells):
    step = StepwiseTransformer(StandardScaler(), {"first": ["a"], "second": ["b"]}).fit(cells)
    assert list(step.get_feature_names_out()) == ["first", "second"]
    prefixed = cells.rename(columns={"a": "audio__raw"})
    found = StepwiseTransformer(StandardScaler()).fit(prefixed)
    assert list(found.get_feature_names_out()) == ["audio__raw", "b"]
    assert list(found.transform(prefixed).columns) == ["audio__raw", "b"]
    with pytest.raises(ValueError, match="feature_names_in_"):
        found.get_feature_names_out(["x", "y"])


@pytest.mark.parametrize("container", ["default", "pandas"])
def test_set_output(container, cells):
    step = StepwiseTransformer(StandardScaler()).set_output(transform=container)
    Z = step.fit_transform(cells)
    assert isinstance(Z, pd.DataFrame)
    assert Z.index.equals(cells.index)
    assert_cells(step.transform(cells)["b"], Z["b"])
    X = pd.DataFrame(np.eye(3), columns=["a__x", "a__y", "b__z"])
    assert isinstance(step.fit_transform(X), pd.DataFrame) == (container == "pandas")


def test_nested_parameters():
    step = StepwiseTransformer(
        StandardScaler(), transformers=[("audio", PCA(2)), ("text", "drop")]
    )
    assert step.get_params()["transformer__with_mean"] is True
    assert step.get_params()["audio__n_components"] == 2
    step.set_params(transformer__with_mean=False, audio__n_components=1)
    assert step.transformer.with_mean is False
    assert dict(step.transformers)["audio"].n_components == 1
    step.set_params(audio="drop")
    assert step.transformers[0] == ("audio", "drop")
    assert "PCA" in estimator_html_repr(step.set_params(audio=PCA()))


def test_clone_and_pickle(cells):
    step = StepwiseTransformer(PCA(1), {"a": ["a"], "b": ["b"]}).fit(cells)
    assert repr(clone(step)) == repr(step)
    assert not hasattr(clone(step), "named_transformers_")
    copied = pickle.loads(pickle.dumps(step))
    assert_cells(copied.transform(cells)["a"], step.transform(cells)["a"])
    assert "PCA" in estimator_html_repr(step)


@pytest.mark.parametrize("n_jobs", [2])
def test_jobs_change_nothing(n_jobs, cells):
    one = StepwiseTransformer(PCA(1)).fit_transform(cells)
    many = StepwiseTransformer(PCA(1), n_jobs=n_jobs).fit_transform(cells)
    for name in one:
        for left, right in zip(one[name], many[name], strict=True):
            assert np.abs(left - right).max() == 0.0


def test_inputs_stay_as_they_were(cells):
    before = [cell.copy() for cell in cells["a"]]
    for X in (cells, cells.iloc[:1], cells[["a"]].iloc[:1]):
        step = StepwiseTransformer(StandardScaler(copy=False)).fit(X)
        Z = step.transform(X)
        Z["a"].iloc[0][:] = 0.0
        assert_cells(cells["a"], before)
    passed = StepwiseTransformer().fit_transform(cells[["a"]].iloc[:1])
    passed["a"].iloc[0][:] = 0.0
    assert_cells(cells["a"], before)
    for cell in cells["a"]:
        cell.flags.writeable = False
    StepwiseTransformer(StandardScaler(copy=False)).fit(cells).transform(cells.iloc[:1])


def test_pipeline_and_search_over_nested_parameters(watch):
    X, y, groups = watch
    pipe = make_pipeline(StepwiseTransformer(StandardScaler()), MomentClassifier())
    grid = {
        "stepwisetransformer__transformer__with_mean": [True, False],
        "stepwisetransformer__transformers": [None, [("gyroscope", "drop")]],
    }
    search = GridSearchCV(pipe, grid, cv=GroupKFold(5)).fit(X, y, groups=groups)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        loop = []
        for train, test in GroupKFold(5).split(X, y, groups):
            own = clone(pipe).set_params(**params).fit(X.iloc[train], y[train])
            loop.append((own.predict(X.iloc[test]) == y[test]).mean())
        assert score == pytest.approx(np.mean(loop), rel=1e-12)
    assert search.best_score_ > 0.4  # chance is 1 in 7
    pairs = make_pipeline(
        StepwiseTransformer(transformers=[("accelerometer", StandardScaler())]),
        MomentClassifier(),
    )
    nested = GridSearchCV(
        pairs, {"stepwisetransformer__accelerometer__with_mean": [True, False]}, cv=GroupKFold(3)
    ).fit(X, y, groups=groups)
    assert np.isfinite(nested.cv_results_["mean_test_score"]).all()


def test_sequence_estimators_under_scikit_learn_s_tools(watch):
    X, y, groups = watch
    classifier = MomentClassifier({"accelerometer": [0], "gyroscope": [1]})
    frame = cross_val_predict(classifier, X, y, groups=groups, cv=GroupKFold(5))
    for train, test in GroupKFold(5).split(X, y, groups):
        own = clone(classifier).fit(X.iloc[train], y[train])
        np.testing.assert_array_equal(own.predict(X.iloc[test]), frame[test])
    array = cross_val_predict(classifier, X.to_numpy(), y, groups=groups, cv=GroupKFold(5))
    np.testing.assert_array_equal(array, frame)
    bare = list(X["accelerometer"])
    listed = cross_val_score(MomentClassifier(), bare, y, groups=groups, cv=GroupKFold(5))
    alone = cross_val_score(
        MomentClassifier({"X": [0]}), X[["accelerometer"]], y, groups=groups, cv=GroupKFold(5)
    )
    np.testing.assert_array_equal(listed, alone)
    Z, _, _, _ = train_test_split(X, y, stratify=y, random_state=0)
    assert Z["gyroscope"].iloc[0].shape[1] == 3


def test_bagging_hands_over_an_object_array(watch):
    X, y, _ = watch
    classifier = MomentClassifier({"accelerometer": [0], "gyroscope": [1]})
    with warnings.catch_warnings(action="error"):
        bagged = BaggingClassifier(classifier, n_estimators=3, random_state=0).fit(X, y)
        assert (bagged.predict(X) == y).mean() > 0.4
    step = make_pipeline(
        StepwiseTransformer(StandardScaler(), {"accelerometer": [0], "gyroscope": [1]}),
        MomentClassifier(),
    )
    assert BaggingClassifier(step, n_estimators=2, random_state=0).fit(X, y).score(X, y) > 0.4


# Refusals -------------------------------------------------------------------------------------


class Halver(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[::2]


def test_what_is_refused(cells):
    with pytest.raises(ValueError, match=r"'a': the transformer made \(6, 3\) of 11 rows"):
        StepwiseTransformer(Halver()).fit(cells)
    step = StepwiseTransformer(StandardScaler()).fit(cells)
    narrow = cells.assign(a=cells["a"].map(lambda cell: cell[:, :2]))
    with pytest.raises(ValueError, match="'a': row 'p' has 2 features at each step, at fit"):
        step.transform(narrow)
    numbers = StepwiseTransformer().fit(np.eye(3))
    with pytest.raises(ValueError, match=r"features"):
        numbers.transform(list(cells["a"]))
    column = StepwiseTransformer().fit(np.ones((3, 1)))
    with pytest.raises(ValueError, match="'X' held single values at fit and holds sequences"):
        column.transform(list(cells["a"]))
    with pytest.raises(ValueError, match="length 0"):
        StepwiseTransformer().fit([np.ones((0, 2)), np.ones((2, 2))])
    with pytest.warns(UserWarning, match="modality 'b' is missing for every sample"):
        left = StepwiseTransformer().fit(cells.assign(b=None))
    assert list(left.get_feature_names_out()) == ["a"]


def test_a_transformer_without_names(cells):
    step = StepwiseTransformer(
        transformers=[("b", FunctionTransformer(np.abs))], modalities={"a": ["a"], "b": ["b__u"]}
    )
    X = cells[["a"]].assign(b__u=[1.0, -2.0, 3.0])
    Z = step.fit_transform(X)
    assert list(Z.columns) == ["a", "b__0"]
    assert Z["b__0"].tolist() == [1.0, 2.0, 3.0]
