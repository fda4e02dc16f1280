"""Asset checks: what must hold of a published output, per partition, so that one FOV's pass hides no other's fault."""

from collections.abc import Sequence

import dagster as dg

from cell_assets.assets.partitions import experiments, fovs, plates
from cell_assets.assets.recipes import AssetName
from cell_assets.imaging.fov_chain import FovResult, Stage
from cell_assets.ledger.records import Commit, Number

EVERY_FRAME_HAS_CELLS = "every_frame_has_cells"
ALL_NUMBERS_COMPUTED = "all_numbers_computed"
NO_EMPTY_FRAMES = "no_empty_frames"


def fov_check_specs() -> list[dg.AssetCheckSpec]:
    """Checks of the FOV chain."""
    return [
        dg.AssetCheckSpec(
            EVERY_FRAME_HAS_CELLS,
            asset=AssetName.SEGMENTATION.value,
            description="No time point is without a labelled cell.",
            partitions_def=fovs,
        )
    ]


def fov_check_evaluations(result: FovResult, commits: Sequence[Commit]) -> list[dg.AssetCheckEvaluation]:
    """What the checks say of one finished FOV."""
    evaluations = []
    for commit in commits:
        if commit.artifact.asset != Stage.SEGMENTATION.value:
            continue
        empty = result.finished[Stage.SEGMENTATION].empty_frames
        evaluations.append(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(AssetName.SEGMENTATION.value),
                check_name=EVERY_FRAME_HAS_CELLS,
                passed=not empty,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"empty_time_points": dg.MetadataValue.json(list(empty))},
                partition=commit.artifact.partition,
            )
        )
    return evaluations


def quality_check_spec() -> dg.AssetCheckSpec:
    """Check of a plate's quality."""
    return dg.AssetCheckSpec(
        NO_EMPTY_FRAMES,
        asset=AssetName.PLATE_QC.value,
        description="No frame of any FOV and channel is constant.",
        partitions_def=plates,
    )


def quality_check_evaluation(plate: str, empty_frames: Sequence[str]) -> dg.AssetCheckEvaluation:
    """What the check says of one plate; `empty_frames` names each."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(AssetName.PLATE_QC.value),
        check_name=NO_EMPTY_FRAMES,
        passed=not empty_frames,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"empty_frames": dg.MetadataValue.json(list(empty_frames))},
        partition=plate,
    )


def report_check_specs(report: str) -> list[dg.AssetCheckSpec]:
    """Checks of a method's report."""
    return [
        dg.AssetCheckSpec(
            ALL_NUMBERS_COMPUTED,
            asset=report,
            description="Every number of the report has a value; a missing one says why.",
            partitions_def=experiments,
        )
    ]


def report_check_evaluations(
    report: str, experiment: str, numbers: Sequence[Number]
) -> list[dg.AssetCheckEvaluation]:
    """What the checks say of one report."""
    missing = [
        f"{number.draft.report}/{number.draft.name}: {number.draft.why_missing}"
        for number in numbers
        if number.draft.value is None
    ]
    return [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(report),
            check_name=ALL_NUMBERS_COMPUTED,
            passed=not missing,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"missing": dg.MetadataValue.json(missing)},
            partition=experiment,
        )
    ]
