"""plate_qc as the lab sees it: tables and heat maps in the store, pictures in the Dagster UI's metadata."""

import shutil
from collections.abc import Callable

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cell_assets.assets.checks import FRAMES_WITHIN_THRESHOLDS
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, register_plate_keys
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.quality.plate_quality import plate_quality, read_plate_quality
from cell_assets.ledger.records import RunDraft
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, instance_of, opened, small_choices


def test_tables_and_heat_maps_are_published_and_shown(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        folder, _ = session.store.read("plate_qc", "P1")
        raw, _ = session.store.read("raw_acquisition", "P1")
        published = read_plate_quality(folder).screening
        measured = plate_quality(open_acquisition(raw)).screening
        assert published is not None and measured is not None
        pd.testing.assert_frame_equal(published.frames, measured.frames, check_dtype=False)
        info = open_acquisition(raw).info
        n_frames = len(info.channel_names) * sum(position.shape[0] for position in info.positions)
        assert len(published.frames) == n_frames
        assert np.isfinite(published.frames["focus_slope"]).all()
        figures = sorted(file.stem for file in (folder / "figures").iterdir())
        assert len(figures) == len(info.channel_names)
        with instance_of(session) as instance:
            (record,) = instance.fetch_materializations(dg.AssetKey("plate_qc"), limit=5).records
        assert record.asset_materialization is not None
        shown = record.asset_materialization.metadata["figures"].value
        assert isinstance(shown, str)
        assert [stem for stem in figures if f"![{stem}](data:image/png;base64," in shown] == figures


def test_a_threshold_set_later_is_checked_without_measuring_again(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        folder, _ = session.store.read("plate_qc", "P1")
        screening = read_plate_quality(folder).screening
        assert screening is not None
        slopes = screening.frames["focus_slope"]
        limit = float(np.median(slopes))
        assert checked(session) == (True, [])
        choices = {"quality": [{"measure": "focus_slope", "low": limit}]}
        ExperimentChoices.checked(choices, "test").record(session.ledger, "E1")
        with session.executor() as executor:
            assert executor.materialise([AssetName.PLATE_QC], partition="P1").error is None
        passed, named = checked(session)
        assert not passed and len(named) == int((slopes < limit).sum()) > 0
        assert "focus_slope" in named[0] and named[0].endswith(f"is below {limit:g}")
        assert len(session.ledger.artifacts("plate_qc")) == 1


@pytest.mark.slow
def test_thresholds_that_exclude_need_a_plate_qc_of_the_standing_plate(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session, session.executor() as executor:
        asked = two_fovs.request("E1", "P1")
        config = {"raw_acquisition": as_config(asked, PARTITION_SAYS)}
        register_plate_keys(executor.instance, "E1", "P1", ["A/1/000", "A/2/000"])
        brought_in = executor.materialise([AssetName.RAW_ACQUISITION], partition="P1", config=config)
        assert brought_in.error is None, brought_in.error
        choices = {
            **small_choices(),
            "quality": [{"measure": "focus_slope", "low": -1e9, "action": "exclude"}],
        }
        ExperimentChoices.checked(choices, "test").record(session.ledger, "E1")
        keys = ("P1|A/1/000", "P1|A/2/000")
        chain = [AssetName.SEGMENTATION, AssetName.TRACKS, AssetName.PATCH_TABLE]
        assert executor.materialise(chain, partition_range=keys).error is None
        missing = executor.materialise([AssetName.EXPERIMENT_MANIFEST], partition="E1")
        assert missing.error == "plate_qc P1 has not been made; materialise it first"

        assert executor.materialise([AssetName.PLATE_QC], partition="P1").error is None
        _publish_other_bytes(session)
        outdated = executor.materialise([AssetName.EXPERIMENT_MANIFEST], partition="E1")
        said = "plate_qc P1 was measured on an earlier raw acquisition; materialise plate_qc first"
        assert outdated.error == said
        assert session.ledger.artifacts("experiment_manifest") == ()

        assert executor.materialise([AssetName.PLATE_QC], partition="P1").error is None
        made = executor.materialise([AssetName.EXPERIMENT_MANIFEST], partition="E1")
        assert made.error is None, made.error
        (manifest,) = session.ledger.artifacts("experiment_manifest")
        read = session.ledger.provenance(session.ledger.runs(manifest.id)[-1].id).inputs
        newest = session.ledger.latest("plate_qc", "P1")
        assert newest is not None and newest.artifact.id in {one.id for one in read}


def _publish_other_bytes(session: Session) -> None:
    """The same plate with other bytes around its pixels, as an earlier version of the code may have written it."""
    made = session.ledger.latest("raw_acquisition", "P1")
    assert made is not None
    with session.store.write("raw_acquisition", "P1") as staged:
        shutil.copytree(session.store.path_of(made.artifact), staged.path, dirs_exist_ok=True)
        for file in staged.path.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        info = staged.path / "acquisition.json"
        info.write_text(info.read_text() + "\n")
        draft = RunDraft(made.run.code, made.run.parameters, made.run.started)
        session.store.publish(
            staged, draft, [], RECIPES["raw_acquisition"].format, content_digest=made.artifact.content_digest
        )


def checked(session: Session) -> tuple[bool, list[str]]:
    """The last word of the check of thresholds: whether it passed, and which breaches it names."""
    key = dg.AssetCheckKey(dg.AssetKey("plate_qc"), FRAMES_WITHIN_THRESHOLDS)
    with instance_of(session) as instance:
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None and record.event.dagster_event is not None
    said = record.event.dagster_event.asset_check_evaluation_data
    breaches = said.metadata["breaches"].value
    assert isinstance(breaches, list) and said.partition == "P1"
    return said.passed, [str(breach) for breach in breaches]
