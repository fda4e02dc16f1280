"""A secret that is looked for everywhere: in its own letters, and in every form in which software passes letters on."""

import bz2
import gzip
import lzma
import secrets
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from psycopg2 import sql


@dataclass(frozen=True)
class Canary:
    """A password of signs that URLs, shells and JSON each write in a way of their own."""

    parts: tuple[str, str]
    """Letters and digits around the signs: they stand in every encoding that is one sign by sign."""

    @classmethod
    def new(cls) -> "Canary":
        return cls((f"cage{secrets.token_hex(6)}", f"bird{secrets.token_hex(6)}"))

    @property
    def secret(self) -> str:
        """The password. Made anew each time, so that no source code or diff holds it."""
        return f"{self.parts[0]}@/?%k \"'\\&{self.parts[1]}"

    @property
    def quoted(self) -> str:
        """As it stands in a URL."""
        return quote(self.secret, safe="")

    def found_in(self, content: bytes) -> str | None:
        """In which form it stands in `content`; None where it does not, packed content included."""
        for form, wanted in self._forms().items():
            if wanted in content:
                return form
        for form, unpacked in _unpacked(content):
            if (within := self.found_in(unpacked)) is not None:
                return f"{within}, {form}"
        return None

    def _forms(self) -> dict[str, bytes]:
        first, second = (part.encode() for part in self.parts)
        forms = {"plain": first, "plain, its end": second}
        forms |= {"hexadecimal": first.hex().encode(), "hexadecimal, its end": second.hex().encode()}
        for name, text in (("plain", self.secret), ("quoted", self.quoted)):
            for offset in range(3):
                # What comes before and after it in the same groups of three bytes is not known.
                whole = b64encode(bytes(offset) + text.encode())
                known = whole[(offset * 8 + 5) // 6 : len(whole) - 4]
                forms[f"base64 of {name}, byte {offset}"] = known
                forms[f"base64url of {name}, byte {offset}"] = known.translate(bytes.maketrans(b"+/", b"-_"))
        return forms


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    unpackers: tuple[tuple[bytes, str, Any], ...] = (
        (b"\x1f\x8b", "gzip", gzip.decompress),
        (b"\x78", "zlib", zlib.decompress),
        (b"BZh", "bzip2", bz2.decompress),
        (b"\xfd7zXZ", "xz", lzma.decompress),
    )
    for magic, name, unpack in unpackers:
        if content.startswith(magic):
            try:
                yield name, unpack(content)
            except (OSError, EOFError, zlib.error, lzma.LZMAError):
                continue


@dataclass
class Search:
    """Places that were looked through, and those where the secret stood."""

    canary: Canary
    n_bytes: int = 0
    found: list[str] = field(default_factory=list)
    """`place: form`."""

    def look(self, place: str, content: str | bytes) -> None:
        """Look through one text or file."""
        raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self.n_bytes += len(raw)
        if (form := self.canary.found_in(raw)) is not None:
            self.found.append(f"{place}: {form}")

    def look_into(self, folder: Path) -> int:
        """Look through every file below a folder, members of zip archives too; how many files there were."""
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        for path in files:
            self.look(str(path), str(path))
            self.look(str(path), path.read_bytes())
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    for name in archive.namelist():
                        self.look(f"{path}!{name}", archive.read(name))
        return len(files)

    def look_at_rows(self, url: str) -> set[str]:
        """Look through every value of every table of a database; the names of tables that hold any row."""
        filled = set()
        with (
            closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
                for row in cursor:
                    filled.add(table)
                    for value in row:
                        if value is not None:
                            raw = bytes(value) if isinstance(value, memoryview) else str(value)
                            self.look(f"table {table}", raw)
        return filled
