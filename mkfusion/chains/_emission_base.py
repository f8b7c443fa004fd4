"""What every family of emissions is: log densities of steps by state, and their re-estimation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._parallel import on_threads
from .._validation import listed

__all__ = [
    "Emission",
    "Stream",
    "grouped",
    "merged_options",
    "n_groups",
    "real_values",
    "standardized",
    "weighted_moments",
]

Array = np.ndarray

GROUPS = 16  # parts that steps are divided into, whatever the number of threads
ROOM = 2**24  # numbers that the statistics of all parts may hold
LARGEST = 1e120  # above it, squares overflow in sums
CONSTANT = 1e-12  # of a column's largest value: a spread below it is rounding


class Stream(NamedTuple):
    """One modality of all sequences, laid end to end.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import Stream
    >>> Stream(np.array([[1.0], [np.nan]]), np.array([True, False])).present
    array([ True, False])
    """

    values: Array  # shape: (n_steps, d)
    present: Array  # shape: (n_steps,); values of absent steps are not looked at


class Emission:
    """One family of emissions: what a state says about the values of one modality.

    A subclass keeps its parameters as arrays, one row for each state. ``prepare`` turns a stream
    into what its loops read, once for many iterations; a prepared stream is an array or a tuple of
    arrays, with a row for each step.

    Attributes
    ----------
    family : str
        The name in ``EMISSIONS``.
    options : mapping of str to object
        The options, with their defaults.
    symbols : bool
        Values are symbols of one column, text or numbers.
    counts : bool
        Values are counts: 0, 1, 2 and so on.
    probabilities : bool
        Log densities are log probabilities, and never above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from mkfusion.chains import EMISSIONS, Emission
    >>> poisson = EMISSIONS["poisson"](np.array([[1.0], [5.0]]))
    >>> isinstance(poisson, Emission), poisson.n_states
    (True, 2)
    >>> poisson.log_density(np.array([[0.0], [4.0]])).round(2)
    array([[-1.  , -5.  ],
           [-4.18, -1.74]])
    """

    family: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    symbols: ClassVar[bool] = False
    counts: ClassVar[bool] = False
    probabilities: ClassVar[bool] = False

    @property
    def n_states(self) -> int:
        """The number of states."""
        raise NotImplementedError

    @property
    def n_parameters(self) -> int:
        """The number of free parameters."""
        raise NotImplementedError

    @property
    def params(self) -> dict[str, Array]:
        """The parameters by name."""
        raise NotImplementedError

    def prepare(self, stream: Stream) -> Any:
        """Return what the loops read; values out of range are refused."""
        raise NotImplementedError

    def scores(self, prepared: Any, n_threads: int = 1) -> Array:
        """Return the log density of every step under every state, (n_steps, n_states)."""
        raise NotImplementedError

    def statistics(self, prepared: Any, weights: Array, n_threads: int = 1) -> Any:
        """Return the sufficient statistics under weights (n_steps, n_states)."""
        raise NotImplementedError

    def maximized(self, statistics: Any) -> Emission:
        """Return the emission that maximises expected log density plus ``log_prior``."""
        raise NotImplementedError

    def log_prior(self) -> float:
        """Return the logarithm of the prior at the parameters, up to a constant."""
        return 0.0

    def sample(self, states: Array, rng: np.random.Generator) -> Array:
        """Draw one row of values for each state of a path."""
        raise NotImplementedError

    @classmethod
    def initial(
        cls,
        values: Array,
        weights: Array,
        n_states: int,
        rng: np.random.Generator,
        **options: Any,
    ) -> Emission:
        """Return a start of EM, from weights (n_steps, n_states) of the states at the steps.

        Steps whose weights are all 0 are not looked at. ``reestimate`` of the start gives the
        maximum for the weights.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, stream: Stream) -> None:
        """Refuse values that the family cannot have."""
        real_values(stream, cls.family)

    @classmethod
    def embed(cls, values: Array, weights: Array) -> Array:
        """Return columns in which steps that look alike are near, to begin with clusters."""
        return standardized(np.asarray(values, dtype=np.float64), weights)

    def log_density(self, values: Array, present: Array | None = None) -> Array:
        """Return the log density of every step under every state; 0 where a step is absent."""
        if present is None:
            present = np.ones(len(values), bool)
        scores = self.scores(self.prepare(Stream(values, present)))
        if not present.all():
            scores[~present] = 0.0
        return scores

    def reestimate(self, values: Array, weights: Array) -> Emission:
        """Return the emission of greatest expected log density plus log prior.

        Steps whose weights are all 0 are not looked at.
        """
        present = np.asarray(weights.any(axis=1))
        stream = Stream(values, present)
        return self.maximized(self.statistics(self.prepare(stream), weights))

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        mine, others = self.params, other.params
        return all(np.array_equal(mine[name], others[name]) for name in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in self.params.items())
        return f"{type(self).__name__}({shapes})"


def merged_options(cls: type[Emission], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a family's options with those that were given; unknown ones are refused."""
    unknown = set(options) - set(cls.options)
    if unknown:
        raise ValueError(
            f"emission {cls.family!r} has no options {listed(sorted(unknown))}; "
            f"it has {listed(cls.options, 30)}"
        )
    return {**cls.options, **options}


def n_groups(n_steps: int, size: int = 1) -> int:
    """Return into how many parts to divide steps whose statistics hold ``size`` numbers."""
    return max(1, min(GROUPS, n_steps // 1024, ROOM // size))


def grouped(
    n_steps: int, count: int, work: Callable[[int, slice], None], n_threads: int = 1
) -> None:
    """Call ``work(number, steps)`` on ``count`` parts of the steps."""
    bounds = np.linspace(0, n_steps, count + 1).astype(np.int64)
    on_threads(
        lambda i: work(i, slice(int(bounds[i]), int(bounds[i + 1]))), range(count), n_threads
    )


def real_values(stream: Stream, family: str) -> Array:
    """Return the values as finite float64 rows, or refuse them."""
    values = np.ascontiguousarray(stream.values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"{family} emissions need values (n_steps, d), got {values.shape}")
    if not values.size:
        return values
    largest = max(values.max(), -values.min())  # NaN if there is any
    if not largest <= LARGEST:
        values = np.where(stream.present[:, None], values, 0.0)
        bad = np.argwhere(~(np.abs(values) <= LARGEST))
        if len(bad):
            step, column = bad[0]
            raise ValueError(
                f"{family} emissions need finite values below {LARGEST:g}, whose squares can be "
                f"summed; column {column} at step {step} holds {values[step, column]}; rescale it"
            )
    return values


def weighted_moments(values: Array, weights: Array) -> tuple[Array, Array]:
    """Return the columns' weighted means and variances; a constant column has variance 0."""
    total = weights.sum()
    if not total > 0 or not len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1])
    shares = weights / total
    used = values if weights.all() else np.where(weights[:, None] > 0, values, 0.0)
    means = shares @ used
    variances = shares @ (used - means) ** 2
    largest = np.abs(used).max(axis=0)
    return means, np.where(variances > (CONSTANT * largest) ** 2, variances, 0.0)


def standardized(values: Array, weights: Array) -> Array:
    """Return the columns at mean 0 and variance 1; rows of weight 0 and constants are 0."""
    means, variances = weighted_moments(values, weights)
    scales = np.divide(1.0, np.sqrt(variances), out=np.zeros_like(means), where=variances > 0)
    return np.where(weights[:, None] > 0, (values - means) * scales, 0.0)
