"""Profiles of one plate, told in spreads of its own negative controls."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.cytominer import normalize
from cell_assets.evaluation.profiling.well_manifest import IS_CONTROL
from cell_assets.imaging.feature_tables.columns import METADATA

MIN_CONTROLS = 3
"""Wells: of two, the median absolute deviation is that of either."""
_RESOLVED = 1e-6
"""Of a feature's greatest value: single-cell features are float32, which resolve a little less."""


@dataclass(frozen=True)
class Normalized:
    """Profiles in the units of the controls' spread."""

    table: pd.DataFrame
    """`Metadata_*` as they were, then P features."""
    constant: tuple[str, ...]
    """Features in which the controls do not differ, so that there is no spread to measure in; they are left out."""


def require_controls(wells: pd.DataFrame, plate: str) -> None:
    """Refuse a plate of which too few negative controls are left.

    Raises:
        BadInputError: they are fewer than `MIN_CONTROLS`.
    """
    n = int(wells[IS_CONTROL].sum())
    if n < MIN_CONTROLS:
        raise BadInputError(
            f"plate {plate}: {n} negative control wells have cells, and {MIN_CONTROLS} are needed to normalise the "
            "others by; say in its plate map which wells are controls"
        )


def normalized_to_controls(table: pd.DataFrame, plate: str) -> Normalized:
    """Minus the median and over the median absolute deviation × 1.4826 of the control wells: pycytominer's RobustMAD.

    Args:
        table: W wells with `Metadata_IsControl`; all columns that are no metadata are features.

    Raises:
        BadInputError: there are too few control wells, or they differ in no feature.
    """
    require_controls(table, plate)
    controls = table[table[IS_CONTROL].to_numpy(np.bool_)]
    features = [name for name in table.columns if not name.startswith(METADATA)]
    own = controls[features].to_numpy()
    spread = np.median(np.abs(own - np.median(own, 0)), 0)
    varies = spread > _RESOLVED * np.abs(own).max(0)
    kept = [name for name, one in zip(features, varies, strict=True) if one]
    if not kept:
        raise BadInputError(
            f"plate {plate}: its {len(controls)} control wells differ in none of {len(features)} features; is one well "
            "listed several times?"
        )
    known = [name for name in table.columns if name.startswith(METADATA)]
    found = normalize(
        table[[*known, *kept]],
        features=kept,
        meta_features=known,
        samples=f"{IS_CONTROL} == True",
        method="mad_robustize",
        mad_robustize_epsilon=0.0,
    )
    constant = tuple(name for name, one in zip(features, varies, strict=True) if not one)
    return Normalized(cast(pd.DataFrame, found), constant)
