"""The experiment manifest: a frozen list of plates, FOVs and conditions, and the split of every track."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.splits import SplitParameters, SplitUnit, assign_splits

FORMAT_NAME = "cell_assets.experiment_manifest"
FORMAT_VERSION = "1"
UNPERTURBED = "none named"
"""Condition of wells for which the plate map names no perturbation."""

TRACK_COLUMNS = ("plate", "well", "fov_name", "track_id", "lineage_root", "condition", "split")
"""Columns of `tracks.parquet`, one row per track."""


@dataclass(frozen=True)
class ManifestFov:
    """One FOV with its patch table."""

    plate: str
    fov_name: str
    patch_table_digest: str
    cells: Path
    """`cells.parquet` of the patch table."""


class FovEntry(BaseModel):
    """One FOV as the manifest lists it."""

    model_config = ConfigDict(frozen=True)
    plate: str
    fov_name: str
    patch_table_digest: str
    n_tracks: int
    n_cells: int


class Manifest(BaseModel):
    """`manifest.json`."""

    model_config = ConfigDict(frozen=True)
    format: str = FORMAT_NAME
    format_version: str = FORMAT_VERSION
    experiment: str
    plates: dict[str, str]
    """Digest of the raw acquisition of every plate."""
    fovs: tuple[FovEntry, ...]
    conditions: dict[str, int]
    """Number of tracks of each condition."""
    split_unit: SplitUnit
    split_parameters: dict[str, str | float | int | None]
    simulated: bool
    """True when any of the plates was simulated; every report on them says so."""

    def split_statement(self) -> str:
        """How tracks were divided, for captions."""
        return f"split by {self.split_unit.value}: no two of train, val and test share one"


def condition_of(cells: pd.DataFrame) -> pd.Series:
    """Condition of every row, for example `virus DENV 5 MOI`, from the plate map's columns."""
    named = cells["perturbation"].notna()
    text = (
        cells["perturbation_type"].astype("string").fillna("")
        + " "
        + cells["perturbation"].astype("string").fillna("")
    )
    dosed = cells["dose"].notna()
    dose = cells["dose"].map(lambda value: f" {value:g} ") + cells["dose_unit"].astype("string").fillna("")
    text = text.where(~dosed, text + dose.astype("string").fillna(""))
    return text.where(named, UNPERTURBED).str.strip().astype(str).rename("condition")


def write_manifest(
    out: Path,
    experiment: str,
    plates: dict[str, str],
    fovs: Sequence[ManifestFov],
    parameters: SplitParameters,
    simulated: bool,
) -> Manifest:
    """Write `manifest.json` and `tracks.parquet` into the folder `out`.

    Raises:
        BadInputError: no FOV holds a track, or a condition has too few units to split.
    """
    tracks = []
    entries = []
    for fov in sorted(fovs, key=lambda fov: (fov.plate, fov.fov_name)):
        cells = pd.read_parquet(fov.cells)
        of_fov = cells.drop_duplicates("track_id").assign(plate=fov.plate)
        of_fov = of_fov.assign(condition=condition_of(of_fov)) if len(of_fov) else of_fov
        tracks.append(of_fov)
        entries.append(
            FovEntry(
                plate=fov.plate,
                fov_name=fov.fov_name,
                patch_table_digest=fov.patch_table_digest,
                n_tracks=len(of_fov),
                n_cells=len(cells),
            )
        )
    filled = [frame for frame in tracks if len(frame)]
    if not filled:
        raise BadInputError(
            f"experiment {experiment}: none of its {len(entries)} FOVs holds a track, so there is nothing to split; "
            "look at the segmentation's parameters"
        )
    table = pd.concat(filled, ignore_index=True).sort_values(
        ["plate", "fov_name", "track_id"], ignore_index=True
    )
    split, unit = assign_splits(table, parameters)
    table = table.assign(split=split)[list(TRACK_COLUMNS)]
    table.to_parquet(out / "tracks.parquet", index=False)
    manifest = Manifest(
        experiment=experiment,
        plates=dict(sorted(plates.items())),
        fovs=tuple(entries),
        conditions={str(k): int(v) for k, v in table["condition"].value_counts().sort_index().items()},
        split_unit=unit,
        split_parameters=asdict(parameters),
        simulated=simulated,
    )
    (out / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True))
    return manifest


def read_manifest(folder: Path) -> tuple[Manifest, pd.DataFrame]:
    """The manifest and its table of tracks.

    Raises:
        BadInputError: the folder holds another format or version.
    """
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    if (manifest.format, manifest.format_version) != (FORMAT_NAME, FORMAT_VERSION):
        raise BadInputError(
            f"{folder / 'manifest.json'}: format {manifest.format} {manifest.format_version} cannot be read, "
            f"{FORMAT_NAME} {FORMAT_VERSION} is expected"
        )
    return manifest, pd.read_parquet(folder / "tracks.parquet")
