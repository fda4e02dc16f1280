"""Tracks that came without images: read, scored, and sent through GEFF and back."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from cell_assets.imaging.geff_files import read_geff, write_geff
from cell_assets.imaging.laptrack_parameters import ELONGATION, LaptrackParameters
from cell_assets.imaging.laptrack_tracking import laptrack_links
from cell_assets.imaging.track_files import read_ctc_tracks, read_track_csv
from cell_assets.imaging.track_scores import LabelledTracks, TrackScores, score_tracks
from cell_assets.imaging.track_tables import NO_PARENT, TRACK_COLUMNS, Column

FOV = "A/1/0"
SPACING = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class LinkScore:
    """Links of cells, and divisions with mother and both daughters, against those of another table."""

    given_links: int
    links_f1: float
    given_divisions: int
    divisions_f1: float | None
    """None where neither table has one."""


def hela_tracks(data: Path) -> pd.DataFrame:
    """A tracked HeLa movie as motile tracker exports it."""
    return read_track_csv(data / "track_fixtures/hela_tracks_motile/hela_example_tracks.csv", FOV)


def btrack_tracks(data: Path) -> pd.DataFrame:
    """The detections of btrack's test, with the tracks that they were made from."""
    folder = data / "track_fixtures/btrack_tests"
    points = pd.read_csv(folder / "test_data.csv")
    truth = json.loads((folder / "test_ground_truth.json").read_text(encoding="utf-8"))
    rows = []
    for track, members in truth.items():
        before = NO_PARENT
        for row in sorted(members, key=lambda one: points["t"][one]):
            t, y, x = int(points["t"][row]), float(points["y"][row]), float(points["x"][row])
            rows.append((FOV, int(track), t, row, NO_PARENT, before, 0.0, y, x))
            before = row
    table = pd.DataFrame(rows, columns=list(TRACK_COLUMNS))
    return table.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)


def ctcmetrics(data: Path, scratch: Path) -> TrackScores:
    """The scorer's own example, result against truth."""
    with zipfile.ZipFile(data / "track_fixtures/ctcmetrics_test/test_data.zip") as archive:
        archive.extractall(scratch)
    found, true = scratch / "res", scratch / "GT" / "TRA"
    return score_tracks(
        LabelledTracks(_frames(found, "mask"), _lives(found / "res_track.txt")),
        LabelledTracks(_frames(true, "man_track"), _lives(true / "man_track.txt")),
    )


def relinked(table: pd.DataFrame, max_distance_px: float) -> pd.DataFrame:
    """The same cells, linked anew by laptrack; they have places but neither sizes nor shapes."""
    cells = table[[Column.T, Column.ID, *("z", "y", "x")]].rename(columns={Column.ID: "label"})
    cells = cells.assign(area=1, **dict.fromkeys(ELONGATION, 0.0))
    # Where no size is known, none can halve.
    parameters = LaptrackParameters.for_objects(max_distance_px).model_copy(update={"size_um": 0.0})
    links = laptrack_links(cells, SPACING, parameters)
    ids = links.set_index(Column.ID)["label"]
    parents = links[Column.PARENT_ID].map(ids).fillna(NO_PARENT).astype(np.int64)
    return links.assign(**{Column.ID: links["label"], Column.PARENT_ID: parents})


def link_score(found: pd.DataFrame, given: pd.DataFrame) -> LinkScore:
    """Compare two tables of the same cells by their ids."""
    links = [_links(table) for table in (found, given)]
    divisions = [_divisions(table) for table in (found, given)]
    return LinkScore(len(links[1]), _f1(*links) or 0.0, len(divisions[1]), _f1(*divisions))


def comes_back(table: pd.DataFrame, scratch: Path) -> bool:
    """Whether a table read from the GEFF that it was written to is the same to the last digit."""
    write_geff(table, scratch / "tracks.geff", SPACING, None)
    again = read_geff(scratch / "tracks.geff", str(table[Column.FOV_NAME].iloc[0]))
    ordered = table.sort_values([Column.TRACK_ID, Column.T], ignore_index=True)[list(TRACK_COLUMNS)]
    return again.equals(ordered)


def _frames(folder: Path, stem: str) -> Iterator[NDArray[np.generic]]:
    for path in sorted(folder.glob(f"{stem}*.tif")):
        yield tifffile.imread(path)[None]


def _lives(path: Path) -> pd.DataFrame:
    rows = [
        (label, t, parent or NO_PARENT)
        for label, begin, end, parent in read_ctc_tracks(path).replace(NO_PARENT, 0).itertuples(index=False)
        for t in range(begin, end + 1)
    ]
    return pd.DataFrame(rows, columns=[Column.TRACK_ID, Column.T, Column.PARENT_TRACK_ID])


def _links(table: pd.DataFrame) -> set[tuple[int, int]]:
    linked = table[table[Column.PARENT_ID] != NO_PARENT]
    return set(zip(linked[Column.PARENT_ID], linked[Column.ID], strict=True))


def _divisions(table: pd.DataFrame) -> set[tuple[int, tuple[int, ...]]]:
    linked = table[table[Column.PARENT_ID] != NO_PARENT]
    families = linked.groupby(Column.PARENT_ID)[Column.ID].agg(lambda ids: tuple(sorted(ids)))
    return {(int(mother), ids) for mother, ids in families.items() if len(ids) >= 2}


def _f1(found: set, given: set) -> float | None:
    return 2 * len(found & given) / (len(found) + len(given)) if found or given else None
