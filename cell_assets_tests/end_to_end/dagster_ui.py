"""The Dagster UI as a test drives it: a real `cell-assets dev`, and a real Chromium that looks at its pages."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

from cell_assets_tests.automation.dev_session import ask_graphql, wait_until
from cell_assets_tests.chromium import FLAGS, chromium
from cell_assets_tests.end_to_end.lab import CHECKOUT

SCREENSHOTS = CHECKOUT / "test-output" / "dagster_ui"
WINDOW: ViewportSize = {"width": 1800, "height": 1100}
PATIENCE_MS = 45_000
"""For a page to show what is asked for; the machine may be busy."""

_NODES = "{ assetNodes { assetKey { path } partitionKeys } }"
_STALENESS = """
query Staleness($asset: AssetKeyInput!, $partition: String!) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    staleStatus(partition: $partition) staleCauses(partition: $partition) { reason key { path } }
  } }
}
"""
_RUNS = "{ runsOrError(limit: 100) { ... on Runs { results { runId status tags { key value } } } } }"

_WRITE = """
text => {
  const editor = document.querySelector(".CodeMirror").CodeMirror;
  editor.focus();
  editor.setValue(text);
  editor.setCursor(editor.lineCount() - 1, 1000);
}
"""
_SCHEMA = """
query Schema($selector: PipelineSelector!) {
  runConfigSchemaOrError(selector: $selector) { __typename ... on RunConfigSchema {
    rootConfigType { key }
    allConfigTypes { key typeParamKeys
      ... on CompositeConfigType { fields { name description isRequired configTypeKey } }
      ... on EnumConfigType { values { value description } }
    }
  } }
}
"""
LAUNCH = """
mutation Launch($given: ExecutionParams!) {
  launchRun(executionParams: $given) { __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""
_BACKFILL = """
mutation Backfill($given: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $given) { __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""
_RUN = """
query Run($id: ID!) { runOrError(runId: $id) { ... on Run {
  status stepStats { stepKey status }
  eventConnection { events { ... on ExecutionStepFailureEvent { error { message } } } }
} } }
"""


@dataclass(frozen=True)
class ShownField:
    """A field of a step's config as the Launchpad gets it."""

    description: str
    is_required: bool
    values: dict[str, str]
    """Of an enum: each value and what is said of it."""


@dataclass(frozen=True)
class Staleness:
    """What the UI says of one partition."""

    asset: str
    partition: str
    status: str
    """FRESH, STALE or MISSING."""
    causes: tuple[str, ...]


@dataclass(frozen=True)
class ShownRun:
    """A run as the UI lists it."""

    run_id: str
    status: str
    tags: dict[str, str]


@dataclass(frozen=True)
class DagsterUi:
    """One browser page on one running Dagster."""

    address: str
    page: Page

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def wait_for(self, text: str, within: Locator | None = None) -> None:
        """Wait until the page shows a text that starts so."""
        (within or self.page.locator("body")).get_by_text(text).first.wait_for(timeout=PATIENCE_MS)

    def text(self) -> str:
        """Everything that the page says."""
        return self.page.inner_text("body")

    def screenshot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    def choose_partition(self, key: str) -> None:
        """In the dialogue that launches a run: pick a key of the next dimension that has none yet."""
        self.page.get_by_text("Select a partition or create one").first.click()
        self.page.locator(".dagster-popover [role=menuitem]").filter(has_text=key).first.click()
        self.page.keyboard.press("Escape")
        self.page.locator(".dagster-popover").wait_for(state="detached")

    def open_launchpad(self, asset: str) -> None:
        """The editor for the config of an asset's run."""
        self.open(f"/assets/{asset}")
        self.page.get_by_role("button", name="Materialize").first.click(modifiers=["Shift"])
        editor, confirm = self.page.locator(".CodeMirror"), self.page.get_by_role("button", name="Confirm")
        # Dagster asks first where an upstream asset was never made, as patches that no policy keeps.
        confirm.or_(editor).first.wait_for()
        if confirm.is_visible():
            confirm.click()
        editor.first.wait_for()

    def write_config(self, lines: list[str]) -> None:
        """Replace what stands in the launchpad's editor; the cursor is then at its end."""
        self.page.evaluate(_WRITE, "\n".join(lines))

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        return ask_graphql(self.address, query, variables)

    def staleness(self) -> list[Staleness]:
        """What the UI says of every partition of every asset."""
        found = []
        for node in self.ask(_NODES)["assetNodes"]:
            for partition in node["partitionKeys"]:
                asked = {"asset": {"path": node["assetKey"]["path"]}, "partition": partition}
                said = self.ask(_STALENESS, asked)["assetNodeOrError"]
                causes = tuple(f"{'/'.join(c['key']['path'])} {c['reason']}" for c in said["staleCauses"])
                asset = "/".join(node["assetKey"]["path"])
                found.append(Staleness(asset, partition, said["staleStatus"], causes))
        return found

    def config_of(self, asset: str, step: str) -> dict[str, ShownField]:
        """The config that the Launchpad asks of an asset's step."""
        said = self.ask(_SCHEMA, {"selector": launch_selector([asset])})["runConfigSchemaOrError"]
        types = {one["key"]: one for one in said["allConfigTypes"]}
        fields: dict[str, dict[str, Any]] = {}
        key = said["rootConfigType"]["key"]
        for name in ("ops", step, "config"):
            fields = {field["name"]: field for field in types[key]["fields"]}
            key = fields[name]["configTypeKey"]
        found = {}
        for field in types[key]["fields"]:
            kind = types[field["configTypeKey"]]
            values = {one["value"]: one["description"] for one in kind.get("values", [])}
            found[field["name"]] = ShownField(field["description"], field["isRequired"], values)
        return found

    def launch(self, assets: list[str], partition: str, config: dict[str, Any]) -> dict[str, Any]:
        """Launch a run with the config of its steps, as the Launchpad does; gives the answer."""
        given = {
            "selector": launch_selector(assets),
            "runConfigData": {"ops": {step: {"config": one} for step, one in config.items()}},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        }
        return dict(self.ask(LAUNCH, {"given": given})["launchRun"])

    def backfill(self, assets: list[str], partitions: list[str], config: dict[str, Any]) -> dict[str, Any]:
        """The same for several partitions."""
        given = {
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": partitions,
            "runConfigData": {"ops": {step: {"config": one} for step, one in config.items()}},
        }
        return dict(self.ask(_BACKFILL, {"given": given})["launchPartitionBackfill"])

    def ended(self, run_id: str) -> dict[str, Any]:
        """A run once it has ended: its status, its steps and what failed in them."""

        def run() -> dict[str, Any]:
            return dict(self.ask(_RUN, {"id": run_id})["runOrError"])

        wait_until(lambda: run()["status"] in ("SUCCESS", "FAILURE", "CANCELED"), 120, run)
        return run()

    def runs(self) -> list[ShownRun]:
        """All runs, the newest first."""
        results = self.ask(_RUNS)["runsOrError"]["results"]
        return [
            ShownRun(run["runId"], run["status"], {tag["key"]: tag["value"] for tag in run["tags"]})
            for run in results
        ]


def launch_selector(assets: list[str]) -> dict[str, Any]:
    return {
        "repositoryLocationName": "cell_assets",
        "repositoryName": "__repository__",
        "pipelineName": "__ASSET_JOB",
        "assetSelection": [{"path": [asset]} for asset in assets],
        "assetCheckSelection": [],
    }


@contextmanager
def served(home: Path, **variables: str) -> Iterator[str]:
    """`cell-assets dev` over a home, with further CELL_ASSETS_ variables; gives the address of the Dagster UI."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CELL_ASSETS_")}
    environment |= {"CELL_ASSETS_HOME": str(home), "CELL_ASSETS_WORKERS": "1"}
    environment |= {f"CELL_ASSETS_{name}": value for name, value in variables.items()}
    command = [sys.executable, "-c", "from cell_assets.cli import main; main()", "dev"]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said.startswith("Dagster UI"):
            raise AssertionError(said + process.communicate(timeout=60)[1])
        yield said.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def browsed(address: str) -> Iterator[DagsterUi]:
    """A headless Chromium on the UI."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE_MS)
        yield DagsterUi(address, page)
        browser.close()
