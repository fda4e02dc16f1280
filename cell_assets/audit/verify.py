"""Re-hashing everything that a number, an artifact or a plate rests on, and history itself."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue

from cell_assets.audit.subjects import Subject
from cell_assets.errors import NotFoundError
from cell_assets.imaging.array_files import ArrayFiles, ArrayRegion
from cell_assets.ledger.chain import ChainReport
from cell_assets.ledger.records import Artifact
from cell_assets.store.store import Store
from cell_assets.store.verdict import Verdict, VerdictState

_WORTH_A_PROCESS_BYTES = 512 * 2**20
"""Closures smaller than this are hashed here: starting workers takes longer."""

_RECORD_EVERY = 64
"""Verdicts written to the ledger together; what an interrupted run has to do again."""

Step = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what was looked at last."""


@dataclass(frozen=True)
class VerifiedArtifact:
    """One node of the closure."""

    artifact: Artifact
    verdict: Verdict
    regions: tuple[ArrayRegion, ...]
    """Which pixels the changed, missing and extra files hold, where they are chunks of an array."""
    earlier: datetime | None
    """When it was verified, if that was an earlier, interrupted run."""


@dataclass(frozen=True)
class Verification:
    """What a verification found."""

    title: str
    nodes: tuple[VerifiedArtifact, ...]
    chain: ChainReport | None
    """History held against its entries; None for a quick look."""
    certifies: bool
    """False for a quick look, which reads no bytes."""

    @property
    def n_bytes_read(self) -> int:
        """Bytes that this run hashed."""
        return sum(node.verdict.n_bytes_read for node in self.nodes if node.earlier is None)

    @property
    def is_verified(self) -> bool:
        """Whether every byte was read and is the recorded one, and history fits its entries."""
        return self.certifies and self.looks_right

    @property
    def looks_right(self) -> bool:
        """Whether nothing wrong was found."""
        sound = all(node.verdict.is_verified for node in self.nodes)
        return sound and (self.chain is None or not self.chain.faults)


def closure(store: Store, subject: Subject) -> tuple[Artifact, ...]:
    """The subject's artifacts and everything that they were made from, oldest first."""
    ids = {*subject.artifact_ids, *store.ledger.ancestors(subject.artifact_ids).artifact_ids}
    return tuple(store.ledger.artifacts_with_ids(sorted(ids)).values())


def verify(
    store: Store,
    subject: Subject,
    *,
    quick: bool = False,
    since: datetime | None = None,
    workers: int = 1,
    step: Step | None = None,
    history_step: Callable[[int, int], None] | None = None,
) -> Verification:
    """Re-hash the closure of `subject` and hold the ledger's history against its entries.

    Each verdict is recorded in the ledger as the work goes on, so that an interrupted run can be taken up.

    Args:
        quick: look at names, sizes and times only; certifies nothing and records nothing.
        since: take over what was verified after this moment instead of reading it again.
        workers: processes that hash, where there is enough to read.
        step: told the bytes hashed.
        history_step: told the entries of history that were checked, and how many there are.

    Raises:
        NotFoundError: nothing was made of the subject yet.
    """
    artifacts = closure(store, subject)
    if not artifacts:
        raise NotFoundError(f"nothing was made of {subject.title} yet, so there is nothing to verify")
    if quick:
        looked = [(artifact, store.backend.quick_look(artifact)) for artifact in artifacts]
        return Verification(
            subject.title, tuple(_node(store, *pair, None) for pair in looked), None, certifies=False
        )
    recorded = store.ledger.verifications([a.id for a in artifacts]) if since is not None else {}
    nodes: dict[int, VerifiedArtifact] = {}
    for artifact in artifacts:
        earlier = recorded.get(artifact.id)
        still_holds = earlier is not None and since is not None and earlier.checked >= since
        if still_holds and earlier is not None and earlier.verdict == VerdictState.VERIFIED:
            verdict = Verdict(
                artifact.id, artifact.asset, artifact.partition, VerdictState.VERIFIED, n_bytes_read=0
            )
            nodes[artifact.id] = _node(store, artifact, verdict, earlier.checked)
    todo = [artifact for artifact in artifacts if artifact.id not in nodes]
    for artifact, verdict in rehash(store, todo, workers, step):
        nodes[artifact.id] = _node(store, artifact, verdict, None)
    return Verification(
        subject.title,
        tuple(nodes[artifact.id] for artifact in artifacts),
        store.ledger.check_chain(history_step),
        certifies=True,
    )


