"""The `cell-assets` command. Nothing heavy is imported until a subcommand needs it."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cell_assets.errors import BadInputError, CellAssetsError

if TYPE_CHECKING:
    from datetime import datetime

    import dagster as dg

    from cell_assets.automation.session import Session
    from cell_assets.resources.progress import ProgressDisplay
    from cell_assets.settings import Settings
    from cell_assets.store.boundaries import Observer

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
AS_OF = click.option(
    "--as-of",
    metavar="DATE",
    help="As it stood then: 2026-03-03 (that day's end, UTC) or 2026-03-03T12:00:00Z.",
)
EXPERIMENT = click.option("--experiment", required=True, metavar="E", help="Name of the experiment.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cell-assets")
def commands() -> None:
    """Data assets with lineage for labs that film living cells.

    \b
    Example, from a plate to an explained number:
      cell-assets ingest /data/plate.zarr --experiment E1 --plate P1
      cell-assets run --experiment E1 --preset quick
      cell-assets numbers --experiment E1
      cell-assets explain 7
    """


def main() -> None:
    """Run the command; a fault that a person can act on is one line on stderr and exit code 1.

    A polite kill is answered as Ctrl-C is: what is in hand is given up in order, and no process stays behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        commands(standalone_mode=False)
    except CellAssetsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)


@contextmanager
def _session() -> Iterator["Session"]:
    from cell_assets.automation.session import open_session
    from cell_assets.settings import Settings

    with open_session(Settings(), _definitions) as session:
        yield session


def _definitions(settings: "Settings", observer: "Observer", display: "ProgressDisplay") -> "dg.Definitions":
    from cell_assets.definitions import build_defs

    return build_defs(settings, observer, display)


@commands.command()
@click.argument("source", type=click.Path(path_type=Path))
@EXPERIMENT
@click.option("--plate", required=True, metavar="P", help="Name of the plate; one name, one set of bytes.")
@click.option("--format", "source_format", default="auto", show_default=True, help="auto, ome-zarr or ctc.")
@click.option(
    "--plate-map", type=click.Path(path_type=Path), help="CSV: well, compound|gene|guide|virus, dose or moi …"
)
@click.option("--tracks", type=click.Path(path_type=Path), help="Folder with one track table (CSV) per FOV.")
@click.option(
    "--states", type=click.Path(path_type=Path), help="CSV: fov_name, track_id, t and one column per state."
)
@click.option("--channel-names", metavar="A,B", help="For sources that name none.")
@click.option("--pixel-size-um", metavar="Y,X", help="For sources that carry none, in micrometres.")
@click.option("--z-step-um", type=float, help="For stacks that carry none, in micrometres.")
@click.option("--interval-min", type=float, help="For movies that carry none, in minutes.")
@AS_JSON
def ingest(
    source: Path,
    experiment: str,
    plate: str,
    source_format: str,
    plate_map: Path | None,
    tracks: Path | None,
    states: Path | None,
    channel_names: str | None,
    pixel_size_um: str | None,
    z_step_um: float | None,
    interval_min: float | None,
    as_json: bool,
) -> None:
    """Copy a plate into the store, pixel for pixel, and measure its quality.

    \b
    Example:
      cell-assets ingest /data/ctc_ecoli --format ctc --experiment E1 --plate P1 \\
        --channel-names Phase --pixel-size-um 0.065,0.065 --interval-min 5
    """
    from cell_assets.assets.ingest_request import IngestRequest
    from cell_assets.automation.ingesting import ingest_plate

    request = IngestRequest(
        source=str(source.absolute()),
        experiment=experiment,
        plate=plate,
        format=source_format,
        plate_map=_text(plate_map),
        tracks=_text(tracks),
        states=_text(states),
        channel_names=None if channel_names is None else tuple(channel_names.split(",")),
        pixel_size_um=None if pixel_size_um is None else _pixel_size(pixel_size_um),
        z_step_um=z_step_um,
        interval_min=interval_min,
    )
    with _session() as session:
        result = ingest_plate(session, request)
    click.echo(result.model_dump_json(indent=1) if as_json else result.sentence())


