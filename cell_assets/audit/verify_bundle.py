"""Verifying an evidence bundle offline, from anybody's hands: every check with a verdict, every fault by name.

Needs neither PostgreSQL nor Dagster nor a store. A bundle is held to be hostile: nothing of it is unpacked but its
ledger extract, into a private folder, and that is opened for reading only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from blake3 import blake3
from sqlalchemy.exc import SQLAlchemyError

from cell_assets.audit.attestation import (
    ENVELOPE,
    SignatureState,
    check_signature,
    read_public_key,
)
from cell_assets.audit.bundle_data import DataVerdict, uri_in_store, verify_data
from cell_assets.audit.bundle_members import (
    CODE,
    CRATE,
    ENVIRONMENT,
    INPUTS,
    LEDGER,
    MANIFESTS,
    MAX_JSON_BYTES,
    MAX_LEDGER_BYTES,
    MAX_MANIFEST_BYTES,
    NUMBERS,
    REPORT,
    folder_member,
    manifest_member,
)
from cell_assets.audit.bundle_zip import Container, Member, Step, hash_all
from cell_assets.audit.counting import counted
from cell_assets.audit.explain import explain
from cell_assets.audit.explanation import Explanation
from cell_assets.audit.reported_numbers import check_reported
from cell_assets.audit.statement import (
    STATEMENT,
    Evidence,
    Signer,
    Statement,
    read_statement,
    stated_artifact,
    stated_number,
    withdrawals,
)
from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import Artifact, Number
from cell_assets.store.digest import DIGEST_TYPE
from cell_assets.store.manifest import FileManifest, parse_manifest

_MEMBER_FOLDERS = (REPORT, INPUTS, MANIFESTS, CODE, ENVIRONMENT)
_MALFORMED = (
    SQLAlchemyError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading something that is not of the expected form raises."""


class CheckState(StrEnum):
    """What a check says."""

    HOLDS = "holds"
    FAILS = "fails"
    NOT_SIGNED = "not signed"
    """There is no signature that could fail, and none was asked for."""
    NOT_CHECKED = "not checked"
    """What it rests on is itself damaged."""


@dataclass(frozen=True)
class Check:
    """One question to a bundle, and its answer."""

    name: str
    state: CheckState
    why: str
    """A sentence."""
    faults: tuple[str, ...] = ()
    """What is wrong, one sentence each."""


@dataclass(frozen=True)
class VerifiedBundle:
    """What was found in a bundle."""

    path: Path
    checks: tuple[Check, ...]
    evidence: Evidence | None
    """What the bundle states, true or not; None where that cannot be read."""
    number: Number | None
    """As the ledger extract has it; None where that cannot be read."""
    signature: SignatureState | None
    data: DataVerdict | None

    @property
    def holds(self) -> bool:
        """Whether every check that was asked for was made and holds; a bundle need not be signed."""
        return all(check.state in (CheckState.HOLDS, CheckState.NOT_SIGNED) for check in self.checks)


def verify_bundle(
    path: Path, *, key: Path | None = None, data: Path | None = None, step: Step | None = None
) -> VerifiedBundle:
    """Check everything that a bundle states, and with `data` the artifacts behind it in a store or a part of one.

    Memory: the ledger extract's rows, the file list of one artifact, and one megabyte of whatever is hashed.

    Args:
        key: PEM file with the public key that the bundle must be signed with.
        data: root of a store, or of a copy of a part of one.

    Raises:
        BadInputError: the file is no bundle, or `key` no public key.
        NotFoundError: there is no folder `data`.
    """
    trusted = None if key is None else read_public_key(key)
    if data is not None and not data.is_dir():
        raise NotFoundError(f"--data {data} is not a folder: give the root of a store, or of a part of one")
    with Container.open(path) as container, TemporaryDirectory(prefix="cell_assets_verify_") as scratch:
        members, faults = container.check(step)
        damaged = {fault.member for fault in faults if fault.member is not None}
        checks = [
            _check(
                "container",
                f"{counted(len(members), 'member')}, every byte is accounted for",
                [fault.why for fault in faults],
            )
        ]
        statement, stated = _check_members(container, members)
        checks.append(stated)
        damaged |= _differing(members, statement)
        evidence = None if statement is None else statement.predicate
        signature, signed = _check_signature(container, evidence, trusted, damaged)
        checks.append(signed)
        if evidence is None or LEDGER in damaged:
            because = "the statement cannot be read" if evidence is None else f"{LEDGER} is damaged"
            names = ["history", "code", "files", "number", *(["data"] if data is not None else [])]
            checks += [Check(name, CheckState.NOT_CHECKED, because) for name in names]
            return VerifiedBundle(path, tuple(checks), evidence, None, signature, None)
        on_extract = _ExtractChecks(container, evidence, damaged)
        checks += on_extract.make(Path(scratch), data, step)
        return VerifiedBundle(path, tuple(checks), evidence, on_extract.number, signature, on_extract.data)


