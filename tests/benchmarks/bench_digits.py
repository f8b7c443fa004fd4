"""The comparison on the bundled digits, and how long it takes.

Run as `python tests/benchmarks/bench_digits.py [jobs]`. The figures do not depend on the number
of jobs, but for the times. They are those of the README.
"""

import sys
import time

from mkfusion import compare_fusion
from mkfusion.datasets import load_multiple_features


def main(jobs=1):
    X, y = load_multiple_features(return_X_y=True)
    start = time.perf_counter()
    found = compare_fusion(X, y, n_jobs=jobs)
    seconds = time.perf_counter() - start
    print(f"{found}\n\n{seconds:.1f} seconds, {jobs} jobs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
