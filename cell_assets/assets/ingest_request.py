"""What a person asks `cell-assets ingest` for, in a form that is recorded and can be asked again."""

from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

from cell_assets.ledger.records import JsonValue, PlateDraft, WellDraft
from cell_assets.store.digest import digest_folder

if TYPE_CHECKING:
    from cell_assets.imaging.ingest_checks import IngestOptions

_IDENTITY = frozenset({"source", "experiment", "plate"})
"""Fields that the plate's own record holds."""


class IngestRequest(BaseModel):
    """One plate to bring in. Paths are absolute; lengths in µm, interval in minutes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    experiment: str
    plate: str
    format: str = "auto"
    pattern: str | None = None
    """Template of the filenames, such as `{well}_{fov}_{channel}.tif`."""
    plate_map: str | None = None
    tracks: str | None = None
    states: str | None = None
    channel_names: tuple[str, ...] | None = None
    pixel_size_um: tuple[float, float] | None = Field(default=None)
    """(y, x)."""
    z_step_um: float | None = None
    interval_min: float | None = None

    def options(self) -> "IngestOptions":
        """What the imaging room needs of it."""
        from cell_assets.imaging.ingest_checks import IngestOptions

        return IngestOptions(
            format=self.format,
            pattern=self.pattern,
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
        # A plate without a pattern keeps the options that it was recorded with where none could be given.
        absent = set() if self.pattern is not None else {"pattern"}
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
