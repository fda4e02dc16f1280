"""The study of photobleaching of an experiment as it would be made now: choices and newest inputs. No Dagster here."""

from dataclasses import dataclass

from pydantic import BaseModel

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import ExperimentOutput, embedding_of
from cell_assets.assets.pixel_study_inputs import PROBE_SEED, PixelStudyInputs, read_pixel_study_inputs
from cell_assets.assets.recipes import bleaching_name
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.store.store import Store

EMBEDDING = "embedding"
"""Among the recorded parameters: how dimmed cells are embedded."""


@dataclass(frozen=True)
class BleachingOutput(ExperimentOutput):
    """How far dimming misleads the newest report's probes."""

    inputs: PixelStudyInputs
    embedding: BaseModel
    """How the features were made that dimmed ones are held against."""
    settings: BleachingParameters
    probe_seed: int
    unused_states: tuple[str, ...]


def bleaching_output(store: Store, method: str, experiment: str) -> BleachingOutput:
    """The study of the newest embeddings; by the defaults where nobody chose anything.

    Raises:
        NotFoundError: something that it reads has not been made.
    """
    choices = ExperimentChoices.of(store.ledger, experiment)
    settings = choices.bleaching or BleachingParameters()
    inputs = read_pixel_study_inputs(store, method, experiment)
    embedding = embedding_of(store, method, experiment)
    return BleachingOutput(
        bleaching_name(method),
        experiment,
        experiment,
        {
            **settings.model_dump(mode="json"),
            PROBE_SEED: choices.report.seed,
            **choices.recorded_unused_states(),
            EMBEDDING: embedding.model_dump(mode="json"),
        },
        inputs.receipts(),
        inputs,
        embedding,
        settings,
        choices.report.seed,
        choices.report.unused_states,
    )
