"""What every estimator says that it does with a missing modality, against what it does."""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from discovery import estimators
from scipy.special import logsumexp
from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from mkfusion import (
    EarlyFusionClassifier,
    LateFusionClassifier,
    ModalityConcatenator,
    ModalityDropout,
    ModalityDropoutClassifier,
    ModalityImputer,
    MultistreamHMM,
    missing_policy,
)
from mkfusion.missing import MISSING_POLICIES, missing_policies, policy_table

ESTIMATORS = estimators()
README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- missing-policies -->\n", "\n<!-- /missing-policies -->"
pytestmark = pytest.mark.interface


@pytest.fixture(scope="module")
def lossy():
    """Two modalities that both tell y, each missing for some samples; the rest have both."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 40)
    columns = ["audio__pitch", "audio__loudness", "video__hue", "video__motion"]
    signs = np.array([1, -1, 1, 1])
    X = pd.DataFrame(3 * (2 * y[:, None] - 1) * signs + rng.normal(size=(80, 4)), columns=columns)
    X.iloc[:20, :2] = np.nan
    X.iloc[20:40, 2:] = np.nan
    return X, y


def seeded(cls):
    estimator = cls()
    has = "random_state" in estimator.get_params(deep=False)
    return estimator.set_params(random_state=0) if has else estimator


def answered(estimator, X):
    """Ask by whatever the estimator has."""
    for method in ("predict", "transform", "gram"):
        if hasattr(estimator, method):
            return method, np.asarray(getattr(estimator, method)(X))
    raise AssertionError(f"{type(estimator).__name__} answers nothing")


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_an_estimator_does_what_it_says(cls, lossy):
    X, y = lossy
    policy = missing_policy(cls)
    assert policy in MISSING_POLICIES
    if policy == "refuses":
        with pytest.raises(ValueError, match="modalities 'audio', 'video' are missing"):
            seeded(cls).fit(X, y)
        return
    method, answers = answered(seeded(cls).fit(X, y), X)
    lost = X.isna().to_numpy()
    if policy == "passes" and method == "transform":
        np.testing.assert_array_equal(np.isnan(answers), lost)
        return
    assert np.isfinite(answers.astype(float)).all()
    if policy == "imputes" and method == "transform":
        np.testing.assert_array_equal(answers[:, :4][~lost], X.to_numpy()[~lost])
    # What a sample still has is heard: one modality tells y as well as two.
    for rows in (slice(0, 20), slice(20, 40)):
        if is_classifier(seeded(cls)):
            assert (answers[rows] == y[rows]).mean() >= 0.9
        elif is_regressor(seeded(cls)):
            assert np.corrcoef(answers[rows], y[rows])[0, 1] > 0.7


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_a_class_says_it_itself(cls):
    """By its attribute, and in its docstring before the parameters."""
    stated = inspect.getattr_static(cls, "missing_modality")
    assert isinstance(stated, property) or stated in MISSING_POLICIES
    text = re.split(r"\n\s*Parameters\n", cls.__doc__)[0]
    assert re.search(
        r"absent|missing|lack|lost|NaN|has the modalit|that has ", text, re.IGNORECASE
    )


def test_a_model_that_marginalises_sums_over_what_could_be_there(global_seed):
    """A stream of symbols has so few values that all can be tried, at two steps at once."""
    rng = np.random.default_rng(global_seed)
    states = rng.integers(2, size=(60, 2))
    symbols = (states + (rng.random((60, 2)) < 0.2)) % 3
    table = pd.DataFrame(
        {
            "speed": [row[:, None] + rng.normal(size=(2, 1)) for row in states],
            "symbol": [row[:, None].astype(float) for row in symbols],
        }
    )
    model = MultistreamHMM(emissions={"speed": "gaussian", "symbol": "categorical"}, n_init=1)
    model.set_params(random_state=0, max_iter=5, tol=0).fit(table)
    one = table.iloc[:1]
    tried = [
        one.assign(symbol=[np.array([[first], [second]], float)])
        for first in range(3)
        for second in range(3)
    ]
    summed = logsumexp([model.score_samples(own)[0] for own in tried])
    assert model.score_samples(one.assign(symbol=[None]))[0] == pytest.approx(summed, abs=1e-10)


def test_the_readme_has_the_table():
    text = README.read_text(encoding="utf-8")
    table = policy_table(ESTIMATORS)
    shown = text.partition(START)[2].partition(END)[0]
    assert shown == table, f"between the markers of README.md should stand\n{table}"


def test_a_star_marks_what_is_left_to_the_model_inside():
    model = EarlyFusionClassifier(HistGradientBoostingClassifier())
    assert "| passes | is handed on with its NaN" in policy_table([model])
    assert policy_table([model]).endswith("| `EarlyFusionClassifier`\\* |")


def test_the_table_names_every_estimator():
    table = missing_policies(ESTIMATORS)
    assert list(table.index) == [cls.__name__ for cls in ESTIMATORS]
    assert table["meaning"].tolist() == [MISSING_POLICIES[policy] for policy in table["policy"]]


def test_policies_are_explained_in_the_docstring():
    for policy in MISSING_POLICIES:
        assert f'"{policy}"  ' in missing_policy.__doc__ or f'"{policy}"\n' in (
            missing_policy.__doc__
        )


@pytest.mark.parametrize(
    ("estimator", "policy"),
    [
        (LogisticRegression(), "refuses"),
        (HistGradientBoostingClassifier(), "passes"),
        (SimpleImputer(), "imputes"),
        (make_pipeline(SimpleImputer(), LogisticRegression()), "imputes"),
        (make_pipeline(ModalityImputer(), LogisticRegression()), "imputes"),
        (make_pipeline(ModalityConcatenator(), LogisticRegression()), "refuses"),
        (make_pipeline("passthrough", LateFusionClassifier()), "skips"),
        (make_pipeline(ModalityDropout(), HistGradientBoostingClassifier()), "passes"),
        (GridSearchCV(LateFusionClassifier(), {"rule": ["mean"]}), "skips"),
        (EarlyFusionClassifier(HistGradientBoostingClassifier()), "passes"),
        (EarlyFusionClassifier(make_pipeline(SimpleImputer(), LogisticRegression())), "imputes"),
        (ModalityDropoutClassifier(LogisticRegression()), "refuses"),
        (ModalityDropoutClassifier(LateFusionClassifier()), "skips"),
    ],
    ids=repr,
)
def test_policy_of_what_is_composed(estimator, policy):
    assert missing_policy(estimator) == policy
