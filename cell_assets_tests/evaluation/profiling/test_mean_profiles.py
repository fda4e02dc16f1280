"""Profiles without learning: by hand, by pandas and numpy, and in the hands of pycytominer and copairs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from copairs.map import average_precision

from cell_assets.errors import BadInputError
from cell_assets.evaluation.profiling.cytominer import feature_select
from cell_assets.evaluation.profiling.mean_profiles import (
    read_plate_profiles,
    read_profiles_record,
    write_given_profiles,
    write_plate_profiles,
)
from cell_assets.evaluation.profiling.quality_rule import Condition
from cell_assets.evaluation.profiling.well_manifest import COMPOUND, COUNT, DOSE, IS_CONTROL, MOA, wells_table
from cell_assets.evaluation.profiling.well_representations import ProfileParameters, Representation
from cell_assets.imaging.feature_tables.cell_parquet import CellParquet
from cell_assets.imaging.feature_tables.cellprofiler_sqlite import CellProfilerDatabase
from cell_assets.imaging.feature_tables.columns import PLATE, WELL
from cell_assets.imaging.feature_tables.feature_table import write_feature_table
from cell_assets.ledger.records import WellDraft
from cell_assets_tests.shared_data import shared_data

AREA, MEAN, ROUND = "Cells_AreaShape_Area", "Cells_Intensity_Mean", "Nuclei_AreaShape_FormFactor"
FLAT = "Cells_Flat"
WELLS = (*(f"A{n}" for n in range(1, 6)), "B1", "B2", "C1", "C2")
"""Five controls, and two wells of each of two compounds."""
CELLS_PER_WELL = 12


def wells() -> pd.DataFrame:
    drafts = [WellDraft(f"A{n}", "compound", "DMSO", is_control=True) for n in range(1, 6)]
    for row, name in (("B", "taxol"), ("C", "nocodazole")):
        drafts += [WellDraft(f"{row}{n}", "compound", name, 1.0, "µM", f"{name}'s", False) for n in (1, 2, 3)]
    return wells_table("P", drafts, dict.fromkeys(WELLS, CELLS_PER_WELL), {})


def cells(folder: Path, seed: int = 0, **columns: object) -> pd.DataFrame:
    """Cells of the plate, also written as a feature table into `folder`; B3 and C3 have none."""
    random = np.random.default_rng(seed)
    names = np.tile(WELLS, CELLS_PER_WELL)
    n = len(names)
    given = pd.DataFrame(
        {
            PLATE: "P",
            WELL: names,
            "Metadata_ObjectNumber": np.arange(n),
            AREA: random.normal(100, 10, n) + 30 * (names == "B1"),
            MEAN: random.normal(size=n),
            ROUND: random.gamma(2, size=n),
        }
        | columns
    )
    folder.mkdir(parents=True)
    given.to_parquet(folder / "given.parquet")
    write_feature_table(CellParquet(folder / "given.parquet"), folder)
    return given


def robust(values: pd.DataFrame) -> pd.DataFrame:
    """In units of the first five rows' spread, by hand."""
    controls = values.iloc[:5]
    middle = controls.median()
    return (values - middle) / (1.4826 * (controls - middle).abs().median())


