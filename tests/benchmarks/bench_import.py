"""What `import mkfusion` costs above its dependencies, in seconds of CPU.

Run as `python tests/benchmarks/bench_import.py [pairs]`. The two imports take turns, each in a
process of its own. The minimum is the figure to read: noise only ever adds.
"""

import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASELINE = "import sklearn, pandas, numba"
STATEMENTS = {"dependencies": BASELINE, "with mkfusion": f"{BASELINE}; import mkfusion"}
PROMISED = 0.3


def cpu_seconds(statement):
    """CPU time of a whole process that runs one statement, as the process itself sees it."""
    code = f"{statement}; import time; print(time.process_time())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(pairs=10):
    seconds = {name: [] for name in STATEMENTS}
    for turn in range(pairs + 1):
        for name, statement in STATEMENTS.items():
            measured = cpu_seconds(statement)
            if turn:  # the first turn fills the disk cache and writes the .pyc files
                seconds[name].append(measured)

    print(f"{'import':<15} {'minimum':>8} {'median':>8}   seconds of CPU, {pairs} runs each")
    for name, values in seconds.items():
        print(f"{name:<15} {min(values):8.3f} {statistics.median(values):8.3f}")
    cost = min(seconds["with mkfusion"]) - min(seconds["dependencies"])
    print(f"{'difference':<15} {cost:8.3f}{'':9}   promised: at most {PROMISED}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
