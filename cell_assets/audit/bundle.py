"""An evidence bundle for one number: what goes in, each part proven before it does."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

from blake3 import blake3

from cell_assets.audit.attestation import ENVELOPE, PrivateKey
from cell_assets.audit.bundle_members import (
    CODE,
    CRATE,
    ENVIRONMENT,
    LEDGER,
    MAX_LEDGER_BYTES,
    MAX_MANIFEST_BYTES,
    folder_member,
    manifest_member,
)
from cell_assets.audit.bundle_zip import Step, check_member_name, check_target, hashed, new_bundle
from cell_assets.audit.crate import crate_metadata
from cell_assets.audit.explain import explain
from cell_assets.audit.explanation import Explanation
from cell_assets.audit.reported_numbers import FILE, check_reported
from cell_assets.audit.statement import (
    STATEMENT,
    Evidence,
    StatedEntry,
    Withdrawal,
    make_statement,
    stated_artifact,
    stated_number,
    withdrawals,
)
from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError, NotFoundError
from cell_assets.ledger.extract import ChainHead
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, Number
from cell_assets.store.manifest import FileManifest, parse_manifest
from cell_assets.store.store import Store
from cell_assets.store.verdict import compare_folder

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class MadeBundle:
    """A bundle that was written."""

    path: Path
    number: Number
    n_members: int
    n_bytes: int
    n_artifacts: int
    withdrawn: tuple[Withdrawal, ...]
    environments_without_text: tuple[str, ...]
    keyid: str | None
    """Of the key that it was signed with."""


@dataclass(frozen=True)
class _Source:
    """Where a member's bytes come from."""

    n_bytes: int
    chunks: Callable[[], Iterable[bytes]]


def make_bundle(
    store: Store, number_id: int, target: Path, key: PrivateKey | None = None, step: Step | None = None
) -> MadeBundle:
    """Write the evidence for one number to the new file `target`.

    The report's own bytes, the frozen list of plates and every list of file digests are proven against the
    ledger first; other data stays where it is and is not read. The same ledger and files give the same bytes,
    signatures aside, which only Ed25519 and RSA PKCS #1 v1.5 repeat. Memory: the rows of the ledger extract,
    the file list of one artifact, and one megabyte of whatever is copied.

    Raises:
        NotFoundError: there is no such number, or bytes that belong in the bundle are gone.
        ChangedBytesError: they are not what was published.
        BadInputError: something is at `target` already, its folder is not there, or the report does not state
            the number.
        CellAssetsError: the ledger's history does not fit its chain, or the disk fails.
    """
    check_target(target)
    closure = [node.artifact for node in explain(store.ledger, number_id).artifacts]
    with TemporaryDirectory(prefix="cell_assets_bundle_") as scratch:
        extract = Path(scratch) / LEDGER
        head = store.ledger.write_extract([artifact.id for artifact in closure], extract)
        if extract.stat().st_size > MAX_LEDGER_BYTES:
            raise BadInputError(
                f"the ledger extract for number {number_id} has {extract.stat().st_size} bytes, and a bundle "
                f"holds one of at most {MAX_LEDGER_BYTES}: bundle a number that rests on less"
            )
        with Ledger.open_extract(extract) as ledger:
            explanation = explain(ledger, number_id)
            _refuse_faults(ledger, explanation)
            sources = dict(_manifests_and_files(store, explanation))
            sources[LEDGER] = _file(extract)
            texts, without_text = _code_and_environments(ledger, explanation)
            evidence = _evidence(ledger, explanation, head, without_text, key)
        sources.update(texts)
        sizes = {name: sources[name].n_bytes for name in sorted(sources, key=str.encode)}
        crate = crate_metadata(explanation, sizes, key is not None, bool(evidence.withdrawn))
        sources[CRATE] = _bytes(crate)
        return _write(target, sources, evidence, explanation, key, step)


def _write(
    target: Path,
    sources: Mapping[str, _Source],
    evidence: Evidence,
    explanation: Explanation,
    key: PrivateKey | None,
    step: Step | None,
) -> MadeBundle:
    total = sum(source.n_bytes for source in sources.values())
    done = 0
    with new_bundle(target) as bundle:
        for name in sorted(sources, key=str.encode):
            bundle.add(name, sources[name].chunks())
            done += sources[name].n_bytes
            if step is not None:
                step(done, total, name)
        statement = make_statement({one.name: one.sha256 for one in bundle.members}, evidence)
        if key is not None:
            bundle.add(ENVELOPE, [key.sign(statement)])
        bundle.add(STATEMENT, [statement])
    return MadeBundle(
        target,
        explanation.number,
        len(bundle.members),
        target.stat().st_size,
        len(explanation.artifacts),
        evidence.withdrawn,
        evidence.environments_without_text,
        None if key is None else key.public.keyid,
    )


def _refuse_faults(ledger: Ledger, explanation: Explanation) -> None:
    report = ledger.check_extract({one.run.id for node in explanation.artifacts for one in node.runs})
    if report.faults:
        raise CellAssetsError(
            f"number {explanation.number.id} cannot be bundled: {report.faults[0].why}; "
            f"`cell-assets verify {explanation.number.id}` says what else is not as it was recorded"
        )


