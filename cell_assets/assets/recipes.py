"""What makes each asset: the format it is published in and the code that decides its bytes."""

from dataclasses import dataclass
from enum import StrEnum

from cell_assets.methods.registry import CELL_METHODS, WELL_METHODS
from cell_assets.store.store import FormatName


class AssetName(StrEnum):
    """The assets that every experiment has; each method adds its own."""

    RAW_ACQUISITION = "raw_acquisition"
    PLATE_QC = "plate_qc"
    SEGMENTATION = "segmentation"
    TRACK_CORRECTIONS = "track_corrections"
    TRACKS = "tracks"
    ANNOTATIONS = "annotations"
    PATCH_TABLE = "patch_table"
    SINGLE_CELL_FEATURES = "single_cell_features"
    MEAN_PROFILES = "mean_profiles"
    SUPERVISED_PROFILES = "supervised_profiles"
    WELL_MANIFEST = "well_manifest"
    MEAN_PROFILES_REPORT = "mean_profiles_report"
    EXPERIMENT_MANIFEST = "experiment_manifest"
    MANIFEST_PATCHES = "manifest_patches"
    STATE_SEGMENTATION = "state_segmentation"


def checkpoint_name(method: str) -> str:
    """Name of a method's checkpoint asset."""
    return f"{method}_checkpoint"


def embeddings_name(method: str) -> str:
    """Name of a method's embeddings asset."""
    return f"{method}_embeddings"


def profiles_name(method: str) -> str:
    """Name of the asset that holds a method's profiles of wells."""
    return f"{method}_profiles"


def report_name(method: str) -> str:
    """Name of a method's report asset."""
    return f"{method}_report"


def attribution_name(method: str) -> str:
    """Name of a method's attribution asset."""
    return f"{method}_attribution"


def bleaching_name(method: str) -> str:
    """Name of the asset that tells a method's tolerance to photobleaching."""
    return f"{method}_bleaching"


def comparison_name(method: str) -> str:
    """Name of the asset that holds an experiment's trainings of a method against each other."""
    return f"{method}_comparison"


@dataclass(frozen=True)
class Recipe:
    """How one asset is made, apart from its parameters."""

    asset: str
    format: FormatName
    code: tuple[str, ...]
    """Modules and packages whose source decides the output's bytes; their digest is the code version."""
    can_be_made_again: bool = False
    """Whether plain copying and whole-number work make the same bytes from the store alone, on any machine. Only
    such bytes are ever evicted; tracks are small and stay, so that patches can always be cut anew."""


_IMAGING = "cell_assets.imaging"
_FILES = (
    f"{_IMAGING}.acquisition",
    f"{_IMAGING}.fov_chain",
    f"{_IMAGING}.fields_of_view",
    f"{_IMAGING}.channels",
    f"{_IMAGING}.label_geometry",
    f"{_IMAGING}.label_store",
    f"{_IMAGING}.parquet_tables",
    f"{_IMAGING}.workers",
)

_MANIFEST = ("cell_assets.evaluation.manifest", "cell_assets.evaluation.exclusions")
"""Which cell images may be used, and for what."""

_DISTRIBUTED = "cell_assets.methods.distributed"
"""How a batch is shared by several devices, which decides what is learned from it."""

_PROFILE_REPORT = (
    "cell_assets.evaluation.profiling",
    "cell_assets.evaluation.retrieval",
    "cell_assets.evaluation.resampling",
    "cell_assets.reporting",
    "cell_assets.assets.profile_report_pages",
    "cell_assets.assets.profile_costs",
)
_METHOD_PROFILE_REPORT = (
    *_PROFILE_REPORT,
    "cell_assets.assets.relevant_cell_pictures",
    "cell_assets.assets.component_ends",
    "cell_assets.evaluation.features.feature_correlation",
    f"{_IMAGING}.feature_tables",
    f"{_IMAGING}.patch_reading",
    f"{_IMAGING}.patches",
)
"""With the relevance of cells, which are shown."""

