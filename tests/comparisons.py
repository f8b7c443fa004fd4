"""Comparisons made by hand: what `compare_fusion` would return, without a model being fitted."""

import numpy as np
import pandas as pd

from mkfusion import FusionComparison

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7*7 }}",
    "{% raw %}",
    "two\nlines",
    "it's \"quoted\" & 'more'",
    "\u202eright to left\u2066",
    "שלום 👩\u200d🔬",
    "$x_1$ \\frac{1}{2} %",
    "a" * 120,
    "]]><!-- -->",
    "\x00 \x07 \x1b[31m",
)
RULES = ("bayes", "mean", "vote", "log_pool:learn", "decision_template")
LATE = [f"late:{rule}" for rule in RULES]


def names(count, prefix):
    return [f"{prefix}{number}" for number in range(count)]


def made(
    modalities=3,
    classes=4,
    *,
    fusions=("early", *LATE, "hybrid:stacking", "mine"),
    named=None,
    n_splits=5,
    n_rows=1200,
    scoring=None,
    missing=0.2,
    seed=0,
):
    """Return a comparison; numbers stand for that many names, and no classes for regression."""
    rng = np.random.default_rng(seed)
    if isinstance(modalities, int):
        modalities = names(modalities, "sense")
    if isinstance(classes, int):
        classes = names(classes, "class")
    fusions = list(fusions) if len(modalities) > 1 else []
    singles = [f"single:{name}" for name in modalities]
    fused = f"{named} (named)" if named else "fusion (chosen)"
    rows = ["single (chosen)", fused, *singles, *fusions]
    scores = _fold_scores(rng, rows, len(singles), n_splits)
    widths = dict(zip(modalities, rng.integers(1, 200, len(modalities)).tolist(), strict=True))
    return FusionComparison(
        table=_table(rng, scores, bool(classes)),
        fold_scores=scores,
        choices=_choices(singles[0], rows, n_splits),
        task="classification" if classes else "regression",
        scoring=scoring or ("accuracy" if classes else "r2"),
        named=named,
        baseline=0.25,
        n_rows=n_rows,
        modalities=widths,
        columns=_columns(widths, missing),
        classes=list(classes),
        per_class=_per_class(rng, rows, classes, n_rows),
        calibration=_calibration(rng, rows, bool(classes)),
        agreement=_agreement(rng, modalities, bool(classes)),
        availability=_availability(rng, modalities, n_rows, missing),
        estimators={},
    )


def _columns(widths, missing):
    kinds = ("number", "category", "text")
    rows = [
        (name, f"{name}__{place}", kinds[place % 3], missing)
        for name, width in widths.items()
        for place in range(width)
    ]
    return pd.DataFrame(rows, columns=["modality", "column", "kind", "empty"])


def _choices(single, rows, n_splits):
    fusions = [rows[-1 - split % 2] for split in range(n_splits)]
    return pd.DataFrame({"single": [single] * n_splits, "fusion": fusions})


def _fold_scores(rng, rows, n_singles, n_splits):
    level = np.array([0.9, 0.93, *rng.uniform(0.6, 0.9, n_singles)])
    level = np.append(level, rng.uniform(0.88, 0.94, len(rows) - len(level)))
    if len(rows) == 3:
        level[:] = level[0]
    noise = rng.normal(scale=0.008, size=(n_splits, len(rows)))
    return pd.DataFrame(np.clip(level + noise, 0, 1), columns=rows)


def _table(rng, scores, classification):
    table = pd.DataFrame({"score": scores.mean(), "spread": scores.std()})
    table["log_loss" if classification else "rmse"] = rng.uniform(0.05, 0.4, len(table))
    if classification:
        table["ece"] = rng.uniform(0.002, 0.08, len(table))
    table["fit_time"] = rng.gamma(2, 0.4, len(table))
    table["gain"] = table["score"] - table["score"].iloc[0]
    half = 2 * scores.sub(scores.iloc[:, 0], axis=0).std() / np.sqrt(len(scores))
    table["gain_low"], table["gain_high"] = table["gain"] - half, table["gain"] + half
    table.iloc[0, table.columns.get_indexer(["gain", "gain_low", "gain_high"])] = np.nan
    table["exploratory"] = np.arange(len(table)) > 1
    return table.rename_axis("strategy")


def _per_class(rng, rows, classes, n_rows):
    index = pd.MultiIndex.from_product([rows, classes], names=["strategy", "class"])
    size = (len(rows), len(classes))
    scores = np.clip(rng.uniform(0.8, 0.99, size) + rng.normal(scale=0.02, size=(3, *size)), 0, 1)
    columns = ["precision", "recall", "f1"]
    table = pd.DataFrame(scores.reshape(3, -1).T, index=index, columns=columns)
    table["support"] = np.tile(_shares(n_rows, len(classes)), len(rows))
    return table


def _shares(n_rows, parts):
    return np.diff(np.linspace(0, n_rows, parts + 1).astype(int)) if parts else np.array([], int)


def _calibration(rng, rows, classification):
    curves = []
    for row in rows:
        if row == "late:vote":
            continue
        predicted = np.linspace(0.25, 0.97, 8) if classification else np.linspace(-40, 90, 10)
        noise = rng.normal(scale=0.05 * np.ptp(predicted), size=len(predicted))
        observed = np.clip(predicted + noise, 0, 1) if classification else predicted + noise
        counts = (np.linspace(1, 5, len(predicted)) ** 3).astype(int)
        curves.append(
            pd.DataFrame(
                {"strategy": row, "predicted": predicted, "observed": observed, "count": counts}
            )
        )
    return pd.concat(curves, ignore_index=True)


def _agreement(rng, modalities, classification):
    size = len(modalities)
    values = rng.uniform(0.55 if classification else -0.3, 0.97, (size, size))
    values = np.tril(values, -1) + np.tril(values, -1).T + np.eye(size)
    return pd.DataFrame(values, index=list(modalities), columns=list(modalities))


def _availability(rng, modalities, n_rows, missing):
    there = rng.random((n_rows, len(modalities))) >= missing
    found, counts = np.unique(there, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    table = pd.DataFrame(found[order], columns=list(modalities))
    table.insert(len(modalities), "count", counts[order], allow_duplicates=True)
    return table
