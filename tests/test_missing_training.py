"""Models that live without a modality: trained with losses, or one for each pattern."""

import numpy as np
import pandas as pd
import pytest
from oracles_missing import best_sub_pattern
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mkfusion import (
    LateFusionClassifier,
    ModalityDropout,
    ModalityDropoutClassifier,
    ModalityDropoutRegressor,
    ModalityImputer,
    SubsetFusionClassifier,
    SubsetFusionRegressor,
    modality_mask,
)
from mkfusion.datasets import (
    load_multiple_features,
    make_multimodal_classification,
    make_multimodal_regression,
    simulate_missing,
)

NAMES = ("audio", "video", "text")
THREE = {"audio": 4, "video": 5, "text": 4}


def drawn(seed, n_samples=200, **options):
    return make_multimodal_classification(
        n_samples, modalities=THREE, return_X_y=True, random_state=seed, **options
    )


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers what it was given."""

    def fit(self, X, y, sample_weight=None, mark=None):
        self.X_, self.y_, self.sample_weight_, self.mark_ = X, y, sample_weight, mark
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        self.asked_ = X
        return np.full(len(X), self.classes_[0])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


# Dropout: what is dropped


def test_dropout_is_identity_at_transform(global_seed):
    X, _ = drawn(global_seed, missing=0.2)
    dropout = ModalityDropout(0.9, random_state=0).fit(X)
    pd.testing.assert_frame_equal(dropout.transform(X), X)


def test_dropout_loses_whole_modalities_at_their_rates(global_seed):
    X, _ = drawn(global_seed, 4000)
    rates = {"audio": 0.2, "video": 0.5}
    Z = ModalityDropout(rates, random_state=global_seed).fit_transform(X)
    mask = modality_mask(Z)
    assert mask["text"].all()  # so that no sample would lose all
    for name, rate in rates.items():
        lost = (~mask[name]).sum()
        assert abs(lost - 4000 * rate) < 5 * np.sqrt(4000 * rate * (1 - rate))
    both = (~mask[["audio", "video"]]).all(axis=1).sum()  # independently of one another
    assert abs(both - 400) < 5 * np.sqrt(400 * 0.9)
    kept = Z.notna().to_numpy()
    assert Z.to_numpy()[kept].tobytes() == X.to_numpy()[kept].tobytes()
    assert (mask.to_numpy().repeat([4, 5, 4], axis=1) == kept).all()  # whole ones


def test_dropout_leaves_each_sample_one_of_those_it_has(global_seed):
    X, _ = drawn(global_seed, 3000)
    X.loc[X.index[:1500], X.columns[:4]] = np.nan
    mask = modality_mask(ModalityDropout(1.0, random_state=global_seed).fit_transform(X))
    assert (mask.sum(axis=1) == 1).all()
    assert not mask["audio"][:1500].any()
    # each that it has with equal chance
    for counts, chance in (
        (mask.iloc[:1500][["video", "text"]].sum(), 1 / 2),
        (mask.iloc[1500:].sum(), 1 / 3),
    ):
        bound = 5 * np.sqrt(1500 * chance * (1 - chance))
        assert (np.abs(counts - 1500 * chance) < bound).all()


def test_dropout_follows_the_seed():
    X, _ = drawn(0)
    one, two = (ModalityDropout(0.4, random_state=1).fit_transform(X) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    other = ModalityDropout(0.4, random_state=2).fit_transform(X)
    assert not one.isna().equals(other.isna())


def test_dropout_of_any_table():
    X = pd.DataFrame(
        {
            "audio__count": [1, 2, 3, 4],
            "audio__flag": [True, False, True, True],
            "text__words": ["a", "b", "c", "d"],
            "text__kind": pd.Categorical(["a", "b", "a", "b"]),
            "seen__number": pd.array([1, 2, 3, None], dtype="Int64"),
        },
        index=[7, 7, 8, 9],
    ).astype({"text__words": object})
    kept = X.copy()
    Z = ModalityDropout({"audio": 1, "text": 1}, random_state=0).fit_transform(X)
    pd.testing.assert_frame_equal(X, kept)
    # the last sample has no number that could be kept, and keeps one of the others
    assert Z[["audio__count", "text__words", "text__kind"]].isna().iloc[:3].all(axis=None)
    assert Z["audio__count"].isna().iloc[3] != Z["text__words"].isna().iloc[3]
    assert Z["text__words"].iloc[0] is None
    assert Z.index.equals(X.index)
    assert Z["seen__number"].equals(X["seen__number"])
    array = np.arange(8).reshape(4, 2)
    array.setflags(write=False)
    Z = ModalityDropout({"a": 1}, {"a": [0], "b": [1]}).fit_transform(array)
    np.testing.assert_array_equal(Z, [[np.nan, 1], [np.nan, 3], [np.nan, 5], [np.nan, 7]])


def test_dropout_in_a_pipeline_drops_in_training_only():
    X, y = drawn(1)
    recorder = Recorder()
    pipeline = make_pipeline(ModalityDropout(0.5, random_state=0), recorder).fit(X, y)
    assert 0 < modality_mask(recorder.X_).to_numpy().mean() < 0.8
    pipeline.predict(X)
    pd.testing.assert_frame_equal(recorder.asked_, X)
    search = GridSearchCV(
        make_pipeline(ModalityDropout(random_state=0), ModalityImputer(), LogisticRegression()),
        {"modalitydropout__rates": [0.0, 0.4]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).best_score_ > 0.5


# Dropout: the wrappers


@pytest.mark.parametrize("original", [True, False])
def test_wrapper_trains_on_copies(original):
    X, y = drawn(2, 50)
    weight = np.arange(50) + 1.0
    wrapper = ModalityDropoutClassifier(
        Recorder(), rates=0.5, n_copies=3, include_original=original, random_state=0
    ).fit(X, y, sample_weight=weight)
    seen, parts = wrapper.estimator_, 3 + original
    assert len(seen.X_) == 50 * parts
    np.testing.assert_array_equal(seen.y_, np.tile(y, parts))
    np.testing.assert_array_equal(seen.sample_weight_, np.tile(weight, parts))
    assert list(seen.X_.index) == list(X.index) * parts
    copies = [seen.X_.iloc[50 * k : 50 * (k + 1)] for k in range(parts)]
    if original:
        pd.testing.assert_frame_equal(copies.pop(0), X)
    patterns = [copy.isna().to_numpy() for copy in copies]
    assert all(pattern.any() for pattern in patterns)
    assert not (patterns[0] == patterns[1]).all()
    for copy, lost in zip(copies, patterns, strict=True):
        np.testing.assert_array_equal(copy.to_numpy()[~lost], X.to_numpy()[~lost])
    wrapper.predict(X)
    pd.testing.assert_frame_equal(seen.asked_, X)


def test_wrapper_without_losses_is_its_estimator():
    X, y = drawn(3)
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    wrapper = ModalityDropoutClassifier(clone(plain), rates=0, include_original=False).fit(X, y)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_allclose(getattr(wrapper, method)(X), getattr(plain, method)(X))
    assert wrapper.score(X, y) == plain.score(X, y)
    X, y = make_multimodal_regression(100, return_X_y=True, random_state=0)
    line = ModalityDropoutRegressor(LinearRegression(), rates=0, n_copies=2).fit(X, y)
    np.testing.assert_allclose(line.predict(X), LinearRegression().fit(X, y).predict(X))


def test_wrapper_has_the_methods_of_its_estimator():
    assert not hasattr(ModalityDropoutClassifier(LinearSVC()), "predict_proba")
    assert hasattr(ModalityDropoutClassifier(LinearSVC()), "decision_function")
    assert not hasattr(ModalityDropoutClassifier(KNeighborsClassifier()), "decision_function")


def test_wrapper_follows_the_seed(global_seed):
    X, y = drawn(global_seed)
    one, two = (ModalityDropoutClassifier(random_state=3).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    other = ModalityDropoutClassifier(random_state=4).fit(X, y)
    assert (one.predict_proba(X) != other.predict_proba(X)).any()


def test_wrapper_in_a_search_and_around_a_fusion():
    X, y = drawn(4, missing=0.2)
    search = GridSearchCV(
        ModalityDropoutClassifier(DecisionTreeClassifier(max_depth=2), random_state=0),
        {"rates": [0.0, 0.4, {"audio": 0.5}], "estimator__max_depth": [2, 3]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).score(X, y) > 0.5
    late = ModalityDropoutClassifier(LateFusionClassifier(), random_state=0)
    assert late.missing_modality == "skips"
    assert cross_val_score(late, X, y, cv=2, error_score="raise").mean() > 0.5


def test_metadata_reach_the_estimator_for_every_copy():
    X, y = drawn(5, 30)
    mark = np.arange(30)
    with config_context(enable_metadata_routing=True):
        inner = Recorder().set_fit_request(mark=True, sample_weight=True)
        wrapper = ModalityDropoutClassifier(inner, n_copies=2, random_state=0)
        seen = wrapper.fit(X, y, mark=mark, sample_weight=mark + 1.0).estimator_
    np.testing.assert_array_equal(seen.mark_, np.tile(mark, 3))
    np.testing.assert_array_equal(seen.sample_weight_, np.tile(mark + 1.0, 3))


def test_training_with_losses_pays_where_modalities_go_missing(global_seed):
    """Real digits, one model on all columns: the same test samples lack 40 % of all modalities."""
    X, y = load_multiple_features(return_X_y=True)
    X = X.filter(regex="^(zer|mor|kar)__")
    order = np.random.default_rng(global_seed).permutation(len(y))
    train, test = order[:400], order[400:]
    lossy = simulate_missing(X.iloc[test], 0.4, random_state=global_seed)
    trained = ModalityDropoutClassifier(n_copies=2, rates=0.4, random_state=global_seed)
    plain = trained._model()
    right = trained.fit(X.iloc[train], y.iloc[train]).predict(lossy) == y.iloc[test]
    other = plain.fit(X.iloc[train], y.iloc[train]).predict(lossy) == y.iloc[test]
    gained, spoilt = int((right & ~other).sum()), int((other & ~right).sum())
    assert (gained - spoilt) / np.sqrt(gained + spoilt) > 3  # McNemar's, one-sided p = .001


def test_training_with_losses_pays_for_numbers(global_seed):
    rng = np.random.default_rng(global_seed)
    y = rng.normal(size=600)
    X = pd.DataFrame({f"{name}__0": y + 0.3 * rng.normal(size=600) for name in NAMES})
    lossy = simulate_missing(X[300:], 0.5, random_state=global_seed)
    trained = ModalityDropoutRegressor(rates=0.5, n_copies=3, random_state=global_seed)
    plain = trained._model().fit(X[:300], y[:300])
    errors = (trained.fit(X[:300], y[:300]).predict(lossy) - y[300:]) ** 2
    worse = (plain.predict(lossy) - y[300:]) ** 2
    assert errors.mean() < 0.9 * worse.mean()


# Dropout: refusals


@pytest.mark.parametrize(
    "make", [ModalityDropout, ModalityDropoutClassifier, ModalityDropoutRegressor]
)
@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"smell": 0.3}, "rates names 'smell', which is no modality of X"),
        (1.5, "rates must lie between 0 and 1, got 1.5 for modality 'audio'"),
        (-0.1, "rates must lie between 0 and 1, got -0.1"),
        (np.nan, "rates must lie between 0 and 1, got nan"),
        ({"video": "often"}, "got 'often' for modality 'video'"),
        (True, "rates must lie between 0 and 1, got True"),
        (None, "rates must lie between 0 and 1, got None"),
    ],
)
def test_rates_out_of_range(make, rates, said):
    X, y = drawn(6, 20)
    with pytest.raises(ValueError, match=said):
        make(rates=rates).fit(X, y)


def test_what_else_is_refused():
    X, y = drawn(7, 30)
    for value in (0, 1.5, True):
        with pytest.raises(ValueError, match="n_copies must be a whole number of at least 1"):
            ModalityDropoutClassifier(n_copies=value).fit(X, y)
    with pytest.raises(ValueError, match="include_original must be True or False"):
        ModalityDropoutClassifier(include_original=None).fit(X, y)
    with pytest.raises(ValueError, match="estimator must be a classifier, got Ridge"):
        ModalityDropoutClassifier(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="estimator must be a regressor, got LogisticRegression"):
        ModalityDropoutRegressor(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match=r"'text' are dropped, and LogisticRegression did not"):
        ModalityDropoutClassifier(LogisticRegression(), rates={"text": 0.5}).fit(X, y)
    with pytest.raises(TypeError, match="KNeighborsClassifier takes no sample_weight"):
        ModalityDropoutClassifier(KNeighborsClassifier()).fit(X, y, sample_weight=np.ones(30))
    labels = y.astype(float)
    labels.iloc[3] = np.nan
    for estimator in (ModalityDropoutClassifier(), ModalityDropoutRegressor()):
        with pytest.raises(ValueError, match="contains NaN"):
            estimator.fit(X, labels)
    with pytest.raises(TypeError, match="dense data is required"):
        ModalityDropout(0, {"a": [0], "b": [1, 2]}).fit(sparse.csr_array(np.eye(3)))


# A model for each pattern


def test_each_pattern_is_answered_by_its_own_model(global_seed):
    X, y = drawn(global_seed, 300, missing=0.3)
    fusion = SubsetFusionClassifier().fit(X, y)
    there = modality_mask(X)
    answers = fusion.predict_proba(X)
    assert len(fusion.patterns_) == 7
    for pattern, rows in there.groupby(list(NAMES)).groups.items():
        own = [name for name, has in zip(NAMES, pattern, strict=True) if has]
        columns = [c for c in X.columns if c.split("__")[0] in own]
        having = there[own].all(axis=1)  # at least these
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(X.loc[having, columns], y[having])
        at = X.index.get_indexer(rows)
        wanted = model.predict_proba(X.loc[rows, columns])
        np.testing.assert_allclose(answers[at], wanted, rtol=1e-6, atol=1e-9)
        assert set(fusion.answering_models(X)[at]) == {"+".join(own)}
        np.testing.assert_array_equal(
            fusion.predict(X.loc[rows]), model.predict(X.loc[rows, columns])
        )


def test_regressor_answers_by_pattern(global_seed):
    rng = np.random.default_rng(global_seed)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=[f"{name}__0" for name in NAMES])
    Y = np.column_stack([X.sum(axis=1), X["text__0"]])
    lossy = simulate_missing(X, 0.3, random_state=global_seed)
    both = SubsetFusionRegressor(LinearRegression()).fit(lossy, Y)
    np.testing.assert_allclose(both.predict(X), Y, atol=1e-10)
    assert both.predict(lossy).shape == (200, 2)
    one = SubsetFusionRegressor(LinearRegression()).fit(lossy, Y[:, 0])
    np.testing.assert_allclose(one.predict(lossy), both.predict(lossy)[:, 0], atol=1e-10)


def test_whole_training_data_serve_every_pattern():
    """All sets of modalities get a model, though the training samples lack nothing."""
    X, y = drawn(8, missing=0.0)
    fusion = SubsetFusionClassifier().fit(X, y)
    assert len(fusion.patterns_) == 7
    assert set(fusion.n_samples_by_pattern_.values()) == {len(X)}
    lossy = simulate_missing(X, 0.5, random_state=0)
    assert fusion.score(lossy, y) > 0.6


@pytest.mark.parametrize("max_patterns", [1, 2, 4, 5])
def test_the_largest_fitted_sub_pattern_answers(max_patterns, global_seed):
    X, y = drawn(global_seed, 300, missing=0.35)
    fusion = SubsetFusionClassifier(max_patterns=max_patterns).fit(X, y)
    assert len(fusion.patterns_) == max_patterns
    there = modality_mask(X)
    models = fusion.answering_models(X)
    for row, answering in zip(there.to_numpy(), models, strict=True):
        pattern = [name for name, has in zip(NAMES, row, strict=True) if has]
        wanted = best_sub_pattern(pattern, fusion.patterns_)
        if wanted is None:
            assert answering is None
        else:
            assert set(answering.split("+")) <= set(pattern)
            assert len(answering.split("+")) == len(wanted)
    unanswered = pd.isna(models)
    if unanswered.any():
        with pytest.warns(UserWarning, match=r"samples have none of the patterns .* the priors"):
            silent = fusion.predict_proba(X)[unanswered]
        shares = np.bincount(np.unique(y, return_inverse=True)[1]) / len(y)
        np.testing.assert_allclose(silent, np.tile(shares, (len(silent), 1)))


def test_frequent_patterns_come_first():
    X, y = drawn(9, 100)
    X.iloc[:60, :4] = np.nan  # video+text 60, all 25, audio 15
    X.iloc[60:75, 4:] = np.nan
    fusion = SubsetFusionClassifier(max_patterns=3).fit(X, y)
    assert fusion.patterns_ == [("video", "text"), ("audio", "video", "text"), ("audio",)]
    assert fusion.n_samples_by_pattern_ == {
        "video+text": 85,
        "audio+video+text": 25,
        "audio": 40,
    }
    table = fusion.patterns_frame()
    assert table["n_samples"].tolist() == [85, 25, 40]
    assert table.loc["audio", list(NAMES)].tolist() == [True, False, False]


def test_too_few_samples_have_no_model():
    X, y = drawn(10, 100)
    X.iloc[8:, :4] = np.nan
    fusion = SubsetFusionClassifier(min_samples=10).fit(X, y)
    assert all("audio" not in own for own in fusion.patterns_)
    assert set(fusion.answering_models(X)) == {"video+text"}
    assert SubsetFusionClassifier(min_samples=101).fit(X, y).patterns_ == [("video", "text")]


def test_a_sample_with_nothing():
    X, y = drawn(11, 100)
    empty = X.iloc[:2] * np.nan
    fusion = SubsetFusionClassifier().fit(X, y)
    with pytest.warns(UserWarning, match="2 of 2 samples have none of the patterns"):
        np.testing.assert_allclose(
            fusion.predict_proba(empty), np.tile(fusion.class_prior_, (2, 1))
        )
    with pytest.warns(UserWarning, match="the most frequent class"):
        assert set(fusion.predict(empty)) == {y.mode()[0]}
    line = SubsetFusionRegressor().fit(X, np.arange(100.0))
    with pytest.warns(UserWarning, match="they get the mean"):
        np.testing.assert_allclose(line.predict(empty), 49.5)


def test_classes_that_a_pattern_lacks_have_no_share():
    X, y = drawn(12, 150, n_classes=3, class_names=["a", "b", "c"])
    X.loc[y == "c", X.columns[4:]] = np.nan
    fusion = SubsetFusionClassifier().fit(X, y)
    whole = X[y != "c"]
    posteriors = fusion.predict_proba(whole)
    assert (posteriors[:, 2] == 0).all()
    np.testing.assert_allclose(posteriors.sum(axis=1), 1)
    assert set(fusion.predict(whole)) <= {"a", "b"}


def test_number_of_jobs_changes_nothing():
    X, y = drawn(13, missing=0.3)
    there = SubsetFusionClassifier().fit(X, y).predict_proba(X)
    found = SubsetFusionClassifier(n_jobs=2).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(found, there)


def test_weight_zero_is_absence(global_seed):
    X, y = drawn(global_seed, missing=0.3)
    weight = (np.arange(len(y)) % 3 > 0).astype(float)
    there = SubsetFusionClassifier().fit(X[weight > 0], y[weight > 0])
    found = SubsetFusionClassifier().fit(X, y, sample_weight=weight)
    assert found.n_samples_by_pattern_ == there.n_samples_by_pattern_
    np.testing.assert_allclose(found.predict_proba(X), there.predict_proba(X), atol=1e-4)


def test_subset_fusion_in_a_search():
    X, y = drawn(14, missing=0.3)
    search = GridSearchCV(
        SubsetFusionClassifier(LogisticRegression()),
        {"estimator__C": [0.1, 1], "min_samples": [5, 30]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).score(X, y) > 0.5
    assert not hasattr(SubsetFusionClassifier(LinearSVC()), "predict_proba")


def test_what_subset_fusion_refuses():
    X, y = drawn(15, 40)
    for name in ("max_patterns", "min_samples"):
        for value in (0, 2.5, True):
            with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1"):
                SubsetFusionClassifier(**{name: value}).fit(X, y)
    with pytest.raises(ValueError, match="must be a classifier, got Ridge"):
        SubsetFusionClassifier(Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="y has one class"):
        SubsetFusionClassifier().fit(X, np.zeros(40))
    with pytest.raises(ValueError, match="contains NaN"):
        SubsetFusionClassifier().fit(X, np.where(np.arange(40) == 3, np.nan, 1.0))
    with pytest.raises(ValueError, match="is missing for every sample"):
        SubsetFusionClassifier().fit(X * np.nan, y)
    with pytest.raises(ValueError, match=r"modalities 'a\+b': the name of a model joins"):
        SubsetFusionClassifier(modalities={"a+b": [0], "c": slice(1, 13)}).fit(X, y)


@pytest.mark.filterwarnings("ignore:nothing is fused:UserWarning")
def test_one_modality_is_its_model():
    X, y = drawn(16)
    X = X.to_numpy()
    fusion = SubsetFusionClassifier().fit(X, y)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y)
    np.testing.assert_allclose(fusion.predict_proba(X), model.predict_proba(X), atol=1e-9)