def _check(name: str, holds: str, faults: Iterable[str]) -> Check:
    found = tuple(faults)
    if not found:
        return Check(name, CheckState.HOLDS, holds)
    return Check(name, CheckState.FAILS, counted(len(found), "fault"), found)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """A check that fails where what it reads is not of the expected form."""
    try:
        return check()
    except CellAssetsError as error:
        return Check(name, CheckState.FAILS, "1 fault", (str(error),))
    except _MALFORMED as error:
        what = " ".join(str(error).split())[:200]
        return Check(name, CheckState.FAILS, "1 fault", (f"it is malformed: {type(error).__name__}: {what}",))


def _check_members(container: Container, members: Sequence[Member]) -> tuple[Statement | None, Check]:
    """Hold every member against the digest that the statement gives."""
    try:
        statement = read_statement(container.read(STATEMENT, MAX_JSON_BYTES))
    except BadInputError as error:
        return None, Check("members", CheckState.FAILS, "1 fault", (str(error),))
    stated = {one.name: one.digest.sha256 for one in statement.subject}
    found = {one.name: one.sha256 for one in members if one.name not in (STATEMENT, ENVELOPE)}
    faults = [f"{name} is missing" for name in sorted(stated.keys() - found.keys())]
    faults += [f"{name} is not in the statement" for name in sorted(found.keys() - stated.keys())]
    faults += [f"{name} has no place in a bundle" for name in sorted(found) if not _has_place(name)]
    faults += [
        f"{name} is not what the statement says"
        for name in sorted(stated.keys() & found.keys())
        if stated[name] != found[name]
    ]
    if len(stated) != len(statement.subject):
        faults.append("the statement names a member twice")
    return statement, _check(
        "members", f"{counted(len(found), 'member')} as the statement's SHA-256 say", faults
    )


def _has_place(name: str) -> bool:
    return name in (CRATE, LEDGER) or name.partition("/")[0] in _MEMBER_FOLDERS


def _differing(members: Sequence[Member], statement: Statement | None) -> set[str]:
    """Members that the statement gives other digests, or that are not there."""
    if statement is None:
        return set()
    found = {one.name: one.sha256 for one in members}
    return {one.name for one in statement.subject if found.get(one.name) != one.digest.sha256}


def _check_signature(
    container: Container, evidence: Evidence | None, trusted: Signer | None, damaged: set[str]
) -> tuple[SignatureState | None, Check]:
    hit = sorted(damaged & {STATEMENT, ENVELOPE})
    if evidence is None or hit:
        because = f"{hit[0]} is damaged" if hit else "the statement cannot be read"
        return None, Check("signature", CheckState.NOT_CHECKED, because)
    envelope = container.read(ENVELOPE, 2 * MAX_JSON_BYTES) if ENVELOPE in container else None
    content = container.read(STATEMENT, MAX_JSON_BYTES)
    state, why = check_signature(content, evidence.signer, envelope, trusted)
    if state is SignatureState.WRONG:
        return state, Check("signature", CheckState.FAILS, "1 fault", (why,))
    said = CheckState.NOT_SIGNED if state is SignatureState.NOT_SIGNED else CheckState.HOLDS
    return state, Check("signature", said, why)


