"""CRFTagger: identities, the independent reference, input of every kind."""

import pickle

import numpy as np
import pandas as pd
import pytest
from oracles_crf import context_rows, label_marginals
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion.datasets import load_watch
from mkfusion.graphical import CRFTagger

COLUMNS = ["audio__0", "audio__1", "video__0", "video__1", "video__2"]


def index_of(lengths):
    ids = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.concatenate([np.arange(n) for n in lengths])
    return pd.MultiIndex.from_arrays([ids, steps], names=["sequence", "step"])


def drawn(rng, n_sequences=12, n_labels=3, longest=15, noise=1.0):
    """Two modalities and sticky labels; every label occurs."""
    lengths = rng.integers(2, longest, n_sequences)
    n = lengths.sum()
    y = np.repeat(rng.permutation(np.arange(n) % n_labels), 4)[:n]
    y[:n_labels] = np.arange(n_labels)
    centres = rng.normal(size=(n_labels, 5))
    X = pd.DataFrame(
        centres[y] + noise * rng.normal(size=(n, 5)), columns=COLUMNS, index=index_of(lengths)
    )
    return X, y


def exact(**options):
    return CRFTagger(tol=1e-8, max_iter=5000, **options)


# Identities


@pytest.mark.filterwarnings("ignore:X has neither")
@pytest.mark.parametrize(("n_labels", "factor"), [(2, 2.0), (3, 1.0), (5, 1.0)])
def test_single_steps_are_logistic_regression(n_labels, factor, global_seed):
    """C = 1 / l2, and 2 / l2 for two labels, whose weights are one vector and its negative."""
    rng = np.random.default_rng(global_seed)
    X = np.column_stack([rng.normal(size=(120, 4)), np.ones(120)])
    y = (X[:, :3] @ rng.normal(size=(3, n_labels)) + rng.gumbel(size=(120, n_labels))).argmax(1)
    y[:n_labels] = np.arange(n_labels)
    crf = exact(l2=0.8, modalities={"all": slice(0, 5)}, fit_intercept=False).fit(X, y)
    assert crf.converged_
    reference = LogisticRegression(
        C=factor / 0.8, fit_intercept=False, tol=1e-12, max_iter=10_000, solver="newton-cg"
    ).fit(X, y)
    np.testing.assert_allclose(crf.predict_proba(X), reference.predict_proba(X), atol=1e-7)
    if n_labels > 2:
        np.testing.assert_allclose(crf.coef_, reference.coef_, atol=1e-6)
    else:
        np.testing.assert_allclose(2 * crf.coef_[1], reference.coef_[0], atol=1e-6)
    with_intercept = exact(l2=0.8, modalities={"all": slice(0, 4)}).fit(X, y)
    reference = LogisticRegression(
        C=factor / 0.8, tol=1e-12, max_iter=10_000, solver="newton-cg"
    ).fit(X[:, :4], y)
    np.testing.assert_allclose(
        with_intercept.predict_proba(X), reference.predict_proba(X[:, :4]), atol=1e-7
    )


