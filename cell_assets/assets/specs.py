"""Specs of the assets: what the graph shows of each, the same way for all."""

import dagster as dg

from cell_assets.assets.edges import EDGES
from cell_assets.assets.recipes import RECIPES
from cell_assets.store.code_identity import code_version


def asset_spec(asset: str, group: str, description: str, kinds: set[str]) -> dg.AssetSpec:
    """Edges and code version come with the name; every asset may be found current, so it is skippable."""
    return dg.AssetSpec(
        str(asset),
        deps=EDGES[asset],
        # The same that publishing records with each output: where they differ, Dagster calls it stale.
        code_version=code_version(RECIPES[asset].code)[:12],
        description=description,
        skippable=True,
        group_name=group,
        kinds=kinds,
    )
