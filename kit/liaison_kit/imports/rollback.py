"""Take a finished import back: what it made goes, what it changed returns, unless touched since."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.imports.engine import Steps
from liaison_kit.imports.fields import Importable
from liaison_kit.imports.models import Import
from liaison_kit.records import custom, links

CHUNK = 4000


def roll_back(
    steps: Steps, importable: Importable, import_id: UUID, columns: Sequence[str]
) -> dict[str, int]:
    """Undo the import's changes in chunks, the latest first; returns the counts.

    A record whose version moved on since, that others refer to, or that who takes the import back
    may not see (or would not see then) is kept. A change that has been
    undone leaves `import_changes`, so what remains there is what was kept. What is restored is as
    an earlier import left it, and may be taken back with that one, too.
    """
    state = steps.checkpoint
    counts: dict[str, int] = state.setdefault("counts", {"deleted": 0, "restored": 0, "kept": 0})
    if importable.beside_undone is not None:
        with steps.step() as session:
            importable.beside_undone(session, import_id)
    more = True
    while more:
        with steps.step() as session:
            last = state.get("last")
            ids = [
                row.record_id
                for row in session.connection().exec_driver_sql(
                    "SELECT record_id FROM import_changes WHERE import_id = %(import)s"
                    " AND action IN ('created', 'updated')"
                    + (" AND record_id < %(last)s" if last else "")
                    # Later records may refer to earlier ones of the same file, not the reverse.
                    + f" ORDER BY record_id DESC LIMIT {CHUNK}",
                    {"import": str(import_id), "last": last},
                )
            ]
            more = len(ids) == CHUNK
            if ids:
                deleted = _delete(session, importable, import_id, ids)
                if deleted and importable.kind is not None:
                    gone = dict.fromkeys(deleted, links.NEVER_BACK)
                    links.unlink(session, gone, importable.kind.referrers)
                restored = _restore(session, importable, import_id, ids, columns)
                counts["deleted"] += len(deleted)
                counts["restored"] += len(restored)
                counts["kept"] += len(ids) - len(deleted) - len(restored)
                if importable.after_rollback is not None:
                    importable.after_rollback(session, deleted, restored)
                state["last"] = str(ids[-1])
                state["counts"] = counts
                steps.done += len(ids)
    return counts


def _delete(
    session: Session, importable: Importable, import_id: UUID, ids: Sequence[UUID]
) -> list[UUID]:
    try:
        with session.begin_nested():
            rows = session.connection().exec_driver_sql(
                f"""
                WITH gone AS (
                  DELETE FROM "{importable.table.name}" t USING import_changes c
                   WHERE c.import_id = %(import)s AND c.record_id = ANY(%(ids)s::uuid[])
                     AND c.action = 'created' AND t.id = c.record_id AND t.version = c.version
                     {_seen(session, importable, "t")}
                  RETURNING t.id, t.version
                ), forgotten AS (
                  DELETE FROM import_changes c USING gone
                   WHERE c.import_id = %(import)s AND c.record_id = gone.id
                ), told AS (
                  INSERT INTO history
                         (id, tenant_id, record, record_id, version, action, at, "by", changes)
                  SELECT gen_random_uuid(), %(tenant)s, %(record)s, id, version + 1, 'removed',
                         %(now)s, %(user)s, '{{}}'::jsonb FROM gone
                )
                SELECT id FROM gone
                """,
                _parameters(session, importable, import_id, ids),
            )
            return [row.id for row in rows]
    except IntegrityError:
        # Something refers to one of them: find which by halving.
        if len(ids) == 1:
            return []
    half = len(ids) // 2
    return _delete(session, importable, import_id, ids[:half]) + _delete(
        session, importable, import_id, ids[half:]
    )


def _restore(
    session: Session,
    importable: Importable,
    import_id: UUID,
    ids: Sequence[UUID],
    columns: Sequence[str],
) -> list[UUID]:
    table = f'"{importable.table.name}"'
    was = {name: f'b."{name}"' for name in columns}
    if "custom" in was:
        was["custom"] = _FIELDS_THAT_ARE_THERE
    restored = ", ".join(f'"{name}" = {value}' for name, value in was.items())
    rows = session.connection().exec_driver_sql(
        f"""
        WITH back AS (
          UPDATE {table} t
             SET {restored}, version = t.version + 1, updated_at = %(now)s, updated_by = %(user)s
            FROM import_changes c, jsonb_populate_record(NULL::{table}, c.before) b
           WHERE c.import_id = %(import)s AND c.record_id = ANY(%(ids)s::uuid[])
             AND c.action = 'updated' AND t.id = c.record_id AND t.version = c.version
             {_seen(session, importable, "t", *(["b"] if _owner(importable) in columns else []))}
          RETURNING t.id, t.version
        ), forgotten AS (
          DELETE FROM import_changes c USING back
           WHERE c.import_id = %(import)s AND c.record_id = back.id
        ), earlier AS (
          UPDATE import_changes c SET version = c.version + 2 FROM back
           WHERE c.record_id = back.id AND c.import_id <> %(import)s
             AND c.version <= back.version - 2
        ), told AS (
          INSERT INTO history (id, tenant_id, record, record_id, version, action, at, "by", changes)
          SELECT gen_random_uuid(), %(tenant)s, %(record)s, back.id, back.version, 'changed',
                 %(now)s, %(user)s,
                 (SELECT coalesce(jsonb_object_agg(e.key, jsonb_build_array(e.value -> 1,
                                                                            e.value -> 0)), '{{}}')
                    FROM jsonb_each(h.changes) e)
            FROM back LEFT JOIN history h ON h.record = %(record)s AND h.record_id = back.id
             AND h.version = back.version - 1 AND h.tenant_id = %(tenant)s
        )
        SELECT id FROM back
        """,
        _parameters(session, importable, import_id, ids),
    )
    return [row.id for row in rows]


_FIELDS_THAT_ARE_THERE = """(SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}')
    FROM jsonb_each(b.custom) e WHERE e.key = ANY(%(fields)s))"""


def _owner(importable: Importable) -> str | None:
    owner = None if importable.kind is None else importable.kind.owner
    return None if owner is None else str(owner.key)


def _seen(session: Session, importable: Importable, *rows: str) -> str:
    """SQL that narrows to what the person sees, of these rows."""
    if importable.peers(session) is None:
        return ""
    owner = _owner(importable)
    return " ".join(f'AND {row}."{owner}" = ANY(%(peers)s::uuid[])' for row in rows)


def _parameters(
    session: Session, importable: Importable, import_id: UUID, ids: Sequence[UUID]
) -> dict[str, object]:
    about = context(session)
    return {
        "import": str(import_id),
        "tenant": str(about.tenant),
        "record": importable.record,
        "now": about.now,
        "user": str(about.user) if about.user else None,
        "ids": [str(id) for id in ids],
        "peers": importable.peers(session),
        "fields": sorted(
            custom.names_since(session, importable.record, _begun(session, import_id))
        ),
    }


def _begun(session: Session, import_id: UUID) -> UUID:
    """An id of when the import began to write: the mapping may name a field that was added after
    the file had come."""
    found = session.scalar(select(Import.errors_file).where(Import.id == import_id))
    return found or import_id
