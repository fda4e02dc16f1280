"""What store tests publish: small folders, and runs that say who made them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cell_assets.ledger.records import CodeIdentity, Commit, ReadReceipt, RunDraft
from cell_assets.store.bucket_backend import OWNER, BucketBackend
from cell_assets.store.store import FormatName, Store, SweepReport

FORMAT = FormatName("cell_assets.test", "1")
FILES = {"tracks.parquet": b"rows", "labels.zarr/zarr.json": b"{}", "labels.zarr/c/0/0": bytes(64)}


def run_draft() -> RunDraft:
    code = CodeIdentity("c" * 64, None, None, "e" * 64, "host")
    return RunDraft(code, {"seed": 0}, datetime(2024, 3, 3, tzinfo=UTC))


def fill(folder: Path, files: Mapping[str, bytes] = FILES) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def publish(
    store: Store,
    partition: str,
    files: Mapping[str, bytes] = FILES,
    receipts: Sequence[ReadReceipt] = (),
    asset: str = "tracks",
) -> Commit:
    with store.write(asset, partition) as staged:
        fill(staged.path, files)
        return store.publish(staged, run_draft(), receipts, FORMAT)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def leftovers(store: Store) -> list[str]:
    """Everything below the root that belongs to no artifact of the ledger."""
    kept = {artifact.uri for artifact in store.ledger.artifacts()}
    kept |= {f"{uri}.files.json" for uri in kept}
    found = []
    for path in sorted(store.root.rglob("*")):
        name = path.relative_to(store.root).as_posix()
        owned = any(name == uri or name.startswith(f"{uri}/") or uri.startswith(f"{name}/") for uri in kept)
        is_empty_asset = path.parent == store.root and path.is_dir() and not any(path.iterdir())
        is_of_readers = path.name == ".copies.lock" or _is_claimed(path)
        if not owned and not is_empty_asset and not is_of_readers and name != ".staging":
            found.append(name)
    if isinstance(store.backend, BucketBackend):
        keys = [one.key for one in store.backend.bucket.objects("") if one.key != OWNER]
        found += [key for key in keys if not any(key == uri or key.startswith(f"{uri}/") for uri in kept)]
        found += [upload.key for upload in store.backend.bucket.unfinished()]
    return found


def _is_claimed(path: Path) -> bool:
    """What a living process that reads copies keeps in the staging folder."""
    return path.with_suffix(".reads").exists() and path.suffix in (".reads", ".lock")


def swept_as_foreseen(store: Store) -> SweepReport:
    """Sweep, after it was said beforehand what it would do, which changed nothing."""
    before = sorted(store.root.rglob("*"))
    intents = [one.id for one in store.ledger.open_intents()]
    foreseen = store.foresee_sweep()
    assert sorted(store.root.rglob("*")) == before
    assert [one.id for one in store.ledger.open_intents()] == intents
    report = store.sweep()
    assert report == foreseen
    return report
