"""The asset graph as a snapshot: a change of keys, edges or partitions is seen in review, and meant."""

import dagster as dg

from cell_assets.definitions import build_defs

GRAPH = {
    "raw_acquisition": ("plate", set()),
    "plate_qc": ("plate", {"raw_acquisition"}),
    "segmentation": ("plate|position", {"raw_acquisition"}),
    "track_corrections": ("plate|position", set()),
    "tracks": ("plate|position", {"raw_acquisition", "segmentation", "track_corrections"}),
    "annotations": ("plate|position", {"segmentation", "tracks"}),
    "patch_table": ("plate|position", {"raw_acquisition", "tracks"}),
    "single_cell_features": ("plate", {"raw_acquisition", "segmentation", "tracks"}),
    "mean_profiles": ("plate", {"single_cell_features"}),
    "supervised_profiles": ("experiment", {"mean_profiles"}),
    "mean_profiles_report": ("experiment", {"mean_profiles", "supervised_profiles"}),
    "well_manifest": ("experiment", {"single_cell_features"}),
    "cytosummary_checkpoint": ("experiment", {"single_cell_features", "well_manifest"}),
    "cytosummary_profiles": (
        "experiment|plate",
        {"cytosummary_checkpoint", "single_cell_features", "well_manifest"},
    ),
    "cytosummary_report": (
        "experiment",
        {
            "cytosummary_checkpoint",
            "cytosummary_profiles",
            "mean_profiles",
            "patch_table",
            "raw_acquisition",
            "single_cell_features",
            "supervised_profiles",
            "well_manifest",
        },
    ),
    "experiment_manifest": ("experiment", {"raw_acquisition", "patch_table", "plate_qc"}),
    "manifest_patches": ("experiment|plate", {"experiment_manifest", "patch_table", "raw_acquisition"}),
    "state_segmentation": (
        "experiment",
        {"annotations", "experiment_manifest", "patch_table", "raw_acquisition", "segmentation", "tracks"},
    ),
    "dynaclr_checkpoint": ("experiment", {"experiment_manifest", "manifest_patches", "patch_table"}),
    "dynaclr_embeddings": (
        "experiment|plate",
        {"dynaclr_checkpoint", "experiment_manifest", "manifest_patches", "patch_table"},
    ),
    "dynaclr_report": (
        "experiment",
        {
            "annotations",
            "dynaclr_checkpoint",
            "dynaclr_embeddings",
            "experiment_manifest",
            "patch_table",
            "raw_acquisition",
            "single_cell_features",
            "state_segmentation",
        },
    ),
    "dynaclr_comparison": ("experiment", {"dynaclr_report"}),
    "dynaclr_attribution": (
        "experiment",
        {
            "annotations",
            "dynaclr_checkpoint",
            "dynaclr_embeddings",
            "experiment_manifest",
            "manifest_patches",
            "patch_table",
            "raw_acquisition",
            "segmentation",
            "tracks",
        },
    ),
    "dynaclr_bleaching": (
        "experiment",
        {
            "annotations",
            "dynaclr_checkpoint",
            "dynaclr_embeddings",
            "experiment_manifest",
            "manifest_patches",
            "patch_table",
            "raw_acquisition",
        },
    ),
}
"""Asset to its partition dimensions and the assets that it is drawn from."""


def dimensions(partitions: dg.PartitionsDefinition | None) -> str:
    if isinstance(partitions, dg.MultiPartitionsDefinition):
        names = []
        for dimension in partitions.partitions_defs:
            assert isinstance(dimension.partitions_def, dg.DynamicPartitionsDefinition)
            assert dimension.partitions_def.name == dimension.name
            names.append(dimension.name)
        return "|".join(names)
    assert isinstance(partitions, dg.DynamicPartitionsDefinition)
    return str(partitions.name)


def test_the_graph_is_the_one_that_was_reviewed() -> None:
    graph = build_defs().resolve_asset_graph()
    found = {}
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        parents = {parent.to_user_string() for parent in node.parent_keys}
        found[key.to_user_string()] = (dimensions(node.partitions_def), parents)
    assert found == GRAPH


def test_only_mappings_that_ui_and_daemon_understand() -> None:
    """Custom mappings are treated as identity there, without a word."""
    built_in = {
        "AllPartitionMapping",
        "IdentityPartitionMapping",
        "MultiPartitionMapping",
        "MultiToSingleDimensionPartitionMapping",
    }
    graph = build_defs().resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        for parent in graph.get(key).parent_keys:
            mapping = type(graph.get_partition_mapping(key, parent))
            assert mapping.__name__ in built_in
            assert mapping.__module__.startswith("dagster.")


def test_every_asset_that_a_body_publishes_may_be_skipped_by_dagster() -> None:
    """Events come from the ledger; a required output would be shown by one of Dagster's own making."""
    for definition in build_defs().resolve_all_asset_specs():
        assert definition.skippable, definition.key
