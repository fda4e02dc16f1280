"""Simulated cells around profiles: each difference is what it says, and is nothing else."""

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.retrieval.profiles import Profiles
from cell_assets.imaging.feature_tables.columns import is_feature
from cell_assets.simulation.cell_populations import (
    Difference,
    Object,
    PopulationParameters,
    Screen,
    SimulatedWell,
    simulate_populations,
    table_of,
)

D = 30
CLEAN = PopulationParameters(
    cells_per_well=20_000, debris_share=0, most_debris=0, plate_offset=0, plate_mixing=0
)


def wells() -> Profiles:
    """Two plates of a control well and two compounds of each of four mechanisms."""
    rows = [("control", "none")] + [(f"m{i}", f"c{i}{j}") for i in range(4) for j in range(2)]
    metadata = pd.DataFrame(
        [(plate, compound, moa) for plate in "PQ" for moa, compound in rows],
        columns=["Metadata_Plate", "Metadata_Compound", "Metadata_moa"],
    )
    features = np.random.default_rng(0).normal(size=(len(metadata), D)) * 5
    return Profiles(metadata, features, tuple(f"Cells_Texture_{i}" for i in range(D)))


SCREEN = Screen.of(wells(), "control", seed=3)


def simulated(parameters: PopulationParameters = CLEAN) -> dict[str, list[SimulatedWell]]:
    """The wells of every difference, and of the control as `none`."""
    found: dict[str, list[SimulatedWell]] = {}
    for well in simulate_populations(SCREEN, parameters):
        difference = SCREEN.differences.get(SCREEN.wells.metadata["Metadata_moa"][well.row])
        found.setdefault("none" if difference is None else difference.value, []).append(well)
    return found


def test_mechanisms_take_the_differences_in_turn() -> None:
    assert sorted(SCREEN.differences) == ["m0", "m1", "m2", "m3"]
    assert sorted(SCREEN.differences.values()) == sorted(Difference)
    assert Screen.of(wells(), "control", seed=3).differences == SCREEN.differences
    with pytest.raises(BadInputError, match="plates P, Q have no well of DMSO"):
        Screen.of(wells(), "DMSO", seed=3)


def test_untreated_cells_are_of_unit_variance_around_the_measured_profile() -> None:
    for difference in ("none", "mean", "debris"):
        for well in simulated()[difference]:
            expected = CLEAN.mean_scale * SCREEN.wells.features[well.row]
            np.testing.assert_allclose(well.features.mean(0), expected, atol=0.05)
            np.testing.assert_allclose(well.features.std(0), 1, atol=0.05)
            assert (well.objects == Object.CELL).all()


def test_covariance_changes_correlations_and_neither_mean_nor_variance() -> None:
    found = simulated()
    controls = {SCREEN.wells.metadata["Metadata_Plate"][well.row]: well for well in found["none"]}
    for well in found["covariance"]:
        control = controls[SCREEN.wells.metadata["Metadata_Plate"][well.row]]
        np.testing.assert_allclose(well.features.mean(0), control.features.mean(0), atol=0.06)
        np.testing.assert_allclose(well.features.std(0), 1, atol=0.05)
        change = np.corrcoef(well.features.T) - np.corrcoef(control.features.T)
        assert np.abs(change).max() > 0.15
    one, other = (
        well for well in found["covariance"] if SCREEN.wells.metadata["Metadata_Plate"][well.row] == "P"
    )
    alike = np.corrcoef(np.corrcoef(one.features.T).ravel(), np.corrcoef(other.features.T).ravel())[0, 1]
    assert alike > 0.95


def test_a_subpopulation_moves_away_and_leaves_the_mean() -> None:
    found = simulated()
    controls = {SCREEN.wells.metadata["Metadata_Plate"][well.row]: well for well in found["none"]}
    for well in found["subpopulation"]:
        control = controls[SCREEN.wells.metadata["Metadata_Plate"][well.row]]
        np.testing.assert_allclose(well.features.mean(0), control.features.mean(0), atol=0.06)
        moved = well.objects == Object.SUBPOPULATION
        assert moved.mean() == pytest.approx(CLEAN.subpopulation_share, abs=0.01)
        away = well.features[moved].mean(0) - well.features[~moved].mean(0)
        assert np.abs(away).max() > 0.8


def test_debris_is_a_share_of_its_own_in_every_well_and_stands_out_by_its_norm() -> None:
    parameters = CLEAN.model_copy(update={"debris_share": 0.02, "most_debris": 0.5, "cells_per_well": 3000})
    found = simulated(parameters)
    for difference, several in found.items():
        shares = [np.mean(well.objects >= Object.BRIGHT_DEBRIS) for well in several]
        if difference == "debris":
            assert max(shares) > 0.2 and np.ptp(shares) > 0.1
        else:
            assert shares == pytest.approx([0.02] * len(shares), abs=0.015)
        for well in several:
            norm = np.linalg.norm(well.features, axis=1)
            cell, bright, faint = (
                np.median(norm[well.objects == one])
                for one in (Object.CELL, Object.BRIGHT_DEBRIS, Object.FAINT_DEBRIS)
            )
            assert bright > 2.5 * cell and faint < 0.3 * cell


def test_equal_seeds_give_equal_cells_and_density_their_number() -> None:
    few = PopulationParameters(cells_per_well=60)
    one, other = (list(simulate_populations(SCREEN, few)) for _ in range(2))
    assert all(np.array_equal(a.features, b.features) for a, b in zip(one, other, strict=True))
    third = next(iter(simulate_populations(SCREEN, few.model_copy(update={"seed": 1}))))
    assert not np.array_equal(third.features[:20], one[0].features[:20])
    halved = list(simulate_populations(SCREEN, few.model_copy(update={"density": 0.5})))
    ratio = sum(len(well.objects) for well in halved) / sum(len(well.objects) for well in one)
    assert ratio == pytest.approx(0.5, abs=0.08)
    assert min(len(well.objects) for well in halved) >= 20


def test_a_plate_moves_all_its_wells_alike() -> None:
    still = list(simulate_populations(SCREEN, CLEAN.model_copy(update={"cells_per_well": 200})))
    moved = list(
        simulate_populations(SCREEN, CLEAN.model_copy(update={"cells_per_well": 200, "plate_offset": 0.5}))
    )
    offsets = {}
    for a, b in zip(still, moved, strict=True):
        difference = b.features - a.features
        np.testing.assert_allclose(difference, difference[:1].repeat(len(difference), 0), atol=1e-5)
        offsets.setdefault(SCREEN.wells.metadata["Metadata_Plate"][a.row], []).append(difference[0])
    assert all(np.ptp(np.stack(of_plate), axis=0).max() < 1e-5 for of_plate in offsets.values())
    assert np.abs(offsets["P"][0] - offsets["Q"][0]).max() > 0.1


def test_a_table_names_features_as_cellprofiler_does_and_says_the_truth() -> None:
    well = next(iter(simulate_populations(SCREEN, PopulationParameters(cells_per_well=60))))
    table = table_of(SCREEN, well)
    assert sum(map(is_feature, table.columns)) == D and len(table) == len(well.objects)
    assert (
        table["Metadata_Plate"].eq("P").all()
        and table["Metadata_TrueObject"].tolist() == well.objects.tolist()
    )
