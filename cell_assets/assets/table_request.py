"""What a person asks for who brings in a plate as a table of features, without its images."""

from enum import StrEnum
from pathlib import Path

from blake3 import blake3
from pydantic import BaseModel, ConfigDict

from cell_assets.assets.recipes import AssetName
from cell_assets.imaging.feature_tables.count_parameters import CountParameters
from cell_assets.imaging.feature_tables.treatments import TreatmentColumns
from cell_assets.ledger.records import JsonValue, Plate, PlateDraft, WellDraft

_IDENTITY = frozenset({"source", "experiment", "plate"})
"""Fields that the plate's own record holds."""


class TableRows(StrEnum):
    """What a row of the table is."""

    CELLS = "cells"
    """A single cell: SQLite of CellProfiler or cytominer-database, CellProfiler's folder of CSV, Parquet as CytoTable
    writes it, or AnnData's counts."""
    WELLS = "wells"
    """A well's profile, in CSV or Parquet as pycytominer writes it: there are no cells to learn from."""


class TableRequest(BaseModel):
    """One plate of a table. Paths are absolute."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """The table's file or folder: an absolute path."""
    experiment: str
    """That the plate belongs to."""
    plate: str
    """Its name in the lab."""
    rows: TableRows = TableRows.CELLS
    """What a row of the table is."""
    source_plate: str | None = None
    """What the table calls the plate. Default: the only one that it holds."""
    plate_map: str | None = None
    """CSV of what each well was treated with, where no column of the table says it."""
    columns: TreatmentColumns = TreatmentColumns()
    """Columns of the table that say what each well was treated with."""
    counts: CountParameters | None = None
    """How counts of genes become features: of AnnData, which must be said, and of no other table."""

    @property
    def asset(self) -> AssetName:
        """Where its bytes come in."""
        return AssetName.SINGLE_CELL_FEATURES if self.rows is TableRows.CELLS else AssetName.MEAN_PROFILES

    def recorded(self) -> dict[str, JsonValue]:
        """The options as JSON values: what decides the plate beside its source."""
        # What becomes of counts decides nothing of a table without any.
        without = _IDENTITY if self.counts is not None else _IDENTITY | {"counts"}
        return self.model_dump(mode="json", exclude=set(without))

    def decided_by(self, source_digest: str) -> dict[str, JsonValue]:
        """Parameters of the output: the options, and digests of the files, so that an edited plate map is another."""
        digests: dict[str, JsonValue] = {"source_digest": source_digest}
        if self.plate_map is not None:
            digests["plate_map_digest"] = blake3(Path(self.plate_map).read_bytes()).hexdigest()
        return {**self.recorded(), **digests}

    def plate_draft(self, wells: tuple[WellDraft, ...]) -> PlateDraft:
        """The plate's record: without positions, because it was not filmed here."""
        return PlateDraft(
            experiment=self.experiment,
            name=self.plate,
            source_uri=self.source,
            source_format=_format_of(self.rows),
            wells=wells,
            positions=(),
            ingest_options=self.recorded(),
        )


def rows_of(plate: Plate) -> TableRows | None:
    """What the rows of the table are that a plate came as; None of a plate that was filmed."""
    return next((rows for rows in TableRows if plate.draft.source_format == _format_of(rows)), None)


def table_request_of(plate: Plate) -> TableRequest | None:
    """The request that a plate was registered with; None of a plate that was filmed."""
    if rows_of(plate) is None:
        return None
    return TableRequest.model_validate(
        {
            **plate.draft.ingest_options,
            "source": plate.draft.source_uri,
            "experiment": plate.draft.experiment,
            "plate": plate.draft.name,
        }
    )


def _format_of(rows: TableRows) -> str:
    return f"table of {rows.value}"
