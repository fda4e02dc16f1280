"""How well do Ultrack and laptrack track real movies? `.venv/bin/python benchmarks/tracking/run.py PICTURES`

Reads ../shared/data; writes `result.json` here and a picture of every tracking into the folder PICTURES. Takes
four minutes on two cores, half of them for Ultrack on the colony.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import matplotlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.tracking import fixtures, movies
from cell_assets.imaging.track_tables import Column
from cell_assets.imaging.tracking import TrackingBackend, read_track_quality

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
DATA = HERE.parents[1].parent / "shared" / "data"
ULTRACK, LAPTRACK = TrackingBackend.ULTRACK, TrackingBackend.LAPTRACK
HELA_PX, BTRACK_PX = 30.0, 30.0
"""Furthest that a cell is linked where no size says how far; the movies' nearest neighbours are further apart."""


def main(pictures: Path) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="tracking-benchmark-") as name:
        scratch = Path(name)
        cases = {
            "ctc_ecoli, given labels": (
                movies.colony(DATA, _new(scratch / "given"), from_pixels=False),
                (LAPTRACK,),
            ),
            "ctc_ecoli, pixels": (
                movies.colony(DATA, _new(scratch / "pixels"), from_pixels=True),
                (LAPTRACK, ULTRACK),
            ),
            "nuclei_migration, pixels": (
                movies.migrating_nuclei(DATA, _new(scratch / "nuclei")),
                (LAPTRACK, ULTRACK),
            ),
            "mitocheck, pixels": (
                movies.mitocheck_nuclei(DATA, _new(scratch / "mitocheck")),
                (LAPTRACK, ULTRACK),
            ),
            "nist_lineage_mapper, given labels": (movies.lineage_mapper_cells(DATA), (LAPTRACK, ULTRACK)),
        }
        for case, (movie, backends) in cases.items():
            for backend in backends:
                title = f"{case}: {backend.value}"
                started = time.perf_counter()
                tracked = movies.track(movie, backend, scratch / "made" / title)
                result[title] = _facts(tracked, scratch) | {"seconds": round(time.perf_counter() - started)}
                _draw(
                    tracked,
                    title,
                    pictures / f"{title.replace(', ', '_').replace(': ', '_').replace(' ', '_')}.png",
                )
                print(title, result[title], flush=True)
        result["fixtures"] = _fixtures(scratch)
    print(result["fixtures"])
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _facts(tracked: movies.Tracked, scratch: Path) -> dict[str, object]:
    facts: dict[str, object] = {
        "cells": len(tracked.tracks),
        "tracks": int(tracked.tracks[Column.TRACK_ID].nunique()),
        "divisions": len(tracked.divisions),
        "doubts": read_track_quality(tracked.folder).faults(),
        "comes_back_from_geff": fixtures.comes_back(tracked.tracks, Path(tempfile.mkdtemp(dir=scratch))),
    }
    if tracked.scores is not None:
        scores = tracked.scores
        facts |= {name: round(getattr(scores, name), 3) for name in ("tra", "det", "lnk", "seg")}
        facts["divisions_f1"] = {d.tolerance_frames: round(d.f1, 3) for d in scores.divisions}
    if tracked.movie.divisions_by_eye is not None:
        facts["marked_by_eye_and_found"] = tracked.seen_by_eye()
    return facts


def _fixtures(scratch: Path) -> dict[str, object]:
    hela, btrack = fixtures.hela_tracks(DATA), fixtures.btrack_tracks(DATA)
    said: dict[str, object] = {}
    for name, table, px in (("hela_tracks_motile", hela, HELA_PX), ("btrack_tests", btrack, BTRACK_PX)):
        said[name] = {
            "cells": len(table),
            "tracks": int(table[Column.TRACK_ID].nunique()),
            "comes_back_from_geff": fixtures.comes_back(table, _new(scratch / name)),
            "laptrack_from_points": asdict(fixtures.link_score(fixtures.relinked(table, px), table)),
        }
    scores = fixtures.ctcmetrics(DATA, _new(scratch / "ctcmetrics"))
    said["ctcmetrics_test"] = {name: round(getattr(scores, name), 4) for name in ("tra", "det", "lnk")}
    return said


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _draw(tracked: movies.Tracked, title: str, path: Path) -> None:
    """First and last frame; every track as a line in its lineage's colour, divisions as rings."""
    fov, source = tracked.movie.fov, tracked.movie.source
    height, width = fov.shape[3:]
    figure, panels = plt.subplots(1, 2, figsize=(14, 7 * height / width + 0.6), layout="constrained")
    for panel, t in zip(panels, (0, fov.shape[0] - 1), strict=True):
        frame = source.read_frame(fov.position, t)[0].max(axis=0).astype(np.float64)
        low, high = np.percentile(frame, [1, 99.7])
        panel.imshow(frame, cmap="gray", vmin=low, vmax=max(high, low + 1))
        panel.set_title(f"t = {t}: {(tracked.tracks[Column.T] == t).sum()} cells")
        panel.set_axis_off()
        _draw_tracks(panel, tracked, t)
    marks = tracked.movie.divisions_by_eye
    if marks is not None:
        panels[1].plot(marks["parent_x"], marks["parent_y"], "wx", ms=9, label="division marked by eye")
    panels[1].legend(loc="lower right", fontsize=9)
    figure.suptitle(
        f"{title}: {tracked.tracks[Column.TRACK_ID].nunique()} tracks, {len(tracked.divisions)} divisions"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_tracks(panel: Axes, tracked: movies.Tracked, until: int) -> None:
    colours = plt.get_cmap("tab20")
    known = tracked.tracks[tracked.tracks[Column.T] <= until].set_index(Column.ID, drop=False)
    for _, cells in known.groupby(Column.TRACK_ID):
        parent = cells[Column.PARENT_ID].iloc[0]
        path = cells[["y", "x"]].to_numpy()
        if parent in known.index:
            path = np.vstack([known.loc[parent, ["y", "x"]].to_numpy(np.float64), path])
        colour = colours(int(cells["lineage_root"].iloc[0]) % 20)
        panel.plot(path[:, 1], path[:, 0], "-", color=colour, lw=1)
        if cells[Column.T].iloc[-1] == until:
            panel.plot(path[-1, 1], path[-1, 0], ".", color=colour, ms=4)
    divisions = tracked.divisions[tracked.divisions[Column.T] <= until]
    panel.plot(divisions["x"], divisions["y"], "o", mec="yellow", mfc="none", ms=7, label="division found")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
