"""Text lists as data sets publish them: rows of fields, one per line, or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wstar.errors import CheckpointError


@dataclass(frozen=True)
class Row:
    """One line of a list: its number, counted from 1, its text, and what separates its fields."""

    line: int
    text: str
    separator: str | None

    @property
    def fields(self) -> list[str]:
        """The fields without the blanks around them; split anew each time, which saves memory."""
        return [field.strip() for field in self.text.split(self.separator)]


@dataclass(frozen=True)
class TextList:
    """The rows of a list file, blank lines left out; is_csv: commas separate the fields."""

    path: Path
    rows: Sequence[Row]
    is_csv: bool

    def refused(self, row: Row, found: object, allowed: str) -> CheckpointError:
        """The error that names file, line, what stands there, and what may."""
        return CheckpointError(f"{self.path}, line {row.line}: found {found!r}, allowed: {allowed}")

    def number(self, row: Row, field: str) -> int:
        """A field of a row as a whole number, 0 or more; CheckpointError for anything else."""
        if not (field.isascii() and field.isdigit()):
            raise self.refused(row, field, "a whole number, 0 or more")
        return int(field)

    def check_pictures(self, rows: Sequence[Row], names: Sequence[str]) -> None:
        """Refuse two rows about one picture, in whatever format.

        Raises
        ------
        CheckpointError: names the second of them.
        """
        seen: set[str] = set()
        for row, name in zip(rows, names, strict=True):
            if stem(name) in seen:
                raise self.refused(row, name, "each picture once")
            seen.add(stem(name))

    def after_count(self) -> tuple[Row, Sequence[Row]]:
        """The titles and the rows of a list whose first line counts its rows.

        Raises
        ------
        CheckpointError: there are other than so many, or no titles.
        """
        first, *others = self.rows
        count = self.number(first, first.text.strip())
        if not others or count != len(others) - 1:
            allowed = f"{max(len(others) - 1, 0)}, the rows that follow a line of titles"
            raise self.refused(first, count, allowed)
        return others[0], others[1:]


def read_list(path: Path) -> TextList:
    """Read a list; commas separate its fields where the first line has any, else blanks.

    Raises
    ------
    CheckpointError: no such file, no text, or nothing in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: no text file: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise CheckpointError(f"{path}: the file is empty")
    is_csv = "," in lines[0][1]
    separator = "," if is_csv else None
    return TextList(path, [Row(number, line, separator) for number, line in lines], is_csv)


def stem(name: str) -> str:
    """What names a picture: `000001` of `img/000001.jpg`; formats are converted, names stay."""
    return PurePosixPath(name).stem
