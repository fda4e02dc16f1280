"""One plate of a table, how its wells were treated, and plates that were filmed and measured here."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.feature_table import open_source, write_feature_table
from cell_assets.imaging.feature_tables.measured_cells import MeasuredCells, feature_table_folder
from cell_assets.imaging.feature_tables.one_plate import OnePlate
from cell_assets.imaging.feature_tables.treatments import (
    TreatmentColumns,
    refuse_unknown_controls,
    treated_wells,
)
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.features.plate_features import (
    FEATURES_JSON,
    METADATA_COLUMNS,
    TABLES,
    FeaturesRecord,
    FovFeatures,
    table_file,
)
from cell_assets.imaging.parquet_tables import write_parquet
from cell_assets_tests.shared_data import shared_data


class Table:
    """Cells in memory, two a batch."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.path = Path("cells.parquet")
        self.features = ("Cells_Size",)
        self.known = tuple(name for name in rows.columns if name not in self.features)
        self.keys = ("Metadata_Number",)
        self.rows = rows

    def batches(self) -> Iterator[pd.DataFrame]:
        for start in range(0, len(self.rows), 2):
            yield self.rows.iloc[start : start + 2].reset_index(drop=True)

    def left_over(self) -> Mapping[str, int]:
        return {"Nuclei": 3}


def cells(plates: list[object]) -> Table:
    n = len(plates)
    return Table(
        pd.DataFrame(
            {
                "Metadata_Plate": plates,
                "Metadata_Well": [f"A0{k % 2 + 1}" for k in range(n)],
                "Metadata_Number": range(n),
                "Cells_Size": np.arange(n, dtype=np.float64),
            }
        )
    )


def test_the_cells_of_one_plate_under_the_labs_name() -> None:
    found = pd.concat(list(OnePlate(cells([1, 2, 2, 1, 2]), "P7", "2").batches()))
    assert found["Metadata_Number"].tolist() == [1, 2, 4]
    assert set(found["Metadata_Plate"]) == {"P7"} and set(found["Metadata_SourcePlate"]) == {"2"}
    assert found["Metadata_Well"].tolist() == ["A/2", "A/1", "A/1"]
    assert found["Metadata_SourceWell"].tolist() == ["A02", "A01", "A01"]


