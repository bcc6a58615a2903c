"""Credentials: what each process of one machine's Liaison may know, and no more.

Made once and kept in a folder that nobody else may read. A service is told its own password for its
own database, its own broker user and its own private keys; who owns the tables is known to
migrations only.
"""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import URL

from liaison_kit.database.migrations import Roles
from liaison_kit.run.process import kept_secret
from liaison_kit.trust import keys

ROTATE_AFTER_S = 30 * 86_400
"""How long a party signs with one key."""


class Credentials:
    """The passwords and keys of every service and of the gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "secrets"
        self.trusted = folder / "trusted"

    def make_keys(self, parties: Iterable[str]) -> None:
        """Give every party its keys, and those whose keys are old new ones."""
        for party in parties:
            own = self._key_file(party)
            keys.create(party, own, self.trusted)
            if keys.age_s(own) > ROTATE_AFTER_S:
                keys.rotate(party, own, self.trusted)

    def roles(self, service: str, server: URL) -> Roles:
        """The two roles of a service's database on this server."""
        name = f"liaison_{service}"
        inside = server.set(drivername="postgresql+psycopg2", database=name)
        return Roles(
            owner=inside.set(
                username=f"{name}_owner", password=self._secret(service, "database-owner")
            ),
            service=inside.set(username=name, password=self._secret(service, "database")),
        )

    def broker_password(self, party: str) -> str:
        """The password of the party's broker user, whose name is the party's."""
        return self._secret(party, "broker")

    def broker_url(self, party: str, broker: str) -> str:
        """The broker's address under the party's own user."""
        parts = urlsplit(broker)
        _, _, place = parts.netloc.rpartition("@")
        mine = f"{party}:{self.broker_password(party)}@{place}"
        return urlunsplit(parts._replace(netloc=mine))

    def environment(self, party: str) -> dict[str, str]:
        """The secrets and keys of a party that belong to no server."""
        return {
            "LIAISON_SECRET_KEY": self._secret(party, "secret"),
            "LIAISON_KEY_FILE": str(self._key_file(party)),
            "LIAISON_TRUST_DIR": str(self.trusted),
        }

    def _key_file(self, party: str) -> Path:
        return self._own_folder(party) / "keys.json"

    def _secret(self, party: str, what: str) -> str:
        return kept_secret(self._own_folder(party) / what)

    def _own_folder(self, party: str) -> Path:
        folder = self.folder / party
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
