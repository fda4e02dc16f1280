"""What a person or a `plate.yaml` asks ingest for, in a form that is recorded and can be asked again."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import TYPE_CHECKING, Self

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.landing.checksums import ChecksumKind
from cell_assets.landing.fetching import Progress, fetch_folder
from cell_assets.landing.places import is_remote
from cell_assets.landing.side_files import PlateFile
from cell_assets.ledger.records import JsonValue, PlateDraft, WellDraft
from cell_assets.store.digest import digest_folder

if TYPE_CHECKING:
    from cell_assets.imaging.ingest_checks import IngestOptions

_IDENTITY = frozenset({"source", "experiment", "plate"})
"""Fields that the plate's own record holds."""

_LATER = frozenset({"pattern", "labels", "checksums", "checksum_kind"})
"""Fields that older records lack: left out where they say nothing, so that those records stay current."""

_PLACES = ("source", "plate_map", "tracks", "states", "checksums")
"""Fields that say where something lies."""


class IngestRequest(BaseModel):
    """One plate to bring in. Paths are absolute, or all are fsspec URLs; lengths in µm, interval in minutes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    source: str
    """The plate's folder or file: an absolute path, or an fsspec URL."""
    experiment: str
    """That the plate belongs to."""
    plate: str
    """Its name."""
    format: str = "auto"
    """Of the source, as `cell-assets ingest --format` names them."""
    pattern: str | None = None
    """Template of the filenames, such as `{well}_{fov}_{channel}.tif`."""
    labels: str | None = None
    """Name of the label image that outlines the cells, for OME-Zarr plates with several."""
    plate_map: str | None = None
    """CSV of what each well was treated with."""
    tracks: str | None = None
    """Track table or folder that comes with the plate."""
    states: str | None = None
    """CSV of states of the tracked cells."""
    channel_names: tuple[str, ...] | None = None
    """In the order of the source, where it does not name them."""
    pixel_size_um: tuple[float, float] | None = Field(default=None)
    """(y, x), where the source does not say."""
    z_step_um: float | None = None
    """Between planes, where the source does not say."""
    interval_min: float | None = None
    """Minutes between time points, where the source does not say."""
    checksums: str | None = None
    """List of checksums that the files must meet before anything is read."""
    checksum_kind: ChecksumKind | None = None
    """Of the list. Default: told by its number of digits, where 64 are SHA-256."""

    @classmethod
    def of_landed(cls, folder: str, file: PlateFile) -> Self:
        """What the `plate.yaml` of a landed folder asks for; `folder` is a path or a URL."""
        values = file.model_dump(exclude={"on_duplicate"})
        for name in _PLACES:
            if values[name] is not None:
                values[name] = folder if values[name] == "." else f"{folder}/{PurePosixPath(values[name])}"
        return cls.model_validate(values)

    @contextmanager
    def at_hand(self, staging: Path, progress: Progress) -> Iterator[Self]:
        """The same request with every path on this machine; what is fetched into `staging` goes with the block.

        Raises:
            BadInputError: what a URL names is not there.
            CellAssetsError: the disk has no room for it, or a file came short.
        """
        if not is_remote(self.source):
            yield self
            return
        named = {name: value for name in _PLACES if (value := getattr(self, name)) is not None}
        folder = _common_folder(list(named.values()))
        try:
            fetch_folder(folder, staging, progress)
            here = {name: str(staging / value[len(folder) :].lstrip("/")) for name, value in named.items()}
            yield self.model_copy(update=here)
        finally:
            rmtree(staging, ignore_errors=True)

    def says_the_same(self, parameters: Mapping[str, JsonValue], local: Self) -> bool:
        """Whether a plate made with these parameters is this one, wherever the files of either lie."""
        mine = {**self.recorded(), **local.side_digests()}
        keys = (mine.keys() | parameters.keys()) - {*_PLACES, "checksum_kind", "source_digest"}
        return all(mine.get(key) == parameters.get(key) for key in keys)

    def options(self) -> "IngestOptions":
        """What the imaging room needs of it."""
        from cell_assets.imaging.ingest_checks import IngestOptions

        return IngestOptions(
            format=self.format,
            pattern=self.pattern,
            labels=self.labels,
            channel_names=self.channel_names,
            pixel_size_um=self.pixel_size_um,
            z_step_um=self.z_step_um,
            interval_min=self.interval_min,
            plate_map=None if self.plate_map is None else Path(self.plate_map),
            tracks=None if self.tracks is None else Path(self.tracks),
            states=None if self.states is None else Path(self.states),
        )

    def recorded(self) -> dict[str, JsonValue]:
        """The options as JSON values: what decides the plate beside its source."""
        absent = {name for name in _LATER if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=set(_IDENTITY | absent))

    def side_digests(self) -> dict[str, JsonValue]:
        """BLAKE3 of the files given beside the source, so that an edited plate map makes the plate stale."""
        digests: dict[str, JsonValue] = {}
        for name in ("plate_map", "states"):
            path = getattr(self, name)
            if path is not None:
                digests[f"{name}_digest"] = blake3(Path(path).read_bytes()).hexdigest()
        if self.tracks is not None:
            digests["tracks_digest"] = digest_folder(Path(self.tracks)).root
        return digests

    def plate_draft(
        self, source_format: str, wells: tuple[WellDraft, ...], positions: tuple[str, ...]
    ) -> PlateDraft:
        """The plate's record."""
        return PlateDraft(
            experiment=self.experiment,
            name=self.plate,
            source_uri=self.source,
            source_format=source_format,
            wells=wells,
            positions=positions,
            ingest_options=self.recorded(),
        )


def _common_folder(urls: Sequence[str]) -> str:
    """The deepest folder that holds all of these URLs."""
    common = urls[0].split("/")
    for url in urls[1:]:
        parts = url.split("/")
        n_shared = next(
            (n for n, pair in enumerate(zip(common, parts, strict=False)) if len(set(pair)) > 1), None
        )
        common = common[: min(len(common), len(parts)) if n_shared is None else n_shared]
    return "/".join(common)
