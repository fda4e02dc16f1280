"""What a well manifest says of wells reaches the study of published profiles: splits, doses and batches."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.mean_profiles import write_given_profiles
from cell_assets.evaluation.profiling.profile_parameters import (
    ProfileReportParameters,
    ProfileSelectionParameters,
)
from cell_assets.evaluation.profiling.profile_study import ProfileStudy
from cell_assets.evaluation.profiling.profile_tasks import Task
from cell_assets.evaluation.profiling.published_profiles import (
    SIMILARITY_FUSION,
    ProfileFolders,
    PublishedProfiles,
    study_published_profiles,
)
from cell_assets.evaluation.profiling.well_manifest import (
    BATCH,
    COMPOUND,
    COMPOUND_SPLIT,
    DOSE_SPLIT,
    IS_CONTROL,
    MOA,
    PLATE_SPLIT,
    WellSplitParameters,
    with_batch,
    write_well_manifest,
)
from cell_assets.evaluation.profiling.well_representations import Representation
from cell_assets.evaluation.retrieval.fusion_parameters import SimilarityFusionParameters
from cell_assets.evaluation.retrieval.similarity_fusion import fused_similarity
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets_tests.evaluation.profiling.screens import KINDS, QUICK, dose_series, profiles, with_fusion

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


def of_fusion(folders: ProfileFolders, fusion: SimilarityFusionParameters | None) -> PublishedProfiles:
    parameters = ProfileReportParameters(
        study=QUICK, selection=ProfileSelectionParameters(steps=()), similarity_fusion=fusion
    )
    return study_published_profiles("cytosummary", folders, parameters)


def precisions(profiles: pd.DataFrame, fusion: SimilarityFusionParameters) -> list[float]:
    """Of mechanisms, by hand: fused from the cosines of each kind, ranked without the own compound."""
    distances = []
    for kind in KINDS:
        values = profiles[[f"Cells_{name}" for name in kind]].to_numpy()
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        distances.append(np.clip(1 - unit @ unit.T, 0, None))
        np.fill_diagonal(distances[-1], 0)
    fused = fused_similarity(distances, fusion)
    compound, mechanism = profiles[COMPOUND].to_numpy(str), profiles[MOA].to_numpy(str)
    return [
        float(average_precision_score(mechanism[others] == mechanism[row], fused[row, others]))
        for row in range(len(profiles))
        for others in [compound != compound[row]]
    ]


def test_similarities_are_fused_of_exactly_what_a_question_ranks(tmp_path: Path) -> None:
    folders, table = with_fusion(tmp_path)
    fusion = SimilarityFusionParameters(neighbours=4, iterations=5)
    found = of_fusion(folders, fusion)
    treated = table[~table[IS_CONTROL].astype(bool)]
    features = [name for name in table.columns if name.startswith("Cells_")]

    def treatments(wells: pd.DataFrame) -> pd.DataFrame:
        return wells.groupby([COMPOUND, MOA])[features].median().reset_index()

    stated = {(one.report, one.name, one.split): one.value for one in found.numbers}
    about = f"cytosummary/{SIMILARITY_FUSION}"
    of_all = precisions(treatments(treated), fusion)
    assert stated[f"{about}/mechanism", "mean_average_precision", "all compounds"] == pytest.approx(
        np.mean(of_all)
    )
    by_plate = [precisions(treatments(own), fusion) for _, own in treated.groupby(PLATE)]
    on_plate = stated[f"{about}/mechanism_on_plate", "mean_average_precision", "all compounds"]
    assert on_plate == pytest.approx(np.mean(by_plate))
    both = treated.groupby([PLATE, COMPOUND, MOA])[features].median().reset_index()
    of_plates = stated[f"{about}/mechanism_of_plates", "mean_average_precision", "all compounds"]
    assert of_plates == pytest.approx(np.mean(precisions(both, fusion)))
    assert len({round(float(np.mean(one)), 6) for one in (of_all, by_plate, precisions(both, fusion))}) == 3
    assert found.study.n_features[SIMILARITY_FUSION] == 9
    assert any("3 kinds here" in note and "Rohban et al. (2019)" in note for note in found.notes)
    # Left out, it is missed by no other number.
    without = of_fusion(folders, None)
    assert [one for one in found.numbers if SIMILARITY_FUSION not in one.report] == list(without.numbers)
    assert not any("fus" in note for note in without.notes)


def test_a_treatment_that_is_0_in_one_kind_takes_nothing_from_other_representations(tmp_path: Path) -> None:
    # No well is 0 in all covariances, and the medians of c0 are, over all plates and on each.
    covariances = np.zeros((4, 3))
    covariances[:, 0] = [1, -1, 1, -1]
    folders, _ = with_fusion(tmp_path, covariances_of_c0=covariances)
    found, without = (of_fusion(folders, fusion) for fusion in (SimilarityFusionParameters(), None))
    assert [one for one in found.numbers if SIMILARITY_FUSION not in one.report] == list(without.numbers)
    fused, beside = (
        {one.name: one for one in found.numbers if one.report == f"cytosummary/{name}/mechanism"}
        for name in (SIMILARITY_FUSION, Representation.FUSION.value)
    )
    assert fused["mean_average_precision"].value != beside["mean_average_precision"].value
    assert fused["mean_average_precision"].n == beside["mean_average_precision"].n == 10


def test_of_one_kind_nothing_is_fused_and_the_notes_say_so(tmp_path: Path) -> None:
    folders, _ = with_fusion(tmp_path, n_kinds=1)
    found = of_fusion(folders, SimilarityFusionParameters())
    assert found.study.representations == ("mean", "fusion")
    assert [one.partition(" of features")[0] for one in found.notes] == [
        "Similarities are not fused: 1 kinds"
    ]
