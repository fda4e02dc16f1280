"""The edges of the asset graph: what each asset reads, and how partitions of one find those of the other.

Dagster knows built-in mappings only. None leads from an experiment to its own plates, so those edges join all
partitions: they are for the picture only and say nothing about staleness.
"""

import dagster as dg

from cell_assets.assets.partitions import EXPERIMENT, PLATE
from cell_assets.assets.recipes import (
    AssetName,
    attribution_name,
    bleaching_name,
    checkpoint_name,
    comparison_name,
    embeddings_name,
    profiles_name,
    report_name,
)
from cell_assets.methods.registry import CELL_METHODS, WELL_METHODS

_TO_PLATE = dg.MultiToSingleDimensionPartitionMapping(PLATE)
_TO_EXPERIMENT = dg.MultiToSingleDimensionPartitionMapping(EXPERIMENT)
_SAME_PLATE = dg.MultiPartitionMapping(
    {PLATE: dg.DimensionPartitionMapping(PLATE, dg.IdentityPartitionMapping())}
)
_PICTURE_ONLY = dg.AllPartitionMapping()


def is_for_the_picture_only(edge: dg.AssetDep) -> bool:
    """Whether the edge joins partitions that have nothing to do with each other."""
    return isinstance(edge.partition_mapping, dg.AllPartitionMapping)


def _edge(upstream: str, mapping: dg.PartitionMapping | None = None) -> dg.AssetDep:
    return dg.AssetDep(str(upstream), partition_mapping=mapping)


def _edges_of_method(method: str) -> dict[str, tuple[dg.AssetDep, ...]]:
    checkpoint, embeddings = checkpoint_name(method), embeddings_name(method)
    return {
        checkpoint: (
            _edge(AssetName.EXPERIMENT_MANIFEST),
            _edge(AssetName.MANIFEST_PATCHES, _PICTURE_ONLY),
            _edge(AssetName.PATCH_TABLE, _PICTURE_ONLY),
        ),
        embeddings: (
            _edge(checkpoint, _TO_EXPERIMENT),
            _edge(AssetName.EXPERIMENT_MANIFEST, _TO_EXPERIMENT),
            # Only of plates whose patches are kept by the manifest: a closer edge would call all others stale.
            _edge(AssetName.MANIFEST_PATCHES, _PICTURE_ONLY),
            _edge(AssetName.PATCH_TABLE, _SAME_PLATE),
        ),
        report_name(method): (
            _edge(embeddings, _TO_EXPERIMENT),
            _edge(checkpoint),
            _edge(AssetName.EXPERIMENT_MANIFEST),
            _edge(AssetName.RAW_ACQUISITION, _PICTURE_ONLY),
            _edge(AssetName.PATCH_TABLE, _PICTURE_ONLY),
            _edge(AssetName.SINGLE_CELL_FEATURES, _PICTURE_ONLY),
            _edge(AssetName.ANNOTATIONS, _PICTURE_ONLY),
            # Of experiments that have one: a closer edge would call all others stale.
            _edge(AssetName.STATE_SEGMENTATION, _PICTURE_ONLY),
        ),
        # Of earlier trainings, too, which Dagster's graph cannot show; the ledger's edges can.
        comparison_name(method): (_edge(report_name(method)),),
    }


def _edges_of_profile_method(method: str) -> dict[str, tuple[dg.AssetDep, ...]]:
    checkpoint, profiles = checkpoint_name(method), profiles_name(method)
    return {
        checkpoint: (_edge(AssetName.WELL_MANIFEST), _edge(AssetName.SINGLE_CELL_FEATURES, _PICTURE_ONLY)),
        profiles: (
            _edge(checkpoint, _TO_EXPERIMENT),
            _edge(AssetName.WELL_MANIFEST, _TO_EXPERIMENT),
            _edge(AssetName.SINGLE_CELL_FEATURES, _TO_PLATE),
        ),
        report_name(method): (
            _edge(profiles, _TO_EXPERIMENT),
            _edge(checkpoint),
            _edge(AssetName.WELL_MANIFEST),
            _edge(AssetName.MEAN_PROFILES, _PICTURE_ONLY),
            # Of experiments that have some: a closer edge would call all others stale.
            _edge(AssetName.SUPERVISED_PROFILES, _PICTURE_ONLY),
            _edge(AssetName.SINGLE_CELL_FEATURES, _PICTURE_ONLY),
            # Of filmed plates, whose cells are shown.
            _edge(AssetName.PATCH_TABLE, _PICTURE_ONLY),
            _edge(AssetName.RAW_ACQUISITION, _PICTURE_ONLY),
        ),
    }


