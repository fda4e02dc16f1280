"""The browser that tests of pages drive. Mark them `needs_chromium`."""

import shutil
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Runs as root and in containers, and asks nothing of the network by itself."""


def chromium() -> Path:
    """The installed Chromium, or a skip that says how to get one."""
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    pytest.skip(f"no Chromium on PATH (looked for {', '.join(_NAMES)}): install the package chromium")
