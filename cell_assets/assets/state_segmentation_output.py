"""The state segmentation of an experiment as it would be made now. No Dagster here.

The body and the plan ask the same function.
"""

from dataclasses import dataclass

from cell_assets.assets.choices import ExperimentChoices, StateSegmentationChoice
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.state_segmentation_inputs import (
    StateSegmentationInputs,
    read_state_segmentation_inputs,
    refuse_mixed,
)
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.state_segmentation.states import column_of_two_states, known_states
from cell_assets.store.store import Store


@dataclass(frozen=True)
class StateSegmentationOutput(ExperimentOutput):
    """A segmentation by state, trained on the newest manifest and applied to all of its FOVs."""

    inputs: StateSegmentationInputs
    training: StateSegmentationParameters


def state_segmentation_output(store: Store, experiment: str) -> StateSegmentationOutput:
    """What the experiment's choice gives, or `quick` where nobody chose, on everything that stands.

    Raises:
        NotFoundError: manifest, FOVs or annotations have not been made, or not of what stands now.
        BadInputError: the choice cannot be used, or names no column and there is not exactly one of two states.
    """
    choice = ExperimentChoices.of(store.ledger, experiment).baseline or StateSegmentationChoice()
    training = choice.parameters()
    inputs = read_state_segmentation_inputs(store, experiment)
    refuse_mixed(store, inputs)
    if training.column is None:
        known = known_states(
            {plate: read.folder for plate, read in inputs.raw.items()},
            {key: read.folder for key, read in inputs.annotations.items()},
        )
        training = training.model_copy(update={"column": column_of_two_states(known, experiment)})
    return StateSegmentationOutput(
        AssetName.STATE_SEGMENTATION,
        experiment,
        experiment,
        training.model_dump(mode="json"),
        inputs.receipts(),
        inputs,
        training,
    )
