"""What the Launchpad asks of who brings in a plate as a table, beside what it asks of the step."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from cell_assets.assets.launchpad import request_fields, stated_request
from cell_assets.assets.partitions import PARTITION_SAYS
from cell_assets.assets.table_request import TableRequest

TABLE = "table"


def table_field() -> dict[str, dg.Field]:
    """The field of a step's config that says where a new plate lies."""
    return {
        TABLE: dg.Field(
            dg.Shape(request_fields(TableRequest, PARTITION_SAYS)),
            is_required=False,
            description="Where a new plate lies that comes as a table of features, as `cell-assets ingest-table` says "
            "it; empty for plates that are registered.",
        )
    }


def stated_table(step: str, config: Mapping[str, Any], plate: str) -> TableRequest | None:
    """The table that the config of `step` names, or None.

    Raises:
        BadInputError: a field is missing or has a value that it cannot have.
    """
    return stated_request(TableRequest, f"{step}.{TABLE}", config.get(TABLE) or {}, {"plate": plate})
