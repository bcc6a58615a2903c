"""Mappings that are kept: next month's file of the same header is proposed what this one had."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.imports.mapping import words
from liaison_kit.imports.models import Import, SavedMapping
from liaison_kit.imports.unfed import DECISIONS

FOR_ONE_FILE = frozenset({"encoding", "delimiter", "sheet"})
"""Options that say how one file is written, and nothing of the next."""


def fingerprint(header: Sequence[str]) -> str:
    """What tells one header from another: its words in its order, case and accents aside."""
    plain = "\x1f".join(words(name) or name for name in header)
    return hashlib.sha256(plain.encode()).hexdigest()[:32]


def save(session: Session, row: Import) -> None:
    """Keep what fed what in an import, in place of what was kept for this header before."""
    about = context(session)
    values = {
        "file_name": row.file_name,
        "mapping": row.mapping,
        "value_map": row.value_map,
        "options": {n: v for n, v in row.options.items() if n not in FOR_ONE_FILE},
        "used_at": about.now,
        "used_by": row.created_by,
    }
    written = insert(SavedMapping).values(
        id=uuid7(),
        tenant_id=about.tenant,
        record=row.record,
        fingerprint=fingerprint(row.file_info["header"]),
        **values,
    )
    session.execute(
        written.on_conflict_do_update(
            index_elements=["tenant_id", "record", "fingerprint"], set_=values
        )
    )


def find(session: Session, record: str, header: Sequence[str]) -> SavedMapping | None:
    """What is kept for files of this header."""
    return session.scalar(
        select(SavedMapping).where(
            SavedMapping.record == record, SavedMapping.fingerprint == fingerprint(header)
        )
    )


def proposed(
    kept: SavedMapping, suggested: Mapping[str, str | None], known: Collection[str]
) -> dict[str, str | None]:
    """The kept mapping, for this file: what it names and is gone is as it is suggested."""
    before = {words(column) or column: name for column, name in kept.mapping.items()}
    found: dict[str, str | None] = {}
    for column, name in suggested.items():
        said = before.get(words(column) or column)
        found[column] = said if said in known or said in DECISIONS else name
    fields = [name for name in found.values() if name and name not in DECISIONS]
    # A field that has come up since may be suggested for what another column feeds.
    return dict(suggested) if len(fields) != len(set(fields)) else found


def still_there(kept: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """What was said by field, of the fields that there are."""
    return {name: said for name, said in kept.items() if name in known}
