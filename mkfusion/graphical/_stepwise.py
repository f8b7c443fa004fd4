"""Transformers of tables, applied to the steps of sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_method_params,
    check_is_fitted,
)

from .._columns import as_numbers, spread
from .._diagram import columns_text, picture
from .._models import concerning, named_by_modality, weight_params
from .._parallel import delayed, run, single_blas_thread
from .._selectors import as_list
from .._validation import check_lengths, sample_weights, warn
from ..modality import MultimodalMixin, fill_cells, presence, take_block
from ._cells import as_cell_table, cell_columns, refuse_sparse
from ._streams import read_modality

__all__ = ["StepwiseTransformer"]

Array = np.ndarray


class _Heard(NamedTuple):
    """What the transformer of one modality sees."""

    block: Any
    places: Array  # shape: (n_rows_of_block,), the samples that its rows are from
    offsets: Array | None  # where sequences begin among all steps; None for number columns
    present: Array  # which steps, or samples, stand in the block


class StepwiseTransformer(MultimodalMixin, TransformerMixin, _BaseComposition):
    """Apply any transformer to the steps of sequences, modality by modality.

    The steps of all sequences of a modality stand below one another as the rows of a table; the
    transformer is fitted on that table, and what it makes of the rows becomes cells again. A
    modality of number columns is transformed as it is. What is absent is absent again.

    Parameters
    ----------
    transformer : transformer, default=None
        The prototype for every modality that has none of its own; a clone is fitted for each. It
        must keep the number of rows. None passes modalities through.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame, and takes a column of sequences for a modality.
    transformers : list of (str, transformer), default=None
        Transformers by modality; "passthrough" and "drop" as in ``ColumnTransformer``.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Transformers that are fitted at a time, through joblib.

    Attributes
    ----------
    named_transformers_ : dict of str to transformer
        The fitted transformers, or "passthrough", of the modalities in use.
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        If a selector selects nothing, a cell holds no sequence, its width is another than before,
        or a transformer returns another number of rows.

    See Also
    --------
    mkfusion.ModalityConcatenator : For modalities of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mkfusion.graphical import StepwiseTransformer, as_sequence_frame
    >>> X = as_sequence_frame({"audio": [np.array([[1.0], [3.0]]), np.array([[5.0]])],
    ...                        "video": [np.array([[2.0, 0.0]]), np.array([[4.0, 1.0]])]})
    >>> Z = StepwiseTransformer(StandardScaler()).fit_transform(X)
    >>> Z["audio"].iloc[0].round(3).tolist()
    [[-1.225], [0.0]]
    """

    missing_modality = "passes"

    def __init__(
        self,
        transformer: Any = None,
        modalities: Mapping[str, Any] | None = None,
        *,
        transformers: list[tuple[str, Any]] | None = None,
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
    ) -> None:
        self.transformer = transformer
        self.modalities = modalities
        self.transformers = transformers
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the transformers as ``modality__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of the transformers.

        Returns
        -------
        params : dict
        """
        return self._get_params("transformers", deep=deep)

    def set_params(self, **params: Any) -> Any:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Own parameters, those of the prototype as ``transformer__parameter``, and those of the
            transformers of ``transformers`` as ``modality__parameter``.

        Returns
        -------
        self : object
        """
        self._set_params("transformers", **params)
        return self

    def _sk_visual_block_(self) -> Any:
        """Return the picture that scikit-learn shows of this estimator."""
        if not hasattr(self, "named_transformers_"):
            models = self._models()
            return picture(models, dict.fromkeys(models, ""), [])
        chosen = {name: self.modalities_[name] for name in self.named_transformers_}
        texts = {n: columns_text(c if isinstance(c, list) else [c]) for n, c in chosen.items()}
        return picture(self.named_transformers_, texts, [])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        models = [get_tags(model).input_tags for model in self._models().values()]
        tags.input_tags.allow_nan = all(model.allow_nan for model in models)
        return tags

    def _models(self) -> dict[str, Any]:
        """Return the unfitted transformers that are named before X is seen."""
        try:
            models = dict(self.transformers or [])
        except (TypeError, ValueError):
            models = {}
        models["transformer"] = self.transformer
        return {name: model for name, model in models.items() if hasattr(model, "fit")}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the transformers.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping()
        for caller in ("fit", "fit_transform"):
            for callee in ("fit", "fit_transform"):
                mapping.add(caller=caller, callee=callee)
        mapping.add(caller="transform", callee="transform")
        for name, model in self._models().items():
            router.add(**{name: model}, method_mapping=mapping)
        return router

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Fit each modality's transformer on the steps that are there.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)
            One row per sample, whose cells hold sequences. A cell that is None or NaN throughout
            is absent, and so is a step that is NaN throughout; other NaN are handed on.
        y : array-like of shape (n_samples,), default=None
            Handed to the transformers: each step has the label of its sample.
        sample_weight : array-like of shape (n_samples,), default=None
            Handed to the transformers that take weights, step by step.
        **fit_params : dict
            Handed to the transformers by metadata routing.

        Returns
        -------
        self : object
        """
        self.fit_transform(X, y, sample_weight=sample_weight, **fit_params)
        return self

    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any
    ) -> Any:
        """Fit, and return the training samples as the transformers' own fit_transform has them.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
        sample_weight : array-like of shape (n_samples,), default=None
        **fit_params : dict

        Returns
        -------
        Z : DataFrame or ndarray of shape (n_samples, n_features_out)
            As :meth:`transform` gives it.
        """
        self.__dict__.pop("named_transformers_", None)  # until the end nothing is fitted
        _raise_for_params(fit_params, self, "fit")
        table = self._read_fit(as_cell_table(X))
        refuse_sparse(table, self._columns)
        check_lengths(X=table, y=y)
        weight = sample_weights(sample_weight, table)
        routed = self._route(sample_weight, fit_params)
        chosen = named_by_modality(
            "transformers", self.transformers, self.transformer, list(self._columns)
        )
        self._widths: dict[str, int] = {}
        heard = {n: self._heard(table, n, True) for n in chosen if not _is("drop", chosen[n])}
        for name in [name for name, own in heard.items() if not len(own.places)]:
            warn(f"modality {name!r} is missing for every sample and is left out")
            del heard[name]
        if not heard:
            raise ValueError("no modality is left to transform: each is dropped or missing")
        named = dict(self.transformers or [])
        answers = run(
            (
                delayed(_fit_transform)(
                    name, _fresh(chosen[name]), own.block, name in self._widths, own.places,
                    len(table), y, weight,
                    routed.get(name if name in named else "transformer"),
                )
                for name, own in heard.items()
            ),
            n_jobs=self.n_jobs,
        )  # fmt: skip
        fitted = {name: model for name, (model, _) in zip(heard, answers, strict=True)}
        blocks = {name: block for name, (_, block) in zip(heard, answers, strict=True)}
        self._widths_out = {name: block.shape[1] for name, block in blocks.items()}
        self.named_transformers_ = fitted
        return self._join(table, heard, blocks)

    def _route(self, sample_weight: Any, fit_params: dict[str, Any]) -> dict[str, Any]:
        if not _routing_enabled():
            return {}
        if sample_weight is not None:
            fit_params = {**fit_params, "sample_weight": sample_weight}
        routed = process_routing(self, "fit", **fit_params)
        return {name: routed[name]["fit"] for name in self._models()}

    def _heard(self, table: Any, name: str, fitting: bool) -> _Heard:
        """Return what the transformer of a modality sees of a table."""
        columns = as_list(self._columns[name])
        cells = cell_columns(table, columns)
        if not (cells if fitting else name in self._widths):
            if cells:
                raise ValueError(
                    f"modality {name!r} held single values at fit and holds sequences now"
                )
            rows = presence(table, {name: self._columns[name]})[0]
            block = take_block(table, self._columns[name], rows)
            return _Heard(block, np.flatnonzero(rows), None, rows)
        own = read_modality(name, table, columns, self._widths.get(name), holes=True)
        if fitting:
            self._widths[name] = own.values.shape[1]
        lengths = np.diff(own.offsets)
        places = np.repeat(np.arange(len(lengths)), lengths)[own.present]
        alone = np.count_nonzero(lengths) == 1  # the values are those of X then
        block = own.values.copy() if alone else own.values
        return _Heard(
            block if own.present.all() else block[own.present], places, own.offsets, own.present
        )

    def transform(self, X: Any) -> Any:
        """Transform the steps of each modality.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : DataFrame or ndarray of shape (n_samples, n_features_out)
            A DataFrame with one column of cells for each modality of sequences; cells and steps
            that are absent are absent again. Where all modalities are number columns, an array.
        """
        check_is_fitted(self)
        table = self._read(as_cell_table(X))
        refuse_sparse(table, self._columns)
        heard = {name: self._heard(table, name, False) for name in self.named_transformers_}
        answers = run(
            (
                delayed(_transform)(name, model, heard[name].block, name in self._widths)
                for name, model in self.named_transformers_.items()
            ),
            n_jobs=self.n_jobs,
            threads=True,
        )
        return self._join(table, heard, dict(zip(heard, answers, strict=True)))

    def _join(self, table: Any, heard: dict[str, _Heard], blocks: dict[str, Any]) -> Any:
        parts: dict[str, Any] = {}
        for name, own in heard.items():
            block, width = blocks[name], self._widths_out[name]
            block = np.empty((0, width)) if block is None else block
            if block.shape != (len(own.places), width):
                raise ValueError(
                    f"modality {name!r}: the transformer made {block.shape} of "
                    f"{len(own.places)} rows, which is not ({len(own.places)}, {width}); a "
                    "stepwise transformer keeps the rows, and the columns that it has at fit"
                )
            parts[name] = _as_cells(block, own) if name in self._widths else block
        if not self._widths.keys() & heard.keys():
            spreads = [spread(name, part, heard[name].present) for name, part in parts.items()]
            if any(sparse.issparse(part) for part in spreads):
                return sparse.hstack(spreads, format="csr")
            return spreads[0] if len(spreads) == 1 else np.hstack(spreads)
        columns: list[Any] = []
        for name, part in parts.items():
            if name in self._widths:
                columns.append(part)
                continue
            dense = part.toarray() if sparse.issparse(part) else part
            columns += list(spread(name, dense, heard[name].present).T)
        index = table.index if isinstance(table, pd.DataFrame) else None
        frame = pd.DataFrame(dict(enumerate(columns)), index=index)
        return frame.set_axis(self.get_feature_names_out(), axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            The names of the input columns; None takes those seen at fit.

        Returns
        -------
        names : ndarray of str
            A modality of sequences is one column of its name (or of its own, if that has the
            modality as prefix); other columns have their modality as prefix.
        """
        check_is_fitted(self)
        given = _check_feature_names_in(self, input_features)
        names: list[str] = []
        for modality, model in self.named_transformers_.items():
            inputs = given[as_list(self._columns[modality])]
            prefix = f"{modality}__"
            if modality in self._widths:
                own = str(inputs[0]) if len(inputs) == 1 else ""
                names.append(own if own.startswith(prefix) else modality)
                continue
            out = _names_out(model, inputs, self._widths_out[modality])
            names += [name if str(name).startswith(prefix) else f"{prefix}{name}" for name in out]
        return np.array(names, dtype=object)


def _is(word: str, model: Any) -> bool:
    return isinstance(model, str) and model == word


def _fresh(model: Any) -> Any:
    return "passthrough" if model is None or _is("passthrough", model) else clone(model)


def _names_out(model: Any, inputs: Array, width: int) -> Any:
    if _is("passthrough", model):
        return inputs
    if not hasattr(model, "get_feature_names_out"):
        return range(width)
    # A text vectoriser takes one document column and no names.
    vectoriser = not hasattr(model, "n_features_in_") and not hasattr(model, "steps")
    return model.get_feature_names_out() if vectoriser else model.get_feature_names_out(inputs)


def _fit_transform(
    name: str,
    model: Any,
    block: Any,
    cells: bool,
    places: Array,
    n_samples: int,
    y: Any,
    weight: Array | None,
    routed: Any,
) -> tuple[Any, Any]:
    if _is("passthrough", model):
        return model, _rows_of(name, block, model, cells)
    if routed is None:
        params = {} if weight is None else weight_params(model, weight) or {}
    else:
        params = dict(routed)
    params = _check_method_params(np.empty(n_samples), params, indices=places)
    target = None if y is None else np.asarray(y)[places]
    with concerning(name), single_blas_thread:
        if hasattr(model, "fit_transform"):
            made = model.fit_transform(block, target, **params)
            return model, _rows_of(name, made, model, cells)
        model.fit(block, target, **params)
        return model, _rows_of(name, model.transform(block), model, cells)


def _transform(name: str, model: Any, block: Any, cells: bool) -> Any:
    if not len(block):
        return None
    if _is("passthrough", model):
        return _rows_of(name, block, model, cells)
    with concerning(name), single_blas_thread:
        return _rows_of(name, model.transform(block), model, cells)


def _rows_of(name: str, block: Any, model: Any, cells: bool) -> Any:
    """Return what a transformer made as a table; symbols in cells pass through as they are."""
    if cells and _is("passthrough", model):
        return block
    return as_numbers(name, block)


def _as_cells(block: Any, own: _Heard) -> Array:
    """Return rows as one cell for each sample, None where the sample has no step."""
    values: Any = block.toarray() if sparse.issparse(block) else np.asarray(block)
    if not own.present.all():
        missing = None if values.dtype == object else np.nan
        dtype = object if missing is None else np.result_type(values.dtype, np.float32)
        whole = np.full((len(own.present), values.shape[1]), missing, dtype=dtype)
        whole[own.present] = values
        values = whole
    assert own.offsets is not None
    cells = np.split(values, own.offsets[1:-1])
    return fill_cells(cell if len(cell) else None for cell in cells)