@commands.command()
@EXPERIMENT
@click.option("--method", default="dynaclr", show_default=True, help="Which method to train and report.")
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
    type=click.Choice(["auto", "import", "ultrack"]),
    help="Track backend; kept from the last run.",
)
@click.option(
    "--patch-px",
    type=click.IntRange(32),
    help="Side of the patch that the network sees, in pixels; kept from the last run.",
)
@click.option(
    "--tau-min", type=float, help="Time offset τ of positive pairs, in minutes; kept from the last run."
)
@click.option("--seed", type=int, help="Seed of split, training and bootstrap; kept from the last run.")
@click.option(
    "--choices",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON with further choices: segmentation, tracking, patches, split, training, report.",
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
    from cell_assets.automation.running import RunRequest, plan_experiment, run_experiment

    request = RunRequest(
        experiment=experiment,
        method=method,
        preset=preset,
        segmentation=segmentation,
        tracking=tracking,
        patch_px=patch_px,
        tau_min=tau_min,
        seed=seed,
        choices=None if choices is None else _json_object(choices),
    )
    with _session() as session:
        plan = plan_experiment(session, request)
        click.echo(plan.text(), err=True)
        if only_plan:
            click.echo(plan.model_dump_json(indent=1) if as_json else "", nl=as_json)
            return
        outcome = run_experiment(session, request)
        click.echo(outcome.model_dump_json(indent=1) if as_json else outcome.text())
        if outcome.failed:
            sys.exit(1)


@commands.command()
@click.option("--experiment", metavar="E", help="Only this experiment's numbers.")
@AS_OF
@AS_JSON
def numbers(experiment: str | None, as_of: str | None, as_json: bool) -> None:
    """List reported numbers with their ids.

    \b
    Example:
      cell-assets numbers --experiment E1
    """
    from cell_assets.reporting.tables import numbers_json, numbers_table

    with _session() as session:
        recorded = session.ledger.numbers(experiment=experiment, as_of=_moment(as_of))
    click.echo(numbers_json(recorded) if as_json else numbers_table(recorded))


@commands.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="Same seed, same bytes.")
@click.option("--wells-per-condition", type=int)
@click.option("--fovs-per-well", type=int)
@click.option("--time-points", type=int)
@click.option("--interval-min", type=float, help="Minutes between frames.")
@click.option("--cells-per-fov", type=int, help="At the first frame.")
@click.option("--shape", metavar="Z,Y,X", help="Voxels of one frame.")
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
        "shape_zyx": None if shape is None else tuple(_integers("--shape", shape)),
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


@commands.command()
@click.argument("number", type=int)
@click.option("--depth", type=click.IntRange(0), metavar="N", help="Steps to walk; all of them by default.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to this file."
)
@click.option(
    "--cell",
    type=click.IntRange(0),
    metavar="ROW",
    help="Walk one prediction back to the chunks of its plate.",
)
@AS_OF
@AS_JSON
def explain(
    number: int, depth: int | None, page: Path | None, cell: int | None, as_of: str | None, as_json: bool
) -> None:
    """Walk a number back to the raw acquisitions that it rests on.

    \b
    Example:
      cell-assets explain 7 --depth 2 --html number_7.html
      cell-assets explain 7 --cell 12
    """
    if cell is not None:
        if depth is not None or page is not None or as_of is not None:
            raise BadInputError("--cell goes with none of --depth, --html and --as-of: leave them out")
        _explain_cell(number, cell, as_json)
        return
    from cell_assets.audit.explain import explain as explain_number
    from cell_assets.audit.explanation_html import to_html
    from cell_assets.audit.explanation_json import to_json
    from cell_assets.audit.explanation_text import to_text

    with _session() as session:
        explanation = explain_number(session.ledger, number, depth=depth, as_of=_moment(as_of))
    if page is not None:
        page.write_text(to_html(explanation), encoding="utf-8")
    click.echo(to_json(explanation) if as_json else to_text(explanation))


