"""The command line: ``mkfusion compare``."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import signal
import sys
import warnings
import zlib
from collections.abc import Callable, Container, Sequence
from concurrent.futures import BrokenExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pandas as pd

from ._files import check_writable, write_whole
from ._validation import install, listed, warn
from ._version import __version__
from .evaluation import (
    RULES_OF_TASK,
    STRATEGIES,
    ExaminedFusion,
    FusionComparison,
    check_task,
    compare_fusion,
    examine_fusion,
    printable,
)
from .modality import as_list, resolve_modalities, to_sequences
from .report import render_report

__all__ = ["main"]

BAD_INPUT = 2
MOST_NAMES = 40  # in a sentence of the page
INTERRUPTED = 128 + signal.SIGINT

# What pandas and pyarrow raise of a file that they cannot read.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    OverflowError,
    NotImplementedError,
    zlib.error,
)
# What a target or a group may be; anything else (bytes, lists, dates) has no order or no labels.
SCALARS = {
    "string",
    "integer",
    "floating",
    "mixed-integer-float",
    "boolean",
    "categorical",
    "decimal",
}


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
        help="compare single modalities and ways to fuse them on one table",
        description="Compare every single modality and early, late and hybrid fusion, on demand "
        "multiple kernel learning too, on the same folds, and say whether fusion pays. Without a "
        "file: the bundled handwritten digits.",
    )
    _add_data_options(compare.add_argument)
    _add_run_options(compare.add_argument)
    return parser


def _add_data_options(add: Any) -> None:
    add("file", nargs="?", help="a table: .csv, .csv.gz or .parquet (extra 'parquet')")
    add("--target", metavar="COLUMN", help="the column to predict")
    add(
        "--modalities",
        nargs="+",
        action="extend",
        metavar="NAME=PATTERN",
        help="columns by shell patterns, such as audio=a_* text=t_*,title; "
        "without it the prefixes before '__' in the column names",
    )
    add("--groups", metavar="COLUMN", help="rows of one group stay in one fold")
    add(
        "--ignore",
        nargs="+",
        action="extend",
        metavar="COLUMN",
        help="columns that are no features, such as an index, by names or shell patterns",
    )
    add(
        "--drop-missing-target",
        action="store_true",
        help="leave out the rows (sequences) that have no target",
    )
    add(
        "--sequence",
        metavar="COLUMN",
        help="a row is a time step, and this names its sequence: sequences are classified",
    )
    add("--task", choices=("auto", *RULES_OF_TASK), default="auto", help="default: guessed")


def _add_run_options(add: Any) -> None:
    add("--scoring", help="a scikit-learn scorer (default: accuracy, for numbers r2)")
    add("--cv", type=int, default=5, metavar="FOLDS", help="default: 5")
    add("--strategy", metavar="NAME", help="the fusion that is judged, named beforehand")
    add(
        "--strategies",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="'default', 'all', 'late', 'hybrid', 'mkl', 'graphical', or some of: "
        + ", ".join(STRATEGIES),
    )
    add("--jobs", type=int, default=1, help="splits at a time (default: 1; -1: all cores)")
    add("--seed", type=int, default=0, help="of the folds (default: 0)")
    add("--json", type=Path, metavar="FILE", help="write everything that was found to FILE")
    add("--report", type=Path, metavar="FILE", help="write a page of it (HTML) to FILE")
    add("--quiet", action="store_true", help="no progress bar")


# Reading ------------------------------------------------------------------------------------


class _Data(NamedTuple):
    """What was read, where, and what of it was left out."""

    source: str
    X: pd.DataFrame
    y: Any
    modalities: dict[str, list[int]]
    groups: Any
    ignored: list[str]
    unused: list[str]  # columns of no modality
    dropped: str  # a sentence on the rows without a target, empty if there are none


def _load(options: argparse.Namespace) -> _Data:
    if options.file is None:
        return _load_digits(options)
    if options.target is None:
        raise _RefusedError("--target must name the column to predict")
    table, ignored = _leave_aside(_read_table(options.file), options)
    X, modalities = table, None
    unused: list[str] = []
    if options.sequence is not None:
        X, modalities, unused = _as_sequences(table, options)
    dropped = ""
    if options.drop_missing_target:
        X, dropped = _drop_missing_target(X, options)
    y = _take_column(X, "target", options)
    groups = _take_column(X, "groups", options) if options.groups is not None else None
    if not X.size:
        raise _RefusedError(f"{options.file}: nothing is left to predict from ({X.shape[0]} rows)")
    if modalities is None:
        X, modalities, unused = _choose_columns(X, options.modalities)
    return _Data(options.file, X, y, modalities, groups, ignored, unused, dropped)


def _leave_aside(
    table: pd.DataFrame, options: argparse.Namespace
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table without the columns that --ignore names, and their names."""
    roles = {getattr(options, role): role for role in ("target", "groups", "sequence")}
    ignored: dict[str, None] = {}
    for pattern in options.ignore or ():
        found = [name for name in table.columns if _matches(str(name), [pattern])]
        if not found:
            hint = "; a file stands before the options" if options.file is None else ""
            raise _RefusedError(
                f"--ignore: {pattern!r} matches none of the columns "
                f"{listed(table.columns, 12)}{hint}"
            )
        for name in found:
            if name in roles:
                raise _RefusedError(
                    f"--ignore: {pattern!r} matches {name!r}, which --{roles[name]} names"
                )
        ignored |= dict.fromkeys(found)
    return table.drop(columns=list(ignored)), list(ignored)


