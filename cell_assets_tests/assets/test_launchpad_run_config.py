"""What a person types into the Launchpad, held by Dagster against the config schema of the real definitions."""

import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import ConfigTypeKind

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.chosen_in_launchpad import ASKED
from cell_assets.definitions import defs


def all_steps() -> dict[str, dg.AssetsDefinition]:
    """Steps that make an asset and ask for config, by their name in a run's config; of others Dagster says Any.

    Sorted, since the asset graph's own order changes between processes and workers must collect the same tests.
    """
    found = {}
    for asset in defs.resolve_asset_graph().assets_defs:
        schema = asset.op.config_schema if asset.is_executable else None
        if schema is not None and schema.config_type.kind is not ConfigTypeKind.ANY:
            found[asset.op.name] = asset
    return dict(sorted(found.items()))


STEPS = all_steps()
SCALARS = {"String", "Int", "Float", "Bool"}
GENERATED = re.compile(
    r"(At least|More than|At most|Less than) [^ ]+(, (at most|less than) [^ ]+)?\.|One of [^.]+\.|Default: [^ ]+\.$"
)
"""What `assets.launchpad` says of any field, which is not yet what it means."""


def untyped(config_type: Any, place: str) -> Iterator[str]:
    """Places at or below `place` that take anything, or whose fields nobody describes."""
    match config_type.kind:
        case ConfigTypeKind.STRICT_SHAPE:
            for name, field in config_type.fields.items():
                if not GENERATED.sub("", field.description or "").strip():
                    yield f"{place}.{name} is not described"
                yield from untyped(field.config_type, f"{place}.{name}")
        case ConfigTypeKind.ARRAY | ConfigTypeKind.NONEABLE:
            yield from untyped(config_type.inner_type, place)
        case ConfigTypeKind.MAP:
            yield from untyped(config_type.inner_type, f"{place}.*")
        case ConfigTypeKind.ENUM:
            if not config_type.config_values:
                yield f"{place} has nothing to choose from"
        case ConfigTypeKind.SCALAR if config_type.given_name in SCALARS:
            return
        case kind:
            yield f"{place} is {kind.name} {config_type.given_name}, which says nothing of what it takes"


def validated(config: str) -> dict[str, Any]:
    """The config of the one step that YAML states, as the step gets it.

    Raises:
        dg.DagsterInvalidConfigError: as in the Launchpad.
    """
    typed = yaml.safe_load(config)
    (step,) = typed["ops"]
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(STEPS[step].keys))
    return dict(dg.validate_run_config(job, typed)["ops"][step]["config"])


def test_every_step_with_choices_is_among_them() -> None:
    assert set(ASKED) < set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_every_field_of_a_step_has_a_type_and_a_description(step: str) -> None:
    assert list(untyped(STEPS[step].op.config_schema.config_type, step)) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_misspelt_field_is_refused_by_name(step: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "mispelt"'):
        validated(f"ops: {{{step}: {{config: {{mispelt: 1}}}}}}")


TYPED = [
    pytest.param(
        """
ops:
  dynaclr_attribution:
    config:
      occlusion_stride: [15, 8, 8]
""",
        lambda chosen: chosen.attribution.occlusion_stride == (15, 8, 8),
        id="attribution",
    ),
    pytest.param(
        """
ops:
  dynaclr_bleaching:
    config:
      most_cells: 50
      remaining: [1, 0.5]
""",
        lambda chosen: (chosen.bleaching.most_cells, chosen.bleaching.remaining) == (50, (1.0, 0.5)),
        id="bleaching",
    ),
    pytest.param(
        """
ops:
  dynaclr_report:
    config:
      independent_plates: [P7, P8]
      n_resamples: 200
""",
        lambda chosen: (chosen.report.independent_plates, chosen.report.n_resamples) == (("P7", "P8"), 200),
        id="report with independent plates",
    ),
    pytest.param(
        """
ops:
  cytosummary_checkpoint:
    config:
      preset: quick
      positives: across-plates
      conditioning: whitened by controls
      sets: {mean_cells: 300}
""",
        lambda chosen: (
            chosen.training["cytosummary"].preset == "quick"
            and chosen.training["cytosummary"].changes
            == {
                "positives": "across-plates",
                "conditioning": "whitened by controls",
                "sets": {"mean_cells": 300},
            }
        ),
        id="cytosummary checkpoint",
    ),
    pytest.param(
        """
ops:
  supervised_profiles:
    config:
      folds: 5
      representations: [mean, fusion]
""",
        lambda chosen: (
            chosen.supervised_profiles.folds == 5
            and [one.value for one in chosen.supervised_profiles.representations] == ["mean", "fusion"]
        ),
        id="supervised profiles",
    ),
    pytest.param(
        """
ops:
  cytosummary_report:
    config:
      study: {n_resamples: 200}
      selection: {steps: [drop_na_columns]}
""",
        lambda chosen: (
            chosen.profile_report.study.n_resamples == 200
            and [one.value for one in chosen.profile_report.selection.steps] == ["drop_na_columns"]
        ),
        id="cytosummary report",
    ),
]


@pytest.mark.parametrize(("config", "holds"), TYPED)
def test_what_a_person_types_becomes_the_steps_parameters(config: str, holds: Any) -> None:
    (step,) = yaml.safe_load(config)["ops"]
    assert holds(ASKED[step].changed(ExperimentChoices(), validated(config)))


@pytest.mark.parametrize(
    ("step", "config", "wrong"),
    [
        ("dynaclr_checkpoint", "strategy: time-aware", "strategy"),
        ("cytosummary_checkpoint", "positives: between-plates", "positives"),
        ("supervised_profiles", "representations: [average]", "representations"),
        ("cytosummary_checkpoint", "sets: {mean_cell: 300}", "mean_cell"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(step: str, config: str, wrong: str) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=wrong):
        validated(f"ops: {{{step}: {{config: {{{config}}}}}}}")
