"""What must hold before a plate is ingested: what options add to the source, and what contradicts it.

Nothing is invented: a property that neither source nor options state is asked for by the option's name.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from cell_assets.errors import BadInputError
from cell_assets.imaging.plate_map import read_plate_map
from cell_assets.imaging.readers.base import PlateSource
from cell_assets.imaging.track_files import read_state_csv, read_track_csv
from cell_assets.imaging.track_tables import ImageExtent
from cell_assets.ledger.records import WellDraft

_SAME = 1e-6
"""Relative difference up to which an option repeats what the source states: text loses digits."""

_TRACKS_PREFIX = "tracks_"
"""VisCy puts it before the FOV's name."""


_T = TypeVar("_T")


@dataclass(frozen=True)
class IngestOptions:
    """What a person adds to a source. Lengths in µm, interval in minutes."""

    format: str = "auto"
    pattern: str | None = None
    """Where a TIFF belongs by its name, see `file_pattern`."""
    labels: str | None = None
    """Which label image of an OME-Zarr plate outlines the cells; needed where it has several."""
    channel_names: tuple[str, ...] | None = None
    pixel_size_um: tuple[float, float] | None = None
    """(y, x)."""
    z_step_um: float | None = None
    interval_min: float | None = None
    plate_map: Path | None = None
    """CSV, see `plate_map.read_plate_map`."""
    tracks: Path | None = None
    """Folder with one track table per FOV: `A_1_000.csv` or `tracks_A_1_000.csv`, at any depth; `.geff` as well
    as `.csv`."""
    states: Path | None = None
    """CSV `fov_name, track_id, t` and one column per annotation."""


@dataclass(frozen=True)
class PlateFacts:
    """What a plate is, once source and options are put together."""

    channel_names: tuple[str, ...]
    z_um: float | None
    y_um: float
    x_um: float
    interval_min: float | None
    wells: tuple[WellDraft, ...]


class GivenTracks(Mapping[str, pd.DataFrame]):
    """Track tables by FOV, from the tracks folder or the source, read when asked for: a plate of them may
    not fit
    in memory."""

    def __init__(self, source: PlateSource, files: Mapping[str, Path]) -> None:
        self._source = source
        self._files = files
        self._positions = {
            place.name: place
            for place in source.positions
            if place.name in files or source.has_tracks(place.name)
        }

    def __getitem__(self, position: str) -> pd.DataFrame:
        place = self._positions[position]
        if position in self._files:
            return _read_tracks(self._files[position], position, ImageExtent.of(place.shape))
        table = self._source.given_tracks(position)
        if table is None:
            raise KeyError(position)
        return table

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def check_files(self) -> None:
        """Read every table of the tracks folder once; BadInputError for the first that is not sound."""
        for position in self._files:
            self[position]


def plate_facts(source: PlateSource, options: IngestOptions) -> PlateFacts:
    """Put source and options together.

    Raises:
        BadInputError: something is missing (names the option), an option contradicts the source, FOVs of the
            plate disagree, or the plate map does not fit the plate.
    """
    _check_positions(source)
    places = source.positions
    height, width = options.pixel_size_um or (None, None)
    y_um = _PIXEL_SIZE.required(source, [place.y_um for place in places], height)
    x_um = _PIXEL_SIZE.required(source, [place.x_um for place in places], width)
    z_step = _Z_STEP.required if any(place.shape[2] > 1 for place in places) else _Z_STEP.known
    interval = _INTERVAL.required if any(place.shape[0] > 1 for place in places) else _INTERVAL.known
    wells = tuple(dict.fromkeys(place.well for place in source.positions))
    drafts = tuple(WellDraft(name=well) for well in wells)
    return PlateFacts(
        channel_names=_channel_names(source, options.channel_names),
        z_um=z_step(source, [place.z_um for place in places], options.z_step_um),
        y_um=y_um,
        x_um=x_um,
        interval_min=interval(source, [place.interval_min for place in places], options.interval_min),
        wells=drafts if options.plate_map is None else read_plate_map(options.plate_map, wells),
    )


def given_tracks(source: PlateSource, folder: Path | None) -> GivenTracks:
    """The tracks that come with a plate, from its tracks folder or from the source itself.

    Raises:
        BadInputError: the folder does not exist or is empty, a file is named for no FOV of the plate or for
            one that has another, or the source has tracks of its own.
    """
    if folder is None:
        return GivenTracks(source, {})
    own = next((place.name for place in source.positions if source.has_tracks(place.name)), None)
    if own is not None:
        raise BadInputError(
            f"{source.path}: already has tracks for {own}; leave --tracks {folder} out, or remove them"
        )
    if not folder.is_dir():
        raise BadInputError(f"--tracks {folder}: there is no such folder; give one with a table per FOV")
    by_stem = {place.name.replace("/", "_"): place.name for place in source.positions}
    files: dict[str, Path] = {}
    for file in sorted((*folder.rglob("*.csv"), *folder.rglob("*.geff"))):
        name = by_stem.get(file.stem.removeprefix(_TRACKS_PREFIX))
        if name is None:
            raise BadInputError(
                f"{file}: is named for no FOV of the plate (expected a name like {next(iter(by_stem))}.csv)"
            )
        if name in files:
            raise BadInputError(f"{file}: FOV {name} also has {files[name]}; keep one track table per FOV")
        files[name] = file
    if not files:
        raise BadInputError(
            f"--tracks {folder}: has no CSV or GEFF; name each {next(iter(by_stem))}.csv after its FOV"
        )
    return GivenTracks(source, files)


def _read_tracks(file: Path, position: str, extent: ImageExtent) -> pd.DataFrame:
    if file.suffix == ".csv":
        return read_track_csv(file, position, extent)
    # The format's package takes a second to import, which a plate with CSV must not pay.
    from cell_assets.imaging.geff_files import read_geff

    return read_geff(file, position, extent)


