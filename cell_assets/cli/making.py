"""Commands that bring plates in and make what rests on them."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON, EXPERIMENT, absolute_text, integers, json_object, pixel_size


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@EXPERIMENT
@click.option("--plate", required=True, metavar="P", help="Name of the plate; one name, one set of bytes.")
@click.option(
    "--format",
    "source_format",
    default="auto",
    show_default=True,
    help="auto, ome-zarr, ome-tiff, tiff-folder, micro-manager, ndtiff or ctc.",
)
@click.option(
    "--pattern",
    metavar="TEMPLATE",
    help="Names of TIFFs: {well} or {row} and {column}, {fov}, {channel}, {t}, {z}, and * for what says nothing.",
)
@click.option(
    "--labels", metavar="NAME", help="Which label image outlines the cells, where OME-Zarr has several."
)
@click.option(
    "--plate-map", type=click.Path(path_type=Path), help="CSV: well, compound|gene|guide|virus, dose or moi …"
)
@click.option(
    "--tracks", type=click.Path(path_type=Path), help="Folder with one track table (CSV, GEFF) per FOV."
)
@click.option(
    "--states", type=click.Path(path_type=Path), help="CSV: fov_name, track_id, t and one column per state."
)
@click.option("--channel-names", metavar="A,B", help="For sources that name none.")
@click.option("--pixel-size-um", metavar="Y,X", help="For sources that carry none, in micrometres.")
@click.option("--z-step-um", type=float, help="For stacks that carry none, in micrometres.")
@click.option("--interval-min", type=float, help="For movies that carry none, in minutes.")
@click.option(
    "--plan", "only_plan", is_flag=True, help="Check everything but pixels, say the size, and stop."
)
@AS_JSON
def ingest(
    source: Path,
    experiment: str,
    plate: str,
    source_format: str,
    pattern: str | None,
    labels: str | None,
    plate_map: Path | None,
    tracks: Path | None,
    states: Path | None,
    channel_names: str | None,
    pixel_size_um: str | None,
    z_step_um: float | None,
    interval_min: float | None,
    only_plan: bool,
    as_json: bool,
) -> None:
    """Copy a plate into the store, pixel for pixel, and measure its quality.

    \b
    Example:
      cell-assets ingest /data/ctc_ecoli --format ctc --experiment E1 --plate P1 \\
        --channel-names Phase --pixel-size-um 0.065,0.065 --interval-min 5
      cell-assets ingest /data/plate1 --pattern '{well}_{fov}_{channel}.tif' --experiment E1 --plate P2 \\
        --pixel-size-um 0.65,0.65
    """
    from cell_assets.assets.ingest_request import IngestRequest
    from cell_assets.automation.ingesting import ingest_plate, plan_ingest

    request = IngestRequest(
        source=str(source.absolute()),
        experiment=experiment,
        plate=plate,
        format=source_format,
        pattern=pattern,
        labels=labels,
        plate_map=absolute_text(plate_map),
        tracks=absolute_text(tracks),
        states=absolute_text(states),
        channel_names=None if channel_names is None else tuple(channel_names.split(",")),
        pixel_size_um=None if pixel_size_um is None else pixel_size(pixel_size_um),
        z_step_um=z_step_um,
        interval_min=interval_min,
    )
    with open_lab() as session:
        cost = plan_ingest(session, request)
        click.echo(cost.text(), err=True)
        if only_plan:
            click.echo(cost.model_dump_json(indent=1) if as_json else "", nl=as_json)
            return
        result = ingest_plate(session, request)
    click.echo(result.model_dump_json(indent=1) if as_json else result.sentence())


@click.command()
@EXPERIMENT
@click.option(
    "--method",
    default="dynaclr",
    show_default=True,
    help="Which method to train and report: dynaclr embeds cells by their images, cytosummary profiles wells by their "
    "cells' features.",
)
@click.option(
    "--preset", type=click.Choice(["quick", "paper"]), help="Training values; kept from the last run."
)
@click.option(
    "--segmentation",
    type=click.Choice(["auto", "given", "threshold"]),
    help="Label backend; kept from the last run.",
)
@click.option(
    "--tracking",
    type=click.Choice(["auto", "import", "ultrack", "laptrack"]),
    help="Track backend; kept from the last run.",
)
@click.option(
    "--patch-px",
    type=click.IntRange(32),
    help="Side of the patch that the network sees, in pixels; larger ones are stored, so that training can turn them. "
    "Kept from the last run.",
)
@click.option(
    "--tau-min", type=float, help="Time offset τ of positive pairs, in minutes; kept from the last run."
)
@click.option("--seed", type=int, help="Seed of split, training and bootstrap; kept from the last run.")
@click.option(
    "--choices",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON with choices: fovs, features, split, training, embedding, baseline, report, attribution, bleaching, "
    "quality; of wells well_split, profiles, supervised_profiles, profile_report.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Say what would run and what it costs, and stop.")
@AS_JSON
def run(
    experiment: str,
    method: str,
    preset: str | None,
    segmentation: str | None,
    tracking: str | None,
    patch_px: int | None,
    tau_min: float | None,
    seed: int | None,
    choices: Path | None,
    only_plan: bool,
    as_json: bool,
) -> None:
    """Make what is missing or stale of an experiment, as Dagster runs, and print its numbers.

    \b
    Example:
      cell-assets run --experiment E1 --preset quick
    """
    from cell_assets.automation.running import (
        RunRequest,
        plan_experiment,
        refuse_without_room,
        run_experiment,
    )

    request = RunRequest(
        experiment=experiment,
        method=method,
        preset=preset,
        segmentation=segmentation,
        tracking=tracking,
        patch_px=patch_px,
        tau_min=tau_min,
        seed=seed,
        choices=None if choices is None else json_object(choices),
    )
    with open_lab() as session:
        plan = plan_experiment(session, request)
        click.echo(plan.text(), err=True)
        if only_plan:
            click.echo(plan.model_dump_json(indent=1) if as_json else "", nl=as_json)
            return
        refuse_without_room(session, plan)
        outcome = run_experiment(session, request)
        click.echo(outcome.model_dump_json(indent=1) if as_json else outcome.text())
        if outcome.failed:
            sys.exit(1)


@click.command("train-beside")
@click.argument("experiment")
@click.option("--method", default="dynaclr", show_default=True, help="Whose checkpoint is trained.")
@click.option(
    "--node",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of this machine; the step is on 0.",
)
def train_beside(experiment: str, method: str, node: int) -> None:
    """Take part in a training of several machines, whose step is started on another one.

    The training's choices say `num_nodes` and, of all machines together, `devices`. Each other machine gives this
    command, before the step or within an hour of its start, in the same CELL_ASSETS_HOME and with the same code. It
    ends when the training has; where an attempt fails, so does the command, to be given again.

    \b
    Example:
      cell-assets train-beside E1 --method dynaclr --node 1
    """
    from cell_assets.assets.training_beside import train_beside
    from cell_assets.cli.progress import progress
    from cell_assets.methods.contract import Progress

    with open_lab() as session, progress("steps") as step:

        def show(state: Progress) -> None:
            step(state.done, state.total, state.note)

        train_beside(session.store, method, experiment, node, show)
    click.echo(f"the training of {experiment} has ended")


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="Same seed, same bytes.")
@click.option("--wells-per-condition", type=int)
@click.option("--fovs-per-well", type=int)
@click.option("--time-points", type=int)
@click.option("--interval-min", type=float, help="Minutes between frames.")
@click.option("--cells-per-fov", type=int, help="At the first frame.")
@click.option("--shape", metavar="Z,Y,X", help="Voxels of one frame.")
@click.option(
    "--organelle", is_flag=True, help="Image a third channel, an organelle that infection remodels."
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes; changes no byte."
)
@AS_JSON
def simulate(
    out: Path,
    seed: int | None,
    wells_per_condition: int | None,
    fovs_per_well: int | None,
    time_points: int | None,
    interval_min: float | None,
    cells_per_fov: int | None,
    shape: str | None,
    organelle: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Write a plate of dividing, infected cells with its true tracks and states into the new folder OUT.

    \b
    Example:
      cell-assets simulate ./simulated --seed 1 --fovs-per-well 3 --time-points 24
    """
    from tqdm import tqdm

    from cell_assets.simulation.parameters import SimulationParameters
    from cell_assets.simulation.simulate import simulate as simulate_plate

    given = {
        "seed": seed,
        "wells_per_condition": wells_per_condition,
        "fovs_per_well": fovs_per_well,
        "time_points": time_points,
        "interval_min": interval_min,
        "cells_per_fov": cells_per_fov,
        "shape_zyx": None if shape is None else tuple(integers("--shape", shape)),
        "organelle_channel": organelle,
    }
    parameters = SimulationParameters.model_validate({k: v for k, v in given.items() if v is not None})
    with tqdm(total=parameters.n_positions, desc="simulating FOVs") as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        result = simulate_plate(out, parameters, show, workers)
    if as_json:
        values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(result).items()}
        click.echo(json.dumps(values, indent=1))
    else:
        click.echo(
            f"{result.n_positions} FOVs, {result.n_tracks} tracks, {result.n_divisions} divisions, "
            f"{result.n_cell_timepoints} cells over time; bring them in with\n"
            f"  cell-assets ingest {result.plate} --experiment E --plate P --plate-map {result.plate_map} "
            f"--tracks {result.tracks} --states {result.states}"
        )
