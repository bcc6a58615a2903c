"""`python -m liaison_kit.migrate [SERVICE ...]`: bring the databases to the code's revision."""

import sys

from liaison_kit.database.migrations import migrate, services
from liaison_kit.settings import settings


def main(names: list[str]) -> None:
    """Migrate the named services, or all that are installed."""
    for name in names or sorted(services()):
        migrate(settings(), name)
        print(f"{name}: migrated")


if __name__ == "__main__":
    main([name for name in sys.argv[1:] if name != "--all"])
