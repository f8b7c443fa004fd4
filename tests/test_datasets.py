"""Data that are shipped or drawn: they are what they say, and the stated truth is true."""

import csv
import gzip
import hashlib
import itertools
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from mkfusion import modality_mask, to_sequences
from mkfusion.datasets import (
    load_multiple_features,
    load_watch,
    make_multimodal_classification,
    make_multimodal_regression,
    make_multimodal_sequences,
    simulate_missing,
)
from mkfusion.datasets._simulated import simplex

CHECKSUMS = {
    "multiple_features.csv.gz": "3595c16d9aa8058cdb64320d4b447410ef59ef1f7733c05f32140c62fbeec309",
    "watch.csv.gz": "37baba8adbbf3cbf4193a21918306f47698a47037032e98cdd24e2d3e7835596",
}
MAKERS = {
    "classification": make_multimodal_classification,
    "regression": make_multimodal_regression,
    "sequences": make_multimodal_sequences,
}
LAYOUTS = ("sequences", "steps", "sessions")
THREE = {"audio": 6, "video": 7, "static": 5}
SIGMAS = 5.5  # one false alarm in 26 million comparisons


def assert_mean(values, expected):
    """Compare the mean of independent draws with its expectation, in standard errors."""
    values = np.asarray(values, dtype=float)
    error = values.std(axis=0) / np.sqrt(len(values))
    assert (np.abs(values.mean(axis=0) - expected) <= SIGMAS * error + 1e-12).all()


def assert_share(hits, expected):
    """Compare a share of independent draws with its probability."""
    hits = np.asarray(hits, dtype=float)
    error = np.sqrt(expected * (1 - expected) / len(hits))
    assert abs(hits.mean() - expected) <= SIGMAS * error + 1e-12


