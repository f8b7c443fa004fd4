"""Models that take any table: what makes numbers of columns of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import sklearn

from ..modality import holds_sequences


def default_model(task: str) -> Any:
    linear = sklearn.linear_model
    return linear.LogisticRegression(max_iter=1000) if task == "classification" else linear.Ridge()


def encoder(block: pd.DataFrame) -> Any:
    """Return what makes numbers of one modality's columns, by the kind of each."""
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    join, as_text = sklearn.pipeline.make_pipeline, FunctionTransformer(_as_text)
    numbers = join(sklearn.impute.SimpleImputer(keep_empty_features=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100)
    words = join(as_text, sklearn.feature_extraction.text.TfidfVectorizer(max_features=1000))
    kinds = np.array([_kind(block.iloc[:, j]) for j in range(block.shape[1])])
    if (kinds == "number").all():
        return numbers
    many = {"number": numbers, "category": join(as_text, one_hot)}
    steps: list[Any] = [(f"text{j}", words, int(j)) for j in np.flatnonzero(kinds == "text")]
    steps += [(kind, model, np.flatnonzero(kinds == kind)) for kind, model in many.items()]
    return sklearn.compose.ColumnTransformer(steps, sparse_threshold=0.0)


def _kind(column: pd.Series) -> str:
    if holds_sequences(column):
        raise ValueError(f"column {column.name!r} holds sequences; make numbers of them first")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return "number"
    given = column.dropna()
    if not all(isinstance(cell, str) for cell in given) or given.nunique() <= 20:
        return "category"
    return "text" if given.str.split().str.len().mean() >= 3 else "category"


def _as_text(columns: Any) -> Any:
    return columns.astype(object).where(columns.notna(), "").map(str)
