"""What passes in and out of the ledger: frozen records, no database in them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class ArtifactState(StrEnum):
    """Whether an artifact's bytes can be read."""

    PRESENT = "present"
    EVICTED = "evicted"
    """Row kept, bytes gone, recomputable."""
    TOMBSTONED = "tombstoned"
    """Withdrawn with a reason; must not be built upon."""


class RunOutcome(StrEnum):
    """How the attempt to make one output ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class ReadReceipt:
    """Proof that one published artifact was read; becomes an input edge of whatever output used it."""

    artifact_id: int
    asset: str
    partition: str
    digest: str


@dataclass(frozen=True)
class CodeIdentity:
    """The code and environment that made an output."""

    code_version: str
    """Digest of the source that decides this output's bytes."""
    git_commit: str | None
    dirty_diff_digest: str | None
    """Content address of the uncommitted diff (stored as a blob); None when the tree was clean."""
    environment_digest: str
    """BLAKE3 over Python, platform and installed distributions with versions."""
    host: str


@dataclass(frozen=True)
class OutputDraft:
    """Everything that one commit records about one finished output, except its bytes."""

    asset: str
    partition: str
    """Dagster partition key, for example `P1`, `P1|A/1/000` or `E1`."""
    digest: str
    """Root of the named BLAKE3 Merkle tree, 64 hex digits."""
    digest_type: str
    content_digest: str | None
    n_bytes: int
    n_files: int
    uri: str
    """Folder of the published bytes, relative to the store's root."""
    format_name: str
    format_version: str


@dataclass(frozen=True)
class RunDraft:
    """One attempt to make one output."""

    code: CodeIdentity
    parameters: Mapping[str, JsonValue]
    started: datetime
    dagster_run_id: str | None = None


@dataclass(frozen=True)
class NumberDraft:
    """One reported value. `value` is None exactly when `why_missing` says why it could not be computed."""

    report: str
    """What the number is about, for example `dynaclr/about_to_divide`."""
    name: str
    """The metric, for example `average_precision`."""
    split: str
    """Which rows it was computed on, for example `test tracks`."""
    value: float | None
    n: int
    """Number of independent units (tracks, wells) behind the value."""
    unit: str = ""
    ci_low: float | None = None
    ci_high: float | None = None
    """Bounds of the 95 % interval."""
    why_missing: str | None = None

    def __post_init__(self) -> None:
        name = f"number {self.report}/{self.name}"
        if (self.value is None) == (self.why_missing is None):
            raise ValueError(f"{name}: give a value, or why_missing when there is none; not both")
        if (self.ci_low is None) != (self.ci_high is None) or (
            self.value is None and self.ci_low is not None
        ):
            raise ValueError(f"{name}: an interval has both bounds and belongs to a value")
        given = [bound for bound in (self.value, self.ci_low, self.ci_high) if bound is not None]
        if not all(math.isfinite(bound) for bound in given):
            raise ValueError(f"{name}: {given} holds NaN or infinity; say why_missing instead of a value")
        if self.ci_low is not None and self.ci_high is not None and self.ci_low > self.ci_high:
            raise ValueError(
                f"{name}: the interval's low bound {self.ci_low} lies above its high {self.ci_high}"
            )
        if self.n < 0:
            raise ValueError(f"{name}: n is {self.n}, a count of independent units cannot be negative")


@dataclass(frozen=True)
class Artifact:
    """One immutable published version of an asset's partition."""

    id: int
    asset: str
    partition: str
    digest: str
    digest_type: str
    content_digest: str | None
    n_bytes: int
    n_files: int
    uri: str
    format_name: str
    format_version: str
    state: ArtifactState
    created: datetime


@dataclass(frozen=True)
class Run:
    """One recorded attempt; `artifact_id` is None when it failed."""

    id: int
    asset: str
    partition: str
    artifact_id: int | None
    dagster_run_id: str | None
    code: CodeIdentity
    parameters: Mapping[str, JsonValue]
    started: datetime
    ended: datetime
    outcome: RunOutcome
    error: str | None
    event_storage_id: int | None
    """Storage id of the Dagster materialisation that shows this run; None until it is emitted."""


@dataclass(frozen=True)
class Provenance:
    """The latest successful run of an asset's partition, what it made and what it read."""

    artifact: Artifact
    run: Run
    inputs: tuple[Artifact, ...]


@dataclass(frozen=True)
class Number:
    """A recorded number, its id and the run and artifact (report) that state it."""

    id: int
    run_id: int
    artifact_id: int
    experiment: str | None
    recorded: datetime
    draft: NumberDraft
    withdrawn_because: str | None = None
    """The tombstone's reason, where the artifact that states the number was withdrawn."""


@dataclass(frozen=True)
class Intent:
    """A declared wish to write one output; its lease says until when the writer must be left alone."""

    id: int
    asset: str
    partition: str
    staging: str
    """Staging folder, relative to the store's root."""
    owner: str
    """`host:pid` of the writer."""
    lease_until: datetime


@dataclass(frozen=True)
class Commit:
    """Result of one commit: the artifact, the run, and whether the same bytes already stood there."""

    artifact: Artifact
    run_id: int
    recreated: bool


