"""`cell-assets annotate`: states that people saw in cells come in."""

from collections.abc import Sequence

import pandas as pd
from pydantic import BaseModel

from cell_assets.assets.annotations import AnnotationRequest, annotate_cells
from cell_assets.assets.launchpad import as_config
from cell_assets.assets.partitions import PARTITION_SAYS, fov_key
from cell_assets.assets.recipes import AssetName
from cell_assets.automation.session import Session
from cell_assets.errors import CellAssetsError
from cell_assets.imaging.annotation_history import (
    AFTER,
    BEFORE,
    BEFORE_FILE,
    COLUMN,
    AnnotationHistory,
    read_annotation_history,
)
from cell_assets.imaging.annotations import FILE, JOIN, PLACE, REASON, rows_of
from cell_assets.imaging.track_tables import Column

_NAMED = 5
"""So many rows without a cell, and so many replaced states, stand in what a person is told; the artifact lists all."""


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


class EarlierFile(BaseModel):
    """The file that said what another one replaced."""

    name: str
    digest: str
    by: str


class ReplacedState(BaseModel):
    """What an earlier file said of a cell, and this one says otherwise."""

    fov_name: str
    track_id: int
    t: int
    column: str
    before: str
    after: str
    earlier: EarlierFile | None
    """None where annotations were published before they kept it."""

    def sentence(self) -> str:
        """For a person."""
        file = self.earlier
        said = "one of the earlier files" if file is None else f"{file.name} by {file.by}"
        return (
            f"{self.fov_name} track {self.track_id} t={self.t}: {self.column} {self.before} → {self.after} "
            f"(before: {said})"
        )


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
    replaced_states: tuple[ReplacedState, ...]
    """Each of them."""
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
        lines += _listed("replaced, listed in replaced.parquet of the artifact", self.replaced_states)
        lines += _listed("without a cell, listed in unjoined.parquet of the artifact", self.unjoined)
        return "\n".join(lines)


def _listed(title: str, rows: Sequence[ReplacedState | UnjoinedRow]) -> list[str]:
    """Lines that name the first few; none without rows."""
    if not rows:
        return []
    lines = [f"{title}: {len(rows)}", *(f"  {row.sentence()}" for row in rows[:_NAMED])]
    if len(rows) > _NAMED:
        lines.append(f"  … and {len(rows) - _NAMED} more (--json lists them)")
    return lines


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
    # What was published and not what was foreseen: another person's file may have come in between.
    published = read_annotation_history(session.store.fetch(latest.artifact))
    digests = [file.digest for file in published.record.files]
    number = len(digests) - 1 - digests[::-1].index(request.digest)
    joined = annotated.joined
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
        other_fovs=published.record.files[number].n_other_fovs,
        replaced=published.record.files[number].n_replaced,
        replaced_states=replaced_states(published, number),
        unjoined=tuple(
            UnjoinedRow(
                place=row[PLACE],
                states={name: row[name] for name in joined.states if isinstance(row[name], str)},
                reason=row[REASON],
            )
            for row in joined.unjoined.to_dict("records")
        ),
        cells_in_all=len(published.cells),
    )


def replaced_states(history: AnnotationHistory, number: int) -> tuple[ReplacedState, ...]:
    """What file `number` of `history` says otherwise than files before it, by track, time and column."""
    return tuple(
        ReplacedState(
            fov_name=history.record.position,
            track_id=row[Column.TRACK_ID],
            t=row[Column.T],
            column=row[COLUMN],
            before=row[BEFORE],
            after=row[AFTER],
            earlier=_earlier(history, row[BEFORE_FILE]),
        )
        for row in rows_of(history.replaced[history.replaced[FILE] == number])
    )


def _earlier(history: AnnotationHistory, number: int | pd.api.typing.NAType) -> EarlierFile | None:
    if pd.isna(number):
        return None
    file = history.record.files[number]
    return EarlierFile(name=file.name, digest=file.digest, by=file.by)
