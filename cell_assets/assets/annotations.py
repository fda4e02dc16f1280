"""States that people saw in cells: handed in by `cell-assets annotate`, kept as versions of their own.

Each version holds what stands of all before it: a later file adds to it, and what it says of a cell replaces what
an earlier file said of the same column. Tracks that are made anew take their annotations along, by the body of the
asset without a file.
"""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, ConfigDict

from cell_assets.assets.checks import standing_check_specs
from cell_assets.assets.corrections import refuse_absent
from cell_assets.assets.inputs import ReadArtifact, outdated_annotations
from cell_assets.assets.launchpad import request_fields, stated_request
from cell_assets.assets.partitions import PARTITION_SAYS, fov_key, fovs, position_of
from cell_assets.assets.publishing import Making, Publisher, Written
from cell_assets.assets.recipes import RECIPES, AssetName
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.imaging.annotation_files import ReadingChoices, read_annotation_csv
from cell_assets.imaging.annotation_history import AnnotationHistory, read_annotation_history
from cell_assets.imaging.annotation_images import SUFFIXES, read_annotation_image
from cell_assets.imaging.annotation_joining import JoinedAnnotations, join_annotations
from cell_assets.imaging.tracking import open_track_labels, read_tracks
from cell_assets.ledger.records import ArtifactState, JsonValue, ReadReceipt
from cell_assets.store.file_digest import digest_file
from cell_assets.store.store import Store


class AnnotationRequest(BaseModel):
    """What a person hands in: a file of annotations of one position."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    plate: str
    position: str
    file: str
    """Absolute path of a CSV, or of a label image as TIFF."""
    digest: str
    """BLAKE3 of the file's bytes, as they were when the person asked. Default: as they are when the run reads them."""
    by: str
    """Who saw it."""
    why: str
    """What it was looked at for."""
    columns: tuple[str, ...] = ()
    """Columns of states in the CSV, or the one name of what a label image shows. Default: all but what track tables
    have, and projections."""
    names: dict[str, str] = {}
    """What each value in the file stands for; a label image's values all need one."""

    @property
    def key(self) -> str:
        """The position's partition."""
        return fov_key(self.plate, self.position)

    def recorded(self) -> dict[str, JsonValue]:
        """The run's parameters; the file's rows are in the artifact."""
        return {
            "by": self.by,
            "why": self.why,
            "file": Path(self.file).name,
            "file_digest": self.digest,
            "columns": list(self.columns),
            "names": dict(self.names),
        }


@dataclass(frozen=True)
class TrackedCells:
    """The tracks that annotations are joined to, and the segmentation that their masks are in."""

    tracks: ReadArtifact
    segmentation: ReadArtifact

    def receipts(self) -> list[ReadReceipt]:
        """Both, as input edges."""
        return [self.tracks.receipt, self.segmentation.receipt]


@dataclass(frozen=True)
class AnnotatedPosition:
    """What a request makes of a position's annotations, in memory."""

    history: AnnotationHistory
    joined: JoinedAnnotations
    receipts: tuple[ReadReceipt, ...]


