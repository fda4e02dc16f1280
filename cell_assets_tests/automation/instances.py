"""Dagster over its own database, as `dagster.yaml` configures it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from cell_assets.automation.dagster_storage import PatientPostgresStorage


@contextmanager
def instance_on(url: str, folder: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with its files in `folder`, until the block ends."""
    storage = {
        "module": PatientPostgresStorage.__module__,
        "class": PatientPostgresStorage.__name__,
        "config": {"postgres_url": url},
    }
    ref = InstanceRef.from_dir(str(folder), overrides={"storage": {"custom": storage}})
    with dg.DagsterInstance.from_ref(ref) as instance:
        yield instance
