"""Addresses of the three databases, and their creation."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from cell_assets.database.addresses import DatabaseAddresses, create_databases
from cell_assets.database.embedded import open_database
from cell_assets.errors import BadInputError, CellAssetsError
from cell_assets.settings import Settings


@pytest.mark.parametrize(
    ("base", "ledger"),
    [
        ("postgresql://u:p@h:5433/lab", "postgresql+psycopg2://u:p@h:5433/lab_ledger"),
        ("postgres://u@h/lab?sslmode=require", "postgresql+psycopg2://u@h/lab_ledger?sslmode=require"),
        ("postgresql+psycopg2://u@/lab?host=/tmp/s", "postgresql+psycopg2://u@/lab_ledger?host=/tmp/s"),
        ("postgresql:///lab", "postgresql+psycopg2:///lab_ledger"),
        ("postgresql://u:p%40ss%2F@h/lab", "postgresql+psycopg2://u:p%40ss%2F@h/lab_ledger"),
    ],
)
def test_addresses_derive_from_the_base_url(base: str, ledger: str) -> None:
    addresses = DatabaseAddresses.of(base)
    assert addresses.ledger == ledger
    assert addresses.mlflow == ledger.replace("lab_ledger", "lab_mlflow")
    assert addresses.dagster == ledger.replace("lab_ledger", "lab_dagster").replace("+psycopg2", "")
    assert DatabaseAddresses.of(addresses.base) == addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "lab",
        "sqlite:///lab.db",
        "postgresql://u:secret@h",
        "mysql://u:secret@h/lab",
        # libpq would quote each of these in its own words.
        "postgresql://u:x@secret@h/lab",
        "postgresql://u:secret%zz@h/lab",
        "postgresql://u:x secret@h/lab",
    ],
)
def test_a_url_that_names_no_postgresql_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(BadInputError, match="CELL_ASSETS_DATABASE_URL must read") as caught:
        DatabaseAddresses.of(url)
    assert "secret" not in str(caught.value)


def test_a_password_among_the_options_is_refused() -> None:
    with pytest.raises(BadInputError, match="has password among its options") as caught:
        DatabaseAddresses.of("postgresql://u@h/lab?sslmode=require&password=secret")
    assert "secret" not in str(caught.value)


def test_addresses_do_not_show_their_password() -> None:
    assert "secret" not in repr(DatabaseAddresses.of("postgresql://u:secret@h/lab"))


def test_an_unreachable_server_is_one_sentence_without_its_password() -> None:
    with pytest.raises(CellAssetsError, match=r"127\.0\.0\.1:1/lab cannot be reached") as caught:
        create_databases("postgresql://someone:secret@127.0.0.1:1/lab")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_databases_are_created_once_also_by_many_at_once(postgres_url: str) -> None:
    base = postgres_url.replace("/cell_assets?", "/together?")
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(create_databases, [base] * 4)) == {DatabaseAddresses.of(base)}
    with psycopg2.connect(DatabaseAddresses.of(base).dagster) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'together%' ORDER BY datname")
        assert [name for (name,) in cursor.fetchall()] == [
            "together_dagster",
            "together_ledger",
            "together_mlflow",
        ]
        cursor.execute("SHOW server_encoding")
        assert cursor.fetchone() == ("UTF8",)


def test_a_user_who_may_not_create_databases_is_told_which_to_have_created(postgres_url: str) -> None:
    connection = psycopg2.connect(postgres_url.replace("/cell_assets?", "/postgres?"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE humble LOGIN NOCREATEDB")
    connection.close()
    humble = postgres_url.replace("postgres@", "humble@").replace("/cell_assets?", "/denied?")
    with pytest.raises(CellAssetsError, match="have denied_dagster, denied_ledger, denied_mlflow created"):
        create_databases(humble)


def test_a_configured_server_is_used_as_it_is(postgres_url: str) -> None:
    with open_database(Settings(database_url=postgres_url)) as addresses:
        assert addresses == DatabaseAddresses.of(postgres_url)
