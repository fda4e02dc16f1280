"""Every value that decides the bytes of embeddings besides the checkpoint and the patches; free of torch."""

from pydantic import BaseModel, ConfigDict, Field

from cell_assets.evaluation.umap_axes import COMPONENTS, FIT_CELLS, NEIGHBORS
from cell_assets.methods.processor import Device


class EmbeddingParameters(BaseModel):
    """How a checkpoint is applied to plates."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    batch_size: int = Field(default=128, ge=1)
    """Patches in one pass."""
    threads: int = Field(default=1, ge=1)
    """Two that share their cores with other work wait for each other: 75 to 100 s for what takes 40 s alone."""
    device: Device = Device.CPU
    """The network always runs uncompiled in float32 here, whatever it was trained in."""
    pca_components: int = Field(default=COMPONENTS, ge=1)
    """Principal components of the features that are kept."""
    umap_neighbors: int = Field(default=NEIGHBORS, ge=2)
    """Of every cell, whose distances UMAP looks at."""
    umap_fit_cells: int = Field(default=FIT_CELLS, ge=16)
    """UMAP is fitted on at most so many cells, drawn with `seed`; the others are placed among them."""
    seed: int = Field(default=0, ge=0)
    """Of UMAP."""
