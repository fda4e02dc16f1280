"""Counts in sentences."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 file`, `2 files`; with `many` for a plural that is not formed with an s."""
    return f"{n} {one}" if n == 1 else f"{n} {many or f'{one}s'}"
