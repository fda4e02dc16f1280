"""Asset checks: what must hold of a published output, per partition, so that one FOV's pass hides no other's fault."""

from collections.abc import Mapping, Sequence

import dagster as dg

# Private, and so tied to the pinned version of Dagster.
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from cell_assets.assets.partitions import experiments, fovs, plates
from cell_assets.assets.recipes import AssetName
from cell_assets.audit.scrub import Coverage
from cell_assets.imaging.fov_chain import FovResult, Stage
from cell_assets.imaging.quality.breaches import HeldAgainst
from cell_assets.imaging.quality.thresholds import Action, Level, Threshold
from cell_assets.ledger.records import Commit, Number

EVERY_FRAME_HAS_CELLS = "every_frame_has_cells"
TRACKS_ARE_PLAUSIBLE = "tracks_are_plausible"
ALL_NUMBERS_COMPUTED = "all_numbers_computed"
NO_EMPTY_FRAMES = "no_empty_frames"
FRAMES_WITHIN_THRESHOLDS = "frames_within_thresholds"
PLATE_WITHIN_THRESHOLDS = "plate_within_thresholds"


NOT_WITHDRAWN = "not_withdrawn"
LEDGER_AGREES = "ledger_agrees"
BYTES_AS_PUBLISHED = "bytes_as_published"
NOTHING_IN_QUARANTINE = "nothing_in_quarantine"

_NAMED = 3
"""So many faults stand in a check's description."""
_LISTED = 200
"""So many stand in its metadata, which the UI loads with every page."""


def standing_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """Checks that every asset has, about all of its partitions at once.

    Withdrawing, `reconcile` and the nightly jobs evaluate them, and a body repeats their last word, see
    `repeat_standing_checks`.
    """
    described = {
        NOT_WITHDRAWN: "No partition's newest output is withdrawn; what is withdrawn is named with the reason.",
        LEDGER_AGREES: "Ledger, store, Dagster and MLflow tell the same; `reconcile` mends and lists.",
        BYTES_AS_PUBLISHED: "What was re-hashed is what was published, with coverage and age.",
    }
    return [
        dg.AssetCheckSpec(name, asset=str(asset), description=description)
        for name, description in described.items()
    ]


def quarantine_check_spec() -> dg.AssetCheckSpec:
    """The check of raw_acquisition that says which landed folders wait for a person; the sensor answers it too."""
    return dg.AssetCheckSpec(
        NOTHING_IN_QUARANTINE,
        asset=AssetName.RAW_ACQUISITION.value,
        description="No landed folder is in quarantine; those that are stand here with the reason.",
    )


def quarantine_check_evaluation(reasons: Mapping[str, str]) -> dg.AssetCheckEvaluation:
    """What the check says; `reasons` by folder."""
    faults = [
        reason if reason.startswith(folder) else f"{folder}: {reason}" for folder, reason in reasons.items()
    ]
    return _standing_evaluation(
        AssetName.RAW_ACQUISITION.value, NOTHING_IN_QUARANTINE, faults, dg.AssetCheckSeverity.WARN
    )


def repeat_standing_checks(
    context: dg.AssetExecutionContext, asset: str, withdrawn: Mapping[str, str]
) -> None:
    """Answer for one asset what its run planned to ask.

    Dagster plans every check of an asset with every run of it, and one that no event answers would be shown as
    skipped, whatever was found before.
    """
    key = dg.AssetKey(asset)
    context.log_event(withdrawal_check_evaluation(asset, withdrawn))
    for name in (LEDGER_AGREES, BYTES_AS_PUBLISHED):
        records = context.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, name),
            limit=1,
            status={AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED},
        )
        for record in records:
            if record.event is not None and record.event.dagster_event is not None:
                last = record.event.dagster_event.asset_check_evaluation_data
                context.log_event(
                    dg.AssetCheckEvaluation(
                        asset_key=key,
                        check_name=name,
                        passed=last.passed,
                        severity=last.severity,
                        description=last.description,
                        metadata=last.metadata,
                    )
                )


def withdrawal_check_evaluation(asset: str, withdrawn: Mapping[str, str]) -> dg.AssetCheckEvaluation:
    """What the check says of an asset; `withdrawn` is the reason by partition."""
    faults = [f"{partition}: {reason}" for partition, reason in withdrawn.items()]
    return _standing_evaluation(asset, NOT_WITHDRAWN, faults, dg.AssetCheckSeverity.WARN)


def agreement_check_evaluation(asset: str, disagreements: Sequence[str]) -> dg.AssetCheckEvaluation:
    """What is said of one asset after ledger, store, Dagster and MLflow were compared."""
    return _standing_evaluation(asset, LEDGER_AGREES, disagreements, dg.AssetCheckSeverity.ERROR)


def scrub_check_evaluation(coverage: Coverage) -> dg.AssetCheckEvaluation:
    """What re-hashing says of one asset, and how much of it that was, how long ago."""
    covered: dict[str, dg.MetadataValue] = {
        "artifacts": dg.MetadataValue.int(coverage.n_artifacts),
        "never_rehashed": dg.MetadataValue.int(coverage.n_never),
        "bytes": dg.MetadataValue.int(coverage.n_bytes),
        "bytes_found_whole": dg.MetadataValue.int(coverage.n_bytes_verified),
    }
    if coverage.oldest is not None:
        covered["oldest"] = dg.MetadataValue.timestamp(coverage.oldest.timestamp())
    severity = dg.AssetCheckSeverity.ERROR
    return _standing_evaluation(coverage.asset, BYTES_AS_PUBLISHED, coverage.damaged, severity, covered)


