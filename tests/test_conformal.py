"""Prediction sets and intervals: what they promise for every pattern of availability."""

import warnings

import numpy as np
import pandas as pd
import pytest
from oracles_conformal import aps, conforms, crossed_bounds, lac
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression
from sklearn.model_selection import KFold, RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from mkfusion import (
    ConformalFusionClassifier,
    ConformalFusionRegressor,
    HMMClassifier,
    HMMTagger,
    LateFusionClassifier,
    LateFusionRegressor,
    MKLRegressor,
    SubsetFusionClassifier,
    as_sequence_frame,
    missing_policy,
    modality_mask,
)
from mkfusion.conformal._scores import fewest, rank
from mkfusion.datasets import (
    make_multimodal_classification,
    make_multimodal_regression,
    simulate_missing,
)

BOTH, AUDIO, VIDEO = ("audio", "video"), ("audio",), ("video",)
PATTERNS = [BOTH, AUDIO, VIDEO]
SIZES = {"audio": 4, "video": 4}


def classes(n, seed, rate=0.4):
    X, y = make_multimodal_classification(
        n,
        n_classes=3,
        modalities=SIZES,
        unique={"audio": 2.0, "video": 0.5},
        return_X_y=True,
        random_state=seed,
    )
    return simulate_missing(X, rate=rate, random_state=seed), y


def numbers(n, seed, rate=0.4):
    X, y = make_multimodal_regression(
        n,
        modalities=SIZES,
        variances={"audio": 0.05, "video": 2.0},
        return_X_y=True,
        random_state=seed,
    )
    return simulate_missing(X, rate=rate, random_state=seed), y


def by_pattern(X):
    mask = modality_mask(X)
    return [
        np.flatnonzero((mask["audio"] == ("audio" in own)) & (mask["video"] == ("video" in own)))
        for own in PATTERNS
    ]


def covered(conformal, X, y):
    """Whether each sample's set or interval holds its label."""
    if hasattr(conformal, "predict_set"):
        own = np.searchsorted(conformal.classes_, y)
        return conformal.predict_set(X)[np.arange(len(X)), own]
    low, high = conformal.predict_interval(X).T
    return np.asarray((low <= y) & (y <= high))


# The definition


def test_the_place_of_the_quantile():
    assert rank(9, 0.1) == 9
    assert rank(8, 0.1) == 9  # beyond all eight
    assert rank(9, 0.7) == 3  # 10 * (1 - .7) is above 3 in floating point
    assert rank(99, 0.05) == 95
    assert rank(0, 0.5) == 1
    for alpha in (0.01, 0.05, 0.1, 0.3, 0.7, 1 / 3):
        assert rank(fewest(alpha), alpha) <= fewest(alpha)
        assert fewest(alpha) == 0 or rank(fewest(alpha) - 1, alpha) > fewest(alpha) - 1


@pytest.mark.parametrize(("score", "randomize"), [("lac", False), ("aps", False), ("aps", True)])
def test_sets_are_those_of_the_definition(score, randomize, global_seed):
    X, y = classes(400, global_seed)
    fusion = LateFusionClassifier().fit(X[:150], y[:150])
    conformal = ConformalFusionClassifier(
        FrozenEstimator(fusion),
        conformity_score=score,
        randomize=randomize,
        random_state=global_seed,
    ).fit(X[150:300], y[150:300])
    new = X[300:]
    # The shares are drawn as the docstring says: one for each place, from the fit's seed.
    rng = np.random.RandomState(global_seed)
    shares = rng.random_sample(150) if randomize else np.ones(150)
    if not randomize:
        rng.random_sample(150)
    again = np.random.RandomState(rng.randint(2**31 - 1)).random_sample(len(new))
    again = again if randomize else np.ones(len(new))

    def strange(posteriors, c, share):
        return lac(posteriors, c) if score == "lac" else aps(posteriors, c, share)

    told, codes = fusion.predict_proba(X[150:300]), np.searchsorted(fusion.classes_, y[150:300])
    own = np.array([strange(*args) for args in zip(told, codes, shares, strict=True)])
    known = [own[rows] for rows in by_pattern(X[150:300])]
    asked = fusion.predict_proba(new)
    for alpha in (0.05, 0.1, 0.4):
        sets = conformal.predict_set(new, alpha)
        for scores, rows in zip(known, by_pattern(new), strict=True):
            for i in rows:
                for c in range(3):
                    value = strange(asked[i], c, again[i])
                    # A value within rounding of a known one may fall on either side of it.
                    if np.abs(scores - value).min() > 1e-12:
                        assert sets[i, c] == conforms(scores, value, alpha)


