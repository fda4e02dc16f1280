"""Artifacts in a bucket of a real object store: what is visible, what is proven, and what a failure leaves."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cell_assets.errors import BadInputError, CellAssetsError, ChangedBytesError, NotFoundError
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import ArtifactState
from cell_assets.store import bucket as bucket_module
from cell_assets.store.bucket import Bucket, check_bucket_url
from cell_assets.store.bucket_backend import OWNER, BucketBackend
from cell_assets.store.store import Store, VerdictState
from cell_assets_tests.object_store import SECRET, FlakyProxy
from cell_assets_tests.store.drafts import FILES, FORMAT, contents, fill, leftovers, publish, run_draft

CHECKOUT = Path(__file__).parents[2]
KEY = "P1|A/1/000"


@pytest.fixture
def ledger_file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def store(tmp_path: Path, ledger_file: str, bucket_url: str) -> Iterator[Store]:
    with Ledger.open(ledger_file) as ledger:
        yield Store(tmp_path / "store", ledger, bucket=bucket_url)


def elsewhere(store: Store, tmp_path: Path) -> Store:
    """The same lab on a machine that has no copies."""
    return Store(tmp_path / "elsewhere" / str(time.monotonic_ns()), store.ledger, bucket=store.bucket)


def bucket_of(store: Store) -> Bucket:
    assert isinstance(store.backend, BucketBackend)
    return store.backend.bucket


def keys(store: Store) -> set[str]:
    return {one.key for one in bucket_of(store).objects("")} - {OWNER}


NAMES = {
    "a b/ c .bin": b"spaces",
    "per%20cent/100%.csv": b"per cent",
    "Füße/λ⁢🔬.txt": b"unicode",
    "dots/..a/b..c/...": b"dots",
    ".hidden/x": b"",
    "signs/+&=#;,@!$'()[]{}~^|`": b"signs",
    "q?uery/x?versionId": b"question",
    'quo"te\\back/<x>*': b"quotes",
}


def test_every_name_and_empty_folder_comes_back_on_another_machine(store: Store, tmp_path: Path) -> None:
    with store.write("tracks", "P 1%|Ä/../1") as staged:
        fill(staged.path, NAMES)
        (staged.path / "empty" / "inner").mkdir(parents=True)
        artifact = store.publish(staged, run_draft(), [], FORMAT).artifact
    other = elsewhere(store, tmp_path)
    read = other.read("tracks", "P 1%|Ä/../1")
    assert contents(read.path) == NAMES
    assert (read.path / "empty" / "inner").is_dir()
    assert read.receipt == store.receipt(artifact)
    assert (read.path / ".hidden" / "x").stat().st_mode & 0o777 == 0o444
    assert store.verify(artifact).is_verified
    assert other.verify(artifact, "dots/..a").is_verified
    with pytest.raises(NotFoundError):
        store.verify(artifact, "dots/..b")
    assert store.backend.quick_look(artifact).is_verified
    assert leftovers(store) == leftovers(other) == []


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(
            st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=30
        ).filter(lambda name: name not in (".", "..") and "?versionId=" not in name),
        st.binary(max_size=50),
        min_size=1,
        max_size=3,
    )
)
def test_any_name_comes_back(store: Store, tmp_path: Path, files: dict[str, bytes]) -> None:
    publish(store, KEY, {f"d/{name}": content for name, content in files.items()})
    found = contents(elsewhere(store, tmp_path).read("tracks", KEY).path)
    assert found == {f"d/{name}": content for name, content in files.items()}


@pytest.mark.parametrize(
    ("damage", "state", "named"),
    [
        ("swapped", VerdictState.CHANGED, ("labels.zarr/c/0/0", "labels.zarr/zarr.json")),
        ("truncated", VerdictState.CHANGED, ("tracks.parquet",)),
        ("emptied", VerdictState.CHANGED, ("tracks.parquet",)),
        ("other bytes", VerdictState.CHANGED, ("tracks.parquet",)),
        ("missing", VerdictState.MISSING, ("tracks.parquet",)),
        ("all missing", VerdictState.MISSING, tuple(sorted(FILES))),
        ("extra", VerdictState.EXTRA, ("labels.zarr/c/0/1",)),
        ("extra folder", VerdictState.EXTRA, ("labels.zarr/c/",)),
    ],
)
def test_verify_names_the_object_that_differs(
    store: Store, tmp_path: Path, damage: str, state: VerdictState, named: tuple[str, ...]
) -> None:
    whole, artifact = publish(store, "P0").artifact, publish(store, KEY).artifact
    bucket, at = bucket_of(store), f"{artifact.uri}/"
    match damage:
        case "swapped":
            bucket.put_bytes(FILES["labels.zarr/zarr.json"], at + "labels.zarr/c/0/0")
            bucket.put_bytes(FILES["labels.zarr/c/0/0"], at + "labels.zarr/zarr.json")
        case "truncated":
            bucket.put_bytes(b"ro", at + "tracks.parquet")
        case "emptied":
            bucket.put_bytes(b"", at + "tracks.parquet")
        case "other bytes":
            bucket.put_bytes(b"sowr", at + "tracks.parquet")
        case "missing":
            bucket.delete([at + "tracks.parquet"])
        case "all missing":
            bucket.delete([at + name for name in FILES])
        case "extra":
            bucket.put_bytes(b"more", at + "labels.zarr/c/0/1")
        case "extra folder":
            bucket.put_bytes(b"", at + "labels.zarr/c/")
    # The copy that is here is whole, and is not what is asked about.
    verdict = store.verify(artifact)
    assert (verdict.state, (*verdict.changed, *verdict.missing, *verdict.extra)) == (state, named)
    assert store.verify(whole).is_verified
    other = elsewhere(store, tmp_path)
    if state is not VerdictState.EXTRA:
        refused = NotFoundError if "missing" in damage else ChangedBytesError
        with pytest.raises(refused, match=f"{KEY.replace('|', '.')}|tracks.parquet"):
            other.read("tracks", KEY)
        assert [path.name for path in other.root.rglob("tracks.parquet")] == []
    else:
        assert contents(other.read("tracks", KEY).path) == FILES
    again = publish(store, KEY)
    assert again.recreated
    assert store.verify(artifact).is_verified
    assert contents(elsewhere(store, tmp_path).read("tracks", KEY).path) == FILES
    assert keys(store) == {
        key
        for one in (whole, artifact)
        for key in (one.uri + ".files.json", *(f"{one.uri}/{n}" for n in FILES))
    }


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_without_its_list_an_artifact_proves_itself_as_a_whole(
    store: Store, tmp_path: Path, damage: str
) -> None:
    artifact = publish(store, KEY).artifact
    name = artifact.uri + ".files.json"
    if damage == "gone":
        bucket_of(store).delete([name])
    else:
        (content,) = bucket_of(store).read(name, 2**20)
        bucket_of(store).put_bytes(content.replace(b'"tracks.parquet"', b'"trucks.parquet"'), name)
    assert store.verify(artifact).is_verified
    assert store.verify(artifact, "labels.zarr").state is VerdictState.UNVERIFIABLE
    assert store.backend.quick_look(artifact).state is VerdictState.UNVERIFIABLE
    other = elsewhere(store, tmp_path)
    assert contents(other.read("tracks", KEY).path) == FILES
    assert other.file_digests(artifact) is not None


def test_a_quick_look_sees_what_was_written_later_and_reads_nothing(
    store: Store, object_store: FlakyProxy
) -> None:
    artifact = publish(store, KEY).artifact
    time.sleep(1.1)  # Times of objects are whole seconds.
    bucket_of(store).put_bytes(b"sowr", f"{artifact.uri}/tracks.parquet")
    before = len(object_store.seen)
    verdict = store.backend.quick_look(artifact)
    assert (verdict.state, verdict.changed) == (VerdictState.CHANGED, ("tracks.parquet",))
    assert not [path for _, path in object_store.seen[before:] if path.endswith("/tracks.parquet")]


# What a failure leaves.


def write_elsewhere(store: Store, ledger_file: str, mode: str = "") -> "subprocess.Popen[str]":
    module = "cell_assets_tests.store.writer_process"
    command = [sys.executable, "-m", module, ledger_file, str(store.root), KEY, "content", mode]
    return subprocess.Popen(
        [*command, str(store.bucket)],
        cwd=CHECKOUT,
        env=dict(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_in_any_request_of_an_upload(store: Store, ledger_file: str, object_store: FlakyProxy) -> None:
    before = publish(store, "P0").artifact
    for n in itertools.count():
        writing: list[subprocess.Popen[str]] = []
        changes = itertools.count()

        def kill(
            method: str, path: str, n: int = n, writing: list = writing, changes: Iterator[int] = changes
        ) -> bool:
            if method in ("GET", "HEAD") or next(changes) != n:
                return False
            writing[0].send_signal(signal.SIGKILL)
            return True

        writer = write_elsewhere(store, ledger_file, "ready")
        writing.append(writer)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "waiting\n"
        object_store.refuse = kill
        writer.communicate(timeout=120)
        object_store.refuse = lambda method, path: False
        if writer.returncode == 0:
            break
        assert writer.returncode == -signal.SIGKILL
        assert store.ledger.latest("tracks", KEY) is None
        with pytest.raises(NotFoundError):
            store.read("tracks", KEY)
        assert {key for key in keys(store) if key.endswith(".files.json")} == {f"{before.uri}.files.json"}
        foreseen = store.foresee_sweep()
        swept = store.sweep()
        assert swept == foreseen
        assert swept.closed_intents == (f"tracks {KEY}",)
        assert leftovers(store) == [], f"killed in change {n}"
    assert n == 3  # Two files, then the manifest.
    assert store.verify(before).is_verified
    made = store.ledger.latest("tracks", KEY)
    assert made is not None
    assert store.verify(made.artifact).is_verified


def test_parts_of_a_large_file_whose_writer_was_killed_are_let_go(
    store: Store, tmp_path: Path, object_store: FlakyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "P0")
    monkeypatch.setattr(bucket_module, "_PART_BYTES", 5 * 2**20)
    object_store.refuse = lambda method, path: (
        method == "DELETE" or (method == "PUT" and "partNumber=3" in path)
    )
    with pytest.raises(CellAssetsError, match=r"writing s3://.*/large.bin failed"):
        publish(store, KEY, {"large.bin": bytes(18 * 2**20)})
    object_store.refuse = lambda method, path: False
    assert [upload.key for upload in bucket_of(store).unfinished()] != []
    assert store.ledger.latest("tracks", KEY) is None
    with store.write("tracks", KEY):
        # Somebody writes the partition: these parts may be theirs.
        assert store.sweep().removed_staging == 0
    assert store.foresee_sweep().removed_staging == 1
    assert store.sweep().removed_staging == 1
    assert list(bucket_of(store).unfinished()) == []
    assert leftovers(store) == []
    large = publish(store, KEY, {"large.bin": bytes(18 * 2**20)}).artifact
    assert (elsewhere(store, tmp_path).read("tracks", KEY).path / "large.bin").stat().st_size == 18 * 2**20
    assert store.verify(large).is_verified


class Refusing:
    """Says 503 to the first `n` requests that a test is about."""

    def __init__(self, n: int, methods: set[str]) -> None:
        self.left, self.methods = n, methods
        self._guard = threading.Lock()

    def __call__(self, method: str, path: str) -> bool:
        with self._guard:
            if method not in self.methods or not self.left:
                return False
            self.left -= 1
            return True


@pytest.mark.parametrize("methods", [{"PUT"}, {"GET", "HEAD"}], ids=["writing", "asking"])
def test_some_503_in_publishing_end_in_success(
    store: Store, object_store: FlakyProxy, methods: set[str]
) -> None:
    publish(store, "P0")
    object_store.refuse = refusing = Refusing(2, methods)
    artifact = publish(store, KEY).artifact
    assert refusing.left == 0
    object_store.refuse = lambda method, path: False
    assert store.verify(artifact).is_verified
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("methods", "only"),
    [({"PUT"}, "tracks.parquet"), ({"PUT"}, ".files.json"), ({"GET"}, "list-type"), ({"PUT", "POST"}, "")],
    ids=["a file", "the manifest", "listing", "writing and deleting"],
)
def test_lasting_503_in_publishing_leave_nothing_visible_and_a_rerun_succeeds(
    store: Store, object_store: FlakyProxy, methods: set[str], only: str
) -> None:
    publish(store, "P0")
    object_store.refuse = lambda method, path: method in methods and only in path
    with pytest.raises(CellAssetsError) as caught:
        publish(store, KEY)
    object_store.refuse = lambda method, path: False
    said = str(caught.value)
    assert str(store.bucket) in said
    assert "Please try again later" in said
    assert "run again" in said
    assert "\n" not in said
    assert store.ledger.latest("tracks", KEY) is None
    assert store.ledger.open_intents() == ()
    with pytest.raises(NotFoundError, match="has not been made"):
        store.read("tracks", KEY)
    store.sweep()
    assert leftovers(store) == []
    assert store.verify(publish(store, KEY).artifact).is_verified


def test_503_in_reading_ends_in_success_or_in_nothing(
    store: Store, tmp_path: Path, object_store: FlakyProxy
) -> None:
    artifact = publish(store, KEY).artifact
    other = elsewhere(store, tmp_path)
    object_store.refuse = lambda method, path: path.endswith("tracks.parquet")
    with pytest.raises(CellAssetsError, match=r"reading s3://.*tracks.parquet failed .*run again"):
        other.read("tracks", KEY)
    verdict = store.verify(artifact)
    assert (verdict.state, "tracks.parquet failed" in verdict.why) == (VerdictState.UNVERIFIABLE, True)
    assert leftovers(other) == []
    assert not other.path_of(artifact).exists()
    object_store.refuse = refusing = Refusing(2, {"GET"})
    assert contents(other.read("tracks", KEY).path) == FILES
    assert refusing.left == 0


def test_a_killed_reader_leaves_no_copy(
    store: Store, tmp_path: Path, ledger_file: str, object_store: FlakyProxy
) -> None:
    publish(store, KEY)
    other = elsewhere(store, tmp_path)
    code = (
        "import sys; from pathlib import Path; from cell_assets.ledger.ledger import Ledger; "
        "from cell_assets.store.store import Store; "
        "Store(Path(sys.argv[2]), Ledger.open(sys.argv[1]), bucket=sys.argv[3]).read('tracks', sys.argv[4])"
    )
    reading: list[subprocess.Popen[bytes]] = []

    def kill(method: str, path: str) -> bool:
        if not path.endswith("tracks.parquet"):
            return False
        reading[0].send_signal(signal.SIGKILL)
        return True

    object_store.refuse = kill
    command = [sys.executable, "-c", code, ledger_file, str(other.root), str(store.bucket), KEY]
    reading.append(subprocess.Popen(command, cwd=CHECKOUT))
    assert reading[0].wait(120) == -signal.SIGKILL
    object_store.refuse = lambda method, path: False
    assert not other.path_of(store.ledger.artifact(1)).exists()
    other.sweep()
    assert leftovers(other) == []
    assert contents(other.read("tracks", KEY).path) == FILES


def test_two_writers_at_once_make_one_artifact(
    tmp_path: Path, postgres_ledger_url: str, bucket_url: str
) -> None:
    with Ledger.open(postgres_ledger_url) as ledger:
        stores = [Store(tmp_path / name, ledger, bucket=bucket_url) for name in ("one", "two")]
        writers = [write_elsewhere(store, postgres_ledger_url, "ready") for store in stores]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "waiting\n"
            assert writer.stdin is not None
        for writer in writers:
            writer.stdin.close()  # type: ignore[union-attr]
        said = [writer.stdout.read().split() for writer in writers]  # type: ignore[union-attr]
        assert [writer.wait(120) for writer in writers] == [0, 0]
        (artifact,) = ledger.artifacts()
        assert sorted(said) == [[str(artifact.id), "False"], [str(artifact.id), "True"]]
        assert stores[0].verify(artifact).is_verified
        for store in stores:
            assert contents(store.read("tracks", KEY).path)["tracks.parquet"] == b"content"
            store.sweep()
            assert leftovers(store) == []


# What belongs to whom, and what stays on this machine.


def test_the_bucket_of_another_lab_is_refused(store: Store, tmp_path: Path) -> None:
    artifact = publish(store, KEY).artifact
    with Ledger.open(f"sqlite:///{tmp_path / 'other.db'}") as ledger:
        publish(Store(tmp_path / "of its own", ledger), "P9")
        stranger = Store(tmp_path / "stranger", ledger, bucket=store.bucket)
        for act in (stranger.sweep, stranger.foresee_sweep, lambda: stranger.write("tracks", KEY)):
            with pytest.raises(BadInputError, match="holds the artifacts of another lab"):
                act()
    assert store.verify(artifact).is_verified


def test_copies_that_nobody_reads_are_let_go_and_come_back(
    store: Store, tmp_path: Path, ledger_file: str
) -> None:
    read_long_ago, read_now, held = (publish(store, f"P{n}").artifact for n in range(3))
    with Ledger.open(ledger_file) as ledger:
        alone = publish(Store(store.root, ledger), "before the lab had a bucket").artifact
    for artifact in (read_long_ago, read_now, held, alone):
        manifest = store.path_of(artifact).with_name(store.path_of(artifact).name + ".files.json")
        os.utime(manifest, (0, 0))
    store.unverified().read("tracks", "P1")
    with holding(store, ledger_file, "P2"):
        os.utime(store.path_of(held).with_name(store.path_of(held).name + ".files.json"), (0, 0))
        freed = store.let_go_of_copies(timedelta(days=7))
    assert [store.path_of(one).exists() for one in (read_long_ago, read_now, held, alone)] == [
        False,
        True,
        True,
        True,
    ]
    assert freed >= sum(map(len, FILES.values()))
    assert store.let_go_of_copies(timedelta(days=7)) > 0
    assert not store.path_of(held).exists()
    assert contents(store.read("tracks", "P0").path) == FILES
    assert store.verify(read_long_ago).is_verified
    store.sweep()
    assert leftovers(store) == []


@contextmanager
def holding(store: Store, ledger_file: str, partition: str) -> Iterator[None]:
    """Another process that reads a copy."""
    code = (
        "import sys; from pathlib import Path; from cell_assets.ledger.ledger import Ledger; "
        "from cell_assets.store.store import Store; "
        "store = Store(Path(sys.argv[2]), Ledger.open(sys.argv[1]), bucket=sys.argv[3]); "
        "store.read('tracks', sys.argv[4]); print('reading', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, ledger_file, str(store.root), str(store.bucket), partition]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_damaged_copy_is_brought_anew_where_reading_verifies(store: Store) -> None:
    artifact = publish(store, KEY).artifact
    file = store.path_of(artifact) / "tracks.parquet"
    file.chmod(0o644)
    file.write_bytes(b"sowr")
    careful = Store(store.root, store.ledger, verify_on_read=True, bucket=store.bucket)
    assert contents(careful.read("tracks", KEY).path) == FILES


def test_evicted_bytes_go_from_the_bucket_and_come_back(store: Store, tmp_path: Path) -> None:
    artifact = publish(store, KEY).artifact
    store.evict(artifact)
    assert keys(store) == {artifact.uri + ".files.json"}
    with store.write("tracks", KEY) as staged:
        fill(staged.path)
        assert store.put_back(staged, artifact)
    assert store.ledger.artifact(artifact.id).state is ArtifactState.PRESENT
    assert contents(elsewhere(store, tmp_path).read("tracks", KEY).path) == FILES


# Keys to the bucket.


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:canary@bucket/x",
        "s3://bucket?secret=canary",
        "https://canary",
        "s3://bucket",
        "s3://Bucket/x",
        "s3://b/x",
        "s3://bucket/../x",
        "s3://bucket//x",
        "s3://bucket/a b",
        "canary",
    ],
)
def test_a_url_that_is_more_than_a_bucket_is_refused_and_not_quoted(
    url: str, tmp_path: Path, sqlite_store: Store
) -> None:
    with pytest.raises(BadInputError, match="not s3://bucket/prefix") as caught:
        Store(tmp_path, sqlite_store.ledger, bucket=url)
    assert "canary" not in str(caught.value)
    assert check_bucket_url("s3://bucket/a/b/") == "s3://bucket/a/b"


def test_no_key_is_said_or_kept(
    store: Store, tmp_path: Path, ledger_file: str, object_store: FlakyProxy
) -> None:
    publish(store, "P0")
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG); "
        "from cell_assets_tests.store.writer_process import main; main(*sys.argv[1:])"
    )
    arguments = [ledger_file, str(store.root), KEY, "content", "", str(store.bucket)]
    said = []
    for refuse in (lambda method, path: method == "PUT", lambda method, path: False):
        object_store.refuse = refuse
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            timeout=120,
            check=False,
        )
        said.append(done.stdout + done.stderr)
    assert [b"CALL: put_object" in text for text in said] == [True, True]
    assert [b"Please try again later" in text for text in said] == [True, False]
    assert not [text for text in said if SECRET.encode() in text]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "ledger.db" in kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
