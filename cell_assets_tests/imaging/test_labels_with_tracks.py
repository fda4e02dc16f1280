"""Given labels whose values are no track ids, with given tracks: from an OME-Zarr plate through the FOV chain."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.fov_chain import FovRequest, FovResult, FovTask, Stage, process_fov, resolve_fov
from cell_assets.imaging.ingest import ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets.imaging.segmentation import SegmentationRequest
from cell_assets.imaging.track_files import write_track_csv
from cell_assets.imaging.tracking import TrackingBackend, TrackingRequest, read_tracking_record, read_tracks
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import FormatName, Store
from cell_assets_tests.imaging.array_source import POSITION, dividing_movie
from cell_assets_tests.imaging.plate_labels import write_labels
from cell_assets_tests.imaging.source_plates import write_zarr
from cell_assets_tests.store.drafts import run_draft


def numbered_anew(labels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The same cells; their numbers fall from the left in even frames, and rise in odd ones."""
    anew = np.zeros_like(labels)
    for t, frame in enumerate(labels):
        present = np.unique(frame[frame > 0])
        for number, label in enumerate(present if t % 2 else present[::-1], start=1):
            anew[t][frame == label] = number
    return anew


def made(folder: Path, labels: NDArray[np.uint32], tracks: pd.DataFrame, request: FovRequest) -> FovResult:
    """Segmentation and tracks of one FOV, into `folder/segmentation` and `folder/tracks`."""
    image, _, _ = dividing_movie()
    source = write_zarr(folder / "plate.zarr", {POSITION: image}, channel_names=["GFP"])
    write_labels(source, POSITION, "cells", labels[:, np.newaxis])
    write_track_csv(tracks, folder / "given" / "A_1_000.csv")
    stages = {stage: folder / stage.value for stage in (Stage.SEGMENTATION, Stage.TRACKS)}
    for out in stages.values():
        out.mkdir()
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        store = Store(folder / "store", ledger)
        with store.write("raw_acquisition", "P1") as staged:
            ingest(source, staged.path, IngestOptions(tracks=folder / "given"))
            raw = store.publish(staged, run_draft(), [], FormatName("cell_assets.acquisition", "1")).artifact
        path = store.path_of(raw)
        parameters = resolve_fov(open_acquisition(path), POSITION, request)
        result = process_fov(FovTask(path, raw, POSITION, parameters, make=stages, made={}))
    assert result.error is None, result.trace
    return result


def test_given_tracks_take_the_labels_in_which_they_lie(tmp_path: Path) -> None:
    _, labels, tracks = dividing_movie()
    # Two cells a frame, so that every frame has both track ids among its labels.
    labels, tracks = labels[:3], tracks[tracks["t"] < 3]
    anew = np.concatenate([numbered_anew(labels), labels[:2] * 0])
    result = made(tmp_path, anew, tracks, FovRequest())
    assert result.finished[Stage.SEGMENTATION].empty_frames == (3, 4)
    assert read_tracking_record(tmp_path / "tracks").n_without_label == 0
    table = read_tracks(tmp_path / "tracks")
    assert table.set_index(["track_id", "t"])["label"].to_dict() == {
        (1, 0): 2, (1, 1): 1, (1, 2): 2, (2, 0): 1, (2, 1): 2, (2, 2): 1,
    }  # fmt: skip
    assert table.groupby("track_id")["area"].unique().map(list).to_dict() == {1: [49], 2: [81]}


@pytest.mark.parametrize("anew", [False, True])
def test_found_tracks_are_scored_by_the_cells_whatever_their_numbers(tmp_path: Path, anew: bool) -> None:
    _, labels, tracks = dividing_movie()
    request = FovRequest(
        segmentation=SegmentationRequest(), tracking=TrackingRequest(backend=TrackingBackend.LAPTRACK)
    )
    result = made(tmp_path, numbered_anew(labels) if anew else labels, tracks, request)
    values = {number.name: number.value for number in result.finished[Stage.TRACKS].numbers}
    assert {name: values[name] for name in ("TRA", "DET", "LNK", "SEG")} == dict.fromkeys(
        ("TRA", "DET", "LNK", "SEG"), 1.0
    )
