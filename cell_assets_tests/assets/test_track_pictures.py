"""Which track stands for a state that lasts, and what two tracks show around an injected error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.assets.inputs import ReadArtifact, ReadTable, ReportInputs
from cell_assets.assets.track_pictures import disruption_patches, division_trajectories, turning_tracks
from cell_assets.evaluation.motion.disruption_study import ExampleTracks
from cell_assets.evaluation.motion.track_disruptions import Disruption, DisruptionKind
from cell_assets.evaluation.splits import SplitUnit
from cell_assets.evaluation.units import unit_ids
from cell_assets.imaging.patch_reading import open_patch_table
from cell_assets.ledger.records import ReadReceipt
from cell_assets.reporting.disruption_figure import pictured_frames
from cell_assets.reporting.embedding_figures import Projection
from cell_assets_tests.evaluation.motion.test_division_steps import families
from cell_assets_tests.evaluation.movies import infection_movie
from cell_assets_tests.evaluation.states.test_state_dynamics import COLUMN, study
from cell_assets_tests.methods.dynaclr.small_patch_table import write_table

RECEIPT = ReadReceipt(1, "patch_table", "P1", "ab" * 32)


def test_the_longest_test_track_with_an_annotated_onset_is_followed_from_its_first_frame() -> None:
    found = study(infection_movie(n_lineages=64))
    (track,) = turning_tracks(found)
    assert (track.column, track.state) == (COLUMN, "infected")
    cells = found.embedded.cells.iloc[track.rows]
    assert cells["split"].unique().tolist() == ["test"]
    assert cells["track_id"].nunique() == 1 and (np.diff(cells["t"]) > 0).all()
    states = found.annotations[COLUMN].iloc[track.rows].to_numpy()
    first = int(np.argmax(states == "infected"))
    assert first > 0 and (states[first:] == "infected").all()
    assert track.onset == track.minutes[first]
    test = found.embedded.cells.query("split == 'test'").assign(state=found.annotations[COLUMN])
    turning = test.groupby(["plate", "fov_name", "track_id"])["state"].nunique() == 2
    lengths = test.groupby(["plate", "fov_name", "track_id"])["t"].agg(lambda t: t.max() - t.min())
    assert cells["t"].max() - cells["t"].min() == lengths[turning].max()
    features = found.embedded.features[track.rows]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert track.distance == pytest.approx([np.linalg.norm(one - unit[0]) for one in unit])


def test_trajectories_are_of_the_divisions_that_were_found_in_minutes_of_the_film() -> None:
    cells = families().assign(lineage_root=1, condition="mock", infection_state="uninfected", hours=0.0)
    found = study(cells, annotated=False)
    views = [Projection("PCA", found.embedded.pca, ("PC 1", "PC 2"))]
    table = division_trajectories(found, views)
    assert found.divisions is not None and len(found.divisions.trajectories) == table["division"].max()
    (first, *_) = found.divisions.trajectories
    parent = table[(table["division"] == 1) & (table["drawn_as"] == "parent")]
    assert parent[["x", "y"]].to_numpy().tolist() == found.embedded.pca[first.parent].tolist()
    assert parent["minutes"].tolist() == [-150.0, -120.0, -90.0, -60.0, -30.0, 0.0]
    # Cells about to divide are drawn once more than among all.
    assert table["drawn_as"].nunique() == 5
    still = study(cells, interval_min=None, annotated=False)
    assert division_trajectories(still, views).empty


def test_around_a_swap_either_name_shows_its_cell_and_then_the_others(tmp_path: Path) -> None:
    folder = write_table(tmp_path, "A/1/000", n_frames=9)
    table = open_patch_table(folder)
    cells = table.cells.assign(plate="P1")
    here = ReadArtifact(folder, RECEIPT)
    inputs = ReportInputs({}, {"P1": here}, {("P1", "A/1/000"): ReadTable(folder, RECEIPT)}, here, here, {})
    names = unit_ids(cells, SplitUnit.TRACK)
    left, right = (str(names[cells["track_id"] == track][0]) for track in (2, 3))
    at = np.flatnonzero(cells["track_id"].isin([2, 3]))
    t = cells["t"].to_numpy()[at]
    swapped = (names[at] == left) ^ (t >= 4)
    rows = pd.DataFrame({"track": np.where(swapped, left, right), "t": t, "row": at})
    rows = rows[~((rows["track"] == left) & (rows["t"] == 5))]  # not seen in one frame
    example = ExampleTracks(Disruption(DisruptionKind.SWAP, left, right, 4, None, 1.0), rows)
    found = disruption_patches(example, cells, inputs)
    assert found is not None
    assert found.t.tolist() == [1, 2, 3, 4, 5, 6]
    before = [True, True, True, False, False, False]
    assert found.is_own.tolist() == [before, before]
    for place, (own, other) in enumerate(((2, 3), (3, 2))):
        for frame, time in enumerate(found.t):
            if (place, time) == (0, 5):
                assert np.isnan(found.images[place, frame]).all()
                continue
            is_shown = (cells["track_id"] == (own if time < 4 else other)) & (cells["t"] == time)
            row = cells.loc[is_shown, "row"].to_numpy()
            assert np.array_equal(found.images[place, frame], table.read(row)[0, :, 0])
    assert disruption_patches(example, cells.assign(row=np.nan), inputs) is None


def test_the_frames_of_a_merge_reach_from_before_it_to_after_it() -> None:
    rows = pd.DataFrame({"track": "a", "t": np.arange(20), "row": np.arange(20)})
    example = ExampleTracks(Disruption(DisruptionKind.MERGE, "a", "b", 7, 9, 1.0), rows)
    assert pictured_frames(example).tolist() == list(range(4, 12))
