"""A hidden Markov model of several streams, learnt without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._parallel import thread_count
from .._progress import tqdm
from .._selectors import as_list
from .._validation import check_weight_vector, listed, sample_weights, warn, warn_unconverged
from ..chains._chain import posteriors, viterbi
from ..chains._em import (
    HMM,
    emission_scores,
    fit_hmm,
    log_likelihoods,
    log_potentials,
    n_parameters,
)
from ..chains._emissions import Stream, resolve_emission
from ._steps import StepMixin, Steps
from ._streams import SequenceMixin, Sequences, holds_cells, synchronous
from ._tagger import weights_of_sequences

__all__ = ["MultistreamHMM"]

Array = np.ndarray


class _Read(NamedTuple):
    """What X holds, whether its rows are sequences or steps."""

    streams: list[Stream]
    offsets: Array
    steps: Steps | None  # None: rows are sequences

    def given_back(self, values: Array) -> Array:
        """Return what was found of the steps, as X has them."""
        if self.steps is not None:
            return self.steps.restored(values)
        cells = np.empty(len(self.offsets) - 1, dtype=object)
        for i, (a, b) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            cells[i] = values[a:b].copy()
        return cells


class MultistreamHMM(DensityMixin, StepMixin, SequenceMixin, BaseEstimator):
    r"""A hidden Markov model whose states speak through several modalities at once.

    .. math:: p(x) = \sum_q \pi_{q_1} \prod_{t > 1} A_{q_{t-1} q_t}
        \prod_t \prod_m b_{q_t m}(x_{tm})^{w_m}

    Each modality has its own family of emissions b and its weight w. A modality that is absent, at
    some steps or for a whole sequence, has the factor 1 there, in training too. Training is
    expectation-maximisation, and its objective never falls.

    X has one row for each sequence, its cells holding (n_steps, d) arrays of equal lengths in all
    modalities; or one row for each step, with the id of the sequence in an index level or a
    column. A table of numbers without ids is taken for sequences of one step.

    Parameters
    ----------
    n_states : int, default=2
        There may be more of them than steps: those that nothing is seen of keep the means and
        variances of all steps.
    modalities : mapping of str to column selector, default=None
        As ``ColumnTransformer`` takes them; None reads the prefixes before ``__`` in the column
        names of a DataFrame, and takes a column of cells for a modality.
    emissions : str, tuple or mapping, default="gaussian"
        ``"gaussian"``, ``"gmm"``, ``"categorical"`` or ``"poisson"``, alone or in a pair with a
        mapping of options, as in ``("gaussian", {"covariance_type": "full"})``; or a mapping of
        modalities to these, where those that are left out are Gaussian. Options are those of
        hmmlearn: ``covariance_type``, ``n_mix``, ``means_prior`` and so on; ``min_covar=1e-3`` is
        the lowest variance, as a share of the column's, and ``unknown="ignore"`` gives symbols
        that training did not have the factor 1.
    stream_weights : mapping of str to float or array-like of shape (n_modalities,), default=None
        w, at least 0; of weight 0 a modality is as if it were not there. None is 1. With weights
        other than 1 the model is not normalised, and likelihoods are scores.
    topology : {"ergodic", "left-right"}, default="ergodic"
        "left-right" begins in the first state, and goes on to the next one or stays.
    start : array-like of shape (n_states,), default=None
        Probabilities that training begins with; zeros stay.
    transition : array-like of shape (n_states, n_states), default=None
        From row to column, as ``start``.
    start_prior : float, default=1
        The concentration of the Dirichlet prior of starts, at least 1.
    transition_prior : float, default=1
        The same for each row of the transitions.
    n_init : int, default=1
        Restarts, of which the best is kept.
    max_iter : int, default=100
    tol : float, default=1e-4
        Stop when an iteration gains less than this log-likelihood by step.
    random_state : int, RandomState instance or None, default=None
        Of the k-means that restarts begin with.
    sequence : str, default="sequence"
        The index level or column that names the sequence of a step.
    step : str, default="step"
        The index level or column that holds the place or time of a step, looked at for gaps.
    remainder : {"drop", "error"}, default="drop"
        Columns of no modality are left out with a warning, or refused.
    allow_overlap : bool, default=False
        Let two modalities share columns.
    n_jobs : int, default=None
        Threads, as joblib counts them. No result depends on it.
    verbose : int, default=0
        Above 0 a progress bar shows the gain of an iteration.

    Attributes
    ----------
    start_ : ndarray of shape (n_states,)
    transition_ : ndarray of shape (n_states, n_states)
    emissions_ : dict of str to Emission
        By modality; ``params`` are its arrays.
    stream_weights_ : ndarray of shape (n_modalities,)
    log_likelihood_ : float
        Of the training sequences, weighted.
    history_ : ndarray of shape (n_iter + 1,)
        Log-likelihood and log prior, before the first iteration and after each.
    n_iter_ : int
    converged_ : bool
    modalities_ : dict
        The selectors in use.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Raises
    ------
    ValueError
        For modalities of different lengths in a row, sequences of length 0, values that an
        emission cannot have, symbols that training did not have, and parameters out of range.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` ends training, with the gain of the last iteration.

    References
    ----------
    Potamianos, Neti, Gravier, Garg and Senior (2003), Recent advances in the automatic recognition
    of audiovisual speech, Proceedings of the IEEE 91, equation (11). Rabiner (1989), A tutorial on
    hidden Markov models and selected applications in speech recognition, Proceedings of the IEEE
    77.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from mkfusion.graphical import MultistreamHMM
    >>> rng = np.random.default_rng(0)
    >>> states = np.tile(np.repeat([0, 1], 20), 5)
    >>> X = pd.DataFrame(
    ...     {"pulse__rate": rng.normal(9.0 * states), "steps__count": rng.poisson(1 + 5 * states)},
    ...     index=pd.Index(np.repeat([1, 2, 3, 4, 5], 40), name="sequence"),
    ... )
    >>> model = MultistreamHMM(2, emissions={"steps": "poisson"}, random_state=0).fit(X)
    >>> found = model.predict(X)
    >>> bool((found == found[0]).sum() == 100), model.transition_.shape
    (True, (2, 2))
    """

    missing_modality = "marginalises"
    _takes_symbols = True

    def __init__(
        self,
        n_states: int = 2,
        modalities: Mapping[str, Any] | None = None,
        *,
        emissions: Any = "gaussian",
        stream_weights: Any = None,
        topology: str = "ergodic",
        start: Any = None,
        transition: Any = None,
        start_prior: float = 1.0,
        transition_prior: float = 1.0,
        n_init: int = 1,
        max_iter: int = 100,
        tol: float = 1e-4,
        random_state: Any = None,
        sequence: str = "sequence",
        step: str = "step",
        remainder: str = "drop",
        allow_overlap: bool = False,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_states = n_states
        self.modalities = modalities
        self.emissions = emissions
        self.stream_weights = stream_weights
        self.topology = topology
        self.start = start
        self.transition = transition
        self.start_prior = start_prior
        self.transition_prior = transition_prior
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.sequence = sequence
        self.step = step
        self.remainder = remainder
        self.allow_overlap = allow_overlap
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_is_fitted__(self) -> bool:
        return "_model" in vars(self)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learn states from sequences.

        Parameters
        ----------
        X : DataFrame or array-like
            One row per sequence, whose cells hold its steps, or one row per step.
        y : ignored
        sample_weight : array-like of shape (n_rows,), default=None
            Of weight 2, a sequence counts as if it stood there twice; of weight 0, it is left out.
            The steps of a sequence have one weight.

        Returns
        -------
        self : object
        """
        self.__dict__.pop("_model", None)  # until the end of this fit nothing is fitted
        self._has_cells = holds_cells(X)
        read = self._fit_read(X)
        names = list(self.modalities_)
        weights = sample_weights(sample_weight, X)
        if weights is not None and read.steps is not None:
            weights = weights_of_sequences(weights, read.steps)
        families = self._families(names, read.streams)
        stream_weights = self._checked_stream_weights(names)
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        bar = tqdm(disable=not self.verbose, desc="EM", leave=False)
        fit = fit_hmm(
            read.streams,
            read.offsets,
            self.n_states,
            families,
            stream_weights=stream_weights,
            start=self.start,
            transition=self.transition,
            topology=self.topology,
            start_prior=self.start_prior,
            transition_prior=self.transition_prior,
            sample_weight=weights,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            rng=np.random.default_rng(seed),
            n_threads=thread_count(self.n_jobs),
            progress=_shown_on(bar) if self.verbose else None,
        )
        bar.close()
        if not fit.converged:
            warn_unconverged(type(self).__name__, "gain by step", fit.gain, fit.n_iter)
        self.log_likelihood_ = fit.log_likelihood
        self.history_ = fit.history
        self.n_iter_ = fit.n_iter
        self.converged_ = fit.converged
        self._store(fit.model, names, stream_weights)
        return self

    def _store(self, model: HMM, names: Sequence[str], stream_weights: Array) -> None:
        self.start_ = model.start
        self.transition_ = model.transition
        self.emissions_ = dict(zip(names, model.emissions, strict=True))
        self.stream_weights_ = stream_weights
        self._model = model

    # What X holds -------------------------------------------------------------------------

    def _fit_read(self, X: Any) -> _Read:
        if self._has_cells:
            return self._as_read(self._read_fit_sequences(X), None)
        return self._as_read(None, self._read_fit_steps(X))

    def _read_new(self, X: Any) -> _Read:
        check_is_fitted(self)
        if not self._has_cells:
            return self._as_read(None, self._read_steps(X))
        read = self._as_read(self._read_sequences(X), None)
        empty = np.flatnonzero(np.diff(read.offsets) == 0)
        if empty.size:
            raise ValueError(
                f"{empty.size} rows of X have none of the modalities {listed(self.modalities_)} "
                f"(first: row {int(empty[0])}), and no steps to tell anything of"
            )
        return read

    @staticmethod
    def _as_read(sequences: Mapping[str, Sequences] | None, steps: Steps | None) -> _Read:
        if steps is not None:
            streams = [Stream(block, steps.present[name]) for name, block in steps.blocks.items()]
            return _Read(streams, steps.offsets, steps)
        assert sequences is not None
        found, offsets = synchronous(sequences)
        return _Read([Stream(own.values, own.present) for own in found], offsets, None)

    def _families(self, names: Sequence[str], streams: Sequence[Stream]) -> list[Any]:
        """Return the family of each modality, whose values must be such as it can have."""
        given = self.emissions
        if isinstance(given, Mapping):
            unknown = set(given) - set(names)
            if unknown:
                raise ValueError(
                    f"emissions names {listed(sorted(map(str, unknown)))}, which is no modality; "
                    f"there are {listed(names, 30)}"
                )
            specs = [given.get(name, "gaussian") for name in names]
        else:
            specs = [given] * len(names)
        for name, spec, stream in zip(names, specs, streams, strict=True):
            family, _ = resolve_emission(spec)
            if stream.values.dtype == object and not family.symbols:
                raise ValueError(
                    f"modality {name!r} holds text, and {family.family} emissions need numbers; "
                    f"pass emissions={{{name!r}: 'categorical'}}, or encode it"
                )
            _of_modality(name, family.check, stream)
        return specs

    def _checked_stream_weights(self, names: Sequence[str]) -> Array:
        if self.stream_weights is None:
            return np.ones(len(names))
        weights = check_weight_vector("stream_weights", self.stream_weights, names)
        if weights.ndim != 1 or not weights.any():
            raise ValueError(
                f"stream_weights must be one number for each of {listed(names, 30)}, and not all "
                f"0, got {weights.tolist()}"
            )
        return weights

    def _chain(self, X: Any) -> tuple[_Read, tuple[Array, Array, Array]]:
        read = self._read_new(X)
        self._check_values(read)
        unary = emission_scores(
            self._model, read.streams, self.stream_weights_, thread_count(self.n_jobs)
        )
        return read, (*log_potentials(self._model), unary)

    def _check_values(self, read: _Read) -> None:
        """Refuse values that an emission cannot have, naming the modality."""
        for (name, emission), stream in zip(self.emissions_.items(), read.streams, strict=True):
            _of_modality(name, emission.prepare, stream)

    # What is asked of it ------------------------------------------------------------------

    def predict(self, X: Any) -> Array:
        """Return the states of each sequence's most probable path.

        Parameters
        ----------
        X : DataFrame or array-like

        Returns
        -------
        states : ndarray of int of shape (n_steps,), or of object of shape (n_sequences,)
            One state for each row that is a step; a path (n_steps,) for each row of cells.
        """
        read, chain = self._chain(X)
        paths = viterbi(*chain, read.offsets, n_threads=thread_count(self.n_jobs))
        _warn_of_impossible(paths.scores)
        return read.given_back(paths.states)

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the states at each step, given the whole sequence.

        Parameters
        ----------
        X : DataFrame or array-like

        Returns
        -------
        proba : ndarray of shape (n_steps, n_states), or of object of shape (n_sequences,)
            One row for each row that is a step; an array (n_steps, n_states) for each row of
            cells. All 0 where zeros forbid every path, which warns.
        """
        read, chain = self._chain(X)
        found = posteriors(*chain, read.offsets, n_threads=thread_count(self.n_jobs))
        _warn_of_impossible(found.log_partition)
        return read.given_back(found.marginals)

    def score_samples(self, X: Any) -> Array:
        """Return the log-likelihood of each sequence.

        Parameters
        ----------
        X : DataFrame or array-like

        Returns
        -------
        log_likelihoods : ndarray of shape (n_sequences,)
            In the order in which sequences first appear; minus infinity where none is possible.
        """
        return self._scores(self._read_new(X))

    def _scores(self, read: _Read) -> Array:
        self._check_values(read)
        threads = thread_count(self.n_jobs)
        return log_likelihoods(
            self._model, read.streams, read.offsets, self.stream_weights_, threads
        )

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of a sequence.

        Parameters
        ----------
        X : DataFrame or array-like
        y : ignored

        Returns
        -------
        score : float
        """
        return float(self.score_samples(X).mean())

    def aic(self, X: Any) -> float:
        """Return Akaike's criterion, -2 log-likelihood + 2 free parameters; lower is better.

        Parameters
        ----------
        X : DataFrame or array-like

        Returns
        -------
        aic : float
        """
        return float(-2 * self.score_samples(X).sum() + 2 * n_parameters(self._model))

    def bic(self, X: Any) -> float:
        """Return the Bayesian criterion, whose parameters count log(n_steps); lower is better.

        Parameters
        ----------
        X : DataFrame or array-like

        Returns
        -------
        bic : float
        """
        read = self._read_new(X)
        penalty = n_parameters(self._model) * np.log(read.offsets[-1])
        return float(-2 * self._scores(read).sum() + penalty)

    def sample(
        self, n_sequences: int = 1, length: int = 10, random_state: Any = None
    ) -> tuple[pd.DataFrame, Array]:
        """Draw sequences and their states.

        Parameters
        ----------
        n_sequences : int, default=1
        length : int, default=10
            Steps of each sequence.
        random_state : int, RandomState instance or None, default=None
            None is that of the estimator.

        Returns
        -------
        X : DataFrame
            As X was at fit: a row for each sequence, whose cells hold (length, d) arrays, or a row
            for each step, with the levels ``sequence`` and ``step`` in its index.
        states : ndarray of int of shape (n_steps,), or of object of shape (n_sequences,)
            As ``predict`` gives them back.
        """
        check_is_fitted(self)
        for name, value in (("n_sequences", n_sequences), ("length", length)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")
        source = self.random_state if random_state is None else random_state
        rng = np.random.default_rng(check_random_state(source).randint(np.iinfo(np.int32).max))
        states = _draw_states(self._model, n_sequences, length, rng)
        drawn = {
            name: emission.sample(states.ravel(), rng)
            for name, emission in self.emissions_.items()
        }
        if not self._has_cells:
            return self._as_steps(drawn, n_sequences, length), states.ravel()
        offsets = np.arange(0, states.size + 1, length)
        cells = {
            name: _Read([], offsets, None).given_back(values) for name, values in drawn.items()
        }
        return self._as_cells(cells, n_sequences), _Read([], offsets, None).given_back(
            states.ravel()
        )

    def _names_in(self) -> list[Any]:
        names = getattr(self, "feature_names_in_", None)
        return list(range(self.n_features_in_)) if names is None else list(names)

    def _as_cells(self, cells: Mapping[str, Array], n_sequences: int) -> pd.DataFrame:
        """Return a frame with the columns of X."""
        columns: list[Any] = [[None] * n_sequences for _ in range(self.n_features_in_)]
        for name, values in cells.items():
            places = as_list(self._columns[name])
            if len(places) == 1:
                columns[places[0]] = list(values)
                continue
            for k, j in enumerate(places):
                columns[j] = [cell[:, k] for cell in values]
        names = self._names_in()
        return pd.DataFrame(
            {k: pd.Series(c, dtype=object) for k, c in enumerate(columns)}
        ).set_axis(names, axis=1)

    def _as_steps(self, drawn: Mapping[str, Array], n_sequences: int, length: int) -> pd.DataFrame:
        """Return a frame with the columns of X, and the ids in its index."""
        ids = np.repeat(np.arange(n_sequences), length)
        steps = np.tile(np.arange(length), n_sequences)
        columns: list[Any] = [np.full(len(ids), np.nan) for _ in range(self.n_features_in_)]
        for name, values in drawn.items():
            for k, j in enumerate(as_list(self._columns[name])):
                columns[j] = values[:, k]
        names, levels = self._names_in(), []
        for level, values in ((self.sequence, ids), (self.step, steps)):
            if level in names:
                columns[names.index(level)] = values
            else:
                levels.append(pd.Index(values, name=level))
        index = pd.MultiIndex.from_arrays(levels) if levels else None
        frame = pd.DataFrame(dict(enumerate(columns)), index=index)
        return frame.set_axis(names, axis=1)


def _of_modality(name: str, function: Callable[[Stream], Any], stream: Stream) -> Any:
    try:
        return function(stream)
    except (TypeError, ValueError) as error:
        raise type(error)(f"modality {name!r}: {error}") from None


def _shown_on(bar: Any) -> Callable[[int, int, float], None]:
    def show(restart: int, iteration: int, gain: float) -> None:
        bar.set_postfix_str(f"start {restart + 1}, gain {gain:.2g}", refresh=False)
        bar.update()

    return show


def _warn_of_impossible(scores: Array) -> None:
    lost = np.flatnonzero(scores == -np.inf)
    if lost.size:
        warn(
            f"no path of states is possible through {lost.size} sequences (numbers "
            f"{listed(lost[:3], 3)}): zeros of the model forbid all"
        )


def _draw_states(model: HMM, n_sequences: int, length: int, rng: np.random.Generator) -> Array:
    states = np.empty((n_sequences, length), dtype=np.int64)
    first, steps = np.cumsum(model.start), np.cumsum(model.transition, axis=1)
    draws = rng.random((n_sequences, length))
    for t in range(length):
        ends = np.tile(first, (n_sequences, 1)) if t == 0 else steps[states[:, t - 1]]
        states[:, t] = (ends <= draws[:, t, None] * ends[:, -1:]).sum(axis=1)
    return states