@pytest.mark.parametrize("score", ["absolute", "normalised"])
def test_intervals_are_those_of_the_definition(score, global_seed):
    X, y = numbers(400, global_seed)
    model = make_pipeline(SimpleImputer(), BayesianRidge()).fit(X[:150], y[:150])
    conformal = ConformalFusionRegressor(FrozenEstimator(model), conformity_score=score)
    conformal.fit(X[150:300], y[150:300])
    held, new = X[150:300], X[300:]

    def told(table):
        centre, scale = model.predict(table, return_std=True)
        return centre, scale if score == "normalised" else np.ones(len(table))

    centre, scale = told(held)
    residuals = np.abs(y[150:300] - centre) / scale
    middle, wide = told(new)
    for alpha in (0.05, 0.1, 0.4):
        bounds = conformal.predict_interval(new, alpha)
        for calibrated, rows in zip(by_pattern(held), by_pattern(new), strict=True):
            known = np.sort(residuals.to_numpy()[calibrated])
            place = int(np.ceil((len(known) + 1) * (1 - alpha) - 1e-9))
            q = known[place - 1] if place <= len(known) else np.inf
            np.testing.assert_allclose(bounds[rows, 0], middle[rows] - q * wide[rows], rtol=1e-12)
            np.testing.assert_allclose(bounds[rows, 1], middle[rows] + q * wide[rows], rtol=1e-12)
            if alpha == 0.1:
                named = PATTERNS[[rows[0] in own for own in by_pattern(new)].index(True)]
                assert conformal.quantiles_[named] == q
                assert conformal.n_calibration_[named] == len(known)


# Coverage

REPEATS = 150
N = 24  # (N + 1) * .9 = 22.5, so that the truth, 23 / 25, is .02 from both bounds
ALPHA = 0.1


def coverage_of_frozen(make, conformal, seed, repeats=REPEATS):
    """Mean coverage by pattern, with its standard error, over random calibration samples.

    Samples are divided at random into those to calibrate on, N of each pattern, and those to be
    asked of. Of scores that differ the coverage is 23 / 25 on average, whatever the samples are.
    The .02 and two standard errors of .0045 are 6 standard errors: none of the six bounds of a
    hundred seeds goes beyond them by chance (1e-6).
    """
    X, y = make(3600, seed)
    train = slice(0, 400)
    model = clone(conformal.estimator).fit(X[train], y[train])
    frozen = clone(conformal).set_params(estimator=FrozenEstimator(model))
    X, y = X[400:], y[400:]
    pools = [rows[:384] for rows in by_pattern(X)]
    assert [len(rows) for rows in pools] == [384] * 3
    rng = np.random.default_rng(seed)
    found = np.zeros((repeats, 3))
    for repeat in range(repeats):
        mixed = [rng.permutation(rows) for rows in pools]
        held = np.concatenate([rows[:N] for rows in mixed])
        new = np.concatenate([rows[N:] for rows in mixed])
        frozen.fit(X.iloc[held], y.iloc[held])
        assert frozen.n_calibration_ == dict.fromkeys(PATTERNS, N)
        found[repeat] = covered(frozen, X.iloc[new], y.iloc[new]).reshape(3, -1).mean(axis=1)
    return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(repeats)


