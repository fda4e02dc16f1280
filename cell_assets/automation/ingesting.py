"""`cell-assets ingest`: everything cheap is checked first, then one Dagster run brings the plate in."""

from pathlib import Path

from pydantic import BaseModel

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, register_plate_keys
from cell_assets.assets.recipes import AssetName
from cell_assets.assets.registering import refuse_other_bytes, refuse_other_experiment
from cell_assets.assets.sizing import GC_ADVICE, Cost, ingest_cost
from cell_assets.automation.session import Session
from cell_assets.errors import CellAssetsError
from cell_assets.imaging.ingest import PreparedIngest, prepare_ingest
from cell_assets.ledger.names import check_name


class IngestResult(BaseModel):
    """What an ingest published."""

    plate: str
    experiment: str
    artifact: int
    digest: str
    content_digest: str | None
    positions: int
    bytes: int

    def sentence(self) -> str:
        """For a person."""
        return (
            f"plate {self.plate}: {self.positions} FOVs, {self.bytes / 1e6:.1f} MB, artifact {self.artifact}, "
            f"digest {self.digest[:12]}; next: cell-assets run --experiment {self.experiment}"
        )


def plan_ingest(session: Session, request: IngestRequest) -> Cost:
    """What bringing the plate in will take.

    Raises:
        BadInputError: something about the request or the source is wrong.
    """
    return ingest_cost(session.ledger, _checked(session, request).bytes_at_most)


def ingest_plate(session: Session, request: IngestRequest) -> IngestResult:
    """Bring a plate in and measure it.

    Raises:
        BadInputError: something about the request or the source is wrong; nothing was kept.
        CellAssetsError: the run failed.
    """
    prepared = _checked(session, request)
    if session.ledger.latest(AssetName.RAW_ACQUISITION, request.plate) is None:
        session.store.require_room(prepared.bytes_at_most, f"plate {request.plate}", GC_ADVICE)
    with session.executor() as executor:
        positions = [position.name for position in prepared.source.positions]
        register_plate_keys(executor.instance, request.experiment, request.plate, positions)
        config = {"raw_acquisition": as_config(request, PARTITION_SAYS)}
        outcome = executor.materialise(
            [AssetName.RAW_ACQUISITION, AssetName.PLATE_QC], partition=request.plate, config=config
        )
    if outcome.error is not None:
        raise CellAssetsError(outcome.error)
    latest = session.ledger.latest(AssetName.RAW_ACQUISITION, request.plate)
    assert latest is not None
    return IngestResult(
        plate=request.plate,
        experiment=request.experiment,
        artifact=latest.artifact.id,
        digest=latest.artifact.digest,
        content_digest=latest.artifact.content_digest,
        positions=len(positions),
        bytes=latest.artifact.n_bytes,
    )


def _checked(session: Session, request: IngestRequest) -> PreparedIngest:
    """The source, after everything that can be refused without reading its pixels."""
    check_name("experiment", request.experiment)
    check_name("plate", request.plate)
    prepared = prepare_ingest(Path(request.source), request.options())
    refuse_other_experiment(session.ledger, request.plate, request.experiment)
    if session.ledger.latest(AssetName.RAW_ACQUISITION, request.plate) is not None:
        # Hashes the source, which a plate that is new need not wait for.
        refuse_other_bytes(session.store, AssetName.RAW_ACQUISITION, request.plate, prepared.source_digest)
    return prepared
