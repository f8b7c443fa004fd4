# mypy: ignore-errors
"""The loops of sequential minimal optimisation: one step moves two coefficients.

``up`` is what raising a coefficient gains, -inf where it is at its upper bound; ``down`` is what
lowering it costs, +inf at its lower bound. Both change by the same amount in a step, so that no
loop asks where a coefficient stands. Indexes are unsigned: a signed one might count from the end.
"""

from __future__ import annotations

import numpy as np

from .._jit import JIT, intrinsic, ir, njit, types

CONVERGED, SMALLER, STUCK, STOPPED = range(4)

TAU = 1e-12  # stands for a curvature that is not positive, as in libsvm; for kernels near 1
INTERVAL = 250  # steps between two looks at how many samples still matter

_POSITIVE = np.int64(0x7FFFFFFFFFFFFFFF)
_SIGN = np.int64(63)

if JIT:

    @intrinsic
    def _as_bits(typing_context, x):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], ir.IntType(64))

        return types.int64(types.float64), generate

    @intrinsic
    def _as_float(typing_context, bits):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], ir.DoubleType())

        return types.float64(types.int64), generate


# Maxima are taken of integers in the order of the floats whose bits they are: compilers make
# vectors of that without being told that no number is NaN, and NaN of either sign stands outside.


@njit
def _rank(x):
    bits = _as_bits(x)
    return bits ^ ((bits >> _SIGN) & _POSITIVE)


@njit
def _ranked(rank):
    return _as_float(rank ^ ((rank >> _SIGN) & _POSITIVE))


