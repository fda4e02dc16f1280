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
from cell_assets.imaging.feature_tables.selection import select_features
from cell_assets.imaging.feature_tables.treatments import (
    TreatmentColumns,
    refuse_unknown_controls,
    treated_wells,
)
from cell_assets.imaging.features.frame_features import AT_EDGE
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
from cell_assets_tests.evaluation.profiling.pycytominer_opening import found_by_pycytominer
from cell_assets_tests.imaging.features.small_frames import features_of, random_frame
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


def measured_plate(folder: Path, fovs: dict[str, pd.DataFrame]) -> Path:
    """A single_cell_features folder of plate P1 with these features by position; the last cell of each has no label."""
    (folder / TABLES).mkdir(parents=True)
    for position, features in fovs.items():
        n = len(features)
        numbers = pd.array([*range(1, n), None], "Int64")
        known = pd.DataFrame(
            {name: pd.Series([None] * n, dtype=kind) for name, kind in METADATA_COLUMNS.items()}
        )
        known = known.assign(Metadata_Plate="P1", Metadata_Well=position[:3], Metadata_ObjectNumber=numbers)
        keys = {"fov_name": pd.array([position] * n, "string"), "track_id": range(1, n + 1), "t": 0}
        write_parquet(
            pd.concat([known.assign(**keys), features.reset_index(drop=True)], axis=1),
            folder / table_file(position),
        )
    record = FeaturesRecord(
        plate="P1",
        parameters=FeatureParameters(),
        channels={},
        features=tuple(features.columns),
        fovs=tuple(
            FovFeatures(position=position, n_cells=len(one), n_without_label=1, n_missing={})
            for position, one in fovs.items()
        ),
    )
    (folder / FEATURES_JSON).write_text(record.model_dump_json())
    return folder


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Two FOVs of three tracked cells."""
    areas = {
        position: pd.DataFrame({"Nuclei_AreaShape_Area": [10.0 + n, 20.0 + n, np.nan]})
        for n, position in enumerate(("A/1/000", "A/2/000"))
    }
    return measured_plate(tmp_path / "measured", areas)


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


@pytest.mark.parametrize("cytoplasm", ["Cytoplasm", "Ring"])
def test_every_feature_that_is_measured_here_is_used_or_said_to_be_lost(
    cytoplasm: str, tmp_path: Path
) -> None:
    """Also where tables call the ring as nobody else does."""
    labels, image = random_frame(0)
    of_dark_rings = np.where(labels > 0, image, 0).astype(np.uint16)
    features = features_of(labels, image, of_dark_rings, names=("Phase", "GFP")).drop(columns=AT_EDGE)
    features.columns = features.columns.str.replace("Cytoplasm_", f"{cytoplasm}_")
    measured = measured_plate(tmp_path / "measured", {"A/1/000": features})
    folder = feature_table_folder(measured, tmp_path / "scratch")
    found = select_features({"P1": folder})
    lost = found.lost["P1"]
    assert sorted([*found.features, *lost]) == sorted(features.columns) and len(features.columns) > 30
    of_ring = [f"{cytoplasm}_Intensity_{name}_" for name in ("MeanIntensity", "StdIntensity")]
    assert {f"{name}Phase" for name in of_ring} <= set(found.features)
    assert {lost[f"{name}GFP"] for name in of_ring} == {"it has one value in all cells"}


def test_pycytominer_takes_all_that_is_measured_here_for_features() -> None:
    labels, image = random_frame(0)
    features = features_of(labels, image, image, names=("Phase", "GFP")).drop(columns=AT_EDGE)
    assert found_by_pycytominer(features.assign(Metadata_Well="A/1")) == features.columns.tolist()
