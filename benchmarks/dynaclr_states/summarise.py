"""What the runs of `run.py` come to: `summary.json`, `summary.png`, and a table for each question, in Markdown."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
INFECTED = "virus_DENV_5_MOI"

Value = tuple[float | None, float | None, float | None]
"""A value and the bounds of its 95 % interval."""

QUESTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Infection, held-out FOVs (balanced accuracy)": {
        "embedding": ("infection_state", "balanced_accuracy"),
        "gain over ratio": ("infection_state", "balanced_accuracy_gain_over_ratio_mCherry"),
        "gain over U-Net": ("infection_state", "balanced_accuracy_gain_over_state_segmentation"),
        "ratio": ("infection_state", "balanced_accuracy_ratio_mCherry"),
        "embedding, by track": ("infection_state_over_time_along_tracks", "balanced_accuracy"),
        "U-Net": ("infection_state", "balanced_accuracy_state_segmentation"),
    },
    "Infection, independent plate (balanced accuracy)": {
        "embedding": ("infection_state_independent", "balanced_accuracy"),
        "gain over ratio": ("infection_state_independent", "balanced_accuracy_gain_over_ratio_mCherry"),
        "gain over U-Net": ("infection_state_independent", "balanced_accuracy_gain_over_state_segmentation"),
        "ratio": ("infection_state_independent", "balanced_accuracy_ratio_mCherry"),
        "embedding, by track": ("infection_state_independent_over_time_along_tracks", "balanced_accuracy"),
        "U-Net": ("infection_state_independent", "balanced_accuracy_state_segmentation"),
    },
    "Clean cells called infected, held-out FOVs": {
        "in mitosis": ("infection_state_confounded", "false_infected_in_mitosis"),
        "in interphase": ("infection_state_confounded", "false_infected_not_in_mitosis"),
        "in mitosis, ratio": ("infection_state_confounded", "false_infected_in_mitosis_ratio_mCherry"),
        "in mitosis, U-Net": ("infection_state_confounded", "false_infected_in_mitosis_state_segmentation"),
    },
    "States and cells, held-out FOVs": {
        "d(τ=1)/d(τ=10)": ("temporal_smoothness", "displacement_ratio_1_to_10"),
        "the same, identity removed": ("smoothness_and_identity", "smoothness_identity_removed"),
        "effective rank": ("feature_rank", "effective_rank"),
        "kNN of state across FOVs": ("smoothness_and_identity", "state_in_other_fovs_infection_state"),
        "same cell found": ("smoothness_and_identity", "same_cell"),
        "chance": ("smoothness_and_identity", "same_cell_chance"),
    },
    "Fraction infected over time, held-out FOVs": {
        "hours covered": ("infection_state_over_time", f"intervals_with_annotated_fraction_{INFECTED}"),
        "plateau": ("infection_state_over_time", f"plateau_{INFECTED}"),
        "by track: hours covered": (
            "infection_state_over_time_along_tracks",
            f"intervals_with_annotated_fraction_{INFECTED}",
        ),
        "less mistakes: hours covered": (
            "infection_state_over_time_along_tracks_corrected",
            f"intervals_with_annotated_fraction_{INFECTED}",
        ),
        "by track: plateau": ("infection_state_over_time_along_tracks", f"plateau_{INFECTED}"),
        "less mistakes: plateau": (
            "infection_state_over_time_along_tracks_corrected",
            f"plateau_{INFECTED}",
        ),
        "annotated plateau": ("infection_state_over_time_annotated", f"plateau_{INFECTED}"),
    },
    "Fraction infected over time, independent plate": {
        "hours covered": (
            "infection_state_independent_over_time",
            f"intervals_with_annotated_fraction_{INFECTED}",
        ),
        "plateau": ("infection_state_independent_over_time", f"plateau_{INFECTED}"),
        "by track: hours covered": (
            "infection_state_independent_over_time_along_tracks",
            f"intervals_with_annotated_fraction_{INFECTED}",
        ),
        "less mistakes: hours covered": (
            "infection_state_independent_over_time_along_tracks_corrected",
            f"intervals_with_annotated_fraction_{INFECTED}",
        ),
        "by track: plateau": ("infection_state_independent_over_time_along_tracks", f"plateau_{INFECTED}"),
        "less mistakes: plateau": (
            "infection_state_independent_over_time_along_tracks_corrected",
            f"plateau_{INFECTED}",
        ),
        "annotated plateau": ("infection_state_independent_over_time_annotated", f"plateau_{INFECTED}"),
    },
    "Onset": {
        "held-out FOVs: coverage": ("infection_state_onset", "interval_coverage"),
        "half width (frames)": ("infection_state_onset", "interval_half_width_frames"),
        "median error (frames of 0.5 h)": ("infection_state_onset", "median_absolute_error_frames"),
        "independent: coverage": ("infection_state_independent_onset", "interval_coverage"),
        "half width (h)": ("infection_state_independent_onset", "interval_half_width_h"),
        "median error (h, frames of 2 h)": ("infection_state_independent_onset", "median_absolute_error_h"),
    },
    "Injected swaps, held-out FOVs": {
        "average precision": ("track_disruptions_swap", "average_precision"),
        "motion": ("track_disruptions_swap", "average_precision_motion"),
        "both": ("track_disruptions_swap", "average_precision_combined"),
        "gain of both over motion": (
            "track_disruptions_swap",
            "average_precision_gain_of_combined_over_motion",
        ),
        "precision": ("track_disruptions_swap", "precision"),
        "recall": ("track_disruptions_swap", "recall"),
        "precision, motion": ("track_disruptions_swap", "precision_motion"),
        "recall, motion": ("track_disruptions_swap", "recall_motion"),
    },
}


ATTRIBUTION = "dynaclr/attribution_infection_state"


def is_asked(number: dict[str, Any]) -> bool:
    """Whether a question asks for that number of a report."""
    if number["report"] == ATTRIBUTION:
        return True
    asked = (number["report"].removeprefix("dynaclr/"), number["name"])
    return any(asked in measures.values() for measures in QUESTIONS.values())


def main() -> None:
    runs = [json.loads(path.read_text("utf-8")) for path in sorted((HERE / "results").glob("*.json"))]
    variants = list(dict.fromkeys(run["variant"] for run in runs))
    summary: dict[str, Any] = {
        "training": {
            run["variant"]: {k: v for k, v in run["training"].items() if k != "seed"} for run in runs
        },
        "seconds": {f"{run['variant']}, seed {run['seed']}": run["seconds"] for run in runs},
        "questions": {
            question: {variant: answers(runs, variant, asked) for variant in variants}
            for question, asked in QUESTIONS.items()
        },
        "attribution": {
            str(run["seed"]): {
                name.removeprefix(f"{ATTRIBUTION}/"): one
                for name, one in found(run).items()
                if name.startswith(ATTRIBUTION)
            }
            for run in runs
            if run["variant"] == "time-and-cell-aware"
        },
    }
    (HERE / "summary.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for question, by_variant in summary["questions"].items():
        columns = list(QUESTIONS[question])
        print(f"\n### {question}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
        for variant, measured in by_variant.items():
            cells = ["<br>".join(said(one) for one in over_seeds(measured[name])) for name in columns]
            print(f"| {variant} | {' | '.join(cells)} |")
    draw(summary["questions"])


def found(run: dict[str, Any]) -> dict[str, Value]:
    """Value and interval by report and name."""
    return {
        f"{one['report']}/{one['name']}": (one["value"], one["ci_low"], one["ci_high"])
        for one in run["numbers"]
    }


def answers(
    runs: list[dict[str, Any]], variant: str, asked: dict[str, tuple[str, str]]
) -> dict[str, dict[str, Value]]:
    """By name of the measure and seed."""
    of_seed = {str(run["seed"]): found(run) for run in runs if run["variant"] == variant}
    return {
        name: {
            seed: numbers.get(f"dynaclr/{report}/{number}", (None, None, None))
            for seed, numbers in of_seed.items()
        }
        for name, (report, number) in asked.items()
    }


def over_seeds(by_seed: dict[str, Value]) -> list[Value]:
    """What is said of every seed and, where all have a value, their mean, whose interval seeds do not give."""
    values = [value for value, _, _ in by_seed.values() if value is not None]
    if len(values) < len(by_seed):
        return list(by_seed.values())
    return [*by_seed.values(), (sum(values) / len(values), None, None)]


def said(one: Value) -> str:
    value, low, high = one
    if value is None:
        return "–"
    return f"{value:.3g}" if low is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


def draw(questions: dict[str, Any]) -> None:
    """Balanced accuracy of every run beside its rivals, and what smoothness is made of."""
    plates = [name for name in questions if name.startswith("Infection, ")]
    variants = list(questions[plates[0]])
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained", sharey=True)
    for panel, plate in zip(axes[:2], plates, strict=True):
        for row, variant in enumerate(variants):
            for name, colour in (("ratio", "#d9822b"), ("U-Net", "#2f9e6e"), ("embedding", "#0b6e99")):
                points(panel, row, questions[plate][variant][name], colour, name if row == 0 else None)
        panel.set(title=plate.removeprefix("Infection, "), xlabel="balanced accuracy")
    for row, variant in enumerate(variants):
        measured = questions["States and cells, held-out FOVs"][variant]
        for name, colour in (("d(τ=1)/d(τ=10)", "#4a5568"), ("same cell found", "#b5508f")):
            points(axes[2], row, measured[name], colour, name if row == 0 else None)
    axes[2].set(title="smoothness and identity", xlabel="d(τ=1)/d(τ=10), and share of cells found again")
    axes[0].set(yticks=range(len(variants)), yticklabels=variants)
    axes[0].invert_yaxis()
    for panel in axes:
        panel.grid(axis="x", color="#e4e7eb")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes:
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
    figure.suptitle(
        "Simulated plates; three seeds, one point each, 95 % intervals over held-out FOVs or tracks"
    )
    figure.savefig(HERE / "summary.png", dpi=150)


def points(panel: Any, row: int, by_seed: dict[str, Value], colour: str, label: str | None) -> None:
    for place, (value, low, high) in enumerate(by_seed.values()):
        if value is None:
            continue
        y = row + 0.16 * (place - 1)
        if low is not None and high is not None:
            panel.plot([low, high], [y, y], color=colour, linewidth=1, alpha=0.5)
        panel.plot(value, y, "o", color=colour, markersize=4.5, label=label if place == 0 else None)


if __name__ == "__main__":
    main()
