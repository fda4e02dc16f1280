"""The three dynamic dimensions and the keys built from them (built-in mappings only).

Dagster joins the keys of a multi-dimensional partition with `|`, dimensions in alphabetical order, so the
FOV key is `plate|position` and the representation key `experiment|plate`.
"""

import warnings
from collections.abc import Sequence

import dagster as dg

from cell_assets.errors import BadInputError

# Multi-dimensional mappings and partitioned checks are marked beta and preview; dagster is pinned to the version
# that they were tested on, so the notice tells a user nothing.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

EXPERIMENT = "experiment"
PLATE = "plate"
POSITION = "position"

PARTITION_SAYS = frozenset({PLATE, POSITION})
"""Fields of a request that the config of its run leaves to the partition."""

experiments = dg.DynamicPartitionsDefinition(name=EXPERIMENT)
plates = dg.DynamicPartitionsDefinition(name=PLATE)
positions = dg.DynamicPartitionsDefinition(name=POSITION)
fovs = dg.MultiPartitionsDefinition({PLATE: plates, POSITION: positions})
representations = dg.MultiPartitionsDefinition({EXPERIMENT: experiments, PLATE: plates})


def fov_key(plate: str, position: str) -> str:
    """Partition key of one FOV, for example `P1|A/1/000`."""
    return f"{plate}|{position}"


def split_fov_key(key: str) -> tuple[str, str]:
    """Plate and position of a FOV key."""
    plate, position = key.split("|", 1)
    return plate, position


def position_of(keys: Sequence[str]) -> dict[str, str]:
    """What the one FOV key of a run says of a request.

    Raises:
        BadInputError: there are several.
    """
    if len(keys) != 1:
        raise BadInputError(
            f"config was given for {len(keys)} FOVs, the first {keys[0]}; hand in a file for one FOV at a time"
        )
    plate, position = split_fov_key(keys[0])
    return {PLATE: plate, POSITION: position}


def representation_key(experiment: str, plate: str) -> str:
    """Partition key of a model of `experiment` applied to `plate`, for example `E1|P1`."""
    return f"{experiment}|{plate}"


def split_representation_key(key: str) -> tuple[str, str]:
    """Experiment and plate of a representation key."""
    experiment, plate = key.split("|", 1)
    return experiment, plate


def register_plate_keys(
    instance: dg.DagsterInstance, experiment: str, plate: str, positions_of_plate: Sequence[str]
) -> None:
    """Add the keys of a plate, keeping those that exist; keys are never deleted."""
    instance.add_dynamic_partitions(EXPERIMENT, [experiment])
    instance.add_dynamic_partitions(PLATE, [plate])
    instance.add_dynamic_partitions(POSITION, list(positions_of_plate))
