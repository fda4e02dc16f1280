"""Objects of a bucket on S3-compatible storage, by way of s3fs.

Who asks, where, and how often a question is repeated is the client library's to know, by its own variables and files
(`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, `AWS_MAX_ATTEMPTS`, the role of a pod). Nothing of it is read,
kept or said here.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from cell_assets.errors import BadInputError, CellAssetsError, NotFoundError

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9_.=-]+)+)/?")
"""With a prefix, so that a sweep touches nothing else; a plain one, so that no client reads more into it."""

_DELETED_AT_ONCE = 1000
"""The most that S3 takes."""
_READ_BYTES = 8 * 2**20
"""Of one request."""
_PART_BYTES = 16 * 2**20
"""Of an upload in parts; two are in memory at once, for each file that is on its way."""
_MOST_PARTS = 10_000

_MAX_SAID = 200
"""Characters of the server's own words in a message."""


class StoredObject(NamedTuple):
    """What a listing says of an object."""

    key: str
    """Below the bucket's prefix."""
    n_bytes: int
    written: datetime


class Upload(NamedTuple):
    """An upload in parts that was not completed."""

    key: str
    id: str


def check_bucket_url(url: str) -> str:
    """Return `url` without a slash at its end.

    Raises:
        BadInputError: it is not `s3://bucket/prefix`; what it holds besides is not quoted.
    """
    match = _URL.fullmatch(url)
    if match is None or ".." in match[2].split("/") or "." in match[2].split("/"):
        raise BadInputError(
            "CELL_ASSETS_STORE is not s3://bucket/prefix of letters, digits, '_', '.', '=' and '-': keys and endpoint "
            "are given by the client's own variables, such as AWS_PROFILE and AWS_ENDPOINT_URL"
        )
    return url.rstrip("/")


