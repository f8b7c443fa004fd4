"""Solvers on arrays: each returns its solution with the certificate that anyone can recompute."""

from ._alignment import AlignmentSolution, AlignmentTerms, alignment_terms, solve_alignment
from ._conic import ConicSolution, solve_mkl_conic
from ._easy import EasySolution, solve_easy
from ._linear_mkl import LinearMKLSolution, solve_linear_mkl
from ._linear_rows import LinearArrays
from ._mkl import FixedKernel, MKLSolution, solve_mkl
from ._ridge import RidgeSolution, solve_ridge
from ._smo import SVMSolution, solve_one_class, solve_svm, solve_svms, solve_svr

__all__ = [
    "AlignmentSolution",
    "AlignmentTerms",
    "ConicSolution",
    "EasySolution",
    "FixedKernel",
    "LinearArrays",
    "LinearMKLSolution",
    "MKLSolution",
    "RidgeSolution",
    "SVMSolution",
    "alignment_terms",
    "solve_alignment",
    "solve_easy",
    "solve_linear_mkl",
    "solve_mkl",
    "solve_mkl_conic",
    "solve_one_class",
    "solve_ridge",
    "solve_svm",
    "solve_svms",
    "solve_svr",
]
