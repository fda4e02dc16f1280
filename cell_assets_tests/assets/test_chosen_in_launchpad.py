"""What a step's config changes of an experiment's choices."""

from typing import Any

import pytest

from cell_assets.assets.choices import ExperimentChoices, StateSegmentationChoice, TrainingChoice
from cell_assets.assets.chosen_in_launchpad import ASKED, FOV_CHAIN, config_of
from cell_assets.errors import BadInputError
from cell_assets.methods.dynaclr.method import METHOD
from cell_assets.methods.dynaclr.parameters import PRESETS

BEFORE = ExperimentChoices.checked(
    {
        "fovs": {
            "segmentation": {"backend": "threshold", "channel": "mCherry"},
            "patches": {"side_px": 239},
        },
        "quality": [{"measure": "drift_um", "high": 2.0}],
        "training": {"dynaclr": {"preset": "paper", "changes": {"tau_min": 60.0, "widths": [8, 16, 32, 64]}}},
    },
    "before",
)


def test_what_is_stated_joins_what_was_chosen() -> None:
    after = ASKED["dynaclr_checkpoint"].changed(BEFORE, {"tau_min": 90.0, "max_steps": 2})
    assert after.training["dynaclr"] == TrainingChoice(
        preset="paper", changes={"tau_min": 90.0, "max_steps": 2, "widths": [8, 16, 32, 64]}
    )
    assert after.model_copy(update={"training": BEFORE.training}) == BEFORE


def test_another_preset_lets_go_of_earlier_changes() -> None:
    after = ASKED["dynaclr_checkpoint"].changed(BEFORE, {"preset": "quick", "channels": ["Phase"]})
    assert after.training["dynaclr"] == TrainingChoice(preset="quick", changes={"channels": ["Phase"]})


def test_the_same_preset_keeps_them() -> None:
    after = ASKED["dynaclr_checkpoint"].changed(BEFORE, {"preset": "paper"})
    assert after == BEFORE


def side_px(before: int | None, **given: object) -> int | None:
    """The stored side that holds after these choices of a training, where `before` held."""
    choices = ExperimentChoices.checked({"fovs": {"patches": {"side_px": before}}}, "before")
    return ASKED["dynaclr_checkpoint"].changed(choices, given).fovs.patches.side_px


def test_patches_are_to_be_as_large_as_the_chosen_training_needs_unless_somebody_chose_their_side() -> None:
    assert side_px(None, preset="paper") == 239
    assert side_px(None, preset="paper", augmentation={"scale": 0, "shear": 0}) == 183
    assert side_px(None, preset="quick") is None
    # Views may show mirrored pixels: that is quality, which a person may give away.
    assert side_px(128, preset="paper") == 128
    assert side_px(300, preset="quick") == 300


def test_a_side_smaller_than_what_the_network_sees_is_refused() -> None:
    said = (
        r"dynaclr by preset paper sees 128 px, .* patches of 127 px .* --patch-px 128, or choose side_px=239"
    )
    with pytest.raises(BadInputError, match=said):
        side_px(127, preset="paper")
    with pytest.raises(BadInputError, match=r"by preset quick sees 64 px"):
        side_px(63, tau_min=5)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_launchpad_says_which_side_each_preset_needs(preset: str) -> None:
    patches = config_of(FOV_CHAIN)["patches"].config_type
    said = patches.fields["side_px"].description
    sees, turns = PRESETS[preset].patch_side_px, METHOD.stored_side_px(PRESETS[preset])
    assert f"{preset} sees {sees} and turns within {turns}" in said


def test_fovs_manifest_and_report_change_their_own_part() -> None:
    fovs = ASKED[FOV_CHAIN].changed(BEFORE, {"segmentation": {"width_um": 10.0}, "patches": {"side_px": 64}})
    assert fovs.fovs.segmentation.channel == "mCherry"
    assert (fovs.fovs.segmentation.width_um, fovs.fovs.patches.side_px) == (10.0, 64)
    manifest = ASKED["experiment_manifest"].changed(BEFORE, {"split": {"unit": "well"}, "quality": []})
    assert manifest.split.unit == "well"
    assert (manifest.quality, len(BEFORE.quality)) == ((), 1)
    assert ASKED["experiment_manifest"].changed(BEFORE, {"split": {"seed": 3}}).quality == BEFORE.quality
    assert ASKED["dynaclr_report"].changed(BEFORE, {"n_resamples": 200}).report.n_resamples == 200


def test_the_supervised_baseline_is_asked_for_by_its_own_config() -> None:
    step = ASKED["state_segmentation"]
    first = step.changed(BEFORE, {"column": "infection_state", "preset": "paper", "max_steps": 5})
    assert first.baseline == StateSegmentationChoice(
        column="infection_state", preset="paper", changes={"max_steps": 5}
    )
    further = step.changed(first, {"depth": 2})
    assert further.baseline is not None
    assert (further.baseline.column, further.baseline.changes) == (
        "infection_state",
        {"max_steps": 5, "depth": 2},
    )
    other = step.changed(further, {"preset": "quick"})
    assert other.baseline == StateSegmentationChoice(column="infection_state", preset="quick")


