"""What the pictures of a comparison show: their numbers, and where on an axis each one stands.

The page and the Displays draw the same numbers, so that these are picked here, once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .evaluation import printable

__all__ = [
    "NONE",
    "Axis",
    "Subsets",
    "best_subsets",
    "class_scores",
    "compared",
    "compared_classes",
    "curves",
    "falls",
    "fit_times",
    "gain_axis",
    "gains",
    "is_single",
    "least_alike",
    "make_axis",
    "modality_values",
    "number",
    "patterns",
    "present_share",
    "report_gains",
    "shown",
]

MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"
# Joiners are invisible, and words of Persian or of emoji are not the same without them.
JOINERS = "\u200c\u200d"

METRICS = ("f1", "precision", "recall")
MOST_CLASSES = 40
MOST_PATTERNS = 12
MOST_SUBSETS = 30
# What reaches further than this many times the median fusion is cut off, or one bad modality
# would press all others into a line.
FAR = 2.5


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Axis(NamedTuple):
    """A range of values that is drawn as 0 to 100 per cent."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return where a value stands, in per cent; what lies outside stands at the end."""
        share = (np.clip(value, self.low, self.high) - self.low) / (self.high - self.low)
        return round(100 * float(share), 2)

    def ticks(self, most: int = 4, signed: bool = False) -> list[Tick]:
        """Return round values inside the range, at most ``most`` + 1."""
        step = _round_step((self.high - self.low) / most)
        numbers = np.arange(np.ceil(self.low / step - 1e-9), self.high / step + 1e-9)
        decimals = max(0, -int(np.floor(np.log10(step))))
        sign = "+" if signed else ""
        return [
            Tick(self.at(k * step), _tick_text(k * step, decimals, sign if k > 0 else ""))
            for k in numbers
        ]


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, ... (times a power of ten) that is not below."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(k * power for k in (1, 2, 5, 10) if k * power >= least * (1 - 1e-9)))


def _tick_text(value: float, decimals: int, sign: str) -> str:
    text = f"{value:.{decimals}f}" if decimals < 7 and abs(value) < 1e6 else f"{value:.3g}"
    text = text.lstrip("-") if float(text) == 0 else text
    return sign + text.replace("-", MINUS)


def make_axis(values: Any, *, include: tuple[float, ...] = (), margin: float = 0.04) -> Axis:
    """Return an axis with room for all finite values."""
    numbers = np.array([*np.ravel(np.asarray(values, dtype=np.float64)), *include])
    numbers = numbers[np.isfinite(numbers)]
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        # One value: there is no unit to go by but its own size.
        half = abs(high) / 2 or 0.5
        low, high = low - half, high + half
    room = margin * (high - low)
    return Axis(float(low - room), float(high + room))


# The numbers --------------------------------------------------------------------------------


def shown(name: Any, most: int | None = None) -> str:
    """Return a name in one line of at most so many characters, what is invisible as an escape."""
    text = "".join(c if c in JOINERS else printable(c) for c in str(name))
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def number(value: float, decimals: int = 4, signed: bool = False) -> str:
    """Write a number to so many decimals, a very large or small one to three digits."""
    if np.isnan(value):
        return NONE
    style = "g" if 0 < abs(value) < 1e-6 or abs(value) >= 1e6 else "f"
    digits = 3 if style == "g" else decimals
    text = f"{value:{'+' if signed else ''}.{digits}{style}}"
    return (text if float(text) else text.lstrip("+-")).replace("-", MINUS)


def is_single(strategy: str) -> bool:
    """Tell whether a row of the table is a single modality's."""
    return strategy == "single (chosen)" or strategy.startswith("single:")


def compared(result: Any) -> dict[str, str]:
    """Return the rows that the verdict speaks of, by kind; of one modality there is no fusion."""
    kinds = ("single", "fusion")[: len(result.modalities)]
    return dict(zip(kinds, result.table.index, strict=False))


def gains(result: Any) -> pd.DataFrame:
    """Return the gain of every row over the first one, with its interval; none of one modality."""
    rows = result.table.iloc[1:] if len(result.modalities) > 1 else result.table.iloc[:0]
    return rows[["gain", "gain_low", "gain_high"]]


def gain_axis(rows: pd.DataFrame) -> Axis:
    """Return an axis on which the fusions can be told apart, whatever a bad modality does."""
    bounds = rows.to_numpy(dtype=np.float64)
    reach = np.nanmax(np.abs(bounds), axis=1)
    fusions = [not is_single(name) for name in rows.index]
    limit = FAR * np.median(reach[fusions])
    limit = max(limit, reach[0]) or np.inf
    return make_axis(np.clip(bounds, -limit, limit), include=(0.0,))


def class_scores(result: Any, strategy: str) -> pd.DataFrame:
    """Return precision, recall, f1 and support of every class; empty for regression."""
    rows = result.per_class
    chosen = rows[rows.index.get_level_values(0) == strategy]
    return chosen.set_axis(chosen.index.get_level_values(1), axis=0)


