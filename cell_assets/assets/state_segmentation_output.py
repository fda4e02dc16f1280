"""The state segmentation of an experiment as it would be made now. No Dagster here.

The body and the plan ask the same function.
"""

from dataclasses import dataclass

from cell_assets.assets.choices import ExperimentChoices, StateSegmentationChoice
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.independent_plates import independent_plates
from cell_assets.assets.inputs import refuse_outdated
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.state_segmentation_inputs import (
    StateSegmentationInputs,
    read_state_segmentation_inputs,
)
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.state_segmentation.states import column_of_two_states, known_states
from cell_assets.store.store import Store


@dataclass(frozen=True)
class StateSegmentationOutput(ExperimentOutput):
    """A segmentation by state, trained on the newest manifest and applied to all of its FOVs, and to those of the
    plates that the report was chosen to be about as well."""

    inputs: StateSegmentationInputs
    training: StateSegmentationParameters
    unused_states: tuple[str, ...]
    """Annotated values, of any column, that say nothing of a cell: the report's choice."""


def state_segmentation_output(store: Store, experiment: str) -> StateSegmentationOutput:
    """What the experiment's choice gives, or `quick` where nobody chose, on everything that stands.

    Raises:
        NotFoundError: manifest, FOVs or annotations have not been made, or not of what stands now.
        BadInputError: the choice cannot be used, or names no column and there is not exactly one of two states; or a
            plate that was chosen as independent is not.
    """
    choices = ExperimentChoices.of(store.ledger, experiment)
    choice = choices.baseline or StateSegmentationChoice()
    training = choice.parameters()
    independent = independent_plates(store, experiment, choices.report.independent_plates)
    inputs = read_state_segmentation_inputs(store, experiment, independent)
    refuse_outdated(store, AssetName.TRACKS, made_of=inputs.segmentations)
    refuse_outdated(store, AssetName.PATCH_TABLE, made_of=inputs.tracks)
    if training.column is None:
        known = known_states(
            {plate: read.folder for plate, read in inputs.own_raw().items()},
            {key: read.folder for key, read in inputs.annotations.items()},
            choices.report.unused_states,
        )
        training = training.model_copy(update={"column": column_of_two_states(known, experiment)})
    return StateSegmentationOutput(
        AssetName.STATE_SEGMENTATION,
        experiment,
        experiment,
        {**training.model_dump(mode="json"), **choices.recorded_unused_states()},
        inputs.receipts(),
        inputs,
        training,
        choices.report.unused_states,
    )
