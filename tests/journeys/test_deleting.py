"""A walk through deleting: what pointed at it lets go of it, in every module, until it is back."""

from typing import Any

from tests.system import Api, wait_for


def test_a_person_and_a_company_of_an_open_deal_are_deleted_and_restored(api: Api) -> None:
    company = api.make("/companies", name="Chairs SA")
    person = api.make("/contacts", last_name="Buyer", company_id=company["id"])
    api.make(f"/contacts/{person['id']}/notes", body="Likes tea")
    deal = api.make(
        "/opportunities",
        name="Forty chairs",
        company_id=company["id"],
        contact_id=person["id"],
    )
    deal = wait_for(
        "the deal shows its company", lambda: _deal(api, deal, company_name="Chairs SA")
    )

    _delete(api, "companies", company["id"])
    assert api.see(f"/contacts/{person['id']}")["company_id"] is None
    _delete(api, "contacts", person["id"])

    alone = wait_for(
        "the deal lets go of both",
        lambda: _deal(api, deal, company_id=None, company_name=None, contact_id=None),
    )
    assert alone["status"] == "open"
    said = api.see("/history", record="opportunities", id=deal["id"])["items"]
    assert {"company_id": [company["id"], None]} in [
        entry["changes"] for entry in said if entry["action"] == "unlinked"
    ]
    kept = api.see("/history", record="contacts", id=person["id"])["items"]
    assert kept[0]["action"] == "removed"
    assert api.see("/history", record="companies", id=company["id"])["items"]
    won = api.act(f"/opportunities/{deal['id']}/win", alone["version"])
    assert (won["status"], won["company_id"], won["contact_id"]) == ("won", None, None)

    for record, id in (("contacts", person["id"]), ("companies", company["id"])):
        assert api.post(f"/{record}/{id}/restore").status_code == 200

    back = wait_for(
        "the deal has them again",
        lambda: _deal(
            api,
            deal,
            company_id=company["id"],
            company_name="Chairs SA",
            contact_id=person["id"],
        ),
    )
    assert back["status"] == "won"
    assert api.see(f"/contacts/{person['id']}")["company_name"] == "Chairs SA"
    (note,) = api.see(f"/contacts/{person['id']}/notes")["items"]
    assert note["body"] == "Likes tea"


def _delete(api: Api, record: str, id: str) -> None:
    def gone() -> bool:
        # What sales tells of the deal may have changed it meanwhile.
        version = api.see(f"/{record}/{id}")["version"]
        answer = api.delete(f"/{record}/{id}", headers={"If-Match": f'"{version}"'})
        assert answer.status_code in (204, 412), answer.text
        return answer.status_code == 204

    wait_for(f"{record} lose one", gone)


def _deal(api: Api, deal: dict[str, Any], **wanted: Any) -> dict[str, Any] | None:
    found = api.see(f"/opportunities/{deal['id']}")
    return found if {name: found[name] for name in wanted} == wanted else None
