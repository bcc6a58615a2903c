"""`python -m liaison_kit.migrate SERVICE`: bring a service's database to the code's revision.

It works as the owner of the tables (`LIAISON_DATABASE_OWNER_URL`), which no service process may.
Where `LIAISON_DATABASE_SERVER_URL` is set it makes the roles and the database first.
"""

import argparse
import sys

from liaison_kit.database.migrations import Roles, migrate, prepare, services
from liaison_kit.settings import settings


def main(arguments: list[str]) -> None:
    """Migrate one service's database."""
    parser = argparse.ArgumentParser(prog="python -m liaison_kit.migrate")
    parser.add_argument("service", choices=sorted(services()))
    service = parser.parse_args(arguments).service
    chosen = settings()
    if chosen.database_server is not None:
        prepare(chosen.database_server, Roles(chosen.owned_database, chosen.database))
    migrate(service, chosen.owned_database)
    print(f"{service}: migrated")


if __name__ == "__main__":
    main(sys.argv[1:])