def compared_classes(result: Any) -> pd.DataFrame:
    """Return the scores of the rows compared, as columns (metric, kind), ready to draw.

    Of more classes than a picture holds these are the ones whose f1 differ most.
    """
    found = {kind: class_scores(result, name) for kind, name in compared(result).items()}
    both = pd.concat(found, axis=1).swaplevel(axis=1)
    apart = np.ptp(both["f1"].to_numpy(dtype=np.float64), axis=1)
    kept = np.sort(np.argsort(-np.nan_to_num(apart), kind="stable")[:MOST_CLASSES])
    return both.iloc[kept]


def curves(result: Any) -> dict[str, pd.DataFrame]:
    """Return the calibration curve of each strategy that has one, in the order of the table."""
    rows = result.calibration
    found = {name: rows[rows["strategy"] == name] for name in result.table.index}
    return {name: curve.drop(columns="strategy") for name, curve in found.items() if len(curve)}


def fit_times(result: Any) -> pd.Series:
    """Return the seconds of every row but the chosen ones, which are among the others."""
    rows = result.table["fit_time"]
    return rows.iloc[2:] if len(rows) > 2 else rows


def least_alike(result: Any) -> tuple[str, str, float] | None:
    """Return the two modalities whose experts agree least."""
    values = result.agreement.to_numpy(dtype=np.float64, copy=True)
    values[~np.tri(len(values), k=-1, dtype=bool)] = np.nan
    if not np.isfinite(values).any():
        return None
    i, j = np.unravel_index(np.nanargmin(values), values.shape)
    names = list(result.agreement.index)
    return names[j], names[i], float(values[i, j])


def patterns(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return who is there by pattern, of shape (n_patterns, n_modalities), and their rows."""
    rows = result.availability
    return rows.iloc[:, :-1].to_numpy(dtype=bool), rows.iloc[:, -1].to_numpy(dtype=np.int64)


def present_share(result: Any) -> np.ndarray:
    """Return the share of the rows that has each modality."""
    there, counts = patterns(result)
    return counts @ there / max(counts.sum(), 1)


# What a fusion is worth -----------------------------------------------------------------------


class Subsets(NamedTuple):
    """The subsets of the modalities that are drawn, the best first; nothing is none of them."""

    modalities: list[Any]
    there: np.ndarray  # shape: (n_drawn, n_modalities)
    scores: np.ndarray
    spread: np.ndarray  # NaN of a single split
    left_out: int
    nothing: float  # the score of no modality

    @property
    def everything(self) -> int:
        """The place of the subset that holds all modalities."""
        return int(self.there.all(axis=1).argmax())


def best_subsets(report: Any, most: int = MOST_SUBSETS) -> Subsets:
    """Return the best subsets of a fusion's modalities; of equals the small ones.

    Everything and the best single modality, which the others are measured by, are always there.
    """
    names = list(report.shapley.index)
    there = report.subsets.iloc[:, : len(names)].to_numpy(dtype=bool)
    scores, spread = (report.subsets[name].to_numpy(np.float64) for name in ("score", "spread"))
    size = there.sum(axis=1)
    order = np.argsort(-scores, kind="stable")
    order = order[size[order] > 0]
    always = [int(np.flatnonzero(size == len(names))[0])]
    always += [next(int(j) for j in order if size[j] == 1)]
    kept = [j for j in order[:most] if j not in always][: max(0, most - len(set(always)))]
    drawn = [j for j in order if j in {*kept, *always}]
    nothing = float(scores[size == 0][0])
    rest = len(order) - len(drawn)
    return Subsets(names, there[drawn], scores[drawn], spread[drawn], rest, nothing)


def modality_values(report: Any) -> pd.DataFrame:
    """Return value, low, high, alone and last of each modality, the most valuable first."""
    return report.shapley.sort_values("value", ascending=False, kind="stable")


def report_gains(report: Any) -> pd.DataFrame:
    """Return the mean gain of a fusion with its interval, and that of every split without one."""
    own, (low, high) = report.gain, report.interval
    names = [f"split {place + 1}, over {name}" for place, name in enumerate(own["chosen"])]
    table = pd.DataFrame({"gain": own["gain"].to_numpy()}, index=names)
    table[["gain_low", "gain_high"]] = np.nan
    first = pd.DataFrame(
        {"gain": report.mean_gain, "gain_low": low, "gain_high": high}, [report.estimator]
    )
    return pd.concat([first, table])


def falls(curve: Any, damage: str) -> dict[str, pd.DataFrame]:
    """Return by estimator level, score and spread over the splits under one damage."""
    rows = curve.scores[curve.scores["damage"] == damage]
    found = {}
    for name in dict.fromkeys(rows["estimator"]):
        own = rows[rows["estimator"] == name]
        # What was drawn several times on one split is one measurement.
        means = own.groupby(["level", "split"])["score"].agg(lambda s: s.mean(skipna=False))
        table = means.unstack("split")
        spread = table.std(axis=1, ddof=1, skipna=False)
        score = table.mean(axis=1, skipna=False)
        found[name] = pd.DataFrame({"level": table.index, "score": score, "spread": spread})
    return found
