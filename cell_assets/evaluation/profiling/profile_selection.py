"""Which features of several plates' profiles are compared: those that all have, of which pycytominer keeps a part."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.cytominer import feature_select
from cell_assets.evaluation.profiling.mean_profiles import read_plate_profiles
from cell_assets.evaluation.profiling.profile_parameters import ProfileSelectionParameters, SelectionStep
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.profiles import Profiles

_WHY = {
    SelectionStep.MISSING: "it is missing in too many wells",
    SelectionStep.BLOCKLIST: "pycytominer's blocklist names it",
    SelectionStep.VARIANCE: "it hardly varies between wells",
    SelectionStep.CORRELATION: "another feature says the same",
}


_MIN_VARIANCE = 1e-6
"""pycytominer's own default."""


@dataclass(frozen=True)
class SelectedProfiles:
    """Profiles of all plates in the same features."""

    profiles: Profiles
    lost: Mapping[str, str]
    """Features that some plate had and that are not used, and why."""
    notes: tuple[str, ...]
    """Steps that were left out, and why."""


DEFAULT_PROFILE_SELECTION = ProfileSelectionParameters()


def selected(
    by_plate: Mapping[str, Profiles], parameters: ProfileSelectionParameters = DEFAULT_PROFILE_SELECTION
) -> SelectedProfiles:
    """The wells of all plates (by name, in this order) with the features that all have, less those that pycytominer
    leaves out. It looks at all wells and at no label.

    Raises:
        BadInputError: no feature is left.
    """
    if not by_plate:
        raise BadInputError("there are no profiles of any plate; give those of one at least")
    lost: dict[str, str] = {}
    for plate, profiles in by_plate.items():
        has = set(profiles.names)
        for name in (name for other in by_plate.values() for name in other.names):
            if name not in has:
                lost.setdefault(name, f"plate {plate} has no such feature")
    names = [name for name in next(iter(by_plate.values())).names if name not in lost]
    _refuse_none(names, lost)
    table = pd.concat(
        [
            pd.DataFrame(one.features, columns=list(one.names))[names].assign(**one.metadata)
            for one in by_plate.values()
        ],
        ignore_index=True,
    )
    metadata = table.drop(columns=names)
    notes = []
    for step in parameters.steps:
        if step is SelectionStep.CORRELATION and len(names) > parameters.max_correlated_features:
            notes.append(
                f"features that correlate are kept: {len(names)} have too many pairs (more than "
                f"{parameters.max_correlated_features} features)"
            )
            continue
        kept = set(_kept(table[names], step, parameters))
        lost |= {name: _WHY[step] for name in names if name not in kept}
        names = [name for name in names if name in kept]
        _refuse_none(names, lost)
    return SelectedProfiles(
        Profiles(metadata, table[names].to_numpy("float64"), tuple(names)), lost, tuple(notes)
    )


def selected_profiles(
    mean_profiles: Mapping[str, Path], representation: Representation, selection: ProfileSelectionParameters
) -> SelectedProfiles:
    """One representation of the wells of all plates, in the features that are compared.

    Args:
        mean_profiles: published folders by plate.

    Raises:
        BadInputError: a plate has none, or no feature is left.
    """
    by_plate = {plate: read_plate_profiles(folder, representation) for plate, folder in mean_profiles.items()}
    return selected(by_plate, selection)


def _kept(features: pd.DataFrame, step: SelectionStep, parameters: ProfileSelectionParameters) -> list[str]:
    if step is SelectionStep.VARIANCE and (features.var(ddof=0) <= _MIN_VARIANCE).all():
        return []  # of which scikit-learn would complain
    left = feature_select(
        features,
        features=list(features.columns),
        operation=step.value,
        corr_threshold=parameters.max_correlation,
        min_variance=_MIN_VARIANCE,
    )
    return list(cast(pd.DataFrame, left).columns)


def _refuse_none(names: list[str], lost: Mapping[str, str]) -> None:
    if not names:
        name, why = next(iter(lost.items()))
        raise BadInputError(
            f"no feature of {len(lost)} is left ({name}: {why}); profile plates of one pipeline together, or take "
            "fewer steps of selection"
        )