class Bucket:
    """The objects below one prefix. Threads may share it; a forked or spawned process connects anew."""

    def __init__(self, url: str) -> None:
        """Take note of it; nothing is asked yet. Raises as `check_bucket_url` does."""
        self.url = check_bucket_url(url)
        self._name, _, prefix = self.url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._connected: tuple[int, Any] | None = None

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        return Bucket, (self.url,)

    def title(self, key: str) -> str:
        """The object's URL."""
        return f"{self.url}/{key}"

    def objects(self, prefix: str, at_most: int | None = None) -> Iterator[StoredObject]:
        """What lies below a prefix, in the order of keys as UTF-8; one request for each thousand."""
        asked: dict[str, Any] = {"Bucket": self._name, "Prefix": self._prefix + prefix}
        if at_most is not None:
            asked["MaxKeys"] = at_most
        while True:
            with self._faults("listing", prefix):
                page = self._s3.call_s3("list_objects_v2", **asked)
            for one in page.get("Contents", ()):
                yield StoredObject(one["Key"][len(self._prefix) :], int(one["Size"]), one["LastModified"])
            if not page.get("IsTruncated") or at_most is not None:
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def holds(self, prefix: str) -> bool:
        """Whether any key begins so."""
        return next(self.objects(prefix, at_most=1), None) is not None

    def put(self, file: Path, key: str) -> None:
        """Write a file as an object, in parts where it is large; it appears whole, in place of what was there."""
        part = max(_PART_BYTES, -(-file.stat().st_size // _MOST_PARTS))
        with self._faults("writing", key):
            self._s3.put_file(str(file), self._path(key), chunksize=part, max_concurrency=2)

    def put_bytes(self, content: bytes, key: str) -> None:
        """Write a small object."""
        with self._faults("writing", key):
            self._s3.call_s3("put_object", Bucket=self._name, Key=self._prefix + key, Body=content)

    def read(self, key: str, n_bytes: int) -> Iterator[bytes]:
        """The first `n_bytes` of an object, piece by piece; ends early where it has fewer."""
        for start in range(0, n_bytes, _READ_BYTES):
            try:
                with self._faults("reading", key):
                    end = min(start + _READ_BYTES, n_bytes)
                    piece = self._s3.cat_file(self._path(key), start=start, end=end)
            except CellAssetsError as error:
                if _is_past_the_end(error):
                    return
                raise
            yield piece

    def get_bytes(self, key: str, at_most: int) -> bytes | None:
        """A small object; None where there is none. Raises CellAssetsError where it is larger than `at_most`."""
        found = next((one for one in self.objects(key, at_most=1) if one.key == key), None)
        if found is None:
            return None
        if found.n_bytes > at_most:
            raise CellAssetsError(
                f"{self.title(key)} has {found.n_bytes} bytes, and {at_most} are the most that is read of it"
            )
        return b"".join(self.read(key, found.n_bytes))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already do not matter."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = keys[start : start + _DELETED_AT_ONCE]
            wanted = {"Objects": [{"Key": self._prefix + key} for key in some], "Quiet": True}
            with self._faults("deleting", some[0]):
                done = self._s3.call_s3("delete_objects", Bucket=self._name, Delete=wanted)
            for error in done.get("Errors", ()):
                said = f"{error.get('Code')}: {error.get('Message')}"[:_MAX_SAID]
                raise CellAssetsError(f"deleting {self.title(some[0])} failed ({said}); {_ADVICE}")

    def unfinished(self) -> Iterator[Upload]:
        """Uploads in parts that were not completed, or are under way."""
        asked: dict[str, Any] = {"Bucket": self._name, "Prefix": self._prefix}
        while True:
            with self._faults("listing uploads to", ""):
                page = self._s3.call_s3("list_multipart_uploads", **asked)
            for one in page.get("Uploads", ()):
                yield Upload(one["Key"][len(self._prefix) :], one["UploadId"])
            if not page.get("IsTruncated"):
                return
            asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, upload: Upload) -> None:
        """Let go of its parts; one that was completed or aborted meanwhile does not matter."""
        with contextlib.suppress(NotFoundError), self._faults("aborting the upload of", upload.key):
            self._s3.call_s3(
                "abort_multipart_upload",
                Bucket=self._name,
                Key=self._prefix + upload.key,
                UploadId=upload.id,
            )

    @property
    def _s3(self) -> Any:
        """An `s3fs.S3FileSystem`, of this process."""
        if self._connected is None or self._connected[0] != os.getpid():
            try:
                import s3fs
            except ImportError:
                raise BadInputError(
                    f"{self.url} needs the package s3fs, which is not installed: install cell-assets[lab]"
                ) from None
            self._connected = os.getpid(), s3fs.S3FileSystem(use_listings_cache=False)
        return self._connected[1]

    def _path(self, key: str) -> str:
        return f"{self._name}/{self._prefix}{key}"

    @contextlib.contextmanager
    def _faults(self, doing: str, key: str) -> Iterator[None]:
        """Turn whatever the client raises into one sentence.

        Raises NotFoundError for an object that is not there, else CellAssetsError.
        """
        try:
            yield
        except CellAssetsError:
            raise
        except Exception as error:  # The libraries beneath s3fs have errors of their own.
            said = " ".join(str(error).split())[:_MAX_SAID] or "no word from the server"
            what = f"{doing} {self.title(key)} failed ({type(error).__name__}: {said})"
            if isinstance(error, FileNotFoundError):
                gone = "see that the bucket is there, and the object in it"
                raise NotFoundError(f"{what}: {gone}") from error
            raise CellAssetsError(f"{what}; {_ADVICE}") from error


def _is_past_the_end(error: CellAssetsError) -> bool:
    """Whether the server said that an object has no byte where some were asked for."""
    cause: BaseException | None = error
    while cause is not None:
        said = getattr(cause, "response", None)
        if isinstance(said, dict) and said.get("Error", {}).get("Code") in ("InvalidRange", "416"):
            return True
        cause = cause.__cause__
    return False


_ADVICE = "see that the object store answers and lets this user do so (AWS_ENDPOINT_URL, AWS_PROFILE), then run again"
