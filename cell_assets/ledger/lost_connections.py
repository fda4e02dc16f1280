"""Which faults say that the database went away, for a while perhaps, rather than that something is wrong."""

import re

from sqlalchemy.exc import DBAPIError

_WENT_AWAY = re.compile("08...|57P0[123]")
"""SQLSTATE of connection exceptions, and of a server that shuts down, crashed, or does not accept connections."""
_NOT_READY = re.compile(
    "the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)"
)
"""libpq passes no SQLSTATE on when a connection is refused, only words."""
_SERVER_SPOKE = "FATAL:"


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
