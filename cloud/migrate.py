"""Bring the schema up to date: numbered SQL files, each applied once, in order, whole."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from cloud.adapters.postgres.schema import Schema
from cloud.core.errors import OperatorError

FOLDER: Final = Path(__file__).parent / "migrations"
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file.

    Attributes:
        number: Its place; 1, 2, 3... without a gap.
        name: The file's name.
        sql: Its statements.
        sha256: Of its bytes, hex: a file that was applied must never change.
    """

    number: int
    name: str
    sql: str
    sha256: str


def read(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations in ``folder``, in order.

    Raises:
        OperatorError: A name is not ``NNNN_words.sql``, or a number is missing or doubled.
    """
    found = []
    for path in sorted(folder.glob("*.sql")):
        if not (match := _NAME.fullmatch(path.name)):
            raise OperatorError(f"{path} is no migration", hint="name it NNNN_words.sql")
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()
        found.append(Migration(int(match[1]), path.name, body.decode(), digest))
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise OperatorError(f"{folder} has gaps or doubles", hint="number the files 0001, 0002...")
    return found


def pending(known: Sequence[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """Return what is still to be applied.

    Args:
        known: The files we have.
        applied: Number to SHA-256 of what the database has had. May be ahead of ``known``: an old
            program on a new schema is legal during an upgrade.

    Raises:
        OperatorError: An applied file has changed since.
    """
    for each in known:
        if applied.get(each.number, each.sha256) != each.sha256:
            raise OperatorError(
                f"{each.name} was applied in another form",
                hint="put the file back as it was and write the change as a new file",
            )
    return [each for each in known if each.number not in applied]


async def migrate(schema: Schema, known: Sequence[Migration]) -> list[Migration]:
    """Apply what is pending and return it. Idempotent; one worker at a time.

    Raises:
        OperatorError: See ``pending``.
        InfrastructureError: The database failed; what was applied before stays applied.
    """
    done = []
    async with schema.alone():
        for each in pending(known, await schema.applied()):
            await schema.apply(each.number, each.name, each.sha256, each.sql)
            _log.info("migrated", migration=each.name)
            done.append(each)
    return done
