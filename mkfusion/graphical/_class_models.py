"""What classifiers with one generative model for each class share: Bayes, folds, temperature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state

from .._folds import Split, group_codes, groups_column, split_rows
from .._parallel import delayed, run
from .._validation import (
    check_class_target,
    check_distribution,
    check_lengths,
    check_option,
    check_weight_vector,
    listed,
    sample_weights,
    warn,
    warn_unconverged,
)
from ..chains._stream_weights import Scorer, StreamWeights, learn_stream_weights
from ..chains._temperature import (
    Temperature,
    constant_temperature,
    learn_temperature,
    log_posteriors,
    tempered,
)
from ._cells import as_cell_table
from ._class_data import (
    Data,
    check_values,
    emission_by_name,
    joined_scorer,
    observed_steps,
    take_samples,
)
from ._streams import SequenceMixin

__all__ = ["ClassFit", "ClassModels"]

Array = np.ndarray

ONE_STEP = "every sequence has one step, and no length that would sharpen posteriors"
FEWEST = 4  # samples of each class from which something can be learnt out of fold
GREATEST = 1e300  # of a decision: scikit-learn's scorers take no infinity


class ClassFit(NamedTuple):
    """The model of one class, and how its EM ended."""

    model: Any
    history: Any
    n_iter: int
    converged: bool
    gain: float


class ClassModels(ClassifierMixin, SequenceMixin, BaseEstimator):
    """One model for each class; a subclass fits one and scores sequences by several."""

    missing_modality = "marginalises"
    n_states: Any
    emissions: Any
    stream_weights: Any
    priors: Any
    temperature: Any
    max_iter: int
    cv: Any
    groups: str | None
    n_jobs: int | None
    random_state: Any
    verbose: int
    learnt_: StreamWeights | None

    # What a subclass says ----------------------------------------------------------------

    def _check_parameters(self) -> None:
        """Refuse parameters that are out of range."""
        raise NotImplementedError

    def _arrange(self, data: Data) -> Data:
        """Return the sequences as the models take them: at the same steps, where they must be."""
        raise NotImplementedError

    def _prepare_classes(self, data: Data) -> None:
        """Settle what the models' parameters are for each class, now that these are known."""
        raise NotImplementedError

    def _fit_class(
        self, data: Data, c: int, weights: Array, own: Array, seed: Sequence[int]
    ) -> ClassFit:
        """Fit the model of class c to its samples."""
        raise NotImplementedError

    def _scorer(self, models: Sequence[Any], data: Data) -> Scorer:
        """Return the function of the weights that scores sequences by the models."""
        raise NotImplementedError

    def _log_likelihoods(self, model: Any, data: Data, weights: Array) -> Array:
        """Return the log-likelihood of every sequence under one model."""
        raise NotImplementedError

    def _weights_are_outside(self) -> bool:
        """Tell whether the models do not depend on the weights."""
        return False

    # Fit ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Fit a model for each class, and what is learnt out of fold.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)
            One row is one sample. Cells hold sequences of shape (n_steps, n_features) or
            (n_steps,); a cell that is None or NaN, and a step that is all NaN, is absent. A
            modality of number columns is a sequence of one step.
        y : array-like of shape (n_samples,)
            A label for each sample.
        sample_weight : array-like of shape (n_samples,), default=None
            A weight for each sample: in the models, the priors and all that is learnt.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group stay in one inner fold.

        Returns
        -------
        self : object
        """
        self._check_parameters()
        given = self._read_fit_sequences(X)
        labels = check_class_target(y)
        table = as_cell_table(X)
        check_lengths(X=table, y=labels)
        weights = sample_weights(sample_weight, labels)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y has one class ({listed(classes)}); a classifier needs at least two classes"
            )
        weights = np.ones(len(codes)) if weights is None else weights
        mass = np.bincount(codes, weights, len(classes))
        if not mass.all():
            raise ValueError(f"classes {listed(classes[mass == 0])} have no sample with a weight")
        self.classes_ = classes
        self.priors_ = self._check_priors(mass)
        self._keep_emissions(given)
        data = self._arrange(given)
        self._prepare_classes(data)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        names = list(data)
        own, learns = self._given_weights(names)
        lengths = observed_steps(data)
        grouping = group_codes(table, self.groups, groups)
        few = self._too_few(codes, weights, grouping)
        if learns and few:
            raise ValueError(f"stream_weights='learn' is not possible: {few}")
        longest = max(int(np.diff(stream.offsets).max()) for stream in data.values())
        temperature, self.learnt_ = self._fixed_temperature(longest, few), None
        if learns or temperature is None:
            splits = split_rows(self.cv, codes, grouping, classes=True, counted=weights > 0)
            own, temperature = self._learn_out_of_fold(
                data, codes, weights, lengths, splits, own, learns, seed, temperature
            )
        fits = self._fit_classes(data, codes, weights, own, seed)
        self._warn_of(fits)
        self.stream_weights_ = own
        self.temperature_ = temperature
        self.models_ = dict(zip(self.classes_.tolist(), (f.model for f in fits), strict=True))
        self.history_ = dict(zip(self.classes_.tolist(), (f.history for f in fits), strict=True))
        self.n_iter_ = max(fit.n_iter for fit in fits)
        return self

    def _aside(self, table: Any) -> list[int]:
        return groups_column(table, self.groups)

    def _check_priors(self, mass: Array) -> Array:
        if isinstance(self.priors, str):
            check_option("priors", self.priors, ["empirical"])
        elif self.priors is not None:
            return check_distribution("priors", self.priors, len(mass))
        return mass / mass.sum()

    def _keep_emissions(self, data: Data) -> None:
        """Settle the emissions; of symbols, keep one that knows all to check new ones by."""
        self._choices = emission_by_name(self.emissions, data)
        self._knowing = {}
        for name, (family, options) in self._choices.items():
            if family.symbols:
                symbols = options["vocabulary"]
                rng = np.random.default_rng(0)
                values = np.asarray(symbols)[:, None]
                self._knowing[name] = family.initial(
                    values, np.ones((len(symbols), 1)), 1, rng, **options
                )

    def _given_weights(self, names: list[str]) -> tuple[Array, bool]:
        """Return the weights to begin with, and whether they are to be learnt."""
        if isinstance(self.stream_weights, str):
            check_option("stream_weights", self.stream_weights, ["learn"])
            return np.ones(len(names)), True
        if self.stream_weights is None:
            return np.ones(len(names)), False
        found = check_weight_vector("stream_weights", self.stream_weights, names)
        if found.ndim == 2 and found.shape[1] != len(self.classes_):
            raise ValueError(
                f"stream_weights by class must have shape ({len(names)}, {len(self.classes_)}), "
                f"a row for each modality and a column for each class, got {found.shape}"
            )
        if not found.any(axis=0).all():
            raise ValueError("stream_weights are 0 for every modality; nothing would be heard")
        return found, False

    def _fixed_temperature(self, longest: int, few: str) -> Temperature | None:
        """Return the temperature where it is not learnt, None where it is."""
        if self.temperature is None:
            return constant_temperature(origin="not asked for")
        if isinstance(self.temperature, str):
            check_option("temperature", self.temperature, ["learn"])
            if longest <= 1:
                return constant_temperature(origin=ONE_STEP)
            if few:
                warn(f"the temperature is not learnt, and is 1: {few}")
                return constant_temperature(origin=few)
            return None
        value = self.temperature
        number = float(value) if isinstance(value, Real) else np.nan
        if isinstance(value, bool) or not 0 < number < np.inf:
            raise ValueError(
                f"temperature must be 'learn', None or a finite number above 0, got {value!r}"
            )
        return constant_temperature(number)

    def _too_few(self, codes: Array, weights: Array, groups: Array | None) -> str:
        """Say why nothing can be learnt out of fold; empty where it can."""
        counts = np.bincount(codes[weights > 0])
        if counts.min() < FEWEST:
            label = self.classes_[counts.argmin()]
            return (
                f"class {listed([label])} has {counts.min()} samples, and folds need at least "
                f"{FEWEST} of each class"
            )
        if groups is not None and len(np.unique(groups[weights > 0])) < 2:
            return "all samples are in one group, which cannot be divided into folds"
        return ""

    def _learn_out_of_fold(
        self,
        data: Data,
        codes: Array,
        weights: Array,
        lengths: Array,
        splits: list[Split],
        own: Array,
        learns: bool,
        seed: int,
        temperature: Temperature | None,
    ) -> tuple[Array, Temperature]:
        """Return the weights and the temperature, learnt from scores of samples not seen."""
        asked = np.concatenate([test for _, test in splits])
        y, shares, steps = codes[asked], weights[asked], lengths[asked]
        log_priors = np.log(np.bincount(codes, weights) / weights.sum())  # of these samples
        folds = self._fit_folds(data, codes, weights, splits, own, seed)
        if learns:
            parts = [
                self._scorer(_models(fits), take_samples(data, test))
                for fits, (_, test) in zip(folds, splits, strict=True)
            ]
            learnt = learn_stream_weights(
                joined_scorer(parts), len(data), y, steps, log_priors, sample_weight=shares
            )
            top = float(learnt.weights.max())
            self.learnt_, own = learnt, learnt.weights / top
            if not learnt.converged:
                warn_unconverged(
                    f"{type(self).__name__}, stream weights", "optimality gap",
                    max(learnt.gap, learnt.gradient), learnt.n_iter,
                )  # fmt: skip
            if temperature is not None:
                return own, temperature
            if self._weights_are_outside():
                # The same posteriors: what the weights lose in size, the temperature loses too.
                return own, learnt.temperature._replace(
                    a=learnt.temperature.a - float(np.log(top))
                )
            folds = self._fit_folds(data, codes, weights, splits, own, seed)
        scores = np.concatenate(
            [
                self._score(_models(fits), take_samples(data, test), own)
                for fits, (_, test) in zip(folds, splits, strict=True)
            ]
        )
        found = learn_temperature(scores, y, steps, log_priors, sample_weight=shares)
        if not found.converged:
            warn_unconverged(
                f"{type(self).__name__}, temperature", "gradient", found.gradient, found.n_iter
            )
        return own, found

    def _fit_folds(
        self,
        data: Data,
        codes: Array,
        weights: Array,
        splits: list[Split],
        own: Array,
        seed: int,
    ) -> list[list[Any]]:
        tasks = (
            (train, c, [seed, f + 1, c])
            for f, (train, _) in enumerate(splits)
            for c in range(len(self.classes_))
        )
        n_classes = len(self.classes_)
        found = self._run(data, codes, weights, own, tasks, len(splits) * n_classes, "folds")
        return [found[k : k + n_classes] for k in range(0, len(found), n_classes)]

    def _fit_classes(
        self,
        data: Data,
        codes: Array,
        weights: Array,
        own: Array,
        seed: int,
    ) -> list[ClassFit]:
        n_classes, rows = len(self.classes_), np.arange(len(codes))
        tasks = ((rows, c, [seed, 0, c]) for c in range(n_classes))
        found = self._run(data, codes, weights, own, tasks, n_classes, "classes")
        for c, fit in enumerate(found):
            if fit is None:
                there = take_samples(data, np.flatnonzero((codes == c) & (weights > 0)))
                absent = [name for name, s in there.items() if not s.present.any()]
                raise ValueError(
                    f"class {listed([self.classes_[c]])} has no sample with modality "
                    f"{listed(absent)}, so that nothing can be learnt of it; leave the modality "
                    "out, or take a late fusion of classifiers"
                )
        return found

    def _run(
        self,
        data: Data,
        codes: Array,
        weights: Array,
        own: Array,
        tasks: Iterator[Any],
        total: int,
        what: str,
    ) -> list[Any]:
        def fit_one(rows: Array, c: int, seed: list[int]) -> ClassFit | None:
            mine = rows[(codes[rows] == c) & (weights[rows] > 0)]
            if not len(mine):
                return None
            samples = take_samples(data, mine)
            if not all(s.present.any() for s in samples.values()):
                return None
            return self._fit_class(samples, c, weights[mine], _of_class(own, c), seed)

        return run(
            (delayed(fit_one)(*task) for task in tasks),
            n_jobs=self.n_jobs,
            total=total,
            progress=f"{type(self).__name__}: {what}" if self.verbose else None,
            threads=True,
        )

    def _warn_of(self, fits: Sequence[ClassFit]) -> None:
        left = [fit for fit in fits if not fit.converged]
        if left:
            worst = max(left, key=lambda fit: fit.gain)
            warn_unconverged(
                f"{type(self).__name__}, {len(left)} of {len(fits)} classes",
                "gain of log-likelihood in the last iteration", worst.gain, worst.n_iter,
            )  # fmt: skip

    # Answers -----------------------------------------------------------------------------

    def _score(self, models: Sequence[Any], data: Data, own: Array) -> Array:
        """Return log p(X | c) of shape (n_samples, n_classes); -inf by a class without model."""
        n_samples = len(next(iter(data.values())).offsets) - 1
        scores = np.full((n_samples, len(models)), -np.inf)
        for c, model in enumerate(models):
            if model is not None:
                scores[:, c] = self._log_likelihoods(model, data, _of_class(own, c))
        return scores

    def _answer(self, X: Any) -> tuple[Array, Array]:
        """Return the scores of new samples, and how many steps were observed."""
        given = self._read_sequences(X)
        for name, own in given.items():
            knowing = self._knowing.get(name)
            family, _ = self._choices[name]
            check_values(name, family.check if knowing is None else knowing.prepare, own)
        data = self._arrange(given)
        lengths = observed_steps(data)
        scores = self._score(list(self.models_.values()), data, self.stream_weights_)
        silent = lengths == 0
        if silent.any():
            scores[silent] = 0.0
            warn(f"{int(silent.sum())} of {len(silent)} samples have no modality; they get P(c)")
        return scores, lengths

    def _log_priors(self) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(self.priors_)

    def predict_joint_log_proba(self, X: Any) -> Array:
        r"""Return :math:`\log P(c) + \log p(X \mid c) / \tau(T)`.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)

        Returns
        -------
        logs : ndarray of shape (n_samples, n_classes)
        """
        scores, lengths = self._answer(X)
        return tempered(scores, self._log_priors(), 1 / self.temperature_.at(lengths))

    def predict_log_proba(self, X: Any) -> Array:
        r"""Return :math:`\log P(c \mid X)`.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)

        Returns
        -------
        logs : ndarray of shape (n_samples, n_classes)
        """
        scores, lengths = self._answer(X)
        return log_posteriors(scores, self._log_priors(), lengths, self.temperature_)

    def predict_proba(self, X: Any) -> Array:
        r"""Return :math:`P(c \mid X)`.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)

        Returns
        -------
        posteriors : ndarray of shape (n_samples, n_classes)
        """
        return np.exp(self.predict_log_proba(X))

    def decision_function(self, X: Any) -> Array:
        r"""Return :math:`\log P(c \mid X)`, of two classes the difference of the second's.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)

        Returns
        -------
        decisions : ndarray of shape (n_samples, n_classes) or (n_samples,)
        """
        logs = self.predict_log_proba(X)
        if logs.shape[1] == 2:
            logs = logs[:, 1] - logs[:, 0]
        return np.clip(logs, -GREATEST, GREATEST)

    def predict(self, X: Any) -> Array:
        """Return the class of the greatest posterior.

        Parameters
        ----------
        X : DataFrame, list of arrays or array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        places = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[places]


def _models(fits: Sequence[ClassFit | None]) -> list[Any]:
    return [None if fit is None else fit.model for fit in fits]


def _of_class(weights: Array, c: int) -> Array:
    return weights if weights.ndim == 1 else weights[:, c]
