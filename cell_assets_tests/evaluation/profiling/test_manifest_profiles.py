"""Profiles get the splits of their wells, in whatever order they stand."""

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.manifest_profiles import with_manifest
from cell_assets.evaluation.profiling.well_manifest import COMPOUND_SPLIT, PLATE_SPLIT
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets_tests.evaluation.profiling.screens import screen


def test_each_profile_gets_the_row_of_its_well() -> None:
    wells = screen()
    order = np.random.default_rng(0).permutation(len(wells))[:30]
    bare = pd.DataFrame({name: wells[name].iloc[order].astype(object).to_numpy() for name in (PLATE, WELL)})
    found = with_manifest(Profiles(bare, order[:, None] + 1.0, ("Cells_A",)), wells)
    expected = wells.iloc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.metadata, expected)
    assert {COMPOUND_SPLIT, PLATE_SPLIT} <= set(found.metadata.columns)
    assert found.features.ravel().tolist() == (order + 1.0).tolist()


def test_a_well_that_is_not_listed_is_named() -> None:
    wells = screen()
    profiles = Profiles(wells, np.ones((len(wells), 1)), ("Cells_A",))
    with pytest.raises(
        BadInputError, match="well A0 of plate P0 has a profile and is not in the well manifest"
    ):
        with_manifest(profiles, wells.iloc[1:])