def test_every_representation_is_that_of_the_cells_in_spreads_of_the_controls(tmp_path: Path) -> None:
    given = cells(tmp_path / "cells")
    record = write_plate_profiles(
        tmp_path / "cells", wells(), tmp_path, ProfileParameters(sketch_size=2, bins=4)
    )
    by_well = given.astype(dict.fromkeys((AREA, MEAN, ROUND), np.float32)).groupby(WELL)[[AREA, MEAN, ROUND]]
    mean, median, sd = by_well.mean(), by_well.median(), by_well.std(ddof=0)
    mad = by_well.agg(lambda column: (column - column.median()).abs().median())
    found = {one: read_plate_profiles(tmp_path, one) for one in Representation}
    assert all(one.metadata[WELL].tolist() == list(WELLS) for one in found.values())
    np.testing.assert_allclose(found[Representation.MEAN].features, robust(mean), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[Representation.MEDIAN].features, robust(median), rtol=1e-3, atol=1e-4)
    both = np.concatenate([robust(mean), robust(sd)], 1)
    np.testing.assert_allclose(found[Representation.DISPERSION].features, both, rtol=1e-3, atol=1e-3)
    fusion = found[Representation.FUSION]
    assert fusion.names[3:] == (
        f"{AREA}_mad",
        f"{MEAN}_mad",
        f"{ROUND}_mad",
        *(f"Cells_CovarianceSketch_{pair}" for pair in ("0_0", "0_1", "1_1")),
    )
    halves = np.concatenate([robust(median), robust(mad)], 1) / np.sqrt(3)
    np.testing.assert_allclose(fusion.features[:, :6], halves, rtol=1e-3, atol=1e-3)
    controls = given[given[WELL].str.startswith("A")]
    edges = np.quantile(controls[AREA], [0.25, 0.5, 0.75])
    shares = np.stack(
        [
            np.histogram(given.loc[given[WELL] == well, AREA], [-np.inf, *edges, np.inf])[0] / CELLS_PER_WELL
            for well in WELLS
        ]
    )
    expected = robust(pd.DataFrame(shares, columns=[f"{AREA}_bin{n}" for n in range(4)]))
    histogram = pd.DataFrame(
        found[Representation.HISTOGRAM].features, columns=list(found[Representation.HISTOGRAM].names)
    )
    kept = [name for name in expected if name not in record.constant[Representation.HISTOGRAM]]
    assert len(kept) >= 3
    np.testing.assert_allclose(histogram[kept], expected[kept], atol=1e-9)
    assert record == read_profiles_record(tmp_path)


def test_cells_that_a_rule_leaves_out_are_in_no_profile(tmp_path: Path) -> None:
    given = cells(tmp_path / "cells")
    large = Condition(feature=AREA, side=">", threshold=1.0)
    dim = Condition(feature=MEAN, side="<=", threshold=0.0)
    parameters = ProfileParameters(representations=(Representation.MEAN,), leave_out=((large, dim),))
    record = write_plate_profiles(tmp_path / "cells", wells(), tmp_path, parameters)
    given = given.astype({AREA: np.float32, MEAN: np.float32, ROUND: np.float32})
    scaled = (given[[AREA, MEAN]] - given[[AREA, MEAN]].mean()) / given[[AREA, MEAN]].std(ddof=0)
    out = (scaled[AREA] > 1) & (scaled[MEAN] <= 0)
    assert record.left_out_by_rule == out.sum() > 3
    assert record.used_cells == len(given) - out.sum()
    mean = given[~out].groupby(WELL)[[AREA, MEAN, ROUND]].mean()
    found = read_plate_profiles(tmp_path, Representation.MEAN)
    assert found.metadata["Metadata_Count"].tolist() == given[~out].groupby(WELL).size().tolist()
    np.testing.assert_allclose(found.features, robust(mean), rtol=1e-3, atol=1e-4)
    unknown = ProfileParameters(leave_out=((Condition(feature="Cells_X", side=">", threshold=1.0),),))
    with pytest.raises(BadInputError, match="the rule looks at Cells_X, which these cells do not have"):
        write_plate_profiles(tmp_path / "cells", wells(), tmp_path, unknown)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    n = len(WELLS) * CELLS_PER_WELL
    lacking = np.arange(n) % 50 == 3
    of_c2 = np.tile(np.array(WELLS) == "C2", CELLS_PER_WELL)
    flat_in_controls = np.where(np.tile(np.char.startswith(WELLS, "A"), CELLS_PER_WELL), 0.1, np.arange(n))
    columns = {
        MEAN: np.where(lacking | of_c2, np.nan, np.arange(n)),
        FLAT: 7.0,
        "Cells_Texture_X": flat_in_controls,
    }
    cells(tmp_path / "cells", **columns)
    parameters = ProfileParameters(representations=(Representation.MEAN,), max_missing_share=0.2)
    record = write_plate_profiles(tmp_path / "cells", wells(), tmp_path, parameters)
    assert record.without_profile == ("B3", "C2", "C3")
    assert record.dropped_by == {MEAN: int((lacking | of_c2).sum())}
    assert record.used_cells == record.cells - record.dropped_by[MEAN] and record.cells == n
    assert record.lost == {FLAT: "it has one value in all cells"}
    assert record.constant == {Representation.MEAN: ("Cells_Texture_X",)}
    assert (record.wells, record.control_wells) == (8, 5)
    found = read_plate_profiles(tmp_path, Representation.MEAN)
    assert found.names == (AREA, MEAN, ROUND)
    lost = pd.Series(lacking | of_c2).groupby(np.tile(WELLS, CELLS_PER_WELL)).sum()
    assert found.metadata[COUNT].tolist() == [
        CELLS_PER_WELL - lost[well] for well in found.metadata[WELL].tolist()
    ]


