"""Each prediction behind a number, walked back to the chunks of the raw plate, which give back its patch."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import zarr

from cell_assets.audit.cell import explain_cell, to_json, to_text
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, cell_assets, opened, run, small_run


def test_every_prediction_reaches_its_pixels(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
        (report,) = session.ledger.artifacts("dynaclr_report")
        sizes = {
            file.stem: len(pd.read_parquet(file))
            for file in (session.store.path_of(report) / "predictions").glob("*.parquet")
        }
        task = max(sizes, key=lambda task: sizes[task])
        number = next(n for n in session.ledger.numbers("E1") if n.draft.report == f"dynaclr/{task}")
        rows = 0
        leaving = 0
        while True:
            try:
                last = explain_cell(session.store, number.id, rows)
            except BadInputError as error:
                assert f"has rows 0 to {rows - 1}" in str(error)
                break
            assert last.gives_patch
            assert [one.asset for one in last.lineage] == [
                "dynaclr_report",
                "dynaclr_embeddings",
                "patch_table",
                "tracks",
                "raw_acquisition",
            ]
            leaving += last.crop.leaves_frame
            rows += 1
        assert rows == sizes[task] > 5
        assert leaving > 0  # a patch of 32 pixels in a frame of 64 leaves it often
        _compare_with_zarr(session, number.id)
        said = json.loads(to_json(last))
        assert said["chunks_give_patch"] is True
        assert said["lineage"][-1]["digest"] == last.lineage[-1].digest
        assert "these bytes give back the patch, pixel for pixel" in to_text(last)
        smoothness = next(one for one in session.ledger.numbers("E1") if one.draft.name == "smoothness")
        with pytest.raises(NotFoundError, match="rests on no predictions of single cells"):
            explain_cell(session.store, smoothness.id, 0)
    shown = cell_assets(settings, "explain", str(number.id), "--cell", "0")
    assert (shown.code, shown.out.splitlines()[-1]) == (0, "these bytes give back the patch, pixel for pixel")


def _compare_with_zarr(session: Session, number_id: int) -> None:
    """The window is where the cell is: zarr-python reads the same pixels there, by another way."""
    for row in range(5):
        cell = explain_cell(session.store, number_id, row)
        raw, table = cell.lineage[-1], cell.lineage[2]
        image = zarr.open_array(session.store.path_of(raw) / "plate.zarr" / cell.fov_name / "0")
        patches = zarr.open_array(session.store.path_of(table) / "patches.zarr")
        rows = np.clip(np.arange(*cell.crop.y), 0, image.shape[3] - 1)
        columns = np.clip(np.arange(*cell.crop.x), 0, image.shape[4] - 1)
        frame = np.asarray(image[cell.t])
        assert np.array_equal(frame[:, :, rows[:, None], columns], np.asarray(patches[cell.table_row]))
