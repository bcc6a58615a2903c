"""`python -m liaison_kit.run.migrate`: make and migrate the database of every installed service.

A process apart, because it works as who owns the tables, and on the server as who may make roles:
no service is told either.
"""

from liaison_kit.database.migrations import migrate, prepare, services
from liaison_kit.run.credentials import Credentials
from liaison_kit.run.process import CannotStart
from liaison_kit.settings import settings


def main() -> None:
    """Bring every database to this version."""
    server = settings().database_server
    if server is None:
        raise CannotStart("LIAISON_DATABASE_SERVER_URL names no server")
    credentials = Credentials(settings().run_dir.resolve())
    for service in sorted(services()):
        roles = credentials.roles(service, server)
        prepare(server, roles)
        migrate(service, roles.owner)
        print(f"{service}: migrated")


if __name__ == "__main__":
    main()
