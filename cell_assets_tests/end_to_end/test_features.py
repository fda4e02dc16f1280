"""single_cell_features of a whole run: what the tables hold, and that numbers of the report lead back to them."""

from collections.abc import Callable

import numpy as np
import pytest

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.recipes import AssetName
from cell_assets.audit.explain import explain
from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.features.plate_features import read_features, read_features_record
from cell_assets.imaging.tracking import open_track_labels, read_tracks
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    damage,
    opened,
    run,
    small_choices,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> Settings:
    """E1 with a plate of two FOVs, run to its report."""
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        choices = small_choices()
        # As in the demo: what segments these plates best.
        segmentation = {"backend": "threshold", "channel": "mCherry", "width_um": 10}
        choices["fovs"] = {"segmentation": segmentation, "patches": {"side_px": 32}}
        assert run(session, RunRequest(experiment="E1", choices=choices)).failed == ()
    return settings


def test_every_cell_of_the_tracks_has_the_values_of_its_own_pixels(lab: Settings) -> None:
    with opened(lab) as session:
        folder, _ = session.store.read("single_cell_features", "P1")
        raw = open_acquisition(session.store.read("raw_acquisition", "P1").path)
        record, table = read_features_record(folder), read_features(folder)
        assert [fov.position for fov in record.fovs] == ["A/1/000", "A/2/000"]
        assert set(record.channels) == set(raw.info.channel_names)
        by_fov = dict(iter(table.groupby("fov_name")))
        for position in raw.positions:
            key = fov_key("P1", position)
            tracks = session.store.read("tracks", key).path
            cells, measured = read_tracks(tracks), by_fov[position].reset_index(drop=True)
            keys = ["track_id", "t"]
            assert measured[keys].to_numpy().tolist() == cells[keys].to_numpy().tolist()
            labels = open_track_labels(tracks, session.store.read("segmentation", key).path)
            labelled = measured["Metadata_ObjectNumber"].notna()
            features = list(record.features)
            assert labelled.sum() > 5
            assert measured.loc[~labelled, features].isna().all(axis=None)
            for row in measured[labelled].to_dict("records"):
                own = labels.frame(row["t"])[0] == row["Metadata_ObjectNumber"]
                for c, channel in enumerate(raw.info.channel_names):
                    pixels = raw.read_frame(position, row["t"])[c, 0][own]
                    column = f"Nuclei_Intensity_MeanIntensity_{record.channels[channel]}"
                    assert row[column] == pytest.approx(pixels.mean())
                assert row["Nuclei_AreaShape_Area"] == pytest.approx(own.sum())
        for fov in record.fovs:
            table = by_fov[fov.position]
            labelled = table["Metadata_ObjectNumber"].notna()
            missing = table.loc[labelled, list(record.features)].isna().sum()
            assert {name: count for name, count in missing.items() if count} == fov.n_missing
            assert (fov.n_cells, fov.n_without_label) == (len(table), int((~labelled).sum()))
        assert_dagster_agrees(session)


def test_a_rank_correlation_leads_back_to_features_and_raw_pixels_and_comes_out_again(lab: Settings) -> None:
    with opened(lab) as session:
        found = {
            one.draft.name: one
            for one in session.ledger.numbers("E1")
            if one.draft.report == "dynaclr/image_features"
        }
        first = next(number for name, number in found.items() if name.startswith("rank_correlation_pc1_"))
        assert first.draft.value is not None and 0 < abs(first.draft.value) <= 1
        steps = explain(session.ledger, first.id).artifacts
        reached = {f"{one.artifact.asset} {one.artifact.partition}" for one in steps}
        sources = {
            "single_cell_features P1",
            "tracks P1|A/1/000",
            "segmentation P1|A/2/000",
            "raw_acquisition P1",
        }
        assert sources <= reached
        (features,) = (one for one in steps if one.artifact.asset == "single_cell_features")
        assert "raw_acquisition" in {
            one.asset for one in session.ledger.provenance(features.runs[0].run.id).inputs
        }
        again = recompute(session.store, first.id)
        assert again.agrees, again.to_text()
        folder, _ = session.store.read("dynaclr_report", "E1")
        figures = {file.stem for file in (folder / "figures").iterdir()}
        assert {"feature_correlations", "component_ends"} <= figures


def test_the_threshold_on_the_ratio_answers_beside_the_embedding(lab: Settings) -> None:
    with opened(lab) as session:
        folder, _ = session.store.read("single_cell_features", "P1")
        ratios = [name for name in read_features_record(folder).features if "Ratio" in name]
        names = {one.draft.name for one in session.ledger.numbers("E1")}
        assert ratios
        for column in ratios:
            assert f"average_precision_ratio_{column.removeprefix('Nuclei_Ring_Ratio_')}" in names
        table = read_features(folder)
        assert np.isfinite(table[ratios].to_numpy()).any()


def test_a_fov_that_cannot_be_measured_is_named_and_what_stood_before_stays(lab: Settings) -> None:
    """The last test of this lab: it damages the plate."""
    with opened(lab) as session:
        before = session.ledger.latest("single_cell_features", "P1")
        changed = {**session.ledger.choices("E1"), "features": {"ring_width_um": 2.0}}
        ExperimentChoices.checked(changed, "test").record(session.ledger, "E1")
        damage(session, "A/2/000")
        with session.executor() as executor:
            error = executor.materialise([AssetName.SINGLE_CELL_FEATURES], partition="P1").error
        assert error is not None
        assert "P1|A/2/000: raw acquisition P1, plate.zarr/A/2/000 is not what was ingested" in error
        assert "P1|A/1/000" not in error
        assert session.ledger.latest("single_cell_features", "P1") == before
