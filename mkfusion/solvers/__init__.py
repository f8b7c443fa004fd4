"""Solvers on arrays: each returns its solution with the certificate that anyone can recompute."""

from ._alignment import AlignmentSolution, AlignmentTerms, alignment_terms, solve_alignment
from ._conic import ConicSolution, solve_mkl_conic
from ._easy import EasySolution, solve_easy

__all__ = [
    "AlignmentSolution",
    "AlignmentTerms",
    "ConicSolution",
    "EasySolution",
    "alignment_terms",
    "solve_alignment",
    "solve_easy",
    "solve_mkl_conic",
]
