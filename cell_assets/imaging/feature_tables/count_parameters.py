"""How counts of genes become features of cells; free of AnnData, which definitions must not wait for."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class CountNormalization(StrEnum):
    """What the feature of a gene is in a cell."""

    LOG_PER_10K = "log-per-10k"
    """log1p of the gene's counts per 10,000 counts of its cell, as the field does it (Seurat's LogNormalize, scanpy's
    normalize_total and log1p): it does not tell how deeply a cell was sequenced."""
    COUNTS = "as-they-are"
    """As they were made: how deeply a cell was sequenced is part of every gene."""


class CountParameters(BaseModel):
    """How counts become features, and where a file says of what a cell is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    normalization: CountNormalization
    """What a feature is; has no default, since methods see nothing else of the cells."""
    variable_genes: int | None = Field(default=None, ge=1)
    """How many genes are kept, those whose counts per 10,000 have the largest variance relative to their mean over all
    cells of the file. Default: all are."""
    plate: str | None = None
    """Column of `obs`: the plate, sample, donor or library that a cell is of. Default: plate, else Metadata_Plate."""
    well: str | None = None
    """Column of `obs`: the well. Default: well, else Metadata_Well."""
    layer: str | None = None
    """Of the counts. Default: they are X."""
