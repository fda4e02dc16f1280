"""Which tracks stand for a channel that the embedding did not see, and what is shown of them."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cell_assets.assets.inputs import ReadArtifact, ReadTable, ReportInputs
from cell_assets.assets.remodelling_pictures import example_tracks, pictured_track
from cell_assets.evaluation.studies.embedding_study import EmbeddingStudy
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.ledger.records import ReadReceipt
from cell_assets.reporting.embedding_figures import Projection
from cell_assets.reporting.remodelled_tracks import RemodelledTrack, coloured, remodelled_tracks_figure
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import study
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

RECEIPT = ReadReceipt(1, "patch_table", "P1", "ab" * 32)


@pytest.fixture(scope="module")
def turning() -> EmbeddingStudy:
    return study(infection_movie(n_lineages=64))


def test_one_that_never_turns_and_three_that_do_are_those_with_most_patches(turning: EmbeddingStudy) -> None:
    cells = turning.embedded.cells.assign(row=np.arange(len(turning.embedded.cells), dtype=float))
    onsets_of = turning.dynamics[0].onsets
    assert onsets_of is not None
    tracks = onsets_of.tracks.query("split == 'test'")
    onsets = tracks.query("course == 'turns'").set_index("track_id")["onset_t"].to_dict()
    turns = list(onsets)
    never = tracks.query("course == 'never turns'").merge(
        cells[["track_id", "condition"]].drop_duplicates(), on="track_id", suffixes=("", "_of_cells")
    )
    mock = never.query("condition_of_cells == 'mock'")["track_id"].astype(int).tolist()
    assert len(turns) > 3 and len(mock) > 1
    # All are filmed for 24 frames: every other one of these loses patches, and the longest are known.
    longest = {mock[-1], *turns[-3:]}
    lost = cells["track_id"].isin({*turns, *mock} - longest) & (cells["t"] >= 20)
    unstained = never.query("condition_of_cells != 'mock'")["track_id"]
    cells = cells.assign(row=cells["row"].mask(lost), is_control=cells["condition"] == "mock")
    found = example_tracks(turning.dynamics[0], cells, "test")
    shown = [cells.iloc[rows] for rows, _ in found]
    assert [one["track_id"].unique().tolist() for one in shown] == [[mock[-1]], *[[k] for k in turns[-3:]]]
    assert not set(unstained) & {int(one["track_id"].iloc[0]) for one in shown[:1]}
    for one in shown:
        assert one["t"].tolist() == list(range(24)) and one["row"].notna().all()
    assert [onset for _, onset in found] == [None, *[onsets[k] for k in turns[-3:]]]


def test_the_pictures_are_the_maximum_over_depth_of_the_unseen_channel_and_the_sensor(tmp_path: Path) -> None:
    folder = write_table(tmp_path, "A/1/000", n_frames=9, n_planes=3, fluorescence=("mCherry", "GFP"))
    table = open_patch_table(folder)
    cells = table.cells.assign(plate="P1", condition="mock")
    here = ReadArtifact(folder, RECEIPT)
    inputs = ReportInputs({}, {"P1": here}, {("P1", "A/1/000"): ReadTable(folder, RECEIPT)}, here, here, {})
    rows = np.flatnonzero(cells["track_id"] == 4)
    hours = cells["t"].to_numpy() / 2
    found = pictured_track(rows, 5, cells, inputs, ["GFP", "mCherry"], hours)
    assert found is not None and (found.track, found.condition) == ("track 4", "mock")
    # Eight of nine frames, first and last among them.
    t = (found.hours * 2).astype(int)
    assert len(t) == 8 and (t[0], t[-1]) == (0, 8)
    assert found.in_state.tolist() == (t >= 5).tolist()
    patches = table.read(cells["row"].to_numpy()[rows[t]])
    assert patches.shape[2] == 3
    assert np.array_equal(found.images, patches[:, [2, 1]].max(axis=2))
    assert pictured_track(rows, 5, cells, inputs, ["SEC61"], hours) is None


def test_the_unseen_channel_is_green_and_the_sensor_magenta() -> None:
    images = np.zeros((1, 2, 1, 3))
    images[0, 0, 0, 0] = images[0, 1, 0, 1] = 10.0
    images[0, :, 0, 2] = 5.0
    black, white = np.zeros((1, 2, 1, 1)), np.full((1, 2, 1, 1), 10.0)
    assert coloured(images, (black, white)).tolist() == [[[[0, 1, 0], [1, 0, 1], [0.5, 0.5, 0.5]]]]
    assert coloured(images[:, :1], (black[:, :1], white[:, :1])).tolist() == [
        [[[0, 1, 0], [0, 0, 0], [0, 0.5, 0]]]
    ]


def test_every_frame_of_every_track_is_in_the_figure() -> None:
    def track(light: float) -> RemodelledTrack:
        images = np.full((6, 2, 20, 20), 0.0)
        images[:, 0, :10] = light
        images[:, 1, 10] = 1.0
        return RemodelledTrack("track 1", "mock", np.arange(6), images, np.arange(6.0), np.arange(6) >= 3)

    xy = np.random.default_rng(0).normal(size=(40, 2))
    figures = [
        remodelled_tracks_figure(
            "infection_remodelled_1",
            "infected",
            ["ER", "mCherry"],
            tracks,
            Projection("UMAP", xy, ("1", "2")),
            "h",
        )
        for tracks in ([track(1.0), track(1.0)], [track(1.0), track(0.0)])
    ]
    green, half = (
        (np.asarray(Image.open(io.BytesIO(one.png)).convert("RGB")) == [0, 255, 0]).all(axis=-1).mean()
        for one in figures
    )
    assert half == pytest.approx(green / 2, rel=0.05)
    assert figures[0].name == "infection_remodelled_1"
    assert "ER green, mCherry magenta" in figures[0].caption
