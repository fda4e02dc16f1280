"""The class attribution of an experiment as it would be made now: choices and newest inputs. No Dagster here."""

from collections.abc import Mapping
from dataclasses import dataclass

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.inputs import ReadArtifact, refuse_outdated
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.pixel_study_inputs import PROBE_SEED, PixelStudyInputs, read_pixel_study_inputs
from cell_assets.assets.recipes import AssetName, attribution_name
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.ledger.records import ReadReceipt
from cell_assets.store.store import Store


@dataclass(frozen=True)
class AttributionInputs(PixelStudyInputs):
    """With the labels of the cells in the patches."""

    tracks: Mapping[tuple[str, str], ReadArtifact]
    segmentation: Mapping[tuple[str, str], ReadArtifact]

    def receipts(self) -> tuple[ReadReceipt, ...]:
        """All of them, each once, as input edges."""
        labels = (one.receipt for one in (*self.tracks.values(), *self.segmentation.values()))
        return tuple(dict.fromkeys((*super().receipts(), *labels)))


@dataclass(frozen=True)
class AttributionOutput(ExperimentOutput):
    """Which pixels decide what the newest report's probes say."""

    inputs: AttributionInputs
    settings: AttributionParameters
    probe_seed: int
    unused_states: tuple[str, ...]


def attribution_output(store: Store, method: str, experiment: str) -> AttributionOutput:
    """The attribution of the newest embeddings; by the defaults where nobody chose anything.

    Raises:
        NotFoundError: something that it reads has not been made, or was made of earlier tracks or labels.
    """
    choices = ExperimentChoices.of(store.ledger, experiment)
    settings = choices.attribution or AttributionParameters()
    inputs = _read(store, method, experiment)
    return AttributionOutput(
        attribution_name(method),
        experiment,
        experiment,
        {
            **settings.model_dump(mode="json"),
            PROBE_SEED: choices.report.seed,
            **choices.recorded_unused_states(),
        },
        inputs.receipts(),
        inputs,
        settings,
        choices.report.seed,
        choices.report.unused_states,
    )


def _read(store: Store, method: str, experiment: str) -> AttributionInputs:
    base = read_pixel_study_inputs(store, method, experiment)
    keys = {fov_key(*position): position for position in base.tables}
    found = {
        asset: store.read_many(asset, list(keys)) for asset in (AssetName.TRACKS, AssetName.SEGMENTATION)
    }
    tracks, segmentation = (
        {position: ReadArtifact(*found[asset][key]) for key, position in keys.items()}
        for asset in (AssetName.TRACKS, AssetName.SEGMENTATION)
    )
    refuse_outdated(store, AssetName.PATCH_TABLE, made_of=tracks)
    refuse_outdated(store, AssetName.TRACKS, made_of=segmentation)
    return AttributionInputs(base.report, base.tables, tracks, segmentation)
