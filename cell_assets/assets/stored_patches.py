"""How large an experiment's stored patches are, held against what the training of a method needs.

Two sides count. A network cannot train on stored patches smaller than the one that it sees. Turned, sheared and
widened views reach further; where the stored patch ends, they show mirrored pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.inputs import ReadTable
from cell_assets.assets.partitions import fov_key
from cell_assets.errors import BadInputError
from cell_assets.imaging.patch_reading import read_patch_record
from cell_assets.imaging.patches import DEFAULT_SIDE_PX
from cell_assets.methods.contract import SeesPatches
from cell_assets.methods.registry import load_method


@dataclass(frozen=True)
class NeededSides:
    """Sides of stored patches, in pixels."""

    at_least: int
    """What the network sees: on smaller ones it cannot train."""
    without_mirrored: int
    """No view reaches past the edge of these."""


def with_patches_for(method: str, choices: ExperimentChoices) -> ExperimentChoices:
    """`choices` with stored patches as large as the method's training needs, unless somebody chose their side.

    Raises:
        BadInputError: the training would refuse patches of the side that somebody chose.
    """
    training, side = choices.training_of(method), choices.fovs.patches.side_px
    needed = _needed(method, load_method(method).parameters(training.preset, training.changes))
    if side is not None and side < needed.at_least:
        raise BadInputError(
            f"the training of {method} by preset {training.preset} sees {needed.at_least} px, more than the stored "
            f"patches of {side} px that were chosen; give `cell-assets run` --patch-px {needed.at_least}, or choose "
            f"side_px={needed.without_mirrored}, with which no view shows mirrored pixels: patches.side_px of "
            "patch_table in the Launchpad, fovs.patches.side_px in --choices"
        )
    if side is not None or needed.without_mirrored <= DEFAULT_SIDE_PX:
        return choices
    return _storing(needed.without_mirrored, choices)


def storing_what_is_needed(method: str, choices: ExperimentChoices) -> ExperimentChoices:
    """`choices` with stored patches as large as the method's training needs, whatever side was chosen before."""
    training = choices.training_of(method)
    needed = _needed(method, load_method(method).parameters(training.preset, training.changes))
    return _storing(needed.without_mirrored, choices)


def refuse_small_patches(
    method: str, experiment: str, training: BaseModel, tables: Mapping[tuple[str, str], ReadTable]
) -> None:
    """Refuse to train on stored patches that are smaller than what the network sees.

    Args:
        training: parameters of the method's training.
        tables: patch tables by plate and position.

    Raises:
        BadInputError: some are.
    """
    needed = _needed(method, training)
    sides = {
        fov_key(*key): read_patch_record(table.folder).parameters.side_px for key, table in tables.items()
    }
    small = {key: side for key, side in sides.items() if side < needed.at_least}
    if small:
        first = next(iter(small))
        raise BadInputError(
            f"patch_table stores {small[first]} px a side of {first} ({len(small)} of {len(sides)} FOVs of "
            f"{experiment} are too small), and the training of {method} sees {needed.at_least} px; materialise "
            f"patch_table of these FOVs again with patches.side_px={needed.without_mirrored} in the config of "
            "fov_chain, with which no view shows mirrored pixels, or choose a smaller patch_side_px for the training"
        )


def _needed(method: str, training: BaseModel) -> NeededSides:
    if not isinstance(training, SeesPatches):
        raise TypeError(f"{type(training).__name__} does not say as patch_side_px what the network sees")
    return NeededSides(training.patch_side_px, load_method(method).stored_side_px(training))


def _storing(side_px: int, choices: ExperimentChoices) -> ExperimentChoices:
    patches = choices.fovs.patches.model_copy(update={"side_px": side_px})
    return choices.model_copy(update={"fovs": choices.fovs.model_copy(update={"patches": patches})})
