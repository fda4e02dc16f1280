"""Databases as cytominer-database writes them, against SQL and pycytominer's own reader."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling import cytominer
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.cellprofiler_sqlite import CellProfilerDatabase
from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table
from cell_assets.imaging.feature_tables.selection import SelectionParameters, select_features, usable_cells
from cell_assets.imaging.feature_tables.well_statistics import WellStatistic, cells_by_well, well_profiles
from cell_assets_tests.imaging.feature_tables.cytominer_database import (
    FEATURES,
    MISSING,
    WHOLE,
    WITHOUT_NUCLEUS,
    write_cytominer_database,
)

NUMBERS = (7, 4, 19, 2**62 + 1)
DIGESTS = ("d8", "0a", "41", "b2")
KEYS = ["Metadata_TableNumber", "Metadata_ImageNumber", "Metadata_Cells_Number_Object_Number"]
WHOLE_CELLS = """
    FROM Cytoplasm y JOIN Image i USING (TableNumber, ImageNumber)
    JOIN Cells c ON c.TableNumber = y.TableNumber AND c.ImageNumber = y.ImageNumber
    AND c.ObjectNumber = y.Cytoplasm_Parent_Cells
    JOIN Nuclei n ON n.TableNumber = y.TableNumber AND n.ImageNumber = y.ImageNumber
    AND n.ObjectNumber = y.Cytoplasm_Parent_Nuclei
"""


def merged_by_pycytominer(path: Path, metadata: str) -> pd.DataFrame:
    # Not before `cytominer`, which takes back what importing pycytominer changes.
    assert cytominer
    from pycytominer.cyto_utils.cells import SingleCells

    strata = [f"{metadata}Plate", f"{metadata}Well"]
    cells = SingleCells(f"sqlite:///{path}", strata, image_cols=["TableNumber", "ImageNumber"])
    try:
        merged: pd.DataFrame = cells.merge_single_cells()
    finally:
        cells.conn.close()
        cells.engine.dispose()
    return merged


@pytest.mark.parametrize("images_at_once", [1, 3, 64])
@pytest.mark.parametrize(
    ("tables", "metadata"),
    [(NUMBERS, "Metadata_"), (DIGESTS, "Metadata_"), (DIGESTS, "Image_Metadata_")],
)
def test_a_database_agrees_with_sql_and_pycytominer(
    tables: Sequence[object], metadata: str, images_at_once: int, tmp_path: Path
) -> None:
    from pycytominer.aggregate import aggregate

    path = write_cytominer_database(tmp_path / "plate.sqlite", tables, metadata)
    record = write_feature_table(CellProfilerDatabase(path, images_at_once), tmp_path)
    found = pd.read_parquet(tmp_path / "cells.parquet")
    with closing(sqlite3.connect(path)) as sql:
        expected = pd.read_sql(
            f"SELECT c.TableNumber, c.ImageNumber, c.ObjectNumber, {metadata}Well AS well, {metadata}Site AS site, "
            f"{', '.join(FEATURES)} {WHOLE_CELLS} ORDER BY 1, 2, 3",
            sql,
        ).replace("nan", np.nan)
        rows = {
            name: sql.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in ("Cells", "Cytoplasm", "Nuclei")
        }
    assert record.cells == len(found) == len(expected) == WHOLE
    assert record.left_over == {name: n - WHOLE for name, n in rows.items()}
    assert record.left_over["Cells"] == WITHOUT_NUCLEUS
    assert record.features == len(FEATURES)
    assert [name for name in found.columns if not name.startswith("Metadata_")] == list(FEATURES)
    assert found[KEYS].to_numpy().tolist() == expected.iloc[:, :3].to_numpy().tolist()
    assert found["Metadata_Well"].tolist() == expected["well"].tolist()
    assert found["Metadata_Site"].tolist() == expected["site"].tolist()
    np.testing.assert_array_equal(found[list(FEATURES)], expected[list(FEATURES)].astype(np.float32))

    merged = merged_by_pycytominer(path, metadata)
    assert len(merged) == record.cells
    lacking = merged[list(FEATURES)].isna().sum()
    assert record.missing == lacking[lacking > 0].to_dict() == MISSING
    features = select_features({"plate": tmp_path}, SelectionParameters(max_missing_share=0.5)).features
    cells = cells_by_well(tmp_path, usable_cells(tmp_path, features).rows)
    ours = well_profiles(cells, features, (WellStatistic.MEAN, WellStatistic.MEDIAN))
    assert features == FEATURES and ours.wells["Metadata_Well"].tolist() == ["A01", "B02"]
    complete = merged.dropna(subset=list(FEATURES))
    for statistic, values in ours.values.items():
        theirs = aggregate(
            complete, [f"{metadata}Plate", f"{metadata}Well"], list(FEATURES), operation=statistic
        )
        assert theirs[f"{metadata}Well"].tolist() == ["A01", "B02"]
        np.testing.assert_allclose(values, theirs[list(FEATURES)], rtol=1e-6, atol=1e-7)


def test_batches_decide_no_value(tmp_path: Path) -> None:
    path = write_cytominer_database(tmp_path / "plate.sqlite", DIGESTS)
    tables = []
    for number, images in enumerate((1, 64)):
        (out := tmp_path / str(number)).mkdir()
        write_feature_table(CellProfilerDatabase(path, images), out)
        tables.append(pq.read_table(out / "cells.parquet"))
    assert tables[0].equals(tables[1])


def test_parquet_of_such_cells_is_numbered_by_tables_too(tmp_path: Path) -> None:
    path = write_cytominer_database(tmp_path / "plate.sqlite", NUMBERS)
    write_feature_table(open_source(path), tmp_path)
    # Without sites, cells of two tables of one well differ in TableNumber alone.
    known = pd.read_parquet(tmp_path / "cells.parquet").drop(columns="Metadata_Site")
    known.to_parquet(tmp_path / "given.parquet")
    source = CellParquet(tmp_path / "given.parquet")
    assert set(KEYS) <= set(source.keys)
    assert write_feature_table(source, tmp_path).cells == WHOLE
    known.drop(columns="Metadata_TableNumber").to_parquet(tmp_path / "given.parquet")
    with pytest.raises(BadInputError, match="cells come twice"):
        write_feature_table(CellParquet(tmp_path / "given.parquet"), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE Nuclei", "has no table Nuclei; write it with cytominer-database"),
        ("ALTER TABLE Cells DROP COLUMN TableNumber", "table Cells has no column TableNumber; write it with"),
        ("ALTER TABLE Image DROP COLUMN TableNumber", "table Image has no column TableNumber; write it with"),
        (
            "ALTER TABLE Cytoplasm DROP COLUMN Cytoplasm_Parent_Nuclei",
            "table Cytoplasm has no column Cytoplasm_Parent_Nuclei",
        ),
        ("ALTER TABLE Image DROP COLUMN Metadata_Well", "no column says well of a cell"),
        (
            "DROP TABLE Image",
            "has neither table Per_Image of CellProfiler's ExportToDatabase nor Image of cytominer-database",
        ),
        (
            "UPDATE Image SET TableNumber = NULL WHERE TableNumber = 4",
            "2 rows of table Image lack a value of TableNumber, ImageNumber",
        ),
    ],
)
def test_what_such_a_database_lacks_is_named(change: str, said: str, tmp_path: Path) -> None:
    path = write_cytominer_database(tmp_path / "plate.sqlite", NUMBERS)
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(change)
        sql.commit()
    with pytest.raises(BadInputError, match=said):
        write_feature_table(open_source(path), tmp_path)
