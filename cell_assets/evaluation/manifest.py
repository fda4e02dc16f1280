"""The experiment manifest: a frozen list of plates, FOVs and conditions, the split of every track, what is left out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from cell_assets.errors import BadInputError
from cell_assets.evaluation.exclusions import EXCLUSION_TYPES, find_exclusions, is_excluded, no_exclusions
from cell_assets.evaluation.splits import UNIT_COLUMNS, Split, SplitParameters, SplitUnit, assign_splits
from cell_assets.imaging.parquet_tables import read_parquet, write_parquet
from cell_assets.imaging.quality.plate_quality import PlateQuality
from cell_assets.imaging.quality.thresholds import Threshold

FORMAT_NAME = "cell_assets.experiment_manifest"
FORMAT_VERSION = "2"
_READABLE = ("1", FORMAT_VERSION)
EXCLUDED = "excluded"
"""In place of a split: the cell image is left out by a threshold of quality."""
UNLISTED = "unlisted"
"""In place of a split: the cell's track is not in the manifest, as on a plate that was added later."""
UNPERTURBED = "none named"
"""Condition of wells for which the plate map names no perturbation."""

TRACK_COLUMNS = (
    "plate",
    "well",
    "fov_name",
    "track_id",
    "parent_track_id",
    "last_t",
    "lineage_root",
    "condition",
    "split",
)
"""Columns of `tracks.parquet`, one row per track; `split` is null where every image of the track is left out.

`parent_track_id` and `last_t`, which version 1 lacks, are of the whole track, left out or not: a track does not
end where its last image was too blurred to use.
"""


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
    n_left_out: int = 0
    """Of the cell images."""


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
    """Number of tracks of each condition that have a cell image left."""
    thresholds: tuple[Threshold, ...] = ()
    """Beyond these cells are left out."""
    split_unit: SplitUnit
    split_parameters: dict[str, str | float | int | None]
    simulated: bool
    """True when any of the plates was simulated; every report on them says so."""

    def split_statement(self) -> str:
        """How tracks were divided, for captions."""
        return f"split by {self.split_unit.value}: no two of train, val and test share one"