def test_a_well_of_one_cell_has_no_spread_and_is_named(tmp_path: Path) -> None:
    n = len(WELLS) * CELLS_PER_WELL
    gone = (np.tile(np.array(WELLS) == "C1", CELLS_PER_WELL)) & (np.arange(n) >= len(WELLS))
    cells(tmp_path / "cells", **{MEAN: np.where(gone, np.nan, np.arange(n) ** 0.5)})
    parameters = ProfileParameters(
        representations=(Representation.DISPERSION, Representation.FUSION),
        sketch_size=2,
        max_missing_share=0.2,
    )
    record = write_plate_profiles(tmp_path / "cells", wells(), tmp_path, parameters)
    assert record.of_one_cell == ("C1",) and record == read_profiles_record(tmp_path)
    for representation, suffix in ((Representation.DISPERSION, "_sd"), (Representation.FUSION, "_mad")):
        found = read_plate_profiles(tmp_path, representation)
        spread = found.features[:, [name.endswith(suffix) for name in found.names]]
        # No spread at all lies below every other well's.
        (place,) = np.flatnonzero(found.metadata[WELL] == "C1")
        assert spread.shape[1] == 3 and (spread.argmin(0) == place).all()


def test_same_cells_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        cells(tmp_path / name / "cells")
        write_plate_profiles(tmp_path / name / "cells", wells(), tmp_path / name, ProfileParameters())
    for file in (*(f"{one.value}.parquet" for one in Representation), "profiles.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_pycytominer_and_copairs_read_them_as_their_own(tmp_path: Path) -> None:
    cells(tmp_path / "cells", **{"Cells_Twin": np.tile(np.arange(len(WELLS)), CELLS_PER_WELL) + 0.0})
    write_plate_profiles(tmp_path / "cells", wells(), tmp_path, ProfileParameters())
    for one in Representation:
        file = tmp_path / f"{one.value}.parquet"
        whole = pd.read_parquet(file)
        left = feature_select(str(file), operation=["variance_threshold", "correlation_threshold"])
        assert left.columns[:8].tolist() == whole.columns[:8].tolist()
        assert all(name.startswith("Metadata_") for name in whole.columns[:8])
        names = [name for name in left.columns if not name.startswith("Metadata_")]
        assert 2 <= len(names) <= len(whole.columns) - 8
        treated = left[~left[IS_CONTROL]].reset_index(drop=True)
        found = average_precision(
            treated, treated[names].to_numpy(), [COMPOUND], [], [], [COMPOUND], progress_bar=False
        )
        assert found["average_precision"].notna().all() and len(found) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"controls": 2}, "plate P: 2 negative control wells have cells, and 3 are needed"),
        ({"controls": 0}, "plate P: 0 negative control wells have cells"),
        ({"drop": "B1"}, "plate P: well B1 has a profile and is not among its 10 wells"),
        ({"twice": True}, "plate P: well A1 is listed twice"),
        ({"plate": True}, "the wells are of 2 plates"),
    ],
)
def test_a_plate_that_cannot_be_profiled_is_named(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    cells(tmp_path / "cells")
    table = wells()
    if "controls" in change:
        table[IS_CONTROL] = np.arange(len(table)) < int(str(change["controls"]))
    if "drop" in change:
        table = table[table[WELL] != change["drop"]]
    if "twice" in change:
        table = pd.concat([table, table.head(1)])
    if "plate" in change:
        table.loc[0, PLATE] = "Q"
    with pytest.raises(BadInputError, match=said):
        write_plate_profiles(tmp_path / "cells", table, tmp_path, ProfileParameters())


def test_profiles_that_came_ready_are_kept_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            WELL: ["B1", "A1", "A2"],
            "Metadata_Compound": ["taxol", "DMSO", "DMSO"],
            AREA: [3.5, 4.0, -0.25],
            MEAN: [1.0, np.nan, 2],
        }
    )
    record = write_given_profiles(table, "P", wells(), tmp_path)
    found = read_plate_profiles(tmp_path, Representation.MEAN)
    assert found.names == (AREA,) and record.lost == {MEAN: "1 of 3 wells lack it"}
    assert found.features.ravel().tolist() == [4.0, -0.25, 3.5]
    assert found.metadata[WELL].tolist() == ["A1", "A2", "B1"]
    assert found.metadata[COMPOUND].tolist() == found.metadata["Metadata_Compound"].tolist()
    assert found.metadata[MOA].tolist()[2] == "taxol's" and found.metadata[DOSE].tolist()[2] == 1
    assert record.parameters is None and record.cells is None and record.control_wells == 2
    assert record.without_profile == ("A3", "A4", "A5", "B2", "B3", "C1", "C2", "C3")
    with pytest.raises(BadInputError, match="plate P: has no median profiles, but mean"):
        read_plate_profiles(tmp_path, Representation.MEDIAN)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({WELL: ["A1", "A1"], AREA: [1.0, 2]}, "plate P: well A1 has several profiles"),
        ({WELL: ["A1", "Z9"], AREA: [1.0, 2]}, "plate P: well Z9 has a profile and is not among"),
        ({WELL: ["A1", "A2"], "Well": ["x", "y"]}, "plate P: column Well holds no numbers"),
        ({WELL: ["A1", "A2"], AREA: [np.nan, 2]}, "plate P: no feature of 1 has a value in every well"),
        ({WELL: ["A1", "A2"], PLATE: ["P", "Q"], AREA: [1.0, 2]}, "plate P: the table holds plate Q"),
        ({AREA: [1.0, 2]}, "lacks the column"),
    ],
)
def test_ready_profiles_that_cannot_be_used_are_named(
    tmp_path: Path, table: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        write_given_profiles(pd.DataFrame(table), "P", wells(), tmp_path)


def test_a_folder_without_profiles_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"profiles\.json: cannot be read"):
        read_profiles_record(tmp_path)


def test_real_cells_become_profiles(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    write_feature_table(
        CellProfilerDatabase(shared_data("cellprofiler_sqlite") / "all_cellprofiler.sqlite"), folder
    )
    names = sorted(set(pd.read_parquet(folder / "cells.parquet", columns=[WELL])[WELL]))
    plate = str(pd.read_parquet(folder / "cells.parquet", columns=[PLATE])[PLATE].iloc[0])
    drafts = [WellDraft(name, "compound", name, is_control=n < 4) for n, name in enumerate(names)]
    parameters = ProfileParameters(representations=(Representation.MEAN, Representation.FUSION))
    record = write_plate_profiles(folder, wells_table(plate, drafts, {}, {}), tmp_path, parameters)
    assert (record.wells, record.used_cells) == (8, 242)
    for one in parameters.representations:
        found = read_plate_profiles(tmp_path, one)
        assert np.isfinite(found.features).all() and len(found) == 8
        controls = found.features[found.metadata[IS_CONTROL].to_numpy(bool)]
        np.testing.assert_allclose(np.median(controls, 0), 0, atol=1e-9)


def test_pandas_works_as_before_beside_pycytominer() -> None:
    assert not pd.options.mode.copy_on_write