def first_of(faults: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "; ".join(faults[:_NAMED]) + more


def _standing_evaluation(
    asset: str,
    check: str,
    faults: Sequence[str],
    severity: dg.AssetCheckSeverity,
    metadata: Mapping[str, dg.MetadataValue] | None = None,
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=check,
        passed=not faults,
        severity=severity,
        description=first_of(faults) or None,
        metadata={
            **(metadata or {}),
            "n_faults": dg.MetadataValue.int(len(faults)),
            "faults": dg.MetadataValue.json(list(faults[:_LISTED])),
        },
    )


def fov_check_specs() -> list[dg.AssetCheckSpec]:
    """Checks of the FOV chain."""
    return [
        *(spec for stage in Stage for spec in standing_check_specs(stage.value)),
        dg.AssetCheckSpec(
            EVERY_FRAME_HAS_CELLS,
            asset=AssetName.SEGMENTATION.value,
            description="No time point is without a labelled cell.",
            partitions_def=fovs,
        ),
        dg.AssetCheckSpec(
            TRACKS_ARE_PLAUSIBLE,
            asset=AssetName.TRACKS.value,
            description="Few tracks jump, race, vanish or appear in mid-frame, or have other than two daughters.",
            partitions_def=fovs,
        ),
    ]


def fov_check_evaluations(result: FovResult, commits: Sequence[Commit]) -> list[dg.AssetCheckEvaluation]:
    """What the checks say of one finished FOV."""
    evaluations = []
    for commit in commits:
        if commit.artifact.asset == Stage.TRACKS.value:
            doubts = result.finished[Stage.TRACKS].doubts
            evaluations.append(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(AssetName.TRACKS.value),
                    check_name=TRACKS_ARE_PLAUSIBLE,
                    passed=not doubts,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"doubts": dg.MetadataValue.json(list(doubts))},
                    partition=commit.artifact.partition,
                )
            )
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


def quality_check_specs() -> list[dg.AssetCheckSpec]:
    """Checks of a plate's quality."""
    return [
        *standing_check_specs(AssetName.PLATE_QC),
        dg.AssetCheckSpec(
            NO_EMPTY_FRAMES,
            asset=AssetName.PLATE_QC.value,
            description="No frame of any FOV and channel is constant.",
            partitions_def=plates,
        ),
        dg.AssetCheckSpec(
            FRAMES_WITHIN_THRESHOLDS,
            asset=AssetName.PLATE_QC.value,
            description="No frame is beyond the experiment's thresholds of focus, signal, saturation and drift. "
            "A warning names frames; an error, frames that are left out of the experiment.",
            partitions_def=plates,
        ),
        dg.AssetCheckSpec(
            PLATE_WITHIN_THRESHOLDS,
            asset=AssetName.PLATE_QC.value,
            description="Bleaching, cell counts, flatness, edge effects and the separation of controls are within the "
            "experiment's thresholds. An error: FOVs, wells or the plate are left out of the experiment.",
            partitions_def=plates,
        ),
    ]


def quality_check_evaluations(
    plate: str, empty_frames: Sequence[str], thresholds: Sequence[Threshold], held: HeldAgainst
) -> list[dg.AssetCheckEvaluation]:
    """What the checks say of one plate; empty frames and breaches of thresholds are named."""
    return [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(AssetName.PLATE_QC.value),
            check_name=NO_EMPTY_FRAMES,
            passed=not empty_frames,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"empty_frames": dg.MetadataValue.json(list(empty_frames))},
            partition=plate,
        ),
        _threshold_evaluation(plate, FRAMES_WITHIN_THRESHOLDS, True, thresholds, held),
        _threshold_evaluation(plate, PLATE_WITHIN_THRESHOLDS, False, thresholds, held),
    ]


def _threshold_evaluation(
    plate: str, check: str, of_frames: bool, thresholds: Sequence[Threshold], held: HeldAgainst
) -> dg.AssetCheckEvaluation:
    """What is said of the thresholds of frames, or of all others; WARN unless something is left out."""

    def is_asked(threshold: Threshold) -> bool:
        return (threshold.measure.level is Level.FRAME) == of_frames

    breaches = [breach for breach in held.breaches if is_asked(breach.threshold)]
    not_told = [
        f"{threshold.title} cannot be told: {why}" for threshold, why in held.not_told if is_asked(threshold)
    ]
    named = [*not_told, *(str(breach) for breach in breaches)]
    is_left_out = any(breach.threshold.action is Action.EXCLUDE for breach in breaches)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(AssetName.PLATE_QC.value),
        check_name=check,
        passed=not named,
        severity=dg.AssetCheckSeverity.ERROR if is_left_out else dg.AssetCheckSeverity.WARN,
        description=first_of(named) or None,
        metadata={
            "thresholds": dg.MetadataValue.int(sum(map(is_asked, thresholds))),
            "n_breaches": dg.MetadataValue.int(len(breaches)),
            "breaches": dg.MetadataValue.json(named[:_LISTED]),
        },
        partition=plate,
    )


def report_check_specs(report: str) -> list[dg.AssetCheckSpec]:
    """Checks of a method's report."""
    return [
        *standing_check_specs(report),
        dg.AssetCheckSpec(
            ALL_NUMBERS_COMPUTED,
            asset=report,
            description="Every number of the report has a value; a missing one says why.",
            partitions_def=experiments,
        ),
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
