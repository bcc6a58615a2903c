"""An organisation says where it is, and everybody is told."""

from collections.abc import Callable
from typing import Any

import pytest
from identity_company import PASSWORD, Company, call

from liaison_identity import tenants
from liaison_kit.ids import uuid7
from liaison_kit.testing import told
from liaison_sdk.contracts.identity import NewTenant

Who = dict[str, Any]
AddUser = Callable[..., dict[str, Any]]


def saved(company: Company) -> list[dict[str, Any]]:
    """What was told of the organisation."""
    return [data for type, data in told(company.db, company.id) if type == "tenant_saved"]


def test_an_organisation_that_says_nothing_is_in_utc_pays_in_euros_and_has_no_country(
    company: Company, admin: Who
) -> None:
    answer = call("get_tenant", admin)

    assert answer.body == {
        "id": str(company.id),
        "name": company.slug.replace("-", " "),
        "slug": company.slug,
        "time_zone": "UTC",
        "country": None,
        "currency": "EUR",
        "language": "en",
        "version": 1,
    }
    assert answer.headers["ETag"] == '"1"'
    assert call("get_me", admin).body["tenant"] == answer.body
    assert [(one["tenant_id"], one["tenant"]["version"]) for one in saved(company)] == [
        (str(company.id), 1)
    ]


def test_it_may_say_all_of_it_when_it_is_set_up(company: Company) -> None:
    slug = f"set-{uuid7()}"
    administrator = {"email": f"a@{slug}.example.com", "password": PASSWORD, "locale": "fr"}
    there = {"time_zone": "America/Toronto", "country": "ca", "currency": "cad"}
    new = NewTenant.model_validate(
        {"name": "Érable", "slug": slug, "administrator": administrator} | there
    )

    made = tenants.bootstrap(company.db, new)

    assert (made.time_zone, made.country, made.currency) == ("America/Toronto", "CA", "CAD")
    assert made.language == "fr"
    assert {type for type, _ in told(company.db, made.id)} >= {"tenant_created", "tenant_saved"}


def test_what_is_sent_is_changed_told_and_written_down(company: Company, admin: Who) -> None:
    changes = {"time_zone": "Europe/Paris", "country": "FR", "currency": "EUR"}

    answer = call("change_tenant", admin, body=changes, version=1)

    assert answer.status == 200, answer.body
    assert answer.body == call("get_tenant", admin).body
    assert answer.body["time_zone"] == "Europe/Paris"
    assert answer.body["version"] == 2
    assert saved(company)[-1]["tenant"] == {
        "name": answer.body["name"],
        "time_zone": "Europe/Paris",
        "country": "FR",
        "currency": "EUR",
        "language": "en",
        "version": 2,
    }
    (entry, *_) = call("list_audit", admin).body["items"]
    assert (entry["action"], entry["record_id"], entry["by"]) == (
        "tenant_changed",
        str(company.id),
        admin["user"],
    )
    assert entry["details"] == {
        "changes": {"time_zone": ["UTC", "Europe/Paris"], "country": [None, "FR"]}
    }


def test_what_changes_nothing_is_not_told(company: Company, admin: Who) -> None:
    before = saved(company)

    answer = call("change_tenant", admin, body={"time_zone": "UTC"}, version=1)

    assert answer.body["version"] == 1
    assert saved(company) == before


def test_who_changes_what_somebody_else_has_changed_is_shown_it(admin: Who) -> None:
    call("change_tenant", admin, body={"currency": "GBP"}, version=1)

    answer = call("change_tenant", admin, body={"currency": "USD"}, version=1)

    assert answer.status == 412
    assert call("get_tenant", admin).body["currency"] == "GBP"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("time_zone", "Paris", "unknown_zone"),
        ("time_zone", "localtime", "unknown_zone"),
        ("time_zone", "../../etc/passwd", "unknown_zone"),
        ("time_zone", None, "string_type"),
        ("country", "XX", "country_alpha2"),
        ("country", "FRA", "country_alpha2"),
        ("currency", "EUQ", "InvalidCurrency"),
        ("currency", "XAU", "InvalidCurrency"),
        ("language", "de", "literal_error"),
        ("name", "", "missing"),
        ("name", "\u00a0\u200b", "missing"),
        ("slug", "another", "extra_forbidden"),
    ],
)
def test_what_there_is_not_is_named_and_changes_nothing(
    company: Company, admin: Who, field: str, value: Any, code: str
) -> None:
    before = call("get_tenant", admin).body

    answer = call(
        "change_tenant", admin, body={field: value, "country": "FR"} | {field: value}, version=1
    )

    assert answer.status == 422
    assert [(error["path"], error["code"]) for error in answer.body["errors"]] == [(field, code)]
    assert call("get_tenant", admin).body == before


def test_only_who_may_sees_and_changes_it(company: Company, add_user: AddUser) -> None:
    rep = company.principal(company.token(add_user("Rep", "sales_rep")["email"]))

    assert call("get_tenant", rep).status == 403
    assert call("change_tenant", rep, body={"currency": "USD"}, version=1).status == 403
    assert call("get_me", rep).body["tenant"]["time_zone"] == "UTC"