@pytest.mark.parametrize(
    ("score", "randomize", "exact"),
    [("lac", False, True), ("aps", True, True), ("aps", False, False)],
)
def test_sets_cover_what_they_promise_for_every_pattern(score, randomize, exact, global_seed):
    conformal = ConformalFusionClassifier(
        LateFusionClassifier(), alpha=ALPHA, conformity_score=score, randomize=randomize
    )
    mean, se = coverage_of_frozen(classes, conformal, global_seed)
    assert (mean >= 1 - ALPHA - 2 * se).all()
    if exact:  # without chance the least probable class of every sample scores 1
        assert (mean <= 1 - ALPHA + 1 / (N + 1) + 2 * se).all()


@pytest.mark.parametrize(
    ("score", "model"),
    [
        ("absolute", LateFusionRegressor()),
        ("normalised", make_pipeline(SimpleImputer(), BayesianRidge())),
    ],
    ids=["absolute", "normalised"],
)
def test_intervals_cover_what_they_promise_for_every_pattern(score, model, global_seed):
    conformal = ConformalFusionRegressor(model, alpha=ALPHA, conformity_score=score)
    mean, se = coverage_of_frozen(numbers, conformal, global_seed)
    assert (mean >= 1 - ALPHA - 2 * se).all()
    assert (mean <= 1 - ALPHA + 1 / (N + 1) + 2 * se).all()


def test_without_patterns_some_are_covered_too_rarely(global_seed):
    """So that the tests above can fail: one quantile for all fails where audio is lost."""
    X, y = numbers(3000, global_seed)
    together = ConformalFusionRegressor(
        LateFusionRegressor(), {"all": slice(0, X.shape[1])}, alpha=ALPHA, random_state=0
    ).fit(X[:1500], y[:1500])
    assert list(together.n_calibration_) == [("all",)]
    rows = by_pattern(X[1500:])[2]
    hit = covered(together, X[1500:], y[1500:])
    assert hit.mean() > 0.85
    assert hit[rows].mean() < 0.84


@pytest.mark.parametrize("groups", [False, True], ids=["rows", "groups of one"])
def test_what_fit_holds_out_covers_too(groups, global_seed):
    """Few calibration samples leave a wide room between the bounds: .5 / (n + 1) on each side."""
    X, y = classes(60 * 900, global_seed)
    found, room = np.zeros((60, 3)), np.zeros((60, 3))
    for repeat in range(60):
        rows = slice(900 * repeat, 900 * repeat + 300)
        new = slice(rows.stop, rows.stop + 600)
        conformal = ConformalFusionClassifier(alpha=ALPHA, random_state=repeat)
        conformal.fit(X[rows], y[rows], groups=np.arange(300) if groups else None)
        hit = covered(conformal, X[new], y[new])
        found[repeat] = [hit[own].mean() for own in by_pattern(X[new])]
        room[repeat] = [1 / (conformal.n_calibration_[own] + 1) for own in PATTERNS]
    mean, se = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(60)
    assert (mean >= 1 - ALPHA - 2 * se).all()
    assert (mean <= 1 - ALPHA + room.mean(axis=0) + 2 * se).all()


# Patterns without enough to go by


def test_a_small_pattern_gets_all_classes_and_says_so():
    X, y = classes(300, 0)
    video = by_pattern(X)[2]
    X, y = X.drop(X.index[video[5:]]), y.drop(y.index[video[5:]])
    fusion = LateFusionClassifier().fit(X, y)
    conformal = ConformalFusionClassifier(FrozenEstimator(fusion)).fit(X, y)
    assert conformal.n_calibration_[VIDEO] == 5
    assert conformal.quantiles_[VIDEO] == np.inf
    assert np.isfinite([conformal.quantiles_[BOTH], conformal.quantiles_[AUDIO]]).all()
    message = "5 samples have patterns .* fewer than the 9 .* alpha=0.1 .*'video': 5.*all classes"
    with pytest.warns(UserWarning, match=message):
        sets = conformal.predict_set(X)
    rows = by_pattern(X)
    assert sets[rows[2]].all()
    assert not sets[np.r_[rows[0], rows[1]]].all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conformal.predict_set(X.iloc[rows[0]])
        conformal.predict_set(X, alpha=0.5)  # 1 is enough for it