@dg.multi_asset(
    name="annotations",
    specs=[
        asset_spec(
            AssetName.ANNOTATIONS,
            "fovs",
            "States that people saw in cells of one FOV so far, and why; by `cell-assets annotate`, or by the "
            "Launchpad's config. Empty, annotations follow tracks that were made anew.",
            {"parquet"},
        )
    ],
    partitions_def=fovs,
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=standing_check_specs(AssetName.ANNOTATIONS),
    config_schema=request_fields(AnnotationRequest, PARTITION_SAYS),
)
def annotations(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> StepResults:
    """Record what a person handed in; without a file, join what stands to tracks that were made since."""
    begin(context, store)
    if (request := _handed_in(context)) is not None:
        # Two people at once: the second one's file must follow the first one's, not replace it.
        with store.ledger.lock("handing in annotations", request.key):
            _publish(context, store, request.key, request)
    else:
        for key in outdated_annotations(store, context.partition_keys):
            with store.ledger.lock("handing in annotations", key):
                _publish(context, store, key, None)
    yield finished(context, store, AssetName.ANNOTATIONS.value)


def _handed_in(context: dg.AssetExecutionContext) -> AnnotationRequest | None:
    """What the config states; a file without its digest is taken as it is now."""
    given = dict(context.op_execution_context.op_config or {})
    if not given:
        return None
    try:
        identity = position_of(context.partition_keys)
        if "file" in given:
            given.setdefault("digest", file_digest(Path(given["file"])))
        return stated_request(AnnotationRequest, AssetName.ANNOTATIONS.value, given, identity)
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _publish(
    context: dg.AssetExecutionContext, store: Store, key: str, request: AnnotationRequest | None
) -> None:
    try:
        if request is None:
            history, receipts = _carried(store, key)
            parameters: dict[str, JsonValue] = {"carried": True}
        else:
            annotated = annotate_cells(store, request)
            history, receipts, parameters = annotated.history, annotated.receipts, request.recorded()
    except CellAssetsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    making = Making(RECIPES[AssetName.ANNOTATIONS], key, parameters, None, dagster_run_id=context.run_id)

    def write(folder: Path) -> Written:
        history.write(folder)
        return Written()

    Publisher(context, store).make(making, receipts, write)


def annotate_cells(store: Store, request: AnnotationRequest) -> AnnotatedPosition:
    """Join a request to the position's tracks, after all annotations that stand; writes nothing.

    Raises:
        BadInputError: what is handed in is not sound, contradicts itself, or is about no cell; the file is not
            what it was; or nobody says who and why.
        NotFoundError: there is no such position, or it has no tracks yet.
    """
    for name, text in (("--why", request.why), ("--by", request.by)):
        if not text.strip():
            raise BadInputError(f"{name} is empty: say it for whoever meets the annotated cells")
    refuse_absent(store.ledger, request.plate, request.position)
    path, choices = Path(request.file), ReadingChoices(request.columns, request.names)
    if file_digest(path) != request.digest:
        raise BadInputError(f"{path}: has changed since it was handed in; hand it in again")
    cells = tracked_cells(store, request.key)
    table = read_tracks(cells.tracks.folder)
    if path.suffix.lower() in SUFFIXES:
        labels = open_track_labels(cells.tracks.folder, cells.segmentation.folder)
        given = read_annotation_image(path, choices, table, labels)
    else:
        given = read_annotation_csv(path, request.plate, request.position, choices)
    joined = join_annotations(given, table)
    before, receipts = _standing(store, request.key)
    # Whatever was said of earlier tracks goes to those of now first.
    earlier = AnnotationHistory.none_of(request.position) if before is None else before.carried_to(table)
    history = earlier.followed_by(
        joined, path.name, request.digest, request.by, request.why, n_other_fovs=given.n_other_fovs
    )
    return AnnotatedPosition(history, joined, (*cells.receipts(), *receipts))


def file_digest(path: Path) -> str:
    """BLAKE3 of a file's bytes.

    Raises:
        BadInputError: it cannot be read.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: there is no such file")
    try:
        return digest_file(path)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); give another file") from error


def tracked_cells(store: Store, key: str) -> TrackedCells:
    """The newest tracks of a position and their segmentation.

    Raises:
        NotFoundError: they have not been made.
    """
    return TrackedCells(
        ReadArtifact(*store.read(AssetName.TRACKS, key)),
        ReadArtifact(*store.read(AssetName.SEGMENTATION, key)),
    )


def _carried(store: Store, key: str) -> tuple[AnnotationHistory, tuple[ReadReceipt, ...]]:
    cells = tracked_cells(store, key)
    before, receipts = _standing(store, key)
    assert before is not None
    return before.carried_to(read_tracks(cells.tracks.folder)), (*cells.receipts(), *receipts)


def _standing(store: Store, key: str) -> tuple[AnnotationHistory | None, tuple[ReadReceipt, ...]]:
    """What stands of a position's annotations, withdrawn versions left aside."""
    newest = store.ledger.latest(AssetName.ANNOTATIONS, key, ArtifactState.PRESENT)
    if newest is None:
        return None, ()
    return read_annotation_history(store.fetch(newest.artifact)), (store.receipt(newest.artifact),)
