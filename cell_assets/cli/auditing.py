"""Commands that list numbers, walk them back, verify them and say who is affected."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from cell_assets.cli.lab import open_lab
from cell_assets.cli.options import AS_JSON, AS_OF, moment, write_page
from cell_assets.cli.progress import BYTES, progress, progress_in_turn
from cell_assets.errors import BadInputError


@click.command()
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

    with open_lab() as session:
        recorded = session.ledger.numbers(experiment=experiment, as_of=moment(as_of))
    click.echo(numbers_json(recorded) if as_json else numbers_table(recorded))


@click.command()
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

    with open_lab() as session:
        explanation = explain_number(session.ledger, number, depth=depth, as_of=moment(as_of))
    if page is not None:
        write_page(page, to_html(explanation))
    click.echo(to_json(explanation) if as_json else to_text(explanation))


def _explain_cell(number: int, row: int, as_json: bool) -> None:
    from cell_assets.audit.cell import explain_cell, to_json, to_text

    with open_lab() as session:
        found = explain_cell(session.store, number, row)
    click.echo(to_json(found) if as_json else to_text(found))
    if not found.gives_patch:
        sys.exit(1)


@click.command()
@click.argument("subject", required=False)
@click.option("--all", "of_all", is_flag=True, help="Every number in place of SUBJECT, superseded ones too.")
@click.option("--quick", is_flag=True, help="Look at names, sizes and times only; certifies nothing.")
@click.option(
    "--resume-hours",
    type=click.FloatRange(0, 24 * 366, min_open=True),
    metavar="H",
    help="Take over what was verified in the last H hours, such as by a run that was interrupted.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="SUBJECT is a number: compute it anew, too, and compare; nothing is recorded.",
)
@AS_JSON
def verify(
    subject: str | None, of_all: bool, quick: bool, resume_hours: float | None, recompute: bool, as_json: bool
) -> None:
    """Re-hash everything that SUBJECT rests on, and hold the ledger's history against its entries.

    SUBJECT is a number's id, artifact:ID, a plate, or a well or FOV as 'PLATE|WELL' or 'PLATE|FOV'. Exit code 1
    when anything is not as it was published.

    With --all, what several numbers rest on is read once, and each number of which something is wrong is named.
    Numbers that were withdrawn are left out: their bytes may have been let go.

    \b
    Example:
      cell-assets verify 7 --recompute
      cell-assets verify --all
    """
    from datetime import timedelta

    from cell_assets.audit.subjects import every_number, find_subject
    from cell_assets.audit.verification_text import to_json, to_text
    from cell_assets.audit.verified_numbers import standing_numbers, verified_numbers
    from cell_assets.audit.verify import verify as verify_subject

    if of_all == (subject is not None):
        raise BadInputError("give either a SUBJECT to verify or --all")
    if of_all and recompute:
        raise BadInputError("--recompute computes one number anew: give its id in place of --all")
    anew = numbers = None
    with open_lab() as session:
        standing = standing_numbers(session.ledger) if of_all else ()
        about = every_number(standing) if subject is None else find_subject(session.ledger, subject)
        if recompute and about.number_id is None:
            raise BadInputError(f"--recompute computes a number anew, and {about.title} is none: give its id")
        since = None
        if resume_hours is not None:
            since = session.ledger.now() - timedelta(hours=resume_hours)
        with progress_in_turn(BYTES, " entries of history") as (step, history_step):
            found = verify_subject(
                session.store,
                about,
                quick=quick,
                since=since,
                workers=session.settings.processes,
                step=step,
                history_step=lambda done, total: history_step(done, total, ""),
            )
        if of_all:
            numbers = verified_numbers(session.ledger, standing, found)
        if recompute and about.number_id is not None and found.looks_right:
            from cell_assets.audit.recompute import recompute as compute_anew

            anew = compute_anew(session.store, about.number_id)
    if as_json:
        click.echo(to_json(found, None if anew is None else anew.as_json(), numbers))
    else:
        click.echo(to_text(found, numbers or ()))
        if anew is not None:
            click.echo(anew.to_text())
        elif recompute:
            click.echo("not computed anew: what it rests on is not what was published")
    if not found.looks_right or (anew is not None and not anew.agrees):
        sys.exit(1)


@click.command()
@click.argument("subject")
@click.option("--tombstone", is_flag=True, help="Withdraw SUBJECT and everything that was made from it.")
@click.option("--why", default="", metavar="TEXT", help="What was wrong, for whoever meets the tombstone.")
@AS_JSON
def impact(subject: str, tombstone: bool, why: str, as_json: bool) -> None:
    """List every artifact, model and number that was made from SUBJECT, however remotely.

    With --tombstone all of them are withdrawn for good: look at the list first.

    SUBJECT is artifact:ID, a plate, or a well or FOV as 'PLATE|WELL' or 'PLATE|FOV'.

    \b
    Example:
      cell-assets impact 'P1|A/3' --tombstone --why "contaminated"
    """
    from cell_assets.audit.impact import impact_of, to_json, to_text, withdraw
    from cell_assets.audit.subjects import find_subject

    if why and not tombstone:
        raise BadInputError("--why says why something is withdrawn: give --tombstone with it")
    with open_lab() as session:
        found = find_subject(session.ledger, subject)
        if tombstone:
            affected = withdraw(session.ledger, found, why)
            session.show_withdrawals()
        else:
            affected = impact_of(session.ledger, found)
    click.echo(to_json(affected) if as_json else to_text(affected))


@click.command()
@click.argument("subject")
@AS_JSON
def leakage(subject: str, as_json: bool) -> None:
    """Say what train and test share, from tracks to plates, by name and by the pixels themselves; of an experiment
    whose wells are profiled, by compound, plate and the cells themselves.

    SUBJECT is an experiment or a number's id. Exit code 1 when the split does not hold what it claims.

    \b
    Example:
      cell-assets leakage E1
    """
    from cell_assets.audit.leakage import audit_split, to_json

    with open_lab() as session:
        audited = audit_split(session.store, subject)
    click.echo(to_json(audited) if as_json else audited.to_text())
    if audited.leakage.leaks:
        sys.exit(1)


@click.command()
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

    with open_lab() as session:
        found = difference(session.ledger, number_a, number_b)
    click.echo(to_json(found) if as_json else to_text(found))


@click.command()
@click.argument("number", type=int)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="X.zip",
    help="Where to write it; nothing is overwritten.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="KEY.pem",
    help="Sign with this private key: unencrypted PEM; Ed25519, ECDSA or RSA.",
)
@AS_JSON
def bundle(number: int, output: Path, key: Path | None, as_json: bool) -> None:
    """Write the evidence for NUMBER into one file that anybody can verify offline.

    It holds the report, the history, the code's uncommitted changes, and the digests of all data behind it.

    \b
    Example:
      cell-assets bundle 7 -o number_7.zip --key lab_key.pem
    """
    from cell_assets.audit.attestation import PrivateKey
    from cell_assets.audit.bundle import make_bundle
    from cell_assets.audit.bundle_text import to_json, to_text

    private = None if key is None else PrivateKey.read(key)
    with open_lab() as session, progress(BYTES) as step:
        made = make_bundle(session.store, number, output, private, step)
    click.echo(to_json(made) if as_json else to_text(made))


@click.command(name="verify-bundle")
@click.argument("bundle_file", type=click.Path(path_type=Path), metavar="X.zip")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="ROOT",
    help="Re-hash the data too: root of a store, or of a copy of a part of one.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="PUBLIC.pem",
    help="Public key of who must have signed it.",
)
@AS_JSON
def verify_bundle(bundle_file: Path, data: Path | None, key: Path | None, as_json: bool) -> None:
    """Check everything that an evidence bundle states, offline; exit code 1 unless all of it holds.

    Needs no database and no Dagster: `pip install .` in the checkout, without extras, is enough.

    \b
    Example:
      cell-assets verify-bundle number_7.zip --key lab_key_public.pem --data /data/cell_assets/store
    """
    from cell_assets.audit.bundle_verification_text import to_json, to_text
    from cell_assets.audit.verify_bundle import verify_bundle as verify

    with progress(BYTES) as step:
        found = verify(bundle_file, key=key, data=data, step=step)
    click.echo(to_json(found) if as_json else to_text(found))
    if not found.holds:
        sys.exit(1)


@click.command(name="same-pixels")
@click.argument("a")
@click.argument("b")
@AS_JSON
def same_pixels(a: str, b: str, as_json: bool) -> None:
    """Say whether plates A and B hold the same pixels, or where they first differ; exit code 1 when they differ.

    Each is a folder that `ingest` can read, or the name of an ingested plate.

    \b
    Example:
      cell-assets same-pixels P1 /data/plate_copy.zarr
    """
    from cell_assets.imaging.acquisition import PLATE
    from cell_assets.imaging.readers.registry import open_source
    from cell_assets.imaging.same_pixels import compare_pixels

    with open_lab() as session, progress("frame") as step:
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


@click.command()
@click.option("--dry-run", is_flag=True, help="Mend nothing: list, and show in the UI.")
@AS_JSON
def reconcile(dry_run: bool, as_json: bool) -> None:
    """Compare ledger, store, Dagster and MLflow in every direction, mend what is safe, and list the rest.

    What the ledger holds and Dagster or MLflow lost is shown and registered again. Nothing is deleted. Exit code 1
    when anything is left; the check ledger_agrees of the assets concerned is red in the UI then.

    \b
    Example:
      cell-assets reconcile --dry-run
    """
    from cell_assets.audit.agreement import to_json, to_text

    with open_lab() as session:
        found = session.reconcile(mend=not dry_run)
    click.echo(to_json(found) if as_json else to_text(found))
    if found.left:
        sys.exit(1)
