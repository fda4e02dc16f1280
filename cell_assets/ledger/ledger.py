"""The ledger as everyone sees it: one class, every method one question or one transaction."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from cell_assets.ledger import (
    changes,
    eviction,
    exporting,
    extract,
    extract_check,
    intents,
    lab,
    landing,
    queries,
    recording,
    remarks,
)
from cell_assets.ledger.chain import ChainReport, check_chain
from cell_assets.ledger.engine import LedgerEngine
from cell_assets.ledger.exporting import LedgerMoment
from cell_assets.ledger.extract import ChainHead
from cell_assets.ledger.extract_check import ExtractReport
from cell_assets.ledger.migrations.upgrade import upgrade
from cell_assets.ledger.records import (
    AnnotationSet,
    Arrival,
    ArrivalDraft,
    Artifact,
    ArtifactState,
    Changes,
    Commit,
    ExpectedPlates,
    Intent,
    JsonValue,
    LineageGraph,
    ModelVersion,
    Number,
    NumberDraft,
    OutputDraft,
    Plate,
    PlateDraft,
    Provenance,
    ReadReceipt,
    Run,
    RunDraft,
    Tombstone,
    Verification,
)


class Ledger:
    """The metadata store of record, on PostgreSQL or SQLite. Threads may share one.

    History is append-only: what was recorded is superseded by newer records and never edited, and each
    transaction is sealed by an entry of a hash chain. All times are the database's clock, in UTC.

    A PostgreSQL server that is killed or restarted meanwhile is waited for, and what was under way is done
    exactly once; CellAssetsError when it stays away (see `engine.py`).
    """

    def __init__(self, engine: LedgerEngine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open `postgresql://…` or `sqlite:///file`, migrating it to the newest schema where it is behind.

        Any number of processes may do so at once. Raises BadInputError when the URL names no such database or
        its schema is newer than this code, and CellAssetsError when it cannot be reached.
        """
        engine = LedgerEngine(url)
        try:
            upgrade(engine)
        except BaseException:
            engine.close()
            raise
        return cls(engine)

    @classmethod
    def open_extract(cls, path: Path) -> Self:
        """Open an extract that anybody may have made, for questions only; `path` must be private to the caller.

        Raises BadInputError when the file is no extract that this version reads.
        """
        return cls(extract_check.open_untrusted(path))

    def close(self) -> None:
        """Close every connection."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def now(self) -> datetime:
        """The database's clock, UTC."""
        return self._engine.now()

    # What the lab has.

    def register_experiment(self, name: str) -> None:
        """Add an experiment; does nothing when it is there. Raises BadInputError for an unusable name."""
        lab.register_experiment(self._engine, name)

    def experiments(self) -> tuple[str, ...]:
        """Names of all experiments, oldest first."""
        return lab.experiments(self._engine)

    def register_plate(self, plate: PlateDraft) -> Plate:
        """Add a plate, and its experiment where that is new; returns what is there when it is equal.

        Raises BadInputError for an unusable name, a well or position listed twice, a position outside the
        listed wells, and a plate of that name with other content.
        """
        return lab.register_plate(self._engine, plate)

    def plate(self, name: str) -> Plate | None:
        """A plate by name; None when it is not registered."""
        return lab.plate(self._engine, name)

    def plates(self, experiment: str | None = None) -> tuple[Plate, ...]:
        """All plates, or those of one experiment, oldest first; withdrawn ones included."""
        return lab.plates(self._engine, experiment)

    def changes_since(self, entry_id: int | None) -> Changes:
        """Experiments of which runs, plates, choices, withdrawals, evictions or arrivals were recorded after an entry.

        All of them for None. One query when nothing was recorded, else linear in what was.
        """
        return changes.changes_since(self._engine, entry_id)

    def record_choices(self, experiment: str, choices: Mapping[str, JsonValue]) -> None:
        """Record what was chosen for an experiment; it holds until something else is recorded."""
        lab.record_choices(self._engine, experiment, choices)

    def choices(self, experiment: str) -> Mapping[str, JsonValue]:
        """What was last chosen for an experiment; empty when nothing was."""
        return lab.choices_of(self._engine, experiment)

    def record_annotation_set(
        self, plate: str, name: str, digest: str, source_uri: str, n_rows: int
    ) -> AnnotationSet:
        """Record one version of a plate's labels; the same digest again returns the record that is there."""
        return lab.record_annotation_set(self._engine, plate, name, digest, source_uri, n_rows)

    def annotation_sets(self, plate: str) -> tuple[AnnotationSet, ...]:
        """Every recorded version of a plate's labels, oldest first."""
        return lab.annotation_sets(self._engine, plate)

    # What lies in the landing folders.

    def record_arrivals(self, drafts: Sequence[ArrivalDraft]) -> tuple[Arrival, ...]:
        """Record what was found in folders, in one transaction; returns what holds of each, in the order given.

        A word that holds already is not recorded again, unless its quarantine was released.
        """
        return landing.record_arrivals(self._engine, drafts)

    def arrivals(self, experiment: str | None = None) -> tuple[Arrival, ...]:
        """The newest word about every folder, or those of one experiment, ordered by folder."""
        return landing.arrivals(self._engine, experiment)

    def release_arrival(self, arrival_id: int, released_by: str, why: str) -> Arrival:
        """Let a quarantined arrival be tried again.

        Raises NotFoundError when there is none of that id, and BadInputError when it is not in quarantine, or
        released already.
        """
        return landing.release_arrival(self._engine, arrival_id, released_by, why)

    def record_expected_plates(
        self, experiment: str, plates: Sequence[str], closed: bool, digest: str
    ) -> ExpectedPlates:
        """Record which plates an experiment waits for, unless it is what holds; registers the experiment."""
        return landing.record_expected_plates(self._engine, experiment, plates, closed, digest)

    def expected_plates(self, experiment: str) -> ExpectedPlates | None:
        """Which plates an experiment waits for; None when nobody said."""
        return landing.expected_plates(self._engine, experiment)

    # Who is writing.

    def open_intent(self, asset: str, partition: str, staging: str, owner: str, lease: timedelta) -> Intent:
        """Declare the wish to write one output at `staging`; the lease starts at the database's now."""
        return intents.open_intent(self._engine, asset, partition, staging, owner, lease)

    def open_intents(self) -> tuple[Intent, ...]:
        """Every intent that has not closed, oldest first, whether or not its lease has ended."""
        return intents.open_intents(self._engine)

    def renew_intent(self, intent_id: int, lease: timedelta) -> Intent:
        """Let the lease end `lease` from now. Raises NotFoundError when the intent has closed."""
        return intents.renew_intent(self._engine, intent_id, lease)

    def close_intent(self, intent_id: int) -> bool:
        """Close an intent that is given up; returns whether this call did so."""
        return intents.close_intent(self._engine, intent_id, only_if_lease_ended=False)

    def take_expired_intent(self, intent_id: int) -> bool:
        """Close an intent if its lease has ended; True means its staging folder may be removed.

        From then on its writer's commit is refused, so sweep and writer cannot both win.
        """
        return intents.close_intent(self._engine, intent_id, only_if_lease_ended=True)

    def lock(self, asset: str, partition: str) -> AbstractContextManager[None]:
        """Wait for, then hold, the lock of one asset's partition, across threads and processes.

        Not re-entrant. It ends with the block or the process, and on PostgreSQL with the server, whichever ends
        first; the holder is not told. So it spares two writers each other's work, and no more: what is done
        under it must come out right beside another holder. Records do, by constraints and intents.
        """
        return self._engine.lock(f"{asset}\0{partition}")

    # What happened.

    def commit(
        self,
        intent: Intent,
        run: RunDraft,
        output: OutputDraft,
        receipts: Sequence[ReadReceipt],
        numbers: Sequence[NumberDraft] = (),
        experiment: str | None = None,
    ) -> Commit:
        """Record one finished output in one transaction: artifact, run, inputs, numbers; the intent closes.

        Bytes that stood there before are not recorded twice: the new run points at the same artifact, and
        `recreated` is True. Raises CellAssetsError when the intent has closed; BadInputError for the very bytes
        of a withdrawn artifact, a receipt of one that is withdrawn, evicted or not of this ledger, an unregistered
        experiment, a diff that is not stored, parameters that JSON cannot say, and inputs that would close a
        cycle.
        """
        return recording.commit(self._engine, intent, run, output, receipts, numbers, experiment)

    def record_failure(
        self, asset: str, partition: str, run: RunDraft, error: str, receipts: Sequence[ReadReceipt] = ()
    ) -> Run:
        """Record an attempt that made nothing, with its error message."""
        run_id = recording.record_failure(self._engine, asset, partition, run, error, receipts)
        return queries.run(self._engine, run_id)

    def announce(self, event_of_run: Mapping[int, int]) -> None:
        """Record the storage id of the Dagster event that shows each run; the first one recorded stands."""
        remarks.announce(self._engine, event_of_run)

    def record_model_version(self, artifact_id: int, registered_name: str, version: str) -> None:
        """Record a checkpoint's MLflow registry entry. Raises BadInputError when another artifact has it."""
        remarks.record_model_version(self._engine, artifact_id, registered_name, version)

    def withdraw(
        self,
        artifacts: Mapping[int, str],
        *,
        plate: str | None = None,
        positions: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        """Withdraw in one transaction: artifacts, each for its own reason, and a plate or FOVs of it.

        Artifacts stay in history, and nothing may be built upon them from now on. A plate leaves its experiment,
        FOVs their plate (`Plate.withdrawn`). The first reason given for one stands. Raises NotFoundError naming
        what is not in the ledger, and withdraws nothing then.
        """
        remarks.withdraw(self._engine, artifacts, plate, positions, reason)

    def record_eviction(self, artifact_id: int) -> None:
        """Record that an artifact's bytes are let go, to be made again when they are wanted.

        From then on nothing can be recorded that was made from them. Raises BadInputError naming a number that
        rests on the artifact, superseded or not, unless it was withdrawn.
        """
        eviction.record_eviction(self._engine, artifact_id)

    def record_return(self, intent: Intent, artifact_id: int) -> None:
        """Record that an evicted artifact's very bytes are back; the intent closes, and nothing is superseded.

        Raises CellAssetsError when the intent has closed.
        """
        eviction.record_return(self._engine, intent, artifact_id)

    def record_verifications(self, said: Sequence[tuple[int, str, str, int]]) -> None:
        """Record what re-hashes said: artifact id, verdict, why, bytes read."""
        remarks.record_verifications(self._engine, said)

    def store_blob(self, content: bytes) -> str:
        """Keep small bytes, such as the diff of an uncommitted tree; returns their BLAKE3 digest."""
        digest = blake3(content).hexdigest()
        remarks.store_blob(self._engine, digest, content)
        return digest

    # Questions.

    def artifact(self, artifact_id: int) -> Artifact:
        """One artifact. Raises NotFoundError."""
        return self.artifacts_with_ids([artifact_id])[artifact_id]

    def artifacts_with_ids(self, ids: Iterable[int], as_of: datetime | None = None) -> dict[int, Artifact]:
        """These artifacts, by id, in the state of now or of `as_of`. Raises NotFoundError naming an unknown one."""
        return queries.artifacts_with_ids(self._engine, list(ids), as_of)

    def artifacts(
        self,
        asset: str | None = None,
        state: ArtifactState | None = None,
        partitions: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> tuple[Artifact, ...]:
        """Artifacts of one asset, in one state, of these partitions, or all; the newest so many; oldest first."""
        return queries.artifacts(self._engine, asset, state, partitions, newest)

    def evicted(self) -> frozenset[int]:
        """Ids of the artifacts whose bytes were let go, withdrawn ones among them."""
        return eviction.evicted(self._engine)

    def newest_state_change(self, artifact_ids: Iterable[int]) -> int:
        """The newest record by which bytes of one of these artifacts went or came back; 0 where none ever did."""
        return eviction.newest_state_change(self._engine, list(artifact_ids))

    def find(self, asset: str, partition: str, digest: str) -> Artifact | None:
        """The artifact of this partition with exactly these bytes, if there is one."""
        return queries.find(self._engine, asset, partition, digest)

    def latest(self, asset: str, partition: str, state: ArtifactState | None = None) -> Provenance | None:
        """The newest successful run of a partition; with `state`, the newest whose artifact is in it."""
        return self.latest_many(asset, [partition], state).get(partition)

    def latest_many(
        self, asset: str, partitions: Sequence[str], state: ArtifactState | None = None
    ) -> dict[str, Provenance]:
        """`latest` of many partitions in three queries; partitions never made are left out."""
        return queries.latest_many(self._engine, asset, partitions, state)

    def provenance(self, run_id: int) -> Provenance:
        """A successful run with what it made and read. Raises NotFoundError."""
        return queries.provenances(self._engine, [run_id])[0]

    def provenances(self, run_ids: Iterable[int]) -> tuple[Provenance, ...]:
        """`provenance` of many runs, in the order given, in a constant number of queries."""
        return queries.provenances(self._engine, list(run_ids))

    def run(self, run_id: int) -> Run:
        """One attempt, successful or not. Raises NotFoundError."""
        return queries.run(self._engine, run_id)

    def runs(self, artifact_id: int) -> tuple[Run, ...]:
        """Every run that made this artifact, oldest first."""
        return queries.runs_of(self._engine, [artifact_id])

    def runs_of(self, artifact_ids: Iterable[int]) -> tuple[Run, ...]:
        """Every run that made one of these artifacts, oldest first, in one query."""
        return queries.runs_of(self._engine, list(artifact_ids))

    def entries_of_runs(self, run_ids: Iterable[int]) -> dict[int, str]:
        """Digest of the chain's entry that sealed each of these runs, by run, in one query."""
        return queries.entries_of_runs(self._engine, list(run_ids))

    def attempts(self, asset: str, partition: str) -> tuple[Run, ...]:
        """Every attempt at one asset's partition, successful or not, oldest first."""
        return queries.attempts(self._engine, asset, partition)

    def other_attempts(
        self, artifact_ids: Iterable[int], as_of: datetime | None = None
    ) -> dict[int, tuple[Run, ...]]:
        """By artifact, every run of its asset's partition that made other bytes or none; in one query."""
        return queries.other_attempts(self._engine, list(artifact_ids), as_of)

    def durations(self, asset: str, newest: int = 50) -> tuple[float, ...]:
        """Seconds that the newest successful runs of an asset took, for estimates; newest first."""
        return queries.durations(self._engine, asset, newest)

    def unannounced(self, after: int = 0) -> tuple[Run, ...]:
        """Successful runs later than `after` whose Dagster event is not recorded, oldest first; linear in these."""
        return queries.unannounced(self._engine, after)

    def newest_run_ended_before(self, moment: datetime) -> int:
        """The newest of the runs that had ended by then; 0 where there was none. Linear in those that ended since."""
        return queries.newest_run_ended_before(self._engine, moment)

    def numbers(
        self,
        experiment: str | None = None,
        report: str | None = None,
        superseded: bool = False,
        as_of: datetime | None = None,
    ) -> tuple[Number, ...]:
        """Numbers by experiment and report, ordered by experiment, report, name and split.

        Only what the newest successful run of each asset's partition states, unless `superseded` asks for
        older ones too. With `as_of`, the answer as it stood at that moment.
        """
        return queries.numbers(self._engine, experiment, report, superseded, as_of)

    def numbers_of_runs(self, run_ids: Iterable[int]) -> tuple[Number, ...]:
        """The numbers that these runs state, superseded or not, in one query."""
        return queries.numbers_of_runs(self._engine, list(run_ids))

    def number(self, number_id: int, as_of: datetime | None = None) -> Number:
        """One number, superseded or not, as known at `as_of` or now. Raises NotFoundError."""
        return queries.number(self._engine, number_id, as_of)

    def ancestors(self, artifact_ids: Iterable[int]) -> LineageGraph:
        """What these artifacts were made from, however remotely, in one query."""
        return queries.ancestors(self._engine, list(artifact_ids))

    def descendants(self, artifact_ids: Iterable[int]) -> LineageGraph:
        """What was made from these artifacts, however remotely, in one query."""
        return queries.descendants(self._engine, list(artifact_ids))

    def model_versions(self, artifact_ids: Iterable[int]) -> tuple[ModelVersion, ...]:
        """MLflow registry entries of these artifacts, oldest first."""
        return remarks.model_versions(self._engine, list(artifact_ids))

    def verifications(self, artifact_ids: Iterable[int]) -> dict[int, Verification]:
        """The newest re-hash of each of these artifacts; one that was never re-hashed is left out."""
        return remarks.verifications(self._engine, list(artifact_ids))

    def tombstones(self) -> tuple[Tombstone, ...]:
        """Artifacts and plates that were withdrawn, oldest first; FOVs are named by their plate."""
        return remarks.tombstones(self._engine)

    def check_chain(self, step: Callable[[int, int], None] | None = None) -> ChainReport:
        """Hold every row of history against the entry that sealed it; linear in the number of rows."""
        return check_chain(self._engine, step)

    def exported_moment(self) -> AbstractContextManager[LedgerMoment]:
        """One moment, which PostgreSQL shows to other programs for as long as the block lasts.

        Raises BadInputError for a ledger in a SQLite file.
        """
        return exporting.exported_moment(self._engine)

    def head(self) -> ChainHead:
        """The newest entry of history; entry 0 where nothing has happened yet."""
        return exporting.head(self._engine)

    def holds_entry(self, head: ChainHead) -> bool:
        """Whether an entry of that id and digest is in the chain: history goes on from there."""
        return exporting.holds_entry(self._engine, head)

    def write_extract(self, artifact_ids: Iterable[int], path: Path) -> ChainHead:
        """Write what these artifacts rest on as a SQLite ledger; see `extract.write_extract`."""
        return extract.write_extract(self._engine, list(artifact_ids), path)

    def check_extract(self, whole_runs: Collection[int]) -> ExtractReport:
        """Hold every row of this extract against the entry that seals it; see `extract_check.check_extract`."""
        return extract_check.check_extract(self._engine, whole_runs)

    def blob(self, digest: str) -> bytes:
        """Bytes kept under this digest. Raises NotFoundError."""
        return remarks.blob(self._engine, digest)