def _as_sequences(
    steps: pd.DataFrame, options: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, list[int]], list[str]]:
    """Return a row for each sequence, its modalities, and the columns of none.

    The cells hold what the steps held.
    """
    kept = []
    for option in ("sequence", "target", "groups"):
        name = getattr(options, option)
        if name is not None:
            _check_column(steps, option, options)
        kept += [name] if name is not None and option != "sequence" else []
    if options.sequence in kept:
        raise _RefusedError(f"--sequence: {options.sequence!r} is the target or the groups too")
    features = steps.drop(columns=[options.sequence, *kept])
    if not features.size:
        raise _RefusedError(f"{options.file}: nothing is left to predict from ({len(steps)} rows)")
    features, chosen, unused = _choose_columns(features, options.modalities)
    steps = steps[[*features.columns, options.sequence, *dict.fromkeys(kept)]]
    X = to_sequences(steps, options.sequence, modalities=chosen, keep=kept)
    return X, {name: [j] for j, name in enumerate(X.columns.drop(kept))}, unused


def _drop_missing_target(X: pd.DataFrame, options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    """Return the rows that have a target, and how many have none."""
    _check_column(X, "target", options)
    there, what = X[options.target].notna(), _rows(options)
    if there.all():
        return X, ""
    if not there.any():
        raise _RefusedError(f"--target: {options.target!r} is missing for all {len(X)} {what}")
    X = X[there].copy()
    X[options.target] = _as_without_gaps(X[options.target])
    missing = len(there) - len(X)
    return X, f"left out, as {options.target!r} is missing: {missing} of {len(there)} {what}"


def _as_without_gaps(column: pd.Series) -> pd.Series:
    """Return what a file without the gaps would have given: with them 1 is read as 1.0."""
    column = column.infer_objects()
    whole = column.dtype.kind == "f" and ((column % 1 == 0) & (column.abs() < 2**53)).all()
    return column.astype(np.int64) if whole else column


def _rows(options: argparse.Namespace) -> str:
    return "rows" if options.sequence is None else "sequences"


def _load_digits(options: argparse.Namespace) -> _Data:
    from .datasets import load_multiple_features

    for item in options.modalities or ():
        _pattern(item)  # a file among them is the likelier fault
    X, y = load_multiple_features(return_X_y=True)
    X, ignored = _leave_aside(X, options)  # and here
    for option in ("target", "groups", "sequence", "drop_missing_target"):
        if getattr(options, option) not in (None, False):
            raise _RefusedError(f"--{option.replace('_', '-')} needs a file")
    source = "the bundled handwritten digits (UCI Multiple Features)"
    X, modalities, unused = _choose_columns(X, options.modalities)
    return _Data(source, X, y, modalities, None, ignored, unused, "")


def _read_table(path: str) -> pd.DataFrame:
    name = path.lower()
    try:
        if not Path(path).exists():
            raise _RefusedError(f"{path}: there is no such file")
        if name.endswith((".parquet", ".pq")):
            table = pd.read_parquet(path)
        elif name.endswith((".csv", ".csv.gz")):
            table = _read_csv(path)
        else:
            raise _RefusedError(f"{path}: a file must end in .csv, .csv.gz or .parquet")
    except ImportError:
        raise _RefusedError(
            f"{path}: reading Parquet needs pyarrow: {install('parquet')}"
        ) from None
    except UNREADABLE as error:
        raise _RefusedError(f"{path}: cannot be read: {_reason(error)}") from None
    if not table.columns.is_unique:
        raise _RefusedError(f"{path}: two columns have one name")
    return table


def _read_csv(path: str) -> pd.DataFrame:
    table = pd.read_csv(path, low_memory=False)
    if not isinstance(table.index, pd.RangeIndex):
        # pandas takes the surplus cells for an index, and every name moves to another column.
        raise _RefusedError(f"{path}: its rows have more cells than its first line has names")
    return table


def _check_column(table: pd.DataFrame, option: str, options: argparse.Namespace) -> None:
    name = getattr(options, option)
    if name not in table.columns:
        raise _RefusedError(
            f"--{option}: no column {name!r}; the columns are {listed(table.columns, 12)}"
        )


def _take_column(table: pd.DataFrame, option: str, options: argparse.Namespace) -> pd.Series:
    _check_column(table, option, options)
    name = getattr(options, option)
    column = table.pop(name)
    missing = np.flatnonzero(pd.isna(column))
    if missing.size:
        below = "of those with a target" if options.drop_missing_target else "below the header"
        first = f"row {missing[0] + 1} {below}"
        if options.sequence is not None:
            first = f"sequence {listed([column.index[missing[0]]])}"
        remedy = "leave them out"
        if option == "target":
            remedy = "--drop-missing-target leaves them out"
        raise _RefusedError(
            f"--{option}: {name!r} is missing for {missing.size} of {len(column)} "
            f"{_rows(options)}, the first being {first}; {remedy}"
        )
    kind = pd.api.types.infer_dtype(column)
    if len(column) and kind not in SCALARS:
        raise _RefusedError(f"--{option}: {name!r} holds {kind}, neither labels nor numbers")
    return column


def _choose_columns(
    X: pd.DataFrame, given: Sequence[str] | None
) -> tuple[pd.DataFrame, dict[str, list[int]], list[str]]:
    """Return the columns that belong to modalities, the positions of each modality's, and the
    columns of none.
    """
    found = _by_prefixes(X) if given is None else _by_patterns(X.columns, given)
    left = X.columns.delete(sorted(chain(*found.values()))).tolist()
    if given is not None and left:
        warn(
            f"columns {listed(left)} belong to no modality and are not used; "
            "if that is meant, name them after --ignore"
        )
        X = X.drop(columns=left)
        found = _by_patterns(X.columns, given)
    _warn_unnamed(X.columns)
    return X, found, left


def _warn_unnamed(columns: Any) -> None:
    """Warn of columns whose name pandas made up where the file has none."""
    unnamed = [name for name in columns if re.fullmatch(r"Unnamed: \d+", str(name))]
    if unnamed:
        names = " ".join(f"'{name}'" for name in unnamed[:3])
        warn(
            f"columns {listed(unnamed)} have no name in the file and are most likely an index, "
            f"yet are read as features; --ignore {names}{' ...' if len(unnamed) > 3 else ''} "
            "leaves them out"
        )


def _by_prefixes(X: pd.DataFrame) -> dict[str, list[int]]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="nothing is fused")  # it speaks Python
            found = {name: as_list(places) for name, places in resolve_modalities(X).items()}
        if len(found) == 1:
            bare = not any("__" in str(name) for name in X.columns)
            why = f"all columns have the prefix '{next(iter(found))}__'"
            why = "no column name has a prefix before '__'" if bare else why
            warn(
                f"nothing is fused: {why}, so that all columns are one modality; "
                "--modalities NAME=PATTERN NAME=PATTERN says which columns belong together"
            )
        return found
    except ValueError as error:
        error.add_note(
            "on the command line --modalities NAME=PATTERN says which columns belong together, "
            "and --ignore leaves columns aside"
        )
        raise


