"""Models by name: fitted on the samples that they hear, asked, and asked out of fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import Bunch, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import _check_method_params

from ._diagram import columns_text, picture
from ._folds import Split
from ._models import concerning, fit_expert, named_by_modality, weight_params
from ._parallel import delayed, single_blas_thread
from ._selectors import Columns, as_list
from ._sharing import Sharing
from ._validation import listed, warn
from .modality import MultimodalMixin, presence, take_block

__all__ = ["Answer", "BaseExperts", "Voice", "joint_columns"]


class Answer(NamedTuple):
    """What one expert of one fold answers about the test rows that it hears."""

    rows: np.ndarray
    values: np.ndarray  # shape: (n_rows, width)
    classes: np.ndarray | None  # those that the expert has seen


def fit_and_ask(
    modality: str,
    expert: Any,
    block: Any,
    y: Any,
    params: Mapping[str, Any],
    ask: Callable[[str, Any, Any], Any],
    rows: np.ndarray,
    asked: Any,
) -> Answer:
    """Fit a model on the training rows of a fold, and return what it says of the test rows."""
    fit_expert(modality, expert, block, y, params)
    with concerning(modality), single_blas_thread:
        return Answer(rows, ask(modality, expert, asked), getattr(expert, "classes_", None))


class Voice(NamedTuple):
    """What an expert hears: some modalities, and whether it speaks only where all are there."""

    modalities: tuple[str, ...]
    whole: bool = True


class BaseExperts(Sharing, MultimodalMixin, _BaseComposition):
    """Models that each hear one modality or more: fitted on the samples that have it, and asked.

    A subclass says what its prototype is, when samples do not allow a fit, and which models
    there are beside those of the single modalities.
    """

    missing_modality = "skips"
    _without_modality: str

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the experts by ``modality__parameter`` among them.

        Parameters
        ----------
        deep : bool, default=True
            Include the parameters of the experts.

        Returns
        -------
        params : dict
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Any:
        """Set parameters; ``audio="drop"`` leaves a modality of ``estimators`` out.

        Parameters
        ----------
        **params : dict
            Parameters of the fusion, and of the experts as ``modality__parameter``.

        Returns
        -------
        self : object
        """
        self._set_params("estimators", **params)
        return self

    def _prototypes(self) -> dict[str, Any]:
        """Return the unfitted prototypes by the parameter that holds them."""
        return {"estimator": self._prototype()}

    def _experts(self) -> dict[str, Any]:
        """Return the unfitted experts that are named before X is seen, for tags and routing."""
        try:
            experts = dict(self.estimators or [])
        except (TypeError, ValueError):
            experts = {}
        named = {name: expert for name, expert in experts.items() if _is_model(expert)}
        return named | self._prototypes()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        experts = [get_tags(expert).input_tags for expert in self._experts().values()]
        tags.input_tags.allow_nan = all(expert.allow_nan for expert in experts)
        tags.input_tags.sparse = all(expert.sparse for expert in experts)
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata reach the experts.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        for name, expert in self._experts().items():
            router.add(**{name: expert}, method_mapping=mapping)
        return router

    def _sk_visual_block_(self) -> Any:
        """Return the picture that scikit-learn shows of this estimator."""
        if hasattr(self, "named_estimators_"):
            models = dict(self.named_estimators_)
            texts = {name: self._heard_text(name) for name in models}
        else:
            models = self._experts()
            texts = dict.fromkeys(models, "")
            if isinstance(self.modalities, Mapping):  # each is known by name, before X is seen
                prototype = models.pop("estimator")
                models = {**dict.fromkeys(self.modalities, prototype), **models}
                texts |= {name: str(selector) for name, selector in self.modalities.items()}
        return picture(models, texts, self._rule_picture())

    def _heard_text(self, name: str) -> str:
        """Describe what an expert hears: its columns, or its modalities."""
        heard = self._heard[name].modalities
        if len(heard) > 1:
            return f"hears {', '.join(heard)}"
        chosen = self.modalities_[heard[0]]
        return columns_text(chosen if isinstance(chosen, list) else [chosen])

    def _rule_picture(self) -> list[Any]:
        """Return what stands below the experts in the picture."""
        return []

    def _voices(self) -> dict[str, Voice]:
        """Return what each expert hears, those that are dropped among them."""
        return {name: Voice((name,)) for name in self._columns}

    def _prototype_of(self, name: str) -> str:
        """Return the parameter that holds the prototype of an expert."""
        return "estimator"

    def _chosen(self) -> dict[str, Any]:
        """Return the unfitted expert of each voice that is not dropped."""
        prototypes, voices = self._prototypes(), self._voices()
        chosen = named_by_modality("estimators", self.estimators, None, list(voices))
        for name in chosen:
            if name not in dict(self.estimators or []):
                chosen[name] = prototypes[self._prototype_of(name)]
        kept = {name: expert for name, expert in chosen.items() if not _is_drop(expert)}
        if not kept:
            raise ValueError("every modality is dropped: at least one must have a model")
        self._heard = {name: voices[name] for name in kept}
        return kept

    def _present(self, X: Any, names: Sequence[str]) -> np.ndarray:
        """Return which sample each expert speaks of: bool of shape (n_experts, n_samples)."""
        heard = dict.fromkeys(m for name in names for m in self._heard[name].modalities)
        found = presence(X, {name: self._columns[name] for name in heard})
        return self._speaking(dict(zip(heard, found, strict=True)), names)

    def _speaking(self, there: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        """Return who speaks of what, from which modality is there for which sample."""
        rows = []
        for name in names:
            voice = self._heard[name]
            own = np.array([there[modality] for modality in voice.modalities])
            rows.append(own.all(axis=0) if voice.whole else own.any(axis=0))
        return np.array(rows)

    def _block(self, X: Any, name: str, rows: np.ndarray) -> Any:
        """Return what an expert hears of some of the samples."""
        columns = [self._columns[modality] for modality in self._heard[name].modalities]
        return take_block(X, columns[0] if len(columns) == 1 else joint_columns(columns), rows)

    def _fit_experts(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        fit_params: dict[str, Any],
        chosen: dict[str, Any],
        splits: Sequence[Split] = (),
        ask: Callable[[str, Any, Any], Any] | None = None,
        groups: Any = None,
    ) -> tuple[dict[str, np.ndarray], dict[tuple[int, str], Answer]]:
        """Fit every expert on the samples that it hears, and once more for every split.

        Returns who has which, and by split and name what is said of the test rows.
        """
        routed = self._route(sample_weight, groups, fit_params)
        masks = dict(zip(chosen, self._present(X, list(chosen)), strict=True))
        counted = np.ones(len(y), bool) if sample_weight is None else sample_weight > 0
        fitted = self._fittable({name: y[masks[name] & counted] for name in chosen})
        params = {
            name: self._expert_params(name, chosen[name], routed, sample_weight) for name in fitted
        }

        def job(name: str, rows: np.ndarray) -> tuple[Any, ...]:
            own = _check_method_params(X, params[name], indices=np.flatnonzero(rows))
            expert = self._fresh(name, chosen[name])
            return name, expert, self._block(X, name, rows), y[rows], own

        asked = self._questions(y, counted, masks, fitted, splits)
        learnt = {
            (fold, name): _only(splits[fold][0], len(y)) & masks[name] for fold, name in asked
        }

        def fit(name: str) -> Any:
            return delayed(fit_expert)(*job(name, masks[name]))

        def fit_and_tell(place: tuple[int, str]) -> Any:
            name, test = place[1], asked[place]
            told = self._block(X, name, _only(test, len(y)))
            return delayed(fit_and_ask)(*job(name, learnt[place]), ask, test, told)

        jobs = [(self._key(name, masks[name]), partial(fit, name)) for name in fitted]
        jobs += [
            (self._key(name, learnt[fold, name], test), partial(fit_and_tell, (fold, name)))
            for (fold, name), test in asked.items()
        ]
        found = self._recall(
            jobs, n_jobs=self.n_jobs, progress="experts" if self.verbose else None
        )
        self._kept = fitted
        self._weighted = [name for name in fitted if _has_weights(params[name])]
        self.estimators_ = found[: len(fitted)]
        self.named_estimators_ = Bunch(**dict(zip(fitted, self.estimators_, strict=True)))
        return masks, dict(zip(asked, found[len(fitted) :], strict=True))

    def _key(self, name: str, *rows: np.ndarray) -> tuple[Any, ...]:
        """Return what tells an expert's work apart: what it hears, and of which rows."""
        return self._heard[name].modalities, name, *(own.tobytes() for own in rows)

    def _questions(
        self,
        y: np.ndarray,
        counted: np.ndarray,
        masks: dict[str, np.ndarray],
        fitted: list[str],
        splits: Sequence[Split],
    ) -> dict[tuple[int, str], np.ndarray]:
        """Return the test rows of every split that each expert hears, where it can be fitted."""
        found = {}
        for fold, (train, test) in enumerate(splits):
            for name in fitted:
                heard = test[masks[name][test]]
                learnt = train[masks[name][train] & counted[train]]
                if len(heard) and not self._unfit(y[learnt]):
                    found[fold, name] = heard
        return found

    def _fresh(self, name: str, expert: Any) -> Any:
        """Return an unfitted copy of an expert."""
        return clone(expert)

    def _fittable(self, targets: dict[str, np.ndarray]) -> list[str]:
        """Return the modalities whose samples allow a fit; warn of the others."""
        reasons = {name: self._unfit(y) for name, y in targets.items()}
        if all(reasons.values()):
            raise ValueError(
                "no modality can be fitted: "
                + "; ".join(f"{name!r} {reason}" for name, reason in reasons.items())
            )
        for name, reason in reasons.items():
            if reason:
                warn(f"modality {name!r} {reason} and is left out of the fusion")
        return [name for name, reason in reasons.items() if not reason]

    def _route(self, sample_weight: Any, groups: Any, fit_params: dict[str, Any]) -> Any:
        _raise_for_params(fit_params, self, "fit")
        if not _routing_enabled():
            return None
        if sample_weight is not None:
            fit_params = {**fit_params, "sample_weight": sample_weight}
        if groups is not None and self.get_metadata_routing().consumes("fit", ["groups"]):
            fit_params = {**fit_params, "groups": groups}
        routed = process_routing(self, "fit", **fit_params)
        return {name: own["fit"] for name, own in routed.items()}

    def _expert_params(
        self, name: str, expert: Any, routed: Any, sample_weight: np.ndarray | None
    ) -> dict[str, Any]:
        if routed is not None:
            own = name in dict(self.estimators or [])
            return dict(routed[name if own else self._prototype_of(name)])
        if sample_weight is None:
            return {}
        params = weight_params(self._fresh(name, expert), sample_weight)
        if params is None:
            warn(
                f"the model of modality {name!r} ({type(expert).__name__}) takes no "
                "sample_weight and is fitted without"
            )
        return params or {}

    def _ask(self, X: Any, ask: Callable[[str, Any, Any], Any]) -> tuple[list[Any], np.ndarray]:
        """Return what each expert answers for the samples that it hears, and which these are."""
        mask = self._present(X, self._kept)
        silent = int((~mask.any(axis=0)).sum())
        if silent:
            warn(
                f"{silent} of {mask.shape[1]} samples have none of the modalities "
                f"{listed(self._kept)}; they get {self._without_modality}"
            )
        asked = {name: rows for name, rows in zip(self._kept, mask, strict=True) if rows.any()}

        def answer(name: str, rows: np.ndarray) -> Any:
            block = self._block(X, name, rows)
            with concerning(name), single_blas_thread:
                return ask(name, self.named_estimators_[name], block)

        table = self._asked(X)
        jobs = [
            (("answer", table, *self._key(name, rows)), partial(delayed(answer), name, rows))
            for name, rows in asked.items()
        ]
        found = dict(zip(asked, self._recall(jobs, n_jobs=self.n_jobs, threads=True), strict=True))
        return [found.get(name) for name in self._kept], mask


def joint_columns(columns: Sequence[Columns]) -> list[int]:
    """Return the columns of several modalities, each once."""
    return list(dict.fromkeys(j for own in columns for j in as_list(own)))


def _only(rows: np.ndarray, n_samples: int) -> np.ndarray:
    mask = np.zeros(n_samples, bool)
    mask[rows] = True
    return mask


def _has_weights(params: Mapping[str, Any]) -> bool:
    return any(key.split("__")[-1] == "sample_weight" for key in params)


def _is_drop(expert: Any) -> bool:
    return isinstance(expert, str) and expert == "drop"


def _is_model(expert: Any) -> bool:
    return hasattr(expert, "fit")
