"""Two labs, the same recorded parameters: the same bytes, from the raw plate to the checkpoint."""

from collections.abc import Callable

from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import PlateFolder, bring_in, opened, small_run

MADE = (
    "raw_acquisition",
    "segmentation",
    "tracks",
    "patch_table",
    "experiment_manifest",
    "dynaclr_checkpoint",
)


def digests(session: Session) -> dict[tuple[str, str], str]:
    """Asset and partition to digest."""
    return {
        (artifact.asset, artifact.partition): artifact.digest
        for asset in MADE
        for artifact in session.ledger.artifacts(asset)
    }


def train(session: Session, plate: PlateFolder, seed: int) -> None:
    """Everything up to the checkpoint."""
    bring_in(session, plate, small_run("E1", training_seed=seed))
    with session.executor() as executor:
        assert executor.materialise(["experiment_manifest", "dynaclr_checkpoint"], partition="E1").succeeded


def test_two_trainings_with_the_same_parameters_give_the_same_checkpoint(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as one, opened(new_lab()) as other:
        train(one, two_fovs, seed=3)
        train(other, two_fovs, seed=3)
        first, second = (lab.ledger.latest("dynaclr_checkpoint", "E1") for lab in (one, other))
        assert first is not None
        assert second is not None
        assert first.run.parameters == second.run.parameters
        assert first.run.parameters["max_steps"] == 2
        assert len(digests(one)) == 2 + 3 * 2 + 1
        assert digests(one) == digests(other)
        assert first.artifact.digest == second.artifact.digest

        train(other, two_fovs, seed=4)
        changed = other.ledger.latest("dynaclr_checkpoint", "E1")
        assert changed is not None
        assert changed.artifact.digest != first.artifact.digest
