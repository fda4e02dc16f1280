"""What an experiment's thresholds of quality left out, counted for people who read its reports."""

from dataclasses import dataclass

import pandas as pd

from cell_assets.evaluation.manifest import FrozenCells, Manifest
from cell_assets.imaging.quality.thresholds import Measure

_NAMED = 12


@dataclass(frozen=True)
class LeftOutCount:
    """What one measure left out of one plate."""

    plate: str
    measure: str
    """With the value that it is of, for example `z_prime of over_background`."""
    places: str
    """For example `3 frames`."""
    n_cells: int
    """Cell images there; another measure may leave out the same ones."""


@dataclass(frozen=True)
class LeftOut:
    """What is left out of an experiment, and how much of it that is."""

    has_thresholds: bool
    n_cells: int
    """Cell images of the experiment, left out or not."""
    n_left_out: int
    empty: tuple[str, ...]
    """Plates and conditions of which nothing is left, for example `plate P2`."""
    counts: tuple[LeftOutCount, ...]
    """By plate and measure."""
    first: tuple[str, ...]
    """The first frames, FOVs, wells or plates, one sentence each."""
    n_more: int
    """So many are not named."""

    def sentences(self) -> tuple[str, ...]:
        """What a reader must know before the first number."""
        if not self.has_thresholds:
            return ("No thresholds of quality were set that leave anything out.",)
        share = self.n_left_out / self.n_cells
        said = [
            f"{self.n_left_out} of {self.n_cells} cell images ({share:.1%}) are left out by thresholds of quality."
        ]
        if self.empty:
            said.append(f"Nothing is left of {', '.join(self.empty)}.")
        return tuple(said)


def what_is_left_out(manifest: Manifest, frozen: FrozenCells) -> LeftOut:
    """Counts and names of what a manifest leaves out."""
    rows = frozen.exclusions
    place = ["plate", "well", "fov_name", "t"]
    counts = []
    groups = rows.assign(title=_titles(rows)).groupby(["plate", "measure", "title"], sort=True)
    for (plate, measure, title), group in groups:
        # A frame may be beyond a limit in several channels.
        places = group.drop_duplicates(place)
        level, n = Measure(str(measure)).level.value, len(places)
        counts.append(
            LeftOutCount(
                str(plate), str(title), f"{n} {level}{'' if n == 1 else 's'}", int(places["n_cells"].sum())
            )
        )
    named = rows.head(_NAMED)
    return LeftOut(
        has_thresholds=bool(manifest.thresholds),
        n_cells=sum(fov.n_cells for fov in manifest.fovs),
        n_left_out=sum(fov.n_left_out for fov in manifest.fovs),
        empty=_empty(manifest),
        counts=tuple(counts),
        first=tuple(_sentence(row) for _, row in named.assign(title=_titles(named)).iterrows()),
        n_more=len(rows) - len(named),
    )


def _titles(rows: pd.DataFrame) -> "pd.Series[str]":
    return rows["measure"] + (" of " + rows["of"]).fillna("")


def _empty(manifest: Manifest) -> tuple[str, ...]:
    left: dict[str, int] = {}
    for fov in manifest.fovs:
        left[fov.plate] = left.get(fov.plate, 0) + fov.n_cells - fov.n_left_out
    plates = [f"plate {plate}" for plate, n in sorted(left.items()) if n == 0]
    return (*plates, *(f"condition {name}" for name, n in manifest.conditions.items() if n == 0))


def _sentence(row: pd.Series) -> str:
    place = [row["plate"]]
    place += (
        [row["fov_name"]] if pd.notna(row["fov_name"]) else [row["well"]] if pd.notna(row["well"]) else []
    )
    place += [f"t={row['t']}"] if pd.notna(row["t"]) else []
    about = row["title"]
    if pd.notna(row["controls"]):
        about += f", {row['controls']},"
    if pd.notna(row["channel"]):
        about += f" in {row['channel']}"
    if pd.isna(row["value"]):
        return f"{' '.join(place)}: {about} has no value, the frame is empty"
    side = "below" if row["value"] < row["limit"] else "above"
    return f"{' '.join(place)}: {about} is {row['value']:.4g}, {side} {row['limit']:g}"
