"""`cell-assets tracks` and `cell-assets correct`: tracks go out to other tools, and corrections come back."""

from pathlib import Path

from pydantic import BaseModel

from cell_assets.assets.corrections import CorrectionRequest, correct_tracks, refuse_absent
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, fov_key
from cell_assets.assets.recipes import AssetName
from cell_assets.automation.session import Session
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.imaging.acquisition import open_acquisition
from cell_assets.imaging.acquisition_views import field_of_view
from cell_assets.imaging.track_files import write_track_csv
from cell_assets.imaging.track_tables import Column, division_count, linked_by_cells
from cell_assets.imaging.tracking import read_tracks


class ExportResult(BaseModel):
    """What was written."""

    file: str
    artifact: int
    """The tracks that it holds."""
    cells: int
    tracks: int
    divisions: int

    def sentence(self) -> str:
        """For a person."""
        return (
            f"{self.file}: {self.cells} cells in {self.tracks} tracks with {self.divisions} divisions, "
            f"from artifact {self.artifact}"
        )


class CorrectionResult(BaseModel):
    """What corrections published, and what the tracks will be."""

    plate: str
    position: str
    experiment: str
    artifact: int
    digest: str
    tracks_before: int
    tracks_after: int
    divisions_before: int
    divisions_after: int

    def sentence(self) -> str:
        """For a person."""
        return (
            f"{fov_key(self.plate, self.position)}: {self.tracks_before} tracks become {self.tracks_after}, "
            f"{self.divisions_before} divisions {self.divisions_after}; corrections are artifact "
            f"{self.artifact}; next: cell-assets run --experiment {self.experiment}"
        )


def export_tracks(session: Session, plate: str, position: str, out: Path) -> ExportResult:
    """Write the newest tracks of a position as the new file `out`, a GEFF or a CSV by its suffix.

    Raises:
        BadInputError: `out` exists, cannot be written, or has another suffix.
        NotFoundError: there is no such position, or it has no tracks yet.
    """
    if out.suffix not in (".geff", ".csv"):
        raise BadInputError(f"{out}: give a file that ends in .geff or .csv")
    if out.exists():
        raise BadInputError(f"{out}: exists already; give a new name")
    if not out.absolute().parent.is_dir():
        raise BadInputError(f"{out}: there is no folder {out.absolute().parent}; make it first")
    refuse_absent(session.ledger, plate, position)
    folder, receipt = session.store.read(AssetName.TRACKS, fov_key(plate, position))
    acquisition, _ = session.store.read(AssetName.RAW_ACQUISITION, plate)
    fov = field_of_view(open_acquisition(acquisition).info, position)
    table = linked_by_cells(read_tracks(folder))
    try:
        if out.suffix == ".csv":
            write_track_csv(table, out)
        else:
            # The format's package takes a second to import.
            from cell_assets.imaging.geff_files import write_geff

            write_geff(table, out, fov.spacing, fov.interval_min)
    except OSError as error:
        raise BadInputError(f"{out}: cannot be written ({error.strerror}); give another file") from error
    return ExportResult(
        file=str(out),
        artifact=receipt.artifact_id,
        cells=len(table),
        tracks=table[Column.TRACK_ID].nunique(),
        divisions=division_count(table),
    )


def correct_position(session: Session, request: CorrectionRequest) -> CorrectionResult:
    """Record corrections of one position's tracks, after they were applied in memory.

    Raises:
        BadInputError: what is handed in is not sound or does not fit; nothing was kept.
        NotFoundError: there is no such position, or it has no tracks yet.
        CellAssetsError: the run failed.
    """
    corrected = correct_tracks(session.store, request)
    plate = session.ledger.plate(request.plate)
    assert plate is not None
    with session.executor() as executor:
        outcome = executor.materialise(
            [AssetName.TRACK_CORRECTIONS],
            partition=request.key,
            config={"track_corrections": as_config(request, PARTITION_SAYS)},
        )
    if outcome.error is not None:
        raise CellAssetsError(outcome.error)
    latest = session.ledger.latest(AssetName.TRACK_CORRECTIONS, request.key)
    assert latest is not None
    return CorrectionResult(
        plate=request.plate,
        position=request.position,
        experiment=plate.draft.experiment,
        artifact=latest.artifact.id,
        digest=latest.artifact.digest,
        tracks_before=corrected.n_tracks[0],
        tracks_after=corrected.n_tracks[1],
        divisions_before=corrected.n_divisions[0],
        divisions_after=corrected.n_divisions[1],
    )
