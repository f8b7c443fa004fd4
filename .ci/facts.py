"""Read what is already said elsewhere, so that no check says it a second time.

facts.py command main|tests   the command that README.md prints
facts.py examples [PAGE...]   run the python blocks of README.md and of every page in docs/
facts.py table FILE           fail when the main job's output does not hold its table
facts.py oldest               the lower bounds in setup.cfg, as pip constraints
facts.py ran REPORT FEWEST    fail when a pytest report holds fewer tests that ran
facts.py totals REPORT...     one line over all reports
"""

import configparser
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"

# What each command at the top of README.md must run, in their order there.
COMMANDS = {"main": "python -m mkfusion compare", "tests": "python -m pytest"}
SHELL = "bash"
PYTHON = "python"

# The main job's table: some row of each family, and an accuracy that only a fault can undercut.
TABLE_FAMILIES = ("single:", "late:")
LEAST_ACCURACY = 0.9

# Extras that hold packages which mkfusion itself imports, not tools.
RUNTIME_EXTRAS = ("plot", "parquet", "distributed")


def say(text):
    sys.stdout.write(f"{text}\n")


def fenced_blocks(text, name="README.md", first=1):
    """List a page's fenced blocks as (language, number of the first line, lines).

    A block that a directive holds inside a longer fence comes after it.
    """
    blocks, opened, fence = [], None, ""
    for number, line in enumerate(text.splitlines(), start=first):
        if opened is None:
            if line.startswith("```"):
                language = line.lstrip("`")
                fence = line[: len(line) - len(language)]
                opened = (language.strip(), number + 1, [])
        elif line.startswith(fence) and not line.strip("` "):
            blocks.append(opened)
            if opened[0].startswith("{"):
                blocks += fenced_blocks("\n".join(opened[2]), name, opened[1])
            opened = None
        else:
            opened[2].append(line)
    if opened is not None:
        sys.exit(f"{name}:{opened[1] - 1}: this block is not closed")
    return blocks


def readme_commands():
    """Take the two commands from README.md, or stop and say what is not as agreed."""
    blocks = fenced_blocks(README.read_text(encoding="utf-8"))
    shell = [block for block in blocks if block[0] == SHELL]
    found = f"README.md must begin with exactly {len(COMMANDS)} ```{SHELL} blocks"
    if len(shell) != len(COMMANDS) or blocks[: len(COMMANDS)] != shell:
        listed = ", ".join(f"line {number}: {name or 'plain'}" for name, number, _ in blocks)
        sys.exit(f"{found}, and no other; found ({listed}); fence other commands as ```console")
    commands = {}
    for (name, expected), (_, number, lines) in zip(COMMANDS.items(), shell, strict=True):
        if len(lines) != 1 or expected not in lines[0]:
            sys.exit(f"{found} of one line; that at line {number} must hold {expected!r}")
        commands[name] = lines[0]
    return commands


def command(name):
    say(readme_commands()[name])


def examples(*pages):
    """Run the python blocks of the pages named, or of README.md and of every page in docs/.

    All pages are dealt out to a process for each core, which ends as any script does.
    """
    if not pages:
        everything, cores = [README, *documentation()], os.cpu_count()
        single = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # else they fight for the cores
        running = [
            subprocess.Popen(
                [sys.executable, __file__, "examples", *everything[core::cores]], env=single
            )
            for core in range(min(cores, len(everything)))
        ]
        codes = [process.wait() for process in running]
        sys.exit(any(codes))
    failed = [page for page in map(Path.resolve, map(Path, pages)) if not run_page(page)]
    if failed:
        sys.exit(f"wrong examples in {', '.join(map(shown, failed))}")


def documentation():
    """List the pages of docs/ that are written by hand."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [page for page in found if "_build" not in page.relative_to(ROOT).parts]


def shown(page):
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else str(page)


def run_page(page):
    """Run a page's python blocks in order in one namespace; a prompt makes one a doctest."""
    blocks = [
        (number, "\n".join(lines) + "\n")
        for language, number, lines in fenced_blocks(page.read_text(encoding="utf-8"), shown(page))
        if language == PYTHON
    ]
    if not blocks:
        if page == README:
            sys.exit("README.md has no ```python block")
        return True
    start = time.perf_counter()
    with own_state(page):
        wrong = run_blocks(page, blocks)
    seconds = time.perf_counter() - start
    for complaint in wrong:
        say(complaint)
    say(f"{shown(page)}: {len(blocks)} python blocks ran in {seconds:.1f} s")
    return not wrong


