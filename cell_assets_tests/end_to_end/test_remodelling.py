"""From plates with an organelle's channel to that channel around the called onset, in cells embedded without it."""

from collections.abc import Callable, Mapping

import pytest

from cell_assets.assets.partitions import fov_key
from cell_assets.audit.recompute import recompute
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunRequest, choose
from cell_assets.automation.stages import FOV_ASSETS
from cell_assets.ledger.records import Number
from cell_assets.methods.dynaclr.checkpoint import load_config
from cell_assets.settings import Settings
from cell_assets.simulation.parameters import ORGANELLE_NAME, SimulationParameters
from cell_assets.simulation.simulate import simulate
from cell_assets_tests.end_to_end.lab import (
    SMALL_TRAINING,
    PlateFolder,
    assert_dagster_agrees,
    assert_published_is_whole,
    opened,
    run,
)

pytestmark = pytest.mark.slow

SPREAD = f"Nuclei_Intensity_StdIntensity_{ORGANELLE_NAME}"


@pytest.fixture(scope="module")
def lab(new_lab: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """E1 of one plate of three channels, embedded from two of them; E2 of another, to which its model is applied."""
    settings, folder = new_lab(), tmp_path_factory.mktemp("plates")
    plate = SimulationParameters(
        seed=3,
        fovs_per_well=3,
        time_points=16,
        start_hours_post_perturbation=4.0,
        shape_zyx=(2, 128, 128),
        voxel_um_zyx=(3.0, 0.75, 0.75),
        cells_per_fov=14,
        organelle_channel=True,
    )
    simulate(folder / "own", plate)
    simulate(folder / "other", plate.model_copy(update={"seed": 4, "time_points": 8, "interval_min": 60.0}))
    training = SMALL_TRAINING | {
        "channels": ["Phase", "mCherry"],
        "objective": "nt-xent",
        "learning_rate": 5e-4,
        "max_steps": 60,
        "max_epochs": 100,
        "batch_size": 16,
    }
    fovs = {"patches": {"side_px": 60, "hours_post_perturbation_at_start": 4.0}}
    choices = {
        "fovs": fovs,
        "split": {"unit": "fov"},
        "report": {"n_resamples": 100, "independent_plates": ["P2"]},
        "training": {"dynaclr": {"preset": "quick", "changes": training}},
    }
    with opened(settings) as session:
        ingest_plate(session, PlateFolder(folder / "own").request("E1", "P1"))
        ingest_plate(session, PlateFolder(folder / "other").request("E2", "P2"))
        choose(session, RunRequest(experiment="E2", choices={"fovs": fovs}))
        other = session.ledger.plate("P2")
        assert other is not None
        with session.executor() as executor:
            for position in other.living_positions:
                made = executor.materialise(FOV_ASSETS, partition=fov_key("P2", position))
                assert made.error is None
        outcome = run(session, RunRequest(experiment="E1", choices=choices))
        assert outcome.failed == (), outcome.failed
    return settings


def spread(numbers: Mapping[str, Number], hours: str, of: str = "") -> float:
    value = numbers[f"{SPREAD}{of}_at_{hours}_h"].draft.value
    assert value is not None
    return value


def test_the_organelle_gathers_after_the_onset_that_was_called_without_it(lab: Settings) -> None:
    with opened(lab) as session:
        report = session.store.read("dynaclr_report", "E1")[0]
        checkpoint = session.store.read("dynaclr_checkpoint", "E1")[0]
        recorded = {
            one.draft.name: one
            for one in session.ledger.numbers("E1")
            if one.draft.report == "dynaclr/infection_state_remodelling"
        }
        for hours in ("-1", "+3"):
            found = recompute(session.store, recorded[f"{SPREAD}_at_{hours}_h"].id)
            assert found.agrees, found.to_text()
        assert_published_is_whole(session)
        assert_dagster_agrees(session)
    assert [one.name for one in load_config(checkpoint).channels] == ["Phase", "mCherry"]
    page = (report / "report.html").read_text()
    assert '<figure id="infection_state_remodelling_' in page
    assert '<figure id="infection_state_remodelled_tracks_' in page
    assert f"The embedding did not see {ORGANELLE_NAME}" in page
    # Light gathers round the nucleus: it spreads in infected cells alone, far beyond what time does.
    rise = spread(recorded, "+3") - spread(recorded, "-1")
    assert rise > 5
    assert abs(spread(recorded, "+3", "_control") - spread(recorded, "-1", "_control")) < 0.7 * rise
    after = recorded[f"{SPREAD}_at_+3_h"].draft
    assert after.split == "test FOVs (simulated)" and after.unit == "tracks"
    assert after.n >= 5 and after.ci_low is not None and after.ci_low > spread(recorded, "+3", "_control")


def test_tracks_of_an_independent_plate_are_pictured_too(lab: Settings) -> None:
    with opened(lab) as session:
        report = session.store.read("dynaclr_report", "E1")[0]
        made = session.ledger.latest("dynaclr_report", "E1")
        other = session.ledger.plate("P2")
        recorded = {
            one.draft.name: one
            for one in session.ledger.numbers("E1")
            if one.draft.report == "dynaclr/infection_state_independent_remodelling"
        }
        found = recompute(session.store, recorded[f"{SPREAD}_at_+2_h"].id)
        assert found.agrees, found.to_text()
    assert made is not None and other is not None
    tables = {one.partition for one in made.inputs if one.asset == "patch_table"}
    assert {fov_key("P2", position) for position in other.living_positions} < tables
    page = (report / "report.html").read_text()
    figure = page[page.index('<figure id="infection_state_independent_remodelled_tracks_') :]
    assert f"Independent plates: {ORGANELLE_NAME} in cells that turn infected" in figure
    assert "They are the tracks of independent plates that turn" in figure
    assert spread(recorded, "+2") > spread(recorded, "-1")
