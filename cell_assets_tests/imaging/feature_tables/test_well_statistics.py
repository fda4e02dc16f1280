"""From feature tables to profiles of wells: what is selected, what is dropped, and every statistic against pandas."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables import well_statistics
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.cellprofiler_sqlite import CellProfilerDatabase
from cell_assets.imaging.feature_tables.feature_table import write_feature_table
from cell_assets.imaging.feature_tables.selection import SelectionParameters, select_features, usable_cells
from cell_assets.imaging.feature_tables.well_statistics import WellStatistic, cells_by_well, well_profiles
from cell_assets_tests.shared_data import shared_data

AREA, MEAN, ROUND = "Cells_AreaShape_Area", "Cells_Intensity_Mean", "Nuclei_AreaShape_FormFactor"


def table(folder: Path, wells: str, seed: int = 0, **columns: object) -> Path:
    """A feature table of one cell for every letter of `wells`."""
    random = np.random.default_rng(seed)
    n = len(wells)
    given = pd.DataFrame(
        {
            "Metadata_Plate": "P",
            "Metadata_Well": list(wells),
            "Metadata_ObjectNumber": np.arange(n),
            AREA: random.normal(size=n),
            MEAN: random.normal(size=n),
        }
        | columns
    )
    folder.mkdir()
    given.to_parquet(folder / "given.parquet")
    write_feature_table(CellParquet(folder / "given.parquet", rows_at_once=3), folder)
    return folder


def test_features_that_one_table_lacks_leave_all_and_are_named(tmp_path: Path) -> None:
    lacking = [np.nan, 1.0, 2, 3]
    tables = {
        "a": table(tmp_path / "a", "AABB", **{ROUND: [1.0, 2, 3, 4], "Cells_Texture_X": lacking}),
        "b": table(tmp_path / "b", "AABB", **{"Cells_Texture_X": [1.0, 2, 3, 4], "Cells_Flat": 7.0}),
    }
    found = select_features(tables)
    assert found.features == (AREA, MEAN)
    assert found.lost == {
        "a": {"Cells_Flat": "it is not measured", "Cells_Texture_X": "1 of 4 cells lack it"},
        "b": {ROUND: "it is not measured", "Cells_Flat": "it has one value in all cells"},
    }
    lenient = select_features(tables, SelectionParameters(max_missing_share=0.25))
    assert lenient.features == (AREA, MEAN, "Cells_Texture_X")
    usable = usable_cells(tables["a"], lenient.features)
    assert usable.rows.tolist() == [False, True, True, True]
    assert usable.dropped_by == {"Cells_Texture_X": 1}


def test_no_common_feature_is_named(tmp_path: Path) -> None:
    tables = {"a": table(tmp_path / "a", "AB", **{AREA: 1.0, MEAN: [np.nan, 2]})}
    with pytest.raises(BadInputError, match="no feature is left of 2 in 1 tables: a loses 2"):
        select_features(tables)


@given(wells=st.text("ABC", min_size=1, max_size=40), seed=st.integers(0, 100))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_statistic_against_pandas(
    wells: str, seed: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(well_statistics, "FEATURES_AT_ONCE", 1)
    folder = table(tmp_path_factory.mktemp("tables") / "t", wells, seed)
    found = well_profiles(cells_by_well(folder, np.ones(len(wells), bool)), (AREA, MEAN), list(WellStatistic))
    groups = pd.read_parquet(folder / "cells.parquet").groupby("Metadata_Well")[[AREA, MEAN]]
    expected = {
        WellStatistic.MEAN: groups.mean(),
        WellStatistic.MEDIAN: groups.median(),
        WellStatistic.SD: groups.std(ddof=0),
        WellStatistic.MAD: groups.agg(lambda column: (column - column.median()).abs().median()),
    }
    assert found.wells["Metadata_Well"].tolist() == sorted(set(wells))
    assert found.wells["Metadata_Count"].tolist() == groups.size().tolist()
    for statistic, values in expected.items():
        np.testing.assert_allclose(found.values[statistic], values, rtol=1e-5, atol=1e-6)


def test_a_dropped_cell_takes_its_own_metadata_with_it(tmp_path: Path) -> None:
    given = {AREA: [1.0, 10, 100, 1000], MEAN: [np.nan, 1, 1, 2]}
    folder = table(tmp_path / "t", "ABAB", **given)
    usable = usable_cells(folder, (AREA, MEAN))
    found = well_profiles(cells_by_well(folder, usable.rows), (AREA,), [WellStatistic.MEAN])
    assert found.values[WellStatistic.MEAN].ravel().tolist() == [100, 505]


def test_a_well_none_of_whose_cells_are_used_has_no_profile_and_is_named(tmp_path: Path) -> None:
    folder = table(tmp_path / "t", "BABC", **{AREA: [1.0, 10, 100, 1000]})
    cells = cells_by_well(folder, np.array([True, False, True, True]))
    assert cells.without == ("P|A",)
    found = well_profiles(cells, (AREA,), [WellStatistic.MEAN])
    assert found.wells["Metadata_Well"].tolist() == ["B", "C"]
    assert found.wells["Metadata_Count"].tolist() == [2, 1]
    assert found.values[WellStatistic.MEAN].ravel().tolist() == [50.5, 1000]


def test_real_cells_become_profiles_of_their_wells(tmp_path: Path) -> None:
    """A copy of the real database in which cells 17 and 18 of every image lack a value."""
    path = tmp_path / "nulls.sqlite"
    shutil.copy(shared_data("cellprofiler_sqlite") / "all_cellprofiler.sqlite", path)
    path.chmod(0o644)
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(
            "UPDATE Per_Cells SET Cells_AreaShape_Area = NULL WHERE Cells_Number_Object_Number IN (17, 18)"
        )
        sql.commit()
        (lacking,) = sql.execute(
            "SELECT count(*) FROM Per_Cells WHERE Cells_AreaShape_Area IS NULL"
        ).fetchone()
        by_well = sql.execute(
            "SELECT Image_Metadata_Well, count(*), avg(Cells_AreaShape_Area) FROM Per_Image JOIN Per_Cells "
            "USING (ImageNumber) WHERE Cells_AreaShape_Area IS NOT NULL GROUP BY 1 ORDER BY 1"
        ).fetchall()
    write_feature_table(CellProfilerDatabase(path), tmp_path)
    chosen = select_features({"plate": tmp_path})
    usable = usable_cells(tmp_path, chosen.features)
    assert usable.dropped_by == {"Cells_AreaShape_Area": lacking} and lacking > 0
    found = well_profiles(
        cells_by_well(tmp_path, usable.rows), chosen.features, [WellStatistic.MEAN, WellStatistic.MEDIAN]
    )
    area = found.values[WellStatistic.MEAN][:, chosen.features.index("Cells_AreaShape_Area")]
    wells, counts, means = zip(*by_well, strict=True)
    assert found.wells["Metadata_Well"].tolist() == list(wells)
    assert found.wells["Metadata_Count"].tolist() == list(counts) and sum(counts) == 242 - lacking
    np.testing.assert_allclose(area, means, rtol=1e-6)
    cells = pd.read_parquet(tmp_path / "cells.parquet").dropna(subset="Cells_AreaShape_Area")
    expected = cells.groupby("Metadata_Well")[list(chosen.features)].median()
    assert found.values[WellStatistic.MEDIAN].shape == (8, len(chosen.features))
    np.testing.assert_allclose(found.values[WellStatistic.MEDIAN], expected, rtol=1e-5)
