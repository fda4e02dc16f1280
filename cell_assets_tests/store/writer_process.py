"""A process that writes one artifact and, if asked, kills itself right after a boundary.

`python -m cell_assets_tests.store.writer_process LEDGER_URL ROOT PARTITION CONTENT [BOUNDARY|hold|ready [BUCKET_URL]]`
`hold` stays in the staging phase until its standard input closes; `ready` waits for that before publishing.
"""

import os
import signal
import sys
from pathlib import Path

from cell_assets.ledger.ledger import Ledger
from cell_assets.store.boundaries import Boundary
from cell_assets.store.store import Store
from cell_assets_tests.store.drafts import FORMAT, fill, run_draft

_CHANGES = {"open", "os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir"}


def write_until_change(n: int, url: str, root: str, partition: str) -> None:
    """`main`, killed right before the n-th time, counted from 0, that it is about to change the file system."""
    _kill_before_change(n, root)
    main(url, root, partition, "content")


def evict_until_change(n: int, url: str, root: str, artifact_id: int) -> None:
    """An eviction, killed as `write_until_change` is."""
    with Ledger.open(url) as ledger:
        store = Store(Path(root), ledger)
        artifact = ledger.artifact(artifact_id)
        _kill_before_change(n, root)
        store.evict(artifact)


def put_back_until_change(n: int, url: str, root: str, artifact_id: int) -> None:
    """Evicted bytes made again, killed as `write_until_change` is."""
    with Ledger.open(url) as ledger:
        store = Store(Path(root), ledger)
        artifact = ledger.artifact(artifact_id)
        _kill_before_change(n, root)
        with store.write(artifact.asset, artifact.partition) as staged:
            fill(staged.path)
            assert store.put_back(staged, artifact)


def _kill_before_change(n: int, root: str) -> None:
    seen = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in _CHANGES or not str(arguments[0]).startswith(root):
            return
        if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if seen == n:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    sys.addaudithook(count)


def main(url: str, root: str, partition: str, content: str, mode: str = "", bucket: str = "") -> None:
    def kill(boundary: Boundary, asset: str, partition: str) -> None:
        if boundary == mode:
            os.kill(os.getpid(), signal.SIGKILL)

    with Ledger.open(url) as ledger:
        store = Store(Path(root), ledger, observer=kill, bucket=bucket or None)
        with store.write("tracks", partition) as staged:
            fill(staged.path, {"tracks.parquet": content.encode(), "labels.zarr/c/0": bytes(1000)})
            if mode in ("hold", "ready"):
                print("waiting", flush=True)
                sys.stdin.read()
            commit = store.publish(staged, run_draft(), [], FORMAT)
        print(commit.artifact.id, commit.recreated, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
