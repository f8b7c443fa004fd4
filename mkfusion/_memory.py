"""How much memory is there, and a refusal that says so before anything is allocated."""

from __future__ import annotations

import contextlib
import numbers
import os
import re
from pathlib import Path

__all__ = ["available_memory", "check_budget", "megabytes", "memory_in_bytes"]


def available_memory() -> float:
    """Return the bytes that this process may still take, infinity where nobody says."""
    found = [_free_on_machine()]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    with contextlib.suppress(OSError, ValueError):  # a container's own limit
        found.append(float(int(limit.read_text()) - int(used.read_text())))
    return max(0.0, min(found))


def _free_on_machine() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return float("inf")


_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def memory_in_bytes(budget: float | str | None) -> float:
    """Return a budget as bytes: a number, a text such as "2GB", None for half of what is free."""
    if budget is None:
        return available_memory() / 2
    if isinstance(budget, str):
        found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([KMGT]?)B?\s*", budget.upper())
        if found:
            return float(found[1]) * _UNITS[found[2]]
    elif isinstance(budget, numbers.Real) and not isinstance(budget, bool) and budget >= 0:
        return float(budget)
    raise ValueError(
        f"memory_budget must be a number of bytes or a text such as '2GB', got {budget!r}"
    )


def megabytes(size: float) -> str:
    """Write a number of bytes in megabytes."""
    return f"{size / 1e6:,.1f} MB"


def check_budget(what: str, size: float, budget: float, help: str = "") -> None:
    """Refuse what would take more bytes than there are."""
    if size > budget:
        raise MemoryError(
            f"{what} needs {megabytes(size)}, and {megabytes(budget)} are there{help}"
        )