def _pattern(item: str, found: Container[str] = ()) -> tuple[str, str]:
    """Take NAME=PATTERN[,PATTERN...] apart."""
    name, equals, patterns = item.partition("=")
    if not equals or not name or not patterns or name in found:
        raise _RefusedError(
            f"--modalities: {item!r} is not of the form NAME=PATTERN with a new name; "
            "a file stands before the options"
        )
    return name, patterns


def _by_patterns(columns: Any, given: Sequence[str]) -> dict[str, list[int]]:
    """Resolve NAME=PATTERN[,PATTERN...] to the positions of the columns that match."""
    found: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
    for item in given:
        name, patterns = _pattern(item, found)
        found[name] = [j for j, c in enumerate(columns) if _matches(str(c), patterns.split(","))]
        if not found[name]:
            raise _RefusedError(
                f"--modalities: {item!r} matches none of the columns {listed(columns, 12)}"
            )
        for j in found[name]:
            if owner.setdefault(j, name) != name:
                raise _RefusedError(
                    f"--modalities: both {owner[j]!r} and {name!r} match column {columns[j]!r}"
                )
    return found


def _matches(column: str, patterns: Sequence[str]) -> bool:
    return any(column == p or fnmatch.fnmatchcase(column, p) for p in patterns)


# Running ------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> None:
    files = {"--json": options.json, "--report": options.report}
    _check_files(files)
    with warnings.catch_warnings(record=True) as caught:
        # The others are for those who program.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        data = _load(options)
        task = check_task(options.task, data.y)
        found, y = _run(options, data, task)
        # It takes time, and only the page shows it.
        examined = None if options.report is None else _examine(options, data, y, found)
    _write_files(files, data.source, _notes(options, data), found, examined)
    if data.dropped:
        _complain(data.dropped)
    for text in dict.fromkeys(_one_line(warning.message) for warning in caught):
        _complain(f"warning: {text}")
    guessed = " (guessed; --task says otherwise)" if options.task == "auto" else ""
    _print(f"{_heading(data, task + guessed, found)}\n\n{found}\n")


