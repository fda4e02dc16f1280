"""The file by which processes that train together find each other, and how those of other machines learn of it.

Of one machine it lies in a folder of its own. Of several it lies in a folder that all of them share, beside a notice
that names it and that the first machine renews as long as it trains: what a killed attempt left is not taken for a
training that goes on. No port is chosen that another program could take.
"""

import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOTICE = "meeting.json"
RENEWED_EVERY_S = 5.0
GONE_AFTER_S = 180.0
"""So long a notice may stay as it was: a network's file system shows changes to others within a minute."""


@dataclass(frozen=True)
class Notice:
    """What the first machine tells the others."""

    file: str
    """Name of the meeting's file, another for each attempt."""
    renewed: int
    """How often."""

    @classmethod
    def read(cls, folder: Path) -> "Notice | None":
        """The one in this folder; None where there is none."""
        try:
            said = json.loads((folder / NOTICE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(str(said["file"]), int(said["renewed"]))

    def write(self, folder: Path) -> None:
        """Whole, in place of the one before."""
        partial = folder / f"{NOTICE}.{os.getpid()}.partial"
        partial.write_text(json.dumps({"file": self.file, "renewed": self.renewed}), encoding="utf-8")
        partial.replace(folder / NOTICE)


class Meeting:
    """As one machine has it: `attend` is called again and again while its processes train."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def attend(self) -> None:
        """On one machine nothing is to be done."""


class CalledMeeting(Meeting):
    """On the first of several machines: attending renews the notice."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._renewed, self._last = 0, -RENEWED_EVERY_S
        self.attend()

    def attend(self) -> None:
        """Renews the notice, no more often than it pays."""
        now = time.monotonic()
        if now - self._last >= RENEWED_EVERY_S:
            self._renewed, self._last = self._renewed + 1, now
            Notice(self.file.name, self._renewed).write(self.file.parent)


class JoinedMeeting(Meeting):
    """On any other machine: attending looks whether the first one is still there."""

    def __init__(self, file: Path, notice: Notice) -> None:
        super().__init__(file)
        self._notice, self._seen = notice, time.monotonic()

    def attend(self) -> None:
        """Looks for a new sign of it.

        Raises:
            RuntimeError: the first machine has begun anew, or has not renewed its notice for too long.
        """
        now, notice = time.monotonic(), Notice.read(self.file.parent)
        if notice is not None and notice.file != self._notice.file:
            raise RuntimeError("the first machine has begun a new attempt; join that one by the same command")
        if notice is not None and notice.renewed != self._notice.renewed:
            self._notice, self._seen = notice, now
        if now - self._seen > GONE_AFTER_S:
            raise RuntimeError(
                f"the first machine has given no sign for {GONE_AFTER_S:.0f} s; when its step runs again, join it "
                "by the same command"
            )


@contextmanager
def meeting_here() -> Iterator[Meeting]:
    """Of the processes of this machine alone."""
    with tempfile.TemporaryDirectory() as folder:
        yield Meeting(Path(folder) / "meeting")


@contextmanager
def called_meeting(folder: Path) -> Iterator[Meeting]:
    """Called by the first machine, in a folder that others share; its traces go with it."""
    meeting = CalledMeeting(folder / f"meeting-{uuid.uuid4().hex}")
    try:
        yield meeting
    finally:
        for left in (folder / NOTICE, meeting.file):
            left.unlink(missing_ok=True)


def found_meeting(folder: Path, patience_s: float) -> Meeting:
    """The one that the first machine has called in this folder, when it is seen to be alive.

    Raises:
        RuntimeError: there was none for so long.
    """
    first: Notice | None = None
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        notice = Notice.read(folder)
        if first is None or notice is None or notice.file != first.file:
            first = notice
        elif notice.renewed != first.renewed:
            return JoinedMeeting(folder / notice.file, notice)
        time.sleep(0.2)
    raise RuntimeError(
        f"no training called for other machines in {folder} within {patience_s / 60:.0f} minutes: start its step, and "
        "see that all machines have the same code, packages and CELL_ASSETS_HOME, of which that folder's name is made"
    )
