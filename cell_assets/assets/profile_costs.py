"""What it cost to make what a report on profiles rests on, from the ledger. No Dagster here."""

from collections.abc import Iterable

from cell_assets.assets.recipes import AssetName, checkpoint_name, profiles_name
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ReadReceipt
from cell_assets.reporting.profile_report import OutputCost


def costs_of(ledger: Ledger, receipts: Iterable[ReadReceipt], method: str | None) -> tuple[OutputCost, ...]:
    """Time and size by kind of output: single cells, profiles without learning and, where the report is about a method,
    its training and profiles.

    Of an artifact that was made several times the first run counts, so that the same report is made again.

    Args:
        receipts: of what the report read; the cells beneath are found in the ledger.
    """
    read = {receipt.artifact_id for receipt in receipts}
    first: dict[int, int] = {}
    for run in ledger.runs_of(read):
        if run.artifact_id is not None:
            first.setdefault(run.artifact_id, run.id)
    beneath = {
        one.id
        for made in ledger.provenances(first.values())
        for one in made.inputs
        if one.asset == AssetName.SINGLE_CELL_FEATURES
    }
    for run in ledger.runs_of(beneath):
        if run.artifact_id is not None:
            first.setdefault(run.artifact_id, run.id)
    made = ledger.provenances(first.values())
    kinds = {
        AssetName.SINGLE_CELL_FEATURES.value: "single cells",
        AssetName.MEAN_PROFILES.value: "profiles without learning",
        AssetName.SUPERVISED_PROFILES.value: "supervised control, with its training",
    }
    if method is not None:
        kinds |= {checkpoint_name(method): "training", profiles_name(method): f"profiles by {method}"}
    costs = []
    for asset, what in kinds.items():
        own = [one for one in made if one.artifact.asset == asset]
        if own:
            seconds = sum((one.run.ended - one.run.started).total_seconds() for one in own)
            costs.append(OutputCost(what, len(own), seconds, sum(one.artifact.n_bytes for one in own)))
    return tuple(costs)
