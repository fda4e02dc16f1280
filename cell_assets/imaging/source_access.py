"""Files of a source that this process may not read, or that their disk does not give."""

from collections.abc import Iterator
from contextlib import contextmanager

from cell_assets.errors import BadInputError


@contextmanager
def only_reading() -> Iterator[None]:
    """Around what reads a source and writes nothing: a file that cannot be read is the source's fault, and told.

    Raises:
        BadInputError: names the file and why.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        raise BadInputError(
            f"{error.filename}: cannot be read ({error.strerror}): give the platform access to it"
        ) from error
