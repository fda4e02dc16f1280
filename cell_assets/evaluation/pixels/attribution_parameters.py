"""What a person may choose about class attribution; apart from the computation, which imports torch."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class AttributionParameters(BaseModel):
    """Which pixels decide what a linear head says: of which cells, by which settings (DynaCLR §3.4.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    example_tracks: int = Field(default=1, ge=0)
    """Test tracks that change their state, drawn for every annotation column."""
    example_times: int = Field(default=6, ge=2)
    """Time points drawn of each: half up to the change, half after it."""
    cells_per_state: int = Field(default=6, ge=1)
    """Test cells of each of a column's two states that the numbers are of."""
    occlusion_window: tuple[int, int, int] = (15, 8, 8)
    """(Z, Y, X) in voxels (§3.4.2), clipped to the patch where that is smaller. One channel is covered at a time."""
    occlusion_stride: tuple[int, int, int] = (15, 4, 4)
    """(Z, Y, X) in voxels (§3.4.2)."""
    path_cuts: tuple[float, ...] = (0.001, 0.01, 0.1)
    """Where the path of integrated gradients from baseline (0) to image (1) is cut into pieces that are integrated
    apart. Networks that begin with a normalisation answer to a faint image almost as to a full one, so that most of the
    logit changes close to the baseline: of a small DynaCLR network whose logits differ by 8.5, 64 points on the
    whole path missed 2.9, and 16 on each of these pieces 0.001."""
    path_steps: int = Field(default=16, ge=2)
    """Points of the Gauss-Legendre rule on each piece; the paper states none."""
    dilation_um: float = Field(default=5.0, ge=0)
    """How far around its segmented region a cell is taken to reach in the plane, where only nuclei are segmented; 0
    where the segmentation holds whole cells."""
    deleted_share: float = Field(default=0.1, gt=0, lt=1)
    """Of a patch's pixels (voxels of all channels) that are set to the baseline."""
    random_deletions: int = Field(default=8, ge=1)
    """Draws of as many random pixels."""
    batch_size: int = Field(default=32, ge=1)
    """Patches in one pass of the network, which with their activations bound the memory."""
    threads: int = Field(default=1, ge=1)
    """Of one operation on the CPU. The many small passes gain little from a second one, and lose much where it shares
    its core with other programs: 450 occluded patches took 0.9 s of processor time by one and 7 s by two."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Kind of processor that explains; results differ between kinds."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples of tracks."""
    seed: int = Field(default=0, ge=0)
    """Of the choice of cells, of the randomised network, of random deletions and of resampling."""

    @model_validator(mode="after")
    def _path_ascends(self) -> Self:
        points = (0.0, *self.path_cuts, 1.0)
        if any(later <= earlier for earlier, later in pairwise(points)):
            raise ValueError(f"path_cuts={list(self.path_cuts)} must ascend between 0 and 1")
        return self
