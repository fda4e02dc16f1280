"""A small history that ends in a number, bundles of it, and forgeries of these."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cell_assets.audit.attestation import ENVELOPE
from cell_assets.audit.bundle_zip import Container, new_bundle
from cell_assets.audit.statement import STATEMENT
from cell_assets.audit.verify_bundle import CheckState, VerifiedBundle
from cell_assets.ledger.records import NumberDraft, PlateDraft, ReadReceipt, WellDraft
from cell_assets.store.store import Store
from cell_assets_tests.ledger.making import receipt
from cell_assets_tests.store.drafts import FORMAT, fill, run_draft

DIFF, PACKAGES = b"--- a/x.py\n+++ b/x.py\n", b"CPython 3.11\nnumpy==2.0"
DRAFT = NumberDraft("dynaclr/infection", "auc", "test tracks", 0.1 + 0.2, 3, "tracks", 0.1, 1 / 3)
RAW_FILES = {"plate.zarr/zarr.json": b"{}", "plate.zarr/A/1/000/0/c/0": b"pixels" * 1000}
MANIFEST_FILES = {"manifest.json": b'{"plates": {}}', "tracks.parquet": b"rows"}


def numbers_json(drafts: Iterable[NumberDraft]) -> bytes:
    return json.dumps({"format": "cell_assets.report", "numbers": [asdict(one) for one in drafts]}).encode()


def report_files(draft: NumberDraft = DRAFT) -> dict[str, bytes]:
    return {
        "report.html": b"<html>",
        "figures/scores µ.png": b"PNG",
        "predictions/infection.parquet": b"",
        "numbers.json": numbers_json([draft]),
    }


def make_history(store: Store, report: Mapping[str, bytes] | None = None) -> int:
    """Plate, tracks (failed once), manifest and report with one number; returns the number's id.

    The tracks were made from a dirty tree in an environment that is known; the others' has no text.
    """
    ledger = store.ledger
    wells = (WellDraft("A/1", "compound", "taxol", 1.5, "uM"), WellDraft("A/2"))
    ledger.register_plate(PlateDraft("E1", "P1", "src", "ctc", wells, ("A/1/000", "A/2/000")))
    ledger.record_choices("E1", {"preset": "quick"})
    raw = _publish(store, "raw_acquisition", "P1", RAW_FILES)
    ledger.record_failure("tracks", "P1|A/1/000", run_draft(), "no memory", [raw])
    tracks = _publish(store, "tracks", "P1|A/1/000", {"tracks.parquet": b"tracks"}, [raw], known=True)
    frozen = _publish(store, "experiment_manifest", "E1", MANIFEST_FILES, [tracks, raw])
    _publish(store, "raw_acquisition", "P9", {"unrelated": b"x"})
    files = report_files() if report is None else report
    _publish(store, "dynaclr_report", "E1", files, [tracks, frozen], numbers=[DRAFT])
    (number,) = ledger.numbers("E1")
    return number.id


def _publish(
    store: Store,
    asset: str,
    partition: str,
    files: Mapping[str, bytes],
    receipts: Iterable[ReadReceipt] = (),
    numbers: Iterable[NumberDraft] = (),
    known: bool = False,
) -> ReadReceipt:
    run = run_draft()
    if known:
        digests = (store.ledger.store_blob(one) for one in (DIFF, PACKAGES))
        names = ("dirty_diff_digest", "environment_digest")
        run = replace(run, code=replace(run.code, **dict(zip(names, digests, strict=True))))
    with store.write(asset, partition) as staged:
        fill(staged.path, files)
        experiment = "E1" if partition == "E1" else None
        commit = store.publish(staged, run, list(receipts), FORMAT, list(numbers), experiment=experiment)
    return receipt(commit)


def members_of(path: Path) -> dict[str, bytes]:
    with Container.open(path) as container:
        return {name: container.read(name, 2**30) for name in container.names}


def rebuilt(path: Path, target: Path, changes: Mapping[str, bytes | None]) -> Path:
    """The bundle with some members changed, added or (None) left out, in a container that fits."""
    members = members_of(path) | changes
    with new_bundle(target) as bundle:
        for name, content in sorted(members.items(), key=lambda one: one[0].encode()):
            if content is not None:
                bundle.add(name, [content])
    return target


def forged(path: Path, target: Path, changes: Mapping[str, bytes | None], **predicate: object) -> Path:
    """The same with a statement that fits, as somebody without the key could make it."""
    members = members_of(path) | changes
    statement = json.loads(members[STATEMENT] or b"")
    statement["predicate"] |= predicate
    statement["subject"] = [
        {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
        for name, content in members.items()
        if content is not None and name not in (STATEMENT, ENVELOPE)
    ]
    return rebuilt(path, target, {**changes, STATEMENT: json.dumps(statement).encode()})


def faults(found: VerifiedBundle) -> dict[str, tuple[str, ...]]:
    """What is wrong, by check; checks that could not be made are left out."""
    return {check.name: check.faults for check in found.checks if check.state is CheckState.FAILS}


def key_pair(folder: Path, kind: str = "ed25519", rsa_bits: int = 2048) -> tuple[Path, Path]:
    """PEM files of a new private key and its public one."""
    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    elif kind == "ecdsa":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(65537, rsa_bits)
    folder.mkdir(exist_ok=True)
    secret, public = folder / "key.pem", folder / "public.pem"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return secret, public
