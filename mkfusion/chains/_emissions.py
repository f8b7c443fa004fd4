"""The families of emissions: what one state says about the values of one modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._validation import listed
from ._emission_base import Emission, Stream
from ._emission_discrete import CategoricalEmission, PoissonEmission
from ._emission_gaussian import GaussianEmission, GMMEmission

__all__ = [
    "EMISSIONS",
    "CategoricalEmission",
    "Emission",
    "GMMEmission",
    "GaussianEmission",
    "PoissonEmission",
    "Stream",
    "resolve_emission",
]

#: Every family of densities of a stream of a hidden Markov model, by its name.
EMISSIONS: dict[str, type[Emission]] = {
    family.family: family
    for family in (GaussianEmission, GMMEmission, CategoricalEmission, PoissonEmission)
}


def resolve_emission(emission: Any) -> tuple[type[Emission], dict[str, Any]]:
    """Return the family and its options, from a name, a class, or a pair of these and options."""
    options: Mapping[str, Any] = {}
    family = emission
    if isinstance(emission, tuple | list):
        if len(emission) != 2 or not isinstance(emission[1], Mapping):
            raise ValueError(
                "an emission is a name, or a pair of a name and a mapping of options, "
                f"got {emission!r}"
            )
        family, options = emission
    if isinstance(family, str):
        if family not in EMISSIONS:
            raise ValueError(f"emission must be one of {listed(EMISSIONS)}, got {family!r}")
        family = EMISSIONS[family]
    if not (isinstance(family, type) and issubclass(family, Emission)):
        raise TypeError(
            f"an emission is one of {listed(EMISSIONS)}, alone or with a mapping of options, "
            f"got {emission!r}"
        )
    unknown = set(options) - set(family.options)
    if unknown:
        raise ValueError(
            f"emission {family.family!r} has no options {listed(sorted(unknown))}; "
            f"it has {listed(family.options, 30)}"
        )
    return family, dict(options)
