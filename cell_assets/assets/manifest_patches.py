"""The patches that a manifest keeps of each plate, where patch tables were made by the policy `manifest`."""

from functools import partial
from pathlib import Path

import dagster as dg

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.experiment_outputs import ManifestPatchesOutput, manifest_patches_output
from cell_assets.assets.partitions import representations, split_representation_key
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.sizing import ROOM_ADVICE
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.errors import BadInputError
from cell_assets.imaging.kept_patches import keep_patches, kept_bytes
from cell_assets.imaging.patches import PatchPolicy
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store


@dg.multi_asset(
    name="manifest_patches",
    specs=[
        asset_spec(
            AssetName.MANIFEST_PATCHES,
            "experiments",
            "Patches of the cell images of one plate that the experiment's manifest does not leave out; made only "
            "where `fovs.patches.policy` is `manifest`.",
            {"zarr"},
        )
    ],
    partitions_def=representations,
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
    check_specs=standing_check_specs(AssetName.MANIFEST_PATCHES),
)
def manifest_patches(
    context: dg.AssetExecutionContext,
    store: dg.ResourceParam[Store],
    progress: dg.ResourceParam[ProgressDisplay],
    workers: dg.ResourceParam[int],
) -> StepResults:
    """Keep what is missing or stale. The cross product's other keys are left out of a range, refused alone."""
    begin(context, store)
    publisher = Publisher(context, store)
    alone = len(context.partition_keys) == 1
    for key in context.partition_keys:
        experiment, plate = split_representation_key(key)
        manifest = store.ledger.latest(AssetName.EXPERIMENT_MANIFEST, experiment)
        if not alone and (store.ledger.plate(plate) is None or manifest is None):
            continue
        output = manifest_patches_output(store, experiment, plate)
        if output.tables:
            write = partial(_keep, context, store, progress, workers, plate, output)
            publisher.make(Making.of(output, context.run_id), output.receipts, write)
        elif alone:
            raise BadInputError(
                f"{key}: no patch table of {plate} was made by fovs.patches.policy {PatchPolicy.MANIFEST.value}, so "
                "there is nothing to keep"
            )
    yield finished(context, store, AssetName.MANIFEST_PATCHES.value)


def _keep(
    context: dg.AssetExecutionContext,
    store: Store,
    progress: ProgressDisplay,
    workers: int,
    plate: str,
    output: ManifestPatchesOutput,
    out: Path,
) -> Written:
    chosen = output.chosen()
    store.require_room(kept_bytes(chosen), f"manifest_patches {output.partition}", ROOM_ADVICE)
    raw = store.ledger.artifact(output.raw.receipt.artifact_id)
    with Progress(context, progress, f"patches of {plate}", len(chosen)) as bar:
        for _ in keep_patches(output.raw.folder, raw, chosen, out, workers):
            bar.advance()
    return Written()
