"""`cell-assets ingest-table`: what is cheap is checked first, then a Dagster run for each plate brings it in."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, register_plate_keys
from cell_assets.assets.table_config import TABLE
from cell_assets.assets.table_request import TableRequest
from cell_assets.assets.tables import check_table_names
from cell_assets.automation.session import Session
from cell_assets.errors import BadInputError, CellAssetsError


class TableIngestResult(BaseModel):
    """What one plate's table became."""

    plate: str
    experiment: str
    artifact: int
    digest: str
    wells: int
    bytes: int

    def sentence(self) -> str:
        """For a person."""
        return (
            f"plate {self.plate}: {self.wells} wells, {self.bytes / 1e6:.1f} MB, artifact {self.artifact}, digest "
            f"{self.digest[:12]}"
        )


def ingest_tables(session: Session, requests: Sequence[TableRequest]) -> list[TableIngestResult]:
    """Bring in these plates, one after the other.

    Raises:
        BadInputError: something about a request is wrong; nothing was kept of any.
        CellAssetsError: a run failed; the plates before it are in.
    """
    for request in requests:
        check_table_names(session.store, request)
        if not Path(request.source).exists():
            raise BadInputError(f"{request.source}: there is no such file or folder; give the plate's table")
    found = []
    with session.executor() as executor:
        for request in requests:
            register_plate_keys(executor.instance, request.experiment, request.plate, ())
            config = {request.asset.value: {TABLE: as_config(request, PARTITION_SAYS)}}
            outcome = executor.materialise([request.asset], partition=request.plate, config=config)
            if outcome.error is not None:
                raise CellAssetsError(outcome.error)
            found.append(_result(session, request))
    return found


def _result(session: Session, request: TableRequest) -> TableIngestResult:
    latest = session.ledger.latest(request.asset, request.plate)
    plate = session.ledger.plate(request.plate)
    assert latest is not None and plate is not None
    return TableIngestResult(
        plate=request.plate,
        experiment=request.experiment,
        artifact=latest.artifact.id,
        digest=latest.artifact.digest,
        wells=len(plate.draft.wells),
        bytes=latest.artifact.n_bytes,
    )
