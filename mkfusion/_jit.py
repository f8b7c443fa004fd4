"""Compiled loops: numba's ``njit`` as this package uses it, and what to do without it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

try:
    import numba
    from llvmlite import ir
    from numba import config, types
    from numba.extending import intrinsic, overload
except ImportError:  # a platform without numba: the loops run on whole arrays instead
    numba = intrinsic = ir = overload = types = None  # type: ignore[assignment]

__all__ = ["JIT", "compiled_as", "intrinsic", "ir", "njit", "numba", "overload", "types"]

COMPILED = ("chains", "kernels", "solvers")  # the packages that hold loops

#: Whether loops are compiled. Where they are not, numpy works on whole arrays.
JIT = numba is not None and not config.DISABLE_JIT  # type: ignore[attr-defined]


def njit(function: Callable[..., Any], *, reassociate: bool = False) -> Any:
    """Compile a loop on arrays; keep the machine code on disk where a folder can be written.

    A multiplication and an addition may become one instruction. With ``reassociate`` a sum may be
    made of several, as a dot product needs; in a loop that calls ``_ops`` it would be wrong.
    """
    if not JIT:
        return function
    options: Any = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "reassoc"} if reassociate else {"contract"},
    }
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(**options)(function)
    # numba compares the time of the one file that holds the function; ours is compiled together
    # with functions of other files, and a change of any must not find the old machine code.
    with contextlib.suppress(AttributeError):
        dispatcher._cache._cache_file._source_stamp = _STAMP
        for step in ("load_overload", "save_overload"):
            setattr(dispatcher._cache, step, _if_possible(getattr(dispatcher._cache, step)))
    return dispatcher


def _if_possible(step: Callable[..., Any]) -> Callable[..., Any]:
    """Let a full disk, or a folder that went away, cost a compilation and not the result."""

    def attempt(*args: Any) -> Any:
        with contextlib.suppress(OSError):
            return step(*args)
        return None

    return attempt


def compiled_as(function: Callable[..., Any]) -> Callable[..., Any]:
    """Say what ``function`` is inside compiled loops, by types as numba's ``overload`` does.

    In Python, and without numba, it stays the numpy function that it is.
    """

    def decorate(implementation: Callable[..., Any]) -> Callable[..., Any]:
        if JIT:
            overload(function)(implementation)
        return implementation

    return decorate


def _stamp() -> tuple[tuple[str, int, int], ...]:
    folder = Path(__file__).parent
    inside = (sorted((folder / name).glob("*.py")) for name in COMPILED)
    files = [folder / "_jit.py", *chain.from_iterable(inside)]
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


_STAMP = _stamp()
