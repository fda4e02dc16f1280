"""Profiles with what the experiment's well manifest says of their wells."""

import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.evaluation.units import require_columns
from cell_assets.imaging.feature_tables.columns import PLATE, WELL


def with_manifest(profiles: Profiles, wells: pd.DataFrame) -> Profiles:
    """The same profiles; what is known of them is the manifest's alone, its splits included.

    Args:
        wells: of a well manifest, one row for each well.

    Raises:
        BadInputError: a profile is of a well that the manifest does not list.
    """
    require_columns(profiles.metadata, [PLATE, WELL], "profiles'")
    listed = pd.MultiIndex.from_frame(wells[[PLATE, WELL]].astype(str))
    rows = listed.get_indexer(pd.MultiIndex.from_frame(profiles.metadata[[PLATE, WELL]].astype(str)))
    if (rows < 0).any():
        strange = profiles.metadata[rows < 0].iloc[0]
        raise BadInputError(
            f"well {strange[WELL]} of plate {strange[PLATE]} has a profile and is not in the well manifest; make the "
            "manifest again"
        )
    return Profiles(wells.iloc[rows].reset_index(drop=True), profiles.features, profiles.names)