_SHARED: tuple[Recipe, ...] = (
    Recipe(
        AssetName.RAW_ACQUISITION,
        FormatName("cell_assets.acquisition", "1"),
        (
            f"{_IMAGING}.ingest",
            f"{_IMAGING}.readers",
            f"{_IMAGING}.acquisition",
            f"{_IMAGING}.ome_zarr_plate",
            f"{_IMAGING}.ome_zarr_labels",
            f"{_IMAGING}.source_position",
            f"{_IMAGING}.pixel_digest",
            f"{_IMAGING}.plate_map",
            f"{_IMAGING}.track_files",
            f"{_IMAGING}.geff_files",
            f"{_IMAGING}.track_tables",
        ),
    ),
    Recipe(
        AssetName.PLATE_QC,
        FormatName("cell_assets.plate_quality", "2"),
        (
            f"{_IMAGING}.quality",
            f"{_IMAGING}.histograms",
            f"{_IMAGING}.parquet_tables",
            "cell_assets.reporting.plate_heat_map",
            "cell_assets.reporting.style",
        ),
    ),
    Recipe(
        AssetName.SEGMENTATION,
        FormatName("cell_assets.segmentation", "1"),
        (*_FILES, f"{_IMAGING}.segmentation", f"{_IMAGING}.threshold_segmentation"),
        can_be_made_again=True,
    ),
    Recipe(
        AssetName.TRACK_CORRECTIONS,
        FormatName("cell_assets.track_corrections", "1"),
        (
            f"{_IMAGING}.correction_history",
            f"{_IMAGING}.track_corrections",
            f"{_IMAGING}.track_files",
            f"{_IMAGING}.geff_files",
            f"{_IMAGING}.track_tables",
            f"{_IMAGING}.parquet_tables",
        ),
    ),
    Recipe(
        AssetName.TRACKS,
        FormatName("cell_assets.tracks", "2"),
        (
            *_FILES,
            f"{_IMAGING}.tracking",
            f"{_IMAGING}.track_tables",
            f"{_IMAGING}.ultrack_tracking",
            f"{_IMAGING}.ultrack_parameters",
            f"{_IMAGING}.track_quality",
            f"{_IMAGING}.correction_history",
            f"{_IMAGING}.track_corrections",
            f"{_IMAGING}.laptrack_tracking",
            f"{_IMAGING}.laptrack_parameters",
            f"{_IMAGING}.threshold_segmentation",
            f"{_IMAGING}.motion",
        ),
    ),
    Recipe(
        AssetName.ANNOTATIONS,
        FormatName("cell_assets.annotations", "2"),
        (
            f"{_IMAGING}.annotations",
            f"{_IMAGING}.annotation_files",
            f"{_IMAGING}.annotation_images",
            f"{_IMAGING}.annotation_joining",
            f"{_IMAGING}.annotation_history",
            f"{_IMAGING}.track_files",
            f"{_IMAGING}.parquet_tables",
        ),
    ),
    Recipe(
        AssetName.PATCH_TABLE,
        FormatName("cell_assets.patch_table", "1"),
        (*_FILES, f"{_IMAGING}.patches", f"{_IMAGING}.normalisation"),
        can_be_made_again=True,
    ),
    Recipe(
        AssetName.SINGLE_CELL_FEATURES,
        FormatName("cell_assets.single_cell_features", "1"),
        (*_FILES, f"{_IMAGING}.features", f"{_IMAGING}.feature_tables", f"{_IMAGING}.plate_map"),
    ),
    Recipe(
        AssetName.MEAN_PROFILES,
        FormatName("cell_assets.mean_profiles", "1"),
        ("cell_assets.evaluation.profiling", f"{_IMAGING}.feature_tables", f"{_IMAGING}.plate_map"),
    ),
    Recipe(
        AssetName.SUPERVISED_PROFILES,
        FormatName("cell_assets.supervised_profiles", "1"),
        (
            "cell_assets.methods.supervised_profiles",
            "cell_assets.methods.cytosummary",
            "cell_assets.evaluation.profiling.learned_doses",
            "cell_assets.evaluation.profiling.mean_profiles",
            "cell_assets.evaluation.profiling.profile_selection",
            "cell_assets.evaluation.profiling.supervised_profiles",
            "cell_assets.evaluation.profiling.well_manifest",
            "cell_assets.evaluation.retrieval",
            f"{_IMAGING}.parquet_tables",
        ),
    ),
    Recipe(AssetName.MEAN_PROFILES_REPORT, FormatName("cell_assets.profile_report", "1"), _PROFILE_REPORT),
    Recipe(
        AssetName.WELL_MANIFEST,
        FormatName("cell_assets.well_manifest", "2"),
        (
            "cell_assets.evaluation.profiling.learned_doses",
            "cell_assets.evaluation.profiling.well_manifest",
            "cell_assets.evaluation.profiling.well_leakage",
            f"{_IMAGING}.parquet_tables",
        ),
    ),
    Recipe(
        AssetName.EXPERIMENT_MANIFEST,
        FormatName("cell_assets.experiment_manifest", "2"),
        (*_MANIFEST, "cell_assets.evaluation.splits", f"{_IMAGING}.quality.breaches"),
    ),
    Recipe(
        AssetName.MANIFEST_PATCHES,
        FormatName("cell_assets.kept_patches", "1"),
        (
            f"{_IMAGING}.kept_patches",
            f"{_IMAGING}.patches",
            f"{_IMAGING}.patch_reading",
            f"{_IMAGING}.patch_store",
            f"{_IMAGING}.acquisition",
            *_MANIFEST,
        ),
        can_be_made_again=True,
    ),
    Recipe(
        AssetName.STATE_SEGMENTATION,
        FormatName("cell_assets.state_segmentation", "1"),
        (
            "cell_assets.methods.state_segmentation",
            *_MANIFEST,
            "cell_assets.evaluation.scores.annotated_states",
            "cell_assets.evaluation.scores.predicted_states",
            f"{_IMAGING}.annotation_history",
            f"{_IMAGING}.label_store",
            f"{_IMAGING}.parquet_tables",
        ),
    ),
)