@njit
def fetch(rows, i):
    """Return the largest number that a cache line of a row begins with.

    It asks for the whole row at once; loops that do more with each number wait for memory.
    """
    most, line = -np.inf, np.uintp(64 // rows.itemsize)
    for k in range(np.uintp(rows.shape[1]) // line):
        first = np.float64(rows[i, k * line])
        most = first if first > most else most
    return most


@njit
def move(rows, i, j, amount, up, down):
    """Take the move of i against j out of both gains; return the largest up, the smallest down."""
    most, least = -_POSITIVE, _POSITIVE
    for k in range(np.uintp(len(up))):
        change = amount * (np.float64(rows[i, k]) - np.float64(rows[j, k]))
        raised = up[k] - change
        lowered = down[k] - change
        up[k] = raised
        down[k] = lowered
        rank = _rank(raised)
        most = rank if rank > most else most
        rank = _rank(lowered)
        least = rank if rank < least else least
    return _ranked(most), _ranked(least)


@njit
def find(up, value):
    """Return where the value stands last, 0 if nowhere."""
    place = np.int64(0)
    for k in range(np.uintp(len(up))):
        here = np.int64(k) if up[k] == value else np.int64(0)
        place = here if here > place else place
    return np.uintp(place)


@njit
def partner(rows, i, unit, diagonal, top, down):
    """Return the j with the largest gain of a move of i against j, (up_i - down_j)^2 / a_ij.

    The lowest bits of a gain make room for its index, so that one maximum gives both.
    """
    room = np.int64(1)
    while room < len(down):
        room *= 2
    best, twice, own = np.int64(0), 2.0 * unit, diagonal[i]
    for k in range(np.uintp(len(down))):
        slope = top - down[k]
        slope = slope if slope > 0.0 else 0.0
        curvature = (own + diagonal[k]) - twice * rows[i, k]
        curvature = curvature if curvature > TAU else TAU
        gain = (_as_bits(slope * slope / curvature) & -room) | np.int64(k)
        best = gain if gain > best else best
    return np.uintp(best & (room - 1))


@njit
def count_kept(up, down, top, bottom):
    """Count the samples that may still be one of a violating pair."""
    count = 0
    for k in range(np.uintp(len(up))):
        count += 1 if (up[k] >= bottom) | (down[k] <= top) else 0
    return count


@njit
def copy_columns(row, places, out):
    """Copy the chosen entries of a row."""
    for k in range(np.uintp(len(places))):
        out[k] = row[np.uintp(places[k])]


@njit
def close_ranks(numbers, size, kept, copied):
    """Move the kept rows and columns of a square matrix to the front of its flat array."""
    fewer = len(kept)
    for r in range(fewer):
        if copied[kept[r]]:
            row = numbers[kept[r] * size : (kept[r] + 1) * size]
            copy_columns(row, kept, numbers[r * fewer : (r + 1) * fewer])


@njit
def add_products(K, places, factors, out):
    """Add to out the chosen rows of K times their factors."""
    done = 0
    while done + 4 <= len(places):
        a, b, c, d = places[done], places[done + 1], places[done + 2], places[done + 3]
        _add_four(K[a], K[b], K[c], K[d], factors[done : done + 4], out)
        done += 4
    for p in range(done, len(places)):
        _add_one(K[places[p]], factors[p], out)


@njit
def _add_four(first, second, third, fourth, factors, out):
    a, b, c, d = factors[0], factors[1], factors[2], factors[3]
    for k in range(np.uintp(len(out))):
        out[k] += (a * first[k] + b * second[k]) + (c * third[k] + d * fourth[k])


@njit
def _add_one(row, factor, out):
    for k in range(np.uintp(len(out))):
        out[k] += factor * row[k]


@njit
def largest_magnitude(K):
    """Return the largest |K_ij|; NaN or infinity if there is one."""
    most = np.int64(0)
    for i in range(np.uintp(K.shape[0])):
        for k in range(np.uintp(K.shape[1])):
            bits = _as_bits(np.float64(K[i, k])) & _POSITIVE
            most = bits if bits > most else most
    return _as_float(most)


# The same on whole arrays, where nothing is compiled.


def fetch_plain(rows, i):
    return rows[i].max()


def move_plain(rows, i, j, amount, up, down):
    change = amount * (rows[i].astype(np.float64) - rows[j])
    up -= change
    down -= change
    return up.max(), down.min()


def find_plain(up, value):
    return max(np.flatnonzero(up == value), default=0)


def partner_plain(rows, i, unit, diagonal, top, down):
    slope = np.maximum(top - down, 0.0)
    curvature = (diagonal[i] + diagonal) - (2.0 * unit) * rows[i].astype(np.float64)
    gain = slope * slope / np.where(curvature > TAU, curvature, TAU)
    return len(gain) - 1 - gain[::-1].argmax()


def count_kept_plain(up, down, top, bottom):
    return np.count_nonzero((up >= bottom) | (down <= top))


def copy_columns_plain(row, places, out):
    out[:] = row[places]


def close_ranks_plain(numbers, size, kept, copied):
    matrix = numbers[: size * size].reshape(size, size)
    numbers[: len(kept) ** 2] = matrix[np.ix_(kept, kept)].ravel()


def add_products_plain(K, places, factors, out):
    for place, factor in zip(places, factors, strict=True):
        out += factor * K[place].astype(np.float64)


def largest_magnitude_plain(K):
    return float(np.abs(K).max(initial=0.0))


if not JIT:
    fetch, move, find, partner = fetch_plain, move_plain, find_plain, partner_plain
    count_kept, copy_columns, close_ranks = count_kept_plain, copy_columns_plain, close_ranks_plain
    add_products, largest_magnitude = add_products_plain, largest_magnitude_plain


@njit
def _room(beta, low, high, epsilon, sign):
    """Return how far a coefficient can go, where the loss has a kink at 0 at most as far as 0."""
    if epsilon > 0.0 and sign * beta < 0.0:
        return 0.0
    return high if sign > 0.0 else low


@njit
def _settle(k, residual, epsilon, low, high, beta, up, down):
    """Store the gains of a coefficient that has come to its new place."""
    value = beta[k]
    up[k] = residual - (epsilon if value >= 0.0 else -epsilon) if value < high[k] else -np.inf
    down[k] = residual + (epsilon if value <= 0.0 else -epsilon) if value > low[k] else np.inf


@njit
def improve(
    K, rows, copies, copied, places, diagonal, low, high, beta, up, down,
    unit, epsilon, tol, wanted, most_steps,
):  # fmt: skip
    """Take steps until no pair violates by more than tol; return their number and why it ended.

    ``rows`` is K, or the array behind ``copies``: the columns ``places`` of rows of K, copied when
    a row is first asked for. It ends with ``SMALLER`` when at most ``wanted`` samples matter.
    """
    top, bottom = up.max(), down.min()
    for step in range(most_steps):
        if top - bottom <= tol:
            return step, CONVERGED
        if step % INTERVAL == 0 and count_kept(up, down, top, bottom) <= wanted:
            return step, SMALLER
        i = find(up, top)
        if not copied[i]:
            fetch(K, places[i])
            copy_columns(K[places[i]], places, copies[i])
            copied[i] = True
        if fetch(rows, i) == np.inf:
            return step, STUCK
        j = partner(rows, i, unit, diagonal, top, down)
        if not copied[j]:
            copy_columns(K[places[j]], places, copies[j])
            copied[j] = True
        slope = top - down[j]
        if fetch(rows, j) == np.inf or not slope > 0.0:
            return step, STUCK
        curvature = diagonal[i] + diagonal[j] - 2.0 * unit * np.float64(rows[i, j])
        amount = slope / (curvature if curvature > TAU else TAU)
        highest = _room(beta[i], low[i], high[i], epsilon, 1.0)
        lowest = _room(beta[j], low[j], high[j], epsilon, -1.0)
        amount = min(amount, highest - beta[i], beta[j] - lowest)
        raised = highest if amount == highest - beta[i] else beta[i] + amount
        lowered = lowest if amount == beta[j] - lowest else beta[j] - amount
        if raised == beta[i] and lowered == beta[j]:
            return step, STUCK
        residual_i = top + (epsilon if beta[i] >= 0.0 else -epsilon)
        residual_j = down[j] - (epsilon if beta[j] <= 0.0 else -epsilon)
        beta[i], beta[j] = raised, lowered
        _settle(i, residual_i, epsilon, low, high, beta, up, down)
        _settle(j, residual_j, epsilon, low, high, beta, up, down)
        top, bottom = move(rows, i, j, amount * unit, up, down)
    return most_steps, CONVERGED if top - bottom <= tol else STOPPED
