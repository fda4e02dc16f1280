"""Where tests find the real inputs, which are never copied into the project."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Folder `name` of the real inputs beside the checkout; skips the calling test where it is missing."""
    folder = SHARED_DATA / name
    if not folder.exists():
        pytest.skip(f"real input {name} is not at ../shared/data beside this checkout")
    return folder
