"""The picture of a fusion in a notebook: its modalities with their columns, models, rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["columns_text", "picture", "single"]


def _visual_block() -> Any:
    # scikit-learn keeps it to itself and has moved it before.
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:  # pragma: no cover
        from sklearn.utils._estimator_html_repr import _VisualBlock
    return _VisualBlock


def single(name: str, details: str = "") -> Any:
    """Return a box that holds no estimator."""
    return _visual_block()("single", None, names=name, name_details=details)


def picture(models: Mapping[str, Any], details: Mapping[str, str], then: Sequence[Any]) -> Any:
    """Return the models side by side, and below them what becomes of what they say."""
    block = _visual_block()
    names = list(models)
    beside = block(
        "parallel", list(models.values()), names=names, name_details=[details[n] for n in names]
    )
    return block("serial", [beside, *then], dash_wrapped=False)


def columns_text(names: Sequence[Any]) -> str:
    """Describe some columns in a line or two."""
    shown = ", ".join(str(name) for name in names[:12])
    count = f"{len(names)} column{'' if len(names) == 1 else 's'}"
    return f"{count}: {shown}{', ...' if len(names) > 12 else ''}"
