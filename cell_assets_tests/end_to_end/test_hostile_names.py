"""Pages of a screen and of a film whose every name is a script, in a real browser: none of them runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.ingesting_tables import ingest_tables
from cell_assets.automation.running import RunRequest
from cell_assets.settings import Settings
from cell_assets_tests.chromium import FLAGS, chromium
from cell_assets_tests.end_to_end.lab import cell_assets, opened, run, small_run, tiny_plate
from cell_assets_tests.end_to_end.screen import TRAINING, table_of_plate, table_requests

SCRIPT = "\"'><img src=x onerror=window.ran=1></script><script>window.ran=1</script>{{7*7}}"
_SCREEN = RunRequest(
    experiment="S1",
    method="cytosummary",
    choices={
        "training": {"cytosummary": {"preset": "quick", "changes": TRAINING}},
        "well_split": {"held_out_plates": ["P2"], "val_fraction": 0.2, "test_fraction": 0.2},
        "profile_report": {"study": {"n_resamples": 100}},
    },
)


def hostile_screen(folder: Path) -> list[Path]:
    """The screen of `screen.py` with scripts for compounds, mechanisms and features."""
    files = []
    for n in range(3):
        table = table_of_plate(n)
        is_treated = table["Metadata_Compound"] != "DMSO"
        for column in ("Metadata_Compound", "Metadata_moa"):
            table[column] = table[column].where(~is_treated, SCRIPT + table[column])
        table = table.rename(columns={"Cells_Shape_0": f"Cells_Shape_{SCRIPT}"})
        files.append(folder / f"plate{n}.parquet")
        table.to_parquet(files[-1])
    return files


def rename_in_json(folder: Path, old: str, new: str) -> int:
    """Replace a whole string in all JSON files below a folder; in how many."""
    n = 0
    for file in [*folder.rglob("zarr.json"), *folder.rglob(".zattrs")]:
        text = file.read_text(encoding="utf-8")
        if json.dumps(old) in text:
            file.write_text(text.replace(json.dumps(old), json.dumps(new)), encoding="utf-8")
            n += 1
    return n


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.needs_chromium
def test_no_name_runs_as_a_script(new_lab: Callable[[], Settings], tmp_path: Path) -> None:
    browser_program, lab = chromium(), new_lab()
    plate = tiny_plate(tmp_path / "plate")
    assert rename_in_json(plate.folder / "plate.zarr", "Phase", f"Phase {SCRIPT}") > 0
    plate_map = plate.folder / "plate_map.csv"
    plate_map.write_text(plate_map.read_text().replace("mock", "mock<script>window.ran=1</script>"))
    with opened(lab) as session:
        ingest_plate(session, plate.request("E1", "F1"))
        ingest_tables(session, table_requests(hostile_screen(tmp_path)))
        for request in (small_run("E1"), _SCREEN):
            outcome = run(session, request)
            assert outcome.failed == (), outcome.failed
        numbers = session.ledger.numbers()
    for number in {one.experiment: one.id for one in numbers}.values():
        page = tmp_path / f"number_{number}.html"
        assert cell_assets(lab, "explain", str(number), "--html", str(page)).code == 0
    pages = [*lab.store_root.rglob("*.html"), *tmp_path.glob("number_*.html")]
    assert len(pages) >= 5
    named = [page for page in pages if "window.ran" in page.read_text(encoding="utf-8")]
    assert len(named) >= 2, "the names stand on pages, so that something was tried"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_program, args=list(FLAGS))
        shown = browser.new_page()
        # Of a script that does run, so that one which does not means something.
        shown.set_content("<img src=x onerror=window.ran=1>")
        shown.wait_for_function("window.ran === 1")
        for page in pages:
            shown.goto(page.as_uri())
            shown.wait_for_load_state("networkidle")
            assert shown.evaluate("window.ran") is None, page
            assert shown.locator("img[src='x']").count() == 0, page
        browser.close()