def given_states(path: Path | None, tracks: GivenTracks) -> pd.DataFrame | None:
    """The annotations of cells; BadInputError when they name a cell that no track table has."""
    if path is None:
        return None
    if not tracks:
        raise BadInputError(
            f"--states {path}: annotates tracks, but the plate has none; give --tracks DIR too"
        )
    return read_state_csv(path, tracks)


def _check_positions(source: PlateSource) -> None:
    seen: set[str] = set()
    for place in source.positions:
        parts = place.name.split("/")
        if len(parts) != 3 or not all(part.isascii() and part.isalnum() for part in parts):
            raise BadInputError(
                f"{source.path}: position {place.name!r} is not row/column/fov of letters and "
                "digits; rename it"
            )
        if place.name in seen:
            raise BadInputError(f"{source.path}: position {place.name} is listed twice; list it once")
        seen.add(place.name)
        if min(place.shape) < 1:
            raise BadInputError(
                f"{source.path}: position {place.name} is empty (T, C, Z, Y, X = {place.shape})"
            )
        if place.dtype.kind not in "uif":
            raise BadInputError(
                f"{source.path}: position {place.name} has pixels of type {place.dtype}; whole or "
                "real numbers only"
            )
    _check_channel_counts(source)


def _check_channel_counts(source: PlateSource) -> None:
    first = source.positions[0]
    for place in source.positions:
        names = place.channel_names
        if names is not None and len(names) != place.shape[1]:
            lacking = names[place.shape[1] :]
            fault = f"channel {lacking[0]!r} is missing" if lacking else "some channels have no name"
            raise BadInputError(
                f"{source.path}: position {place.name} names {len(names)} channels but holds "
                f"{place.shape[1]}; {fault}"
            )
        if names is not None and first.channel_names is not None and names != first.channel_names:
            absent = [name for name in first.channel_names if name not in names]
            raise BadInputError(
                f"{source.path}: position {place.name} has channels {_text(names)}, but {first.name} has "
                f"{_text(first.channel_names)}; "
                + (f"channel {absent[0]!r} is missing" if absent else "all FOVs need the same, in one order")
            )
        if place.shape[1] != first.shape[1]:
            raise BadInputError(
                f"{source.path}: position {place.name} holds {place.shape[1]} channels, but "
                f"{first.name} holds "
                f"{first.shape[1]}; a channel is missing in one of them"
            )
        if place.dtype != first.dtype:
            raise BadInputError(
                f"{source.path}: position {place.name} has pixels of type {place.dtype}, but {first.name} "
                f"{first.dtype}; a plate has one type"
            )


def _channel_names(source: PlateSource, option: tuple[str, ...] | None) -> tuple[str, ...]:
    path, n_channels = source.path, source.positions[0].shape[1]
    stated = _common(source, [place.channel_names for place in source.positions], "set of channel names")
    names = stated if option is None else option
    if names is None:
        raise BadInputError(
            f"{path}: carries no channel names: give --channel-names with {n_channels} "
            f"{'names, separated by commas' if n_channels > 1 else 'name'}"
        )
    if len(names) != n_channels:
        raise BadInputError(
            f"--channel-names gives {len(names)} names ({_text(names)}), but {path} holds "
            f"{n_channels} channels; "
            "give one name each"
        )
    if stated is not None and names != stated:
        raise BadInputError(
            f"--channel-names {','.join(names)} contradicts {path}, which states {_text(stated)}; "
            "leave it out"
        )
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise BadInputError(
                f"{path}: channel name {name!r} is blank or given twice in {_text(names)}; name "
                "each channel once"
            )
    return names


@dataclass(frozen=True)
class _Measure:
    """A length (µm) or duration (minutes) and the option that states it."""

    what: str
    option: str
    example: str

    def required(self, source: PlateSource, stated: list[float | None], given: float | None) -> float:
        """The value; BadInputError that asks for the option when nobody states one."""
        value = self.known(source, stated, given)
        if value is None:
            raise BadInputError(f"{source.path}: carries no {self.what}: give {self.option} {self.example}")
        return value

    def known(self, source: PlateSource, stated: list[float | None], given: float | None) -> float | None:
        """The value, if source or option state one; BadInputError when they contradict each other."""
        own = _common(source, stated, self.what)
        if given is not None and not (math.isfinite(given) and given > 0):
            raise BadInputError(f"{self.option}: {self.what} {given!r} is not a positive number")
        if own is None:
            return given
        if not (math.isfinite(own) and own > 0):
            raise BadInputError(
                f"{source.path}: states {self.what} {own!r}, which is not a positive number; correct it there"
            )
        if given is not None and not _agree(given, own):
            raise BadInputError(
                f"{self.option}: {self.what} {given:g} contradicts {source.path}, which states "
                f"{own:g}; leave it out"
            )
        return own


_PIXEL_SIZE = _Measure("pixel size", "--pixel-size-um", "Y,X")
_Z_STEP = _Measure("z step", "--z-step-um", "Z")
_INTERVAL = _Measure("time interval", "--interval-min", "MINUTES")


def _common(source: PlateSource, values: Sequence[_T], what: str) -> _T:
    """The value that all FOVs share; BadInputError names the first that differs."""
    for place, value in zip(source.positions, values, strict=True):
        if not _agree(value, values[0]):
            raise BadInputError(
                f"{source.path}: position {place.name} has {what} {_text(value)}, but "
                f"{source.positions[0].name} has {_text(values[0])}; a plate has one {what}"
            )
    return values[0]


def _agree(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=_SAME, atol=0))
    return a == b


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
