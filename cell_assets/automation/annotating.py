"""`cell-assets annotate`: states that people saw in cells come in."""

from pydantic import BaseModel

from cell_assets.assets.annotations import AnnotationRequest, annotate_cells
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, fov_key
from cell_assets.assets.recipes import AssetName
from cell_assets.automation.session import Session
from cell_assets.errors import CellAssetsError
from cell_assets.imaging.annotations import JOIN, PLACE, REASON

_NAMED = 5
"""So many rows without a cell stand in what a person is told; the artifact lists all."""


class UnjoinedRow(BaseModel):
    """A row that has no cell."""

    place: str
    """Line, or time and place in a label image."""
    states: dict[str, str]
    reason: str

    def sentence(self) -> str:
        """For a person."""
        said = ", ".join(f"{column} {state}" for column, state in self.states.items())
        return f"{self.place} ({said}): {self.reason}"


class AnnotationResult(BaseModel):
    """What annotations published."""

    plate: str
    position: str
    experiment: str
    artifact: int
    digest: str
    file_digest: str
    states: tuple[str, ...]
    """The file's columns of states."""
    rows: int
    """Rows of the file that name a state of a cell of this position."""
    cells: int
    """Cells and time points that they are about."""
    joins: dict[str, int]
    """Of these cells: how their rows found them."""
    repeated: int
    other_fovs: int
    replaced: int
    unjoined: tuple[UnjoinedRow, ...]
    cells_in_all: int
    """With those of earlier files."""

    def sentence(self) -> str:
        """For a person."""
        how = ", ".join(f"{n} {join}" for join, n in self.joins.items())
        lines = [
            f"{fov_key(self.plate, self.position)}: {self.rows} rows about {', '.join(self.states)} are of "
            f"{self.cells} cells ({how}), {self.replaced} states of earlier files are replaced, "
            f"{self.cells_in_all} cells are annotated in all; annotations are artifact {self.artifact}; "
            f"next: cell-assets run --experiment {self.experiment}"
        ]
        if self.repeated:
            lines.append(f"said more than once, and kept once: {self.repeated}")
        if self.other_fovs:
            lines.append(f"about other plates or positions, and left aside: {self.other_fovs} rows")
        if self.unjoined:
            lines.append(f"without a cell, listed in the artifact: {len(self.unjoined)}")
            lines += [f"  {row.sentence()}" for row in self.unjoined[:_NAMED]]
            if len(self.unjoined) > _NAMED:
                lines.append(f"  … and {len(self.unjoined) - _NAMED} more (--json lists them)")
        return "\n".join(lines)


def annotate_position(session: Session, request: AnnotationRequest) -> AnnotationResult:
    """Record annotations of one position's cells, after they were joined in memory.

    Raises:
        BadInputError: what is handed in is not sound or contradicts itself; nothing was kept.
        NotFoundError: there is no such position, or it has no tracks yet.
        CellAssetsError: the run failed.
    """
    annotated = annotate_cells(session.store, request)
    plate = session.ledger.plate(request.plate)
    assert plate is not None
    with session.executor() as executor:
        outcome = executor.materialise(
            [AssetName.ANNOTATIONS],
            partition=request.key,
            config={"annotations": as_config(request, PARTITION_SAYS)},
        )
    if outcome.error is not None:
        raise CellAssetsError(outcome.error)
    latest = session.ledger.latest(AssetName.ANNOTATIONS, request.key)
    assert latest is not None
    joined, file = annotated.joined, annotated.history.record.files[-1]
    return AnnotationResult(
        plate=request.plate,
        position=request.position,
        experiment=plate.draft.experiment,
        artifact=latest.artifact.id,
        digest=latest.artifact.digest,
        file_digest=request.digest,
        states=joined.states,
        rows=joined.n_rows,
        cells=len(joined.cells),
        joins={str(join): int(n) for join, n in joined.cells[JOIN].value_counts().sort_index().items()},
        repeated=joined.n_repeated,
        other_fovs=file.n_other_fovs,
        replaced=file.n_replaced,
        unjoined=tuple(
            UnjoinedRow(
                place=row[PLACE],
                states={name: row[name] for name in joined.states if isinstance(row[name], str)},
                reason=row[REASON],
            )
            for row in joined.unjoined.to_dict("records")
        ),
        cells_in_all=len(annotated.history.cells),
    )
