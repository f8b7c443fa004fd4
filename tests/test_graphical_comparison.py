"""Comparisons of tables whose cells hold sequences: late rules on HMMs, graphical models."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mkfusion import LateFusionClassifier, compare_fusion, to_sequences
from mkfusion.cli import main
from mkfusion.evaluation._models import in_step, sequence_names
from mkfusion.graphical import HiddenCRFClassifier, HMMClassifier, StepwiseTransformer

FOLDS = StratifiedKFold(2, shuffle=True, random_state=0)
QUICK = HMMClassifier(2, temperature=None, max_iter=5, random_state=0)


@pytest.fixture(scope="module")
def recordings():
    """Forty recordings of two sensors, of which the second tells more, as steps and as cells."""
    rng = np.random.default_rng(0)
    y = np.repeat(["rest", "walk"], 20)[rng.permutation(40)]
    rows = []
    for i, label in enumerate(y):
        n = rng.integers(6, 15)
        state = np.cumsum(rng.random(n) < 0.3) % 2
        shift = 1.5 if label == "walk" else 0.0
        rows.append(
            pd.DataFrame(
                {
                    "acc__x": rng.normal(size=n) + state,
                    "acc__y": rng.normal(size=n) - state,
                    "gyro__z": rng.normal(size=n) + shift * state,
                    "id": i,
                    "label": label,
                    "subject": i % 8,
                }
            )
        )
    steps = pd.concat(rows, ignore_index=True)
    cells = to_sequences(steps, "id", keep=["label", "subject"])
    return steps, cells[["acc", "gyro"]], cells["label"], cells["subject"]


def compare(X, y, **params):
    params = {"cv": 2, "inner_cv": 2, "estimator": QUICK, **params}
    return compare_fusion(X, y, **params)


def mean_score(model, X, y):
    scores = []
    for train, test in FOLDS.split(X, y):
        model.fit(X.iloc[train], y.iloc[train])
        scores.append(np.mean(model.predict(X.iloc[test]) == y.iloc[test]))
    return np.mean(scores)


@pytest.mark.filterwarnings("ignore")
def test_rows_are_those_of_loops(recordings):
    _, X, y, _ = recordings
    chains = ["graphical:hmm", "graphical:hmm:early", "graphical:hidden_crf"]
    table = compare(X, y, strategies=["late:bayes", "late:log_pool", *chains]).table
    scaled = StepwiseTransformer(StandardScaler())
    expected = {
        "late:bayes": LateFusionClassifier(estimator=make_pipeline(scaled, QUICK)),
        "late:log_pool": LateFusionClassifier(
            estimator=make_pipeline(scaled, QUICK), rule="log_pool"
        ),
        "graphical:hmm": make_pipeline(scaled, HMMClassifier(random_state=0)),
        "graphical:hidden_crf": make_pipeline(scaled, HiddenCRFClassifier(random_state=0)),
        "single:acc": make_pipeline(StepwiseTransformer(StandardScaler(), {"acc": [0]}), QUICK),
    }
    for name, model in expected.items():
        assert table.loc[name, "score"] == pytest.approx(mean_score(model, X, y), abs=1e-12), name
    joined = pd.DataFrame(index=X.index)
    joined["joined"] = [np.hstack(pair) for pair in zip(X["acc"], X["gyro"], strict=True)]
    full = HMMClassifier(emissions=("gaussian", {"covariance_type": "full"}), random_state=0)
    early = mean_score(make_pipeline(scaled, full), joined, y)
    assert table.loc["graphical:hmm:early", "score"] == pytest.approx(early, abs=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_tried_of_sequences(recordings):
    _, X, y, _ = recordings
    found = compare(X, y, strategies="graphical", cv=2)
    named = [name for name in found.table.index if ":" in name and not name.startswith("single")]
    assert named == ["graphical:hmm", "graphical:hmm:early", "graphical:hidden_crf"]
    for strategy in ("early", "hybrid:mean", "mkl:uniform"):
        with pytest.raises(
            ValueError, match=f"unknown strategy '{strategy}'; of this task: 'late"
        ):
            compare(X, y, strategies=[strategy])


def test_graphical_strategies_are_for_sequences_only():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 4)))
    X.columns = ["a__0", "a__1", "b__0", "b__1"]
    y = np.arange(40) % 2
    with pytest.raises(ValueError, match="unknown strategy 'graphical:hmm'"):
        compare_fusion(X, y, strategies=["graphical:hmm"], cv=2)
    table = compare_fusion(X, y, cv=2).table
    assert not table.index.str.startswith("graphical").any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sequences_out_of_step_have_late_fusion(recordings):
    _, X, y, _ = recordings
    half = X.assign(gyro=[cell[::2] for cell in X["gyro"]])
    assert in_step(X, {"acc": [0], "gyro": [1]})
    assert not in_step(half, {"acc": [0], "gyro": [1]})
    table = compare(half, y, strategies=["late:mean"]).table
    assert table.loc["late:mean", "score"] > 0.4
    with pytest.raises(ValueError, match="unknown strategy 'graphical:hmm'"):
        compare(half, y, strategies=["graphical:hmm"])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:The temperature:UserWarning")
def test_sequences_beside_numbers(recordings):
    """An HMM hears the cells, the given model the numbers."""
    _, X, y, _ = recordings
    rng = np.random.default_rng(1)
    mixed = X[["gyro"]].assign(
        image__a=rng.normal(size=40) + (y == "walk"), image__b=rng.normal(size=40)
    )
    assert sequence_names(mixed, {"gyro": [0], "image": [1, 2]}, "classification") == ["gyro"]
    table = compare(mixed, y, strategies=["late:mean"], estimator=GaussianNB()).table
    assert {"single:gyro", "single:image", "late:mean"} <= set(table.index)
    numbers = make_pipeline(StandardScaler(), GaussianNB())
    score = mean_score(numbers, mixed[["image__a", "image__b"]], y)
    assert table.loc["single:image", "score"] == pytest.approx(score, abs=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_a_missing_modality(recordings):
    _, X, y, _ = recordings
    X = X.astype(object).copy()
    X.iloc[::5, 1] = None
    table = compare(X, y, strategies=["late:bayes", "graphical:hmm", "graphical:hmm:early"]).table
    assert table["score"].between(0, 1).all()
    assert np.isfinite(table["log_loss"]).all()


def test_columns_of_sequences_are_modalities_by_themselves(recordings):
    _, X, y, _ = recordings
    with pytest.raises(ValueError, match="column 'acc' holds sequences and is one of several"):
        compare(X, y, modalities={"both": ["acc", "gyro"]})
    with pytest.raises(ValueError, match="can be classified only"):
        compare(X, np.linspace(0, 1, 40))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_command_takes_a_table_of_steps(recordings, tmp_path, capsys):
    steps = recordings[0]
    file = tmp_path / "steps.csv"
    steps.to_csv(file, index=False)
    asked = ["--strategies", "late:mean", "graphical:hmm", "--cv", "2", "--quiet"]
    names = ["--target", "label", "--sequence", "id", "--groups", "subject"]
    assert main(["compare", str(file), *names, *asked]) == 0
    out = capsys.readouterr().out
    assert "40 rows" in out
    assert "graphical:hmm" in out
    patterns = ["--modalities", "first=acc*", "second=gyro*"]
    assert main(["compare", str(file), *names, *asked, *patterns]) == 0
    assert "single:second" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_command_leaves_out_sequences_without_a_target(recordings, tmp_path, capsys):
    """A sequence lacks its target where all steps do; where some do, it varies."""
    steps, file = recordings[0], tmp_path / "steps.csv"
    gaps = steps.assign(
        label=steps["label"].mask(steps["id"].isin([3, 5])), step=range(len(steps))
    )
    gaps.to_csv(file, index=False)
    names = ["--target", "label", "--sequence", "id", "--groups", "subject", "--ignore", "step"]
    asked = ["compare", str(file), *names, "--strategies", "late:mean", "--cv", "2", "--quiet"]
    assert main(asked) == 2
    err = capsys.readouterr().err
    assert "'label' is missing for 2 of 40 sequences, the first being sequence 3; --drop" in err
    assert main([*asked, "--drop-missing-target"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("mkfusion: left out, as 'label' is missing: 2 of 40 sequences\n")
    assert "38 rows" in out
    assert "ignored: 'step'" in out
    gaps["label"] = steps["label"].mask(steps.index == 0)
    gaps.to_csv(file, index=False)
    assert main([*asked, "--drop-missing-target"]) == 2
    assert "varies within sequence 0" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_command_leaves_out_columns_of_no_modality_of_sequences(recordings, tmp_path, capsys):
    file = tmp_path / "steps.csv"
    recordings[0].to_csv(file)
    asked = ["compare", str(file), "--target", "label", "--sequence", "id", "--cv", "2", "--quiet"]
    assert main(asked) == 2
    assert "--ignore leaves columns aside" in capsys.readouterr().err
    patterns = ["--modalities", "acc=acc*", "gyro=gyro*", "--strategies", "late:mean"]
    assert main([*asked, *patterns]) == 0
    out, err = capsys.readouterr()
    assert "columns 'Unnamed: 0', 'subject' belong to no modality and are not used" in err
    assert "modalities (columns): acc (1), gyro (1)\n" in out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["--target", "label", "--sequence", "who"], "--sequence: no column 'who'"),
        (["--target", "nothing", "--sequence", "id"], "--target: no column 'nothing'"),
        (["--target", "id", "--sequence", "id"], "is the target or the groups too"),
        (
            [
                "--target",
                "acc__x",
                "--sequence",
                "id",
                "--modalities",
                "a=acc__y",
                "g=gyro*",
                "l=label,subject",
            ],
            "varies within sequence",
        ),
    ],
)
def test_command_refuses_in_one_line(recordings, names, message, tmp_path, capsys):
    file = tmp_path / "steps.csv"
    recordings[0].to_csv(file, index=False)
    assert main(["compare", str(file), *names]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert main(["compare", "--sequence", "id"]) == 2
    assert "--sequence needs a file" in capsys.readouterr().err
