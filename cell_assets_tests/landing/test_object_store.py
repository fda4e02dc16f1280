"""Landing folders in a bucket of a real object store: seen, fetched, and what a store that says 503 hinders."""

from collections.abc import Callable
from pathlib import Path

import pytest
import s3fs

from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.landing.fetching import fetch_folder
from cell_assets.landing.scan import Scan, ScanCursor, scan
from cell_assets_tests.landing.landed import plate_yaml
from cell_assets_tests.object_store import SECRET, FlakyProxy

FILES = {"x.tif": b"pixels", "a b/100%.csv": b"map", "Füße/λ.txt": b"", "deep/er/est": bytes(5000)}


@pytest.fixture
def landed(bucket_url: str, tmp_path: Path) -> str:
    """A plate, as a browser's upload leaves it: with an empty object for each folder."""
    plate = tmp_path / "p"
    plate.mkdir()
    plate_yaml(plate, "E1", "P9")
    files = s3fs.S3FileSystem(use_listings_cache=False)
    root = bucket_url.removeprefix("s3://")
    bucket, _, prefix = root.partition("/")
    for folder in ("", "p/", "p/a b/", "p/deep/"):
        files.call_s3("put_object", Bucket=bucket, Key=f"{prefix}/{folder}", Body=b"")
    for name, content in {**FILES, "plate.yaml": (plate / "plate.yaml").read_bytes()}.items():
        files.pipe_file(f"{root}/p/{name}", content)
    return bucket_url


def scanned(place: str) -> Scan:
    first = scan([place], {}, ScanCursor(), still_s=1, now=0)
    return scan([place], {}, first.cursor, still_s=1, now=1)


def untold(done: int, total: int, what: str) -> None:
    pass


def test_a_plate_is_seen_and_comes_whole(landed: str, tmp_path: Path) -> None:
    found = scanned(landed)
    assert found.unreachable == ()
    assert [(look.folder, look.problem) for look in found.arrived] == [(f"{landed}/p", None)]
    target = tmp_path / "fetched"
    assert fetch_folder(f"{landed}/p", target, untold) > sum(map(len, FILES.values()))
    assert {name: (target / name).read_bytes() for name in FILES} == FILES


def test_a_plate_that_grows_is_seen_to_change(landed: str) -> None:
    (before,) = scanned(landed).arrived
    s3fs.S3FileSystem(use_listings_cache=False).pipe_file(f"{landed}/p/x.tif", b"other pixels")
    (after,) = scanned(landed).arrived
    assert before.digest != after.digest


def test_a_store_that_says_503_is_said_and_then_is_well(
    landed: str, tmp_path: Path, object_store: FlakyProxy
) -> None:
    object_store.refuse = lambda method, path: "list-type" in path
    (said,) = scanned(landed).unreachable
    assert said.startswith(f"landing folder {landed} cannot be listed (")
    with pytest.raises(BadInputError, match="cannot be listed"):
        fetch_folder(f"{landed}/p", tmp_path / "listed", untold)
    object_store.refuse = lambda method, path: path.endswith("/est")
    with pytest.raises(CellAssetsError, match=r"/p/deep/er/est cannot be fetched \(.*try again"):
        fetch_folder(f"{landed}/p", tmp_path / "half", untold)
    object_store.refuse = first_only()
    fetch_folder(f"{landed}/p", tmp_path / "whole", untold)
    assert (tmp_path / "whole" / "deep" / "er" / "est").read_bytes() == bytes(5000)


def first_only() -> Callable[[str, str], bool]:
    left = [2]

    def refuse(method: str, path: str) -> bool:
        left[0] -= 1
        return left[0] >= 0

    return refuse


@pytest.mark.parametrize("url", [f"s3://user:{SECRET}@bucket/x", f"s3://{SECRET.partition('/')[0]}@bucket/x"])
def test_keys_in_a_url_are_refused_and_not_said(url: str) -> None:
    (said,) = scanned(url).unreachable
    assert "keys in it" in said
    assert "canary" not in said
