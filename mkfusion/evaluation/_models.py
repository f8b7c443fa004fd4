"""Models that take any table: what makes numbers of columns of every kind, or of sequences."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from ..graphical import HiddenCRFClassifier, HMMClassifier, StepwiseTransformer
from ..modality import fill_cells, holds_sequences

CHAIN_MODELS = ("hmm", "hmm:early", "hidden_crf")  # of all modalities, whose cells hold sequences


def default_model(task: str) -> Any:
    linear = sklearn.linear_model
    return linear.LogisticRegression(max_iter=1000) if task == "classification" else linear.Ridge()


def encoder(block: pd.DataFrame, documents: bool = False) -> Any:
    """Return what makes numbers of one modality's columns, by the kind of each; text is
    ``documents`` where that was said.
    """
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    join = sklearn.pipeline.make_pipeline
    as_text = FunctionTransformer(_as_text, feature_names_out="one-to-one")
    numbers = join(sklearn.impute.SimpleImputer(keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100)
    words = join(as_text, sklearn.feature_extraction.text.TfidfVectorizer(max_features=1000))
    kinds = np.array([_kind(block.iloc[:, j], documents) for j in range(block.shape[1])])
    if (kinds == "number").all():
        return numbers
    many = {"number": numbers, "category": join(as_text, one_hot)}
    steps: list[Any] = [(f"text{j}", words, int(j)) for j in np.flatnonzero(kinds == "text")]
    steps += [(k, model, np.flatnonzero(kinds == k)) for k, model in many.items() if k in kinds]
    return sklearn.compose.ColumnTransformer(steps, sparse_threshold=0.0)


def _kind(column: pd.Series, documents: bool) -> str:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return "number"
    given = column.dropna()
    text = all(isinstance(cell, str) for cell in given)
    if documents or not text or given.nunique() <= 20:
        return "text" if text and documents else "category"
    return "text" if given.str.split().str.len().mean() >= 3 else "category"


def _as_text(columns: Any) -> Any:
    return columns.astype(object).where(columns.notna(), "").map(str)


# Cells that hold sequences ------------------------------------------------------------------


def sequence_names(X: pd.DataFrame, columns: Mapping[str, list[int]], task: str) -> list[str]:
    """Return the modalities whose cells hold sequences."""
    found = []
    for name, places in columns.items():
        held = [j for j in places if holds_sequences(X.iloc[:, j])]
        if held and (task != "classification" or len(places) > 1):
            why = "is one of several" if task == "classification" else "can be classified only"
            raise ValueError(
                f"column {X.columns[held[0]]!r} holds sequences and {why}; a column of sequences "
                "is a modality by itself, of a classification; make numbers of it first"
            )
        found += [name] * bool(held)
    return found


def columns_in_use(
    X: pd.DataFrame,
    columns: Mapping[str, list[int]],
    sequences: Container[str],
    documents: Container[str],
) -> pd.DataFrame:
    """Return a row for each column of each modality: how it is read, and its share of gaps."""
    rows = []
    for name, places in columns.items():
        for j in places:
            own, read = X.iloc[:, j], "sequence"
            if name not in sequences:
                read = _kind(own, name in documents)
            rows.append((name, X.columns[j], read, own.isna().mean()))
    return pd.DataFrame(rows, columns=["modality", "column", "kind", "empty"])


def in_step(X: pd.DataFrame, columns: Mapping[str, list[int]]) -> bool:
    """Tell whether the sequences of a sample have one length in all modalities that it has."""
    cells = np.array([[_length(cell) for cell in X.iloc[:, j]] for (j,) in columns.values()])
    longest = cells.max(axis=0)
    return bool(((cells == longest) | (cells < 0)).all())


def _length(cell: Any) -> int:
    """Return the number of steps in a cell, -1 where it is missing."""
    return len(cell) if isinstance(cell, np.ndarray | list | tuple) else -1


def expert_model(encoder: Any, model: Any, own: Any) -> Any:
    """Return what hears one modality: an encoder and the model; of sequences ``own`` or an HMM."""
    if encoder is not None:
        return sklearn.pipeline.make_pipeline(encoder, model)
    return _scaled(HMMClassifier(random_state=0) if own is None else own)


def chain_model(kind: str, columns: Mapping[str, list[int]]) -> Any:
    """Return a graphical model of all modalities, whose sequences are in step."""
    if kind == "hidden_crf":
        return _scaled(HiddenCRFClassifier(random_state=0), columns)
    if kind == "hmm":
        return _scaled(HMMClassifier(random_state=0), columns)
    full = ("gaussian", {"covariance_type": "full"})
    join = sklearn.preprocessing.FunctionTransformer(_joined)
    model = HMMClassifier(emissions=full, random_state=0)
    return _scaled(sklearn.pipeline.make_pipeline(join, model), columns)


def _scaled(model: Any, columns: Mapping[str, list[int]] | None = None) -> Any:
    scaler = StepwiseTransformer(sklearn.preprocessing.StandardScaler(), columns)
    return sklearn.pipeline.make_pipeline(scaler, model)


def _joined(X: pd.DataFrame) -> pd.DataFrame:
    """Return one column of sequences side by side; a missing one is 0, the mean of the scaled."""
    widths = [max(np.shape(cell)[1] for cell in X[name] if cell is not None) for name in X]
    rows = []
    for cells in zip(*(X[name] for name in X), strict=True):
        n_steps = max(map(_length, cells))
        filled = [
            np.nan_to_num(cell) if _length(cell) >= 0 else np.zeros((n_steps, width))
            for cell, width in zip(cells, widths, strict=True)
        ]
        rows.append(np.hstack(filled))
    return pd.DataFrame({"joined": fill_cells(rows)}, index=X.index)
