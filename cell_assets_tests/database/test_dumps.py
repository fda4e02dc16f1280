"""Dumps by PostgreSQL's own programs: of one moment, and without a password that others could read."""

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from cell_assets.database import dumps
from cell_assets.database.addresses import create_databases
from cell_assets.errors import BadInputError, CellAssetsError


def _execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def test_a_dump_is_of_its_moment_and_loads_once(postgres_url: str, tmp_path: Path) -> None:
    source = create_databases(postgres_url.replace("/cell_assets?", "/dumped?")).dagster
    target = create_databases(postgres_url.replace("/cell_assets?", "/loaded?")).dagster
    _execute(source, "CREATE TABLE kept (n bigserial, said text); INSERT INTO kept (said) VALUES ('then')")
    _execute(source, "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with dumps.exported_snapshot(source) as snapshot:
        _execute(source, "INSERT INTO kept (said) VALUES ('since')")
        dumps.dump(source, snapshot, tmp_path / "kept.dump")
    assert dumps.is_empty(target)
    dumps.load(target, tmp_path / "kept.dump")
    assert _execute(target, "SELECT n, said, one() FROM kept") == [(1, "then", 1)]
    with pytest.raises(CellAssetsError, match=r"cannot be made from .*kept\.dump: .*already exists"):
        dumps.load(target, tmp_path / "kept.dump")
    dumps.clear(target)
    assert dumps.is_empty(target)
    dumps.load(target, tmp_path / "kept.dump")
    assert _execute(target, "SELECT n, said, one() FROM kept") == [(1, "then", 1)]


def test_the_password_is_not_on_the_command_line(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, said = tmp_path / "pg_dump", tmp_path / "said"
    script.write_text(f'#!/bin/sh\necho "$PGPASSWORD" > {said}\necho "$@" >> {said}\n')
    script.chmod(0o755)
    monkeypatch.setattr(dumps, "_program", lambda *_: script)
    url = postgres_url.replace("//postgres@", "//postgres:p%40ss%2Fword@").replace(
        "sql://", "sql+psycopg2://"
    )
    dumps.dump(url, "1", tmp_path / "file")
    password, arguments = said.read_text().splitlines()
    assert password == "p@ss/word"
    assert "ss%2Fw" not in arguments and "ss/w" not in arguments and "//postgres@/cell_assets" in arguments


def test_a_server_newer_than_every_program_is_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "_major", lambda _: 17)
    with pytest.raises(BadInputError, match="the server is PostgreSQL 18 and no pg_dump as new is here"):
        dumps.dump(postgres_url.replace("/cell_assets?", "/postgres?"), "1", Path("file"))
