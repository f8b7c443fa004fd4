"""Elementary functions for the inside of compiled loops, written so that compilers vectorise them.

In Python each is the numpy function of its name, on numbers or on whole arrays; inside a compiled
loop it is a polynomial without branches, exact to about one unit in the last place. The
coefficients are those that interpolate the function at Chebyshev nodes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._jit import JIT, compiled_as, intrinsic, ir, types

LOG2 = float(np.log(2.0))


def minimum(x: Any, y: Any) -> Any:
    """Return the smaller of two finite numbers."""
    return np.minimum(x, y)


@compiled_as(minimum)
def _minimum(x, y):
    return lambda x, y: x if x < y else y


def differ(x: Any, y: Any) -> Any:
    """Return 1 where x and y differ, and else 0, as floats."""
    return np.not_equal(x, y).astype(np.result_type(x, y))


@compiled_as(differ)
def _differ(x, y):
    zero, one = _floats(x, 0.0, 1.0)
    return lambda x, y: one if x != y else zero


def divide(x: Any, y: Any) -> Any:
    """Return x / y, and 0 where y is 0."""
    return np.divide(x, y, out=np.zeros_like(x), where=y != 0)


@compiled_as(divide)
def _divide(x, y):
    (zero,) = _floats(x, 0.0)
    return lambda x, y: x / y if y != zero else zero


def power(x: Any, degree: Any) -> Any:
    """Return x to a whole power from 1 to 63."""
    with np.errstate(over="ignore", under="ignore"):
        return x ** int(degree)


@compiled_as(power)
def _power(x, degree):
    (one,) = _floats(x, 1.0)

    def power(x, degree):
        bits = np.int64(degree)
        result = x if bits & 1 else one
        x = x * x
        result = result * x if bits & 2 else result
        x = x * x
        result = result * x if bits & 4 else result
        x = x * x
        result = result * x if bits & 8 else result
        x = x * x
        result = result * x if bits & 16 else result
        x = x * x
        return result * x if bits & 32 else result

    return power


def saturate(x: Any) -> Any:
    """Return x, but at most 10,000: far beyond where exp(-x) is 0, and its powers are finite."""
    return np.minimum(x, 1e4)


@compiled_as(saturate)
def _saturate(x):
    (largest,) = _floats(x, 1e4)
    return lambda x: largest if x > largest else x


def decay(x: Any) -> Any:
    """Return exp(-x) for x >= 0."""
    with np.errstate(under="ignore"):
        return np.exp(-x)


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    return np.tanh(x)


def log1p(x: Any) -> Any:
    """Return log(1 + x) for x >= 0."""
    return np.log1p(x)


def cosine(x: Any) -> Any:
    """Return the cosine of an angle of at most :data:`LARGEST_ANGLE`, in radians."""
    return np.cos(x)


# Beyond it the spacing of floats leaves fewer than eight digits of an angle.
LARGEST_ANGLE = 1e8


if JIT:

    @intrinsic
    def as_bits(typing_context: Any, x: Any) -> Any:
        """Read the bits of a float as a signed integer."""
        integer = {64: types.int64, 32: types.int32}[x.bitwidth]
        return integer(x), _bitcast(integer)

    @intrinsic
    def as_float(typing_context: Any, bits: Any) -> Any:
        """Read the bits of a signed integer as a float."""
        number = {64: types.float64, 32: types.float32}[bits.bitwidth]
        return number(bits), _bitcast(number)

    @intrinsic
    def transpose_eight(
        typing_context: Any, source: Any, at: Any, step: Any, target: Any, to: Any, stride: Any
    ) -> Any:
        """Copy 8 rows of 8 numbers, ``step`` apart, to 8 columns: rows ``stride`` apart.

        Both arrays are flat. In registers this takes three rounds of exchanging halves; compilers
        do not find it, and the plain loop takes twice the time.
        """
        return types.void(source, at, step, target, to, stride), _transpose_eight

else:

    def transpose_eight(
        source: Any, at: int, step: int, target: Any, to: int, stride: int
    ) -> None:
        """Do the same number by number."""
        for i in range(8):
            for j in range(8):
                target[to + j * stride + i] = source[at + i * step + j]


def _transpose_eight(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    source_type, _, _, target_type, _, _ = signature.args
    source, at, step, target, to, stride = arguments
    source = context.make_array(source_type)(context, builder, source).data
    target = context.make_array(target_type)(context, builder, target).data
    size = target_type.dtype.bitwidth // 8
    given, wanted = (
        ir.VectorType(context.get_data_type(array.dtype), 8)
        for array in (source_type, target_type)
    )
    rows = []
    for _ in range(8):
        place = builder.bitcast(builder.gep(source, [at]), given.as_pointer())
        rows.append(builder.load(place, align=source_type.dtype.bitwidth // 8))
        at = builder.add(at, step)
    for half in (1, 2, 4):
        for k in (k for k in range(8) if not k & half):
            upper, lower = rows[k], rows[k + half]
            for row, first in ((k, 0), (k + half, half)):
                mask = [i + first if not i & half else 8 + i - half + first for i in range(8)]
                chosen = ir.Constant(ir.VectorType(ir.IntType(32), 8), mask)
                rows[row] = builder.shuffle_vector(upper, lower, chosen)
    for row in rows:
        if wanted != given:
            row = (builder.fptrunc if size == 4 else builder.fpext)(row, wanted)
        place = builder.bitcast(builder.gep(target, [to]), wanted.as_pointer())
        builder.store(row, place, align=size)
        to = builder.add(to, stride)
    return context.get_dummy_value()


def _bitcast(target: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(target))

    return generate


def _floats(x: Any, *values: float) -> list[Any]:
    """Return constants in the float type of x: a wider one would widen the whole loop."""
    kind = np.float32 if x == types.float32 else np.float64
    return [kind(value) for value in values]


def _horner(x: Any, coefficients: Any) -> Any:
    """Return the polynomial with these coefficients, the constant one first."""
    raise NotImplementedError


@compiled_as(_horner)
def _horner_compiled(x, coefficients):
    if len(coefficients) == 1:
        return lambda x, coefficients: coefficients[0]
    return lambda x, coefficients: coefficients[0] + x * _horner(x, coefficients[1:])


# exp(r) on |r| <= log(2) / 2
_EXP64 = (
    1.0,
    1.0,
    0.5000000000000001,
    0.16666666666666669,
    0.04166666666662413,
    0.008333333333330062,
    0.0013888888917213717,
    0.00019841269863053618,
    2.4801521295954376e-05,
    2.7557268459997064e-06,
    2.7620088445409746e-07,
    2.510038549551032e-08,
)
_EXP32 = (
    1.0,
    1.0,
    0.500000001346581,
    0.16666666681623232,
    0.041666464925285904,
    0.0083333109254809,
    0.0013933649996309251,
    0.00019890990824673654,
)


# log(2) in two parts, the first with zeros at the end
_LOG2_PARTS = (6.93147180369123816490e-01, 1.90821492927058770002e-10)
_LOG2_PARTS32 = (0.693359375, -2.12194440e-4)


@compiled_as(decay)
def _decay(x):
    """exp(-x) = 2^k exp(r) with -x = k log(2) + r.

    Adding ``magic`` rounds to a whole number and leaves it, with the exponent's bias, in the last
    bits, so that a shift makes 2^k of it. Results that are too small for a normal float are made
    2^100 (2^24) times larger, and brought down by a multiplication that rounds as it should.
    """
    if x == types.float32:
        coefficients = tuple(_floats(x, *_EXP32))
        high, low, shift, integer = *_LOG2_PARTS32, np.int32(23), np.int32
        magic, largest, far, up = 1.5 * 2.0**23 + 127.0, 104.0, 87.0, 24.0
    else:
        coefficients = _EXP64
        high, low, shift, integer = *_LOG2_PARTS, np.int64(52), np.int64
        magic, largest, far, up = 1.5 * 2.0**52 + 1023.0, 746.0, 700.0, 100.0
    per_log2, high, low = _floats(x, -1.0 / LOG2, high, low)
    magic, largest, far, up, down = _floats(x, magic, largest, far, up, 2.0**-up)

    def decay(x):
        x = largest if x > largest else x
        t = x * per_log2 + magic
        k = t - magic
        r = (-x - k * high) - k * low
        result = _horner(r, coefficients)
        t = t + up if x > far else t
        result = result * down if x > far else result
        return as_float(integer(as_bits(t) << shift)) * result

    return decay


@compiled_as(tanh)
def _tanh(x):
    """tanh|x| = -m / (m + 2) with m = expm1(-2|x|) = 2^k p(r) + (2^k - 1)."""
    if x == types.float32:
        coefficients = tuple(_floats(x, *_EXP32[1:]))
        high, low, shift, integer = *_LOG2_PARTS32, np.int32(23), np.int32
        magic, largest = 1.5 * 2.0**23 + 127.0, 20.0
    else:
        coefficients = _EXP64[1:]
        high, low, shift, integer = *_LOG2_PARTS, np.int64(52), np.int64
        magic, largest = 1.5 * 2.0**52 + 1023.0, 40.0
    per_log2, high, low, magic = _floats(x, 1.0 / LOG2, high, low, magic)
    largest, zero, one, two = _floats(x, largest, 0.0, 1.0, 2.0)

    def tanh(x):
        y = -two * abs(x)
        y = -largest if y < -largest else y
        t = y * per_log2 + magic
        k = t - magic
        r = (y - k * high) - k * low
        scale = as_float(integer(as_bits(t) << shift))
        m = scale * (r * _horner(r, coefficients)) + (scale - one)
        result = (zero - m) / (m + two)
        return -result if x < zero else result

    return tanh


# (2 atanh(s) - 2 s) / s^3 in s^2
_LOG64 = (
    0.666666666666667,
    0.3999999999989889,
    0.28571428626253836,
    0.22222211089379496,
    0.1818289243253687,
    0.15331611722055008,
    0.14617807153417325,
)
_LOG32 = (0.6666666655404201, 0.4000012221181065, 0.28550778633191964, 0.23331614471843498)


@compiled_as(log1p)
def _log1p(x):
    """log(w) = e log(2) + 2 atanh(s) with w = 2^e m and s = (m - 1) / (m + 1)."""
    if x == types.float32:
        coefficients = tuple(_floats(x, *_LOG32))
        high, low, shift, integer = *_LOG2_PARTS32, np.int32(23), np.int32
        half_bits = np.float32(np.sqrt(0.5)).view(np.int32)
        one_bits = np.float32(1.0).view(np.int32)
    else:
        coefficients = _LOG64
        high, low, shift, integer = *_LOG2_PARTS, np.int64(52), np.int64
        half_bits = np.float64(np.sqrt(0.5)).view(np.int64)
        one_bits = np.float64(1.0).view(np.int64)
    offset = integer(one_bits - half_bits)
    mask = integer((1 << int(shift)) - 1)
    bias = integer(one_bits >> shift)
    high, low, one, two, infinity = _floats(x, high, low, 1.0, 2.0, np.inf)
    kind = np.float32 if x == types.float32 else np.float64

    def log1p(x):
        w = one + x
        lost = (x - (w - one)) / w
        moved = integer(as_bits(w) + offset)
        exponent = kind((moved >> shift) - bias)
        m = as_float(integer((moved & mask) + half_bits))
        s = (m - one) / (m + one)
        z = s * s
        fraction = s * (two + z * _horner(z, coefficients))
        result = exponent * high + (fraction + (lost + exponent * low))
        return x if x == infinity else result

    return log1p


# sin(x) / x - 1 and cos(x) - 1 + x^2 / 2 on |x| <= pi / 4, divided by z = x^2 and by z^2
_SIN = (
    -0.16666666666666666,
    0.008333333333330946,
    -0.0001984126983675497,
    2.755731610068303e-06,
    -2.5051131455427946e-08,
    1.591810123027412e-10,
)
_COS = (
    0.041666666666666664,
    -0.0013888888888887395,
    2.4801587298763433e-05,
    -2.7557317270560326e-07,
    2.0876146024689747e-09,
    -1.1382614868556325e-11,
)
# pi / 2 in three parts, the first two with zeros at the end
_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)


@compiled_as(cosine)
def _cosine(x):
    """cos(x) by the quadrant: x = k pi / 2 + r with |r| <= pi / 4."""
    sines, cosines = _SIN, _COS
    p1, p2, p3 = _HALF_PI
    magic = 1.5 * 2.0**52

    def cosine(x):
        t = x * (2.0 / np.pi) + magic
        k = t - magic
        r = ((x - k * p1) - k * p2) - k * p3
        z = r * r
        sine = r + r * z * _horner(z, sines)
        cosine = 1.0 - 0.5 * z + z * z * _horner(z, cosines)
        quadrant = as_bits(t)
        result = sine if quadrant & 1 else cosine
        return -result if (quadrant + 1) & 2 else result

    return cosine
