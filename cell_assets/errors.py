"""What the program says to a person when something is wrong.

Every error carries one sentence: what is wrong, where (file, field, value), and what to do. The CLI prints
it on one line and exits non-zero; anything else that escapes is a bug and keeps its traceback.
"""


class CellAssetsError(Exception):
    """A fault that a person can act on; `str()` is one sentence for them."""


class BadInputError(CellAssetsError):
    """The input (a plate, a plate map, a track table, a name, an option) cannot be used as it is."""


class NotFoundError(CellAssetsError):
    """Something that was asked for by name or id is not in the ledger or the store."""


class ChangedBytesError(CellAssetsError):
    """Bytes on disk do not match the digest that the ledger holds for them."""
