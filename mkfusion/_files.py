"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["check_writable", "write_whole"]


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a path that could not be written after it."""
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory")
        if not _is_device(path):
            tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except IsADirectoryError:
        raise
    except OSError as error:
        raise _refusal(path, error) from None


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a file aside and rename it, so that no half of it is ever there."""
    check_writable(path)
    path = Path(path)
    try:
        if _is_device(path):
            path.write_text(text, encoding="utf-8")
            return
        path = path.resolve()
        aside = path.with_name(f".{path.name[:200]}.{os.getpid()}")
        aside.touch(exist_ok=False)
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, error) from None


def _is_device(path: Path) -> bool:
    """Tell whether a path is a pipe or a device, which a file must not replace."""
    return path.exists() and not path.is_file()


def _refusal(path: Path, error: OSError) -> OSError:
    return type(error)(f"{path} cannot be written: {error.strerror or error}")
