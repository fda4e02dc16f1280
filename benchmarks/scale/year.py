"""A year of plates: what the product recorded of one plate, written again for the others under their own names.

Every row of the copies is a row that the product wrote for the first plate, with that plate's name, ids, run ids and
digests replaced. Digests of copies are made up, so that the chain of the ledger does not hold over them. Plates,
partition keys, manifests, checkpoints, embeddings, features and reports are recorded by the product's own functions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import dagster as dg
import psycopg2
from pydantic import BaseModel

from cell_assets.assets.choices import ExperimentChoices
from cell_assets.assets.partitions import fov_key, register_plate_keys, representation_key
from cell_assets.assets.publishing import show_runs
from cell_assets.assets.recipes import RECIPES, AssetName, checkpoint_name, embeddings_name, report_name
from cell_assets.automation.session import Session
from cell_assets.database.addresses import libpq_url
from cell_assets.ledger.records import Artifact, NumberDraft, OutputDraft, ReadReceipt, RunDraft
from cell_assets.methods.registry import load_method
from cell_assets.store.code_identity import code_identity
from cell_assets.store.digest import DIGEST_TYPE
from cell_assets.store.layout import Layout

PLATES_OF_AN_EXPERIMENT = 10
TEMPLATE = "P0000"
METHOD = "dynaclr"
NUMBERS_OF_A_REPORT = 300
_LEASE = timedelta(minutes=5)

_LEDGER_ROWS = {
    "artifact": """
        INSERT INTO artifact OVERRIDING SYSTEM VALUE
        SELECT a.id + k.k * %(artifact)s, asset, replace(partition, %(name)s, k.plate), fresh, digest_type,
               content_digest, n_bytes, n_files,
               replace(replace(uri, %(name)s, k.plate), left(digest, 12), left(fresh, 12)),
               format_name, format_version, created
        FROM template_artifact a CROSS JOIN copies k
        CROSS JOIN LATERAL (SELECT encode(sha256((digest || k.plate)::bytea), 'hex') AS fresh) f""",
    "run": """
        INSERT INTO run OVERRIDING SYSTEM VALUE
        SELECT r.id + k.k * %(run)s, asset, replace(partition, %(name)s, k.plate), artifact_id + k.k * %(artifact)s,
               md5(dagster_run_id || k.plate)::uuid::text, code_version, git_commit, dirty_diff_digest,
               environment_digest, host, parameters, started, ended, outcome, error
        FROM template_run r CROSS JOIN copies k""",
    "input_edge": """
        INSERT INTO input_edge
        SELECT run_id + k.k * %(run)s, input_id + k.k * %(artifact)s FROM template_input_edge CROSS JOIN copies k""",
    "announcement": """
        INSERT INTO announcement
        SELECT run_id + k.k * %(run)s, event_storage_id + k.k * %(event)s, announced
        FROM template_announcement CROSS JOIN copies k""",
    "intent": """
        INSERT INTO intent OVERRIDING SYSTEM VALUE
        SELECT i.id + k.k * %(intent)s, asset, replace(partition, %(name)s, k.plate), staging, owner, lease_until,
               opened, closed
        FROM template_intent i CROSS JOIN copies k""",
    "entry": """
        INSERT INTO entry OVERRIDING SYSTEM VALUE
        SELECT e.id + k.k * %(entry)s, encode(sha256((previous || k.plate)::bytea), 'hex'),
               (SELECT json_agg(json_build_array(i ->> 0, (i ->> 1)::bigint + k.k * CASE i ->> 0
                  WHEN 'artifact' THEN %(artifact)s ELSE %(run)s END,
                  encode(sha256(((i ->> 2) || k.plate)::bytea), 'hex')))
                FROM json_array_elements(items) AS i),
               encode(sha256((digest || k.plate)::bytea), 'hex'), run_id + k.k * %(run)s
        FROM template_entry e CROSS JOIN copies k""",
}

_DAGSTER_ROWS = {
    # The template's texts hold marks where the numbers of a plate stand.
    "event_logs": """
        INSERT INTO event_logs (id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
        SELECT e.id + k.k * %(event)s, md5(run_id || k.plate)::uuid::text,
               replace(replace(replace(replace(replace(replace(replace(replace(event,
                 '<plate>', k.plate), run_id, md5(run_id || k.plate)::uuid::text),
                 '<artifact>', coalesce((artifact + k.k * %(artifact)s)::text, '')),
                 '<run>', coalesce((ledger_run + k.k * %(run)s)::text, '')),
                 '<digest>', coalesce(encode(sha256((digest || k.plate)::bytea), 'hex'), '')),
                 '<digest12>', coalesce(left(encode(sha256((digest || k.plate)::bytea), 'hex'), 12), '')),
                 '<first>', coalesce((first_pointer + k.k * %(event)s)::text, '')),
                 '<second>', coalesce((second_pointer + k.k * %(event)s)::text, '')),
               dagster_event_type, timestamp, step_key, asset_key, replace(partition, %(name)s, k.plate)
        FROM template_event_logs e CROSS JOIN copies k""",
    "asset_event_tags": """
        INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
        SELECT event_id + k.k * %(event)s, asset_key, key,
               CASE WHEN is_pointer THEN (value::bigint + k.k * %(event)s)::text
                    WHEN digest IS NOT NULL THEN left(encode(sha256((digest || k.plate)::bytea), 'hex'), 12)
                    ELSE replace(value, %(name)s, k.plate) END, event_timestamp
        FROM template_asset_event_tags CROSS JOIN copies k""",
    "asset_check_executions": """
        INSERT INTO asset_check_executions (asset_key, check_name, partition, run_id, execution_status,
          evaluation_event, evaluation_event_timestamp, evaluation_event_storage_id,
          materialization_event_storage_id, create_timestamp)
        SELECT asset_key, check_name, replace(partition, %(name)s, k.plate), md5(run_id || k.plate)::uuid::text,
               execution_status, replace(replace(evaluation_event, %(name)s, k.plate), run_id,
                 md5(run_id || k.plate)::uuid::text), evaluation_event_timestamp,
               evaluation_event_storage_id + k.k * %(event)s, materialization_event_storage_id + k.k * %(event)s,
               create_timestamp
        FROM template_asset_check_executions CROSS JOIN copies k""",
    "runs": """
        INSERT INTO runs (run_id, snapshot_id, pipeline_name, mode, status, run_body, partition, partition_set,
          create_timestamp, update_timestamp, start_time, end_time, backfill_id)
        SELECT md5(run_id || k.plate)::uuid::text, snapshot_id, pipeline_name, mode, status,
               replace(replace(run_body, %(name)s, k.plate), run_id, md5(run_id || k.plate)::uuid::text),
               replace(partition, %(name)s, k.plate), partition_set, create_timestamp, update_timestamp, start_time,
               end_time, backfill_id
        FROM template_runs CROSS JOIN copies k""",
    "run_tags": """
        INSERT INTO run_tags (run_id, key, value)
        SELECT md5(run_id || k.plate)::uuid::text, key, replace(value, %(name)s, k.plate)
        FROM template_run_tags CROSS JOIN copies k""",
}

_WITHOUT_IDS = ("input_edge", "announcement")


@dataclass(frozen=True)
class Strides:
    """How far the ids of one plate are from those of the next, by table."""

    artifact: int
    run: int
    intent: int
    entry: int
    event: int


def plate_name(n: int) -> str:
    """Name of the n-th plate."""
    return f"P{n:04}"


def experiment_of(n: int) -> str:
    """Name of the n-th plate's experiment."""
    return f"E{n // PLATES_OF_AN_EXPERIMENT:03}"


@contextmanager
def cursor(url: str) -> Iterator["psycopg2.extensions.cursor"]:
    """A cursor of a connection that commits every statement."""
    with closing(psycopg2.connect(libpq_url(url))) as connection:
        connection.autocommit = True
        with connection.cursor() as opened:
            yield opened


def database_bytes(session: Session) -> dict[str, int]:
    """What each of the three databases takes on disk."""
    sizes = {}
    for name, url in session.addresses.by_name.items():
        with cursor(url) as one:
            one.execute("VACUUM")
            one.execute("CHECKPOINT")
            one.execute("SELECT pg_database_size(current_database())")
            (sizes[name.rpartition("_")[2]],) = one.fetchone()  # type: ignore[misc]
    return sizes


class Year:
    """The first plate, and as many others as are asked for."""

    def __init__(self, session: Session, instance: dg.DagsterInstance) -> None:
        """Note what the product recorded of the first plate, which must be all that it recorded at all."""
        self._session, self._instance = session, instance
        self._strides = self._note_ledger()
        self._note_dagster()

    def register(self, first: int, last: int) -> None:
        """Register the plates of a range and their partition keys."""
        ledger = self._session.ledger
        template = ledger.plate(TEMPLATE)
        assert template is not None
        for n in range(first, last):
            draft = replace(template.draft, name=plate_name(n), experiment=experiment_of(n))
            ledger.register_plate(draft)
            if n % PLATES_OF_AN_EXPERIMENT == 0:
                ledger.record_choices(experiment_of(n), ledger.choices(template.draft.experiment))
            register_plate_keys(self._instance, draft.experiment, draft.name, draft.positions)

    def copy(self, first: int, last: int) -> None:
        """Copy the rows of the first plate for every plate of a range, in both databases."""
        numbers: Mapping[str, int | str] = {**self._strides.__dict__, "name": TEMPLATE}
        for url, statements in (
            (self._session.addresses.ledger, _LEDGER_ROWS),
            (self._session.addresses.dagster, _DAGSTER_ROWS),
        ):
            with cursor(url) as one:
                # What the rows refer to is copied with them, so that nobody need look it up millions of times.
                one.execute("SET session_replication_role = replica")
                one.execute("DROP TABLE IF EXISTS copies")
                one.execute(
                    "CREATE TABLE copies AS SELECT k, 'P' || lpad(k::text, 4, '0') AS plate "
                    "FROM generate_series(%s, %s) AS k",
                    (first, last - 1),
                )
                for table, statement in statements.items():
                    one.execute(statement, numbers)
                    if table not in _WITHOUT_IDS:
                        one.execute(
                            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
                        )
                one.execute("DROP TABLE copies")
        self._store_newest_events()

    def record_experiments(self, first: int, last: int) -> None:
        """Record manifest, checkpoint, embeddings, features and report of the experiments of a range of plates.

        Each is one commit of the ledger with the inputs that the product gives it, shown in Dagster by the product.
        """
        shown: list[int] = []
        for n in range(first, last, PLATES_OF_AN_EXPERIMENT):
            plates = [plate_name(one) for one in range(n, min(n + PLATES_OF_AN_EXPERIMENT, last))]
            shown += self._record_experiment(experiment_of(n), plates)
        show_runs(self._instance, self._session.store, shown)

    def _record_experiment(self, experiment: str, plates: Sequence[str]) -> list[int]:
        ledger = self._session.ledger
        parameters = _Parameters.of(self._session, experiment)
        runs = []

        def record(
            asset: str,
            partition: str,
            inputs: Sequence[ReadReceipt],
            said: Mapping[str, object],
            numbers: Sequence[NumberDraft] = (),
        ) -> ReadReceipt:
            made = _commit(self._session, asset, partition, inputs, said, numbers, experiment)
            runs.append(made[1])
            return self._session.store.receipt(made[0])

        def newest(asset: str, keys: Sequence[str]) -> dict[str, ReadReceipt]:
            found = ledger.latest_many(asset, keys)
            return {key: self._session.store.receipt(found[key].artifact) for key in keys}

        record_of_plate = ledger.plate(plates[0])
        assert record_of_plate is not None
        keys = {plate: [fov_key(plate, one) for one in record_of_plate.draft.positions] for plate in plates}
        raw = newest(AssetName.RAW_ACQUISITION, plates)
        of_stage = {
            stage: {plate: list(newest(stage, keys[plate]).values()) for plate in plates} for stage in _STAGES
        }
        tables = [one for plate in plates for one in of_stage[AssetName.PATCH_TABLE][plate]]
        manifest = record(
            AssetName.EXPERIMENT_MANIFEST, experiment, [*raw.values(), *tables], parameters.manifest
        )
        checkpoint = record(checkpoint_name(METHOD), experiment, [manifest, *tables], parameters.training)
        embeddings, features = [], []
        for plate in plates:
            read = [checkpoint, manifest, *of_stage[AssetName.PATCH_TABLE][plate]]
            key = representation_key(experiment, plate)
            embeddings.append(record(embeddings_name(METHOD), key, read, parameters.embedding))
            read = [raw[plate], *of_stage[AssetName.SEGMENTATION][plate], *of_stage[AssetName.TRACKS][plate]]
            features.append(record(AssetName.SINGLE_CELL_FEATURES, plate, read, parameters.features))
        read = [manifest, checkpoint, *embeddings, *raw.values(), *tables, *features]
        record(report_name(METHOD), experiment, read, parameters.report, _numbers())
        return runs

    def link_bytes(self, first: int, last: int) -> None:
        """Let every copied artifact have a folder: a link to that of the first plate."""
        layout = Layout(self._session.settings.store_root)
        with cursor(self._session.addresses.ledger) as one:
            one.execute("SELECT id, uri FROM template_artifact")
            folders = dict(one.fetchall())
            for k in range(first, last):
                one.execute(
                    "SELECT id - %s, uri FROM artifact WHERE id BETWEEN %s AND %s",
                    (
                        k * self._strides.artifact,
                        k * self._strides.artifact + min(folders),
                        k * self._strides.artifact + max(folders),
                    ),
                )
                for artifact, uri in one.fetchall():
                    here = layout.at(uri)
                    here.parent.mkdir(parents=True, exist_ok=True)
                    here.symlink_to(layout.at(folders[artifact]), target_is_directory=True)

    def finish(self) -> None:
        """Remove the notes and let PostgreSQL look at what it holds, as its autovacuum would."""
        for url in (self._session.addresses.ledger, self._session.addresses.dagster):
            with cursor(url) as one:
                one.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'template\\_%'")
                for (table,) in one.fetchall():
                    one.execute(f"DROP TABLE {table}")
                one.execute("VACUUM ANALYZE")

    def _note_ledger(self) -> Strides:
        with cursor(self._session.addresses.ledger) as one:
            for table in _LEDGER_ROWS:
                # Registrations and choices are recorded anew for every plate.
                only = (
                    " WHERE items ->> 0 IS NOT NULL AND items -> 0 ->> 0 IN ('artifact', 'run', 'input_edge', "
                    "'announcement')"
                    if table == "entry"
                    else ""
                )
                one.execute(f"CREATE TABLE template_{table} AS SELECT * FROM {table}{only}")
            top = {}
            for table in ("artifact", "run", "intent", "entry"):
                one.execute(f"SELECT max(id) FROM {table}")
                (top[table],) = one.fetchone()  # type: ignore[misc]
        with cursor(self._session.addresses.dagster) as one:
            one.execute("SELECT max(id) FROM event_logs")
            (top["event"],) = one.fetchone()  # type: ignore[misc]
        # Room for what is recorded of the plates' registration between them.
        return Strides(**{table: n + (100_000 if table == "entry" else 0) for table, n in top.items()})

    def _note_dagster(self) -> None:
        with cursor(self._session.addresses.dagster) as one:
            for table in _DAGSTER_ROWS:
                one.execute(f"CREATE TABLE template_{table} AS SELECT * FROM {table}")
            one.execute(
                "ALTER TABLE template_event_logs ADD artifact bigint, ADD ledger_run bigint, ADD digest text, "
                "ADD first_pointer bigint, ADD second_pointer bigint"
            )
            one.execute("UPDATE template_event_logs SET event = replace(event, %s, '<plate>')", (TEMPLATE,))
            one.execute("ALTER TABLE template_event_logs ADD PRIMARY KEY (id)")
            one.execute(
                "SELECT id, event FROM template_event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
            )
            for event_id, text in one.fetchall():
                one.execute(
                    "UPDATE template_event_logs SET event = %s, artifact = %s, ledger_run = %s, digest = %s, "
                    "first_pointer = %s, second_pointer = %s WHERE id = %s",
                    (*_marked(text), event_id),
                )
            one.execute("ALTER TABLE template_asset_event_tags ADD is_pointer boolean, ADD digest text")
            one.execute(
                "UPDATE template_asset_event_tags SET is_pointer = key LIKE 'dagster/input_event_pointer/%%' AND "
                "value ~ '^[0-9]+$' AND value::bigint BETWEEN 2 AND %s",
                (self._strides.event,),
            )
            with cursor(self._session.addresses.ledger) as other:
                other.execute("SELECT digest FROM template_artifact")
                digests = [digest for (digest,) in other.fetchall()]
            one.execute(
                "UPDATE template_asset_event_tags t SET digest = d FROM unnest(%s) AS d WHERE value = left(d, 12)",
                (digests,),
            )

    def _store_newest_events(self) -> None:
        """Let Dagster's table of assets know the newest event of each, by its storage's own function."""
        from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

        storage = self._instance.event_log_storage
        assert isinstance(storage, SqlEventLogStorage)
        for asset in (AssetName.RAW_ACQUISITION, AssetName.PLATE_QC, *_STAGES):
            page = self._instance.fetch_materializations(dg.AssetKey(str(asset)), limit=1)
            (record,) = page.records
            storage.store_asset_event(record.event_log_entry, record.storage_id)


_STAGES = (AssetName.SEGMENTATION, AssetName.TRACKS, AssetName.PATCH_TABLE)


def forget_status(session: Session) -> None:
    """Let Dagster count anew what is made, as at the first look at an asset ever; it keeps the count otherwise."""
    with cursor(session.addresses.dagster) as one:
        one.execute("UPDATE asset_keys SET cached_status_data = NULL")


def _marked(text: str) -> tuple[str, int | None, int | None, str | None, int | None, int | None]:
    """A materialisation with marks for what differs between plates, and what stood there."""

    def entry(label: str, field: str) -> str:
        found = re.search(rf'"{field}": "?([0-9a-f]+)"?}}, "label": "{label}"', text)
        assert found is not None, label
        return found[1]

    artifact, run, digest = entry("artifact", "value"), entry("ledger_run", "value"), entry("digest", "text")
    text = text.replace(
        f'"value": {artifact}}}, "label": "artifact"', '"value": <artifact>}, "label": "artifact"'
    )
    text = text.replace(f'"value": {run}}}, "label": "ledger_run"', '"value": <run>}, "label": "ledger_run"')
    text = text.replace(digest, "<digest>").replace(digest[:12], "<digest12>")
    pointers: list[int | None] = []
    for mark, found in zip(
        ("<first>", "<second>"),
        re.findall(r'"dagster/input_event_pointer/\w+": "([0-9]{1,9})"', text),
        strict=False,
    ):
        if int(found) > 1:
            text = text.replace(f': "{found}"', f': "{mark}"')
        pointers.append(int(found))
    first, second = (*pointers, None, None)[:2]
    return text, int(artifact), int(run), digest, first, second


@dataclass(frozen=True)
class _Parameters:
    """Of what is made of an experiment, as its choices say."""

    manifest: Mapping[str, object]
    training: Mapping[str, object]
    embedding: Mapping[str, object]
    features: Mapping[str, object]
    report: Mapping[str, object]

    @classmethod
    def of(cls, session: Session, experiment: str) -> "_Parameters":
        choices = ExperimentChoices.of(session.ledger, experiment)
        method, training = load_method(METHOD), choices.training_of(METHOD)
        asked: list[BaseModel] = [
            choices.split,
            method.resolve(method.parameters(training.preset, training.changes)).parameters,
            method.embedding_parameters(choices.embedding.get(METHOD, {})),
            choices.features,
            choices.report,
        ]
        return cls(*(one.model_dump(mode="json") for one in asked))


def _commit(
    session: Session,
    asset: str,
    partition: str,
    inputs: Sequence[ReadReceipt],
    parameters: Mapping[str, object],
    numbers: Sequence[NumberDraft],
    experiment: str,
) -> tuple[Artifact, int]:
    """Record an output whose folder is empty, as `Store.publish` records one that has bytes."""
    recipe, ledger = RECIPES[asset], session.ledger
    digest = sha256(f"{asset} {partition}".encode()).hexdigest()
    layout = session.store.layout
    intent = ledger.open_intent(
        asset, partition, layout.uri(layout.staged(layout.new_token())), "vm:1", _LEASE
    )
    output = OutputDraft(
        asset=str(asset),
        partition=partition,
        digest=digest,
        digest_type=DIGEST_TYPE,
        content_digest=None,
        n_bytes=1_000_000,
        n_files=10,
        uri=layout.uri(layout.partition(asset, partition) / digest[:12]),
        format_name=recipe.format.name,
        format_version=recipe.format.version,
    )
    run = RunDraft(code_identity(recipe.code, ledger), dict(parameters), datetime.now(UTC))  # type: ignore[arg-type]
    layout.at(output.uri).mkdir(parents=True)
    made = ledger.commit(intent, run, output, inputs, numbers, experiment)
    return made.artifact, made.run_id


def _numbers() -> list[NumberDraft]:
    return [
        NumberDraft(
            f"{METHOD}/task_{n // 10}", f"metric_{n % 10}", "test tracks", n / 1000, 500, "tracks", 0.0, 1.0
        )
        for n in range(NUMBERS_OF_A_REPORT)
    ]
