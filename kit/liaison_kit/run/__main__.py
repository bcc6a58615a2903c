"""`python -m liaison_kit.run`: what `make run`, `make migrate` and `make counterparts` call."""

import argparse
import sys

from liaison_kit.run.process import CannotStart
from liaison_kit.run.rabbitmq import install, is_installed
from liaison_kit.run.supervisor import Supervisor
from liaison_kit.settings import Settings


def main() -> int:
    """Run Liaison until a signal stops it; 0 when it stopped as asked."""
    parser = argparse.ArgumentParser(prog="liaison_kit.run", description="Run Liaison here.")
    parser.add_argument(
        "--migrate-only",
        action="store_true",
        help="bring the databases to this version, start nothing",
    )
    parser.add_argument(
        "--install-only",
        action="store_true",
        help="install RabbitMQ where it is missing, start nothing",
    )
    arguments = parser.parse_args()
    supervisor = Supervisor(Settings())
    try:
        if arguments.install_only:
            if not is_installed():
                install()
        elif arguments.migrate_only:
            supervisor.migrate()
        else:
            supervisor.run()
    except CannotStart as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