def _run(options: argparse.Namespace, data: _Data, task: str) -> tuple[FusionComparison, Any]:
    """Return what was found, and the target as it was compared."""
    y, wanted = data.y, options.strategies or ["default"]
    if task == "regression":
        try:
            y = pd.to_numeric(y)
        except (TypeError, ValueError) as error:
            raise _RefusedError(f"--target: not a column of numbers: {error}") from None
    found = compare_fusion(
        data.X,
        y,
        data.modalities,
        strategies=wanted[0] if len(wanted) == 1 else wanted,
        strategy=options.strategy,
        task=task,
        scoring=options.scoring,
        cv=options.cv,
        groups=data.groups,
        n_jobs=options.jobs,
        random_state=options.seed,
        verbose=_verbose(options),
    )
    return found, y


def _examine(
    options: argparse.Namespace, data: _Data, y: Any, found: FusionComparison
) -> ExaminedFusion | None:
    return examine_fusion(
        found,
        data.X,
        y,
        data.modalities,
        cv=options.cv,
        groups=data.groups,
        n_jobs=options.jobs,
        random_state=options.seed,
        verbose=_verbose(options),
    )


def _verbose(options: argparse.Namespace) -> int:
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return int(terminal and not options.quiet)


def _heading(data: _Data, task: str, found: FusionComparison) -> str:
    widths = ", ".join(f"{name} ({width})" for name, width in found.modalities.items())
    first = f"{data.source}: {found.n_rows} rows, {task}, {len(found.choices)} splits"
    ignored = f"; ignored: {listed(data.ignored)}" if data.ignored else ""
    return f"{printable(first)}\n{printable(f'modalities (columns): {widths}{ignored}')}"


