"""The page that shows a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import _pictures as pictures
from ._files import write_whole
from ._pictures import NONE
from ._version import __version__
from .evaluation import ExaminedFusion, FusionComparison, decimals

__all__ = ["render_report", "write_report"]

MOST_ROWS = 50
MOST_COLUMNS = 200
FAMILIES = {
    "single": "Single modalities",
    "early": "Early fusion: the features side by side, one model",
    "late": "Late fusion: a model per modality, their decisions combined",
    "hybrid": "Hybrid fusion: a model per modality and a joint one",
    "mkl": "Multiple kernel learning: a kernel per modality, one machine on their combination",
}
# The columns of the table that are there for some tasks and not for others.
LOSSES = {"log_loss": "log loss", "rmse": "rmse", "ece": "ece"}


def write_report(
    result: FusionComparison,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    examined: ExaminedFusion | None = None,
) -> None:
    """Write a comparison as one self-contained HTML page.

    The file is written aside and renamed: no half of it is ever there.

    Parameters
    ----------
    result : FusionComparison
    path : str or path-like
    title : str, default=None
        What was compared, such as the name of the data.
    notes : sequence of str, default=()
        Sentences on the data that the comparison cannot know, such as the name of the target;
        they stand in the chapter on the data.
    examined : ExaminedFusion, default=None
        What :func:`mkfusion.evaluation.examine_fusion` found: the page then holds what each
        modality and each subset is worth, how scores fall when modalities go missing, and
        calibration before and after.

    Raises
    ------
    OSError
        If the file cannot be written; the message says why.
    TypeError
        If the notes are one text.

    See Also
    --------
    render_report : The same page as a text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from mkfusion import compare_fusion, write_report
    >>> from mkfusion.datasets import load_multiple_features
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "digits.html")
    ...     write_report(found, path, title="Handwritten digits")
    ...     path.read_text(encoding="utf-8").startswith("<!doctype html>")
    True
    """
    write_whole(path, render_report(result, title=title, notes=notes, examined=examined))


def render_report(
    result: FusionComparison,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    examined: ExaminedFusion | None = None,
) -> str:
    """Return a comparison as the text of one self-contained HTML page.

    Parameters
    ----------
    result : FusionComparison
    title : str, default=None
        What was compared, such as the name of the data.
    notes : sequence of str, default=()
        Sentences on the data that the comparison cannot know, such as the name of the target;
        they stand in the chapter on the data.
    examined : ExaminedFusion, default=None
        What :func:`mkfusion.evaluation.examine_fusion` found: the page then holds what each
        modality and each subset is worth, how scores fall when modalities go missing, and
        calibration before and after.

    Returns
    -------
    page : str

    Raises
    ------
    TypeError
        If the notes are one text.

    See Also
    --------
    write_report : The same page as a file.

    Examples
    --------
    >>> from mkfusion import compare_fusion
    >>> from mkfusion.datasets import load_multiple_features
    >>> from mkfusion.report import render_report
    >>> X, y = load_multiple_features(return_X_y=True)
    >>> found = compare_fusion(X[::10].filter(regex="mor|zer"), y[::10], strategies=["early"])
    >>> "Handwritten digits" in render_report(found, title="Handwritten digits")
    True
    """
    if isinstance(notes, str):
        raise TypeError(f"notes must be a sequence of sentences, got the text {notes!r}")
    headline, _, lead = result.verdict.partition(": ")
    page = {
        "title": title,
        "version": __version__,
        "headline": headline.rstrip("."),
        "lead": lead[:1].upper() + lead[1:],
        "result": result,
        "figures": _key_figures(result),
        "facts": _facts(result),
        "gains": _gains(result),
        "table": _table(result),
        "splits": _splits(result),
        "classes": _classes(result),
        "calibration": _calibration(result),
        "agreement": _agreement(result),
        "times": _times(result),
        "availability": _availability(result),
        "data": _data(result),
        "notes": list(notes),
        "none_text": NONE,
        **_examined(examined),
    }
    return _environment().get_template("report.html").render(page)


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mkfusion"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = pictures.shown
    return environment


# Words and numbers --------------------------------------------------------------------------


def _aligned(values: Iterable[float], signed: bool = False) -> list[str]:
    """Write numbers with the same decimals, so that they align; NaN is a dash."""
    numbers = [float(value) for value in values]
    digits = decimals(numbers)
    return [pictures.number(value, digits, signed) for value in numbers]


def _count(number: float) -> str:
    """Write a whole number with thin spaces between the thousands."""
    return f"{int(number):,}".replace(",", "\u202f")


def _share(value: float) -> str:
    """Write a share in per cent, of which only all is 100 and only none is 0."""
    percent = min(max(100 * value, 0.1), 99.9) if 0 < value < 1 else 100 * value
    return f"{percent:.1f} %" if percent != round(percent) else f"{percent:.0f} %"


def _plural(number: int, one: str, many: str | None = None) -> str:
    return f"{_count(number)} {one if number == 1 else many or one + 's'}"


def _kind(strategy: str) -> str:
    return "single" if pictures.is_single(strategy) else "fusion"


# The verdict and its table ------------------------------------------------------------------


def _key_figures(result: FusionComparison) -> list[tuple[str, str, str]]:
    rows = pictures.compared(result)
    scores = _aligned(result.table["score"].iloc[: len(rows)])
    inside = "chosen inside each training set"
    figures = [("best single modality", scores[0], inside)]
    if len(rows) > 1:
        figures += [
            ("fusion", scores[1], "named beforehand" if result.named else inside),
            ("gain", *_gain(result)),
        ]
    return figures


def _gain(result: FusionComparison) -> tuple[str, str]:
    gain, low, high = _aligned([result.gain, *result.interval], signed=True)
    return gain, "one split gives no interval" if low == NONE else f"95 % interval {low} to {high}"


def _facts(result: FusionComparison) -> list[str]:
    return [
        result.task,
        _plural(result.n_rows, "row"),
        _plural(len(result.modalities), "modality", "modalities"),
        *([_plural(len(result.classes), "class", "classes")] if len(result.classes) else []),
        _plural(len(result.choices), "split"),
    ]


def _table(result: FusionComparison) -> dict[str, Any]:
    """Return the columns of the table and its rows, in groups of one family."""
    table = result.table
    losses = [name for name in LOSSES if name in table and table[name].notna().any()]
    columns = ["score", *([] if table["spread"].isna().all() else ["spread"]), *losses]
    cells = {name: _aligned(table[name]) for name in [*columns, "fit_time"]}
    cells["gain"] = _aligned(table["gain"], signed=True)
    bounds = _aligned([*table["gain_low"], *table["gain_high"]], signed=True)
    halves = bounds[: len(table)], bounds[len(table) :]
    pairs = [
        NONE if low == NONE else f"{low} to {high}" for low, high in zip(*halves, strict=True)
    ]
    if set(pairs) != {NONE}:
        cells["95 % interval"] = pairs
    rows = [
        {"name": name, "kind": _kind(name), "cells": list(values)}
        for name, *values in zip(table.index, *cells.values(), strict=True)
    ]
    judged = len(pictures.compared(result))
    heads = {"score": result.scoring, "fit_time": "fit time, s"} | LOSSES
    return {
        "columns": [heads.get(name, name) for name in cells],
        "losses": losses,
        "judged": rows[:judged],
        "groups": _families(rows[2:] if judged > 1 else []),
    }


def _families(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        family = FAMILIES.get(row["name"].partition(":")[0], "Your own")
        groups.setdefault(family, []).append(row)
    return list(groups.items())


def _splits(result: FusionComparison) -> list[list[str]]:
    """Return what was chosen inside each training set, and what it scored outside."""
    if len(result.modalities) == 1:
        return []
    single, fusion = (result.fold_scores.iloc[:, j].to_numpy() for j in (0, 1))
    picks = (result.choices[kind] for kind in ("single", "fusion"))
    cells = (_aligned(single), _aligned(fusion), _aligned(fusion - single, signed=True))
    return [
        [str(number), one, score, other, fused, gain]
        for number, (one, other, score, fused, gain) in enumerate(
            zip(*picks, *cells, strict=True), start=1
        )
    ]


def _gains(result: FusionComparison) -> dict[str, Any] | None:
    rows = pictures.gains(result)
    if rows.empty:
        return None
    axis, shown = pictures.gain_axis(rows), _aligned(rows["gain"], signed=True)
    drawn = []
    for (name, gain, low, high), text in zip(rows.itertuples(), shown, strict=True):
        ends = (low, high) if np.isfinite(low) else (gain, gain)
        drawn.append(
            {
                "name": name,
                "kind": _kind(name),
                "text": text,
                "at": axis.at(gain) if axis.low <= gain <= axis.high else None,
                "low": axis.at(ends[0]),
                "high": axis.at(ends[1]),
                "before": ends[0] < axis.low,
                "beyond": ends[1] > axis.high,
            }
        )
    return {
        "rows": drawn,
        "zero": axis.at(0),
        "ticks": axis.ticks(signed=True),
        "interval": bool(rows["gain_low"].notna().any()),
        "cut": any(row["before"] or row["beyond"] for row in drawn),
    }


# The pictures -------------------------------------------------------------------------------


def _classes(result: FusionComparison) -> dict[str, Any] | None:
    if result.per_class.empty:
        return None
    drawn, compared = pictures.compared_classes(result), pictures.compared(result)
    axis = pictures.make_axis(drawn[list(pictures.METRICS)])
    axis = pictures.Axis(max(axis.low, 0.0), axis.high)
    panels = [
        {
            "metric": metric,
            "rows": [
                {kind: axis.at(value) for kind, value in values.items() if np.isfinite(value)}
                for values in drawn[metric].to_dict("records")
            ],
        }
        for metric in pictures.METRICS
    ]
    tables = {name: _class_table(result, name) for name in result.table.index}
    return {
        "names": list(drawn.index),
        "panels": panels,
        "ticks": axis.ticks(4),
        "compared": compared,
        "both": [tables[name] for name in compared.values()],
        "others": {name: rows for name, rows in list(tables.items())[2:] if rows},
    }


def _class_table(result: FusionComparison, strategy: str) -> list[list[str]]:
    """Return a row for each class: its name, support, f1, precision, recall."""
    rows = pictures.class_scores(result, strategy)
    columns = [
        [pictures.number(value, 3) for value in rows[metric]] for metric in pictures.METRICS
    ]
    support = [_count(number) for number in rows["support"]]
    return [list(cells) for cells in zip(rows.index, support, *columns, strict=True)]


def _calibration(result: FusionComparison) -> dict[str, Any] | None:
    curves = pictures.curves(result)
    if not curves:
        return None
    values = np.concatenate([c[["predicted", "observed"]].to_numpy() for c in curves.values()])
    axis = pictures.make_axis(values, margin=0.06)
    if result.task == "classification":
        axis = pictures.Axis(0.0, 1.0)
    kinds = {name: kind for kind, name in pictures.compared(result).items()}
    errors = result.table.get("ece", {})
    drawn = [
        {
            "name": name,
            "kind": kinds.get(name, _kind(name)),
            "ece": pictures.number(errors[name]) if name in errors else None,
            "points": _points(curve, axis),
            "rows": _curve_table(curve),
        }
        for name, curve in curves.items()
    ]
    return {
        "main": [curve for curve in drawn if curve["name"] in kinds],
        "others": [c for c in drawn if c["name"] not in result.table.index[:2]],
        "ticks": axis.ticks(4),
    }


def _points(curve: pd.DataFrame, axis: pictures.Axis) -> list[dict[str, float]]:
    share = np.sqrt(curve["count"] / curve["count"].sum())
    corners = zip(curve["predicted"], curve["observed"], share, strict=True)
    return [
        {"x": axis.at(x), "y": round(100 - axis.at(y), 2), "r": round(2.5 + 5 * r, 1)}
        for x, y, r in corners
    ]


def _curve_table(curve: pd.DataFrame) -> list[list[str]]:
    pair = _aligned([*curve["predicted"], *curve["observed"]])
    counts = [_count(number) for number in curve["count"]]
    halves = pair[: len(curve)], pair[len(curve) :]
    return [list(cells) for cells in zip(*halves, counts, strict=True)]


def _agreement(result: FusionComparison) -> dict[str, Any] | None:
    found = pictures.least_alike(result)
    if found is None:
        return None
    values = result.agreement.to_numpy(dtype=np.float64)
    percent = result.task == "classification"
    cells = [
        [
            None if i == j else {"text": _cell(value, percent), "value": _finite(value)}
            for j, value in enumerate(row)
        ]
        for i, row in enumerate(values)
    ]
    first, second, least = found
    return {
        "names": list(result.agreement.index),
        "cells": cells,
        "percent": percent,
        "least": (first, second, _share(least) if percent else pictures.number(least, 2)),
    }


def _cell(value: float, percent: bool) -> str:
    return pictures.number(100 * value, 0) if percent else pictures.number(value, 2)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _times(result: FusionComparison) -> list[dict[str, Any]] | None:
    seconds = pictures.fit_times(result)
    longest = seconds.max()
    if len(seconds) < 2 or not longest > 0:
        return None
    return [
        {"name": name, "kind": _kind(name), "text": text, "width": round(100 * value / longest, 2)}
        for (name, value), text in zip(seconds.items(), _aligned(seconds), strict=True)
    ]


# The fusion that is judged, looked at closely --------------------------------------------------


def _examined(found: ExaminedFusion | None) -> dict[str, Any]:
    parts = dict.fromkeys(("examined", "values", "subsets", "heated", "falls"))
    if found is None:
        return parts
    parts["examined"] = found
    if found.report is not None:
        parts |= {"values": _values(found), "subsets": _subsets(found), "heated": _heated(found)}
    if found.robustness is not None:
        parts["falls"] = _falls(found)
    return parts


def _values(found: ExaminedFusion) -> dict[str, Any]:
    rows = pictures.modality_values(found.report)
    axis = pictures.make_axis(rows, include=(0.0,))
    texts = {key: _aligned(rows[key], signed=True) for key in rows}
    drawn = []
    for place, (name, row) in enumerate(rows.iterrows()):
        ends = {key: row["value"] if np.isnan(row[key]) else row[key] for key in ("low", "high")}
        own = {key: axis.at(value) for key, value in {**row, **ends}.items()}
        drawn.append(own | {"name": name, "texts": {key: texts[key][place] for key in rows}})
    sure = [name for name, low in rows["low"].items() if low > 0]
    return {"rows": drawn, "zero": axis.at(0), "ticks": axis.ticks(6, signed=True), "sure": sure}


def _subsets(found: ExaminedFusion) -> dict[str, Any]:
    drawn = pictures.best_subsets(found.report)
    spread = np.nan_to_num(drawn.spread)
    axis = pictures.make_axis([drawn.scores - spread, drawn.scores + spread])
    columns = [
        {
            "there": there.tolist(),
            "ends": np.flatnonzero(there)[[0, -1]].tolist(),
            "kind": "all" if there.all() else "single" if there.sum() == 1 else "fusion",
            "at": [100 - axis.at(value) for value in (score - half, score, score + half)],
            "text": pictures.number(score),
            "names": [name for name, own in zip(drawn.modalities, there, strict=True) if own],
        }
        for there, score, half in zip(drawn.there, drawn.scores, spread, strict=True)
    ]
    total = len(columns) + drawn.left_out
    return {
        "modalities": drawn.modalities,
        "columns": columns,
        "ticks": axis.ticks(4),
        "count": _count(total),
        "left_out": _count(drawn.left_out) if drawn.left_out else "",
        "nothing": pictures.number(drawn.nothing),
    }


def _heated(found: ExaminedFusion) -> list[list[str]]:
    """Return by row of probabilities its name and its losses."""
    assert found.report is not None
    table = found.report.calibration
    cells = [_aligned(table[key]) for key in table]
    return [[name, *row] for name, *row in zip(table.index, *cells, strict=True)]


def _falls(found: ExaminedFusion) -> dict[str, Any]:
    curves = pictures.falls(found.robustness, "missing")
    level = next(iter(curves.values()))["level"].to_numpy()
    scores = [own["score"].to_numpy() for own in curves.values()]
    across, up = pictures.make_axis(level, margin=0.06), pictures.make_axis(scores, margin=0.08)
    marks = [
        {
            "name": name,
            "kind": _kind(name),
            "points": [
                {"x": across.at(x), "y": round(100 - up.at(y), 2), "r": 4}
                for x, y in zip(level, own, strict=True)
                if np.isfinite(y)
            ],
        }
        for name, own in zip(curves, scores, strict=True)
    ]
    cells = zip(map(_share, level), *map(_aligned, scores), strict=True)
    return {
        "curves": marks,
        "across": [(across.at(x), _share(x)) for x in level],
        "ticks": up.ticks(4),
        "rows": [list(row) for row in cells],
    }


# The data -----------------------------------------------------------------------------------


def _availability(result: FusionComparison) -> dict[str, Any] | None:
    """Return the patterns of who is there; None where everything is."""
    there, counts = pictures.patterns(result)
    if there.all() or not len(there):
        return None
    total, most = counts.sum(), counts.max()
    drawn = [
        {
            "there": row.tolist(),
            "ends": (np.flatnonzero(row)[[0, -1]].tolist() if row.any() else None),
            "height": round(count / most, 4),
            "count": _count(count),
        }
        for row, count in zip(there[: pictures.MOST_PATTERNS], counts, strict=False)
    ]
    names = np.array(list(result.modalities), dtype=object)
    listed = [
        (names[row].tolist(), _count(count), _share(count / total))
        for row, count in zip(there[:MOST_ROWS], counts, strict=False)
    ]
    return {
        "patterns": drawn,
        "shares": [_share(share) for share in pictures.present_share(result)],
        "listed": listed,
        "complete": _share(counts[there.all(axis=1)].sum() / total),
        "rarer": len(there) - len(drawn),
        "rarer_rows": _count(counts[len(drawn) :].sum()),
        "unlisted": max(len(there) - MOST_ROWS, 0),
    }


def _data(result: FusionComparison) -> dict[str, Any]:
    shares = pictures.present_share(result)
    support = pictures.class_scores(result, result.table.index[0])["support"]
    shown = result.columns.iloc[:MOST_COLUMNS]
    shown = shown.assign(empty=shown["empty"].map(_share))
    return {
        "modalities": [
            (name, _count(width), _count(round(share * result.n_rows)), _share(share))
            for (name, width), share in zip(result.modalities.items(), shares, strict=True)
        ],
        "columns": _plural(sum(result.modalities.values()), "column"),
        "read": list(zip(*(shown[key] for key in shown), strict=True)),
        "more": max(len(result.columns) - MOST_COLUMNS, 0),
        "classes": [(label, _count(number)) for label, number in support.items()],
    }
