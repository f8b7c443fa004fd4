"""The loops behind the global alignment kernel: the sum over all alignments of two series."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .._jit import JIT, compiled_as, intrinsic, njit, types
from .._parallel import on_threads

Array = np.ndarray

_WIDTH = 2048  # cells of a diagonal, by as many pairs side by side as that takes
_MOST_LANES = 32  # such pairs
_DIAGONALS = 8  # whose distances are worked out together


class Series(NamedTuple):
    """The frames of all series, one below the other."""

    frames: Array  # (n_frames, n_features)
    starts: Array  # (n_series + 1,): where each series begins, and the end of the last

    @property
    def lengths(self) -> Array:
        return np.diff(self.starts)


def alignment_matrix(
    X: Series, Y: Series | None, sigma: float, band: int, normalize: bool, n_threads: int
) -> Array:
    """Return the kernels of all pairs, a task for each row; the longest series come first."""
    scale = min(math.sqrt(0.5 / math.log(2.0)) / sigma, np.finfo(np.float64).max)
    Z = X if Y is None else Y
    x_order, z_order = (np.argsort(-series.lengths, kind="stable") for series in (X, Z))
    if normalize:
        x_own = _own_alignments(X, x_order, scale, band, n_threads)
        z_own = x_own if Y is None else _own_alignments(Z, z_order, scale, band, n_threads)
    out = np.empty((len(x_order), len(z_order)))

    def fill(rank: int) -> None:
        i = x_order[rank]
        others = z_order[rank:] if Y is None else z_order
        value = _align(X, np.full(len(others), i), Z, others, scale, band)
        if normalize:
            out[i, others] = _normalized(value, x_own.of(i), z_own.of(others))
        else:
            out[i, others] = _plain(*value)
        if Y is None:
            out[others, i] = out[i, others]

    on_threads(fill, range(len(x_order)), n_threads)
    return out


class Values(NamedTuple):
    """Numbers mantissa * 2^exponent, of which none is too large or too small."""

    mantissas: Array  # in [1, 2)
    exponents: Array  # whole

    def of(self, index: Any) -> Values:
        return Values(self.mantissas[index], self.exponents[index])


def _own_alignments(X: Series, order: Array, scale: float, band: int, n_threads: int) -> Values:
    """Return the kernel of each series with itself."""
    own = Values(np.empty(len(order)), np.empty(len(order), np.int64))
    size = int(_most_lanes(X.lengths.max(initial=1)))

    def fill(first: int) -> None:
        cells = order[first : first + size]
        own.mantissas[cells], own.exponents[cells] = _align(X, cells, X, cells, scale, band)

    on_threads(fill, range(0, len(order), size), n_threads)
    return own


def _plain(mantissas: Array, exponents: Array) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(mantissas, np.clip(exponents, -3000, 3000).astype(np.int32))


def _normalized(value: Values, x: Values, y: Values) -> Array:
    """Return value / sqrt(x y), exactly 1 where all three are the same."""
    ratios = value.mantissas**2 / (x.mantissas * y.mantissas)
    exponents = 2 * value.exponents - (x.exponents + y.exponents)
    halves, odd = np.divmod(exponents, 2)
    return np.minimum(_plain(np.sqrt(ratios * (1 + odd)), halves), 1.0)


def _align(X: Series, left: Array, Y: Series, right: Array, scale: float, band: int) -> Values:
    """Return the kernels of pairs of series, those on each side given from long to short."""
    values = Values(np.ones(len(left)), np.full(len(left), _NOTHING))
    if not len(left):
        return values
    longest = max(X.lengths[left[0]], Y.lengths[right[0]])
    shortest = min(X.lengths[left[-1]], Y.lengths[right[-1]])
    size = (int(longest) + 6) * _most_lanes(shortest)
    _align_pairs(
        X.frames, X.starts, left, Y.frames, Y.starts, right, scale, band,
        np.empty((2, X.frames.shape[1] * size)), np.empty((4 + _DIAGONALS, size)),
        np.empty((2, size), np.int64), values.mantissas, values.exponents,
    )  # fmt: skip
    return values


@njit
def _most_lanes(length):
    """Return how many pairs to work on side by side: the more, the shorter the shorter series."""
    return min(max(1, _WIDTH // length), _MOST_LANES)


@njit
def _align_pairs(x_frames, x_starts, left, y_frames, y_starts, right, scale, band, series, scratch, exponents, out_mantissas, out_exponents):  # fmt: skip # noqa: E501
    """Work out some pairs at a time, side by side as lanes."""
    x, y = series[0], series[1]  # unpacked, they would not be known to be contiguous
    first = 0
    while first < len(left):
        n = x_starts[left[first] + 1] - x_starts[left[first]]
        m = y_starts[right[first] + 1] - y_starts[right[first]]
        lanes = min(_most_lanes(min(n, m)), len(left) - first)
        last = first + lanes
        _pack(x_frames, x_starts, left[first:last], n, False, x)
        _pack(y_frames, y_starts, right[first:last], m, True, y)
        x_ends = x_starts[left[first:last] + 1] - x_starts[left[first:last]] - 1
        y_ends = y_starts[right[first:last] + 1] - y_starts[right[first:last]] - 1
        _align_lanes(
            x, x_ends, y, y_ends, x_frames.shape[1], n, m, scale, band,
            scratch, exponents, out_mantissas[first:last], out_exponents[first:last],
        )  # fmt: skip
        first = last


@njit
def _pack(frames, starts, cells, longest, backwards, out):
    """Lay series beside one another, features first, then frames, then series; 0 at the end."""
    lanes, d = len(cells), frames.shape[1]
    out[: d * longest * lanes] = 0.0
    for lane in range(lanes):
        start, stop = starts[cells[lane]], starts[cells[lane] + 1]
        for t in range(stop - start):
            place = longest - 1 - t if backwards else t
            for k in range(d):
                out[(k * longest + place) * lanes + lane] = frames[start + t, k]


@njit
def _align_lanes(x, x_ends, y, y_ends, d, n, m, scale, band, scratch, exponents, out_mantissas, out_exponents):  # fmt: skip # noqa: E501
    """Go over the cells (i, j) from corner to corner, by diagonals s = i + j.

    A cell needs the cells (i - 1, j) and (i, j - 1) of the diagonal before, and (i - 1, j - 1) of
    the one before that, whose place it takes. Its place is i - s // 2 counted from the middle, so
    that i - j = 2 place - s % 2; places beyond the edges and the band are not yet written to.
    """
    lanes = len(x_ends)
    reach = band if band else n + m
    middle = m // 2 + 2
    size = (middle + n // 2 + 4) * lanes
    here, before = scratch[0], scratch[1]
    here_exponents, before_exponents = exponents[0], exponents[1]
    for row in range(2):
        scratch[row, :size] = 1.0
        exponents[row, :size] = _NOTHING
        _penalize(band, middle, row, lanes, scratch[2 + row, :size])
    here_exponents[middle * lanes : (middle + 1) * lanes] = 0  # before the first cell
    for s in range(n + m - 1):
        if s % _DIAGONALS == 0:
            _add_distances(
                x, y, lanes, d, n, m, s, reach, middle, scale, scratch[2:4], scratch[4:]
            )
        first, last = _span(s, n, m, reach)
        if first > last + 1:
            break  # the rest lies outside the band
        width = (last - first + 1) * lanes
        place = (first + middle - s // 2) * lanes
        above = (first - 1 + middle - (s - 1) // 2) * lanes
        _advance(
            scratch[4 + s % _DIAGONALS, :width],
            here[place : place + width],
            here_exponents[place : place + width],
            before[above : above + width + lanes],
            before_exponents[above : above + width + lanes],
            lanes,
        )
        for lane in range(lanes):
            if x_ends[lane] + y_ends[lane] == s and first <= x_ends[lane] <= last:
                end = place + (x_ends[lane] - first) * lanes + lane
                out_mantissas[lane], out_exponents[lane] = here[end], here_exponents[end]
        here, before = before, here
        here_exponents, before_exponents = before_exponents, here_exponents


@njit
def _span(s, n, m, reach):
    """Return the first and the last cell of a diagonal, by their place in x."""
    first = max(0, s - m + 1, (s - reach) // 2 + 1)
    return first, min(n - 1, s, (s + reach - 1) // 2)


@njit
def _penalize(band, middle, odd, lanes, penalty):
    """Store what the triangular kernel adds to the distance of frames, in units of log(2)."""
    for place in range(len(penalty) // lanes):
        apart = abs(2 * (place - middle) - odd)
        cost = math.log2(band / (band - apart)) if apart < band else 0.0
        penalty[place * lanes : (place + 1) * lanes] = cost


@njit
def _add_distances(x, y, lanes, d, n, m, start, reach, middle, scale, penalties, out):
    """Store the squared distances of some diagonals, by four features while there are as many."""
    stop = min(start + _DIAGONALS, n + m - 1)
    for k in range(0, d, 4):
        for s in range(start, stop):
            first, last = _span(s, n, m, reach)
            w = max(0, last - first + 1) * lanes
            distances = out[s - start, :w]
            if k == 0:
                place = (first + middle - s // 2) * lanes
                distances[:] = penalties[s % 2, place : place + w]
            x0, x_step = (k * n + first) * lanes, n * lanes
            y0, y_step = (k * m + m - 1 - s + first) * lanes, m * lanes
            if k + 4 <= d:
                x1, x2, x3 = x0 + x_step, x0 + 2 * x_step, x0 + 3 * x_step
                y1, y2, y3 = y0 + y_step, y0 + 2 * y_step, y0 + 3 * y_step
                _add_four(
                    x[x0 : x0 + w], x[x1 : x1 + w], x[x2 : x2 + w], x[x3 : x3 + w],
                    y[y0 : y0 + w], y[y1 : y1 + w], y[y2 : y2 + w], y[y3 : y3 + w],
                    scale, distances,
                )  # fmt: skip
            else:
                for rest in range(d - k):
                    x1, y1 = x0 + rest * x_step, y0 + rest * y_step
                    _add_one(x[x1 : x1 + w], y[y1 : y1 + w], scale, distances)


@njit
def _add_square(x, y, scale, total):
    step = (x - y) * scale
    return _fused(step, step, total)


def _add_one(x: Array, y: Array, scale: float, out: Array) -> None:
    with np.errstate(over="ignore", under="ignore"):
        out[:] = _add_square(x, y, scale, out)


@compiled_as(_add_one)
def _add_one_compiled(x, y, scale, out):
    def add(x, y, scale, out):
        for c in range(len(out)):
            out[c] = _add_square(x[c], y[c], scale, out[c])

    return add


def _add_four(x0, x1, x2, x3, y0, y1, y2, y3, scale, out):
    for x, y in ((x0, y0), (x1, y1), (x2, y2), (x3, y3)):
        _add_one(x, y, scale, out)


@compiled_as(_add_four)
def _add_four_compiled(x0, x1, x2, x3, y0, y1, y2, y3, scale, out):
    def add(x0, x1, x2, x3, y0, y1, y2, y3, scale, out):
        for c in range(len(out)):
            total = _add_square(x0[c], y0[c], scale, out[c])
            total = _add_square(x1[c], y1[c], scale, total)
            total = _add_square(x2[c], y2[c], scale, total)
            out[c] = _add_square(x3[c], y3[c], scale, total)

    return add


def _advance(
    distance: Array, here: Array, here_exp: Array, before: Array, before_exp: Array, lanes: int
) -> None:
    """Put a diagonal in the place of the one two before it."""
    here[:], here_exp[:] = _cell(
        distance,
        here,
        here_exp,
        before[:-lanes],
        before_exp[:-lanes],
        before[lanes:],
        before_exp[lanes:],
    )


@compiled_as(_advance)
def _advance_compiled(distance, here, here_exp, before, before_exp, lanes):
    def advance(distance, here, here_exp, before, before_exp, lanes):
        above, above_exp = before[:-lanes], before_exp[:-lanes]
        left, left_exp = before[lanes:], before_exp[lanes:]
        for c in range(len(distance)):
            here[c], here_exp[c] = _cell(
                distance[c], here[c], here_exp[c], above[c], above_exp[c], left[c], left_exp[c]
            )

    return advance


# Arithmetic of a cell, on numbers and arrays alike.

_NOTHING = -(2**61)  # exponent of 0: so far down that sums and doubles of it stay there
_ONE = int(np.float64(1.0).view(np.int64))
_FRACTION = 2**52 - 1
_ROUND = 1.5 * 2.0**52  # adding it leaves a whole number in the last bits
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))
_FARTHEST = int(np.float64(2.0**32).view(np.int64))  # 2^-distance is nothing beside k(x, x) >= 1
_EXP2 = tuple(math.log(2.0) ** k / math.factorial(k) for k in range(13))


@njit
def _cell(distance, m0, e0, m1, e1, m2, e2):
    """Return l * (the sum of three cells), for a squared distance in units of 2 sigma^2 log(2)."""
    local, local_exp = _local_kernel(distance)
    top = np.maximum(e0, np.maximum(e1, e2))
    total = m0 * _power(e0 - top) + (m1 * _power(e1 - top) + m2 * _power(e2 - top))
    bits = _bits(local * total)
    return _from_bits((bits & _FRACTION) | _ONE), top + local_exp + (bits >> 52) - 1023


@njit
def _local_kernel(distance):
    """Return g / (2 - g) for g = 2^-distance, as number and exponent."""
    distance = _from_bits(np.minimum(_bits(distance), _FARTHEST))
    moved = _ROUND - distance
    exponent = _bits(moved) - _ROUND_BITS
    number = _exp2((_ROUND - moved) - distance)
    return number / (2.0 - number * _power(exponent)), exponent


@njit
def _exp2(r):
    """Return 2^r for |r| <= 1/2 by its power series."""
    c = _EXP2
    high = _fused(r, _fused(r, _fused(r, _fused(r, c[12], c[11]), c[10]), c[9]), c[8])
    middle = _fused(r, _fused(r, _fused(r, _fused(r, high, c[7]), c[6]), c[5]), c[4])
    return _fused(r, _fused(r, _fused(r, _fused(r, middle, c[3]), c[2]), c[1]), c[0])


def _fused(x, y, z):
    """Return x y + z.

    Compiled it is one instruction, always: where the compiler may choose, it may choose otherwise
    in another copy of the loop, and a pair's last bits would depend on its neighbours.
    """
    return x * y + z


@compiled_as(_fused)
def _fused_compiled(x, y, z):
    return lambda x, y, z: _fma(x, y, z)  # type: ignore[call-arg]


if JIT:

    @intrinsic
    def _fma(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.fma(*arguments)

        return types.float64(types.float64, types.float64, types.float64), generate


@njit
def _power(exponent):
    """Return 2^exponent for an exponent <= 0, and 0 where that is too small for a float."""
    return _from_bits((np.maximum(exponent, -1023) + 1023) << 52)


@njit
def _bits(number):
    return np.float64(number).view(np.int64)


@njit
def _from_bits(bits):
    return np.int64(bits).view(np.float64)