def _method_recipes(method: str) -> tuple[Recipe, ...]:
    room = f"cell_assets.methods.{method}"
    return (
        Recipe(
            checkpoint_name(method),
            FormatName(f"cell_assets.{method}.checkpoint", "1"),
            (room, _DISTRIBUTED, *_MANIFEST),
        ),
        Recipe(
            embeddings_name(method),
            FormatName("cell_assets.embeddings", "1"),
            (room, *_MANIFEST, "cell_assets.evaluation.umap_axes"),
        ),
        Recipe(
            report_name(method),
            FormatName("cell_assets.report", "1"),
            (
                "cell_assets.evaluation",
                "cell_assets.reporting",
                "cell_assets.assets.report_pages",
                "cell_assets.assets.component_ends",
                "cell_assets.assets.track_pictures",
                f"{_IMAGING}.annotation_history",
            ),
        ),
        Recipe(
            comparison_name(method),
            FormatName("cell_assets.comparison", "1"),
            (
                "cell_assets.evaluation",
                "cell_assets.reporting",
                "cell_assets.assets.comparison_pages",
            ),
        ),
    )


def _profile_method_recipes(method: str) -> tuple[Recipe, ...]:
    code = (
        f"cell_assets.methods.{method}",
        f"{_IMAGING}.feature_tables",
        "cell_assets.evaluation.profiling.well_manifest",
        "cell_assets.evaluation.profiling.relevance_table",
    )
    return (
        Recipe(
            checkpoint_name(method),
            FormatName(f"cell_assets.{method}.checkpoint", "1"),
            (*code, _DISTRIBUTED),
        ),
        Recipe(profiles_name(method), FormatName("cell_assets.profiles", "1"), code),
        Recipe(report_name(method), FormatName("cell_assets.profile_report", "1"), _METHOD_PROFILE_REPORT),
    )


def _attribution_recipe(method: str) -> Recipe:
    return Recipe(
        attribution_name(method),
        FormatName("cell_assets.attribution", "1"),
        (
            f"cell_assets.methods.{method}",
            "cell_assets.methods.attribution",
            "cell_assets.evaluation",
            "cell_assets.reporting",
            "cell_assets.assets.attribution_pages",
            f"{_IMAGING}.annotation_history",
            f"{_IMAGING}.cell_masks",
            f"{_IMAGING}.label_store",
            f"{_IMAGING}.patch_reading",
            f"{_IMAGING}.patches",
        ),
    )


def _bleaching_recipe(method: str) -> Recipe:
    return Recipe(
        bleaching_name(method),
        FormatName("cell_assets.bleaching", "1"),
        (
            f"cell_assets.methods.{method}",
            "cell_assets.evaluation",
            "cell_assets.reporting",
            "cell_assets.assets.bleaching_pages",
            f"{_IMAGING}.annotation_history",
            f"{_IMAGING}.patch_reading",
            f"{_IMAGING}.patches",
        ),
    )


RECIPES: dict[str, Recipe] = {
    str(recipe.asset): recipe
    for recipe in (
        *_SHARED,
        *(recipe for entry in CELL_METHODS for recipe in _method_recipes(entry.name)),
        *(recipe for entry in WELL_METHODS for recipe in _profile_method_recipes(entry.name)),
        *(_attribution_recipe(entry.name) for entry in CELL_METHODS if entry.attributable),
        *(_bleaching_recipe(entry.name) for entry in CELL_METHODS if entry.bleachable),
    )
}
"""Every asset's recipe, by asset name."""