def test_a_pattern_that_was_never_seen_gets_the_whole_line_and_says_so():
    X, y = numbers(300, 0)
    seen = np.r_[by_pattern(X)[0], by_pattern(X)[1]]
    conformal = ConformalFusionRegressor(random_state=0).fit(X.iloc[seen], y.iloc[seen])
    assert set(conformal.n_calibration_) == {BOTH, AUDIO}
    X.iloc[by_pattern(X)[1]] = np.nan
    message = r"'video': 0; no modality: 0\); they get the whole line"
    with pytest.warns(UserWarning, match=message):
        bounds = conformal.predict_interval(X)
    lost = X[["audio__0"]].isna().to_numpy().ravel()
    assert np.isneginf(bounds[lost, 0]).all()
    assert np.isposinf(bounds[lost, 1]).all()
    assert np.isfinite(bounds[~lost]).all()


def test_samples_without_any_modality_are_a_pattern_too():
    X, y = classes(300, 0)
    X.iloc[:100] = np.nan
    fusion = LateFusionClassifier().fit(X[100:], y[100:])
    with pytest.warns(UserWarning, match="priors"):
        conformal = ConformalFusionClassifier(FrozenEstimator(fusion)).fit(X, y)
    assert conformal.n_calibration_[()] == 100
    assert list(conformal.n_calibration_) == [BOTH, AUDIO, VIDEO, ()]


# What is held out


class Recording(ClassifierMixin, BaseEstimator):
    """A classifier that remembers which rows it has learnt from."""

    def fit(self, X, y, sample_weight=None, groups=None):
        self.classes_, self.rows_, self.weight_ = np.unique(y), X.index, sample_weight
        self.groups_ = groups
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_patterns_and_classes_are_held_out_evenly(global_seed):
    X, y = classes(500, global_seed)
    conformal = ConformalFusionClassifier(
        Recording(), calibration_size=0.4, random_state=global_seed
    ).fit(X, y)
    learnt = np.isin(X.index, conformal.estimator_.rows_)
    assert sum(conformal.n_calibration_.values()) == (~learnt).sum()
    for rows in by_pattern(X):
        for label in np.unique(y):
            own = rows[y.to_numpy()[rows] == label]
            assert abs((~learnt[own]).sum() - 0.4 * len(own)) < 1