def rehash(
    store: Store, artifacts: Sequence[Artifact], workers: int, step: Step | None = None
) -> Iterator[tuple[Artifact, Verdict]]:
    """Re-hash artifacts and record what is found as it comes, also when this is given up half-way.

    The largest come first, each with all cores; the rest then side by side, each in a process of its own.
    """
    bar = _Bar(sum(artifact.n_bytes for artifact in artifacts), step)
    unrecorded: list[Verdict] = []
    try:
        for artifact, verdict in _hashed(store, artifacts, workers, bar):
            unrecorded.append(verdict)
            if len(unrecorded) >= _RECORD_EVERY or artifact.n_bytes >= _WORTH_A_PROCESS_BYTES:
                _record(store, unrecorded)
            yield artifact, verdict
    finally:
        _record(store, unrecorded)


class _Bar:
    """Counts bytes as threads hash them."""

    def __init__(self, total: int, step: Step | None) -> None:
        self._total, self._step, self._done = total, step, 0
        self._lock = threading.Lock()

    def hashed(self, what: str, n_bytes: int) -> None:
        with self._lock:
            self._done += n_bytes
            if self._step is not None:
                self._step(min(self._done, self._total), self._total, what)


def _hashed(
    store: Store, artifacts: Sequence[Artifact], workers: int, bar: _Bar
) -> Iterator[tuple[Artifact, Verdict]]:
    total = sum(artifact.n_bytes for artifact in artifacts)
    alone = 0 if workers == 1 or total < _WORTH_A_PROCESS_BYTES else total / workers
    small = []
    for artifact in artifacts:
        if artifact.n_bytes < alone:
            small.append(artifact)
            continue
        told = partial(bar.hashed, f"{artifact.asset} {artifact.partition}")
        yield artifact, store.backend.verify(artifact, hashed=told)
    if not small:
        return
    context = get_context("spawn")
    cores = context.Queue()
    available = sorted(os.sched_getaffinity(0))
    workers = min(workers, len(small), len(available))
    for core in available[:workers]:
        cores.put(core)
    with ProcessPoolExecutor(workers, context, _keep_to_one_core, (cores,)) as pool:
        for artifact, verdict in zip(small, pool.map(store.backend.verify, small), strict=True):
            bar.hashed(f"{artifact.asset} {artifact.partition}", artifact.n_bytes)
            yield artifact, verdict


def _keep_to_one_core(cores: "Queue[int]") -> None:
    """Hashing uses every core that its process may: without this, each worker would start a thread for each."""
    os.sched_setaffinity(0, {cores.get()})


def _record(store: Store, verdicts: list[Verdict]) -> None:
    store.ledger.record_verifications(
        [(one.artifact_id, one.state.value, one.why, one.n_bytes_read) for one in verdicts]
    )
    verdicts.clear()


def _node(store: Store, artifact: Artifact, verdict: Verdict, earlier: datetime | None) -> VerifiedArtifact:
    # With a bucket, this is a copy that may be here: it tells which pixels a file holds, not what is wrong with them.
    arrays = ArrayFiles(store.path_of(artifact))
    was_read = verdict.n_bytes_read > 0 and store.bucket is None
    regions = [arrays.region(file, changed=was_read) for file in verdict.changed]
    regions += [arrays.region(file, changed=False) for file in (*verdict.missing, *verdict.extra)]
    return VerifiedArtifact(artifact, verdict, tuple(one for one in regions if one is not None), earlier)
