"""Services are killed while persons are merged and erased: every request ends, none by half."""

import os
import random
from typing import Any

from tests.privacy.test_erasure import erased, finished, holding
from tests.system import System, wait_for

KILLS = int(os.environ.get("LIAISON_KILLS", "20"))
PER_KILL = 3
VICTIMS = ("contacts", "sales", "connect")


def test_whoever_is_killed_in_the_middle_every_request_ends(running: System) -> None:
    tenant = running.tenant("Killed")
    wait_for("every module has said so", lambda: holding(running, tenant) == set(VICTIMS))
    api, chance = tenant.api, random.Random(20)
    requests: list[dict[str, Any]] = []
    survivors: list[tuple[str, str]] = []

    for kill in range(0, KILLS, PER_KILL):
        into = api.make("/contacts", first_name="Stays", last_name=f"Killed {kill}")
        other = api.make("/contacts", first_name="Goes", last_name=f"Killed {kill}")
        gone = api.make("/contacts", first_name="Erased", last_name=f"Killed {kill}")
        deal = api.make("/opportunities", name="Of both", contact_id=other["id"])
        api.make("/opportunities", name=f"For Erased Killed {kill}", contact_id=gone["id"])
        version = wait_for(
            "contacts has heard of the deal",
            lambda into=into, other=other: _version(api, into["id"], other["id"]),  # type: ignore[misc]
        )
        merging = {"If-Match": f'"{version}"'}
        path = f"/contacts/{into['id']}/merge"
        requests.append(api.post(path, json={"from": other["id"]}, headers=merging).json())
        requests.append(erased(api, gone["id"]))
        victims = chance.sample(VICTIMS, PER_KILL)
        for victim in victims:
            running.kill(victim)
        for victim in victims:
            running.start_service(victim, wait=False)
        running.wait_until_whole()
        survivors.append((deal["id"], into["id"]))

    ended = [finished(api, request["id"], seconds=120) for request in requests]
    assert {request["state"] for request in ended} == {"done"}
    for deal_id, person in survivors:
        assert api.see(f"/opportunities/{deal_id}")["contact_id"] == person
    left = running.rows(
        "sales",
        "SELECT name FROM opportunities WHERE tenant_id = %s AND name LIKE %s",
        (str(tenant.id), "For Erased%"),
    )
    assert left == []


def _version(api: Any, into: str, other: str) -> int | None:
    if api.see(f"/contacts/{other}")["stage"] != "opportunity":
        return None
    found: int = api.see(f"/contacts/{into}")["version"]
    return found
