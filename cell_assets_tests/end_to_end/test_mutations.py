"""Random damage to a published plate, to what was made from it and to the ledger: all of it found, rightly named."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
import zarr

from cell_assets.assets.ingest_request import IngestRequest
from cell_assets.automation.ingesting import ingest_plate
from cell_assets.automation.session import Session
from cell_assets.imaging.array_files import ArrayFiles
from cell_assets.ledger.chain import SEALED_TABLES
from cell_assets.ledger.entries import key_column
from cell_assets.ledger.records import Artifact
from cell_assets.settings import Settings
from cell_assets.store.store import Verdict, VerdictState
from cell_assets_tests.end_to_end.lab import PlateFolder, opened, run, small_run
from cell_assets_tests.ledger.editing import another_value, editable_columns, unguarded
from cell_assets_tests.shared_data import shared_data


@contextmanager
def writable(*paths: Path) -> Iterator[None]:
    """Read-only files and their folders made writable, and read-only again."""
    touched = {path: path.stat().st_mode for one in paths for path in (one.parent, one) if path.exists()}
    for path in touched:
        path.chmod(0o755)
    yield
    for path, mode in touched.items():
        if path.exists():
            path.chmod(mode)


class Damage:
    """One artifact's folder, a way to hurt it, and the way back."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw = folder, draw
        self.files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
        self.undo: Callable[[], None] = lambda: None

    def name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _rewrite(self, path: Path, content: bytes) -> None:
        before, stat = path.read_bytes(), path.stat()

        def put(content: bytes) -> None:
            with writable(path):
                path.write_bytes(content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

        put(content)
        self.undo = lambda: put(before)

    def flipped_bit(self) -> dict[str, set[str]]:
        path = self.draw.choice(self.files)
        content = bytearray(path.read_bytes())
        content[self.draw.randrange(len(content))] ^= 1 << self.draw.randrange(8)
        self._rewrite(path, bytes(content))
        return {"changed": {self.name(path)}}

    def same_size_edit(self) -> dict[str, set[str]]:
        path = self.draw.choice(self.files)
        content = path.read_bytes()
        self._rewrite(path, bytes(byte ^ 0x5A for byte in content))
        return {"changed": {self.name(path)}}

    def edited_metadata(self) -> dict[str, set[str]]:
        path = self.draw.choice([one for one in self.files if one.suffix in (".json", ".parquet")])
        self._rewrite(path, path.read_bytes() + b" ")
        return {"changed": {self.name(path)}}

    def truncated(self) -> dict[str, set[str]]:
        path = self.draw.choice(self.files)
        content = path.read_bytes()
        self._rewrite(path, content[: self.draw.randrange(len(content))])
        return {"changed": {self.name(path)}}

    def deleted(self) -> dict[str, set[str]]:
        path = self.draw.choice(self.files)
        content = path.read_bytes()
        with writable(path):
            path.unlink()
        self.undo = lambda: self._create(path, content)
        return {"missing": {self.name(path)}}

    def extra(self) -> dict[str, set[str]]:
        path = self.draw.choice(self.files).with_name(f"extra {self.draw.randrange(10**6)}")
        self._create(path, b"x")
        self.undo = lambda: self._remove(path)
        return {"extra": {self.name(path)}}

    def renamed(self) -> dict[str, set[str]]:
        path = self.draw.choice(self.files)
        other = path.with_name(f"{path.name}.renamed")
        with writable(path):
            path.rename(other)
        self.undo = lambda: self._rename(other, path)
        return {"missing": {self.name(path)}, "extra": {self.name(other)}}

    def swapped(self) -> dict[str, set[str]]:
        one, other = self._two_that_differ()
        a, b = one.read_bytes(), other.read_bytes()
        self._rewrite(one, b)
        back = self.undo
        self._rewrite(other, a)
        forth = self.undo
        self.undo = lambda: (back(), forth())[0]
        return {"changed": {self.name(one), self.name(other)}}

    def _two_that_differ(self) -> tuple[Path, Path]:
        for _ in range(100):
            one, other = self.draw.sample(self.files, 2)
            if one.read_bytes() != other.read_bytes():
                return one, other
        raise AssertionError("the artifact's files are all alike")

    def _create(self, path: Path, content: bytes) -> None:
        with writable(path):
            path.write_bytes(content)
            path.chmod(0o444)

    def _remove(self, path: Path) -> None:
        with writable(path):
            path.unlink()

    def _rename(self, path: Path, other: Path) -> None:
        with writable(path):
            path.rename(other)


KINDS = (
    "flipped_bit",
    "same_size_edit",
    "edited_metadata",
    "truncated",
    "deleted",
    "extra",
    "renamed",
    "swapped",
)


def named(verdict: Verdict) -> dict[str, set[str]]:
    found = {"changed": set(verdict.changed), "missing": set(verdict.missing), "extra": set(verdict.extra)}
    return {kind: names for kind, names in found.items() if names}


def damage_and_verify(session: Session, n: int, seed: int) -> None:
    """`n` mutations one after the other, each undone; then as many verifications of what was undone."""
    draw = random.Random(seed)
    artifacts = [one for one in session.ledger.artifacts() if one.n_files > 1]
    done: Counter[str] = Counter()
    for k in range(n):
        kind = (*KINDS, "ledger_row")[k % (len(KINDS) + 1)]
        done[kind] += 1
        if kind == "ledger_row":
            edit_a_row(session, draw)
            continue
        artifact = draw.choice(artifacts)
        damage = Damage(session.store.path_of(artifact), draw)
        expected = getattr(damage, kind)()
        verdict = session.store.verify(artifact)
        assert_pixels_are_named(damage.folder, kind, expected)
        damage.undo()
        assert named(verdict) == expected, (kind, artifact.asset, verdict.why)
        assert verdict.state == (
            VerdictState.CHANGED if len(expected) > 1 else VerdictState(next(iter(expected)))
        )
    assert min(done.values()) >= n // (len(KINDS) + 1)
    for _ in range(n):
        unhurt: Artifact = draw.choice(artifacts)
        assert session.store.verify(unhurt).is_verified, unhurt
    assert session.ledger.check_chain().faults == ()


def assert_pixels_are_named(folder: Path, kind: str, expected: dict[str, set[str]]) -> None:
    """A damaged or missing chunk file is told by FOV, time points and channel; one flipped bit by its chunk."""
    arrays = ArrayFiles(folder)
    hurt = expected.get("changed", set()) | expected.get("missing", set())
    for file in hurt:
        array, chunk, key = file.partition("/c/")
        # Where the array's own metadata is hurt as well, it cannot tell where its chunks lie.
        if not chunk or f"{array}/zarr.json" in hurt:
            continue
        region = arrays.region(file, changed=file in expected.get("changed", set()))
        assert region is not None, file
        assert region.array == array
        shape = zarr.open_array(folder / array, mode="r").shape
        assert len(region.ranges) == len(shape) == len(key.split("/"))
        assert all(0 <= first < stop <= n for (_, first, stop), n in zip(region.ranges, shape, strict=True))
        if kind == "flipped_bit":
            assert len(region.damaged) <= 1
        for ranges in region.damaged:
            inside = zip(ranges, region.ranges, strict=True)
            assert all(a <= first < stop <= b for (_, first, stop), (_, a, b) in inside)


def edit_a_row(session: Session, draw: random.Random) -> None:
    """Change one value of one row of the ledger, see it named, and put it back."""
    url = session.addresses.ledger
    with unguarded(url) as connection:
        filled = [
            table
            for table in SEALED_TABLES
            if editable_columns(table) and connection.execute(sa.select(table).limit(1)).first() is not None
        ]
    table = draw.choice(filled)
    key = key_column(table)
    with unguarded(url) as connection:
        row = draw.choice(connection.execute(sa.select(table)).all())._mapping
        column = table.c[draw.choice([name for name in editable_columns(table) if row[name] is not None])]
        chosen, value = row[key.name], row[column.name]
        connection.execute(
            sa.update(table).where(key == chosen).values({column.name: another_value(value, column.name)})
        )
    faults = session.ledger.check_chain().faults
    with unguarded(url) as connection:
        connection.execute(sa.update(table).where(key == chosen).values({column.name: value}))
    assert [(fault.kind.value, fault.table, fault.key) for fault in faults] == [
        ("changed", table.name, chosen)
    ]


def test_damage_to_a_small_plate_is_named(new_lab: Callable[[], Settings], two_fovs: PlateFolder) -> None:
    with opened(new_lab()) as session:
        ingest_plate(session, two_fovs.request("E1", "P1"))
        assert run(session, small_run("E1")).failed == ()
        damage_and_verify(session, 90, seed=1)


@pytest.mark.slow
@pytest.mark.needs_shared
def test_a_thousand_damages_to_a_real_plate_are_named(new_lab: Callable[[], Settings]) -> None:
    with opened(new_lab()) as session:
        request = IngestRequest(
            source=str(shared_data("ctc_ecoli")),
            format="ctc",
            experiment="ecoli",
            plate="colony",
            channel_names=("Phase",),
            pixel_size_um=(0.065, 0.065),
            interval_min=5.0,
        )
        ingest_plate(session, request)
        assert run(session, small_run("ecoli")).failed == ()
        damage_and_verify(session, 1000, seed=2)
