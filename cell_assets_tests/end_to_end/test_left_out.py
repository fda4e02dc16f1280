"""A blurred frame, from the threshold that leaves it out to the page that names it."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import dagster as dg
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy.ndimage import gaussian_filter

from cell_assets.assets.checks import FRAMES_WITHIN_THRESHOLDS
from cell_assets.audit.leakage import audit_split
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest
from cell_assets.automation.session import Session
from cell_assets.imaging.quality.plate_quality import read_plate_quality
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    instance_of,
    opened,
    run,
    small_choices,
    tiny_plate,
)

FOV, T = "A/1/000", 1


@pytest.fixture(scope="module")
def blurred(tmp_path_factory: pytest.TempPathFactory) -> PlateFolder:
    """A plate with three FOVs a well; one frame of one of them is out of focus in every channel."""
    plate = tiny_plate(tmp_path_factory.mktemp("plates") / "blurred", fovs_per_well=3)
    pixels = zarr.open_array(plate.folder / "plate.zarr" / FOV / "0", mode="r+")
    frame = np.asarray(pixels[T])
    pixels[T] = np.stack([gaussian_filter(one.astype(float), (0, 6, 6)) for one in frame]).astype(frame.dtype)
    return plate


def request(quality: list[dict[str, object]], **choices: object) -> RunRequest:
    return RunRequest(experiment="E1", choices={**small_choices(), "quality": quality, **choices})


def test_a_blurred_frame_is_out_of_everything_and_the_report_names_it(
    new_lab: Callable[[], Settings], blurred: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, blurred.request("E1", "P1"))
        before = run(session, request([]))
        assert before.failed == ()
        assert "No thresholds of quality were set" in page_of(session)
        assert before.left_out == "No thresholds of quality were set that leave anything out."
        folder, _ = session.store.read("plate_qc", "P1")
        limit = between(read_plate_quality(folder).screening.frames)  # type: ignore[union-attr]
        whole = embedded(session)
        is_out = ((whole["fov_name"] == FOV) & (whole["t"] == T)).to_numpy()
        assert is_out.any()

        strict = {"measure": "high_frequency_share", "low": limit, "action": "exclude"}
        after = run(session, request([strict]))
        assert after.failed == (), after.failed
        assert embedded(session).index.tolist() == whole.index[~is_out].tolist()
        share = f"{is_out.sum()} of {len(whole)} cell images ({is_out.mean():.1%}) are left out"
        page = page_of(session)
        assert share in page and f"P1 {FOV} t={T}: high_frequency_share" in page
        assert after.left_out is not None and share in after.left_out
        assert "P1 high_frequency_share: 1 frame, " in after.left_out

        kind, passed, named = checked(session)
        assert (kind, passed) == (dg.AssetCheckSeverity.ERROR, False)
        assert all(one.startswith(f"{FOV} ") and one.endswith("; left out") for one in named)

        manifest = session.ledger.latest("experiment_manifest", "E1")
        assert manifest is not None
        assert "plate_qc" in {artifact.asset for artifact in manifest.inputs}
        assert [t["low"] for t in manifest.run.parameters["thresholds"]] == [limit]  # type: ignore[index,union-attr]
        number = session.ledger.numbers("E1")[-1]
        ancestors = session.ledger.ancestors([number.artifact_id]).artifact_ids
        assert "plate_qc" in {a.asset for a in session.ledger.artifacts_with_ids(sorted(ancestors)).values()}
        assert not audit_split(session.store, str(number.id)).leakage.leaks
        assert_dagster_agrees(session)

        # A threshold that warns decides nothing: the same manifest stands.
        assert run(session, request([strict, {"measure": "drift_um", "high": 0.01}])).failed == ()
        again = session.ledger.latest("experiment_manifest", "E1")
        assert again is not None and again.artifact.id == manifest.artifact.id

        # Where the manifest decides which patches are stored, the blurred ones are not.
        by_manifest = {"patches": {"side_px": 32, "policy": "manifest"}}
        assert run(session, request([strict], fovs=by_manifest)).failed == ()
        kept, _ = session.store.read("manifest_patches", "E1|P1")
        positions = json.loads((kept / "kept_patches.json").read_text())["positions"]
        assert len(positions) == 6
        fewer = {one["position"]: one["n_cells"] - one["n_kept"] for one in positions}
        assert {position: n for position, n in fewer.items() if n} == {FOV: int(is_out.sum())}
        assert embedded(session).index.tolist() == whole.index[~is_out].tolist()

        refused = run(session, request([{**strict, "channel": "nothing"}]))
        (why,) = refused.failed
        assert "plate P1: whether high_frequency_share" in why and "the plate has no channel nothing" in why


def between(frames: pd.DataFrame) -> float:
    """A limit that tells the blurred frame from all others in every channel."""
    is_blurred = (frames["fov_name"] == FOV) & (frames["t"] == T)
    low, high = (
        frames.loc[is_blurred, "high_frequency_share"],
        frames.loc[~is_blurred, "high_frequency_share"],
    )
    assert low.min() < high.min()
    return float((low.min() + high.min()) / 2)


def embedded(session: Session) -> pd.DataFrame:
    folder, _ = session.store.read("dynaclr_embeddings", "E1|P1")
    return ad.read_zarr(folder / "embeddings.zarr").obs


def page_of(session: Session) -> str:
    folder, _ = session.store.read("dynaclr_report", "E1")
    stated = json.loads((folder / "numbers.json").read_text())["left_out"]
    page = Path(folder / "report.html").read_text()
    assert (stated["n_left_out"] > 0) == ("What was left out" in page)
    return page


def checked(session: Session) -> tuple[dg.AssetCheckSeverity, bool, list[str]]:
    key = dg.AssetCheckKey(dg.AssetKey("plate_qc"), FRAMES_WITHIN_THRESHOLDS)
    with instance_of(session) as instance:
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None and record.event.dagster_event is not None
    said = record.event.dagster_event.asset_check_evaluation_data
    return said.severity, said.passed, list(said.metadata["breaches"].value)  # type: ignore[arg-type]
