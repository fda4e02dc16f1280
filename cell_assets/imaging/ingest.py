"""From a source on disk to a raw_acquisition folder: check, write, compare, describe.

Pixels stream volume by volume in two passes: the first writes, the second reads source and result again and
compares them while it takes the digest of the pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorstore
from blake3 import blake3
from numpy.typing import NDArray

from cell_assets.errors import BadInputError
from cell_assets.imaging.acquisition import (
    INFO,
    LABEL_CHANNEL,
    LABELS,
    PLATE,
    STATES,
    AcquisitionInfo,
    PositionInfo,
    VoxelSize,
    tracks_file,
)
from cell_assets.imaging.freed_memory import return_freed_memory
from cell_assets.imaging.ingest_checks import (
    GivenTracks,
    IngestOptions,
    PlateFacts,
    given_states,
    given_tracks,
    plate_facts,
)
from cell_assets.imaging.ome_zarr_plate import (
    ImageWriter,
    NewImage,
    Spacing,
    create_plate,
    image_bytes_at_most,
    mark_simulated,
    open_image,
    slabs,
)
from cell_assets.imaging.overlap import Overlap
from cell_assets.imaging.pixel_digest import PixelDigest
from cell_assets.imaging.readers.base import PlateSource
from cell_assets.imaging.readers.registry import open_source
from cell_assets.imaging.source_access import only_reading
from cell_assets.imaging.source_position import SourcePosition
from cell_assets.imaging.track_files import write_track_csv
from cell_assets.imaging.track_tables import ImageExtent, check_tracks
from cell_assets.imaging.zarr_shards import EncodedChunk

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what) after every time point of every pass."""

_READ_BYTES = 2**20
_IN_HAND_BYTES = 12 * 2**20
"""Pixels on their way from the source to the plate at one time: three planes of 2048 x 2048, one slab of a stack. A
source may hold a whole encoded volume beside them: with two slabs of 8 MiB, frames of 40 MiB took 88 MiB, not 80."""
_TRACK_ROW_BYTES = 300
"""Ten numbers and a name as text."""
_METADATA_BYTES = 2**12
"""A position's or well's part of `acquisition.json`."""


