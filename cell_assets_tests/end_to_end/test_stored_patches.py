"""The side of stored patches against what a training needs, asked for step by step as from the Launchpad."""

from collections.abc import Callable, Mapping

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.automation.executing import Outcome
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.settings import Settings
from cell_assets_tests.end_to_end.lab import SMALL_TRAINING, PlateFolder, cell_assets, opened

PAPER = {
    "preset": "paper",
    **{name: value for name, value in SMALL_TRAINING.items() if name != "patch_side_px"},
    "precision": "float32",
    "compile_mode": "eager",
    "max_steps": 1,
}
"""What the paper's network sees, by a network of seconds."""
FOV_ASSETS = ("segmentation", "tracks", "patch_table")
FOVS = ("P1|A/1/000", "P1|A/2/000")


def made(session: Session, *assets: str, config: Mapping[str, object] | None = None) -> Outcome:
    """One run as the Launchpad starts it: of both FOVs, or of the experiment."""
    of_fovs = set(assets) <= set(FOV_ASSETS)
    with session.executor() as executor:
        return executor.materialise(
            assets,
            partition=None if of_fovs else "E1",
            partition_range=FOVS if of_fovs else None,
            config=None if config is None else {"fov_chain" if of_fovs else assets[0]: config},
        )


def stored_px(session: Session) -> list[object]:
    """Sides of the newest patch tables."""
    return [one.run.parameters["side_px"] for one in session.ledger.latest_many("patch_table", FOVS).values()]


def test_a_training_of_too_small_patches_says_what_to_do(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert made(session, *FOV_ASSETS).succeeded
        assert made(session, "experiment_manifest").succeeded
        # The image's side: it has fewer than 120 pixels.
        assert stored_px(session) == [64, 64]
        refused = made(session, "dynaclr_checkpoint", config=PAPER)
        assert refused.error is not None
        assert (
            "patch_table stores 64 px a side of P1|A/1/000 (2 of 2 FOVs of E1 are too small)" in refused.error
        )
        assert "sees 128 px; materialise patch_table" in refused.error
        assert "patches.side_px=239 in the config of fov_chain" in refused.error
        assert session.ledger.artifacts("dynaclr_checkpoint") == ()
        # The choice that was just made already says which side, so that no config is needed.
        assert made(session, "patch_table").succeeded
        assert stored_px(session) == [239, 239]
        trained = made(session, "dynaclr_checkpoint")
        assert trained.succeeded, trained.error
        (checkpoint,) = session.ledger.artifacts("dynaclr_checkpoint")
        (run,) = session.ledger.runs(checkpoint.id)
        assert (run.parameters["preset"], run.parameters["patch_side_px"]) == ("paper", 128)


def test_patches_that_were_not_yet_made_fit_the_training_that_was_chosen(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        early = made(session, "dynaclr_checkpoint", config=PAPER)
        assert early.error is not None and "experiment_manifest" in early.error
        assert made(session, *FOV_ASSETS).succeeded
        assert stored_px(session) == [239, 239]


def test_a_preset_that_cannot_train_on_the_chosen_side_is_refused_before_anything_is_recorded(
    new_lab: Callable[[], Settings], two_fovs: PlateFolder
) -> None:
    settings = new_lab()
    with opened(settings) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert made(session, *FOV_ASSETS, config={"patches": {"side_px": 90}}).succeeded
        before = session.ledger.head()
    refused = cell_assets(settings, "run", "--experiment", "E1", "--preset", "paper")
    assert refused.code == 1
    (said,) = refused.error_lines
    assert "sees 128 px, more than the stored patches of 90 px that were chosen" in said
    assert "--patch-px 128, or choose side_px=239" in said
    with opened(settings) as session:
        assert session.ledger.head() == before
        assert ExperimentChoices.of(session.ledger, "E1").fovs.patches.side_px == 90
