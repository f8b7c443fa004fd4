"""Scorers that find the ids inside X: the same answers as loops that are written by hand."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion.evaluation import pk_score, segment_f1_score, sequence_scorer, window_diff


@pytest.fixture(scope="module")
def steps():
    """Labelled steps of six sequences, whose rows are shuffled, with a string for a label."""
    rng = np.random.default_rng(0)
    lengths = [1, 2, 9, 12, 20, 16]
    ids = np.repeat([f"s{i}" for i in range(6)], lengths)
    y = np.concatenate([np.repeat(["rest", "walk"], [n - n // 2, n // 2]) for n in lengths])
    X = pd.DataFrame(rng.normal(size=(60, 2)) + (y == "walk")[:, None], columns=["a__x", "b__x"])
    X.index = pd.MultiIndex.from_arrays([ids, np.arange(60)], names=["sequence", "step"])
    order = rng.permutation(60)
    return X.iloc[order], y[order]


def by_hand(metric, y, answers, ids, **kwargs):
    """Return the mean over sequences, by a loop; rows of a sequence in row order."""
    ids = np.asarray(ids)
    return np.mean(
        [metric(y[ids == own], answers[ids == own], **kwargs) for own in dict.fromkeys(ids)]
    )


METRICS = {
    "accuracy": (accuracy_score, {}),
    "f1": (segment_f1_score, {"overlap": 0.25, "average": "macro"}),
    "pk": (pk_score, {}),
    "window_diff": (window_diff, {"k": 2}),
}
over_metrics = pytest.mark.parametrize(("metric", "kwargs"), METRICS.values(), ids=METRICS)


@over_metrics
@pytest.mark.parametrize("where", ["level", "column"])
def test_mean_over_sequences_is_that_of_a_loop(steps, metric, kwargs, where):
    X, y = steps
    model = LogisticRegression().fit(X.to_numpy(), y)
    ids = X.index.get_level_values("sequence")
    table = X if where == "level" else X.reset_index("sequence")
    asked = Numbers(model)
    scorer = sequence_scorer(metric, **kwargs)
    expected = by_hand(metric, y, asked.predict(table), ids, **kwargs)
    assert 0 < expected < 1
    assert scorer(asked, table, y) == expected
    error = sequence_scorer(metric, greater_is_better=False, **kwargs)
    assert error(asked, table, list(y)) == -expected


class Numbers(ClassifierMixin, BaseEstimator):
    """A model on the columns of numbers of a table."""

    def __init__(self, model):
        self.model = model
        self.classes_ = model.classes_

    def predict(self, X):
        return self.model.predict(X.select_dtypes("number").to_numpy())


@over_metrics
def test_pooled_calls_the_metric_once(steps, metric, kwargs):
    X, y = steps
    model = LogisticRegression().fit(X, y)
    ids = X.index.get_level_values("sequence")
    own = {} if metric is accuracy_score else {"sequence": ids}
    expected = metric(y, model.predict(X), **own, **kwargs)
    assert sequence_scorer(metric, pooled=True, **kwargs)(model, X, y) == expected
    assert expected != sequence_scorer(metric, **kwargs)(model, X, y)


def test_another_name_of_the_level(steps):
    X, y = steps
    model = LogisticRegression().fit(X, y)
    renamed = X.rename_axis(index={"sequence": "session"})
    expected = sequence_scorer(pk_score)(model, X, y)
    assert sequence_scorer(pk_score, sequence="session")(model, renamed, y) == expected
    with pytest.raises(ValueError, match="no index level and no single column 'sequence'"):
        sequence_scorer(pk_score)(model, renamed, y)


def test_posteriors_are_judged_with_all_classes(steps):
    """A sequence of one step has one class, of which log_loss must be told the other."""
    X, y = steps
    model = LogisticRegression().fit(X, y)
    scorer = sequence_scorer(log_loss, response_method="predict_proba", greater_is_better=False)
    posteriors, ids = model.predict_proba(X), X.index.get_level_values("sequence")
    expected = by_hand(log_loss, y, posteriors, ids, labels=model.classes_)
    assert scorer(model, X, y) == pytest.approx(-expected, rel=1e-12)
    three = np.where(np.arange(60) % 3 == 0, "run", y)
    model.fit(X, three)
    expected = by_hand(log_loss, three, model.predict_proba(X), ids, labels=model.classes_)
    assert scorer(model, X, three) == pytest.approx(-expected, rel=1e-12)


def test_first_of_several_methods(steps):
    X, y = steps
    model = LogisticRegression().fit(X, y)

    def mean(y, values):
        return np.mean(values)

    scorer = sequence_scorer(mean, response_method=["nothing", "decision_function"], pooled=True)
    assert scorer(model, X, y) == model.decision_function(X).mean()
    with pytest.raises(ValueError, match="LogisticRegression has none of the methods 'nothing'"):
        sequence_scorer(mean, response_method="nothing")(model, X, y)


def test_searches_and_several_metrics_take_it(steps):
    X, y = steps
    groups = pd.factorize(X.index.get_level_values("sequence"))[0]
    scoring = {
        "accuracy": "accuracy",
        "f1": sequence_scorer(segment_f1_score, overlap=0.25),
        "pk": sequence_scorer(pk_score, greater_is_better=False, pooled=True),
    }
    cv = GroupKFold(3)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        pipeline, {"logisticregression__C": [0.01, 1.0]}, scoring=scoring, refit="f1", cv=cv
    ).fit(X, y, groups=groups)
    for place, C in enumerate([0.01, 1.0]):
        for fold, (train, test) in enumerate(cv.split(X, y, groups)):
            scaler = StandardScaler().fit(X.iloc[train])
            model = LogisticRegression(C=C).fit(scaler.transform(X.iloc[train]), y[train])
            answers = model.predict(scaler.transform(X.iloc[test]))
            ids = X.index[test].get_level_values("sequence")
            by_name = {
                "accuracy": np.mean(answers == y[test]),
                "f1": by_hand(segment_f1_score, y[test], answers, ids, overlap=0.25),
                "pk": -pk_score(y[test], answers, sequence=ids),
            }
            for name, expected in by_name.items():
                found = search.cv_results_[f"split{fold}_test_{name}"][place]
                assert found == pytest.approx(expected, rel=1e-12)
    parallel = cross_validate(pipeline, X, y, groups=groups, scoring=scoring, cv=cv, n_jobs=2)
    np.testing.assert_array_equal(
        parallel["test_f1"],
        cross_val_score(pipeline, X, y, groups=groups, scoring=scoring["f1"], cv=cv),
    )


def test_order_of_rows_between_sequences_does_not_matter(steps):
    X, y = steps
    model = LogisticRegression().fit(X, y)
    scorer = sequence_scorer(window_diff)
    order = np.argsort(X.index.get_level_values("sequence"), kind="stable")
    assert scorer(model, X.iloc[order], y[order]) == pytest.approx(scorer(model, X, y), rel=1e-12)


def test_it_is_pickled_and_says_what_it_is():
    scorer = sequence_scorer(segment_f1_score, overlap=0.25)
    text = "sequence_scorer(segment_f1_score, sequence='sequence', pooled=False, overlap=0.25)"
    assert repr(scorer) == repr(pickle.loads(pickle.dumps(scorer))) == text


def test_what_is_refused(steps):
    X, y = steps
    model = LogisticRegression().fit(X.to_numpy(), y)
    scorer = sequence_scorer(accuracy_score)
    with pytest.raises(TypeError, match="X must be a DataFrame with an index level"):
        scorer(model, X.to_numpy(), y)
    with pytest.raises(ValueError, match="X has 60, y has 59"):
        scorer(model, X, y[1:])
    with pytest.raises(ValueError, match="0 sample"):
        scorer(model, X[:0], y[:0])
    lost = X.reset_index("sequence")
    lost.loc[lost["sequence"] == "s0", "sequence"] = None
    with pytest.raises(ValueError, match="the sequence id 'sequence' is missing for 1 rows"):
        scorer(Numbers(model), lost, y)
    with pytest.raises(TypeError, match="metric must be callable, got 'accuracy'"):
        sequence_scorer("accuracy")
