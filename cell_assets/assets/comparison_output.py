"""The comparison of an experiment's trainings as it would be made now: their newest reports. No Dagster here."""

from dataclasses import dataclass

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.inputs import ReadArtifact
from cell_assets.assets.recipes import AssetName, checkpoint_name, comparison_name, report_name
from cell_assets.errors import NotFoundError
from cell_assets.evaluation.studies.comparison_parameters import ComparisonParameters
from cell_assets.ledger.records import Artifact, ArtifactState, JsonValue, Provenance, RunOutcome
from cell_assets.store.store import Store


@dataclass(frozen=True)
class ComparedTraining:
    """The newest report of one training."""

    report: ReadArtifact
    parameters: dict[str, JsonValue]
    """What it was trained with."""


@dataclass(frozen=True)
class ComparisonOutput(ExperimentOutput):
    """Trainings of the manifest that stands, in the order in which they were first reported."""

    trainings: tuple[ComparedTraining, ...]
    n_of_other_manifests: int
    """Trainings that are left out, because they are of an earlier manifest: other cells, or another split."""
    settings: ComparisonParameters


def comparison_output(store: Store, method: str, experiment: str) -> ComparisonOutput:
    """Of every training, the newest report.

    Raises:
        NotFoundError: nothing has been reported.
    """
    asset = report_name(method)
    made = [
        run
        for run in store.ledger.attempts(asset, experiment)
        if run.outcome is RunOutcome.SUCCEEDED and run.artifact_id is not None
    ]
    reports = store.ledger.provenances([run.id for run in made])
    if not reports:
        raise NotFoundError(f"{asset} of {experiment} has not been made yet; make it first")
    newest: dict[int, Provenance] = {}
    for one in reports:
        if one.artifact.state is ArtifactState.PRESENT:
            newest[_input(one, checkpoint_name(method)).id] = one
    manifest = _input(reports[-1], AssetName.EXPERIMENT_MANIFEST).id
    compared = {
        checkpoint: one
        for checkpoint, one in newest.items()
        if _input(one, AssetName.EXPERIMENT_MANIFEST).id == manifest
    }
    trained = {run.artifact_id: run for run in store.ledger.runs_of(compared)}
    trainings = []
    for checkpoint, one in compared.items():
        read = store.read_artifact(one.artifact.id)
        trainings.append(
            ComparedTraining(ReadArtifact(read.path, read.receipt), dict(trained[checkpoint].parameters))
        )
    study = ExperimentChoices.of(store.ledger, experiment).report
    settings = ComparisonParameters(
        seed=study.seed,
        n_resamples=study.n_resamples,
        reports=tuple(one.report.receipt.digest for one in trainings),
        trainings=tuple(one.parameters for one in trainings),
    )
    return ComparisonOutput(
        comparison_name(method),
        experiment,
        experiment,
        settings.model_dump(mode="json"),
        tuple(one.report.receipt for one in trainings),
        tuple(trainings),
        len(newest) - len(compared),
        settings,
    )


def _input(report: Provenance, asset: str) -> Artifact:
    """The one input of that asset."""
    return next(one for one in report.inputs if one.asset == str(asset))
