"""From a feature table to standardised cells: whose they are, in which order, and what cannot be used."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.errors import BadInputError
from cell_assets.methods.contract import Progress
from cell_assets.methods.cytosummary import plate_reading
from cell_assets.methods.cytosummary.plate_reading import open_plate, require_wells_once, standardised
from cell_assets_tests.methods.cytosummary.synthetic_plates import (
    CELLS_PER_WELL,
    EMPTY_WELL,
    FEATURES,
    cells_of,
    manifest,
    write_plate,
)


def shuffled_with_gaps(cells: pd.DataFrame) -> pd.DataFrame:
    """In no order of wells, and the first cell of well A02 without one of its features."""
    cells.loc[(cells["Metadata_Well"] == "A02") & (cells["Metadata_ObjectNumber"] == 0), FEATURES[2]] = np.nan
    return cells.sample(frac=1, random_state=0)


@pytest.mark.parametrize("features_at_once", [1, 2, 64])
def test_cells_are_those_of_their_wells_standardised_over_the_plate(
    features_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plate_reading, "FEATURES_AT_ONCE", features_at_once)
    monkeypatch.setattr(plate_reading, "_ROWS_AT_ONCE", 7)
    table = write_plate(tmp_path / "t", "P", 1, shuffled_with_gaps)
    wells = manifest(["P"])
    chosen = wells[wells["Metadata_Well"].isin(["A07", "A02", "A01"])].iloc[::-1]
    plate = open_plate(table, FEATURES[:3])
    said: list[Progress] = []
    found = standardised(plate, chosen, tmp_path / "map", said.append)

    given = shuffled_with_gaps(cells_of("P", 1)).dropna(subset=FEATURES[:3])
    values = given[FEATURES[:3]].astype(np.float32).astype(np.float64)
    given[FEATURES[:3]] = (values - values.mean()) / values.std(ddof=0)
    expected = [given.loc[given["Metadata_Well"] == well, FEATURES[:3]] for well in ("A07", "A02", "A01")]
    np.testing.assert_allclose(found.features, pd.concat(expected), atol=1e-6)
    sizes = [CELLS_PER_WELL, CELLS_PER_WELL - 1, CELLS_PER_WELL]
    assert np.diff(found.starts).tolist() == sizes == plate.counts(chosen).tolist()
    assert found.wells["Metadata_Well"].tolist() == ["A07", "A02", "A01"]
    assert dict(plate.usable.dropped_by) == {FEATURES[2]: 1}
    rows = pd.read_parquet(table.path / "cells.parquet").iloc[plate.rows(chosen)]
    assert rows["Metadata_Well"].tolist() == np.repeat(["A07", "A02", "A01"], sizes).tolist()
    assert [one.done for one in said] == sorted(
        {min(n, 3) for n in range(features_at_once, 3 + features_at_once, features_at_once)}
    )
    assert said[-1].total == 3 and said[-1].unit == "features"
    part = found.between(1, 3)
    np.testing.assert_array_equal(part.features, found.features[CELLS_PER_WELL:])
    assert part.starts.tolist() == [0, CELLS_PER_WELL - 1, 2 * CELLS_PER_WELL - 1]


def test_a_well_without_cells_has_none(tmp_path: Path) -> None:
    plate = open_plate(write_plate(tmp_path / "t", "P", 1), FEATURES)
    wells = manifest(["P"])
    assert plate.counts(wells)[(wells["Metadata_Well"] == EMPTY_WELL).to_numpy()].tolist() == [0]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    wells = manifest(["P"])
    with pytest.raises(
        BadInputError, match="plate P: 1 of 6 features are not in its table, such as Cells_None"
    ):
        open_plate(write_plate(tmp_path / "a", "P", 1), [*FEATURES, "Cells_None"])
    table = write_plate(tmp_path / "b", "P", 1, lambda cells: cells.assign(**{FEATURES[1]: np.nan}))
    with pytest.raises(BadInputError, match=f"no cell has all 5 features; 720 of 720 lack {FEATURES[1]}"):
        open_plate(table, FEATURES)
    table = write_plate(tmp_path / "c", "P", 1, lambda cells: cells.assign(**{FEATURES[1]: 7.0}))
    with pytest.raises(BadInputError, match=f"plate P: {FEATURES[1]} is 7 in all 720 cells that are used"):
        standardised(open_plate(table, FEATURES), wells[wells["Metadata_Well"] == "A01"], tmp_path / "map")
    table = write_plate(
        tmp_path / "d", "P", 1, lambda cells: cells.assign(Metadata_Plate=np.where(cells.index < 9, "P", "Q"))
    )
    with pytest.raises(BadInputError, match=r"holds cells of 2 plates \(P, Q\)"):
        open_plate(table, FEATURES)
    with pytest.raises(BadInputError, match=r"wells: P\|A01 \(1 in all\) comes twice"):
        require_wells_once(pd.concat([wells, wells.iloc[:1]]))


def test_a_disk_without_room_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    plate = open_plate(write_plate(tmp_path / "t", "P", 1), FEATURES)
    wells = manifest(["P"]).iloc[:2]
    with pytest.raises(BadInputError, match=r"has no room for 0\.0 GB of cells"):
        standardised(plate, wells, tmp_path / "map")
