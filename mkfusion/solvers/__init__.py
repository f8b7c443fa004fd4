"""Solvers on arrays, each of which returns its own certificate."""

from ._ridge import RidgeSolution, solve_ridge
from ._smo import SVMSolution, solve_one_class, solve_svm, solve_svms, solve_svr

__all__ = [
    "RidgeSolution",
    "SVMSolution",
    "solve_one_class",
    "solve_ridge",
    "solve_svm",
    "solve_svms",
    "solve_svr",
]