def test_a_class_of_one_sample_is_learnt(global_seed):
    X, y = classes(60, global_seed)
    y = y.to_numpy().copy()
    y[7] = 9
    for groups in (None, np.arange(60) // 2):
        conformal = ConformalFusionClassifier(
            Recording(), calibration_size=0.5, random_state=global_seed
        ).fit(X, y, groups=groups)
        assert list(conformal.estimator_.classes_) == [0, 1, 2, 9]


@pytest.mark.parametrize("share", [0.25, 0.7])
def test_groups_are_kept_together(share, global_seed):
    X, y = classes(400, global_seed)
    groups = np.random.default_rng(global_seed).integers(40, size=400)
    conformal = ConformalFusionClassifier(
        Recording(), calibration_size=share, random_state=global_seed
    ).fit(X, y, groups=groups)
    learnt = np.isin(X.index, conformal.estimator_.rows_)
    assert not set(groups[learnt]) & set(groups[~learnt])
    assert abs((~learnt).mean() - share) < 0.15
    np.testing.assert_array_equal(conformal.estimator_.groups_, groups[learnt])
    named = X.set_axis(pd.Index(groups, name="sequence"))
    ids = ConformalFusionClassifier(Recording(), random_state=0).fit(named, y).estimator_.rows_
    assert sum(conformal.n_calibration_.values()) == (~learnt).sum()
    assert len(ids) == np.isin(groups, ids).sum()


def test_groups_and_sequences_that_the_model_names_are_kept_together():
    X, y = classes(300, 0)
    X["subject"] = np.arange(300) // 10
    named = LateFusionClassifier(groups="subject")
    conformal = ConformalFusionClassifier(named, random_state=0).fit(X, y)
    given = ConformalFusionClassifier(random_state=0)
    given.fit(X.drop(columns="subject"), y, groups=X["subject"])
    assert conformal.n_calibration_ == given.n_calibration_
    assert list(conformal.n_calibration_) == PATTERNS
    X = X.rename(columns={"subject": "clip"})
    tagger = HMMTagger(sequence="clip", random_state=0)
    steps = ConformalFusionClassifier(tagger, random_state=0).fit(X, y)
    assert steps.n_calibration_ == given.n_calibration_
    new, truth = classes(300, 1)
    assert covered(steps, new.assign(clip=np.arange(300) // 10 + 100), truth).mean() > 0.8


def test_samples_without_weight_calibrate_nothing():
    X, y = classes(200, 0)
    weight = np.ones(200)
    weight[:120] = 0
    conformal = ConformalFusionClassifier(Recording(), random_state=0).fit(X, y, weight)
    assert sum(conformal.n_calibration_.values()) == 20
    assert np.isin(X.index[:120], conformal.estimator_.rows_).all()
    assert (conformal.estimator_.weight_ == 0).sum() == 120
    with pytest.raises(TypeError, match="takes no sample_weight"):
        ConformalFusionClassifier(make_pipeline(_NoWeight())).fit(X, y, weight)


class _NoWeight(Recording):
    def fit(self, X, y):
        return super().fit(X, y)


# Across folds


def test_sets_across_folds_are_those_of_the_definition(global_seed):
    X, y = classes(160, global_seed)
    new = X[100:]
    folds = list(KFold(4, shuffle=True, random_state=global_seed).split(X[:100]))
    conformal = ConformalFusionClassifier(cv=folds, alpha=0.2).fit(X[:100], y[:100])
    models = [LateFusionClassifier().fit(X.iloc[a], y.iloc[a]) for a, _ in folds]
    asked = [1 - model.predict_proba(new) for model in models]
    own = np.empty(100)  # how strange each sample's class is to the model that has not seen it
    fold = np.empty(100, int)
    for k, (_, test) in enumerate(folds):
        told = models[k].predict_proba(X.iloc[test])
        own[test], fold[test] = 1 - told[np.arange(len(test)), y.iloc[test]], k
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fewer than")
        sets = conformal.predict_set(new)
    known = by_pattern(X[:100])
    for place, rows in enumerate(by_pattern(new)):
        n = len(known[place])
        assert n == conformal.n_calibration_.get(PATTERNS[place], 0)
        for i in rows:
            for c in range(3):
                apart = [own[j] - asked[fold[j]][i, c] for j in known[place]]
                if np.abs(apart).min(initial=1) > 1e-12:
                    below = int((np.array(apart) < 0).sum())
                    assert sets[i, c] == (below < rank(n, 0.2))
    whole = LateFusionClassifier().fit(X[:100], y[:100])
    np.testing.assert_array_equal(conformal.predict_proba(new), whole.predict_proba(new))


@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_intervals_across_folds_are_those_of_the_definition(alpha, global_seed):
    X, y = numbers(160, global_seed)
    new = X[100:]
    folds = list(KFold(5).split(X[:100]))
    conformal = ConformalFusionRegressor(cv=5, alpha=alpha).fit(X[:100], y[:100])
    models = [LateFusionRegressor().fit(X.iloc[a], y.iloc[a]) for a, _ in folds]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fewer than")
        bounds = conformal.predict_interval(new)
    told = [model.predict(new) for model in models]
    for pattern, rows in enumerate(by_pattern(new)):
        of_pattern = by_pattern(X[:100])[pattern]
        for i in rows:
            centres, residuals = [], []
            for k, (_, test) in enumerate(folds):
                own = test[np.isin(test, of_pattern)]
                if len(own):
                    residuals += np.abs(y.iloc[own] - models[k].predict(X.iloc[own])).tolist()
                    centres += [told[k][i]] * len(own)
            np.testing.assert_allclose(bounds[i], crossed_bounds(centres, residuals, alpha))


# Use


def test_several_alphas_are_nested_and_agree_with_each(global_seed):
    alphas = [0.02, 0.1, 0.1, 0.5]
    X, y = classes(600, global_seed)
    conformal = ConformalFusionClassifier(random_state=0, alpha=0.5).fit(X[:400], y[:400])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fewer than")
        sets = conformal.predict_set(X[400:], alphas)
        for k, alpha in enumerate(alphas):
            np.testing.assert_array_equal(sets[..., k], conformal.predict_set(X[400:], alpha))
    assert (sets[..., :-1] >= sets[..., 1:]).all()
    assert sets[..., 0].sum() > sets[..., 3].sum()
    np.testing.assert_array_equal(sets[..., 3], conformal.predict_set(X[400:]))
    X, y = numbers(600, global_seed)
    conformal = ConformalFusionRegressor(random_state=0).fit(X[:400], y[:400])
    bounds = conformal.predict_interval(X[400:], (0.1, 0.5))
    assert (np.diff(bounds, axis=1)[:, 0, 0] > np.diff(bounds, axis=1)[:, 0, 1]).all()
    np.testing.assert_array_equal(bounds[..., 0], conformal.predict_interval(X[400:]))


def test_a_seed_decides_all():
    X, y = classes(300, 1)
    for options in ({}, {"conformity_score": "aps", "randomize": True}):
        one, other, third = (
            ConformalFusionClassifier(random_state=seed, **options).fit(X, y) for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(one.predict_set(X), other.predict_set(X))
        np.testing.assert_array_equal(one.predict_set(X), one.predict_set(X))
        assert one.quantiles_ == other.quantiles_
        assert one.quantiles_ != third.quantiles_


def test_inputs_are_not_written_to():
    X, y = classes(200, 0)
    copies = X.copy(), y.copy()
    groups, weight = np.arange(200) // 2, np.ones(200)
    for array in (groups, weight):
        array.flags.writeable = False
    ConformalFusionClassifier(random_state=0).fit(X, y, weight, groups).predict_set(X)
    pd.testing.assert_frame_equal(X, copies[0])
    pd.testing.assert_series_equal(y, copies[1])


def test_modalities_are_those_of_the_model():
    X, y = classes(300, 0)
    X, y = X.to_numpy(), np.array(["no", "yes", "perhaps"])[y]
    named = {"score": slice(0, 4), "alpha": slice(4, 8)}  # names of parameters are no matter
    conformal = ConformalFusionClassifier(LateFusionClassifier(modalities=named), random_state=0)
    conformal.fit(X, y)
    assert list(conformal.n_calibration_) == [("score", "alpha"), ("score",), ("alpha",)]
    given = ConformalFusionClassifier(modalities=named, random_state=0).fit(X, y)
    np.testing.assert_array_equal(given.predict_set(X), conformal.predict_set(X))
    assert set(conformal.predict(X)) <= {"no", "yes", "perhaps"}


def test_it_stands_around_other_models():
    X, y = classes(300, 0)
    subset = ConformalFusionClassifier(SubsetFusionClassifier(), random_state=0).fit(X, y)
    assert covered(subset, X, y).mean() > 0.8
    assert missing_policy(subset) == "skips"
    filled = make_pipeline(SimpleImputer(), LogisticRegression())
    assert missing_policy(ConformalFusionClassifier(filled)) == "imputes"
    assert missing_policy(ConformalFusionClassifier(LogisticRegression())) == "refuses"
    table = np.random.default_rng(0).normal(size=(200, 2))
    forest = ConformalFusionClassifier(RandomForestClassifier(10, random_state=0), random_state=0)
    forest.fit(table, table[:, 0] > 0)
    assert forest.n_calibration_ == {("X",): 50}
    assert covered(forest, table, table[:, 0] > 0).mean() > 0.8


def test_it_stands_around_models_of_sequences():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 60)
    X = as_sequence_frame(
        {name: [c + rng.normal(size=(6, 1)) for c in y] for name in ("audio", "video")}
    )
    X.loc[X.index[:40], "audio"] = None
    conformal = ConformalFusionClassifier(
        HMMClassifier(1, random_state=0, temperature=None), calibration_size=0.5, random_state=0
    ).fit(X, y)
    assert conformal.n_calibration_ == {BOTH: 40, VIDEO: 20}
    assert covered(conformal, X, y).mean() > 0.8


# Refusals


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, np.nan, "0.1", True])
def test_alpha_is_refused_by_name(alpha):
    X, y = classes(100, 0)
    for conformal in (ConformalFusionClassifier(), ConformalFusionRegressor()):
        with pytest.raises(ValueError, match=r"alpha must be a number above 0 and below 1, got"):
            clone(conformal).set_params(alpha=alpha).fit(X, y)
        fitted = clone(conformal).fit(X, y)
        ask = getattr(fitted, "predict_set", None) or fitted.predict_interval
        for asked in (alpha, [0.1, alpha]):
            with pytest.raises(ValueError, match="alpha must be a number above 0 and below 1"):
                ask(X, asked)
        with pytest.raises(ValueError, match="alpha is empty"):
            ask(X, [])


def lossy():
    X, y = classes(100, 0)
    return X, y.to_numpy()


X0, Y0 = lossy()
FITTED = FrozenEstimator(LateFusionClassifier().fit(X0, np.where(Y0 == 2, 0, Y0)))
REFUSED = {
    "one class": (ConformalFusionClassifier(), X0, Y0 * 0, "y has one class"),
    "NaN in y": (ConformalFusionClassifier(), X0, np.r_[np.nan, Y0[1:]], "Input y contains NaN"),
    "NaN in numbers": (ConformalFusionRegressor(), X0, np.r_[np.nan, Y0[1:]], "y contains NaN"),
    "all missing": (
        ConformalFusionClassifier(),
        X0 * np.nan,
        Y0,
        "modalities 'audio', 'video' are missing for every sample",
    ),
    "all numbers missing": (ConformalFusionRegressor(), X0 * np.nan, Y0, "missing for every"),
    "size": (ConformalFusionClassifier(calibration_size=1.0), X0, Y0, "calibration_size must be"),
    "too small": (ConformalFusionRegressor(), X0[:1], Y0[:1], "n_samples = 1 cannot be divided"),
    "lengths": (ConformalFusionRegressor(), X0, Y0[1:], "X has 100, y has 99"),
    "a regressor": (ConformalFusionClassifier(LinearRegression()), X0, Y0, "must be a classifier"),
    "a classifier": (ConformalFusionRegressor(SVC()), X0, Y0, "must be a regressor"),
    "no posteriors": (ConformalFusionClassifier(SVC()), X0, Y0, "SVC has no predict_proba"),
    "no deviation": (
        ConformalFusionRegressor(MKLRegressor(), conformity_score="normalised"),
        X0,
        Y0,
        "states a standard deviation by predict.*MKLRegressor does not",
    ),
    "outputs": (ConformalFusionRegressor(), X0, np.c_[Y0, Y0], "y has 2 columns"),
    "score": (ConformalFusionClassifier(conformity_score="raps"), X0, Y0, "'lac', 'aps', got"),
    "chance": (ConformalFusionClassifier(randomize=True), X0, Y0, "randomize is for"),
    "no bool": (ConformalFusionClassifier(randomize=1), X0, Y0, "randomize must be True or"),
    "unseen class": (ConformalFusionClassifier(FITTED), X0, Y0, "classes 2 that the fitted"),
    "repeated": (
        ConformalFusionClassifier(cv=RepeatedKFold(n_splits=3, n_repeats=2)),
        X0,
        Y0,
        "cv tests 100 samples more than once",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_by_name(name):
    conformal, X, y, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        conformal.fit(X, y)


def test_one_group_is_refused():
    with pytest.raises(ValueError, match="all samples are in one group"):
        ConformalFusionClassifier().fit(X0, Y0, groups=np.zeros(100))


def test_no_chance_is_drawn_from_numpy(global_seed):
    np.random.seed(global_seed)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    ConformalFusionClassifier(random_state=0).fit(X0, Y0).predict_set(X0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
