"""The manifest: what it leaves out, and that every cell image stands in exactly one place."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError
from cell_assets.evaluation.left_out import what_is_left_out
from cell_assets.evaluation.manifest import (
    EXCLUDED,
    FrozenCells,
    Manifest,
    ManifestFov,
    read_manifest,
    write_manifest,
)
from cell_assets.evaluation.scores.tasks import about_to_divide
from cell_assets.evaluation.splits import SplitParameters, SplitUnit
from cell_assets.imaging.quality.plate_quality import PlateQuality
from cell_assets.imaging.quality.thresholds import Threshold
from cell_assets_tests.imaging.quality.small_quality import small_quality

FOVS = tuple(f"A/{well}/00{fov}" for well in (1, 2) for fov in range(3))
FOCUS = {"measure": "focus_slope", "low": -3, "action": "exclude"}


def cells_of(fov: str, n_tracks: int = 6, n_frames: int = 3) -> pd.DataFrame:
    """Tracks that each live for all frames, of one condition per well."""
    well = fov.rpartition("/")[0]
    track = np.repeat(np.arange(1, n_tracks + 1), n_frames)
    columns = {
        "fov_name": fov,
        "well": well,
        "track_id": track,
        "parent_track_id": -1,
        "t": np.tile(np.arange(n_frames), n_tracks),
        "lineage_root": track,
        "perturbation": "DENV" if well == "A/2" else None,
        "perturbation_type": "virus",
        "dose": np.nan,
        "dose_unit": None,
    }
    return pd.DataFrame(columns)


def frozen(
    folder: Path,
    qualities: dict[str, PlateQuality],
    *thresholds: dict[str, object],
    tables: dict[str, pd.DataFrame] | None = None,
    unit: SplitUnit = SplitUnit.TRACK,
) -> tuple[Manifest, FrozenCells]:
    folder.mkdir(parents=True, exist_ok=True)
    fovs = []
    for plate in qualities:
        for fov in FOVS:
            path = folder / f"{plate}_{fov.replace('/', '_')}.parquet"
            (tables or {}).get(fov, cells_of(fov)).to_parquet(path)
            fovs.append(ManifestFov(plate, fov, "d" * 64, path))
    parsed = [Threshold.model_validate(threshold) for threshold in thresholds]
    digests = dict.fromkeys(qualities, "d" * 64)
    write_manifest(
        folder,
        "E1",
        digests,
        fovs,
        SplitParameters(unit=unit),
        simulated=False,
        qualities=qualities,
        thresholds=parsed,
    )
    return read_manifest(folder)


def every_cell(plates: list[str]) -> pd.DataFrame:
    return pd.concat(
        [cells_of(fov).assign(plate=plate) for plate in plates for fov in FOVS], ignore_index=True
    )


def test_a_blurred_frame_is_left_out_and_named(tmp_path: Path) -> None:
    manifest, kept = frozen(tmp_path, {"P1": small_quality({("A/1/001", 1): -4.0}, fovs=FOVS)}, FOCUS)
    (row,) = kept.exclusions.to_dict("records")
    assert (row["plate"], row["well"], row["fov_name"], row["t"]) == ("P1", "A/1", "A/1/001", 1)
    assert (row["measure"], row["channel"], row["value"], row["limit"]) == ("focus_slope", "GFP", -4.0, -3.0)
    assert row["n_cells"] == 6
    cells = every_cell(["P1"])
    is_out = (kept.split_of(cells) == EXCLUDED).to_numpy()
    assert (is_out == ((cells["fov_name"] == "A/1/001") & (cells["t"] == 1)).to_numpy()).all()
    assert {fov.fov_name: fov.n_left_out for fov in manifest.fovs if fov.n_left_out} == {"A/1/001": 6}
    told = what_is_left_out(manifest, kept)
    assert told.sentences() == ("6 of 108 cell images (5.6%) are left out by thresholds of quality.",)
    assert told.first == ("P1 A/1/001 t=1: focus_slope in GFP is -4, below -3",)
    assert [(c.plate, c.measure, c.places, c.n_cells) for c in told.counts] == [
        ("P1", "focus_slope", "1 frame", 6)
    ]


limits = st.floats(-5, 1, allow_nan=False)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    focus=st.dictionaries(st.tuples(st.sampled_from(FOVS), st.integers(0, 2)), limits, max_size=12),
    low=limits,
    rate=st.sampled_from([0.0005, 0.01, 1.0]),
    fewest=st.sampled_from([0, 8, 100]),
    z_low=st.sampled_from([0.0, 0.5]),
)
def test_whatever_the_thresholds_every_image_is_in_one_place(
    tmp_path: Path,
    focus: dict[tuple[str, int], float],
    low: float,
    rate: float,
    fewest: float,
    z_low: float,
) -> None:
    counts = {"A/1": 7.0, "A/2": 40.0}
    qualities = {
        "P1": small_quality(focus, n_cells=counts, fovs=FOVS, z_prime=0.4),
        "P2": small_quality(n_cells={"A/1": 50.0, "A/2": 50.0}, fovs=FOVS, z_prime=0.8),
    }
    thresholds: list[dict[str, object]] = [
        {"measure": "focus_slope", "channel": "GFP", "low": low, "action": "exclude"},
        {"measure": "bleaching_rate_per_min", "high": rate, "action": "exclude"},
        {"measure": "n_cells", "low": fewest, "action": "exclude"},
        {"measure": "z_prime", "of": "over_background", "channel": "GFP", "low": z_low, "action": "exclude"},
    ]
    cells = every_cell(["P1", "P2"])
    blurred = {(plate, fov, t): -2.0 for plate in ("P1", "P2") for fov in FOVS for t in range(3)}
    blurred |= {("P1", fov, t): value for (fov, t), value in focus.items()}

    def is_out(plate: str, fov: str, t: int) -> bool:
        well = fov.rpartition("/")[0]
        n_cells = counts[well] if plate == "P1" else 50.0
        bleached = 0.02 if fov == FOVS[0] else 0.001
        z_prime = 0.4 if plate == "P1" else 0.8
        return blurred[plate, fov, t] < low or bleached > rate or n_cells < fewest or z_prime < z_low

    expected = [is_out(*key) for key in cells[["plate", "fov_name", "t"]].itertuples(index=False)]
    try:
        manifest, kept = frozen(tmp_path / "m", qualities, *thresholds)
    except BadInputError as error:
        assert all(expected), error
        assert "108" not in str(error) and "all of its 216 cell images" in str(error)
        return
    split = kept.split_of(cells)
    assert ((split == EXCLUDED) == expected).all()
    assert set(split) <= {"train", "val", "test", EXCLUDED}
    assert sum(fov.n_left_out for fov in manifest.fovs) == sum(expected)
    assert len(cells) == sum(fov.n_cells for fov in manifest.fovs)
    # The same track is never in two splits, and a track without an image left has none.
    tracks = cells.assign(split=split)[split != EXCLUDED].groupby(["plate", "fov_name", "track_id"])["split"]
    assert tracks.nunique().max() == 1
    assert len(kept.split_tracks) == len(tracks)


def test_an_emptied_plate_and_condition_are_said(tmp_path: Path) -> None:
    counts = {"A/1": 50.0, "A/2": 3.0}
    qualities = {
        "P1": small_quality(fovs=FOVS, n_cells=counts, z_prime=0.9),
        "P2": small_quality(fovs=FOVS, n_cells=counts, z_prime=0.1),
    }
    z_prime = {
        "measure": "z_prime",
        "of": "over_background",
        "channel": "GFP",
        "low": 0.5,
        "action": "exclude",
    }
    manifest, kept = frozen(
        tmp_path, qualities, z_prime, {"measure": "n_cells", "low": 10, "action": "exclude"}
    )
    told = what_is_left_out(manifest, kept)
    assert told.empty == ("plate P2", "condition virus DENV")
    assert told.sentences()[1] == "Nothing is left of plate P2, condition virus DENV."
    assert manifest.conditions == {"none named": 18, "virus DENV": 0}
    assert [(c.plate, c.measure, c.places) for c in told.counts] == [
        ("P1", "n_cells", "1 well"),
        ("P2", "n_cells", "1 well"),
        ("P2", "z_prime of over_background", "1 plate"),
    ]


def test_what_cannot_be_told_or_leaves_nothing_is_refused(tmp_path: Path) -> None:
    quality = small_quality(fovs=FOVS, z_prime=None)
    z_prime = {
        "measure": "z_prime",
        "of": "over_background",
        "channel": "GFP",
        "low": 0.5,
        "action": "exclude",
    }
    with pytest.raises(
        BadInputError, match=r"plate P1: whether z_prime of over_background .* no control wells"
    ):
        frozen(tmp_path / "a", {"P1": quality}, z_prime)
    with pytest.raises(BadInputError, match=r"all of its 108 cell images .* first P1 A/1/000 by focus_slope"):
        frozen(tmp_path / "b", {"P1": quality}, {**FOCUS, "low": 0})
    few = {("A/1/000", t): -9.0 for t in range(3)}
    with pytest.raises(BadInputError, match=r"has 2 fov\(s\).* \(18 of 108 cell images are left out"):
        frozen(tmp_path / "c", {"P1": small_quality(few, fovs=FOVS)}, FOCUS, unit=SplitUnit.FOV)


def test_a_track_ends_where_it_ends_though_its_last_image_is_left_out(tmp_path: Path) -> None:
    """Track 1 divides after t=2 into 2 and 3, which live at t=3 alone; t=2 and 3 are blurred."""
    rows = (
        [(1, t, -1) for t in range(3)]
        + [(2, 3, 1), (3, 3, 1)]
        + [(k, t, -1) for k in (4, 5, 6) for t in range(4)]
    )
    table = cells_of(FOVS[0], n_tracks=len(rows), n_frames=1)
    table["track_id"], table["t"], table["parent_track_id"] = np.array(rows).T
    table["lineage_root"] = table["track_id"].replace({2: 1, 3: 1})
    blurred = {(FOVS[0], 2): -9.0, (FOVS[0], 3): -9.0}
    quality = small_quality(blurred, fovs=FOVS, n_frames=4)
    _, kept = frozen(tmp_path, {"P1": quality}, FOCUS, tables={FOVS[0]: table})
    cells = table.assign(plate="P1")
    cells = cells[kept.split_of(cells) != EXCLUDED]
    assert sorted(zip(cells["track_id"], cells["t"], strict=True)) == [
        (k, t) for k in (1, 4, 5, 6) for t in (0, 1)
    ]
    # Horizon of one interval: t=1 divides within it, t=0 does not. Tracks 4 to 6 are followed to t=3.
    labels = about_to_divide(cells, 5.0, 5.0, kept.every_track(cells))
    assert labels.label.tolist() == [False, True] + [False] * 6
    assert labels.known.all()
    # From what is left alone, the division would be unseen and the track censored.
    assert not about_to_divide(cells, 5.0, 5.0).label.any()
    daughters = kept.tracks[kept.tracks["track_id"].isin([2, 3]) & (kept.tracks["fov_name"] == FOVS[0])]
    assert daughters["split"].isna().all() and len(daughters) == 2


def test_the_version_before_is_read(tmp_path: Path) -> None:
    frozen(tmp_path, {"P1": small_quality(fovs=FOVS)})
    stated = json.loads((tmp_path / "manifest.json").read_text())
    del stated["thresholds"]
    for fov in stated["fovs"]:
        del fov["n_left_out"]
    (tmp_path / "manifest.json").write_text(json.dumps(stated | {"format_version": "1"}))
    tracks = pd.read_parquet(tmp_path / "tracks.parquet").drop(columns=["parent_track_id", "last_t"])
    tracks.to_parquet(tmp_path / "tracks.parquet")
    (tmp_path / "excluded.parquet").unlink()
    manifest, kept = read_manifest(tmp_path)
    assert what_is_left_out(manifest, kept).sentences() == (
        "No thresholds of quality were set that leave anything out.",
    )
    cells = every_cell(["P1"])
    assert set(kept.split_of(cells)) == {"train", "val", "test"}
    assert len(kept.every_track(cells)) == len(cells)
    (tmp_path / "manifest.json").write_text(json.dumps(stated | {"format_version": "3"}))
    with pytest.raises(BadInputError, match="1 or 2 is expected"):
        read_manifest(tmp_path)
