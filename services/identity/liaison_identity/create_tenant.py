"""`python -m liaison_identity.create_tenant --name N --email E [--password P]`: set up a tenant.

It also runs at the first start of `make run`, which names the administrator in the environment. Run
again it adds what is missing and changes nothing. Without `--password` it takes the password from
the environment (`LIAISON_ADMIN_PASSWORD`) or asks for it: no shell keeps it in its history.
"""

import argparse
import getpass
import os
import sys

from pydantic import ValidationError

from liaison_identity import tenants
from liaison_kit.database.database import Database
from liaison_kit.settings import settings
from liaison_sdk.contracts.identity import NewTenant
from liaison_sdk.errors import LiaisonError


def main(arguments: list[str]) -> int:
    """Set the tenant up and print its id."""
    parser = argparse.ArgumentParser(prog="python -m liaison_identity.create_tenant")
    parser.add_argument("--name", default="My organisation", help="what the organisation is called")
    parser.add_argument("--slug", help="its short name (default: made of the name)")
    parser.add_argument(
        "--email",
        default=os.environ.get("LIAISON_ADMIN_EMAIL"),
        required="LIAISON_ADMIN_EMAIL" not in os.environ,
        help="the administrator's e-mail",
    )
    parser.add_argument("--password", help="the administrator's password, at least 10 characters")
    parser.add_argument("--user", default="Administrator", help="the administrator's name")
    parser.add_argument("--locale", default="en", choices=("en", "fr"))
    parser.add_argument("--time-zone", default="UTC", help="as in Europe/Paris (default: UTC)")
    parser.add_argument("--country", help="two letters, as in FR: whose public holidays it has")
    parser.add_argument("--currency", default="EUR", help="three letters (default: EUR)")
    given = parser.parse_args(arguments)
    password = given.password or os.environ.get("LIAISON_ADMIN_PASSWORD")
    try:
        new = NewTenant.model_validate(
            {
                "name": given.name,
                "slug": given.slug,
                "time_zone": given.time_zone,
                "country": given.country,
                "currency": given.currency,
                "administrator": {
                    "name": given.user,
                    "email": given.email,
                    "password": password or getpass.getpass("Password: "),
                    "locale": given.locale,
                },
            }
        )
    except ValidationError as error:
        for detail in error.errors(include_input=False):
            where = ".".join(str(part) for part in detail["loc"])
            print(f"{where}: {detail['msg']}", file=sys.stderr)  # noqa: T201
        return 2
    db = Database(settings().database, pool_size=1, application="liaison-setup")
    try:
        tenant = tenants.bootstrap(db, new)
    except LiaisonError as error:
        print(error.detail or error.title, file=sys.stderr)  # noqa: T201
        return 1
    finally:
        db.dispose()
    print(f"{tenant.name} ({tenant.slug}): {tenant.id}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
