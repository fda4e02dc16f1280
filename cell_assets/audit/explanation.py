"""What an explanation of a number holds."""

from dataclasses import dataclass
from datetime import datetime

from cell_assets.ledger.records import Artifact, ModelVersion, Number, Run


@dataclass(frozen=True)
class ExplainedRun:
    """One run and the ids of the artifacts that it read, ascending."""

    run: Run
    input_ids: tuple[int, ...]


@dataclass(frozen=True)
class ExplainedArtifact:
    """One artifact in a number's history."""

    artifact: Artifact
    runs: tuple[ExplainedRun, ...]
    """Every run that made these bytes before the number was recorded, oldest first."""
    failures: tuple[Run, ...]
    """Attempts at the same asset's partition that failed, whenever they did, oldest first."""
    superseded_by: tuple[Run, ...]
    """Runs that made other bytes of the same asset's partition since, oldest first."""
    model_versions: tuple[ModelVersion, ...]

    @property
    def input_ids(self) -> tuple[int, ...]:
        """What the bytes were made from, over all runs, ascending."""
        return tuple(sorted({one for run in self.runs for one in run.input_ids}))


@dataclass(frozen=True)
class Explanation:
    """A number and its whole history, each artifact once however many paths lead to it.

    What led to the number never changes; failures and successors are those known at `as_of`, or now.
    """

    number: Number
    artifacts: tuple[ExplainedArtifact, ...]
    """The artifact that states the number first, then its inputs, theirs, and so on."""
    as_of: datetime | None = None
    n_deeper: int = 0
    """Artifacts that lie deeper than was asked for."""

    @property
    def sources(self) -> tuple[ExplainedArtifact, ...]:
        """Where the walk ends: artifacts that were made from no other, such as raw acquisitions."""
        return tuple(one for one in self.artifacts if not one.input_ids)

    @property
    def all_runs(self) -> tuple[Run, ...]:
        """Every run that is told of: what made the artifacts, failed at them, and superseded them."""
        return tuple(
            run
            for one in self.artifacts
            for run in (*(explained.run for explained in one.runs), *one.failures, *one.superseded_by)
        )

    @property
    def superseded(self) -> tuple[ExplainedArtifact, ...]:
        """What the number rests on though newer bytes of it exist."""
        return tuple(one for one in self.artifacts if one.superseded_by)