def test_single_steps_are_logistic_regression_to_the_last_digits():
    """2e-8, both solved as far as floats go."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(200, 3)), np.ones(200)])
    y = (X[:, :3] @ rng.normal(size=(3, 3)) + rng.gumbel(size=(200, 3))).argmax(1)
    frame = pd.DataFrame(X, columns=list("abcd"), index=pd.Index(range(200), name="sequence"))
    crf = CRFTagger(1.0, {"all": list("abcd")}, fit_intercept=False, tol=1e-10).fit(frame, y)
    reference = LogisticRegression(
        C=1.0, fit_intercept=False, tol=1e-14, max_iter=10_000, solver="newton-cg"
    ).fit(X, y)
    np.testing.assert_allclose(crf.coef_, reference.coef_, atol=2e-8)


@pytest.mark.parametrize("context", [0, 2, {"video": 1}])
def test_probabilities_are_those_of_all_labellings(context, global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, longest=6)
    crf = CRFTagger(context=context).fit(X, y)
    by_modality = context if isinstance(context, dict) else {"audio": context, "video": context}
    proba = crf.predict_proba(X)
    for i in range(4):
        own = X.loc[[i]]
        rows = np.hstack(
            [
                context_rows(own.filter(like=name).to_numpy(), by_modality.get(name, 0))
                for name in ("audio", "video")
            ]
        )
        expected = label_marginals(rows @ crf.coef_.T + crf.intercept_, crf.transition_, [0, 1, 2])
        where = X.index.get_level_values(0) == i
        np.testing.assert_allclose(proba[where], expected, atol=1e-12)
    assert len(crf.coef_columns_) == crf.coef_.shape[1]
    if context == 2:
        assert crf.coef_columns_[0] == ("audio", -2, "audio__0")
        assert crf.coef_columns_[-1] == ("video", 2, "video__2")


def test_units_of_columns_are_those_of_the_penalty(global_seed):
    """A column in other units with l2 in their square is the same model."""
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    milli = X.copy()
    milli[["audio__0", "audio__1"]] *= 1000.0
    plain = exact(l2={"audio": 2.0, "video": 0.5}).fit(X, y)
    scaled = exact(l2={"audio": 2e6, "video": 0.5}).fit(milli, y)
    assert scaled.objective_ == pytest.approx(plain.objective_, rel=1e-10)
    np.testing.assert_allclose(scaled.coef_[:, :2] * 1000, plain.coef_[:, :2], atol=1e-5)
    assert scaled.objective_ != pytest.approx(exact(l2=2.0).fit(milli, y).objective_, rel=1e-4)


def test_shift_goes_into_the_intercept(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    plain, moved = exact().fit(X, y), exact().fit(X + 5.0, y)
    np.testing.assert_allclose(moved.coef_, plain.coef_, atol=1e-5)
    expected = plain.intercept_ - 5 * plain.coef_.sum(axis=1)
    np.testing.assert_allclose(
        moved.intercept_ - moved.intercept_.mean(), expected - expected.mean(), atol=1e-4
    )


def test_order_of_sequences_and_of_modalities_does_not_matter(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    frame = X.assign(y=y)
    turned = pd.concat([frame.loc[[i]] for i in rng.permutation(12)])
    plain = exact().fit(X, y)
    other = exact().fit(turned[COLUMNS], turned["y"])
    np.testing.assert_allclose(other.coef_, plain.coef_, atol=1e-5)
    np.testing.assert_allclose(other.predict_proba(X), plain.predict_proba(X), atol=1e-5)
    swapped = exact(modalities={"v": COLUMNS[2:], "a": COLUMNS[:2]}).fit(X, y)
    np.testing.assert_allclose(swapped.coef_[:, 3:], plain.coef_[:, :2], atol=1e-5)


def test_rows_of_a_sequence_need_not_be_adjacent(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    steps = X.index.get_level_values(1)
    order = np.lexsort([X.index.get_level_values(0), steps])  # by step, then sequence
    plain = exact().fit(X, y)
    other = exact().fit(X.iloc[order], y[order])
    np.testing.assert_allclose(
        other.predict_proba(X.iloc[order]), plain.predict_proba(X)[order], atol=1e-5
    )


def test_weights_repeat_sequences(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    ids = X.index.get_level_values(0).to_numpy()
    weights = rng.integers(0, 3, 12)
    weights[:4] = 1
    parts, labels = [], []
    for i in range(12):
        for k in range(weights[i]):
            part = X.loc[[i]].copy()
            part.index = part.index.set_levels(part.index.levels[0] + 100 * k, level=0)
            parts.append(part)
            labels.append(y[ids == i])
    weighted = exact().fit(X, y, sample_weight=weights[ids])
    repeated = exact().fit(pd.concat(parts), np.concatenate(labels))
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=1e-9)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)
    with pytest.raises(ValueError, match="varies within"):
        CRFTagger().fit(X, y, sample_weight=np.arange(len(y)) + 1.0)


def test_l1_removes_noise(global_seed):
    """Noise columns get exactly 0, and the conditions of optimality hold."""
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=40)
    noise = pd.DataFrame(
        rng.normal(size=(len(X), 8)), columns=[f"noise__{j}" for j in range(8)], index=X.index
    )
    joined = pd.concat([X, noise], axis=1)
    crf = CRFTagger(l1=30.0, l2=1e-3, tol=1e-6, max_iter=5000).fit(joined, y)
    assert crf.converged_
    assert crf.residual_ <= 1e-6
    assert (crf.coef_[:, 5:] == 0).mean() > 0.9
    assert (crf.coef_[:, :5] != 0).any()
    dense = CRFTagger(l1=0.0, l2=1e-3, max_iter=5000).fit(joined, y)
    assert (dense.coef_ != 0).all()


def test_threads_change_nothing(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=300, longest=60)
    one, two = (CRFTagger(n_jobs=n, context=1).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


# What is missing


def test_absent_modality_adds_nothing(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    gone = rng.random(len(X)) < 0.3
    holes = X.copy()
    holes.loc[gone, COLUMNS[2:]] = np.nan
    zeros = holes.fillna(0.0)
    crf = exact().fit(holes, y)
    same = exact().fit(zeros, y)
    np.testing.assert_allclose(crf.coef_, same.coef_, rtol=1e-12)
    parts = crf.modality_contributions(holes)
    assert (parts.contributions[gone, 1] == 0).all()
    assert (parts.contributions[~gone, 1] != 0).all()
    np.testing.assert_allclose(parts.base + parts.contributions.sum(axis=1), parts.decision)
    expected = zeros.to_numpy() @ crf.coef_.T + crf.intercept_
    np.testing.assert_allclose(parts.decision, expected, atol=1e-12)
    holes.iloc[3, 2] = np.nan
    holes.iloc[3, 3:] = 1.0
    with pytest.raises(ValueError, match="video"):
        crf.predict(holes)


# The reference


@pytest.mark.parametrize("context", [0, 1])
def test_equals_crfsuite(context, global_seed):
    """The same objective and marginals; by modality, crfsuite sees columns in other units."""
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=60, longest=40)
    for l2 in (1.0, {"audio": 4.0, "video": 0.5}):
        ours = exact(l2=l2, context=context).fit(X, y)
        theirs = CRFTagger(l2, context=context, backend="crfsuite", tol=1e-6, max_iter=5000).fit(
            X, y
        )
        assert theirs.objective_ == pytest.approx(ours.objective_, rel=1e-5)
        np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), atol=2e-4)
        assert theirs.coef_columns_ == ours.coef_columns_
    bare = {"fit_intercept": False, "l2": 1.0, "context": context}
    ours = exact(**bare).fit(X, y)
    theirs = CRFTagger(backend="crfsuite", tol=1e-7, max_iter=5000, **bare).fit(X, y)
    assert theirs.objective_ == pytest.approx(ours.objective_, rel=1e-7)
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), atol=1e-4)


def test_equals_crfsuite_by_itself(global_seed):
    """sklearn-crfsuite with dicts, as its users write it, not by way of our backend."""
    import sklearn_crfsuite

    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=30)
    items = [
        [{str(j): v for j, v in enumerate(row)} for row in own.to_numpy().tolist()]
        for _, own in X.groupby(level=0)
    ]
    ids = X.index.get_level_values(0).to_numpy()
    labels = [[str(v) for v in y[ids == i]] for i in range(30)]
    reference = sklearn_crfsuite.CRF(
        c1=0.0, c2=0.35, min_freq=-1e30, all_possible_states=True, epsilon=1e-9, delta=1e-13,
        all_possible_transitions=True, max_iterations=5000,
    ).fit(items, labels)  # fmt: skip
    ours = exact(l2=0.7, fit_intercept=False).fit(X, y)
    marginals = [
        [step[str(label)] for label in ours.classes_]
        for sequence in reference.predict_marginals(items)
        for step in sequence
    ]
    np.testing.assert_allclose(ours.predict_proba(X), marginals, atol=1e-4)
    loss = reference.training_log_.last_iteration["loss"]
    assert ours.objective_ == pytest.approx(loss, rel=1e-6)
    path = [int(label) for sequence in reference.predict(items) for label in sequence]
    assert np.mean(ours.predict(X) == path) > 0.99  # ties aside


def test_l1_of_crfsuite(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=30)
    ours = CRFTagger(l1=3.0, tol=1e-7, max_iter=5000, fit_intercept=False).fit(X, y)
    theirs = CRFTagger(l1=3.0, backend="crfsuite", tol=1e-6, fit_intercept=False).fit(X, y)
    assert theirs.objective_ == pytest.approx(ours.objective_, rel=1e-4)
    assert ours.objective_ <= theirs.objective_ * (1 + 1e-9)


def test_text_and_categories(global_seed):
    """A text column is as many columns of 0 and 1 as it has values."""
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, n_sequences=30)
    words = np.where(rng.random(len(X)) < 0.7, np.array(["up", "down", "a=b"])[y], "other")
    mixed = X[["audio__0", "audio__1"]].assign(text__word=words)
    mixed["text__colour"] = pd.Categorical(np.where(rng.random(len(X)) < 0.5, "red", "blue"))
    dummies = X[["audio__0", "audio__1"]].copy()
    for column in ("text__word", "text__colour"):
        for value in sorted(set(mixed[column])):
            dummies[f"{column}={value}"] = (mixed[column] == value).astype(float)
    theirs = CRFTagger(backend="crfsuite", tol=1e-7, max_iter=5000, fit_intercept=False)
    theirs.fit(mixed, y)
    ours = exact(fit_intercept=False).fit(dummies, y)
    assert [label for _, _, label in theirs.coef_columns_] == list(dummies.columns)
    np.testing.assert_allclose(theirs.predict_proba(mixed), ours.predict_proba(dummies), atol=1e-4)
    unseen = mixed.assign(text__word="never seen")
    blank = dummies.assign(**{c: 0.0 for c in dummies if "word" in c})
    np.testing.assert_allclose(theirs.predict_proba(unseen), ours.predict_proba(blank), atol=1e-4)
    missing = mixed.assign(text__word=None)
    np.testing.assert_array_equal(theirs.predict_proba(missing), theirs.predict_proba(unseen))
    with pytest.raises((TypeError, ValueError), match="text"):
        CRFTagger().fit(mixed, y)


def test_what_crfsuite_cannot_do(global_seed):
    X, y = drawn(np.random.default_rng(global_seed))
    with pytest.raises(ValueError, match="sample_weight"):
        CRFTagger(backend="crfsuite").fit(X, y, sample_weight=np.full(len(y), 2.0))
    with pytest.raises(ValueError, match="forbidden"):
        CRFTagger(backend="crfsuite", forbidden=((0, 1),)).fit(X, y)
    with pytest.raises(ValueError, match="one l2"):
        CRFTagger(l1=1.0, backend="crfsuite", l2={"audio": 1, "video": 2}).fit(X, y)
    with pytest.raises(ValueError, match="above 0 or all 0"):
        CRFTagger(backend="crfsuite", l2={"audio": 0, "video": 2}).fit(X, y)
    fitted = CRFTagger(backend="crfsuite").fit(X, y)
    with pytest.raises(ValueError, match="dense"):
        fitted.modality_contributions(X)
    bad = X.copy()
    bad.iloc[2, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        fitted.predict(bad)
    bad.iloc[2, 0] = np.nan
    with pytest.raises(ValueError, match="NaN beside values"):
        fitted.predict(bad)


# Decoding, labels, use


def test_string_labels_and_decoding(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng, noise=2.0)
    names = np.array(["walk", "run", "rest"])[y]
    crf = CRFTagger().fit(X, names)
    assert list(crf.classes_) == ["rest", "run", "walk"]
    proba = crf.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    by_marginals = crf.set_params(decode="marginals").predict(X)
    np.testing.assert_array_equal(by_marginals, crf.classes_[proba.argmax(axis=1)])
    assert crf.score(X, names) == np.mean(by_marginals == names)
    again = pickle.loads(pickle.dumps(crf))
    np.testing.assert_array_equal(again.predict_proba(X), proba)


def test_forbidden_transitions(global_seed):
    rng = np.random.default_rng(global_seed)
    lengths = np.full(20, 12)
    y = np.tile(np.repeat(["a", "b", "c"], 4), 20)  # c follows b, b follows a
    signal = np.array([0.0, 1.0, 2.0])[np.tile(np.repeat([0, 1, 2], 4), 20)]
    X = pd.DataFrame(
        {"m__0": signal + rng.normal(size=240), "n__0": rng.normal(size=240)},
        index=index_of(lengths),
    )
    crf = CRFTagger(forbidden=(("b", "a"), ("c", "a"), ("c", "b"), ("a", "c"))).fit(X, y)
    assert (crf.transition_ == -np.inf).sum() == 4
    assert crf.converged_
    for i in range(20):
        found = "".join(crf.predict(X.loc[[i]]))
        assert list(found) == sorted(found)
        assert "ac" not in found
    with pytest.raises(ValueError, match="goes from 'a' to 'b' in sequence 0"):
        CRFTagger(forbidden=[("a", "b")]).fit(X, y)
    with pytest.raises(ValueError, match="forbidden names the labels 'z'"):
        CRFTagger(forbidden=[("a", "z")]).fit(X, y)


def test_watch_by_subject():
    watch = load_watch(layout="sessions")
    rows = watch.data.index.get_level_values("step") < 600
    X, y, subjects = watch.data[rows], watch.target[rows], watch.groups[rows]
    model = make_pipeline(StandardScaler().set_output(transform="pandas"), CRFTagger(tol=1e-2))
    search = GridSearchCV(model, {"crftagger__l2": [10.0, 1000.0]}, cv=GroupKFold(2))
    search.fit(X, y, groups=subjects)
    best = search.best_params_["crftagger__l2"]
    scores = []
    for train, test in GroupKFold(2).split(X, y, subjects):
        own = make_pipeline(
            StandardScaler().set_output(transform="pandas"),
            CRFTagger(best, tol=1e-2),
        ).fit(X.iloc[train], y.iloc[train])
        scores.append(own.score(X.iloc[test], y.iloc[test]))
    assert search.best_score_ == pytest.approx(np.mean(scores), abs=1e-12)
    found = cross_val_predict(model, X, y, groups=subjects, cv=GroupKFold(2))
    assert np.mean(found == y) > 2 / 7  # twice what chance gives


# Input that is bad, or hard


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": -1.0}, "l2 must be"),
        ({"l2": np.inf}, "l2 must be"),
        ({"l2": {"audio": 1.0}}, "l2 must give one weight"),
        ({"l1": "much"}, "l1 must be"),
        ({"l2_transition": -0.1}, "l2_transition must be"),
        ({"context": -1}, "context must be"),
        ({"context": 1.5}, "context must be"),
        ({"context": {"smell": 1}}, "context names 'smell'"),
        ({"backend": "torch"}, "backend must be one of"),
        ({"decode": "beam"}, "decode must be one of"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"tol": -1}, "tol must be"),
        ({"forbidden": "ab"}, "pairs of labels"),
        ({"forbidden": [("a",)]}, "pairs"),
    ],
)
def test_parameters_out_of_range(options, message):
    X, y = drawn(np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        CRFTagger(**options).fit(X, y)


def test_one_class_is_refused():
    X, y = drawn(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"CRFTagger needs at least 2 classes.*one class"):
        CRFTagger().fit(X, np.ones(len(y)))


def test_infinity_and_overflow_are_refused():
    X, y = drawn(np.random.default_rng(0))
    bad = X.copy()
    bad.iloc[4, 1] = np.inf
    with pytest.raises(ValueError, match="audio"):
        CRFTagger().fit(bad, y)
    bad.iloc[4, 1] = 1e308
    with pytest.raises(ValueError, match=r"audio.*1e\+308"):
        CRFTagger().fit(bad, y)
    fitted = CRFTagger().fit(X, y)
    bad.iloc[4] = 1e308
    found = None
    with pytest.raises(ValueError, match="overflow"):
        found = fitted.predict(bad * 1.7)
    assert found is None


def test_constant_and_duplicate_columns(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    hard = X.assign(audio__same=X["audio__0"], video__one=0.1, video__zero=0.0)
    crf = exact().fit(hard[sorted(hard.columns)], y)
    assert crf.converged_
    coef = pd.DataFrame(crf.coef_, columns=[c for _, _, c in crf.coef_columns_])
    np.testing.assert_allclose(coef["audio__same"], coef["audio__0"], atol=1e-6)
    np.testing.assert_allclose(coef["video__one"], 0, atol=1e-8)
    assert (coef["video__zero"] == 0).all()


@pytest.mark.parametrize("large", [1e3, 1e6, 1e100])
def test_one_outlier_row(large, global_seed):
    """What stands at one step stays finite, at fit and at predict."""
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    crf = CRFTagger().fit(X, y)
    hard = X.copy()
    hard.iloc[5] = large
    proba = crf.predict_proba(hard)
    assert np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    refit = CRFTagger(max_iter=3000).fit(hard, y)
    assert np.isfinite(refit.coef_).all()
    assert np.isfinite(refit.predict_proba(X)).all()


def test_four_hundred_columns(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    wide = pd.DataFrame(rng.normal(size=(len(X), 400)), index=X.index)
    wide.columns = [f"m{j % 2}__{j}" for j in range(400)]
    crf = CRFTagger().fit(wide, y)
    assert crf.converged_
    assert crf.score(wide, y) > 0.95  # more columns than steps


def test_tiny_and_huge_units(global_seed):
    rng = np.random.default_rng(global_seed)
    X, y = drawn(rng)
    hard = X.copy()
    hard["audio__0"] *= 1e-200
    hard["video__0"] *= 1e120
    crf = CRFTagger().fit(hard, y)
    assert np.isfinite(crf.coef_).all()
    assert np.isfinite(crf.predict_proba(hard)).all()


def test_unconverged_warns_with_what_is_left():
    X, y = drawn(np.random.default_rng(0))
    with pytest.warns(ConvergenceWarning, match="CRFTagger: not converged after 2 iterations"):
        CRFTagger(l2=1e-3, max_iter=2).fit(X, y)


def test_ids_are_asked_for():
    X, y = drawn(np.random.default_rng(0))
    fitted = CRFTagger().fit(X, y)
    with pytest.raises(ValueError, match="sequence"):
        fitted.predict(X.reset_index(drop=True))


def test_inputs_are_not_written_to():
    X, y = drawn(np.random.default_rng(0))
    before, labels = X.copy(), y.copy()
    CRFTagger(context=1).fit(X, y).predict(X)
    pd.testing.assert_frame_equal(X, before)
    np.testing.assert_array_equal(y, labels)


def test_crfsuite_reads_sparse_columns_as_it_reads_dense_ones(global_seed):
    rng = np.random.default_rng(global_seed)
    labels = np.array(["a", "b"])[(np.arange(120) // 5) % 2]
    words = np.where(rng.random(120) < 0.8, labels, "c")
    index = pd.Index(np.repeat(range(12), 10), name="sequence")
    dense = pd.get_dummies(pd.Series(words, index=index), prefix="bag_").astype(float)
    dense["num__x"] = (labels == "a") + rng.normal(size=120)
    sparse = dense.copy()
    for column in dense.columns[:3]:
        sparse[column] = sparse[column].astype(pd.SparseDtype(float, 0.0))
    one = CRFTagger(backend="crfsuite").fit(dense, labels)
    two = CRFTagger(backend="crfsuite").fit(sparse, labels)
    np.testing.assert_allclose(two.coef_, one.coef_, atol=1e-9)
    np.testing.assert_allclose(two.predict_proba(sparse), one.predict_proba(dense), atol=1e-9)
    own = CRFTagger().fit(dense, labels)
    np.testing.assert_allclose(two.predict_proba(sparse), own.predict_proba(dense), atol=1e-3)
    with pytest.raises(TypeError, match="bag__a"):
        CRFTagger().fit(sparse, labels)