@contextlib.contextmanager
def own_state(page):
    """Let a page of docs/ write its files elsewhere and import what lies beside it.

    It leaves no setting to the next page.
    """
    from sklearn import config_context

    before, path = Path.cwd(), list(sys.path)
    with tempfile.TemporaryDirectory() as folder, config_context(), warnings.catch_warnings():
        if page != README:
            os.chdir(folder)
            sys.path.insert(0, str(page.parent))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:] = path
            if "matplotlib.pyplot" in sys.modules:
                sys.modules["matplotlib.pyplot"].close("all")


def run_blocks(page, blocks):
    """Run blocks to the first that raises; return what was wrong, with page and line."""
    from scipy_doctest.impl import DTChecker, DTConfig, DTParser, DTRunner

    names = {"__name__": "__readme__" if page == README else "__page__"}
    config = DTConfig()
    runner = DTRunner(checker=DTChecker(config=config), optionflags=config.optionflags)
    wrong = []
    for number, source in blocks:
        if source.lstrip().startswith(">>>"):
            test = DTParser(config).get_doctest(source, names, shown(page), page, number - 1)
            before = runner.failures
            runner.run(test, clear_globs=False)  # it says what it expected, and the line
            names = test.globs
            if runner.failures > before:
                wrong.append(f"{shown(page)}:{number}: {runner.failures - before} wrong answers")
        else:
            try:
                exec(compile("\n" * (number - 1) + source, str(page), "exec"), names)
            except (Exception, SystemExit) as error:
                traceback.print_exc()
                line = line_in(error, page, number)
                wrong.append(f"{shown(page)}:{line}: {type(error).__name__}: {error}")
                break  # what follows would only fail for the same reason
    return wrong


def line_in(error, page, number):
    """Find the line of the page at which an error arose."""
    if isinstance(error, SyntaxError) and error.filename == str(page):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in frames[::-1] if frame.filename == str(page)), number)


def table(path):
    """Check the rows that must be there, and that fusion reads the bundled digits well."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [re.match(r"(\S+(?: \(chosen\))?) +(\d\.\d+) ", line) for line in lines]
    accuracy = {row[1]: float(row[2]) for row in rows if row}
    asked = ("single (chosen)", "fusion (chosen)", "early", *TABLE_FAMILIES)
    missing = [name for name in asked if not any(row.startswith(name) for row in accuracy)]
    if not any(line.startswith("strategy ") for line in lines) or missing:
        sys.exit(f"no table of strategies, or these rows are missing: {missing}")
    if accuracy["fusion (chosen)"] < LEAST_ACCURACY:
        sys.exit(f"fusion's accuracy is {accuracy['fusion (chosen)']}, below {LEAST_ACCURACY}")


def oldest():
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    required = config["options"]["install_requires"]
    for extra in RUNTIME_EXTRAS:
        required += config["options.extras_require"][extra]
    for line in filter(None, map(str.strip, required.splitlines())):
        if line.startswith("%("):  # another extra, which is read by itself
            continue
        # Extras of a package are no part of a constraint.
        bound = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?\s*>=\s*([\d.]+)", line)
        if bound is None:
            sys.exit(f"setup.cfg: {line!r} is no plain lower bound (name >= version)")
        say("{}=={}".format(*bound.groups()))


def outcomes(report):
    """Count one junit report's (passed, failed, skipped) tests; an error counts as failed."""
    total = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for key in total:
            total[key] += int(suite.get(key, 0))
    failed = total["failures"] + total["errors"]
    return total["tests"] - failed - total["skipped"], failed, total["skipped"]


def ran(report, fewest):
    passed, failed, _ = outcomes(report)
    if passed + failed < int(fewest):
        sys.exit(f"only {passed + failed} tests ran, expected at least {fewest}")


def totals(*reports):
    passed, failed, skipped = map(sum, zip((0, 0, 0), *map(outcomes, reports), strict=True))
    say(f"{passed} passed, {failed} failed, {skipped} skipped")


if __name__ == "__main__":
    sys.stdout.reconfigure(newline="\n")  # a shell on Windows would read the \r as well
    verbs = {verb.__name__: verb for verb in (command, examples, table, oldest, ran, totals)}
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    verbs[sys.argv[1]](*sys.argv[2:])
