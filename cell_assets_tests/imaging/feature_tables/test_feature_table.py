"""Real tables of single cells from other programs, against SQL and Arrow on the source; and what is refused."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables import cellprofiler_csv
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.cellprofiler_csv import CellProfilerCsv
from cell_assets.imaging.feature_tables.cellprofiler_sqlite import CellProfilerDatabase
from cell_assets.imaging.feature_tables.columns import is_feature
from cell_assets.imaging.feature_tables.feature_table import (
    open_source,
    read_feature_table_record,
    write_feature_table,
)
from cell_assets.imaging.feature_tables.selection import SelectionParameters, select_features, usable_cells
from cell_assets_tests.shared_data import shared_data


@pytest.fixture
def database() -> Path:
    return shared_data("cellprofiler_sqlite") / "all_cellprofiler.sqlite"


@pytest.fixture
def cytotable() -> Path:
    return shared_data("nf1_cell_painting") / "Plate_2_with_image_data_shrunken.parquet"


def features_by_sql(sql: sqlite3.Connection) -> list[str]:
    """Columns that measure a cell, without those that say where it lies or which other object it belongs to."""
    return [
        name
        for table in ("Cells", "Cytoplasm", "Nuclei")
        for (name,) in sql.execute(
            "SELECT name FROM pragma_table_info(?) WHERE name GLOB ? AND NOT (name GLOB '*_Location_*' "
            "OR name GLOB '*_Parent_*' OR name GLOB '*_Children_*' OR name GLOB '*_Number_Object_Number' "
            "OR name GLOB '*ObjectNumber_*' OR name GLOB '*_AreaShape_Center_*' "
            "OR name GLOB '*_AreaShape_BoundingBoxM*') ORDER BY cid",
            (f"Per_{table}", f"{table}_*"),
        )
    ]


def test_a_real_database_agrees_with_sql(database: Path, tmp_path: Path) -> None:
    record = write_feature_table(CellProfilerDatabase(database, images_at_once=5), tmp_path)
    found = pd.read_parquet(tmp_path / "cells.parquet")
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as sql:
        expected = pd.read_sql(
            "SELECT i.Image_Metadata_Well AS well, c.ImageNumber AS image, c.Cells_Number_Object_Number AS number, "
            "c.Cells_AreaShape_Area, y.Cytoplasm_Texture_Variance_RFP_3_03_256, n.Nuclei_AreaShape_Area "
            "FROM Per_Cytoplasm y JOIN Per_Image i USING (ImageNumber) "
            "JOIN Per_Cells c ON c.ImageNumber = y.ImageNumber "
            "AND c.Cells_Number_Object_Number = y.Cytoplasm_Parent_Cells "
            "JOIN Per_Nuclei n ON n.ImageNumber = y.ImageNumber "
            "AND n.Nuclei_Number_Object_Number = y.Cytoplasm_Parent_Nuclei ORDER BY image, number",
            sql,
        )
    assert (record.cells, len(found)) == (242, 242)
    assert found["Metadata_Well"].tolist() == expected["well"].tolist()
    assert found["Metadata_ImageNumber"].tolist() == expected["image"].tolist()
    assert found["Metadata_Plate"].unique().tolist() == ["001"]
    for name in expected.columns[3:]:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    assert record.wells == {f"001|{well}": int(n) for well, n in expected["well"].value_counts().items()}
    # 433 nuclei and 242 cells: 191 nuclei lie in no cell.
    assert record.left_over == {"Nuclei": 191}
    assert record.missing == {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as sql:
        features = features_by_sql(sql)
    assert [name for name in found.columns if not name.startswith("Metadata_")] == features
    assert record.features == len(features) == 369 + 364 + 369
    assert list(record.constant) == [name for name in features if found[name].nunique() == 1]
    assert len(record.constant) > 3
    assert record == read_feature_table_record(tmp_path)


def test_cells_without_a_value_are_counted_and_dropped_as_sql_counts_them(
    database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "nulls.sqlite"
    shutil.copy(database, path)
    path.chmod(0o644)
    area, variance, factor, solidity = (
        "Cells_AreaShape_Area",
        "Cytoplasm_Texture_Variance_RFP_3_03_256",
        "Nuclei_AreaShape_FormFactor",
        "Nuclei_AreaShape_Solidity",
    )
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(f"UPDATE Per_Cells SET {area} = NULL WHERE ImageNumber = 3")
        sql.execute(f"UPDATE Per_Cytoplasm SET {variance} = NULL WHERE Cytoplasm_Number_Object_Number = 17")
        sql.execute(f"UPDATE Per_Nuclei SET {factor} = NULL WHERE ImageNumber IN (3, 9)")
        sql.execute(f"UPDATE Per_Nuclei SET {solidity} = NULL WHERE ImageNumber > 29")
        sql.commit()
        of_cells = (
            "FROM Per_Cytoplasm y JOIN Per_Cells c ON c.ImageNumber = y.ImageNumber "
            "AND c.Cells_Number_Object_Number = y.Cytoplasm_Parent_Cells "
            "JOIN Per_Nuclei n ON n.ImageNumber = y.ImageNumber "
            "AND n.Nuclei_Number_Object_Number = y.Cytoplasm_Parent_Nuclei"
        )
        lacking = {
            name: sql.execute(f"SELECT count(*) {of_cells} WHERE {name} IS NULL").fetchone()[0]
            for name in (area, variance, factor, solidity)
        }
        whole = sql.execute(
            f"SELECT y.ImageNumber, Cells_Number_Object_Number {of_cells} WHERE {area} IS NOT NULL "
            f"AND {variance} IS NOT NULL AND {factor} IS NOT NULL ORDER BY 1, 2"
        ).fetchall()
        features = features_by_sql(sql)
    assert lacking == {area: 6, variance: 4, factor: 7, solidity: 52} and len(whole) == 242 - 7 - 4
    record = write_feature_table(CellProfilerDatabase(path, images_at_once=5), tmp_path)
    assert (record.cells, record.missing) == (242, lacking)
    chosen = select_features({"plate": tmp_path})
    assert chosen.lost["plate"] == {
        **dict.fromkeys(record.constant, "it has one value in all cells"),
        solidity: "52 of 242 cells lack it",
    }
    assert sorted([*chosen.features, *chosen.lost["plate"]]) == sorted(features)
    usable = usable_cells(tmp_path, chosen.features)
    assert usable.dropped_by == {area: 6, variance: 4, factor: 7}
    found = pd.read_parquet(tmp_path / "cells.parquet")[usable.rows]
    keys = ["Metadata_ImageNumber", "Metadata_Cells_Number_Object_Number"]
    assert [tuple(row) for row in found[keys].to_numpy().tolist()] == whole
    assert found[list(chosen.features)].notna().all(axis=None)


@pytest.mark.parametrize("images_at_once", [1, 1000])
def test_batches_decide_no_value(database: Path, tmp_path: Path, images_at_once: int) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder, images in zip(folders, (7, images_at_once), strict=True):
        folder.mkdir()
        write_feature_table(CellProfilerDatabase(database, images), folder)
    one, other = (pq.read_table(folder / "cells.parquet") for folder in folders)
    assert one.equals(other)
    assert json.loads((folders[0] / "feature_table.json").read_text()) == json.loads(
        (folders[1] / "feature_table.json").read_text()
    )


@pytest.mark.parametrize("emptied", [("Cells", "Cytoplasm"), ("Cells", "Cytoplasm", "Nuclei"), ("Nuclei",)])
def test_images_without_cells_give_none(database: Path, tmp_path: Path, emptied: tuple[str, ...]) -> None:
    path = tmp_path / "fewer.sqlite"
    shutil.copy(database, path)
    path.chmod(0o644)
    with closing(sqlite3.connect(path)) as sql:
        for name in emptied:
            sql.execute(f"DELETE FROM Per_{name} WHERE ImageNumber IN (1, 7)")
        sql.commit()
        (n,) = sql.execute("SELECT count(*) FROM Per_Cytoplasm WHERE ImageNumber NOT IN (1, 7)").fetchone()
    csv = as_csv(path, tmp_path / "csv")
    for number, source in enumerate((CellProfilerDatabase(path, 1), CellProfilerCsv(csv, 1))):
        out = tmp_path / str(number)
        out.mkdir()
        assert write_feature_table(source, out).cells == n < 242
        assert not set(pd.read_parquet(out / "cells.parquet")["Metadata_ImageNumber"]) & {1, 7}


def as_csv(database: Path, folder: Path) -> Path:
    """The same measurements as ExportToSpreadsheet writes them: without the object's name before each column, and its
    number twice."""
    folder.mkdir()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as sql:
        for name in ("Image", "Cells", "Cytoplasm", "Nuclei"):
            table = pd.read_sql(f"SELECT * FROM Per_{name}", sql)
            special = {f"{name}_Number_Object_Number": "ObjectNumber"}
            names = {column: special.get(column, column.removeprefix(f"{name}_")) for column in table.columns}
            table = table.rename(columns=names)
            if name != "Image":
                table = table.assign(Number_Object_Number=table["ObjectNumber"])
            table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.parametrize(("images", "rows"), [(3, 7), (64, 20_000)])
def test_csv_files_give_the_table_that_the_database_gives(
    database: Path, tmp_path: Path, images: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cellprofiler_csv, "_ROWS_AT_ONCE", rows)
    folders = [tmp_path / name for name in ("from_csv", "from_sqlite")]
    for folder in folders:
        folder.mkdir()
    csv = CellProfilerCsv(as_csv(database, tmp_path / "csv"), images)
    records = [
        write_feature_table(source, folder)
        for source, folder in zip((csv, CellProfilerDatabase(database)), folders, strict=True)
    ]
    # Text rounds the last digits, and the files have their columns in another order.
    assert records[0].digests.keys() == records[1].digests.keys()
    assert records[0].model_copy(update={"digests": records[1].digests}) == records[1]
    found, expected = (pd.read_parquet(folder / "cells.parquet") for folder in folders)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_dtype=False, rtol=1e-6)
    assert found["Metadata_Plate"].unique().tolist() == ["001"]


def test_csv_files_that_cannot_be_read_side_by_side_are_named(database: Path, tmp_path: Path) -> None:
    folder = as_csv(database, tmp_path / "csv")
    cells = pd.read_csv(folder / "Cells.csv")
    cells.iloc[::-1].to_csv(folder / "Cells.csv", index=False)
    with pytest.raises(BadInputError, match=r"Cells.csv: its images are not in ascending order"):
        write_feature_table(open_source(folder), tmp_path)
    (folder / "Cells.csv").unlink()
    with pytest.raises(BadInputError, match=r"Cells.csv: cannot be read"):
        open_source(folder)


def test_a_real_cytotable_file_agrees_with_arrow(cytotable: Path, tmp_path: Path) -> None:
    record = write_feature_table(CellParquet(cytotable, rows_at_once=2), tmp_path)
    found, source = pd.read_parquet(tmp_path / "cells.parquet"), pd.read_parquet(cytotable)
    assert (record.cells, len(found)) == (5, 5)
    assert found["Metadata_Well"].tolist() == source["Image_Metadata_Well_x"].tolist()
    names = features_by_arrow(pq.read_schema(cytotable))
    assert [name for name in found.columns if not name.startswith("Metadata_")] == names
    assert record.features == len(names) == 1642
    np.testing.assert_allclose(found[names], source[names], rtol=1e-6)
    assert record.wells == {f"Plate_2|{well}": 1 for well in source["Image_Metadata_Well_x"]}
    assert record.missing == {}


def features_by_arrow(schema: pa.Schema) -> list[str]:
    """Numbers that measure a compartment; where a cell lies and what belongs to it are none."""
    place = ("Location", "Parent", "Children", "Number")
    return [
        one.name
        for one in schema
        if (pa.types.is_floating(one.type) or pa.types.is_integer(one.type))
        and (words := one.name.split("_"))[0] in ("Cells", "Cytoplasm", "Nuclei")
        and words[1] not in place
        and words[1:3] != ["AreaShape", "Center"]
        and words[2] not in ("BoundingBoxMaximum", "BoundingBoxMinimum")
        and "ClosestObjectNumber" not in words[2]
    ]


def test_cells_without_a_value_are_counted_and_dropped_as_arrow_counts_them(
    cytotable: Path, tmp_path: Path
) -> None:
    table = pq.read_table(cytotable)
    lacks = {
        "Cells_AreaShape_Area": [1],
        "Cytoplasm_Texture_Variance_RFP_3_03_256": [1, 3],
        "Nuclei_AreaShape_Solidity": [0, 1, 3, 4],
    }
    for name, rows in lacks.items():
        is_gone = pa.array([row in rows for row in range(len(table))])
        values = pc.if_else(is_gone, None, table.column(name))
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, tmp_path / "nulls.parquet")
    record = write_feature_table(CellParquet(tmp_path / "nulls.parquet", rows_at_once=2), tmp_path)
    assert record.missing == {name: table.column(name).null_count for name in lacks}
    chosen = select_features({"plate": tmp_path}, SelectionParameters(max_missing_share=0.5))
    area, variance, solidity = lacks
    assert chosen.lost["plate"][solidity] == "4 of 5 cells lack it"
    assert sorted([*chosen.features, *chosen.lost["plate"]]) == sorted(features_by_arrow(table.schema))
    usable = usable_cells(tmp_path, chosen.features)
    assert usable.dropped_by == {area: 1, variance: 2}
    found = pd.read_parquet(tmp_path / "cells.parquet")[usable.rows]
    kept = table.take([0, 2, 4])
    assert found["Metadata_Well"].tolist() == kept.column("Image_Metadata_Well_x").to_pylist()
    np.testing.assert_allclose(found[area], kept.column(area).to_numpy(), rtol=1e-6)


def test_where_a_cell_lies_and_what_it_is_called_are_no_features() -> None:
    for name in (
        "Cells_Number_Object_Number",
        "Cells_Parent_Nuclei",
        "Nuclei_Children_Cells_Count",
        "Nuclei_Location_Center_X",
        "Cells_AreaShape_Center_X",
        "Cytoplasm_AreaShape_BoundingBoxMinimum_Y",
        "Cells_Neighbors_FirstClosestObjectNumber_Adjacent",
        "Image_Count_Cells",
        "Metadata_Well",
    ):
        assert not is_feature(name), name
    for name in (
        "Cells_AreaShape_BoundingBoxArea",
        "Nuclei_Neighbors_NumberOfNeighbors_Adjacent",
        "Cells_Texture_Variance_RFP_3_01_256",
        "Cells_Correlation_Correlation_DAPI_GFP",
    ):
        assert is_feature(name), name


def cells(**columns: object) -> pd.DataFrame:
    """Three cells of one well."""
    return pd.DataFrame(
        {
            "Metadata_Plate": "P",
            "Metadata_Well": "A1",
            "Metadata_ObjectNumber": [1, 2, 3],
            "Cells_AreaShape_Area": [1.0, 2.0, 3.0],
        }
        | columns
    )


def written(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "given.parquet"
    table.to_parquet(path)
    return path


def test_missing_values_are_counted_by_feature_and_kept_missing(tmp_path: Path) -> None:
    given = cells(Cells_Intensity_Mean=[np.inf, 5.0, np.nan], Nuclei_AreaShape_Area=[None, None, None])
    record = write_feature_table(CellParquet(written(given, tmp_path), rows_at_once=1), tmp_path)
    assert record.missing == {"Cells_Intensity_Mean": 2, "Nuclei_AreaShape_Area": 3}
    found = pd.read_parquet(tmp_path / "cells.parquet")
    assert found["Cells_Intensity_Mean"].isna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"Metadata_ObjectNumber": [1, 2, 2]}, "1 cells come twice"),
        (
            {"Cells_Intensity_Mean": ["1", "high", "2"]},
            "feature Cells_Intensity_Mean is '1' in a cell and not a number",
        ),
        (
            {"Image_Metadata_Well_y": ["A1", "A1", "B2"]},
            "columns Metadata_Well and Image_Metadata_Well_y differ",
        ),
    ],
)
def test_what_cannot_be_used_is_named(columns: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=said):
        write_feature_table(CellParquet(written(cells(**columns), tmp_path)), tmp_path)


NUMBER = "Metadata_{}_Number_Object_Number"


@pytest.mark.parametrize(
    "name", [*map(NUMBER.format, ("Cells", "Nuclei", "Cytoplasm")), "Cells_Number_Object_Number"]
)
def test_any_compartment_may_number_the_cells(name: str, tmp_path: Path) -> None:
    given = cells(Metadata_ImageNumber=[1, 1, 2], **{name: [1, 2, 1]}).drop(columns="Metadata_ObjectNumber")
    assert write_feature_table(CellParquet(written(given, tmp_path)), tmp_path).cells == 3
    twice = given.assign(**{name: [1, 1, 1]})
    with pytest.raises(BadInputError, match=r"1 cells come twice .*_Number_Object_Number\)"):
        write_feature_table(CellParquet(written(twice, tmp_path)), tmp_path)


def test_a_cell_of_two_nuclei_comes_twice(tmp_path: Path) -> None:
    given = cells(**{NUMBER.format("Cells"): [1, 2, 2], NUMBER.format("Nuclei"): [1, 2, 3]})
    path = written(given.drop(columns="Metadata_ObjectNumber"), tmp_path)
    with pytest.raises(BadInputError, match=r"1 cells come twice .*Metadata_Cells_Number_Object_Number\)"):
        write_feature_table(CellParquet(path), tmp_path)


def test_cells_of_several_images_that_nobody_tells_apart_are_named(tmp_path: Path) -> None:
    given = cells(Metadata_ObjectNumber=[1, 2, 1])
    with pytest.raises(BadInputError, match=r"or keep the column ImageNumber, if they are of several images"):
        write_feature_table(CellParquet(written(given, tmp_path)), tmp_path)
    for image in ("Metadata_ImageNumber", "Metadata_Site"):
        path = written(given.assign(**{image: [1, 1, 2]}), tmp_path)
        assert write_feature_table(CellParquet(path), tmp_path).cells == 3


def with_doses(database: Path, path: Path, doses: dict[int, object]) -> Path:
    """A copy of the database with a column of images, which is missing where `doses` by image's number have none."""
    shutil.copy(database, path)
    path.chmod(0o644)
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("ALTER TABLE Per_Image ADD COLUMN Image_Metadata_Dose")
        sql.executemany(
            "UPDATE Per_Image SET Image_Metadata_Dose = ? WHERE ImageNumber = ?",
            [(dose, image) for image, dose in doses.items()],
        )
        sql.commit()
    return path