def test_the_only_plate_need_not_be_named() -> None:
    found = pd.concat(list(OnePlate(cells(["a"] * 3), "P7").batches()))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("plates", "named", "said"),
    [
        (["a", "a", "b"], None, r"several plates \(a, b\)"),
        (["a", "b"], "c", "holds no plate c, but a, b"),
        (["a", None], "a", "1 cells state no plate or no well"),
    ],
)
def test_a_plate_that_cannot_be_told_is_named(plates: list[object], named: str | None, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        list(OnePlate(cells(plates), "P7", named).batches())


def test_a_real_database_gives_each_well_a_digest_of_its_own(tmp_path: Path) -> None:
    source = shared_data("cellprofiler_sqlite") / "all_cellprofiler.sqlite"
    record = write_feature_table(OnePlate(open_source(source), "P1"), tmp_path)
    assert record.cells == 242
    assert (
        set(record.wells)
        == set(record.digests)
        == {f"P1|{well}" for well in ["C/6", "C/7", "D/6", "D/7", "E/6", "E/7", "F/6", "F/7"]}
    )
    assert len(set(record.digests.values())) == 8


KNOWN = pd.DataFrame(
    {
        "Metadata_Well": ["B/2", "A/1", "A/1", "C/3"],
        "Drug": ["taxol", "DMSO", "DMSO", None],
        "Dose": [0.3, 0.0, 0.0, np.nan],
        "Moa": ["tubulin", "none", "none", None],
    }
)


def test_columns_say_what_each_well_was_treated_with() -> None:
    columns = TreatmentColumns(treatment="Drug", dose="Dose", dose_unit="µM", moa="Moa", controls=("DMSO",))
    a1, b2, c3 = treated_wells(KNOWN, columns, None, "table")
    assert (a1.name, a1.perturbation, a1.dose, a1.dose_unit, a1.is_control) == (
        "A/1",
        "DMSO",
        0.0,
        "µM",
        True,
    )
    assert (b2.perturbation_type, b2.perturbation, b2.moa, b2.is_control) == (
        "compound",
        "taxol",
        "tubulin",
        False,
    )
    assert (c3.perturbation, c3.dose, c3.dose_unit, c3.is_control) == (None, None, None, None)


def test_a_plate_map_says_it_too(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("well,gene,moa\nA01,NF1,loss\nB02,,\nC3,,\n")
    assert treated_wells(KNOWN, TreatmentColumns(), path, "table")[0].perturbation == "NF1"
    with pytest.raises(BadInputError, match="keep one"):
        treated_wells(KNOWN, TreatmentColumns(treatment="Drug"), path, "table")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"treatment": "Compound"}, "has no column Compound, but Dose, Drug"),
        ({"treatment": "Drug", "dose": "Dose"}, "has no unit"),
        (
            {"treatment": "Drug", "dose": "Moa", "dose_unit": "µM"},
            "well A/1 has the Moa 'none'; give a number",
        ),
    ],
)
def test_columns_that_cannot_be_used_are_named(columns: dict[str, str], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        treated_wells(KNOWN, TreatmentColumns.model_validate(columns), None, "table")


def test_a_well_with_two_treatments_and_a_control_that_is_none_are_named() -> None:
    twice = KNOWN.assign(Drug=["taxol", "DMSO", "taxol", None])
    with pytest.raises(BadInputError, match=r"well A/1 has several values of Drug \('DMSO', 'taxol'\)"):
        treated_wells(twice, TreatmentColumns(treatment="Drug"), None, "table")
    columns = TreatmentColumns(treatment="Drug", controls=("dmso",))
    with pytest.raises(BadInputError, match="no well was treated with the control dmso"):
        refuse_unknown_controls(treated_wells(KNOWN, columns, None, "table"), columns, "table")


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Two FOVs of three tracked cells, one of which has no label."""
    folder = tmp_path / "measured"
    (folder / TABLES).mkdir(parents=True)
    fovs = []
    for n, position in enumerate(("A/1/000", "A/2/000")):
        table = pd.DataFrame(
            {
                **{name: pd.Series([None] * 3, dtype=kind) for name, kind in METADATA_COLUMNS.items()},
                "fov_name": pd.array([position] * 3, "string"),
                "track_id": [1, 2, 3],
                "t": [0, 0, 0],
                "Nuclei_AreaShape_Area": [10.0 + n, 20.0 + n, np.nan],
            }
        )
        table["Metadata_Plate"], table["Metadata_Well"] = "P1", position[:3]
        table["Metadata_ObjectNumber"] = pd.array([1, 2, None], "Int64")
        write_parquet(table, folder / table_file(position))
        fovs.append(FovFeatures(position=position, n_cells=3, n_without_label=1, n_missing={}))
    record = FeaturesRecord(
        plate="P1",
        parameters=FeatureParameters(),
        channels={},
        features=("Nuclei_AreaShape_Area",),
        fovs=tuple(fovs),
    )
    (folder / FEATURES_JSON).write_text(record.model_dump_json())
    return folder


def test_what_was_measured_here_is_a_table_like_any_other(measured: Path, tmp_path: Path) -> None:
    folder = feature_table_folder(measured, tmp_path / "scratch")
    found = pd.read_parquet(folder / "cells.parquet")
    assert found["Nuclei_AreaShape_Area"].tolist() == [10, 20, 11, 21]
    assert found["Metadata_track_id"].tolist() == [1, 2, 1, 2]
    assert feature_table_folder(folder, tmp_path / "never") == folder
    assert not (tmp_path / "never").exists()
    source = MeasuredCells(measured)
    list(source.batches())
    assert source.left_over() == {"Tracks": 2}
