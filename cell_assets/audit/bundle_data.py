"""The data behind a bundle's number, re-hashed in a store or a copy of a part of one, without that store's ledger."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cell_assets.audit.bundle_zip import Step
from cell_assets.ledger.records import Artifact
from cell_assets.store.layout import DIGEST_LENGTHS, Layout
from cell_assets.store.manifest import FileManifest
from cell_assets.store.names import check_asset_name, encode_partition
from cell_assets.store.verdict import Verdict, compare_folder

_NAMED_FILES = 10
"""So many files of one artifact are named in a sentence; the verdicts name all."""


@dataclass(frozen=True)
class DataVerdict:
    """Artifacts behind a number that were looked for outside its bundle."""

    root: Path
    verdicts: tuple[Verdict, ...]
    """Of those that are there."""
    n_not_there: int
    faults: tuple[str, ...]
    """A sentence for everything that is wrong."""

    @property
    def n_bytes_read(self) -> int:
        """Bytes that were hashed."""
        return sum(one.n_bytes_read for one in self.verdicts)


def verify_data(
    root: Path,
    artifacts: Sequence[Artifact],
    manifest_of: Callable[[Artifact], FileManifest | None],
    step: Step | None = None,
) -> DataVerdict:
    """Re-hash every artifact that lies where a store with this `root` puts it.

    What is not there is counted and no fault, unless nothing is. `manifest_of` gives the proven list of an
    artifact's files, None where there is none.
    """
    total = sum(artifact.n_bytes for artifact in artifacts)
    done = n_not_there = 0
    verdicts: list[Verdict] = []
    faults: list[str] = []
    for artifact in artifacts:
        uri = uri_in_store(artifact)
        folder = None if uri is None else Layout(root).at(uri)
        if folder is None or not (folder.exists() or folder.is_symlink()):
            n_not_there += 1
        elif (manifest := manifest_of(artifact)) is None:
            faults.append(f"artifact {artifact.id} cannot be verified: its list of files proves nothing")
        else:
            verdicts.append(compare_folder(folder, artifact, manifest))
            faults += _faults(verdicts[-1])
        done += artifact.n_bytes
        if step is not None:
            step(done, total, f"{artifact.asset} {artifact.partition}")
    if n_not_there == len(artifacts):
        faults.append(f"nothing behind the number lies under {root}: give the root of a store")
    return DataVerdict(root, tuple(verdicts), n_not_there, tuple(faults))


def uri_in_store(artifact: Artifact) -> str | None:
    """The artifact's place below a store's root, if it is one that a store would choose."""
    folder = f"{check_asset_name(artifact.asset)}/{encode_partition(artifact.partition)}"
    places = {f"{folder}/{artifact.digest[:length]}" for length in DIGEST_LENGTHS}
    return artifact.uri if artifact.uri in places else None


def _faults(verdict: Verdict) -> Iterator[str]:
    if verdict.is_verified:
        return
    title = f"{verdict.asset} {verdict.partition} (artifact {verdict.artifact_id})"
    named = (("changed", verdict.changed), ("missing", verdict.missing), ("extra", verdict.extra))
    files = [f"{kind} {file}" for kind, names in named for file in names]
    said = ", ".join(files[:_NAMED_FILES]) or verdict.why
    more = f" and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else ""
    yield f"{title}: {verdict.state.value}: {said}{more}"
