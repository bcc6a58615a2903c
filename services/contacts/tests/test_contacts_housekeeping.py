"""What nobody needs any more goes, and nothing else."""

import datetime as dt
from collections.abc import Callable

from sqlalchemy import text

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.records import files
from liaison_kit.testing import about


def test_unclaimed_uploads_and_old_keys_go_after_a_day(
    fresh_database: Callable[[str], Database], someone: Context
) -> None:
    db = fresh_database("contacts")
    kept, young, old = uuid7(), uuid7(), uuid7()
    long_ago = Context(tenant=someone.tenant, now=dt.datetime.now(dt.UTC) - dt.timedelta(days=2))
    for file, who in ((kept, long_ago), (young, someone), (old, long_ago)):
        with db.writing(who) as session:
            files.put(session, file, 0, b"x")
    with db.writing(someone) as session:
        files.claim(session, kept)

    with db.connection() as connection:
        connection.execute(text("SELECT tidy()"))
        connection.commit()

    with db.reading(someone) as session:
        assert [files.parts(session, file) for file in (kept, young, old)] == [1, 1, 0]
    with db.reading(about()) as session:
        assert files.parts(session, kept) == 0
