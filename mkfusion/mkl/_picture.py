"""The picture of kernels in a notebook: side by side, and below them what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .._diagram import columns_text, picture, single
from ..kernels import Kernel

__all__ = ["kernels_picture"]

MOST = 12
SOLVED = ("svm", "exact")  # the weightings that have a norm
MACHINE = ("machine", "C", "nu", "multi_class", "output")


class _Box(NamedTuple):
    """A kernel as it is drawn."""

    name: str
    kernel: Any
    seen: str
    weight: float | None = None

    @property
    def title(self) -> str:
        return self.name if self.weight is None else f"{self.name}: weight {_share(self.weight)}"


def kernels_picture(estimator: Any) -> Any:
    """Return the picture that scikit-learn shows of an estimator on kernels."""
    fitted = hasattr(estimator, "kernels_")
    boxes = list(_fitted(estimator) if fitted else _named(estimator))
    kept = _largest(boxes)
    models = {box.title: single(_short(box.kernel), str(box.kernel)) for box in kept}
    texts = {box.title: box.seen for box in kept}
    if left := len(boxes) - len(kept):
        name = f"{left} more kernel{'' if left == 1 else 's'}"
        rest = sum(box.weight or 0.0 for box in boxes) - sum(box.weight or 0.0 for box in kept)
        models[name] = single("...")
        texts[name] = f"with {_share(rest)} of the weights" if _weighed(estimator) else ""
    return picture(models, texts, _below(estimator))


def _largest(boxes: list[_Box]) -> list[_Box]:
    """Return as many kernels as can be seen side by side: those of largest weight."""
    if len(boxes) <= MOST:
        return boxes
    order = np.argsort([-(box.weight or 0.0) for box in boxes], kind="stable")
    kept = [boxes[place] for place in sorted(order[:MOST].tolist())]
    return [box for box in kept if box.weight != 0] or kept[:1]


def _named(estimator: Any) -> Iterator[_Box]:
    """Yield the kernels that are known before X is seen."""
    alone = estimator._is_one(estimator.kernels)
    rest = estimator.kernels if alone else estimator.kernel
    try:
        triples = [] if alone else [(str(n), k, str(m)) for n, k, m in estimator.kernels or []]
    except (TypeError, ValueError):  # fit will say what is wrong
        triples = []
    for name, kernel, modality in triples:
        yield _Box(name, kernel, f"sees {modality}")
    known = estimator.modalities if isinstance(estimator.modalities, Mapping) else {}
    seen = [modality for *_, modality in triples]
    for name in [str(name) for name in known if str(name) not in seen]:
        yield _Box(name, rest, f"sees {name}")
    if not known:
        yield _Box("every other modality" if triples else "every modality", rest, "")


def _fitted(estimator: Any) -> Iterator[_Box]:
    """Yield the kernels that were resolved, with their weights if they have any."""
    weights: list[Any] = [None] * len(estimator.kernels_)
    if _weighed(estimator):
        weights = np.atleast_2d(estimator.kernel_weights_).mean(axis=0).tolist()
    found = (estimator.kernel_names_, estimator.kernels_, estimator.kernel_modalities_, weights)
    for name, kernel, modality, weight in zip(*found, strict=True):
        chosen = estimator.modalities_[modality]
        columns = columns_text(chosen if isinstance(chosen, list) else [chosen])
        yield _Box(name, kernel, f"sees {modality}\n{columns}", weight)


def _weighed(estimator: Any) -> bool:
    """Tell whether each kernel has a weight of its own."""
    return hasattr(estimator, "kernel_weights_") and estimator._way.form == "linear"


def _below(estimator: Any) -> list[Any]:
    """Return the combination and the machine, of an estimator that has them."""
    weighting = getattr(estimator, "weighting", None)
    if weighting is None:
        return []
    how = f"weighting: {_word(weighting)}"
    if isinstance(weighting, str) and weighting in SOLVED:
        how += f", norm={estimator.norm!r}"
    sums = estimator.modality_weights_ if _weighed(estimator) else {}
    shares = "\n".join(f"{name}: {_share(np.mean(weight))}" for name, weight in sums.items())
    settings = {name: getattr(estimator, name) for name in MACHINE if hasattr(estimator, name)}
    machine = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return [single(how, shares), single(machine)]


def _share(weight: Any) -> str:
    """Write a weight, of which only none is 0."""
    return "0" if weight < 1e-12 else f"{max(weight, 0.001):.3f}"


def _word(weighting: Any) -> str:
    """Name a way to weigh."""
    if isinstance(weighting, str):
        return weighting
    return getattr(weighting, "__name__", "own") if callable(weighting) else "given"


def _short(kernel: Any) -> str:
    name = getattr(kernel, "__name__", str(kernel))
    return type(kernel).__name__ if isinstance(kernel, Kernel) else name
