"""`<method>_attribution`, `<method>_bleaching`: studies that go from a report's probes back to the pixels.

They are optional parts of the method contract, made by one factory for every method that offers them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from cell_assets.assets.attribution_output import attribution_output
from cell_assets.assets.bleaching_output import bleaching_output
from cell_assets.assets.checks import report_check_specs
from cell_assets.assets.chosen_in_launchpad import LAUNCHPAD_NOTE, config_of, take_choices
from cell_assets.assets.experiment_outputs import ExperimentOutput
from cell_assets.assets.methods import shown
from cell_assets.assets.partitions import experiments
from cell_assets.assets.publishing import Written
from cell_assets.assets.recipes import attribution_name, bleaching_name
from cell_assets.assets.report_publishing import publish_report
from cell_assets.assets.specs import asset_spec
from cell_assets.assets.steps import StepResults, begin, finished
from cell_assets.ledger.records import NumberDraft
from cell_assets.methods.contract import ProgressSink
from cell_assets.methods.registry import ENTRIES, MethodEntry
from cell_assets.resources.progress import Progress, ProgressDisplay
from cell_assets.store.store import Store

Writer = Callable[[Path, ProgressSink], tuple[NumberDraft, ...]]
"""Writes a study into a folder; gives the numbers that its page states."""


@dataclass(frozen=True)
class _Planned:
    """A study as it would be made now."""

    output: ExperimentOutput
    write: Writer


@dataclass(frozen=True)
class _Study:
    """What tells one kind of study from another."""

    name: str
    about: str
    doing: str
    """Title of its progress bar."""
    plan: Callable[[Store, str], _Planned]
    """Of an experiment."""


def pixel_study_assets() -> list[dg.AssetsDefinition]:
    """Of all methods that offer them."""
    return [
        _study_asset(entry, study)
        for entry in ENTRIES
        for offered, study in (
            (entry.attributable, _attribution(entry)),
            (entry.bleachable, _bleaching(entry)),
        )
        if offered
    ]


def _attribution(entry: MethodEntry) -> _Study:
    """Attribution maps of test cells, sanity checks as numbers, figures and a page."""

    def plan(store: Store, experiment: str) -> _Planned:
        # The writers import torch, which the definitions do without.
        from cell_assets.assets.attribution_pages import write_attribution

        output = attribution_output(store, entry.name, experiment)
        return _Planned(
            output,
            lambda out, progress: write_attribution(
                out, entry.name, entry.title, experiment, output, progress
            ),
        )

    return _Study(
        attribution_name(entry.name),
        "Which pixels decide what the report's probes say: occlusion and integrated gradients of test cells, with "
        "sanity checks. Made from here, or by `cell-assets run` where a choice asks for it.",
        "attributing",
        plan,
    )


def _bleaching(entry: MethodEntry) -> _Study:
    """Dimmed test cells: what the probes lose and how far embeddings move, as numbers, a figure and a page."""

    def plan(store: Store, experiment: str) -> _Planned:
        from cell_assets.assets.bleaching_pages import write_bleaching

        output = bleaching_output(store, entry.name, experiment)
        return _Planned(
            output,
            lambda out, progress: write_bleaching(out, entry.name, entry.title, experiment, output, progress),
        )

    return _Study(
        bleaching_name(entry.name),
        "How far photobleaching misleads the report's probes: test cells with shares of their light, and the noise of "
        "fewer photons. Made from here, or by `cell-assets run` where a choice asks for it.",
        "dimming cells of",
        plan,
    )


def _study_asset(entry: MethodEntry, study: _Study) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=study.name,
        specs=[asset_spec(study.name, entry.name, f"{study.about} {LAUNCHPAD_NOTE}", {"pytorch", "html"})],
        partitions_def=experiments,
        can_subset=True,
        check_specs=report_check_specs(study.name),
        config_schema=config_of(study.name),
    )
    def pixel_study(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        progress: dg.ResourceParam[ProgressDisplay],
    ) -> StepResults:
        begin(context, store)
        experiment = context.partition_key
        take_choices(context, store, [experiment])
        planned = study.plan(store, experiment)

        def write(out: Path) -> Written:
            with Progress(context, progress, f"{study.doing} {experiment}", 0) as bar:
                return Written(planned.write(out, shown(bar)))

        publish_report(context, store, planned.output, write)
        yield finished(context, store, study.name)

    return pixel_study
