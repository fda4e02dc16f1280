"""A supervised baseline that was chosen: it is made before the report, which is held against it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cell_assets.assets.partitions import fov_key
from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session
from cell_assets.errors import BadInputError
from cell_assets.evaluation.manifest import read_manifest
from cell_assets.evaluation.scores.predicted_states import STATE_SEGMENTATION, read_predicted_states
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.parquet_tables import read_parquet
from cell_assets.imaging.tracking import open_track_labels
from cell_assets.ledger.records import Number
from cell_assets.methods.state_segmentation.folders import FovFolders
from cell_assets.methods.state_segmentation.fovs import open_fovs
from cell_assets.methods.state_segmentation.parameters import ZRule
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.end_to_end.lab import (
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    assert_published_is_whole,
    cell_assets,
    opened,
    run,
    small_choices,
    successful_runs,
)

pytestmark = pytest.mark.slow

SMALL = {"tile_px": 32, "base_width": 8, "depth": 2, "max_steps": 3}
FOVS = {
    "segmentation": {"backend": "threshold", "channel": "mCherry", "width_um": 10},
    "patches": {"side_px": 32},
}
CHOICES = {
    **small_choices(),
    "fovs": FOVS,
    "baseline": {"column": "infection_state", "preset": "quick", "changes": SMALL},
}
TASK = "dynaclr/infection_state"
POSITIONS = ("A/1/000", "A/1/001", "A/2/000", "A/2/001")


def numbers_of(session: Session) -> dict[str, Number]:
    """The newest of each name."""
    return {one.draft.name: one for one in session.ledger.numbers("E1") if one.draft.report == TASK}


def folders_of(session: Session, position: str) -> FovFolders:
    key = fov_key("P1", position)
    raw, segmentation, tracks, table = (
        session.store.read(asset, partition).path
        for asset, partition in (
            ("raw_acquisition", "P1"),
            ("segmentation", key),
            ("tracks", key),
            ("patch_table", key),
        )
    )
    return FovFolders("P1", position, raw, segmentation, tracks, table)


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """E1 with a small stack of three planes, filmed while one half of the wells is being infected."""
    folder = tmp_path_factory.mktemp("plates") / "three_planes"
    simulate(
        folder,
        SimulationParameters(
            seed=1,
            fovs_per_well=2,
            time_points=4,
            interval_min=30,
            start_hours_post_perturbation=9,
            shape_zyx=(3, 64, 64),
            voxel_um_zyx=(3.0, 1.0, 1.0),
            cells_per_fov=8,
            write_true_labels=False,
        ),
    )
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, PlateFolder(folder).request("E1", "P1"))
        outcome = run(session, RunRequest(experiment="E1", choices=CHOICES))
        assert outcome.failed == (), outcome.failed
    return settings


def test_the_report_states_the_rival_and_its_numbers_lead_to_it(lab: Settings) -> None:
    with opened(lab) as session:
        numbers = numbers_of(session)
        for name in (f"accuracy_{STATE_SEGMENTATION}", f"accuracy_gain_over_{STATE_SEGMENTATION}"):
            draft = numbers[name].draft
            assert draft.value is not None, draft.why_missing
            explained = cell_assets(lab, "explain", str(numbers[name].id), "--json")
            assert explained.code == 0 and f'"{STATE_SEGMENTATION}"' in explained.out
            again = recompute(session.store, numbers[name].id)
            assert again.agrees and [way.why_missing for way in again.ways] == [None, None]
        gain = numbers[f"accuracy_gain_over_{STATE_SEGMENTATION}"].draft.value
        both = (numbers["accuracy"].draft.value, numbers[f"accuracy_{STATE_SEGMENTATION}"].draft.value)
        assert gain == pytest.approx(both[0] - both[1])  # type: ignore[operator]
        report = session.ledger.latest("dynaclr_report", "E1")
        made = session.ledger.latest(STATE_SEGMENTATION, "E1")
        assert report is not None and made is not None
        assert made.artifact.id in {artifact.id for artifact in report.inputs}
        assert {artifact.asset for artifact in made.inputs} == {
            "experiment_manifest",
            "raw_acquisition",
            "segmentation",
            "tracks",
            "patch_table",
        }
        assert made.run.parameters["column"] == "infection_state"
        folder = session.store.path_of(made.artifact)
        assert {path.name for path in folder.iterdir()} >= {
            "model.safetensors",
            "config.json",
            "history.parquet",
            "states.parquet",
        }
        assert_published_is_whole(session)
        assert_nothing_left(session)
        assert_dagster_agrees(session)


def test_every_cell_of_every_fov_has_a_row(lab: Settings) -> None:
    with opened(lab) as session:
        table = read_predicted_states(session.store.read(STATE_SEGMENTATION, "E1").path).table
        keys = ["plate", "fov_name", "track_id", "t"]
        tracked = [
            read_parquet(
                session.store.read("tracks", fov_key("P1", position)).path / "tracks.parquet"
            ).assign(plate="P1")
            for position in POSITIONS
        ]
        cells = pd.concat(tracked)[keys].sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(table[keys], cells)
        assert table["probability"].between(0, 1).all()
        assert set(table["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        (ZRule.MEAN, lambda stack: stack.mean(axis=1)),
        (ZRule.MAX, lambda stack: stack.max(axis=1)),
        (ZRule.MIDDLE, lambda stack: stack[:, 1]),
    ],
)
def test_the_network_sees_the_plane_that_the_rule_says_normalised_as_patches_are(
    lab: Settings, rule: ZRule, seen: Callable[[np.ndarray], np.ndarray]
) -> None:
    with opened(lab) as session:
        folders = folders_of(session, "A/2/001")
        _, frozen = read_manifest(session.store.read("experiment_manifest", "E1").path)
        fovs = open_fovs([folders], frozen, ["mCherry", "Phase"], rule)
        cells = read_parquet(folders.patch_table / "cells.parquet").iloc[0]
        stack = open_acquisition(folders.acquisition).read_frame("A/2/001", 2)[::-1].astype(np.float64)
        for place, channel in ((0, 1), (1, 0)):
            shift, scale = cells[f"shift_fov_{channel}"], cells[f"scale_fov_{channel}"]
            expected = (seen(stack)[place] - shift) / scale
            assert fovs.fovs[0].image(2)[place] == pytest.approx(expected, abs=1e-4)
        labels = open_track_labels(folders.tracks, folders.segmentation).frame(2)
        planes = labels[1:2] if rule is ZRule.MIDDLE else labels
        assert np.array_equal(fovs.fovs[0].read_labels(2), planes)
        with pytest.raises(BadInputError, match="stores the channels Phase, mCherry and not GFP"):
            open_fovs([folders], frozen, ["GFP"], rule)


def test_what_cannot_be_chosen_is_refused_and_another_choice_makes_it_and_the_report_anew(
    lab: Settings,
) -> None:
    with opened(lab) as session:
        wrong = {"baseline": {"changes": {"base_width": 12}}}
        with pytest.raises(BadInputError, match="base_width=12 cannot be used"):
            choose(session, RunRequest(experiment="E1", choices=wrong))
        before = {
            asset: set(successful_runs(session, asset)) for asset in (STATE_SEGMENTATION, "dynaclr_report")
        }
        trained = set(successful_runs(session, "dynaclr_checkpoint"))
        other = {"baseline": {"changes": {**SMALL, "seed": 1}}}
        assert run(session, RunRequest(experiment="E1", choices=other)).failed == ()
        for asset, runs in before.items():
            assert len(set(successful_runs(session, asset)) - runs) == 1, asset
        assert set(successful_runs(session, "dynaclr_checkpoint")) == trained
        # Nobody asks for it any more: it is still current, and stays in the report.
        runs = set(successful_runs(session, "dynaclr_report"))
        assert run(session, RunRequest(experiment="E1", choices={"baseline": None})).failed == ()
        assert set(successful_runs(session, "dynaclr_report")) == runs
        assert_dagster_agrees(session)


def test_new_annotations_leave_it_out_until_it_is_made_of_them(lab: Settings, tmp_path: Path) -> None:
    with opened(lab) as session:
        tracks = read_parquet(session.store.read("tracks", fov_key("P1", "A/1/000")).path / "tracks.parquet")
        seen = tracks.head(1)[["track_id", "t"]].assign(infection_state="infected")
        seen.to_csv(tmp_path / "seen.csv", index=False)
        said = cell_assets(
            lab, "annotate", "P1", "A/1/000", str(tmp_path / "seen.csv"), "--why", "looked again"
        )
        assert said.code == 0, said.err
        assert run(session, RunRequest(experiment="E1", choices={"baseline": None})).failed == ()
        report = session.ledger.latest("dynaclr_report", "E1")
        assert report is not None
        assert STATE_SEGMENTATION not in {artifact.asset for artifact in report.inputs}
        with session.executor() as executor:
            # By hand, as from the Dagster UI: without a choice somebody must say which of two columns.
            refused = executor.materialise([STATE_SEGMENTATION], partition="E1").error
            assert refused is not None and "2 annotation columns (division_state, infection_state)" in refused
            config = {STATE_SEGMENTATION: {"column": "infection_state"}}
            assert executor.materialise([STATE_SEGMENTATION], partition="E1", config=config).succeeded
        assert run(session, RunRequest(experiment="E1")).failed == ()
        report = session.ledger.latest("dynaclr_report", "E1")
        assert report is not None
        assert STATE_SEGMENTATION in {artifact.asset for artifact in report.inputs}
        made = session.ledger.latest(STATE_SEGMENTATION, "E1")
        assert made is not None and "annotations" in {artifact.asset for artifact in made.inputs}