@dataclass(frozen=True)
class FrozenCells:
    """The cells of an experiment as its manifest has them: what each may be used for.

    Raises:
        BadInputError: a column or a split is unknown, or a track is listed twice.
    """

    tracks: pd.DataFrame
    """One row per track: `plate, fov_name, track_id, lineage_root, split` and the further `TRACK_COLUMNS`."""
    exclusions: pd.DataFrame = field(default_factory=no_exclusions)
    """What is left out, see `EXCLUSION_TYPES`."""

    def __post_init__(self) -> None:
        for name in ("plate", "fov_name", "track_id", "lineage_root", "split"):
            if name not in self.tracks.columns:
                raise BadInputError(
                    f"the manifest lacks the column {name!r}; make it again with this version"
                )
        unknown = sorted(set(self.tracks["split"].dropna()) - set(Split))
        if unknown:
            raise BadInputError(
                f"the manifest's split {unknown[0]!r} is not one of {', '.join(Split)}; make it again"
            )
        key = list(UNIT_COLUMNS[SplitUnit.TRACK])
        twice = self.tracks.duplicated(key)
        if twice.any():
            first = self.tracks.loc[twice, key].iloc[0]
            raise BadInputError(
                f"the manifest lists track {first['track_id']} of {first['plate']} {first['fov_name']} "
                "twice; make it again"
            )

    @property
    def split_tracks(self) -> pd.DataFrame:
        """The tracks that train, validate or test."""
        return self.tracks[self.tracks["split"].notna()]

    def split_of(self, cells: pd.DataFrame) -> "pd.Series[str]":
        """What each row of `cells` (N: `plate, fov_name, track_id, t`) is for, aligned with them.

        The split of its track, or `EXCLUDED` for an image that is left out, or `UNLISTED`.
        """
        key = list(UNIT_COLUMNS[SplitUnit.TRACK])
        listed = cells[key].merge(self.tracks[[*key, "split"]], on=key, how="left", validate="many_to_one")
        split = listed["split"].astype("object").fillna(UNLISTED).set_axis(cells.index)
        return split.mask(is_excluded(cells, self.exclusions), EXCLUDED).astype(str).rename("split")

    def every_track(self, cells: pd.DataFrame) -> pd.DataFrame:
        """`cells` and, below them, the last time point of every track that is listed: where tracks really end.

        Of a manifest of version 1, which leaves nothing out, `cells` alone.
        """
        columns = ["plate", "fov_name", "track_id", "parent_track_id", "t"]
        if "last_t" not in self.tracks.columns:
            return cells[columns]
        return pd.concat([cells[columns], self.tracks.rename(columns={"last_t": "t"})[columns]])


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
    qualities: Mapping[str, PlateQuality] | None = None,
    thresholds: Sequence[Threshold] = (),
) -> Manifest:
    """Write `manifest.json`, `tracks.parquet` and `excluded.parquet` into the folder `out`.

    Args:
        qualities: by plate, of every plate; needed with `thresholds` only.
        thresholds: beyond these, cell images are left out. Only tracks that have one left are split.

    Raises:
        BadInputError: no FOV holds a track, every image is left out, a condition has too few units to split, or a
            threshold cannot be held against a plate.
    """
    fovs = sorted(fovs, key=lambda fov: (fov.plate, fov.fov_name))
    key = list(UNIT_COLUMNS[SplitUnit.TRACK])
    images_of, tracks_of = [], []
    for fov in fovs:
        cells = pd.read_parquet(fov.cells).assign(plate=fov.plate, fov_name=fov.fov_name)
        if len(cells):
            images_of.append(cells[[*key, "t"]])
            tracks_of.append(_tracks(cells))
    if not images_of:
        raise BadInputError(
            f"experiment {experiment}: none of its {len(fovs)} FOVs holds a track, so there is nothing to split; "
            "look at the segmentation's parameters"
        )
    images = pd.concat(images_of, ignore_index=True)
    exclusions = find_exclusions(qualities or {}, thresholds, images) if thresholds else no_exclusions()
    left_out = is_excluded(images, exclusions)
    if left_out.all():
        raise BadInputError(
            f"experiment {experiment}: all of its {len(images)} cell images are beyond the thresholds of quality, "
            f"first {_first_exclusion(exclusions)}; loosen the thresholds, or let them warn"
        )
    table = pd.concat(tracks_of, ignore_index=True).sort_values(key, ignore_index=True)
    has_images = table[key].merge(images.loc[~left_out, key].drop_duplicates(), how="left", indicator=True)
    kept = table[(has_images["_merge"] == "both").to_numpy()]
    try:
        split, unit = assign_splits(kept, parameters)
    except BadInputError as error:
        if not left_out.any():
            raise
        raise BadInputError(
            f"{error} ({int(left_out.sum())} of {len(images)} cell images are left out by thresholds)"
        ) from error
    table = table.assign(split=split.reindex(table.index))[list(TRACK_COLUMNS)]
    table.to_parquet(out / "tracks.parquet", index=False)
    write_parquet(exclusions, out / "excluded.parquet")
    n_tracks, n_cells, n_left_out = (
        counted.groupby(["plate", "fov_name"]).size().to_dict()
        for counted in (table, images, images[left_out])
    )
    conditions = kept["condition"].value_counts().reindex(sorted(table["condition"].unique()), fill_value=0)
    manifest = Manifest(
        experiment=experiment,
        plates=dict(sorted(plates.items())),
        fovs=tuple(
            FovEntry(
                plate=fov.plate,
                fov_name=fov.fov_name,
                patch_table_digest=fov.patch_table_digest,
                n_tracks=n_tracks.get((fov.plate, fov.fov_name), 0),
                n_cells=n_cells.get((fov.plate, fov.fov_name), 0),
                n_left_out=n_left_out.get((fov.plate, fov.fov_name), 0),
            )
            for fov in fovs
        ),
        conditions={str(name): int(n) for name, n in conditions.items()},
        thresholds=tuple(thresholds),
        split_unit=unit,
        split_parameters=parameters.model_dump(mode="json"),
        simulated=simulated,
    )
    (out / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True))
    return manifest


def _tracks(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per track of one FOV's cells, with its last time point and its condition."""
    last = cells.groupby("track_id")["t"].max().rename("last_t").astype("int64")
    tracks = cells.drop_duplicates("track_id").join(last, on="track_id")
    return tracks.assign(condition=condition_of(tracks))


def _first_exclusion(exclusions: pd.DataFrame) -> str:
    row = exclusions.iloc[0]
    where = " ".join(str(part) for part in row[["plate", "fov_name"]].dropna())
    return f"{where} by {row['measure']}"


def read_manifest(folder: Path) -> tuple[Manifest, FrozenCells]:
    """The manifest, and what each cell may be used for.

    Raises:
        BadInputError: the folder holds another format or version.
    """
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    if manifest.format != FORMAT_NAME or manifest.format_version not in _READABLE:
        raise BadInputError(
            f"{folder / 'manifest.json'}: format {manifest.format} {manifest.format_version} cannot be read, "
            f"{FORMAT_NAME} {' or '.join(_READABLE)} is expected"
        )
    tracks = pd.read_parquet(folder / "tracks.parquet")
    if manifest.format_version == "1":
        return manifest, FrozenCells(tracks)
    return manifest, FrozenCells(tracks, read_parquet(folder / "excluded.parquet").astype(EXCLUSION_TYPES))
