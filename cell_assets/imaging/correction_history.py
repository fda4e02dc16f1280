"""All that people corrected of one position's tracks so far: the folder of the `track_corrections` asset.

`corrections.csv` lists the corrections in the order in which they apply; `tracks.parquet`, where a person
handed back a whole edited table, holds what they apply to; `track_corrections.json` says who handed in each
file and why. What a correction does is in `track_corrections`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from blake3 import blake3
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.record_files import read_record
from cell_assets.imaging.track_corrections import Correction, apply_corrections
from cell_assets.imaging.track_files import (
    is_correction_csv,
    read_correction_csv,
    read_track_csv,
    write_correction_csv,
)
from cell_assets.imaging.track_tables import TRACK_COLUMNS, Column, ImageExtent

RECORD = "track_corrections.json"
CORRECTIONS = "corrections.csv"
TABLE = "tracks.parquet"

HandedIn = tuple[Correction, ...] | pd.DataFrame
"""What one file holds: corrections, or a whole track table (`TRACK_COLUMNS`)."""


class HandedInFile(BaseModel):
    """One file that a person handed in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    why: str
    n_corrections: int | None
    """None: a whole track table."""


class CorrectionRecord(BaseModel):
    """Content of `track_corrections.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["cell_assets.track_corrections"] = "cell_assets.track_corrections"
    version: Literal[1] = 1
    position: str
    tracks_found: str | None
    """`links_digest` of the tracks that are corrected; None where a person handed back a table, which stands
    whatever is found."""
    files: tuple[HandedInFile, ...]
    """In the order in which they apply; a table comes first, as it holds what was corrected before it."""


@dataclass(frozen=True)
class CorrectionHistory:
    """Corrections of one position, and the table that they apply to where it is not what the tracker found."""

    record: CorrectionRecord
    corrections: tuple[Correction, ...]
    table: pd.DataFrame | None

    @classmethod
    def none_of(cls, position: str, found: pd.DataFrame) -> Self:
        """Before anybody corrected anything of the tracks `found`."""
        record = CorrectionRecord(position=position, tracks_found=links_digest(found), files=())
        return cls(record, (), None)

    def apply(self, base: pd.DataFrame) -> pd.DataFrame:
        """A new table: `base`, which is `self.table` or what was found, with all corrections applied.

        Raises:
            BadInputError: other tracks were found than those that were corrected.
        """
        if self.table is None and self.record.tracks_found != links_digest(base):
            raise BadInputError(
                f"{self.record.position}: its corrections were made for other tracks than those found now; "
                "go back to the tracking that they were made for, or withdraw them with `cell-assets impact "
                f"artifact:ID --tombstone` (`cell-assets impact 'PLATE|{self.record.position}' --json` names "
                "the ID) and correct anew"
            )
        return apply_corrections(base, self.corrections, f"corrections of {self.record.position}")

    def followed_by(self, handed_in: HandedIn, by: str, why: str) -> Self:
        """With one more file: corrections apply after all others, and a table takes the place of all."""
        if isinstance(handed_in, pd.DataFrame):
            file = HandedInFile(by=by, why=why, n_corrections=None)
            record = self.record.model_copy(update={"tracks_found": None, "files": (file,)})
            return replace(self, record=record, corrections=(), table=handed_in)
        file = HandedInFile(by=by, why=why, n_corrections=len(handed_in))
        record = self.record.model_copy(update={"files": (*self.record.files, file)})
        return replace(self, record=record, corrections=(*self.corrections, *handed_in))

    def write(self, folder: Path) -> None:
        """Write into `folder`, which exists and is empty."""
        (folder / RECORD).write_text(self.record.model_dump_json(indent=1), encoding="utf-8")
        write_correction_csv(self.corrections, folder / CORRECTIONS)
        if self.table is not None:
            write_parquet(self.table[list(TRACK_COLUMNS)], folder / TABLE)


def read_correction_history(folder: Path) -> CorrectionHistory:
    """Read what `CorrectionHistory.write` wrote.

    Raises:
        BadInputError: naming the file that is missing or not what it should be.
    """
    record = read_record(folder / RECORD, CorrectionRecord, "track_corrections", "corrections")
    table = read_parquet(folder / TABLE) if (folder / TABLE).exists() else None
    return CorrectionHistory(record, read_correction_csv(folder / CORRECTIONS), table)


def read_handed_in(path: Path, position: str, extent: ImageExtent) -> HandedIn:
    """Read a file as a person hands it in: a CSV of corrections, or a track table as CSV or GEFF.

    Raises:
        BadInputError: the file is none of these, holds nothing, or is not sound (see `check_tracks`).
    """
    if path.is_dir():
        # The format's package takes a second to import.
        from cell_assets.imaging.geff_files import read_edited_geff

        handed_in: HandedIn = read_edited_geff(path, position, extent)
    elif is_correction_csv(path):
        handed_in = read_correction_csv(path)
    else:
        handed_in = read_track_csv(path, position, extent)
    if not len(handed_in):
        raise BadInputError(f"{path}: holds no row; give corrections or a track table")
    return handed_in


def links_digest(table: pd.DataFrame) -> str:
    """BLAKE3 of which cells and tracks there are and how they are linked, whatever else is known of them."""
    columns = [Column.TRACK_ID, Column.T, Column.ID, Column.PARENT_TRACK_ID, Column.PARENT_ID]
    ordered = table.sort_values([Column.TRACK_ID, Column.T])[columns]
    return blake3(np.ascontiguousarray(ordered.to_numpy(np.int64)).tobytes()).hexdigest()
