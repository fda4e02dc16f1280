"""The study of photobleaching of an experiment as it would be made now: choices and newest inputs. No Dagster here."""

from dataclasses import dataclass

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.pixel_study_inputs import PROBE_SEED, PixelStudyInputs, read_pixel_study_inputs
from cell_assets.assets.recipes import bleaching_name
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.store.store import Store


@dataclass(frozen=True)
class BleachingOutput(ExperimentOutput):
    """How far dimming misleads the newest report's probes."""

    inputs: PixelStudyInputs
    settings: BleachingParameters
    probe_seed: int


def bleaching_output(store: Store, method: str, experiment: str) -> BleachingOutput:
    """The study of the newest embeddings; by the defaults where nobody chose anything.

    Raises:
        NotFoundError: something that it reads has not been made.
    """
    choices = ExperimentChoices.of(store.ledger, experiment)
    settings = choices.bleaching or BleachingParameters()
    inputs = read_pixel_study_inputs(store, method, experiment)
    return BleachingOutput(
        bleaching_name(method),
        experiment,
        experiment,
        {**settings.model_dump(mode="json"), PROBE_SEED: choices.report.seed},
        inputs.receipts(),
        inputs,
        settings,
        choices.report.seed,
    )
