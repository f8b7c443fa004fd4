"""Real data that come with the package; every call reads them afresh."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._checks import as_random_state, check_choice, check_flags
from ._descriptions import MULTIPLE_FEATURES, WATCH
from ._frames import cell_frame, modality_columns, modality_slices, step_index

__all__ = ["load_multiple_features", "load_watch"]

_SENSORS = ("accelerometer", "gyroscope")
_SAMPLING_RATE = 10.0


def load_multiple_features(
    *, return_X_y: bool = False, as_frame: bool = True
) -> Bunch | tuple[Any, Any]:
    """Load 2000 handwritten digits that are described by six modalities.

    Parameters
    ----------
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool
        pandas objects; otherwise numpy arrays of floats (data) and integers (target).

    Returns
    -------
    Bunch or tuple
        With these fields:

        data : DataFrame or ndarray of shape (2000, 649)
            Columns ``fou__0`` ... ``mor__5``: Fourier coefficients (76), profile correlations
            (216), Karhunen-Loeve coefficients (64), pixel averages (240), Zernike moments (47),
            morphological features (6). No units.
        target : Series or ndarray of shape (2000,)
            The digit, 0 to 9. The rows are sorted by it: shuffle, and stratify.
        target_names : ndarray of shape (10,)
        modalities : dict
            Columns of each modality: lists of names, or slices for an array.
        feature_names : list of str
        DESCR : str
            What the data are, their traps, source and terms (CC BY 4.0).

    Raises
    ------
    ValueError
        A flag that is neither True nor False.

    References
    ----------
    R. Duin, "Multiple Features", UCI Machine Learning Repository, 1998, doi:10.24432/C5HC70.

    M. van Breukelen et al., "Handwritten digit recognition by combined classifiers",
    Kybernetika 34(4), 1998.

    Examples
    --------
    >>> from mkfusion.datasets import load_multiple_features
    >>> digits = load_multiple_features()
    >>> digits.data.shape
    (2000, 649)
    >>> {name: len(columns) for name, columns in digits.modalities.items()}
    {'fou': 76, 'fac': 216, 'kar': 64, 'pix': 240, 'zer': 47, 'mor': 6}
    """
    check_flags(return_X_y=return_X_y, as_frame=as_frame)
    data = _read("multiple_features.csv.gz")
    target = data.pop("digit")
    return _packed(data, target, {}, return_X_y, as_frame, DESCR=MULTIPLE_FEATURES)


def load_watch(
    *,
    layout: str = "sequences",
    return_X_y: bool = False,
    as_frame: bool = True,
    random_state: Any = 0,
) -> Bunch | tuple[Any, Any]:
    """Load 140 smartwatch recordings of shoulder exercises, measured by two sensors at 10 Hz.

    Parameters
    ----------
    layout : {"sequences", "steps", "sessions"}
        "sequences": one row per recording, each cell a whole (T, 3) array, for the
        classification of recordings. "steps": one row per time step. "sessions": one row per
        time step, the seven recordings of one subject and side joined to a session in a drawn
        order, for the labelling of steps; signals and labels are real, the joins are artificial.
    return_X_y : bool
        Return ``(data, target)`` instead of a Bunch. The subjects, by which these data must be
        split, are in the Bunch only.
    as_frame : bool
        pandas objects; otherwise numpy arrays.
    random_state : int, RandomState or None
        Seed of the order of recordings inside a session; used by "sessions" only.

    Returns
    -------
    Bunch or tuple
        With these fields, where n is 140 recordings or 48,765 steps:

        data : DataFrame or ndarray
            "sequences": shape (140, 2), columns ``accelerometer`` (g) and ``gyroscope`` (rad/s)
            of float arrays (T, 3), index ``sequence``. Otherwise shape (48765, 6), columns
            ``accelerometer__x`` ... ``gyroscope__z``, index levels ``sequence`` (the recording,
            0 to 139, or the session, 0 to 19) and ``step``.
        target : Series or ndarray of shape (n,)
            The exercise, one of 7.
        target_names : ndarray of shape (7,)
        modalities : dict
            Columns of each modality: lists of names, or slices for an array.
        feature_names : list of str
        groups : Series or ndarray of shape (n,)
            The subject, 1 to 10. Split by it.
        side : Series or ndarray of shape (n,)
            "left" or "right"; no feature.
        sequence : Series or ndarray of shape (n,)
            The id of the recording or session, as in the index.
        recording : Series or ndarray of shape (n,)
            "sessions" only: the recording that a step is from.
        sampling_rate : float
            10.0 Hz.
        DESCR : str
            What the data are, their traps, source and terms (BSD-3-Clause).

    Raises
    ------
    ValueError
        An unknown layout, a flag that is neither True nor False, a bad seed.

    References
    ----------
    D. M. Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the
    inertial signals from a smartwatch", 2018, doi:10.48550/arXiv.1802.01489.

    Examples
    --------
    >>> from mkfusion.datasets import load_watch
    >>> watch = load_watch()
    >>> watch.data.shape, watch.data["gyroscope"].iloc[0].shape
    ((140, 2), (266, 3))
    >>> sessions = load_watch(layout="sessions")
    >>> sessions.sequence.nunique(), sessions.groups.nunique()
    (20, 10)
    """
    check_choice("layout", layout, _LAYOUTS)
    check_flags(return_X_y=return_X_y, as_frame=as_frame)
    rng = as_random_state(random_state)
    data, rows = _LAYOUTS[layout](_read("watch.csv.gz"), rng)
    target = rows.pop("exercise")
    beside = {name: rows[name] for name in rows.columns}
    beside["groups"] = beside.pop("subject")
    return _packed(
        data, target, beside, return_X_y, as_frame, DESCR=WATCH, sampling_rate=_SAMPLING_RATE
    )


def _recordings(long: pd.DataFrame, rng: np.random.RandomState) -> tuple[Any, pd.DataFrame]:
    rows = long.groupby("sequence")[["exercise", "subject", "side"]].first()
    starts = np.flatnonzero(long["sequence"].diff().to_numpy() != 0)[1:]
    cells = {
        sensor: [block.copy() for block in np.split(_axes(long, sensor).to_numpy(), starts)]
        for sensor in _SENSORS
    }
    rows["sequence"] = rows.index
    return cell_frame(cells, rows.index), rows


def _steps(long: pd.DataFrame, rng: np.random.RandomState) -> tuple[Any, pd.DataFrame]:
    long.index = step_index(long["sequence"])
    data = pd.concat([_axes(long, sensor) for sensor in _SENSORS], axis=1)
    return data, long.drop(columns=data.columns)


def _sessions(long: pd.DataFrame, rng: np.random.RandomState) -> tuple[Any, pd.DataFrame]:
    session = long.groupby(["subject", "side"]).ngroup()
    place = rng.permutation(long["sequence"].nunique())[long["sequence"]]
    joined = long.assign(recording=long["sequence"], sequence=session)
    return _steps(joined.iloc[np.lexsort((place, session))].reset_index(drop=True), rng)


_LAYOUTS: dict[str, Callable[..., tuple[Any, pd.DataFrame]]] = {
    "sequences": _recordings,
    "steps": _steps,
    "sessions": _sessions,
}


def _axes(long: pd.DataFrame, sensor: str) -> pd.DataFrame:
    return long[[f"{sensor}__{axis}" for axis in "xyz"]]


def _read(name: str) -> pd.DataFrame:
    source = files("mkfusion.datasets").joinpath("data", name)
    with source.open("rb") as stream:
        # read_csv keeps each column apart; a copy puts them together, and slices are quick.
        return pd.read_csv(stream, compression="gzip").copy()


def _packed(
    data: pd.DataFrame,
    target: pd.Series,
    beside: dict[str, Any],
    return_X_y: bool,
    as_frame: bool,
    **more: Any,
) -> Bunch | tuple[Any, Any]:
    names = list(data.columns)
    columns = modality_columns(data)
    target, beside = target.copy(), {name: series.copy() for name, series in beside.items()}
    common: dict[str, Any] = {"target_names": _array(target.drop_duplicates().sort_values())}
    if as_frame:
        common["modalities"] = {key: [names[j] for j in own] for key, own in columns.items()}
        X: Any = data
        y: Any = target
    else:
        sizes = {key: len(own) for key, own in columns.items()}
        common["modalities"] = modality_slices(sizes)
        X, y = data.to_numpy(copy=True), _array(target)
        beside = {name: _array(series) for name, series in beside.items()}
    if return_X_y:
        return X, y
    return Bunch(data=X, target=y, feature_names=names, **common, **beside, **more)


def _array(series: pd.Series) -> np.ndarray:
    return np.array(series.tolist())