def _pixel_study_edges(method: str, *further: AssetName) -> tuple[dg.AssetDep, ...]:
    of_plates = (
        AssetName.RAW_ACQUISITION,
        *further,
        AssetName.PATCH_TABLE,
        AssetName.MANIFEST_PATCHES,
        AssetName.ANNOTATIONS,
    )
    return (
        _edge(embeddings_name(method), _TO_EXPERIMENT),
        _edge(checkpoint_name(method)),
        _edge(AssetName.EXPERIMENT_MANIFEST),
        *(_edge(asset, _PICTURE_ONLY) for asset in of_plates),
    )


def _attribution_edges(method: str) -> dict[str, tuple[dg.AssetDep, ...]]:
    return {attribution_name(method): _pixel_study_edges(method, AssetName.SEGMENTATION, AssetName.TRACKS)}


def _bleaching_edges(method: str) -> dict[str, tuple[dg.AssetDep, ...]]:
    return {bleaching_name(method): _pixel_study_edges(method)}


_SHARED: dict[str, tuple[dg.AssetDep, ...]] = {
    AssetName.RAW_ACQUISITION: (),
    AssetName.PLATE_QC: (_edge(AssetName.RAW_ACQUISITION),),
    AssetName.SEGMENTATION: (_edge(AssetName.RAW_ACQUISITION, _TO_PLATE),),
    # What a person hands in; each version's edge to the one before stays in the ledger, since Dagster lets an
    # asset depend on itself only across time windows.
    AssetName.TRACK_CORRECTIONS: (),
    AssetName.TRACKS: (
        _edge(AssetName.SEGMENTATION),
        _edge(AssetName.TRACK_CORRECTIONS),
        _edge(AssetName.RAW_ACQUISITION, _TO_PLATE),
    ),
    # Handed in as corrections are, and joined anew to the cells when these were tracked anew.
    AssetName.ANNOTATIONS: (_edge(AssetName.TRACKS), _edge(AssetName.SEGMENTATION)),
    AssetName.PATCH_TABLE: (_edge(AssetName.TRACKS), _edge(AssetName.RAW_ACQUISITION, _TO_PLATE)),
    AssetName.SINGLE_CELL_FEATURES: (
        _edge(AssetName.TRACKS, _TO_PLATE),
        _edge(AssetName.SEGMENTATION, _TO_PLATE),
        _edge(AssetName.RAW_ACQUISITION),
    ),
    AssetName.MEAN_PROFILES: (_edge(AssetName.SINGLE_CELL_FEATURES),),
    AssetName.SUPERVISED_PROFILES: (_edge(AssetName.MEAN_PROFILES, _PICTURE_ONLY),),
    AssetName.MEAN_PROFILES_REPORT: (
        _edge(AssetName.MEAN_PROFILES, _PICTURE_ONLY),
        _edge(AssetName.SUPERVISED_PROFILES, _PICTURE_ONLY),
    ),
    AssetName.WELL_MANIFEST: (_edge(AssetName.SINGLE_CELL_FEATURES, _PICTURE_ONLY),),
    AssetName.EXPERIMENT_MANIFEST: (
        _edge(AssetName.PATCH_TABLE, _PICTURE_ONLY),
        _edge(AssetName.RAW_ACQUISITION, _PICTURE_ONLY),
        _edge(AssetName.PLATE_QC, _PICTURE_ONLY),
    ),
    AssetName.MANIFEST_PATCHES: (
        _edge(AssetName.EXPERIMENT_MANIFEST, _TO_EXPERIMENT),
        _edge(AssetName.PATCH_TABLE, _SAME_PLATE),
        _edge(AssetName.RAW_ACQUISITION, _TO_PLATE),
    ),
    AssetName.STATE_SEGMENTATION: (
        _edge(AssetName.EXPERIMENT_MANIFEST),
        *(
            _edge(upstream, _PICTURE_ONLY)
            for upstream in (
                AssetName.RAW_ACQUISITION,
                AssetName.SEGMENTATION,
                AssetName.TRACKS,
                AssetName.PATCH_TABLE,
                AssetName.ANNOTATIONS,
            )
        ),
    ),
}

_OF_CELL_METHODS = {
    asset: edges
    for entry in CELL_METHODS
    for offered, of_method in (
        (True, _edges_of_method),
        (entry.attributable, _attribution_edges),
        (entry.bleachable, _bleaching_edges),
    )
    if offered
    for asset, edges in of_method(entry.name).items()
}
_OF_WELL_METHODS = {
    asset: edges for entry in WELL_METHODS for asset, edges in _edges_of_profile_method(entry.name).items()
}

EDGES: dict[str, tuple[dg.AssetDep, ...]] = _SHARED | _OF_CELL_METHODS | _OF_WELL_METHODS
"""By asset: one edge for every asset that its body reads."""