@commands.command()
@click.argument("subject")
@click.option("--quick", is_flag=True, help="Look at names, sizes and times only; certifies nothing.")
@click.option(
    "--resume-hours",
    type=click.FloatRange(0, min_open=True),
    metavar="H",
    help="Take over what was verified in the last H hours, such as by a run that was interrupted.",
)
@AS_JSON
def verify(subject: str, quick: bool, resume_hours: float | None, as_json: bool) -> None:
    """Re-hash everything that SUBJECT rests on, and hold the ledger's history against its entries.

    SUBJECT is a number's id, artifact:ID, a plate, or a well or FOV as 'PLATE|WELL' or 'PLATE|FOV'. Exit code 1
    when anything is not as it was published.

    \b
    Example:
      cell-assets verify 7
    """
    from datetime import timedelta

    from tqdm import tqdm

    from cell_assets.audit.subjects import find_subject
    from cell_assets.audit.verification_text import to_json, to_text
    from cell_assets.audit.verify import verify as verify_subject

    with _session() as session, tqdm(unit="B", unit_scale=True, disable=quick) as bar:

        def step(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_postfix_str(what, refresh=False)
            bar.update(done - bar.n)

        since = None
        if resume_hours is not None:
            since = session.ledger.now() - timedelta(hours=resume_hours)
        found = verify_subject(
            session.store,
            find_subject(session.ledger, subject),
            quick=quick,
            since=since,
            workers=session.settings.processes,
            step=step,
        )
    click.echo(to_json(found) if as_json else to_text(found))
    if not found.looks_right:
        sys.exit(1)


@commands.command()
@click.argument("subject")
@click.option("--tombstone", is_flag=True, help="Withdraw SUBJECT and everything that was made from it.")
@click.option("--why", default="", metavar="TEXT", help="What was wrong, for whoever meets the tombstone.")
@AS_JSON
def impact(subject: str, tombstone: bool, why: str, as_json: bool) -> None:
    """List every artifact, model and number that was made from SUBJECT, however remotely.

    SUBJECT is artifact:ID, a plate, or a well or FOV as 'PLATE|WELL' or 'PLATE|FOV'.

    \b
    Example:
      cell-assets impact 'P1|A/3' --tombstone --why "contaminated"
    """
    from cell_assets.audit.impact import impact_of, to_json, to_text, withdraw
    from cell_assets.audit.subjects import find_subject

    if why and not tombstone:
        raise BadInputError("--why says why something is withdrawn: give --tombstone with it")
    with _session() as session:
        found = find_subject(session.ledger, subject)
        affected = withdraw(session.ledger, found, why) if tombstone else impact_of(session.ledger, found)
    click.echo(to_json(affected) if as_json else to_text(affected))


@commands.command()
@click.argument("subject")
@AS_JSON
def leakage(subject: str, as_json: bool) -> None:
    """Say what train and test share, from tracks to plates, by name and by the pixels themselves.

    SUBJECT is an experiment or a number's id. Exit code 1 when the split does not hold what it claims.

    \b
    Example:
      cell-assets leakage E1
    """
    from cell_assets.audit.leakage import audit_split, to_json, to_text

    with _session() as session:
        audited = audit_split(session.store, subject)
    click.echo(to_json(audited) if as_json else to_text(audited))
    if audited.leakage.leaks:
        sys.exit(1)


@commands.command()
@click.argument("number_a", type=int)
@click.argument("number_b", type=int)
@AS_JSON
def diff(number_a: int, number_b: int, as_json: bool) -> None:
    """Say why two numbers differ: which code, parameters and inputs, and what merely follows from them.

    \b
    Example:
      cell-assets diff 7 31
    """
    from cell_assets.audit.difference import difference, to_json, to_text

    with _session() as session:
        found = difference(session.ledger, number_a, number_b)
    click.echo(to_json(found) if as_json else to_text(found))


@commands.command(name="same-pixels")
@click.argument("a")
@click.argument("b")
@AS_JSON
def same_pixels(a: str, b: str, as_json: bool) -> None:
    """Say whether plates A and B hold the same pixels, or where they first differ; exit code 1 if they do.

    Each is a folder that `ingest` can read, or the name of an ingested plate.

    \b
    Example:
      cell-assets same-pixels P1 /data/plate_copy.zarr
    """
    from tqdm import tqdm

    from cell_assets.imaging.acquisition import PLATE
    from cell_assets.imaging.readers.registry import open_source
    from cell_assets.imaging.same_pixels import compare_pixels

    with _session() as session, tqdm(unit="frame") as bar:

        def step(done: int, total: int, fov: str) -> None:
            bar.total = total
            bar.set_postfix_str(fov, refresh=False)
            bar.update(done - bar.n)

        folders = [
            session.store.read("raw_acquisition", one).path / PLATE
            if session.ledger.plate(one) is not None
            else Path(one)
            for one in (a, b)
        ]
        found = compare_pixels(open_source(folders[0]), open_source(folders[1]), step)
    if as_json:
        click.echo(json.dumps({"same": found.is_same, **asdict(found)}, indent=1))
    elif found.content_digests is None:
        click.echo(f"different: {found.differs}")
    else:
        click.echo(f"the same pixels, content digest {found.content_digests[0]}")
    if not found.is_same:
        sys.exit(1)


@commands.command()
def demo() -> None:
    """Simulate a small two-condition experiment, run the whole graph, and explain one of its numbers.

    \b
    Example:
      CELL_ASSETS_HOME=./demo cell-assets demo
    """
    from cell_assets.automation.demo import run_demo

    with _session() as session:
        result = run_demo(session, lambda line: click.echo(line, err=True))
    click.echo(f"\n{result.numbers}\n\nNumber {result.explained}, explained:\n\n{result.explanation}")
    click.echo(f"\nreport: {result.report}")


@commands.command()
@click.option("--port", type=int, help="Of the Dagster UI; 3000, or a free one where that is taken.")
@click.option("--mlflow-port", type=int, help="Of the MLflow UI; 5000, or a free one where that is taken.")
def dev(port: int | None, mlflow_port: int | None) -> None:
    """Serve the Dagster UI, its daemon and the MLflow UI on this machine until Ctrl-C.

    \b
    Example:
      cell-assets dev --port 3000
    """
    from cell_assets.automation.serving import Ports, Served, serve
    from cell_assets.database.embedded import open_database
    from cell_assets.settings import Settings

    def say(served: Served) -> None:
        click.echo(f"Dagster UI  {served.dagster}\nMLflow UI   {served.mlflow}\nlogs        {served.logs}")
        click.echo("Ctrl-C stops everything.")

    settings = Settings()
    with open_database(settings) as addresses:
        serve(settings, addresses, Ports(port, mlflow_port), say)


@commands.command()
@AS_JSON
def gc(as_json: bool) -> None:
    """Remove what crashes left behind: staging folders and unrecorded copies whose lease has ended.

    \b
    Example:
      cell-assets gc
    """
    with _session() as session:
        report = session.store.sweep()
    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
    else:
        click.echo(
            f"removed {report.removed_staging} staging entries and {len(report.removed_orphans)} unrecorded "
            f"copies, {report.freed_bytes / 1e6:.1f} MB; left {len(report.kept_intents)} living writers alone"
        )


def _explain_cell(number: int, row: int, as_json: bool) -> None:
    from cell_assets.audit.cell import explain_cell, to_json, to_text

    with _session() as session:
        found = explain_cell(session.store, number, row)
    click.echo(to_json(found) if as_json else to_text(found))
    if not found.gives_patch:
        sys.exit(1)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}: line {error.lineno}: {error.msg}; give a JSON object") from None
    if not isinstance(value, dict):
        raise BadInputError(f"{path}: holds a {type(value).__name__}, give a JSON object")
    return value


def _moment(text: str | None) -> "datetime | None":
    from datetime import UTC, date, datetime, time

    if text is None:
        return None
    try:
        if len(text) == len("2026-03-03"):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(
            f"--as-of is {text!r}, give a date such as 2026-03-03 or a moment such as 2026-03-03T12:00:00Z"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _pixel_size(text: str) -> tuple[float, float]:
    try:
        y, x = (float(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(
            f"--pixel-size-um is {text!r}, give Y,X in micrometres, such as 0.1,0.1"
        ) from None
    return y, x


def _integers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInputError(f"{option} is {text!r}, give whole numbers separated by commas") from None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
