"""A step of Dagster whose training has two processes: published, recorded and traced as that of one.

Two machines are two commands on this one, so that no network is between them.
"""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.session import Session
from cell_assets.ledger.records import Provenance
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import (
    CHECKOUT,
    SMALL_TRAINING,
    PlateFolder,
    bring_in,
    opened,
    small_choices,
    small_run,
)

pytestmark = pytest.mark.slow


def chosen(session: Session, **changes: object) -> None:
    training = {"dynaclr": {"preset": "quick", "changes": {**SMALL_TRAINING, **changes}}}
    choose(session, RunRequest(experiment="E1", choices={**small_choices(), "training": training}))


def trained(session: Session, **changes: object) -> Provenance:
    chosen(session, **changes)
    with session.executor() as executor:
        assert executor.materialise(["experiment_manifest", "dynaclr_checkpoint"], partition="E1").succeeded
    made = session.ledger.latest("dynaclr_checkpoint", "E1")
    assert made is not None
    return made


def test_a_step_trains_in_two_processes(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    with opened(new_lab()) as lab:
        bring_in(lab, two_fovs, small_run("E1"))
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


def test_a_step_trains_with_another_machine(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    settings = new_lab()
    with opened(settings) as lab:
        bring_in(lab, two_fovs, small_run("E1"))
        chosen(lab, devices=2, num_nodes=2)
        with lab.executor() as executor:
            assert executor.materialise(["experiment_manifest"], partition="E1").succeeded
            other = subprocess.Popen(
                [sys.executable, "-c", "from cell_assets.cli import main; main()", "train-beside", "E1"],
                cwd=CHECKOUT,
                env=os.environ | {"CELL_ASSETS_HOME": str(settings.home)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            try:
                assert executor.materialise(["dynaclr_checkpoint"], partition="E1").succeeded
                said = other.communicate(timeout=120)[0]
            finally:
                other.kill()
                other.wait()
        assert other.returncode == 0, said
        assert "the training of E1 has ended" in said
        made = lab.ledger.latest("dynaclr_checkpoint", "E1")
        assert made is not None
        assert made.run.parameters["devices"] == 2 and "num_nodes" not in made.run.parameters
        here = trained(lab, devices=2)
        assert here.artifact.id == made.artifact.id, "where its devices are decides no byte"
