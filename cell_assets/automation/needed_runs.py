"""Runs that an experiment needs, and what tells that one would do the same as another did."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.ledger.currency import Expectation
from cell_assets.ledger.records import JsonValue, ReadReceipt
from cell_assets.store.store import Store


@dataclass(frozen=True)
class NeededRun:
    """One Dagster run that an experiment needs next. Exactly one of partition and range is given."""

    assets: tuple[str, ...]
    plate: str | None
    """The plate whose FOVs are made; None for what all plates of the experiment go into."""
    partition: str | None
    partition_range: tuple[str, str] | None
    """First and last key, in the order of Dagster's own keys."""
    why: str
    state: str
    """Digest of what decides the outputs (code, parameters, inputs), of when those inputs were last made, and of
    what stands instead of the outputs.

    It stays the same while nothing has changed that could let a failed run succeed, and differs where somebody
    comes back to earlier inputs or choices.
    """

    @property
    def title(self) -> str:
        """For a person."""
        where = self.partition or " to ".join(self.partition_range or ())
        return f"{', '.join(self.assets)} of {where}"

    @property
    def key(self) -> str:
        """Equal for two runs that would do the same to the same; the part of FOVs still to make does not count."""
        return f"{self.assets[-1]} {self.plate or self.partition} {self.state}"


def unless_current(store: Store, output: ExperimentOutput) -> Iterator[NeededRun]:
    """The run that makes this output, or none."""
    if why := why_outdated(store, output):
        made: list[JsonValue] = [
            last_made(store, output.receipts),
            standing_run(store, output.asset, [output.partition]),
        ]
        state = digest([said(output.expectation()), *made])
        yield NeededRun((output.asset,), None, output.partition, None, why, state)


def why_outdated(store: Store, output: ExperimentOutput) -> str:
    """Why it must be made; empty where it must not."""
    found = output.currency(store)
    return "" if found.is_current else f"{output.asset}: {found.why}"


def last_made(store: Store, inputs: Sequence[ReadReceipt]) -> list[JsonValue]:
    """The newest run that made one of these bytes: a damaged input that was made again has a newer one.

    Beside it, when bytes of one last went or came back: what was evicted may be restored without a run.
    """
    artifacts = [one.artifact_id for one in inputs]
    newest = max((run.id for run in store.ledger.runs_of(artifacts)), default=0)
    return [newest, store.ledger.newest_state_change(artifacts)]


def standing_run(store: Store, asset: str, partitions: Sequence[str]) -> int:
    """The newest of the runs by which these partitions stand as they do; 0 where none was ever made."""
    return max((one.run.id for one in store.ledger.latest_many(asset, partitions).values()), default=0)


def said(wanted: Expectation) -> list[JsonValue]:
    """An expectation as JSON values."""
    return [
        wanted.asset,
        wanted.partition,
        wanted.code_version,
        dict(wanted.parameters),
        [list(one) for one in sorted(wanted.input_digests)],
    ]


def digest(decided_by: list[JsonValue]) -> str:
    """Of what decides a run, see `NeededRun.state`."""
    return blake3(json.dumps(decided_by, sort_keys=True, allow_nan=False).encode()).hexdigest()