def _manifests_and_files(store: Store, explanation: Explanation) -> Iterator[tuple[str, _Source]]:
    """Every artifact's list of files, and the files of those artifacts that go along whole."""
    report_id = explanation.number.artifact_id
    for node in explanation.artifacts:
        artifact = node.artifact
        content, manifest = _proven_manifest(store, artifact)
        yield (
            manifest_member(artifact),
            _file(store.backend.manifest_file(artifact), blake3(content).hexdigest()),
        )
        folder = folder_member(artifact, report_id)
        if folder is not None:
            copy = _refuse_changed(store, artifact, manifest)
            for file in manifest.folder.files:
                path = copy / file.path
                yield check_member_name(f"{folder}/{file.path}"), _file(path, file.digest)
        if artifact.id == report_id:
            _refuse_unreported(store.fetch(artifact) / FILE, manifest, explanation)


def _proven_manifest(store: Store, artifact: Artifact) -> tuple[bytes, FileManifest]:
    path = store.backend.manifest_file(artifact)
    title = f"{artifact.asset} {artifact.partition} (artifact {artifact.id})"
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(
            f"{path}, which lists the files of {title}, is gone: restore it, or make the artifact again"
        ) from None
    except OSError as error:
        raise CellAssetsError(
            f"{path}, which lists the files of {title}, cannot be read: {error.strerror}; see to the disk and its "
            "permissions, then bundle again"
        ) from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise BadInputError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes, the most that is bundled")
    manifest = parse_manifest(content, artifact.digest)
    if manifest is None or not manifest.is_of(artifact):
        raise ChangedBytesError(
            f"{path}, which lists the files of {title}, was changed: restore it, or make the artifact again"
        )
    return content, manifest


def _refuse_changed(store: Store, artifact: Artifact, manifest: FileManifest) -> Path:
    """Where its bytes, which are those that were published, are on this machine."""
    folder = store.fetch(artifact)
    verdict = compare_folder(folder, artifact, manifest)
    if not verdict.is_verified:
        kind = NotFoundError if verdict.missing and not verdict.changed else ChangedBytesError
        raise kind(
            f"{artifact.asset} {artifact.partition} (artifact {artifact.id}) is not what was published, "
            f"{verdict.why}: restore it, or make it again"
        )
    return folder


def _refuse_unreported(numbers: Path, manifest: FileManifest, explanation: Explanation) -> None:
    if FILE not in {file.path for file in manifest.folder.files}:
        raise NotFoundError(
            f"the report that states number {explanation.number.id} holds no {FILE}, so its files alone cannot "
            "show the number: make the report again"
        )
    try:
        content = numbers.read_bytes()
    except OSError as error:
        raise CellAssetsError(
            f"{numbers} cannot be read: {error.strerror}; see to the disk and its permissions, then bundle again"
        ) from error
    check_reported(content, explanation.number.draft)


def _code_and_environments(
    ledger: Ledger, explanation: Explanation
) -> tuple[dict[str, _Source], tuple[str, ...]]:
    """Diffs and environments of all runs, and the digests of environments that have no text."""
    runs = explanation.all_runs
    members: dict[str, _Source] = {}
    without_text = []
    for digest in {run.code.dirty_diff_digest for run in runs}:
        if digest is not None:
            members[f"{CODE}/{digest}.diff"] = _bytes(ledger.blob(digest))
    for digest in sorted({run.code.environment_digest for run in runs}):
        try:
            members[f"{ENVIRONMENT}/{digest}.txt"] = _bytes(ledger.blob(digest))
        except NotFoundError:
            without_text.append(digest)
    return members, tuple(without_text)


def _evidence(
    ledger: Ledger,
    explanation: Explanation,
    head: ChainHead,
    without_text: tuple[str, ...],
    key: PrivateKey | None,
) -> Evidence:
    number = explanation.number
    return Evidence(
        made_by=_own_version(),
        number=stated_number(number),
        report_artifact=number.artifact_id,
        run=number.run_id,
        artifacts=tuple(stated_artifact(node.artifact) for node in explanation.artifacts),
        chain_head=StatedEntry(entry=head.entry, digest=head.digest),
        withdrawn=withdrawals(ledger, explanation),
        environments_without_text=without_text,
        signer=None if key is None else key.public,
    )


def _own_version() -> str:
    try:
        return version("cell-assets")
    except PackageNotFoundError:
        return "not installed"


def _bytes(content: bytes) -> _Source:
    return _Source(len(content), lambda: [content])


def _file(path: Path, digest: str | None = None) -> _Source:
    """A file's bytes; where its BLAKE3 is given, reading them to the end raises unless they have it."""

    def chunks() -> Iterator[bytes]:
        hasher = blake3()
        with path.open("rb") as handle:
            yield from hashed(iter(lambda: handle.read(_CHUNK_BYTES), b""), hasher)
        if digest is not None and hasher.hexdigest() != digest:
            raise ChangedBytesError(f"{path} was changed while it was bundled: verify it, and bundle again")

    try:
        n_bytes = path.stat().st_size
    except OSError as error:
        raise CellAssetsError(
            f"{path} cannot be read: {error.strerror}; see to the disk and its permissions, then bundle again"
        ) from error
    return _Source(n_bytes, chunks)
