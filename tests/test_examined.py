"""A closer look at the fusion that a comparison judges: the right one, on the same folds."""

import numpy as np
import pandas as pd
import pytest
from comparisons import made
from sklearn.linear_model import LogisticRegression

from mkfusion import EarlyFusionClassifier, compare_fusion
from mkfusion.cli import main
from mkfusion.evaluation import examine_fusion


def table(n=90, modalities="abcd", seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    columns = {f"{m}__{k}": y + rng.normal(size=n) for m in modalities for k in range(2)}
    return pd.DataFrame(columns), np.array(["no", "yes"])[y]


@pytest.mark.parametrize("name", ["late:mean", "late:log_pool:learn", "early", "hybrid:mean"])
def test_it_is_the_fusion_that_was_compared(name, global_seed):
    """On everything it scores, split by split, what the comparison says."""
    X, y = table(seed=global_seed)
    found = compare_fusion(X, y, strategies=["late:mean"], strategy=name, cv=3)
    examined = examine_fusion(found, X, y, cv=3)
    assert (examined.name, examined.picked, examined.reasons) == (name, None, [])
    report, curve = examined.report, examined.robustness
    np.testing.assert_allclose(report.fold_scores.iloc[:, -1], found.fold_scores[name])
    assert report.strategy == ("refit" if name == "late:mean" else "mask")
    clean = curve.curves.iloc[0]
    single = found.choices["single"].value_counts().index[0]
    assert clean[name] == pytest.approx(found.table.loc[name, "score"])
    assert clean[single] == pytest.approx(found.table.loc[single, "score"])


def test_the_one_chosen_most_often(global_seed):
    X, y = table(modalities="ab", seed=global_seed)
    found = compare_fusion(X, y, strategies=["late:mean", "late:vote", "early"], cv=4)
    examined = examine_fusion(found, X, y, cv=4)
    counts = found.choices["fusion"].value_counts()
    assert examined.name == counts.index[0]
    assert (examined.picked, examined.n_splits) == (counts.iloc[0], 4)
    assert examined.report.strategy == "refit"  # of so few modalities


def test_groups_numbers_and_other_columns():
    X, y = table()
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(18), 5)
    X["a__word"] = rng.choice(["red", "green"], size=len(X))
    target = X["b__0"] + rng.normal(size=len(X))
    for goal in (y, target):
        found = compare_fusion(X, goal, strategy="late:mean", strategies=["early"], groups=groups)
        examined = examine_fusion(found, X, goal, groups=groups)
        scores = examined.report.fold_scores.iloc[:, -1]
        np.testing.assert_allclose(scores, found.fold_scores["late:mean"])


def test_it_does_not_depend_on_n_jobs():
    X, y = table()
    found = compare_fusion(X, y, strategies=["early"], cv=3)
    one, two = (examine_fusion(found, X, y, cv=3, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.report.fold_scores, two.report.fold_scores)
    pd.testing.assert_frame_equal(one.robustness.scores, two.robustness.scores)


def test_what_is_refused_is_kept():
    X, y = table()
    own = EarlyFusionClassifier(LogisticRegression())  # takes no NaN
    pair = ("mine", own)
    found = compare_fusion(X, y, strategies=[pair], strategy="mine", cv=3)
    examined = examine_fusion(found, X, y, cv=3)
    assert examined.report is None
    assert "NaN" in examined.reasons[0]


def test_other_modalities_are_refused():
    X, y = table()
    with pytest.raises(ValueError, match="was of the modalities 'sense0'"):
        examine_fusion(made(3, 2), X, y)


def test_one_modality_is_nothing_to_examine():
    X, y = table(modalities="a")
    assert examine_fusion(made(1, 2), X, y) is None


def test_the_command_examines_for_the_page_only(tmp_path, monkeypatch, capsys):
    X, y = table(modalities="ab")
    X.assign(label=y).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["compare", str(tmp_path / "t.csv"), "--target", "label", "--cv", "3"]
    arguments += ["--strategies", "early", "--strategy", "late:mean"]
    page = tmp_path / "page.html"
    assert main([*arguments, "--report", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "What each modality is worth" in text
    assert "late:mean" in text
    assert "named beforehand" in text

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr("mkfusion.cli.examine_fusion", refuse)
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
