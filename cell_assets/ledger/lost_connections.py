"""A database that goes away: which faults say so, rather than that something is wrong, and waiting for it."""

import logging
import re
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from sqlalchemy.exc import DBAPIError

from cell_assets.errors import CellAssetsError

_log = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""How long a database that went away is waited for. A small server that was killed while 8 writers recorded was
back within 0.3 s; a large one replays its log for longer, and a machine that restarts takes minutes."""
_RETRY_S = (0.05, 1.0)
"""First and longest pause between attempts to reach it."""
_WENT_AWAY = re.compile("08...|57P0[123]")
"""SQLSTATE of connection exceptions, and of a server that shuts down, crashed, or does not accept connections."""
_NOT_READY = re.compile(
    "the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)"
)
"""libpq passes no SQLSTATE on when a connection is refused, only words."""
_SERVER_SPOKE = "FATAL:"


_T = TypeVar("_T")


class Patience:
    """How long one database is waited for. Threads may share one.

    A database that answered before is waited for when it goes away, and one that says that it is starting. One
    that never answered is not, as its address may be wrong.
    """

    def __init__(self, title: str, seconds: float) -> None:
        self.title = title
        """The database in a sentence, without its password."""
        self.seconds = seconds
        self._answered = False

    def note_answer(self, *_: object) -> None:
        """The database answered."""
        self._answered = True

    def outlive(self, work: Callable[[], _T]) -> _T:
        """Do the work, from its start whenever its connection is lost; CellAssetsError when that lasts."""
        until: float | None = None
        pause, longest = _RETRY_S
        while True:
            try:
                done = work()
            except DBAPIError as error:
                if not is_lost(error):
                    raise
                began, until = until is None, until or time.monotonic() + self.seconds
                if time.monotonic() >= until or not (self._answered or is_not_ready(error)):
                    self._give_up(error)
                if began:
                    _log.warning("%s does not answer, is asked again: %s", self.title, reason(error))
            else:
                self.note_answer()
                return done
            time.sleep(pause)
            pause = min(2 * pause, longest)

    def _give_up(self, error: DBAPIError) -> NoReturn:
        if not self._answered:
            raise CellAssetsError(f"{self.title} cannot be opened: {reason(error)}") from error
        # Whoever tidies up after this error does not wait as long once more.
        self._answered = False
        raise CellAssetsError(
            f"{self.title} went away and has not answered for {self.seconds:g} s: {reason(error)}; see that its "
            "server runs, then do the same again: what was recorded is found, not recorded twice"
        ) from error


def is_lost(error: DBAPIError) -> bool:
    """Whether the connection was lost or not to be had, so that another one may do the same work later.

    False for everything that the server says about the work, the database's name or the password.
    """
    if error.connection_invalidated:
        return True
    sqlstate: str | None = getattr(error.orig, "pgcode", None)
    if sqlstate is not None:
        return _WENT_AWAY.fullmatch(sqlstate) is not None
    return is_not_ready(error) or (_failed_to_connect(error) and _SERVER_SPOKE not in str(error.orig))


def is_not_ready(error: DBAPIError) -> bool:
    """Whether a server is there, and says that it is on its way up or down."""
    return _NOT_READY.search(str(error.orig)) is not None


def reason(error: DBAPIError) -> str:
    """What the database or its driver said, in one line."""
    return " ".join(str(error.orig).split())


def _failed_to_connect(error: DBAPIError) -> bool:
    """Nothing was asked yet; only PostgreSQL's driver has errors with a (then empty) SQLSTATE."""
    return error.statement is None and hasattr(error.orig, "pgcode")
