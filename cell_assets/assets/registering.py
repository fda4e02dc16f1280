"""What a plate's name stands for never changes: one experiment, one set of bytes, one set of options."""

from pydantic import BaseModel

from cell_assets.assets.recipes import AssetName
from cell_assets.errors import BadInputError
from cell_assets.ledger.ledger import Ledger
from cell_assets.store.store import Store


def refuse_other_experiment(ledger: Ledger, name: str, experiment: str) -> None:
    """A plate stays in its experiment.

    Raises:
        BadInputError: the plate was ingested for another experiment.
    """
    plate = ledger.plate(name)
    if plate is not None and plate.draft.experiment != experiment:
        raise BadInputError(
            f"plate {name} belongs to experiment {plate.draft.experiment}, not {experiment}; give the new plate "
            "another name"
        )


def refuse_other_bytes(store: Store, asset: AssetName, plate: str, digest: str) -> None:
    """One plate name, one set of bytes.

    Args:
        asset: by which the plate came in.

    Raises:
        BadInputError: the plate was ingested from a source with another digest.
    """
    latest = store.ledger.latest(asset, plate)
    known = None if latest is None else latest.run.parameters.get("source_digest")
    if known is not None and known != digest:
        raise BadInputError(
            f"plate {plate} was ingested before from other bytes (source digest {str(known)[:12]}, now "
            f"{digest[:12]}); give the new plate another name"
        )


def refuse_other_options(plate: str, before: BaseModel | None, now: BaseModel) -> None:
    """Say before the work what the ledger would say after it.

    Args:
        before: the request that the plate was registered with; None where it is new.

    Raises:
        BadInputError: an option differs.
    """
    if before is None:
        return
    if type(before) is not type(now):
        raise BadInputError(
            f"plate {plate} is registered already, and one of the two came as a table and one was filmed; give this "
            "one another name"
        )
    known, asked = before.model_dump(), now.model_dump()
    differing = [name for name in asked if asked[name] != known[name]]
    if differing:
        raise BadInputError(
            f"plate {plate} is registered already with other {', '.join(differing)}: a plate never "
            "changes, so give this one another name"
        )
