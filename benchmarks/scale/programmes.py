"""The assets of one programme among several, as specifications: what a page of the UI asks for needs no bodies.

Dagster's names of assets and of dynamic partitions are those of the whole instance, so each programme has its own.
"""

import os

import dagster as dg

from cell_assets.definitions import build_defs


def names_of(programme: str) -> dg.Definitions:
    """Every asset under the programme's own key, over the programme's own plates, positions and experiments."""
    specs = build_defs().resolve_all_asset_specs()
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                [programme, *spec.key.path],
                deps=[
                    dg.AssetDep([programme, *dep.asset_key.path], partition_mapping=dep.partition_mapping)
                    for dep in spec.deps
                ],
                description=spec.description,
                group_name=spec.group_name,
                kinds=spec.kinds,
                partitions_def=_own(programme, spec.partitions_def),
            )
            for spec in specs
        ]
    )


def _own(programme: str, of: dg.PartitionsDefinition | None) -> dg.PartitionsDefinition | None:
    if isinstance(of, dg.DynamicPartitionsDefinition):
        return dg.DynamicPartitionsDefinition(name=f"{programme}_{of.name}")
    if isinstance(of, dg.MultiPartitionsDefinition):
        return dg.MultiPartitionsDefinition(
            {one.name: _own(programme, one.partitions_def) for one in of.partitions_defs}  # type: ignore[misc]
        )
    return of


defs = names_of(os.environ["SCALE_LOCATION"])