def assert_same(one, two):
    """Compare what two calls returned, whatever it is."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    elif isinstance(one, pd.DataFrame | pd.Series):
        pd.testing.assert_index_equal(one.index, two.index)
        assert_same(one.to_numpy(), two.to_numpy())
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert one.shape == two.shape
        assert_same(one.ravel().tolist(), two.ravel().tolist())
    elif isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, two)
    else:
        assert one == two or (one != one and two != two)


def assert_values(one, two):
    """Compare two arrays by value, not by type."""
    if one.dtype == object and isinstance(one.flat[0], np.ndarray):
        assert_same(one, two)
    else:
        np.testing.assert_array_equal(one, two)


# What is shipped -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKSUMS)
def test_shipped_files_are_unchanged(name):
    content = files("mkfusion.datasets").joinpath("data", name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == CHECKSUMS[name]


def test_no_data_are_read_at_import():
    code = (
        "import sys; opened = []\n"
        "sys.addaudithook(lambda e, a: opened.append(str(a[0])) if e == 'open' else None)\n"
        "from mkfusion.datasets import load_watch\n"
        "before = sum('.csv.gz' in name for name in opened); load_watch()\n"
        "print(before, sum('watch.csv' in name for name in opened))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]


def test_multiple_features():
    digits = load_multiple_features()
    sums = {key: digits.data[own].to_numpy().sum() for key, own in digits.modalities.items()}
    assert sums == pytest.approx(
        {
            "fou": 20068.8764,
            "fac": 137492808,
            "kar": 6794.8529,
            "pix": 1452834,
            "zer": 8331825.0752,
            "mor": 12632390.6348,
        }
    )
    widths = [len(own) for own in digits.modalities.values()]
    assert widths == [76, 216, 64, 240, 47, 6]
    assert digits.target.tolist() == np.repeat(np.arange(10), 200).tolist()
    assert digits.target_names.tolist() == list(range(10))
    assert digits.feature_names == list(digits.data.columns)
    assert len(set(digits.feature_names)) == 649
    assert all(digits.data[f"fac__{j}"].dtype == np.int64 for j in range(216))
    assert not digits.data.isna().any(axis=None)


def read_watch():
    raw = files("mkfusion.datasets").joinpath("data", "watch.csv.gz").read_bytes()
    return list(csv.DictReader(gzip.decompress(raw).decode().splitlines()))


def test_watch_sequences_and_steps_hold_the_file():
    rows = read_watch()
    steps, watch = load_watch(layout="steps"), load_watch()
    values = np.array([[float(row[name]) for name in steps.feature_names] for row in rows])
    np.testing.assert_array_equal(steps.data, values)
    assert steps.feature_names == [f"{m}__{a}" for m in steps.modalities for a in "xyz"]
    assert list(steps.modalities) == list(watch.data) == ["accelerometer", "gyroscope"]
    assert steps.data.index.names == ["sequence", "step"]
    assert steps.data.index.is_unique
    assert steps.sequence.tolist() == [int(row["sequence"]) for row in rows]
    assert steps.target.tolist() == [row["exercise"] for row in rows]
    assert steps.groups.tolist() == [int(row["subject"]) for row in rows]
    assert steps.side.tolist() == [row["side"] for row in rows]

    assert watch.data.shape == (140, 2)
    assert watch.data.index.name == "sequence"
    for j, sensor in enumerate(watch.data.columns):
        np.testing.assert_array_equal(
            np.vstack(watch.data[sensor].tolist()), values[:, 3 * j : 3 * j + 3]
        )
        assert (
            watch.data[sensor].map(len).tolist()
            == steps.sequence.value_counts(sort=False).tolist()
        )
    for name in ("target", "groups", "side"):
        assert watch[name].tolist() == steps[name].groupby(level="sequence").first().tolist()
    assert watch.target.value_counts().tolist() == [20] * 7
    assert watch.groups.value_counts().tolist() == [14] * 10
    assert watch.data["gyroscope"].map(np.sum).sum() == pytest.approx(1728.5401)
    assert watch.sampling_rate == 10.0


def test_watch_sessions_join_whole_recordings():
    steps, sessions = load_watch(layout="steps"), load_watch(layout="sessions")
    assert sessions.data.shape == steps.data.shape
    assert sessions.data.index.is_unique
    assert sessions.sequence.is_monotonic_increasing
    frame = sessions.data.assign(
        **{name: sessions[name] for name in ("recording", "groups", "side", "target")}
    )
    orders = []
    for _, session in frame.groupby(level="sequence", sort=False):
        assert session.groupby(["groups", "side"]).ngroups == 1
        order = session["recording"].drop_duplicates().tolist()
        orders.append(order)
        joined = pd.concat([steps.data.loc[recording] for recording in order])
        np.testing.assert_array_equal(session[sessions.feature_names], joined)
        labels = pd.concat([steps.target.loc[recording] for recording in order])
        assert session["target"].tolist() == labels.tolist()
    assert [len(order) for order in orders] == [7] * 20
    assert sorted(itertools.chain(*orders)) == list(range(140))
    assert sum(order == sorted(order) for order in orders) <= 2
    again, other = (load_watch(layout="sessions", random_state=seed) for seed in (0, 1))
    assert_same(dict(again), dict(sessions))
    assert other.recording.tolist() != sessions.recording.tolist()


LOADERS = [
    pytest.param(load_multiple_features, {}, id="digits"),
    *(pytest.param(load_watch, {"layout": layout}, id=layout) for layout in LAYOUTS),
]


@pytest.mark.parametrize(("load", "options"), LOADERS)
def test_frames_and_arrays_agree(load, options):
    framed, plain = load(**options), load(as_frame=False, **options)
    assert set(framed) == set(plain)
    for name in framed:
        if isinstance(framed[name], pd.Series | pd.DataFrame):
            assert type(plain[name]) is np.ndarray
            assert_values(plain[name], framed[name].to_numpy())
    assert plain.data.dtype == (object if options.get("layout") == "sequences" else np.float64)
    for X, modalities in ((framed.data, framed.modalities), (plain.data, plain.modalities)):
        for name, columns in modalities.items():
            chosen = ColumnTransformer([(name, "passthrough", columns)]).fit_transform(X)
            assert_values(np.asarray(chosen), framed.data[framed.modalities[name]].to_numpy())
    X, y = load(return_X_y=True, **options)
    assert_same([X, y], [framed.data, framed.target])


@pytest.mark.parametrize("as_frame", [True, False])
@pytest.mark.parametrize(("load", "options"), LOADERS)
def test_loaded_data_are_fresh(load, options, as_frame):
    first = load(as_frame=as_frame, **options)
    kept = load(as_frame=as_frame, **options)
    values = first.data.iloc if as_frame else first.data
    if options.get("layout") == "sequences":
        values[0, 0][:] = -99.0
    values[1, 1] = -99
    first.modalities.clear()
    first.feature_names.clear()
    first.target_names[:] = first.target_names[0]
    (first.target.iloc if as_frame else first.target)[0] = first.target_names[0]
    assert_same(dict(load(as_frame=as_frame, **options)), dict(kept))


def test_descriptions_say_terms_and_traps():
    digits, watch = load_multiple_features().DESCR, load_watch().DESCR
    for text in (
        "10.24432/C5HC70",
        "CC BY 4.0",
        "licenses/by/4.0",
        "Duin",
        "sorted by digit",
        "shuffl",
    ):
        assert text in digits
    for text in (
        "Copyright (c) 2018, David M. Burns",
        "BSD-3-Clause",
        "Redistributions in binary form must reproduce",
        "1802.01489",
        "10 Hz",
        "Split by subject",
        "ARTIFICIAL",
        "rad/s",
    ):
        assert text in watch


# Loss of modalities --------------------------------------------------------------------------


def numbers(n_samples=6000):
    X = np.random.RandomState(1).standard_normal((n_samples, 6))
    return pd.DataFrame(X, columns=[f"{m}__{j}" for m in "abc" for j in range(2)])


def lost(X):
    """Tell who has lost what, and that it is whole modalities."""
    blanks = X.isna()
    assert (blanks.iloc[:, ::2].to_numpy() == blanks.iloc[:, 1::2].to_numpy()).all()
    return blanks.iloc[:, ::2].to_numpy()


def test_loss_at_random_is_independent_with_its_rate(global_seed):
    X = numbers()
    gone = lost(
        simulate_missing(X, {"a": 0.3, "c": 0.6}, random_state=global_seed, keep_one=False)
    )
    for j, rate in enumerate((0.3, 0.0, 0.6)):
        assert_share(gone[:, j], rate)
    assert_share(gone[:, 0] & gone[:, 2], 0.18)


def test_one_modality_is_kept_and_chosen_evenly(global_seed):
    X, rate = numbers(), 0.7
    gone = lost(simulate_missing(X, rate, random_state=global_seed))
    assert not gone.all(axis=1).any()
    for j in range(3):
        assert_share(gone[:, j], rate - rate**3 / 3)
    all_at_once = lost(simulate_missing(X, 1, random_state=global_seed))
    assert (all_at_once.sum(axis=1) == 2).all()
    for j in range(3):
        assert_share(~all_at_once[:, j], 1 / 3)
    assert simulate_missing(X, 1.0, keep_one=False).isna().all(axis=None)


def test_a_sample_keeps_one_of_those_it_had():
    X = numbers(60)
    X.iloc[::2, :4] = np.nan
    X.iloc[5] = np.nan
    left = ~lost(simulate_missing(X, 1.0, random_state=0))
    assert left[::2].tolist() == [[False, False, True]] * 30
    assert left.sum(axis=1).tolist() == [0 if i == 5 else 1 for i in range(60)]
    left = ~lost(simulate_missing(X, {"c": 0.5}, random_state=0))
    assert left[::2, 2].all()
    assert 5 < left[1::2, 2].sum() < 25


@pytest.mark.parametrize("rate", [0.4, 0.8])
def test_loss_by_class_has_the_stated_rates(global_seed, rate):
    X = numbers()
    y = np.random.RandomState(2).choice(["p", "q", "r"], len(X), p=[0.2, 0.3, 0.5])
    gone = lost(
        simulate_missing(X, rate, pattern="class", y=y, keep_one=False, random_state=global_seed)
    )
    half = min(rate, 1 - rate) / 2
    for c, m in itertools.product(range(3), range(3)):
        assert_share(gone[y == "pqr"[c], m], rate + half * ((c + m) % 3 - 1))


def test_loss_in_blocks_is_one_run(global_seed):
    gone = lost(
        simulate_missing(
            numbers(500), {"a": 0.25, "b": 1}, pattern="block", random_state=global_seed
        )
    )
    assert gone.sum(axis=0).tolist() == [125, 500, 0]
    assert np.abs(np.diff(gone[:, 0].astype(int), prepend=0, append=0)).sum() == 2
    starts = {
        int(
            lost(simulate_missing(numbers(20), {"a": 0.2}, pattern="block", random_state=s))[
                :, 0
            ].argmax()
        )
        for s in range(150)
    }
    assert starts == set(range(17))


def mixed_frame():
    return pd.DataFrame(
        {
            "a__int": np.arange(4, dtype=np.int8),
            "a__bool": [True, False, True, True],
            "a__half": np.ones(4, dtype=np.float16),
            "a__text": pd.array(["u", "v", "w", "x"], dtype="string"),
            "a__object": pd.Series(["u", 1, None, 2.0], dtype=object),
            "a__category": pd.Categorical(["u", "v", "u", "v"]),
            "a__nullable": pd.array([1, 2, None, 4], dtype="Int64"),
            "a__flag": pd.array([True, False, None, True], dtype="boolean"),
            "a__time": pd.date_range("2020-01-01", periods=4),
            "a__sparse": pd.arrays.SparseArray([0, 0, 1, 0]),
            "b__int": [1, 2, 3, 4],
        },
        index=[7, 7, 8, 9],
    )


def test_every_kind_of_column_gets_its_own_missing_value():
    X = mixed_frame()
    before = X.copy(deep=True)
    got = simulate_missing(X, {"a": 0.5}, pattern="block", random_state=0)
    pd.testing.assert_frame_equal(X, before)
    gone = got["a__int"].isna().to_numpy()
    assert gone.sum() == 2
    assert got[gone].drop(columns="b__int").isna().all(axis=None)
    for name in X:
        was, now = X[name][~gone], got[name][~gone]
        assert now.isna().tolist() == was.isna().tolist()
        assert now.dropna().tolist() == was.dropna().tolist()
    assert got["a__int"].dtype == got["a__bool"].dtype == np.float64
    for name in (
        "a__half",
        "a__text",
        "a__category",
        "a__nullable",
        "a__flag",
        "a__time",
        "b__int",
    ):
        assert got[name].dtype == X[name].dtype
    assert all(cell is None for cell in got["a__object"][gone])
    assert got["a__nullable"][gone].tolist() == [pd.NA, pd.NA]
    assert got.index.equals(X.index)
    assert got["b__int"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, "U3", object])
def test_arrays_are_copied_with_room_for_nan(dtype):
    X = np.arange(24).reshape(8, 3).astype(dtype)
    X.setflags(write=False)
    before = X.copy()
    picks = {"a": [0, 2], "b": [False, True, False]}
    got = simulate_missing(X, {"a": 0.5}, modalities=picks, pattern="block", random_state=0)
    np.testing.assert_array_equal(X, before)
    expected = {"f": np.float32, "i": np.float64, "b": np.float64, "U": object, "O": object}
    assert got.dtype == expected[X.dtype.kind]
    gone = pd.isna(got)
    assert gone[:, 0].sum() == 4
    assert not gone[:, 1].any()
    assert (gone[:, 0] == gone[:, 2]).all()
    assert (got[~gone] == X[~gone]).all()
    if got.dtype == object:
        assert all(cell is None for cell in got[gone])


def test_whole_sequences_are_lost():
    watch = load_watch()
    before = watch.data.copy()
    got = simulate_missing(watch.data, 0.5, random_state=0)
    pd.testing.assert_frame_equal(watch.data, before)
    assert got.map(lambda cell: cell is None or cell.shape[1] == 3).all(axis=None)
    assert 20 < got["gyroscope"].isna().sum() < 80
    assert not got.isna().all(axis=1).any()
    hollow = pd.DataFrame({"a": [np.full((3, 2), np.nan)] * 20, "b": [np.ones((1, 1))] * 20})
    kept = simulate_missing(hollow, 1.0, random_state=0)
    assert kept["b"].notna().all()


@pytest.mark.parametrize(
    "selector",
    [
        ["b__0", "b__1"],
        slice("b__0", "b__1"),
        [2, 3],
        slice(2, 4),
        [False] * 2 + [True] * 2 + [False] * 2,
        lambda X: [2, 3],
        [-3, -4],
    ],
)
def test_selectors(selector):
    X = numbers(10)
    got = simulate_missing(X, 1.0, modalities={"m": selector}, keep_one=False)
    assert got.isna().all().tolist() == [False, False, True, True, False, False]


def test_one_modality_that_must_be_kept_is_warned_of():
    with pytest.warns(UserWarning, match="one modality, 'b'.*keep_one=False"):
        got = simulate_missing(numbers(9)[["b__0", "b__1"]], 0.5)
    assert not got.isna().any(axis=None)


def plain(**changes):
    return {"X": numbers(5), "rate": 0.5, "y": [0, 1, 0, 1, 0], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 1.4}, r"rate must lie in \[0, 1\], got 1.4"),
        ({"rate": -0.1}, r"rate must lie in \[0, 1\], got -0.1"),
        ({"rate": float("nan")}, r"rate must lie in \[0, 1\], got nan"),
        ({"rate": "half"}, r"rate must be a number in \[0, 1\], got 'half'"),
        ({"rate": True}, r"rate must be a number in \[0, 1\], got True"),
        ({"rate": {"a": 2}}, r"rate of modality 'a' must lie in \[0, 1\], got 2"),
        ({"rate": {"d": 0.5}}, "rate names 'd', but the modalities are 'a', 'b', 'c'"),
        ({"pattern": "rows"}, "pattern must be one of 'random', 'class', 'block', got 'rows'"),
        ({"keep_one": "yes"}, "keep_one must be True or False, got 'yes'"),
        ({"random_state": "x"}, "random_state must be None, a whole number .* got 'x'"),
        ({"random_state": -1}, "random_state must be None, .* got -1"),
        ({"pattern": "class", "y": None}, "y must be given for the pattern 'class', got None"),
        ({"pattern": "class", "y": [0, 1]}, r"y must have shape \(5,\), got shape \(2,\)"),
        ({"pattern": "class", "y": [0, 1, 0, 1, None]}, "y must have no missing labels, got 1"),
        ({"pattern": "class", "y": [0.5, 1, 0, 1, 2]}, "y must hold class labels"),
        ({"X": np.zeros((5, 6))}, "modalities must be given"),
        ({"X": np.zeros(5)}, r"X must have shape \(n_samples, n_features\), got shape \(5,\)"),
        ({"X": np.zeros((5, 2), dtype="M8[s]")}, "X must hold numbers.*datetime64"),
        ({"X": pd.DataFrame({"a__0": [1.0], "x": [1.0]})}, "modalities must be given.*'x'"),
        ({"X": pd.DataFrame({0: [1.0]})}, "modalities must be given.*without one: 0"),
        ({"X": pd.DataFrame({"remainder__a": [1.0]})}, "modalities must be given.*'remainder__a'"),
        ({"X": pd.DataFrame(index=[0])}, "modalities must be given"),
        ({"modalities": ["a__0"]}, r"modalities must map names to columns.*got \['a__0'\]"),
        ({"modalities": {}}, "modalities must map names to columns"),
        ({"modalities": {"m": ["z"]}}, r"modality 'm' selects columns .*6 columns.*\['z'\]"),
        ({"modalities": {"m": [6]}}, r"modality 'm' selects columns .*6 columns.*\[6\]"),
        ({"modalities": {"m": None}}, "modality 'm' .* selector is None"),
        ({"modalities": {"m": slice(20, 40)}}, r"modality 'm' selects no columns of X \(6"),
        ({"modalities": {"m": [0, 1], "n": "a__1"}}, "must not share.*'m' and 'n'.*column 1"),
    ],
)  # fmt: skip
def test_simulate_missing_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        simulate_missing(**plain(**changes))


def test_sparse_matrix_is_refused():
    from scipy.sparse import csr_matrix

    with pytest.raises(ValueError, match=r"X must be .*dense.*toarray\(\)"):
        simulate_missing(csr_matrix(np.eye(3)), 0.5, modalities={"a": [0], "b": [1]})


# Classes -------------------------------------------------------------------------------------


def draw_classes(seed, n_samples=4000, **options):
    return make_multimodal_classification(n_samples, random_state=seed, **options)


def codes(truth):
    return np.searchsorted(truth.target_names, truth.true_target)


RICH = {
    "modalities": {"audio": 7, "video": 9, "static": 5},
    "n_classes": 3,
    "weights": [0.2, 0.3, 0.5],
    "unique": {"audio": 1.2},
    "synergistic": 3.0,
    "noise_modalities": ["static"],
    "noise": {"audio": 0.5, "video": 0.8, "static": 1.5},
    "correlation": 0.4,
}


def test_classification_tables():
    truth = draw_classes(0, 50, class_names=["calm", "happy", "sad"], missing=0.4, **RICH)
    assert truth.data.shape == truth.complete.shape == (50, 21)
    assert truth.feature_names == [
        f"{m}__{j}" for m, d in RICH["modalities"].items() for j in range(d)
    ]
    assert set(truth.target) == {"calm", "happy", "sad"}
    assert truth.carries == {
        "audio": ("redundant", "unique", "synergistic"),
        "video": ("redundant", "synergistic"),
        "static": (),
    }
    for name, columns in truth.modalities.items():
        absent = ~truth.mask[name].to_numpy()
        assert truth.data.loc[absent, columns].isna().all(axis=None)
        pd.testing.assert_frame_equal(
            truth.data.loc[~absent, columns], truth.complete.loc[~absent, columns]
        )
    assert truth.mask.any(axis=1).all()
    assert not truth.mask.all(axis=1).all()
    for posterior in (
        truth.posterior,
        truth.observed_posterior,
        *truth.modality_posteriors.values(),
    ):
        assert posterior.shape == (50, 3)
        np.testing.assert_allclose(posterior.sum(axis=1), 1)


def test_what_is_drawn_is_the_stated_model(global_seed):
    truth = draw_classes(global_seed, 8000, **RICH)
    y = codes(truth)
    for c, prior in enumerate(RICH["weights"]):
        assert_share(y == c, prior)
    # Sources: unit normal about corners that stand as far apart as was asked.
    symbols = {"redundant": y, "unique_audio": y}
    symbols |= {f"synergistic_{m}": truth.digits[m].to_numpy() for m in ("audio", "video")}
    strengths = {
        "redundant": 1.0,
        "unique_audio": 1.2,
        "synergistic_audio": 3.0,
        "synergistic_video": 3.0,
    }
    assert list(truth.latent) == [f"{name}__{j}" for name in symbols for j in range(2)]
    centred = truth.latent.copy()
    for name, symbol in symbols.items():
        own = [f"{name}__0", f"{name}__1"]
        means = truth.latent[own].groupby(symbol).mean()
        centred[own] -= means.to_numpy()[symbol]
        for a, b in itertools.combinations(range(3), 2):
            distance = np.linalg.norm(means.loc[a] - means.loc[b])
            slack = SIGMAS * np.sqrt(2 / (symbol == a).sum() + 2 / (symbol == b).sum())
            assert abs(distance - strengths[name]) < slack
    spread = np.cov(centred.T)
    assert np.abs(spread - np.eye(8)).max() < SIGMAS * np.sqrt(2 / 8000)
    # Features: loadings with orthonormal columns, and equally correlated noise.
    rest = truth.complete - truth.latent @ truth.loadings.T
    for name, columns in truth.modalities.items():
        loadings = truth.loadings.loc[columns].to_numpy()
        carried = loadings.any(axis=0)
        assert carried.sum() == 2 * len(truth.carries[name])
        np.testing.assert_allclose(
            loadings[:, carried].T @ loadings[:, carried], np.eye(carried.sum()), atol=1e-12
        )
        variance = RICH["noise"][name] ** 2
        shape = 0.4 + 0.6 * np.eye(len(columns))
        slack = SIGMAS * variance * np.sqrt(2 / 8000)
        assert np.abs(np.cov(rest[columns].T) - variance * shape).max() < slack
    between = np.corrcoef(rest.T)[:7, 7:]
    assert np.abs(between).max() < SIGMAS / np.sqrt(8000)


def test_simplex_is_regular():
    for n in (2, 3, 10):
        points = simplex(n)
        gaps = np.linalg.norm(points[:, None] - points, axis=2)
        np.testing.assert_allclose(gaps, 1 - np.eye(n), atol=1e-12)
        np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)


def posteriors_of(truth):
    yield truth.posterior
    yield truth.observed_posterior
    yield from truth.modality_posteriors.values()


@pytest.mark.parametrize("synergistic", [0.0, 3.0])
def test_posteriors_are_calibrated(global_seed, synergistic):
    options = {**RICH, "synergistic": synergistic, "missing": 0.4, "label_noise": 0.2}
    truth = draw_classes(global_seed, 6000, **options)
    y = codes(truth)
    for p in posteriors_of(truth):
        logs = np.log(p)
        assert_mean(logs[np.arange(len(y)), y] - (p * logs).sum(axis=1), 0)
        for c in range(3):
            assert_mean((y == c) - p[:, c], 0)
            assert_mean(((y == c) - p[:, c]) * p[:, c], 0)


def oracle_posterior(truth, columns, synergistic):
    """Sum the densities over all digits, as the docstring's model says."""
    n, loadings = RICH["n_classes"], truth.loadings.loc[columns].to_numpy()
    noise = [RICH["noise"][name.partition("__")[0]] for name in columns]
    same = np.equal.outer(*[[name.partition("__")[0] for name in columns]] * 2)
    shape = np.where(same, RICH["correlation"], 0) + (1 - RICH["correlation"]) * np.eye(
        len(columns)
    )
    covariance = loadings @ loadings.T + np.outer(noise, noise) * shape
    v = simplex(n)
    joint = np.zeros((len(truth.complete), n))
    for y, a in itertools.product(range(n), range(n)):
        centre = [1.0 * v[y], 1.2 * v[y]]
        centre += [synergistic * v[a], synergistic * v[(y - a) % n]] if synergistic else []
        density = multivariate_normal(loadings @ np.hstack(centre), covariance)
        joint[:, y] += RICH["weights"][y] / n * density.pdf(truth.complete[columns])
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("synergistic", [0.0, 3.0])
def test_posteriors_are_exact(global_seed, synergistic):
    truth = draw_classes(global_seed, 60, **{**RICH, "synergistic": synergistic})
    np.testing.assert_allclose(
        truth.posterior, oracle_posterior(truth, truth.feature_names, synergistic), atol=1e-9
    )
    for name, columns in truth.modalities.items():
        expected = oracle_posterior(truth, columns, synergistic)
        np.testing.assert_allclose(truth.modality_posteriors[name], expected, atol=1e-9)


