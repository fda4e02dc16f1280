"""Where the published parts of one FOV lie."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FovFolders:
    """Published folders of one FOV."""

    plate: str
    fov_name: str
    acquisition: Path
    segmentation: Path
    tracks: Path
    patch_table: Path
    """For channels, planes and normalisation."""
