"""build_defs(): the one place where assets, jobs, schedules, sensors and resources meet."""

import dagster as dg

from cell_assets.assets.acquisitions import plate_qc, raw_acquisition
from cell_assets.assets.annotations import annotations
from cell_assets.assets.comparisons import comparison_assets
from cell_assets.assets.corrections import track_corrections
from cell_assets.assets.experiments import experiment_manifest
from cell_assets.assets.fov_chain import fov_chain
from cell_assets.assets.manifest_patches import manifest_patches
from cell_assets.assets.mean_profiles import mean_profiles
from cell_assets.assets.methods import method_assets
from cell_assets.assets.pixel_studies import pixel_study_assets
from cell_assets.assets.profile_methods import (
    mean_profiles_report,
    profile_method_assets,
    well_manifest,
)
from cell_assets.assets.single_cell_features import single_cell_features
from cell_assets.assets.state_segmentation import state_segmentation
from cell_assets.assets.supervised_profiles import supervised_profiles
from cell_assets.automation.arrivals import arrival_job, arrivals_sensor
from cell_assets.automation.following import follow_through
from cell_assets.automation.nightly import nightly_schedules
from cell_assets.automation.retention import retention_schedule
from cell_assets.resources.lab import retention_resource, store_resource, workers_resource
from cell_assets.resources.mlflow_registry import registry_resource
from cell_assets.resources.progress import ProgressDisplay, progress_resource
from cell_assets.settings import Executor, Settings
from cell_assets.store.boundaries import Observer, unobserved


def build_defs(
    settings: Settings | None = None,
    observer: Observer = unobserved,
    display: ProgressDisplay = ProgressDisplay.LOG,
) -> dg.Definitions:
    """Fresh definitions; a database address is asked for only when something runs.

    Args:
        observer: told of every write boundary; tests stop a process there.

    Raises:
        BadInputError: steps are to be pods, and could not reach database or store.
    """
    settings = settings or Settings()
    assets = _assets()
    executor = dg.in_process_executor
    if settings.executor is Executor.K8S:
        # Its packages are needed, and take their time to load, where Kubernetes is used.
        from cell_assets.automation.kubernetes import kubernetes_of, pod_executor
        from cell_assets.automation.pods import in_pods

        kubernetes = kubernetes_of(settings)
        assets = [in_pods(asset, kubernetes) for asset in assets]
        executor = pod_executor(kubernetes, settings.home)
    return dg.Definitions(
        assets=assets,
        jobs=[arrival_job],
        schedules=[*nightly_schedules(), retention_schedule()],
        sensors=[arrivals_sensor(settings), follow_through],
        resources={
            "store": store_resource(settings, observer),
            "models": registry_resource(settings),
            "progress": progress_resource(display),
            "workers": workers_resource(settings),
            "retention": retention_resource(settings),
        },
        executor=executor,
    )


def _assets() -> list[dg.AssetsDefinition]:
    return [
        raw_acquisition,
        plate_qc,
        track_corrections,
        fov_chain,
        annotations,
        single_cell_features,
        experiment_manifest,
        manifest_patches,
        state_segmentation,
        *method_assets(),
        *comparison_assets(),
        *pixel_study_assets(),
        mean_profiles,
        supervised_profiles,
        mean_profiles_report,
        well_manifest,
        *profile_method_assets(),
    ]


defs = build_defs()
