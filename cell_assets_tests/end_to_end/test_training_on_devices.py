"""A step of Dagster whose training has two processes: published, recorded and traced as that of one."""

import json
import multiprocessing
from collections.abc import Callable

import pytest

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session
from cell_assets.ledger.records import Provenance
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import SMALL_TRAINING, PlateFolder, opened, small_choices

pytestmark = pytest.mark.slow


def trained(session: Session, **changes: object) -> Provenance:
    training = {"dynaclr": {"preset": "quick", "changes": {**SMALL_TRAINING, **changes}}}
    choose(session, RunRequest(experiment="E1", choices={**small_choices(), "training": training}))
    with session.executor() as executor:
        assert executor.materialise(["experiment_manifest", "dynaclr_checkpoint"], partition="E1").succeeded
    made = session.ledger.latest("dynaclr_checkpoint", "E1")
    assert made is not None
    return made


def test_a_step_trains_in_two_processes(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    with opened(new_lab()) as lab:
        ingest_plate(lab, two_fovs.request("E1", "P1"))
        choose(lab, RunRequest(experiment="E1", choices=small_choices()))
        record = lab.ledger.plate("P1")
        assert record is not None
        keys = [f"P1|{position}" for position in record.draft.positions]
        with lab.executor() as executor:
            chain = ["segmentation", "tracks", "patch_table"]
            assert executor.materialise(chain, partition_range=(keys[0], keys[-1])).succeeded
        alone = trained(lab)
        shared = trained(lab, devices=2)
        assert not multiprocessing.active_children()

        assert shared.artifact.digest != alone.artifact.digest
        assert (alone.run.parameters["devices"], shared.run.parameters["devices"]) == (1, 2)
        config = json.loads((lab.store.path_of(shared.artifact) / "config.json").read_text())
        assert config["parameters"]["devices"] == 2
        # Processes read by the folders of which the step has receipts: the edges are those of one process.
        inputs = [sorted(one.id for one in made.inputs) for made in (alone, shared)]
        assert len(inputs[0]) > 1 and inputs[0] == inputs[1]
        again = trained(lab, devices=2)
        assert again.artifact.id == shared.artifact.id, "what is current is not trained again"