def _notes(options: argparse.Namespace, data: _Data) -> list[str]:
    """Return what the page says of the data, by which a reader can check it."""
    notes = [f"The data are {data.source}."]
    if options.file is not None:
        notes = [f"The file is {data.source}.", f"The target is {options.target!r}."]
    if options.sequence is not None:
        notes.append(f"A row is a sequence, named by {options.sequence!r}.")
    if options.groups is not None:
        notes.append(f"Rows of one group, named by {options.groups!r}, stay in one fold.")
    if data.ignored:
        notes.append(f"Left out by --ignore: {listed(data.ignored, MOST_NAMES)}.")
    if data.unused:
        notes.append(f"Of no modality, and not used: {listed(data.unused, MOST_NAMES)}.")
    if data.dropped:
        notes.append(f"{data.dropped[:1].upper()}{data.dropped[1:]}.")
    return notes


# Writing ------------------------------------------------------------------------------------


def _check_files(files: dict[str, Path | None]) -> None:
    """Refuse before the work what would be refused after it."""
    given = {option: path for option, path in files.items() if path is not None}
    for option, path in given.items():
        _refusing(option, check_writable, path)
    places = [path.resolve() for path in given.values() if path.is_file() or not path.exists()]
    if len(set(places)) < len(places):
        raise _RefusedError(f"{' and '.join(given)} name one file, {places[0]}")


def _write_files(
    files: dict[str, Path | None],
    source: str,
    notes: list[str],
    found: FusionComparison,
    examined: ExaminedFusion | None,
) -> None:
    """Make every text first: a file is only touched when all of them are there."""
    makers: dict[str, Callable[[], str]] = {
        "--json": lambda: json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n",
        "--report": lambda: render_report(found, title=source, notes=notes, examined=examined),
    }
    texts = {option: makers[option]() for option, path in files.items() if path is not None}
    for option, text in texts.items():
        _refusing(option, write_whole, files[option], text)


def _refusing(option: str, action: Callable[..., None], *arguments: Any) -> None:
    """Do something with an option's file, and name the option where that is refused."""
    try:
        action(*arguments)
    except OSError as error:
        raise _RefusedError(f"{option}: {_one_line(error)}") from None


def _print(text: str) -> None:
    if sys.stdout is None:
        return
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # The reader has gone, or the disk is full: give the rest nowhere to fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise _RefusedError(f"standard output: {_reason(error)}") from None


def _complain(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"mkfusion: {printable(text)}\n")


def _one_line(error: Any) -> str:
    notes = getattr(error, "__notes__", [])
    return "; ".join(" ".join(str(part).split()) for part in (error, *notes))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or _one_line(error) or type(error).__name__


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
        _compare(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenExecutor:
        _complain("a worker process died, most likely for want of memory; take fewer --jobs")
    except MemoryError as error:
        _complain(f"not enough memory: {_reason(error)}")
    except (_RefusedError, ValueError, OSError) as error:
        # A ValueError is how this package and scikit-learn refuse data. The models are the
        # package's own here, so that anything else is a fault of it, and shows its traceback.
        _complain(_one_line(error))
    else:
        return 0
    return BAD_INPUT
