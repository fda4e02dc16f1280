"""What a person sees in the Dagster UI after a real ingest and run; every page is asked for its data.

The tests share one lab, one `cell-assets dev` and one browser, and go in the order of a person's day.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3
from playwright.sync_api import Locator

from cell_assets.assets.checks import LEDGER_AGREES, NOT_WITHDRAWN
from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import checkpoint_output
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, PLATE
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.audit.impact import withdraw
from cell_assets.audit.subjects import find_subject
from cell_assets.automation.executing import OWNER_TAG
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.running import RunOutcome
from cell_assets.automation.session import Session
from cell_assets.definitions import defs
from cell_assets.imaging.fov_chain import Stage
from cell_assets.imaging.tracking import read_tracks
from cell_assets.methods.dynaclr.parameters import TrainingParameters
from cell_assets.methods.dynaclr.sampling import SamplingStrategy
from cell_assets.settings import Settings
from cell_assets_tests.automation.dev_session import wait_until
from cell_assets_tests.chromium import chromium
from cell_assets_tests.end_to_end.dagster_ui import WINDOW, DagsterUi, browsed, served
from cell_assets_tests.end_to_end.lab import (
    SMALL_TRAINING,
    PlateFolder,
    assert_dagster_agrees,
    assert_nothing_left,
    instance_of,
    opened,
    run,
    small_run,
)

pytestmark = pytest.mark.needs_chromium

DAMAGED = "A/2/000"
DAMAGED_KEY = f"P2|{DAMAGED}"
REPORT = "dynaclr_report"


@dataclass(frozen=True)
class Lab:
    """E1 with plate P1 is finished up to its report; plate P2 of E2 has one damaged FOV of two."""

    home: Path
    whole: RunOutcome
    broken: RunOutcome
    damaged_chunk: Path
    sound_bytes: bytes

    def repair(self) -> None:
        self.damaged_chunk.write_bytes(self.sound_bytes)
        self.damaged_chunk.chmod(0o444)


@pytest.fixture(scope="module")
def lab(home: Path, two_fovs: PlateFolder) -> Lab:
    chromium()
    with _opened(home) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        whole = run(session, small_run("E1"))
        ingest_plate(session, two_fovs.request("E2", "P2"))
        raw = session.store.read(AssetName.RAW_ACQUISITION, "P2").path
        chunk = next(
            path for path in sorted((raw / "plate.zarr" / DAMAGED).rglob("c/**/*")) if path.is_file()
        )
        sound = chunk.read_bytes()
        chunk.chmod(0o644)
        chunk.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        broken = run(session, small_run("E2"))
    return Lab(home, whole, broken, chunk, sound)


def _opened(home: Path) -> AbstractContextManager[Session]:
    return opened(Settings(home=home, database_url=None, workers=1))


@pytest.fixture(scope="module")
def ui(lab: Lab) -> Iterator[DagsterUi]:
    with served(lab.home) as address, browsed(address) as ui:
        yield ui


def test_every_asset_is_defined_and_the_graph_shows_its_group(ui: DagsterUi) -> None:
    # Wide enough for a whole group: the graph draws only the nodes in sight, and the other groups span more.
    ui.page.set_viewport_size({"width": 3600, "height": 1800})
    groups: dict[str, list[str]] = {}
    for spec in defs.resolve_all_asset_specs():
        groups.setdefault(str(spec.group_name), []).append(spec.key.to_user_string())
    assert sorted(groups) == ["acquisitions", "cytosummary", "dynaclr", "experiments", "fovs", "profiling"]
    assert sorted(name for names in groups.values() for name in names) == sorted(RECIPES)
    for group in ("acquisitions", "fovs"):
        names = groups[group]
        ui.open(f"/locations/cell_assets/asset-groups/{group}/lineage")
        ui.page.get_by_text("Latest event").nth(len(names) - 1).wait_for()
        if group == "fovs":
            ui.page.get_by_text("1 failed").nth(len(Stage) - 1).wait_for()
            assert ui.text().count("(1 failed)") == len(Stage)
        said = ui.text()
        assert [name for name in names if name not in said] == []
        ui.screenshot(f"graph_of_{group}")
    ui.page.set_viewport_size(WINDOW)


def test_fresh_data_is_shown_as_fresh(ui: DagsterUi, lab: Lab) -> None:
    shown = ui.staleness()
    with _opened(lab.home) as session:
        made = {
            (one.asset, one.partition): session.ledger.latest(one.asset, one.partition) is not None
            for one in shown
        }
    assert [
        one for one in shown if one.status != ("FRESH" if made[one.asset, one.partition] else "MISSING")
    ] == []
    assert sum(made.values()) == 2 * 2 + 1 + 3 * 3 + 4


def test_a_failed_fov_alone_is_red_among_the_plates_partitions(ui: DagsterUi) -> None:
    ui.open("/assets/segmentation?view=partitions")
    ui.wait_for("Failed (1)")
    assert "Materialized (3)" in ui.text()
    assert "Missing (0)" in ui.text()
    ui.page.get_by_text("P2", exact=True).first.click()
    ui.page.get_by_text(DAMAGED, exact=True).first.click()
    ui.wait_for("failed, and did not materialize this asset")
    ui.screenshot("plate_partitions_failed")

    ui.open("/assets/segmentation?view=partitions&partition=P1%7CA%2F1%2F000")
    ui.wait_for("ledger_run")
    assert "Unsynced" not in ui.text()
    ui.screenshot("plate_partitions_materialised")


def test_a_reports_materialisation_shows_its_numbers_and_figures(ui: DagsterUi, lab: Lab) -> None:
    with _opened(lab.home) as session:
        latest = session.ledger.latest(REPORT, "E1")
        assert latest is not None
        numbers = session.ledger.numbers_of_runs([latest.run.id])
        drawn = {figure.stem for figure in session.store.path_of(latest.artifact).glob("figures/*.png")}
    ui.open(f"/assets/{REPORT}?view=partitions&partition=E1")
    ui.wait_for("[Show Markdown]")
    assert latest.artifact.digest in ui.text()
    assert "Unsynced" not in ui.text()
    ui.screenshot("report")

    dialogue = ui.page.get_by_role("dialog")
    _row(ui, "numbers").get_by_text("[Show Markdown]").click()
    dialogue.locator("tbody tr").first.wait_for()
    ids = dialogue.locator("tbody tr td:first-child").all_inner_texts()
    assert [int(one) for one in ids] == [number.id for number in numbers]
    ui.screenshot("report_numbers")
    dialogue.get_by_text("Close").click()

    _row(ui, "figures").get_by_text("[Show Markdown]").click()
    dialogue.locator("img").first.wait_for()
    images = dialogue.locator("img").evaluate_all(
        "found => found.map(image => [image.alt, image.naturalWidth, image.getBoundingClientRect().right])"
    )
    assert {name for name, _, _ in images} == drawn
    frame = dialogue.bounding_box()
    assert frame is not None
    assert [name for name, width, right in images if width == 0 or right > frame["x"] + frame["width"]] == []
    ui.screenshot("report_figures")


def _row(ui: DagsterUi, entry: str) -> Locator:
    return ui.page.locator("tr").filter(has=ui.page.get_by_text(entry, exact=True)).last


def test_runs_of_the_command_line_have_their_pages(ui: DagsterUi, lab: Lab) -> None:
    shown = {run.run_id: run for run in ui.runs()}
    assert {shown[run_id].status for run_id in lab.whole.dagster_runs} == {"SUCCESS"}
    failed = shown[lab.broken.dagster_runs[0]]
    assert failed.status == "FAILURE"
    assert OWNER_TAG in failed.tags
    ui.open(f"/runs/{failed.run_id}?focusedTime=0")
    ui.wait_for("STEP_FAILURE")
    said = ui.text()
    assert f"1 FOV failed: {DAMAGED_KEY}" in said
    assert "is not what was ingested" in said
    ui.screenshot("failed_run")
    ui.open(f"/runs/{lab.whole.dagster_runs[0]}")
    ui.wait_for("RUN_SUCCESS")
    ui.screenshot("run")


def test_a_repaired_fov_is_made_from_the_ui(ui: DagsterUi, lab: Lab) -> None:
    lab.repair()
    before = {run.run_id for run in ui.runs()}
    ui.open("/locations/cell_assets/asset-groups/fovs/lineage")
    ui.page.get_by_text("Materialize all").click()
    ui.choose_partition("P2")
    ui.choose_partition(DAMAGED)
    ui.screenshot("launch")
    ui.page.get_by_role("button", name="Launch 1 run").click()

    def launched() -> list[str]:
        return [run.status for run in ui.runs() if run.run_id not in before]

    wait_until(lambda: launched() in (["SUCCESS"], ["FAILURE"], ["CANCELED"]), 90, launched)
    assert launched() == ["SUCCESS"]
    ui.open(
        f"/assets/patch_table?view=partitions&partition={DAMAGED_KEY.replace('|', '%7C').replace('/', '%2F')}"
    )
    ui.wait_for("Failed (0)")
    ui.wait_for("ledger_run")
    assert "Materialized (4)" in ui.text()
    ui.screenshot("repaired")
    with _opened(lab.home) as session:
        assert_dagster_agrees(session)


def test_a_registered_model_whose_bytes_changed_is_red(ui: DagsterUi, lab: Lab) -> None:
    with _opened(lab.home) as session:
        (checkpoint,) = session.ledger.artifacts("dynaclr_checkpoint")
        weights = next(session.store.path_of(checkpoint).rglob("*.safetensors"))
        sound = weights.read_bytes()
        weights.chmod(0o644)
        weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        session.reconcile(mend=True)
        weights.write_bytes(sound)
        weights.chmod(0o444)
    ui.open(f"/assets/dynaclr_checkpoint?view=checks&checkDetail={LEDGER_AGREES}")
    ui.wait_for(f"1 changed (first: {weights.name})")
    said = ui.text()
    ui.screenshot("model_changed")
    assert "Failed" in said
    with _opened(lab.home) as session:
        assert session.reconcile(mend=True).left == ()


def test_the_launchpad_says_what_each_parameter_of_a_training_is(ui: DagsterUi) -> None:
    shown = ui.config_of("dynaclr_checkpoint", "dynaclr_checkpoint")
    assert set(shown) == set(TrainingParameters.model_fields)
    assert not any(field.is_required for field in shown.values())
    assert set(shown["strategy"].values) == set(SamplingStrategy)
    assert "the same track at t+τ" in shown["strategy"].values["time-and-cell-aware"]
    assert set(shown["preset"].values) == {"paper", "quick"}
    assert shown["tau_min"].description.startswith("τ, minutes from anchor to positive")
    assert shown["tau_min"].description.endswith("More than 0. Default: 30.0.")
    assert "Names of the stored channels" in shown["channels"].description
    assert shown["max_steps"].description.endswith("Default: none (paper), 150 (quick).")
    assert "n_resamples" in ui.config_of(REPORT, REPORT)
    assert {"split", "quality"} == set(ui.config_of("experiment_manifest", "experiment_manifest"))
    assert {"segmentation", "tracking", "patches"} == set(ui.config_of("tracks", "fov_chain"))


def test_the_launchpad_shows_the_fields_and_what_is_wrong(ui: DagsterUi) -> None:
    ui.open_launchpad("dynaclr_checkpoint")
    ui.write_config(["ops:", "  dynaclr_checkpoint:", "    config:", "      tau_min: 60", "      "])
    ui.wait_for("/* τ, minutes from anchor to positive and negative")
    ui.wait_for("No errors")
    ui.screenshot("launchpad")
    said = ui.text()
    assert "tau_min?: Float" in said
    assert "One of classical, cell-aware, time-and-cell-aware." in said
    assert "Default: none (paper), 150 (quick)." in said
    ui.write_config(["ops:", "  dynaclr_checkpoint:", "    config:", "      strategy: time-aware"])
    ui.wait_for("Value at path root:ops:dynaclr_checkpoint:config:strategy not in enum type")
    ui.screenshot("launchpad_bad_value")


def test_a_training_runs_as_it_was_chosen_in_the_launchpad(ui: DagsterUi, lab: Lab) -> None:
    chosen = {"strategy": "cell-aware", "tau_min": 60, "channels": ["Phase"], "max_steps": 1}
    launched = ui.launch(["dynaclr_checkpoint"], "E1", {"dynaclr_checkpoint": chosen})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert ui.ended(launched["run"]["runId"])["status"] == "SUCCESS"
    with _opened(lab.home) as session:
        made = session.ledger.latest("dynaclr_checkpoint", "E1")
        assert made is not None
        assert made.run.dagster_run_id == launched["run"]["runId"]
        assert made.run.parameters.items() >= chosen.items()
        assert made.run.parameters["patch_side_px"] == SMALL_TRAINING["patch_side_px"]
        training = ExperimentChoices.of(session.ledger, "E1").training["dynaclr"]
        assert training.changes == {**SMALL_TRAINING, "seed": 0, **chosen}
        wanted = checkpoint_output(session.store, "dynaclr", "E1")
        assert wanted.currency(session.store).is_current


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"dynaclr_checkpoint": {"strategy": "classical", "tau_min": -5}},
            "dynaclr parameter tau_min=-5 cannot be used: Input should be greater than 0",
        ),
        (
            {"experiment_manifest": {"split": {"seed": 7}}, "dynaclr_checkpoint": {"max_steps": 0}},
            "dynaclr parameter max_steps=0 cannot be used: Input should be greater than or equal to 1",
        ),
    ],
)
def test_a_bad_value_in_the_launchpad_leaves_nothing_behind(
    ui: DagsterUi, lab: Lab, config: dict[str, dict[str, object]], said: str
) -> None:
    assets = ["experiment_manifest", "dynaclr_checkpoint"]
    with _opened(lab.home) as session:
        before = [session.ledger.choices("E1"), *map(session.ledger.artifacts, assets)]
    launched = ui.launch(assets, "E1", config)
    ended = ui.ended(launched["run"]["runId"])
    assert ended["status"] == "FAILURE"
    failures = [one["error"]["message"] for one in ended["eventConnection"]["events"] if one.get("error")]
    assert said in failures[0]
    assert len(failures) == 1
    assert [step["stepKey"] for step in ended["stepStats"] if step["status"] == "FAILURE"] == [assets[0]]
    with _opened(lab.home) as session:
        assert [session.ledger.choices("E1"), *map(session.ledger.artifacts, assets)] == before
        assert_nothing_left(session)


def test_a_value_that_is_none_of_the_choices_starts_no_run(ui: DagsterUi) -> None:
    before = {run.run_id for run in ui.runs()}
    launched = ui.launch(["dynaclr_checkpoint"], "E1", {"dynaclr_checkpoint": {"strategy": "time-aware"}})
    assert launched["__typename"] == "RunConfigValidationInvalid"
    (error,) = launched["errors"]
    assert "strategy" in error["message"] and "time-aware" in error["message"]
    assert {run.run_id for run in ui.runs()} == before


def test_the_fovs_of_a_plate_are_made_as_chosen_in_a_backfill(ui: DagsterUi, lab: Lab) -> None:
    lab.repair()
    before = {run.run_id for run in ui.runs()}
    keys = ["P2|A/1/000", DAMAGED_KEY]
    launched = ui.backfill(
        [stage.value for stage in Stage], keys, {"fov_chain": {"patches": {"side_px": 36}}}
    )
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def runs() -> list[str]:
        return [run.status for run in ui.runs() if run.run_id not in before]

    wait_until(lambda: runs() in (["SUCCESS"], ["FAILURE"], ["CANCELED"]), 120, runs)
    assert runs() == ["SUCCESS"]
    with _opened(lab.home) as session:
        made = session.ledger.latest_many("patch_table", keys)
        assert [one.run.parameters["side_px"] for one in made.values()] == [36, 36]
        assert ExperimentChoices.of(session.ledger, "E2").fovs.patches.side_px == 36
        assert ExperimentChoices.of(session.ledger, "E1").fovs.patches.side_px == 32


def test_a_withdrawn_report_is_marked(ui: DagsterUi, lab: Lab) -> None:
    with _opened(lab.home) as session:
        withdraw(session.ledger, find_subject(session.ledger, "P1|A/1"), "contaminated")
        session.show_withdrawals()
    ui.open(f"/assets/{REPORT}?view=partitions&partition=E1")
    ui.wait_for("contaminated")
    ui.screenshot("withdrawn_partition")
    ui.open(f"/assets/{REPORT}?view=checks&checkDetail={NOT_WITHDRAWN}")
    ui.wait_for("E1: made from P1|A/1: contaminated")
    ui.screenshot("withdrawn_check")


def test_a_plate_is_brought_in_and_annotated_from_the_launchpad(
    ui: DagsterUi, lab: Lab, two_fovs: PlateFolder, tmp_path: Path
) -> None:
    assert {"source", "experiment", "interval_min", "on_duplicate"} < set(
        ui.config_of("raw_acquisition", "raw_acquisition")
    )
    asked = two_fovs.request("E3", "P3")
    with _opened(lab.home) as session, instance_of(session) as instance:
        # As the button "Add partition" does.
        instance.add_dynamic_partitions(PLATE, ["P3"])
    nowhere = ui.launch(["raw_acquisition"], "P3", {"raw_acquisition": {"experiment": "E3"}})
    ended = ui.ended(nowhere["run"]["runId"])
    failures = [one["error"]["message"] for one in ended["eventConnection"]["events"] if one.get("error")]
    assert "config of raw_acquisition: source is missing; state it" in failures[0]
    config = as_config(asked, PARTITION_SAYS)
    launched = ui.launch(["raw_acquisition"], "P3", {"raw_acquisition": config})
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert ui.ended(launched["run"]["runId"])["status"] == "SUCCESS"
    with _opened(lab.home) as session:
        plate = session.ledger.plate("P3")
        assert plate is not None and plate.draft.experiment == "E3"
        first, second = (session.ledger.latest(AssetName.RAW_ACQUISITION, name) for name in ("P1", "P3"))
        assert first is not None and second is not None
        assert second.artifact.content_digest == first.artifact.content_digest

        key = "P2|A/1/000"
        tracks = read_tracks(session.store.read(AssetName.TRACKS, key).path)
    file = tmp_path / "seen.csv"
    tracks[["track_id", "t"]].head(2).assign(mitosis=["no", "yes"]).to_csv(file, index=False)
    handed = {"file": str(file), "by": "a reader", "why": "to see"}
    seen = ui.launch(["annotations"], key, {"annotations": handed})
    assert ui.ended(seen["run"]["runId"])["status"] == "SUCCESS"
    with _opened(lab.home) as session:
        made = session.ledger.latest(AssetName.ANNOTATIONS, key)
        assert made is not None
        assert made.run.parameters["file_digest"] == blake3(file.read_bytes()).hexdigest()
        assert made.run.parameters["by"] == "a reader"
        assert_nothing_left(session)
