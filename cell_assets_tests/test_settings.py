"""The environment as one object, and a database URL that comes in a file."""

from pathlib import Path

import pytest

from cell_assets.errors import BadInputError
from cell_assets.settings import Settings

URL = "postgresql://lab:canary-9f2@db.example:5433/lab"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELL_ASSETS_DATABASE_URL", "CELL_ASSETS_DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_url_is_read_from_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL_FILE", str(tmp_path / "url"))
    settings = Settings()
    assert settings.database_url == URL
    assert "canary" not in repr(settings) and "canary" not in str(settings)


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL_FILE", "")
    assert Settings().database_url is None
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL", URL)
    assert Settings().database_url == URL


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b" \n", "is empty: write postgresql://"),
        (b"canary\xff", "is not text in UTF-8"),
    ],
    ids=["missing", "empty", "not-text"],
)
def test_a_file_that_holds_no_url_is_refused_by_name(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL_FILE", str(file))
    with pytest.raises(BadInputError, match=said) as caught:
        Settings()
    assert str(caught.value).startswith(f"{file}, named by CELL_ASSETS_DATABASE_URL_FILE, ")
    assert "canary" not in str(caught.value)


def test_a_url_and_a_file_together_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text(URL)
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("CELL_ASSETS_DATABASE_URL", URL)
    with pytest.raises(BadInputError, match="CELL_ASSETS_DATABASE_URL_FILE are both set") as caught:
        Settings()
    assert "canary" not in str(caught.value)
