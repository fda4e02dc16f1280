"""What a reader of a foreign table gives: cells in batches, never all at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pandas as pd
from blake3 import blake3

from cell_assets.store.digest import digest_folder


class CellSource(Protocol):
    """Single cells of one file."""

    path: Path
    features: tuple[str, ...]
    known: tuple[str, ...]
    """`Metadata_*` columns."""
    keys: tuple[str, ...]
    """Those of `known` whose values together name one cell."""

    def batches(self) -> Iterator[pd.DataFrame]:
        """Cells in the file's order, with the columns `known` and `features`."""
        ...

    def left_over(self) -> Mapping[str, int]:
        """By compartment, objects that belong to no whole cell; known once all batches were read."""
        ...


def source_digest(path: Path) -> str:
    """BLAKE3 of a file, or of all files of a folder with their names."""
    return digest_folder(path).root if path.is_dir() else blake3().update_mmap(path).hexdigest()
