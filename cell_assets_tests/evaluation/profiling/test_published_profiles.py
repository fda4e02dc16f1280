"""What a well manifest says of wells reaches the study of published profiles: splits, doses and batches."""

from pathlib import Path

import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.mean_profiles import write_given_profiles
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileSelectionParameters,
)
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.published_profiles import ProfileFolders, study_published_profiles
from cell_assets.evaluation.profiling.well_manifest import (
    BATCH,
    COMPOUND_SPLIT,
    DOSE_SPLIT,
    PLATE_SPLIT,
    WellSplitParameters,
    with_batch,
    write_well_manifest,
)
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets_tests.evaluation.profiling.screens import QUICK, dose_series, profiles

BATCHES = {"P0": "week 1", "P1": "week 2"}


def studied(root: Path, wells: pd.DataFrame, own_batches: dict[str, str]) -> ProfileStudy:
    """Means of noise, published plate by plate with this manifest."""
    folders = {}
    plain = wells.drop(columns=[COMPOUND_SPLIT, PLATE_SPLIT, DOSE_SPLIT, BATCH], errors="ignore")
    for plate, of_plate in plain.groupby(PLATE):
        made = profiles(of_plate, seed=1)
        table = pd.concat(
            [
                of_plate[[WELL]].reset_index(drop=True),
                pd.DataFrame(made.features, columns=list(made.names)),
            ],
            axis=1,
        )
        folders[str(plate)] = root / str(plate)
        folders[str(plate)].mkdir(parents=True)
        write_given_profiles(table, str(plate), of_plate, folders[str(plate)])
    manifest = root / "manifest"
    manifest.mkdir()
    write_well_manifest("E", wells, dict.fromkeys(BATCHES, "d"), WellSplitParameters(), manifest)
    parameters = ProfileReportParameters(
        study=QUICK.model_copy(update={"batch_of_plate": own_batches}),
        selection=ProfileSelectionParameters(steps=()),
    )
    found = study_published_profiles(
        "cytosummary", ProfileFolders(folders, well_manifest=manifest), parameters
    )
    return found.study


def test_splits_doses_and_batches_are_those_of_the_manifest(tmp_path: Path) -> None:
    found = studied(tmp_path, with_batch(dose_series(), BATCHES), {})
    assert found.has_splits and found.holds_doses_out
    assert found.wells.groupby(PLATE)[BATCH].first().to_dict() == BATCHES
    other_batch = found.score(Task.MECHANISM_OTHER_BATCH, Representation.MEAN.value)
    assert other_batch.n_queries == 40 and other_batch.prevalence.value == pytest.approx(2 / 18)


def test_batches_that_the_study_names_stand_before_the_manifests(tmp_path: Path) -> None:
    found = studied(tmp_path, with_batch(dose_series(), BATCHES), {"P0": "a", "P1": "a"})
    assert set(found.wells[BATCH]) == {"a"}


def test_without_batches_nobody_asks_between_them(tmp_path: Path) -> None:
    found = studied(tmp_path, dose_series(), {})
    missing = found.score(Task.MECHANISM_OTHER_BATCH, Representation.MEAN.value).mean_average_precision
    assert missing.why_missing == "nobody says of which batch a plate is"


def test_a_plate_without_a_batch_is_named_in_the_manifest_too() -> None:
    with pytest.raises(BadInputError, match="batch_of_plate: plate P1 has no batch"):
        with_batch(dose_series(), {"P0": "week 1"})
