"""The command line: ``mkfusion compare``."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from ._validation import listed
from ._version import __version__
from .evaluation import STRATEGIES, TASKS, FusionComparison, check_task, compare_fusion

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT


class _RefusedError(Exception):
    """What the user gave cannot be used, said in one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _RefusedError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mkfusion", description="Classical multimodal fusion.")
    parser.add_argument("--version", action="version", version=f"mkfusion {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    compare = commands.add_parser(
        "compare",
        help="compare single modalities, early and late fusion on one table",
        description="Compare every single modality, early and late fusion on the same folds, and "
        "say whether fusion pays. Without a file: the bundled handwritten digits.",
    )
    add = compare.add_argument
    add("file", nargs="?", help="a table: .csv, .csv.gz or .parquet (extra 'parquet')")
    add("--target", help="the column to predict")
    add(
        "--modalities",
        nargs="+",
        metavar="NAME=PATTERN",
        help="columns by shell patterns, such as audio=a_* text=t_*,title; "
        "without it the prefixes before '__' in the column names",
    )
    add("--groups", metavar="COLUMN", help="rows of one group stay in one fold")
    add("--task", choices=("auto", *TASKS), default="auto")
    add("--scoring", help="a scikit-learn scorer (default: accuracy, for numbers r2)")
    add("--cv", type=int, default=5, help="folds (default: 5)")
    add("--strategy", help="the fusion that the verdict speaks of, named beforehand")
    add(
        "--strategies",
        nargs="+",
        metavar="NAME",
        default=["default"],
        help="'default', 'all', or names: " + ", ".join(s.name for s in STRATEGIES),
    )
    add("--jobs", type=int, default=1, help="fits at a time (default: 1; -1: all cores)")
    add("--seed", type=int, default=0, help="of the folds (default: 0)")
    add("--json", metavar="FILE", help="write everything that was found to FILE")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _read_table(path: str) -> pd.DataFrame:
    endings = "".join(Path(path).suffixes[-2:]).lower()
    try:
        if endings.endswith((".parquet", ".pq")):
            return pd.read_parquet(path)
        if endings.endswith((".csv", ".csv.gz")):
            return pd.read_csv(path)
    except ImportError:
        raise _RefusedError(
            f"{path}: reading Parquet needs pyarrow: python -m pip install 'mkfusion[parquet]'"
        ) from None
    except FileNotFoundError:
        raise _RefusedError(f"{path}: there is no such file") from None
    except Exception as error:
        raise _RefusedError(f"{path}: cannot be read: {_one_line(error)}") from None
    raise _RefusedError(f"{path}: a file must end in .csv, .csv.gz or .parquet")


def _by_patterns(columns: Sequence[Any], given: Sequence[str]) -> dict[str, list[int]]:
    """Resolve NAME=PATTERN[,PATTERN...] to the positions of the columns that match."""
    found: dict[str, list[int]] = {}
    for item in given:
        name, equals, patterns = item.partition("=")
        if not equals or not name or not patterns:
            raise _RefusedError(f"--modalities: {item!r} is not of the form NAME=PATTERN")
        if name in found:
            raise _RefusedError(f"--modalities: {name!r} is given twice")
        found[name] = [
            j
            for j, column in enumerate(columns)
            if any(fnmatch.fnmatchcase(str(column), pattern) for pattern in patterns.split(","))
        ]
        if not found[name]:
            raise _RefusedError(
                f"--modalities: {patterns!r} of modality {name!r} matches no column; "
                f"the columns are {listed(columns, 12)}"
            )
    return found


def _take_column(frame: pd.DataFrame, name: str, option: str) -> pd.Series:
    if name not in frame.columns:
        raise _RefusedError(
            f"{option}: no column {name!r}; the columns are {listed(frame.columns, 12)}"
        )
    return frame.pop(name)


def _load(options: argparse.Namespace) -> tuple[pd.DataFrame, Any, Any, Any, str]:
    """Return X, y, the modalities, the groups and a line that says what they are."""
    if options.file is None:
        unused = [f"--{name}" for name in ("target", "groups") if getattr(options, name)]
        if unused:
            raise _RefusedError(f"{' and '.join(unused)} needs a file")
        from .datasets import load_multiple_features

        X, y = load_multiple_features(return_X_y=True)
        source, groups = "the bundled handwritten digits (UCI Multiple Features)", None
    else:
        if options.target is None:
            raise _RefusedError("--target must name the column to predict")
        X = _read_table(options.file)
        y = _take_column(X, options.target, "--target")
        groups = None
        if options.groups is not None:
            groups = _take_column(X, options.groups, "--groups")
        missing = np.flatnonzero(pd.isna(y))
        if missing.size:
            raise _RefusedError(
                f"--target: {options.target!r} is missing for {missing.size} rows, the first "
                f"being row {missing[0]}; leave them out"
            )
        source = options.file
    modalities = _by_patterns(list(X.columns), options.modalities) if options.modalities else None
    return X, y, modalities, groups, source


def _compare(options: argparse.Namespace) -> None:
    X, y, modalities, groups, source = _load(options)
    task = check_task(options.task, y)
    guessed = " (guessed; --task says otherwise)" if options.task == "auto" else ""
    wanted = options.strategies
    found = compare_fusion(
        X,
        y,
        modalities,
        strategies=wanted[0] if wanted in (["default"], ["all"]) else wanted,
        strategy=options.strategy,
        task=task,
        scoring=options.scoring,
        cv=options.cv,
        groups=None if groups is None else groups.to_numpy(),
        n_jobs=options.jobs,
        random_state=options.seed,
        verbose=0 if options.quiet else 1,
    )
    sys.stdout.write(f"{_heading(source, task + guessed, found)}\n\n{found}\n")
    sys.stdout.flush()
    if options.json is not None:
        _write(Path(options.json), json.dumps(found.to_dict(), indent=2, allow_nan=False))


def _heading(source: str, task: str, found: FusionComparison) -> str:
    widths = ", ".join(f"{name} ({width})" for name, width in found.shape["modalities"].items())
    return (
        f"{source}: {found.shape['rows']} rows, {task}, {found.shape['splits']} splits\n"
        f"modalities (columns): {widths}"
    )


def _write(path: Path, text: str) -> None:
    """Write a file aside and rename it, so that no half of it is ever there."""
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _RefusedError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        Path(aside).chmod(0o644)
        os.replace(aside, path)
    except BaseException as error:
        Path(aside).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _RefusedError(f"{path}: cannot be written: {error.strerror}") from None
        raise


def _one_line(error: BaseException) -> str:
    notes = getattr(error, "__notes__", [])
    return "; ".join(" ".join(str(part).split()) for part in (error, *notes))


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    sys.stderr.write(f"mkfusion: warning: {_one_line(message)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, default=None
        None takes those of the process.

    Returns
    -------
    code : int
        0; 2 for input that cannot be used, with one line on standard error; 130 for Ctrl-C.

    Examples
    --------
    >>> from mkfusion.cli import main
    >>> main(["compare", "--target", "label"])
    2
    """
    try:
        options = _parser().parse_args(arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("once")
            warnings.showwarning = _show_warning
            _compare(options)
    except (_RefusedError, ValueError, TypeError) as error:
        sys.stderr.write(f"mkfusion: {_one_line(error)}\n")
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("mkfusion: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone: give the rest nowhere to fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