class _ExtractChecks:
    """The checks that rest on the ledger extract."""

    def __init__(self, container: Container, evidence: Evidence, damaged: set[str]) -> None:
        self._container = container
        self._evidence = evidence
        self._damaged = damaged
        self._explanation: Explanation | None = None
        self.data: DataVerdict | None = None

    @property
    def number(self) -> Number | None:
        """The number, where the extract could be read."""
        return None if self._explanation is None else self._explanation.number

    def make(self, scratch: Path, data: Path | None, step: Step | None) -> list[Check]:
        """Make all of them."""
        history = _guarded("history", lambda: self._history(scratch / LEDGER))
        explanation = self._explanation
        if explanation is None:
            because = f"{LEDGER} does not tell where the number comes from"
            names = ["code", "files", "number", *(["data"] if data is not None else [])]
            return [history, *(Check(name, CheckState.NOT_CHECKED, because) for name in names)]
        checks = [
            history,
            _guarded("code", lambda: _check("code", *self._code(explanation))),
            _guarded("files", lambda: _check("files", *self._files(explanation))),
            _guarded("number", lambda: self._number(explanation)),
        ]
        if data is not None:
            checks.append(_guarded("data", lambda: self._data(explanation, data, step)))
        return checks

    def _history(self, path: Path) -> Check:
        if LEDGER not in self._container or self._container.size_of(LEDGER) > MAX_LEDGER_BYTES:
            raise BadInputError(f"there is no {LEDGER} of at most {MAX_LEDGER_BYTES} bytes")
        with path.open("wb") as handle:
            handle.writelines(self._container.chunks(LEDGER))
        evidence = self._evidence
        with Ledger.open_extract(path) as ledger:
            explanation = explain(ledger, evidence.number.id)
            runs = {one.run.id for node in explanation.artifacts for one in node.runs}
            report = ledger.check_extract(runs)
            withdrawn = withdrawals(ledger, explanation)
        faults = [fault.why for fault in report.faults]
        pairs = (
            ("the number", evidence.number, stated_number(explanation.number)),
            ("the report's artifact", evidence.report_artifact, explanation.number.artifact_id),
            ("the run that states the number", evidence.run, explanation.number.run_id),
            ("what was withdrawn", evidence.withdrawn, withdrawn),
        )
        faults += [f"{what} is another in the statement than in {LEDGER}" for what, a, b in pairs if a != b]
        stated = {one.id: one for one in evidence.artifacts}
        recorded = {one.artifact.id: stated_artifact(one.artifact) for one in explanation.artifacts}
        faults += [
            f"artifact {one} is another in the statement than in {LEDGER}"
            for one in sorted(stated.keys() | recorded.keys())
            if stated.get(one) != recorded.get(one)
        ]
        head, newest = evidence.chain_head, report.newest
        if newest.entry > head.entry or (newest.entry == head.entry and newest.digest != head.digest):
            faults.append(f"entry {newest.entry} does not fit the statement's newest entry, {head.entry}")
        faults += [
            f"artifact {node.artifact.id} lies at {node.artifact.uri!r}, where no store puts it"
            for node in explanation.artifacts
            if uri_in_store(node.artifact) is None
        ]
        self._explanation = explanation
        holds = (
            f"{counted(report.n_rows, 'row')} as sealed by {counted(report.n_entries, 'entry', 'entries')}"
        )
        if report.without_inputs:
            holds += (
                f"; what {counted(len(report.without_inputs), 'attempt')} beside the number's read is not in the "
                "bundle"
            )
        return _check("history", holds, faults)

    def _code(self, explanation: Explanation) -> tuple[str, list[str]]:
        """Diffs and environments, each named by the BLAKE3 of its bytes."""
        without = set(self._evidence.environments_without_text)
        runs = explanation.all_runs
        digests = {run.code.environment_digest for run in runs} - without
        environments = {f"{ENVIRONMENT}/{digest}.txt" for digest in digests}
        diffs = {f"{CODE}/{run.code.dirty_diff_digest}.diff" for run in runs if run.code.dirty_diff_digest}
        wanted = environments | diffs
        found = {name for name in self._container.names if name.startswith((f"{CODE}/", f"{ENVIRONMENT}/"))}
        faults = [f"{name} is missing" for name in sorted(wanted - found)]
        faults += [f"{name} belongs to no run" for name in sorted(found - wanted)]
        for name in sorted(wanted & found):
            digest = name.partition("/")[2].partition(".")[0]
            if self._blake3(name) != digest:
                faults.append(f"{name} is not what the runs recorded")
        said = f"{counted(len(diffs), 'diff')} and {counted(len(environments), 'environment')}, as the runs recorded"
        if without:
            said += f"; {counted(len(without), 'environment')} without text: only a digest was recorded"
        return said, faults

    def _files(self, explanation: Explanation) -> tuple[str, list[str]]:
        """Lists of files prove the digests of all artifacts, and the files that lie here are the listed ones."""
        faults: list[str] = []
        expected: set[str] = set()
        n_files = 0
        for node in explanation.artifacts:
            artifact = node.artifact
            name = manifest_member(artifact)
            expected.add(name)
            manifest = self._manifest(artifact)
            if manifest is None:
                faults.append(f"{name} does not prove the digest of artifact {artifact.id}")
                continue
            folder = folder_member(artifact, explanation.number.artifact_id)
            for file in manifest.folder.files if folder is not None else ():
                member = f"{folder}/{file.path}"
                expected.add(member)
                n_files += 1
                if member not in self._container:
                    faults.append(f"{member} is missing")
                elif self._blake3(member) != file.digest:
                    faults.append(f"{member} is not what artifact {artifact.id} was published with")
        folders = (f"{REPORT}/", f"{INPUTS}/", f"{MANIFESTS}/")
        beside = {name for name in self._container.names if name.startswith(folders)} - expected
        faults += [f"{name} belongs to no artifact behind the number" for name in sorted(beside)]
        proven = counted(len(explanation.artifacts), "artifact")
        said = f"digests of {proven} proven by lists of files; {counted(n_files, 'file')} in the bundle"
        return said, faults

    def _number(self, explanation: Explanation) -> Check:
        if NUMBERS in self._damaged:
            return Check("number", CheckState.NOT_CHECKED, f"{NUMBERS} is damaged")
        check_reported(self._container.read(NUMBERS, MAX_JSON_BYTES), explanation.number.draft)
        return _check("number", f"{NUMBERS} states it as the ledger does", ())

    def _data(self, explanation: Explanation, root: Path, step: Step | None) -> Check:
        artifacts = [node.artifact for node in explanation.artifacts]
        self.data = verify_data(root, artifacts, self._manifest, step)
        found = len(self.data.verdicts)
        said = (
            f"{counted(found, 'artifact')} verified, {self.data.n_bytes_read / 1e6:.1f} MB hashed; "
            f"{self.data.n_not_there} not there"
        )
        return _check("data", said, self.data.faults)

    def _manifest(self, artifact: Artifact) -> FileManifest | None:
        """The proven list of an artifact's files; None where it is missing or proves nothing."""
        name = manifest_member(artifact)
        if name not in self._container or artifact.digest_type != DIGEST_TYPE:
            return None
        manifest = parse_manifest(self._container.read(name, MAX_MANIFEST_BYTES), artifact.digest)
        if manifest is None or not manifest.is_of(artifact):
            return None
        sizes = (manifest.folder.n_bytes, manifest.folder.n_files)
        return manifest if sizes == (artifact.n_bytes, artifact.n_files) else None

    def _blake3(self, name: str) -> str:
        hasher = blake3()
        hash_all(self._container.chunks(name), hasher)
        return hasher.hexdigest()