@pytest.fixture
def images(database: Path) -> list[int]:
    """Numbers of the database's images that have cells."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as sql:
        return [row[0] for row in sql.execute("SELECT DISTINCT ImageNumber FROM Per_Cytoplasm ORDER BY 1")]


@pytest.mark.parametrize("images_at_once", [64, 1])
@pytest.mark.parametrize(("first", "other"), [(1, "high"), ("high", 1)])
def test_numbers_and_text_in_one_column_are_named(
    database: Path, images: list[int], tmp_path: Path, images_at_once: int, first: object, other: object
) -> None:
    """In the first cells that are read, and in later ones."""
    doses = dict.fromkeys(images, first) | {images[-1]: other}
    path = with_doses(database, tmp_path / "doses.sqlite", doses)
    said = f"{path}: column Metadata_Dose is {first!r} in one cell and {other!r} in another"
    with pytest.raises(BadInputError, match=re.escape(said)):
        write_feature_table(CellProfilerDatabase(path, images_at_once), tmp_path)


def test_a_column_that_the_first_cells_lack_holds_what_comes_as_text(
    database: Path, images: list[int], tmp_path: Path
) -> None:
    path = with_doses(database, tmp_path / "doses.sqlite", {images[-2]: "high", images[-1]: 3})
    write_feature_table(CellProfilerDatabase(path, images_at_once=1), tmp_path)
    found = pd.read_parquet(tmp_path / "cells.parquet").groupby("Metadata_ImageNumber")["Metadata_Dose"]
    assert {image: set(doses.dropna()) for image, doses in found if doses.notna().all()} == {
        images[-2]: {"high"},
        images[-1]: {"3"},
    }


def test_files_of_another_kind_are_named(database: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no column says well of a cell"):
        CellParquet(written(cells().drop(columns="Metadata_Well"), tmp_path))
    with pytest.raises(BadInputError, match=r"no column numbers the cells of an image"):
        CellParquet(written(cells().drop(columns="Metadata_ObjectNumber"), tmp_path))
    with pytest.raises(BadInputError, match="no column is a feature"):
        CellParquet(written(cells().drop(columns="Cells_AreaShape_Area"), tmp_path))
    with pytest.raises(BadInputError, match="cannot be read as Parquet"):
        CellParquet(database)
    text = tmp_path / "text.sqlite"
    text.write_text("no database, and long enough to be taken for one" * 40)
    with pytest.raises(BadInputError, match="is no SQLite database"):
        open_source(text)
    with pytest.raises(BadInputError, match="there is no such file"):
        open_source(tmp_path / "none.sqlite")
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as sql:
        sql.execute("CREATE TABLE Per_Image (ImageNumber INTEGER)")
    with pytest.raises(
        BadInputError, match="has no table Per_Cells; write it with CellProfiler's ExportToDatabase"
    ):
        open_source(other)


def test_names_of_columns_reach_sql_as_names_alone(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.sqlite"
    shutil.copy(database, path)
    path.chmod(0o644)
    odd = 'Cells_Odd_"; DROP TABLE Per_Cells; --'
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(f'ALTER TABLE Per_Cells ADD COLUMN "{odd.replace(chr(34), chr(34) * 2)}" float')
        sql.execute("UPDATE Per_Cells SET ({}) = 7".format('"' + odd.replace('"', '""') + '"'))
        sql.commit()
    write_feature_table(open_source(path), tmp_path)
    assert pd.read_parquet(tmp_path / "cells.parquet")[odd].eq(7).all()


def test_cells_in_another_order_or_in_other_batches_are_the_same_well(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    features = [f"Cells_Texture_{n}" for n in range(3)]
    given = pd.DataFrame(random.normal(size=(40, 3)), columns=features)
    given = given.assign(Metadata_Plate="P", Metadata_Well=["A01"] * 20 + ["A02"] * 20)
    given["Metadata_ObjectNumber"] = np.arange(40)
    # A03 is A01 in another order, and A04 has one of its cells twice in place of another.
    order = random.permutation(20)
    again, nearly = given.iloc[order].assign(Metadata_Well="A03"), given.iloc[:20].assign(Metadata_Well="A04")
    nearly.loc[3, features] = nearly.loc[4, features]
    # Cells of which nothing is measured are alike in all wells.
    none = pd.DataFrame({"Metadata_Well": ["A05", "A06", "A01"]}).assign(Metadata_Plate="P")
    table = pd.concat([given, again, nearly, none], ignore_index=True)
    table["Metadata_ObjectNumber"] = np.arange(len(table))
    table.to_parquet(tmp_path / "given.parquet")
    found = []
    for rows in (7, 1000):
        (out := tmp_path / str(rows)).mkdir()
        found.append(
            write_feature_table(CellParquet(tmp_path / "given.parquet", rows_at_once=rows), out).digests
        )
    one = found[0]
    assert one == found[1] and set(one) == {f"P|A0{n}" for n in range(1, 5)}
    assert one["P|A01"] == one["P|A03"] and len(set(one.values())) == 3
    assert all(len(digest) == 64 for digest in one.values())
