"""A source of which one file or folder may not be read: a sentence that leads to it, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.imaging.ingest import prepare_ingest
from cell_assets.imaging.ingest_checks import IngestOptions
from cell_assets_tests.imaging.source_plates import CTC_OPTIONS, masks, noise, write_ctc, write_zarr
from cell_assets_tests.ordinary_user import as_an_ordinary_user, closed, open_to_all


def movie(folder: Path) -> Path:
    return write_ctc(folder, [noise((32, 40), seed=t) for t in range(4)], truth=masks())


def plate(folder: Path) -> Path:
    return write_zarr(folder, {name: noise((2, 2, 1, 16, 20)) for name in ("A/1/0", "B/1/0")}, "0.4")


def ingested(source: Path, options: IngestOptions, target: Path) -> None:
    """As a run does it: checked, digested, written."""
    with as_an_ordinary_user():
        prepared = prepare_ingest(source, options)
        assert len(prepared.source_digest) == 64
        prepared.write(target)


@pytest.mark.parametrize(("make", "options"), [(movie, CTC_OPTIONS), (plate, IngestOptions())])
def test_whatever_may_not_be_read_is_told(make: Callable[[Path], Path], options: IngestOptions) -> None:
    with open_to_all() as root:
        source = make(root / "source")
        for path in (source, *source.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        parts = sorted(source.rglob("*"))
        assert len(parts) > 10
        for part in parts:
            with closed(part), pytest.raises(BadInputError, match="ermission denied") as told:
                ingested(source, options, root / "written")
            assert "\n" not in str(told.value)
            # An image or well of a plate is named by its name there.
            near = {str(part), *("/".join(part.relative_to(source).parts[:n]) for n in (2, 3))}
            assert any(name in str(told.value) for name in near), (part, told.value)
            assert not (root / "written").exists()
        ingested(source, options, root / "written")
