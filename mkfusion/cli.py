"""The command line: ``mkfusion compare``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from ._files import check_writable, write_whole
from ._table_file import Data, RefusedError, load_data, one_line, reason
from ._validation import listed
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
from .report import render_report

__all__ = ["main"]

BAD_INPUT = 2
MOST_NAMES = 40  # in a sentence of the page
INTERRUPTED = 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RefusedError(f"{message} (see {self.prog} --help)")


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


# Running ------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> None:
    files = {"--json": options.json, "--report": options.report}
    _check_files(files)
    with warnings.catch_warnings(record=True) as caught:
        # The others are for those who program.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        data = load_data(options)
        task = check_task(options.task, data.y)
        found, y = _run(options, data, task)
        # It takes time, and only the page shows it.
        examined = None if options.report is None else _examine(options, data, y, found)
    _write_files(files, data.source, _notes(options, data), found, examined)
    if data.dropped:
        _complain(data.dropped)
    for text in dict.fromkeys(one_line(warning.message) for warning in caught):
        _complain(f"warning: {text}")
    guessed = " (guessed; --task says otherwise)" if options.task == "auto" else ""
    _print(f"{_heading(data, task + guessed, found)}\n\n{found}\n")


def _run(options: argparse.Namespace, data: Data, task: str) -> tuple[FusionComparison, Any]:
    """Return what was found, and the target as it was compared."""
    y, wanted = data.y, options.strategies or ["default"]
    if task == "regression":
        try:
            y = pd.to_numeric(y)
        except (TypeError, ValueError) as error:
            raise RefusedError(f"--target: not a column of numbers: {error}") from None
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
    options: argparse.Namespace, data: Data, y: Any, found: FusionComparison
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


def _heading(data: Data, task: str, found: FusionComparison) -> str:
    widths = ", ".join(f"{name} ({width})" for name, width in found.modalities.items())
    first = f"{data.source}: {found.n_rows} rows, {task}, {len(found.choices)} splits"
    ignored = f"; ignored: {listed(data.ignored)}" if data.ignored else ""
    return f"{printable(first)}\n{printable(f'modalities (columns): {widths}{ignored}')}"


def _notes(options: argparse.Namespace, data: Data) -> list[str]:
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
        raise RefusedError(f"{' and '.join(given)} name one file, {places[0]}")


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
        raise RefusedError(f"{option}: {one_line(error)}") from None


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
            raise RefusedError(f"standard output: {reason(error)}") from None


def _complain(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"mkfusion: {printable(text)}\n")


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
        _complain(f"not enough memory: {reason(error)}")
    except (RefusedError, ValueError, OSError) as error:
        # A ValueError is how this package and scikit-learn refuse data. The models are the
        # package's own here, so that anything else is a fault of it, and shows its traceback.
        _complain(one_line(error))
    else:
        return 0
    return BAD_INPUT