@pytest.mark.parametrize("synergistic", [0.0, 3.0])
def test_fitted_model_comes_near_the_posteriors(global_seed, synergistic):
    """Gaussian classes of one covariance: a linear discriminant is consistent."""
    options = {**RICH, "synergistic": synergistic}
    truth = draw_classes(global_seed, 20000, **options)
    y = codes(truth)
    cell = y * 3 + (truth.digits["audio"] if synergistic else 0)
    modalities = truth.modalities
    targets = {name: (own, truth.modality_posteriors[name]) for name, own in modalities.items()}
    targets["all"] = truth.feature_names, truth.posterior
    for own, posterior in targets.values():
        model = LinearDiscriminantAnalysis(solver="lsqr").fit(truth.complete[own], cell)
        fitted = model.predict_proba(truth.complete[own])
        by_class = fitted @ (model.classes_[:, None] // 3 == np.arange(3))
        assert np.abs(by_class - posterior).mean() < 0.02


def test_one_modality_tells_classes_apart_by_the_stated_distance(global_seed):
    truth = draw_classes(global_seed, 5000, redundant=1.5, unique={"audio": 1.0}, noise=0.8)
    y = codes(truth)
    for name, unique in (("audio", 1.0), ("video", 0.0)):
        distance = np.sqrt((1.5**2 + unique**2) / (1 + 0.8**2))
        right = truth.modality_posteriors[name].argmax(axis=1) == y
        assert_share(right, norm.cdf(distance / 2))


def test_unique_information_adds_up_and_redundant_does_not(global_seed):
    own = draw_classes(global_seed, 2000, redundant=0, n_classes=3, weights=[0.5, 0.3, 0.2])
    product = (
        np.prod([p / own.priors for p in own.modality_posteriors.values()], axis=0) * own.priors
    )
    np.testing.assert_allclose(
        own.posterior, product / product.sum(axis=1, keepdims=True), atol=1e-9
    )

    shared = draw_classes(global_seed, 2000, redundant=2.0, unique=0, noise=1e-3)
    for posterior in shared.modality_posteriors.values():
        np.testing.assert_allclose(shared.posterior, posterior, atol=0.02)
    y = codes(shared)
    assert (shared.posterior.argmax(axis=1) == y).mean() > 0.75


@pytest.mark.parametrize("n_classes", [2, 3])
def test_synergy_informs_only_jointly(global_seed, n_classes):
    weights = [0.7, 0.3] if n_classes == 2 else [0.5, 0.3, 0.2]
    truth = draw_classes(
        global_seed, n_classes=n_classes, weights=weights, redundant=0, unique=0, synergistic=6.0,
        label_noise=0, noise=0.3,
    )  # fmt: skip
    y = codes(truth)
    assert (truth.digits.sum(axis=1) % n_classes == y).all()
    for name, digit in truth.digits.items():
        np.testing.assert_allclose(truth.modality_posteriors[name], np.tile(weights, (4000, 1)))
        for c in range(n_classes):
            for value in range(n_classes):
                assert_share(digit[y == c] == value, 1 / n_classes)
    assert (truth.posterior.argmax(axis=1) == y).mean() > 0.97
    # Neighbours find it in both together, and in neither alone.
    half = slice(0, 2000), slice(2000, 4000)
    seen = {
        names: KNeighborsClassifier(25)
        .fit(truth.latent.filter(regex=names)[half[0]].to_numpy(), y[half[0]])
        .score(truth.latent.filter(regex=names)[half[1]].to_numpy(), y[half[1]])
        for names in ("audio", "video", "synergistic")
    }
    assert seen["audio"] < weights[0] + 0.06
    assert seen["video"] < weights[0] + 0.06
    assert seen["synergistic"] > 0.9


def test_noise_modality_says_nothing(global_seed):
    truth = draw_classes(global_seed, modalities=THREE, noise_modalities=["static"], unique=3.0)
    np.testing.assert_allclose(truth.modality_posteriors["static"], 0.5)
    assert (truth.loadings.loc[truth.modalities["static"]] == 0).all(axis=None)
    table = np.column_stack([codes(truth), truth.complete])
    noise = np.corrcoef(table.T)[14:, :14]
    assert np.abs(noise).max() < SIGMAS / np.sqrt(4000)
    nothing = draw_classes(0, 300, noise_modalities=["audio", "video"])
    assert nothing.latent.shape == (300, 0)
    np.testing.assert_allclose(nothing.posterior, 0.5)


def test_label_noise_goes_to_the_other_classes_evenly(global_seed):
    truth = draw_classes(global_seed, n_classes=4, label_noise=0.3)
    step = (truth.target - truth.true_target) % 4
    assert_share(step == 0, 0.7)
    for other in (1, 2, 3):
        assert_share(step == other, 0.1)


def test_generated_loss_follows_its_pattern(global_seed):
    truth = draw_classes(
        global_seed, modalities=THREE, missing=0.5, missing_pattern="class", label_noise=0.4
    )
    y = codes(truth)
    rates = np.array([[0.25, 0.75, 0.25], [0.75, 0.25, 0.75]])
    for c, m in itertools.product(range(2), range(3)):
        kept = 1 - rates[c, m] + np.prod(rates[c]) / 3
        assert_share(truth.mask.iloc[:, m][y == c], kept)
    block = draw_classes(global_seed, 200, missing={"video": 0.25}, missing_pattern="block")
    assert (~block.mask).sum().tolist() == [0, 50]
    present = truth.mask.all(axis=1).to_numpy()
    np.testing.assert_allclose(truth.observed_posterior[present], truth.posterior[present])
    alone = (truth.mask["audio"] & (truth.mask.sum(axis=1) == 1)).to_numpy()
    assert alone.any()
    np.testing.assert_allclose(
        truth.observed_posterior[alone], truth.modality_posteriors["audio"][alone]
    )


# Numbers -------------------------------------------------------------------------------------

REGRESSION = {
    "modalities": {"audio": 4, "video": 5, "static": 3},
    "variances": {"audio": 0.5, "video": 2.0},
    "unique": {"video": 0.7},
    "noise_modalities": ["static"],
    "noise": 0.3,
}


def test_regression_truth_is_the_conditional_mean(global_seed):
    """Its error has the stated variance and goes with nothing that was seen."""
    truth = make_multimodal_regression(8000, random_state=global_seed, **REGRESSION)
    joint = truth.target - truth.conditional_mean
    assert_mean(joint**2, truth.conditional_variance)
    assert_mean(truth.complete.mul(joint, axis=0), 0)
    np.testing.assert_allclose(truth.complete @ truth.coef, truth.conditional_mean)
    for name, columns in truth.modalities.items():
        error = truth.target - truth.complete[columns] @ truth.modality_coef[name]
        assert_mean(error**2, truth.modality_conditional_variances[name])
        assert_mean(truth.complete[columns].mul(error, axis=0), 0)
    fitted = LinearRegression().fit(truth.complete, truth.target).coef_
    error = np.sqrt(truth.conditional_variance / 8000 / truth.complete.var().min())
    assert np.abs(fitted - truth.coef).max() < 2 * SIGMAS * error


def test_measurements_have_the_stated_variances(global_seed):
    truth = make_multimodal_regression(8000, random_state=global_seed, **REGRESSION)
    assert truth.variances == {"audio": 0.5, "video": 2.0, "static": np.inf}
    assert truth.measurement_weights == {"audio": 0.8, "video": 0.2, "static": 0.0}
    errors = truth.measurements.sub(truth.signal, axis=0)
    assert list(errors) == ["audio", "video"]
    for name in errors:
        assert_mean(errors[name], 0)
        assert_mean(errors[name] ** 2, truth.variances[name])
    assert_mean(errors["audio"] * errors["video"], 0)
    assert_mean((0.8 * errors["audio"] + 0.2 * errors["video"]) ** 2, 1 / (1 / 0.5 + 1 / 2.0))
    noise = truth.complete[truth.modalities["static"]]
    assert_mean(noise.mul(truth.target, axis=0), 0)
    assert (truth.coef[truth.modalities["static"]] == 0).all()


def test_regression_with_lost_modalities(global_seed):
    truth = make_multimodal_regression(
        8000, random_state=global_seed, missing={"audio": 0.5, "video": 0.3}, **REGRESSION
    )
    assert truth.data.isna().any(axis=None)
    error = truth.target - truth.observed_conditional_mean
    for (audio, video), rows in truth.mask.groupby(["audio", "video"]).groups.items():
        precision = audio / 0.5 + video / 2.0
        expected = 1 / (1 + precision) + 0.3**2 + (0 if video else 0.7**2)
        assert_mean(error[rows] ** 2, expected)
        assert_mean(truth.complete.loc[rows, "audio__0"] * error[rows] * audio, 0)
    full = truth.mask.all(axis=1).to_numpy()
    np.testing.assert_allclose(truth.observed_conditional_mean[full], truth.conditional_mean[full])


# Sequences -----------------------------------------------------------------------------------


def test_sequences_follow_their_chain(global_seed):
    truth = make_multimodal_sequences(
        300, n_classes=2, n_states=3, lengths=(5, 40), modalities={"a": 1, "b": 3},
        separation={"a": 2.0, "b": 3.0}, random_state=global_seed,
    )  # fmt: skip
    assert truth.start.shape == (2, 3)
    assert np.abs(truth.transition[0] - truth.transition[1]).max() > 0.01
    for c in range(2):
        chosen = [s for s, label in zip(truth.states, truth.classes, strict=True) if label == c]
        first = np.array([s[0] for s in chosen])
        before = np.concatenate([s[:-1] for s in chosen])
        after = np.concatenate([s[1:] for s in chosen])
        for i in range(3):
            assert_share(first == i, truth.start[c, i])
            for j in range(3):
                assert_share(after[before == i] == j, truth.transition[c, i, j])
    states = np.concatenate(truth.states)
    for name, means in truth.means.items():
        x = np.vstack(truth.data[name].tolist()) - means[states]
        assert_mean(x, 0)
        size = x.shape[1]
        assert np.abs(np.cov(x.T).reshape(size, size) - np.eye(size)).max() < SIGMAS * np.sqrt(
            2 / len(x)
        )
        assert truth.covariances[name].shape == (3, size, size)
        assert (truth.covariances[name] == np.eye(size)).all()
    gaps = [
        np.linalg.norm(truth.means["b"][i] - truth.means["b"][j])
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    np.testing.assert_allclose(gaps, 3.0)
    np.testing.assert_allclose(np.abs(np.diff(truth.means["a"][:, 0])), 2.0)
    lengths = [len(s) for s in truth.states]
    assert (min(lengths), max(lengths)) == (5, 40)
    assert sorted(np.bincount(truth.classes)) == [150, 150]
    assert truth.target.tolist() == truth.classes.tolist()


def test_both_layouts_hold_the_same_sequences():
    options = {"n_sequences": 12, "missing": 0.5, "lengths": (1, 6), "random_state": 3}
    rows, steps = (make_multimodal_sequences(layout=name, **options) for name in LAYOUTS[:2])
    pd.testing.assert_frame_equal(rows.mask, steps.mask)
    assert steps.data.index.names == ["sequence", "step"]
    assert steps.target.tolist() == np.concatenate(rows.states).tolist()
    assert steps.sequence.tolist() == [i for i, s in enumerate(rows.states) for _ in s]
    assert not rows.mask.all(axis=None)
    assert rows.mask.any(axis=1).all()
    for name, columns in steps.modalities.items():
        for i, present in enumerate(rows.mask[name]):
            cell, block = rows.data[name].iloc[i], steps.data.loc[i, columns].to_numpy()
            assert (cell is not None) == present
            assert np.isnan(block).all() != present
            np.testing.assert_array_equal(
                rows.complete[name].iloc[i], steps.complete.loc[i, columns]
            )
            if present:
                np.testing.assert_array_equal(cell, block)


def test_given_chain_is_used_and_zeros_never_happen():
    start, transition = [0, 1, 0], [[0, 1, 0], [0, 0.5, 0.5], [1, 0, 0]]
    truth = make_multimodal_sequences(
        50, start=start, transition=transition, lengths=30, random_state=0
    )
    assert (truth.start == start).all()
    assert (truth.transition == transition).all()
    for s in truth.states:
        assert len(s) == 30
        assert s[0] == 1
        assert all(transition[a][b] > 0 for a, b in itertools.pairwise(s))
    frozen = make_multimodal_sequences(5, persistence=1.0, random_state=0)
    assert all(len(set(s)) == 1 for s in frozen.states)


# All generators ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_equal_seeds_give_equal_data(make):
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    options = {"missing": 0.4}
    one, two, other = (make(30, random_state=seed, **options) for seed in (5, 5, 6))
    assert_same(dict(one), dict(two))
    assert_same(dict(make(30, random_state=np.random.RandomState(5), **options)), dict(one))
    X, y = make(30, random_state=5, return_X_y=True, **options)
    assert_same([X, y], [one.data, one.target])
    assert str(other.complete.iloc[0, 0]) != str(one.complete.iloc[0, 0])
    make(30)
    after = np.random.get_state()  # noqa: NPY002
    assert_same(list(before), list(after))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_loss_and_label_noise_change_nothing_else(make):
    options = {"label_noise": 0.3} if make is make_multimodal_classification else {}
    whole, lossy = make(40, random_state=1), make(40, random_state=1, missing=0.5, **options)
    assert_same(whole.complete, lossy.complete)
    assert_same(whole.complete, whole.data)
    assert whole.mask.all(axis=None)
    assert not lossy.mask.all(axis=None)
    whole.data.iloc[0, 0] = None
    assert_same(whole.complete, lossy.complete)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_estimators_read_the_same_modalities(make):
    truth = make(50, missing=0.4, random_state=0)
    for modalities in (None, truth.modalities):
        pd.testing.assert_frame_equal(
            modality_mask(truth.data, modalities), truth.mask, check_index_type=False
        )


def test_steps_turn_into_sequences():
    steps, watch = load_watch(layout="steps"), load_watch()
    assert_same(to_sequences(steps.data).to_numpy(), watch.data.to_numpy())
    options = {"n_sequences": 9, "missing": 0.5, "random_state": 0}
    drawn, rows = (make_multimodal_sequences(layout=name, **options) for name in LAYOUTS[1::-1])
    assert_same(to_sequences(drawn.data).to_numpy(), rows.data.to_numpy())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_smallest_tables(make):
    truth = make(1, modalities={"a": 2}, random_state=0)
    assert len(truth.data) == 1
    none = truth.data.iloc[:0]
    for pattern in ("random", "block", "class"):
        options = {"modalities": truth.modalities, "pattern": pattern, "keep_one": False}
        assert simulate_missing(none, 0.5, y=[], **options).shape == none.shape


def test_extreme_numbers_stay_finite():
    for options in (
        {"noise": 1e-6},
        {"noise": 1e6},
        {"redundant": 1e6},
        {"correlation": 0.999999},
    ):
        truth = draw_classes(0, 50, synergistic=1.0, **options)
        assert all(np.isfinite(p).all() for p in posteriors_of(truth))
    for variance in (1e-12, 1e12):
        truth = make_multimodal_regression(50, variances=variance, random_state=0)
        assert np.isfinite(truth.conditional_mean).all()
    rounded = draw_classes(0, 20, n_classes=3, weights=[0.3333334] * 3)
    assert rounded.priors.sum() == pytest.approx(1, abs=1e-15)
    many = draw_classes(0, 20, n_classes=40, modalities={"a": 90, "b": 90})
    assert many.posterior.shape == (20, 40)


COMMON = [
    ({"modalities": {}}, "modalities must map names to numbers of features.*got {}"),
    ({"modalities": ["audio"]}, r"modalities must map names.*got \['audio'\]"),
    ({"modalities": {"a__b": 2}}, "modalities must have names.*got 'a__b'"),
    ({"modalities": {"a_": 2}}, "modalities must have names.*got 'a_'"),
    ({"modalities": {"": 2}}, "modalities must have names.*got ''"),
    ({"modalities": {3: 2}}, "modalities must have names.*got 3"),
    ({"modalities": {"remainder": 2}}, "modalities must have names.*got 'remainder'"),
    ({"modalities": {"a": 0}}, r"modalities\['a'\].*must be at least 1, got 0"),
    ({"modalities": {"a": 2.5}}, r"modalities\['a'\].*must be a whole number, got 2.5"),
    ({"missing": 1.5}, r"missing must lie in \[0, 1\], got 1.5"),
    (
        {"missing": {"smell": 0.5}},
        "missing names 'smell', but the modalities are 'audio', 'video'",
    ),
    ({"return_X_y": 1}, "return_X_y must be True or False, got 1"),
    ({"random_state": 1.5}, "random_state must be None, .* got 1.5"),
]
TABULAR = [
    ({"n_samples": 0}, "n_samples must be at least 1, got 0"),
    ({"n_samples": 10.0}, "n_samples must be a whole number, got 10.0"),
    ({"noise_modalities": "audio"}, "noise_modalities must be a list.*got 'audio'"),
    (
        {"noise_modalities": ["smell"]},
        r"noise_modalities must be a list.*'video'.*got \['smell'\]",
    ),
    ({"noise_modalities": 3}, "noise_modalities must be a list.*got 3"),
    ({"unique": -1}, r"unique must lie in \[0, 1e\+06\], got -1"),
    (
        {"unique": {"audio": 1}, "noise_modalities": ["audio"]},
        r"unique must be 0 for .*\['audio'\]",
    ),
    ({"missing_pattern": "rows"}, "missing_pattern must be one of 'random'.*got 'rows'"),
]
CLASSES = [
    ({"n_classes": 1}, "n_classes must be at least 2, got 1"),
    ({"weights": [0.5, 0.6]}, "weights must be non-negative and sum to 1.*1.1"),
    ({"weights": [1.0, 0.0]}, r"weights must be positive, got \[1.0, 0.0\]"),
    ({"weights": [0.2, 0.3, 0.5]}, r"weights must have shape \(2,\), got shape \(3,\)"),
    ({"weights": "even"}, "weights must be numbers"),
    ({"class_names": ["a"]}, r"class_names must be 2 different names.*got \['a'\]"),
    ({"class_names": ["a", 1]}, "class_names must be 2 different names"),
    ({"class_names": "ab"}, "class_names must be 2 different names"),
    ({"class_names": ["b", "a"]}, r"class_names must be sorted.*\['a', 'b'\], got \['b', 'a'\]"),
    ({"redundant": 1e300}, r"redundant must lie in \[0, 1e\+06\], got 1e\+300"),
    ({"synergistic": -0.5}, "synergistic must lie in"),
    ({"synergistic": 1, "noise_modalities": ["audio"]}, "synergistic needs two modalities.*got 1"),
    ({"synergistic": 1, "n_classes": 80}, "n_classes must be at most 64"),
    ({"noise": 0}, r"noise must lie in \[1e-06, 1e\+06\], got 0"),
    ({"noise": {"audio": 1}}, r"noise must give a number for each.*\['video'\]"),
    ({"correlation": 1.0}, r"correlation must lie in \[0, 1\), got 1.0"),
    ({"label_noise": 2}, r"label_noise must lie in \[0, 1\], got 2"),
    ({"modalities": {"audio": 1, "video": 9}}, "'audio' carries 2 latent dimensions and has 1"),
]  # fmt: skip
NUMBERS = [
    ({"variances": 0}, r"variances must lie in \[1e-12, 1e\+12\], got 0"),
    ({"variances": {"audio": 1.0}}, r"variances must give a number for each.*\['video'\]"),
    ({"noise": float("inf")}, "noise must lie in"),
    (
        {"missing_pattern": "class"},
        "missing_pattern must be one of 'random', 'block', got 'class'",
    ),
    ({"modalities": {"a": 1}, "unique": 1.0}, "'a' carries 2 latent dimensions and has 1 feature"),
]
CHAINS = [
    ({"n_sequences": 0}, "n_sequences must be at least 1, got 0"),
    ({"n_classes": 0}, "n_classes must be at least 1, got 0"),
    ({"n_states": 1}, "n_states must be at least 2, got 1"),
    ({"lengths": (5, 3)}, r"lengths must be \(least, greatest\), got \(5, 3\)"),
    ({"lengths": (1, 2, 3)}, "lengths must be one number or"),
    ({"lengths": 0}, "lengths must be at least 1, got 0"),
    ({"separation": {"smell": 1}}, "separation names 'smell'"),
    ({"persistence": 1.1}, r"persistence must lie in \[0, 1\], got 1.1"),
    ({"start": [0.5, 0.5]}, r"start must have shape \(3,\) or \(2, 3\), got shape \(2,\)"),
    ({"transition": np.ones((3, 3))}, "transition must be non-negative and sum to 1"),
    ({"transition": [[1], [1, 2]]}, "transition must be numbers of shape"),
    ({"layout": "sessions"}, "layout must be one of 'sequences', 'steps', got 'sessions'"),
]
REFUSED = [
    *itertools.product([make_multimodal_classification], [*COMMON, *TABULAR, *CLASSES]),
    *itertools.product([make_multimodal_regression], [*COMMON, *TABULAR, *NUMBERS]),
    *itertools.product([make_multimodal_sequences], [*COMMON, *CHAINS]),
    (load_watch, ({"layout": "rows"}, "layout must be one of 'sequences', .*got 'rows'")),
    (load_watch, ({"layout": None}, "layout must be one of .*got None")),
    (load_watch, ({"random_state": "x"}, "random_state must be None, .* got 'x'")),
    (load_watch, ({"as_frame": None}, "as_frame must be True or False, got None")),
    (load_multiple_features, ({"as_frame": 1}, "as_frame must be True or False, got 1")),
    (load_multiple_features, ({"return_X_y": "no"}, "return_X_y must be True or False, got 'no'")),
]  # fmt: skip


@pytest.mark.parametrize(("call", "case"), REFUSED)
def test_bad_parameters_are_refused_by_name(call, case):
    options, message = case
    with pytest.raises(ValueError, match=message):
        call(**options)


def test_arguments_are_never_written_to():
    start, weights = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.6])
    for array in (start, weights):
        array.setflags(write=False)
    modalities, rates = {"audio": 4, "video": 5}, {"audio": 0.5}
    truth = make_multimodal_sequences(5, modalities=modalities, start=start, missing=rates)
    truth.start[:] = 0
    drawn = make_multimodal_classification(
        5, modalities=modalities, weights=weights, missing=rates
    )
    drawn.priors[:] = 0
    make_multimodal_regression(5, modalities=modalities, variances=2.0, missing=rates)
    assert (modalities, rates) == ({"audio": 4, "video": 5}, {"audio": 0.5})
    assert start.tolist() == [0.2, 0.3, 0.5]
    assert weights.tolist() == [0.4, 0.6]