def test_a_study_of_pixels_is_asked_for_by_its_own_config() -> None:
    first = ASKED["dynaclr_bleaching"].changed(BEFORE, {"most_cells": 50})
    assert first.bleaching is not None and first.bleaching.most_cells == 50
    further = ASKED["dynaclr_bleaching"].changed(first, {"seed": 3})
    assert further.bleaching is not None
    assert (further.bleaching.most_cells, further.bleaching.seed) == (50, 3)
    maps = ASKED["dynaclr_attribution"].changed(BEFORE, {"occlusion_stride": [15, 8, 8]})
    assert maps.attribution is not None and maps.attribution.occlusion_stride == (15, 8, 8)


def test_the_supervised_control_of_wells_is_asked_for_by_its_own_config() -> None:
    assert BEFORE.supervised_profiles is None
    first = ASKED["supervised_profiles"].changed(BEFORE, {"folds": 5})
    further = ASKED["supervised_profiles"].changed(first, {"seed": 2, "representations": ["mean", "fusion"]})
    chosen = further.supervised_profiles
    assert chosen is not None and (chosen.folds, chosen.seed, chosen.max_epochs) == (5, 2, 60)
    assert [one.value for one in chosen.representations] == ["mean", "fusion"]


def test_embedding_is_configured_by_method() -> None:
    first = ASKED["dynaclr_embeddings"].changed(BEFORE, {"device": "cuda", "batch_size": 512})
    assert first.embedding == {"dynaclr": {"device": "cuda", "batch_size": 512}}
    further = ASKED["dynaclr_embeddings"].changed(first, {"batch_size": 256})
    assert further.embedding == {"dynaclr": {"device": "cuda", "batch_size": 256}}
    assert first.model_copy(update={"embedding": {}}) == BEFORE


def test_a_reports_rule_is_given_to_mean_profiles_as_it_is() -> None:
    clause = {"feature": "Cells_AreaShape_Area", "side": ">", "threshold": 2.0}
    after = ASKED["mean_profiles"].changed(BEFORE, {"leave_out": [[clause]]})
    assert [[str(one) for one in each] for each in after.profiles.leave_out] == [["Cells_AreaShape_Area > 2"]]
    assert after.model_copy(update={"profiles": BEFORE.profiles}) == BEFORE


def test_features_change_their_own_part() -> None:
    after = ASKED["single_cell_features"].changed(BEFORE, {"ring_width_um": 2.0})
    assert after.features.ring_width_um == 2.0
    assert after.model_copy(update={"features": BEFORE.features}) == BEFORE


@pytest.mark.parametrize(
    ("step", "config", "said"),
    [
        ("dynaclr_checkpoint", {"tau_min": -5.0}, r"dynaclr parameter tau_min=-5\.0 cannot be used"),
        ("dynaclr_checkpoint", {"channels": ["RFP", "RFP"]}, r"channels=\['RFP', 'RFP'\].*named twice"),
        ("dynaclr_checkpoint", {"augmentation": {"shear": -1}}, r"augmentation\.shear=-1 cannot be used"),
        ("experiment_manifest", {"split": {"val_fraction": 1.5}}, r"split\.val_fraction is 1\.5"),
        ("experiment_manifest", {"split": {"val_fraction": 0.9}}, r"leave nothing to train on"),
        (
            "experiment_manifest",
            {"quality": [{"measure": "z_prime"}]},
            r"quality\.0 .*give low, high or both",
        ),
        ("dynaclr_report", {"n_resamples": 3}, r"config of dynaclr_report: report\.n_resamples is 3"),
        ("dynaclr_embeddings", {"batch_size": 0}, r"dynaclr embedding parameter batch_size=0 cannot be used"),
        ("state_segmentation", {"depth": 99}, r"state segmentation: parameter depth=99 cannot be used"),
        ("single_cell_features", {"radial_rings": 1}, r"features\.radial_rings is 1"),
        (
            "dynaclr_bleaching",
            {"remaining": [0.5]},
            r"config of dynaclr_bleaching: bleaching is .*must start with 1",
        ),
        ("supervised_profiles", {"folds": 1}, r"supervised_profiles\.folds is 1"),
        (
            "supervised_profiles",
            {"representations": ["mean", "mean"]},
            r"config of supervised_profiles: supervised_profiles is .*named twice",
        ),
        (FOV_CHAIN, {"patches": {"side_px": 0}}, r"config of fov_chain: fovs\.patches\.side_px is 0"),
    ],
)
def test_a_bad_value_is_named_with_its_field(step: str, config: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        ASKED[step].changed(BEFORE, config)


def test_states_that_say_nothing_are_recorded_beside_other_parameters_where_there_are_any() -> None:
    """Else what was made before they were recorded would no longer be current."""
    assert ExperimentChoices().recorded_unused_states() == {}
    chosen = ExperimentChoices.checked({"report": {"unused_states": ["unknown"]}}, "choices of E1")
    assert chosen.recorded_unused_states() == {"unused_states": ["unknown"]}
