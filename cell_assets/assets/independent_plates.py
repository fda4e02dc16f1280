"""The plates of other experiments that an experiment's report calls independent, refused where they are not."""

from collections.abc import Sequence
from pathlib import Path

from cell_assets.assets.inputs import filmed_plates
from cell_assets.assets.partitions import fov_key
from cell_assets.assets.recipes import AssetName
from cell_assets.errors import BadInputError, NotFoundError
from cell_assets.ledger.records import ArtifactState, Plate
from cell_assets.store.store import Store


def independent_plates(store: Store, experiment: str, names: Sequence[str]) -> tuple[Plate, ...]:
    """The plates of these names, in their order.

    Cost: nothing where none is named; else, for every FOV of both sets, the reading of its acquisition's record.

    Raises:
        NotFoundError: a plate is not registered, or a FOV of it has no patch table.
        BadInputError: a plate is one of the experiment's own, shows the same pixels as one, or was withdrawn.
    """
    if not names:
        return ()
    plates = tuple(_strange(store, experiment, name) for name in names)
    _refuse_copies(store, experiment, plates)
    for plate in plates:
        _require_tables(store, plate)
    return plates


def _strange(store: Store, experiment: str, name: str) -> Plate:
    plate = store.ledger.plate(name)
    if plate is None:
        raise NotFoundError(
            f"independent_plates: plate {name} is not registered; bring it in with `cell-assets ingest`"
        )
    if plate.draft.experiment == experiment:
        raise BadInputError(
            f"independent_plates: plate {name} is of experiment {experiment} itself; name plates of others"
        )
    if plate.tombstoned or not plate.living_positions:
        raise BadInputError(
            f"independent_plates: plate {name} was withdrawn, or every FOV of it; leave it out"
        )
    return plate


def _require_tables(store: Store, plate: Plate) -> None:
    keys = [fov_key(plate.draft.name, position) for position in plate.living_positions]
    made = store.ledger.latest_many(AssetName.PATCH_TABLE, keys, ArtifactState.PRESENT)
    if missing := [key for key in keys if key not in made]:
        raise NotFoundError(
            f"independent_plates: {missing[0]} has no patch table; run `cell-assets run --experiment "
            f"{plate.draft.experiment}` first"
        )


def _refuse_copies(store: Store, experiment: str, plates: Sequence[Plate]) -> None:
    from cell_assets.evaluation.leakage import fov_pixels, refuse_copies

    # A body that re-hashes what it reads has no need to do so for a glance at the digests.
    looking = store.unverified()

    def folders(of: Sequence[Plate]) -> dict[str, Path]:
        names = [plate.draft.name for plate in of]
        return {name: read.path for name, read in looking.read_many(AssetName.RAW_ACQUISITION, names).items()}

    own = filmed_plates(store, experiment)
    refuse_copies(experiment, fov_pixels(folders(own)), fov_pixels(folders(plates)))