@dataclass(frozen=True)
class Edge:
    """One recorded use: the run that made `output_id` read `input_id`."""

    run_id: int
    output_id: int
    input_id: int


@dataclass(frozen=True)
class LineageGraph:
    """Artifacts reached from `roots` (roots included) in one direction, and every edge walked."""

    roots: frozenset[int]
    artifact_ids: frozenset[int]
    edges: tuple[Edge, ...]
    """Ordered by run, then input."""


@dataclass(frozen=True)
class ModelVersion:
    """A checkpoint's entry in the MLflow registry."""

    artifact_id: int
    registered_name: str
    version: str
    recorded: datetime


@dataclass(frozen=True)
class Verification:
    """What a re-hash of an artifact's bytes said."""

    artifact_id: int
    verdict: str
    why: str
    n_bytes: int
    """Bytes read."""
    checked: datetime


@dataclass(frozen=True)
class Tombstone:
    """Why and when an artifact or a plate was withdrawn."""

    artifact_id: int | None
    plate: str | None
    reason: str
    made: datetime


@dataclass(frozen=True)
class AnnotationSet:
    """One version of the labels that people gave to a plate's cells."""

    id: int
    plate: str
    name: str
    digest: str
    source_uri: str
    n_rows: int
    recorded: datetime


@dataclass(frozen=True)
class WellDraft:
    """One well of a plate map. Dose carries its own unit; `moi` is a dose with unit `MOI`."""

    name: str
    """Row and column, for example `A/1`."""
    perturbation_type: str | None = None
    """`compound`, `gene`, `guide` or `virus`; None when the map names none."""
    perturbation: str | None = None
    dose: float | None = None
    dose_unit: str | None = None
    moa: str | None = None
    is_control: bool | None = None


@dataclass(frozen=True)
class PlateDraft:
    """A plate as it is registered: where it came from and what it holds."""

    experiment: str
    name: str
    source_uri: str
    source_format: str
    wells: tuple[WellDraft, ...]
    positions: tuple[str, ...]
    """FOV names, `row/column/fov`, in the source's order."""
    ingest_options: Mapping[str, JsonValue] = field(default_factory=dict)
    """Options that ingest was given, so that the plate can be made again from its source."""


@dataclass(frozen=True)
class Plate:
    """A registered plate."""

    id: int
    draft: PlateDraft
    registered: datetime
    tombstoned: bool
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    """Reason by position, for FOVs that were withdrawn one by one."""

    @property
    def living_positions(self) -> tuple[str, ...]:
        """Positions that stand, in the source's order."""
        return tuple(one for one in self.draft.positions if one not in self.withdrawn)

    @property
    def is_filmed(self) -> bool:
        """Whether it has FOVs; a plate that came as a table of features has none."""
        return bool(self.draft.positions)

    @property
    def stands(self) -> bool:
        """Whether neither it was withdrawn, nor all of its FOVs."""
        return not self.tombstoned and (bool(self.living_positions) or not self.is_filmed)


class ArrivalState(StrEnum):
    """What became of what lay in a folder of a landing folder."""

    ACCEPTED = "accepted"
    """A run brings the plate in, or has done so."""
    QUARANTINED = "quarantined"
    """Left alone, for a reason, until it changes or somebody releases it."""
    IGNORED = "ignored"
    """Nothing to do, for a reason: the plate is in already."""


@dataclass(frozen=True)
class ArrivalDraft:
    """One word about one folder. `reason` is None exactly when it is accepted."""

    folder: str
    """Where it lies: a path, or an fsspec URL."""
    digest: str
    """BLAKE3 over what was seen there: small files by their bytes, the others by path, size and time."""
    fingerprint: str
    """By which a scan tells, at the price of a few system calls, that nothing there has changed."""
    experiment: str | None
    plate: str | None
    """As `plate.yaml` names them; None where it cannot be read, and no plate where only an `experiment.yaml` lies."""
    state: ArrivalState
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.state is ArrivalState.ACCEPTED) != (self.reason is None):
            raise ValueError(f"arrival {self.folder}: give a reason exactly when it is not accepted")


@dataclass(frozen=True)
class ArrivalRelease:
    """Who let a quarantined arrival be tried again, and why."""

    arrival_id: int
    released_by: str
    why: str
    released: datetime


@dataclass(frozen=True, kw_only=True)
class Arrival(ArrivalDraft):
    """What was recorded of a folder, and the newest release that the folder ever had."""

    id: int
    recorded: datetime
    release: ArrivalRelease | None

    @property
    def is_released(self) -> bool:
        """Whether this very arrival is quarantined no longer, and waits to be tried again."""
        return self.release is not None and self.release.arrival_id == self.id


@dataclass(frozen=True)
class ExpectedPlates:
    """Which plates an experiment waits for."""

    experiment: str
    plates: tuple[str, ...]
    closed: bool
    """Whether the experiment is complete with what has arrived, whatever is listed."""
    digest: str
    """BLAKE3 of the `experiment.yaml` that said so."""
    recorded: datetime


@dataclass(frozen=True)
class Changes:
    """What happened between two looks at history."""

    newest_entry: int
    """To look from there the next time; 0 where there is none yet."""
    experiments: tuple[str, ...]
    """Experiments that something happened to, oldest first."""