@dataclass(frozen=True)
class PreparedIngest:
    """A source that passed every check that needs no pixel, with what its plate will be."""

    source: PlateSource
    options: IngestOptions
    facts: PlateFacts
    tracks: GivenTracks

    @property
    def bytes_at_most(self) -> int:
        """What the plate weighs when nothing of it compresses: pixels, labels, tracks, states, metadata."""
        total = _METADATA_BYTES
        for place in self.source.positions:
            total += image_bytes_at_most(place.shape, place.dtype) + _METADATA_BYTES
            labels = self.source.label_dtype(place.name)
            if labels is not None:
                total += image_bytes_at_most((place.shape[0], 1, *place.shape[2:]), labels)
        for position in self.tracks:
            total += _TRACK_ROW_BYTES * (1 + len(self.tracks[position]))
        states = self.options.states
        return total + (0 if states is None else _METADATA_BYTES + 2 * Path(states).stat().st_size)

    @cached_property
    def source_digest(self) -> str:
        """See `source_digest`; the source's files are read once for it.

        Raises:
            BadInputError: a file cannot be read.
        """
        with only_reading():
            return source_digest(self.source)

    def write(self, target: Path, progress: Progress | None = None) -> AcquisitionInfo:
        """Write the raw_acquisition folder into `target`, which must be absent or empty.

        Raises:
            BadInputError: a pixel cannot be decoded or is NaN, masks and track list disagree, or the result
                differs from the source. What was written by then is of no use.
        """
        if target.exists() and any(target.iterdir()):
            raise BadInputError(f"{target}: is not empty; ingest writes into an empty folder")
        target.mkdir(parents=True, exist_ok=True)
        return_freed_memory()
        with closing(Overlap()) as overlap:
            run = _Run(self, target, progress or _silent, overlap)
            run.create()
            positions = tuple(run.ingest_position(place) for place in self.source.positions)
        states = given_states(self.options.states, self.tracks)
        if states is not None:
            (target / STATES).parent.mkdir(parents=True, exist_ok=True)
            states.to_parquet(target / STATES, index=False)
        facts = self.facts
        info = AcquisitionInfo(
            source_format=self.source.format,
            source_digest=self.source_digest,
            simulated=self.source.simulated,
            channel_names=facts.channel_names,
            voxel_size_um=VoxelSize(z=facts.z_um, y=facts.y_um, x=facts.x_um),
            interval_min=facts.interval_min,
            positions=positions,
            wells=facts.wells,
        )
        (target / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return info


def prepare_ingest(path: Path, options: IngestOptions) -> PreparedIngest:
    """Open a source and check all that can be checked without decoding its pixels; writes nothing.

    Raises:
        BadInputError: one sentence that names file, field and value.
    """
    with only_reading():
        source = open_source(path, options.format, options.pattern, options.labels)
        facts = plate_facts(source, options)
        source.check()
        tracks = given_tracks(source, options.tracks)
        tracks.check_files()
        given_states(options.states, tracks)
    return PreparedIngest(source, options, facts, tracks)


def ingest(
    path: Path, target: Path, options: IngestOptions, progress: Progress | None = None
) -> AcquisitionInfo:
    """Ingest the plate at `path` into the empty or absent folder `target`.

    Peak memory above the process's own is at most twice one time point of one FOV, or 64 MiB.

    Raises:
        BadInputError: as `prepare_ingest` (then nothing was written) and `PreparedIngest.write`.
    """
    return prepare_ingest(path, options).write(target, progress)


def source_digest(source: PlateSource) -> str:
    """BLAKE3 over the relative names and the bytes of the source's files, in the order of their names."""
    total = blake3(b"cell_assets.source 1\n")
    for name, path in sorted((path.relative_to(source.path).as_posix(), path) for path in source.files()):
        content = blake3()
        # Read, not mapped: mapped pages would count as memory of the process.
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                content.update(piece)
        total.update(f"{len(name.encode())}:{name}{content.hexdigest()}\n".encode())
    return total.hexdigest()


class _Slab(NamedTuple):
    """What is read, stored and compared at once: planes of one channel at one time point."""

    t: int
    channel: int
    z: slice
    ends_frame: bool
    """Whether it is the last of its time point."""


class _Run:
    """One ingest under way: target, progress and what has been counted."""

    def __init__(self, prepared: PreparedIngest, target: Path, progress: Progress, overlap: Overlap) -> None:
        self._source = prepared.source
        self._path = prepared.source.path
        self._facts = prepared.facts
        self._tracks = prepared.tracks
        self._target = target
        self._progress = progress
        self._total = 2 * sum(place.shape[0] for place in prepared.source.positions)
        self._done = 0
        self._overlap = overlap

    def create(self) -> None:
        """Create the plate and, where labels came with the source, the label plate; both without pixels."""
        facts = self._facts
        spacing = Spacing(facts.z_um, facts.y_um, facts.x_um, facts.interval_min)
        images = [NewImage(place.name, place.shape, place.dtype) for place in self._source.positions]
        create_plate(self._target / PLATE, facts.channel_names, spacing, images)
        if self._source.simulated:
            mark_simulated(self._target / PLATE)
        labels = []
        for place in self._source.positions:
            dtype = self._source.label_dtype(place.name)
            if dtype is not None:
                labels.append(NewImage(place.name, (place.shape[0], 1, *place.shape[2:]), dtype))
        if labels:
            (self._target / LABELS).parent.mkdir(parents=True, exist_ok=True)
            create_plate(self._target / LABELS, (LABEL_CHANNEL,), spacing, labels)

    def ingest_position(self, place: SourcePosition) -> PositionInfo:
        """Write one FOV, compare it with the source, and say what it is."""
        tracks = self._tracks.get(place.name)
        if tracks is not None:
            check_tracks(tracks, f"tracks of {place.name}", ImageExtent.of(place.shape))
            write_track_csv(tracks, tracks_file(self._target, place.name))
        self._write_pixels(place)
        has_labels = self._source.label_dtype(place.name) is not None
        if has_labels:
            self._write_labels(place)
        return PositionInfo(
            name=place.name,
            shape=place.shape,
            dtype=str(place.dtype),
            content_digest=self._compare(place, has_labels),
            has_labels=has_labels,
            has_tracks=tracks is not None,
        )

    def _write_pixels(self, place: SourcePosition) -> None:
        with closing(ImageWriter(self._target / PLATE, place.name)) as writer:

            def encoded(given: tuple[_Slab, NDArray[np.generic]]) -> tuple[_Slab, EncodedChunk]:
                slab, pixels = given
                self._check_finite(place, slab, pixels)
                return slab, writer.encode(pixels)

            slabs = list(writer.slabs())
            for slab, chunk in self._overlap.map(
                encoded, self._read_slabs(place, slabs), _most_at_once(place, slabs)
            ):
                writer.write_encoded(slab.t, slab.channel, slab.z, chunk)
                if slab.ends_frame:
                    self._advance(f"writing {place.name}")

    def _write_labels(self, place: SourcePosition) -> None:
        with closing(ImageWriter(self._target / LABELS, place.name)) as writer:
            for t, z in product(range(place.shape[0]), writer.slabs()):
                writer.write_slab(t, 0, z, self._read_labels(place, t, z))

    def _compare(self, place: SourcePosition, has_labels: bool) -> str:
        """Read source and result again; returns the digest of the pixels."""
        stored = open_image(self._target / PLATE, place.name)
        labels = open_image(self._target / LABELS, place.name) if has_labels else None
        digest = PixelDigest(place.shape, place.dtype)

        def equal(given: tuple[_Slab, NDArray[np.generic]]) -> tuple[_Slab, NDArray[np.generic]]:
            slab, pixels = given
            what = f"{place.name}, {self._of_channel(slab)}"
            _compare(pixels, stored[slab.t, slab.channel, slab.z], slab.z, what)
            return slab, pixels

        slabs = list(_slabs(stored))
        for slab, pixels in self._overlap.map(
            equal, self._read_slabs(place, slabs), _most_at_once(place, slabs)
        ):
            digest.update(pixels)
            del pixels  # or it would live while the next is waited for
            if slab.ends_frame:
                if labels is not None:
                    self._compare_labels(place, labels, slab.t)
                self._advance(f"comparing {place.name}")
        return digest.hexdigest()

    def _compare_labels(self, place: SourcePosition, labels: tensorstore.TensorStore, t: int) -> None:
        for z in _slabs(labels):
            given = self._read_labels(place, t, z)
            _compare(given, labels[t, 0, z], z, f"{place.name}, labels, t={t}")

    def _read_slabs(
        self, place: SourcePosition, slabs: Sequence[slice]
    ) -> Iterator[tuple[_Slab, NDArray[np.generic]]]:
        """Every slab of a FOV with its pixels (z, Y, X), in C order of the whole."""
        n_times, n_channels = place.shape[:2]
        for t, channel, z in product(range(n_times), range(n_channels), slabs):
            slab = _Slab(t, channel, z, ends_frame=channel == n_channels - 1 and z == slabs[-1])
            yield slab, self._read(place, slab)

    def _read(self, place: SourcePosition, slab: _Slab) -> NDArray[np.generic]:
        pixels = self._source.read_volume(place.name, slab.t, slab.channel, slab.z)
        shape = (slab.z.stop - slab.z.start, *place.shape[3:])
        if pixels.shape != shape or pixels.dtype != place.dtype:
            raise BadInputError(
                f"{self._path}: {place.name} has {pixels.dtype} {pixels.shape} at t={slab.t}, but was "
                f"announced with {place.dtype} {shape}; did it change while it was read?"
            )
        return pixels

    def _read_labels(self, place: SourcePosition, t: int, z: slice) -> NDArray[np.generic]:
        labels = self._source.given_labels(place.name, t, z)
        if labels is None:
            raise BadInputError(f"{self._path}: labels of {place.name} are missing at t={t}; restore them")
        return labels

    def _check_finite(self, place: SourcePosition, slab: _Slab, pixels: NDArray[np.generic]) -> None:
        if pixels.dtype.kind != "f":
            return
        for z, plane in enumerate(pixels, start=slab.z.start):
            wrong = ~np.isfinite(plane)
            if wrong.any():
                y, x = np.argwhere(wrong)[0]
                raise BadInputError(
                    f"{self._path}: position {place.name}, {self._of_channel(slab)} has a pixel {plane[y, x]} at "
                    f"z={z}, y={y}, x={x} ({int(wrong.sum())} in this plane); replace NaN and infinite pixels first"
                )

    def _of_channel(self, slab: _Slab) -> str:
        return f"channel {self._facts.channel_names[slab.channel]!r}, t={slab.t}"

    def _advance(self, what: str) -> None:
        self._done += 1
        self._progress(self._done, self._total, what)


def _most_at_once(place: SourcePosition, slabs: Sequence[slice]) -> int:
    """How many slabs may be in hand."""
    deepest = max(z.stop - z.start for z in slabs)
    return _IN_HAND_BYTES // (deepest * place.shape[3] * place.shape[4] * place.dtype.itemsize)


def _slabs(image: tensorstore.TensorStore) -> Iterator[slice]:
    depth = image.chunk_layout.read_chunk.shape
    return slabs(image.shape[2], int(depth[2] or 1) if depth is not None else image.shape[2])


def _compare(pixels: NDArray[np.generic], stored: tensorstore.TensorStore, slab: slice, what: str) -> None:
    """Refuse any difference between the source's (z, Y, X) and what was stored, plane by plane."""
    read = np.asarray(stored.read().result())
    for z, (plane, back) in enumerate(zip(pixels, read, strict=True), start=slab.start):
        if not np.array_equal(plane, back):
            y, x = np.argwhere(plane != back)[0]
            raise BadInputError(
                f"{what}: the stored pixel at z={z}, y={y}, x={x} is {back[y, x]}, the source has "
                f"{plane[y, x]}; "
                "the source changed while it was read or the disk is faulty, ingest again"
            )


def _silent(done: int, total: int, what: str) -> None:
    pass
