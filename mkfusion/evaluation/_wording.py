"""How a comparison writes its numbers, and what it says of a gain."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd


def decimals(values: Iterable[float]) -> int:
    """Return how many decimals suit numbers that stand together, so that they align.

    Four, as scores have them; as many as give the largest four digits where it is below .001 or
    from 10 on. One of a million or more has enough before the point, and does not count.
    """
    sizes = [abs(v) for v in values if 0 < abs(v) < np.inf]
    largest = max((v for v in sizes if v < 1e6), default=1e6 if sizes else 1.0)
    if 0.001 <= largest < 10:
        return 4
    return min(max(3 - int(np.floor(np.log10(largest))), 0), 9)


def plain(value: float, digits: int, signed: bool = False) -> str:
    """Write a number without powers of ten, as far as a float has the digits; 0 has no sign."""
    sign = "+" if signed else ""
    text = f"{value:{sign}.{digits}f}" if abs(value) < 1e15 else f"{value:{sign}.3g}"
    return text if float(text) else text.lstrip("+-")


def in_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose floating numbers are written, by column; NaN is empty."""
    columns = [frame.iloc[:, j] for j in range(frame.shape[1])]
    cells = [_written(c) if c.dtype.kind == "f" else c.array for c in columns]
    text = pd.DataFrame(dict(enumerate(cells)), index=frame.index)
    return text.set_axis(frame.columns, axis=1)


def _written(values: pd.Series) -> list[str]:
    digits = decimals(values)
    return ["" if np.isnan(value) else plain(value, digits) for value in values]


def lines_of(frame: pd.DataFrame) -> str:
    """Return a table as text, two spaces between its columns."""
    return in_text(frame).to_string(col_space=[len(str(name)) + 1 for name in frame])


def gain_verdict(
    fusion: str, single: str, gain: float, interval: tuple[float, float], scoring: str
) -> str:
    """Say whether fusion pays, what it gains or loses, and how sure that is.

    A gain that is nearer to 0 than to the ends of its interval has no sure sign.
    """
    low, high = interval
    does = "pays" if low > 0 else "does not pay" if high < 0 else "shows no sure gain"
    digits = decimals([gain, low, high])
    amount = plain(abs(gain), digits)
    if not float(amount):
        change = f"is level in {scoring} with"
    elif gain > 0:
        change = f"gains {amount} in {scoring} over"
    else:
        change = f"loses {amount} in {scoring} against"
    ends = " to ".join(plain(end, digits, signed=True) for end in interval)
    known = f"the 95 % interval of the gain is {ends}"
    sure = "one split gives no interval" if np.isnan(low) else known
    text = f"Fusion {does} here: {fusion} {change} the best single modality ({single}); {sure}."
    if 4 * abs(gain) < high - low:
        text += (
            " A difference so close to 0 can change its sign with another seed or a few other "
            "rows."
        )
    return text
