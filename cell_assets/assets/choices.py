"""What people chose for an experiment: segmentation, split, training, report and quality, kept in the ledger.

`cell-assets run` records choices; every body reads them, so that a run from the Dagster UI uses the same ones.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cell_assets.errors import BadInputError
from cell_assets.evaluation.pixels.attribution_parameters import AttributionParameters
from cell_assets.evaluation.pixels.bleaching_parameters import BleachingParameters
from cell_assets.evaluation.profiling.profile_parameters import ProfileReportParameters
from cell_assets.evaluation.profiling.well_manifest import WellSplitParameters
from cell_assets.evaluation.profiling.well_representations import ProfileParameters
from cell_assets.evaluation.splits import SplitParameters
from cell_assets.evaluation.studies.study_parameters import StudyParameters
from cell_assets.imaging.features.parameters import FeatureParameters
from cell_assets.imaging.fov_chain import FovRequest
from cell_assets.imaging.quality.thresholds import Threshold
from cell_assets.ledger.ledger import Ledger
from cell_assets.ledger.records import JsonValue
from cell_assets.methods.state_segmentation.parameters import StateSegmentationParameters
from cell_assets.methods.supervised_profiles.parameters import SupervisedProfilesParameters


class TrainingChoice(BaseModel):
    """A preset of a method and what differs from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "quick"
    changes: dict[str, Any] = Field(default_factory=dict)
    """Field of the method's own parameters to its value; the method checks them."""

    def changed(self, preset: str | None, changes: Mapping[str, Any]) -> Self:
        """With another preset, which lets go of earlier changes, and further changes; None keeps the preset."""
        kept = {} if preset is not None and preset != self.preset else dict(self.changes)
        merge(kept, changes)
        return type(self)(preset=preset or self.preset, changes=kept)


class StateSegmentationChoice(BaseModel):
    """A preset of the supervised baseline, what differs from it, and what it learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str | None = None
    """Annotation column of two states; None: the only one that there is."""
    preset: str = "quick"
    changes: dict[str, Any] = Field(default_factory=dict)
    """Field of `StateSegmentationParameters` to its value."""

    def changed(self, given: Mapping[str, Any]) -> Self:
        """With those fields of the parameters; another preset lets go of earlier changes, and keeps the column."""
        preset = given.get("preset", self.preset)
        changes = {name: value for name, value in given.items() if name not in ("preset", "column")}
        kept = self.changes if preset == self.preset else {}
        return type(self)(column=given.get("column", self.column), preset=preset, changes={**kept, **changes})

    def parameters(self) -> StateSegmentationParameters:
        """The preset with its changes.

        Raises:
            BadInputError: there is no such preset or field, or a value cannot be used.
        """
        return StateSegmentationParameters.named(self.preset, {**self.changes, "column": self.column})


class ExperimentChoices(BaseModel):
    """Everything that a person may choose; the defaults hold until somebody chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fovs: FovRequest = FovRequest()
    features: FeatureParameters = FeatureParameters()
    split: SplitParameters = SplitParameters()
    well_split: WellSplitParameters = WellSplitParameters()
    """Which compounds and plates methods that profile wells do not learn from."""
    profiles: ProfileParameters = ProfileParameters()
    """How wells are profiled without learning."""
    supervised_profiles: SupervisedProfilesParameters | None = None
    """A supervised control of these that reports on profiles hold them against; None asks for none."""
    profile_report: ProfileReportParameters = ProfileReportParameters()
    """How reports on profiles of wells are made."""
    training: dict[str, TrainingChoice] = Field(default_factory=dict)
    """By method."""
    embedding: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By method: field of what decides its embeddings to its value; the method checks them."""
    baseline: StateSegmentationChoice | None = None
    """A supervised segmentation that every report is held against; None asks for none."""
    report: StudyParameters = StudyParameters()
    attribution: AttributionParameters | None = None
    """`cell-assets run` makes it where this is given; from the Dagster UI its defaults hold where it is not."""
    bleaching: BleachingParameters | None = None
    """As for attribution."""
    quality: tuple[Threshold, ...] = ()
    """What is beyond one of these is named by a check of plate_qc, and left out where the threshold says so."""

    @classmethod
    def of(cls, ledger: Ledger, experiment: str) -> Self:
        """The choices that hold for an experiment now."""
        return cls.checked(dict(ledger.choices(experiment)), f"choices of experiment {experiment}")

    @classmethod
    def checked(cls, values: dict[str, Any], where: str) -> Self:
        """Choices from JSON values.

        Raises:
            BadInputError: a field is unknown or has a value that it cannot have.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise BadInputError(f"{where}: {field} is {first['input']!r}: {first['msg']}") from error

    def record(self, ledger: Ledger, experiment: str) -> None:
        """Let these choices hold from now on."""
        ledger.record_choices(experiment, self.model_dump(mode="json"))

    def recorded_unused_states(self) -> dict[str, JsonValue]:
        """The report's choice of states that say nothing, among the recorded parameters of what else learns states.

        Empty where there are none, so that what was made before these were recorded stands.
        """
        unused = self.report.unused_states
        return {"unused_states": list(unused)} if unused else {}

    def training_of(self, method: str) -> TrainingChoice:
        """What was chosen for a method's training."""
        return self.training.get(method, TrainingChoice())


def merge(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write `changes` over `values`, level by level."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict) and key != "changes":
            merge(values[key], value)
        else:
            values[key] = value
