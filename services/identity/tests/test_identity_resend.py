"""Identity tells again what others keep of its users."""

from collections.abc import Callable
from typing import Any

from identity_company import Company, call, read

from liaison_identity.service import Identity
from liaison_kit.testing import in_hand, told

Who = dict[str, Any]
AddUser = Callable[..., dict[str, Any]]


def tell_again(company: Company, who: Who) -> list[tuple[str, dict[str, Any]]]:
    """What is told by a resend."""
    before = len(told(company.db, company.id))
    accepted = call("resend", who, path={"module": "identity"})
    assert accepted.status == 202, accepted.body
    Identity().resend_job(in_hand(company.db, company.about(who), accepted.body["job"]))
    return told(company.db, company.id)[before:]


def test_users_are_told_again_with_their_team_and_manager(
    company: Company, admin: Who, add_user: AddUser
) -> None:
    team = call("create_team", admin, body={"name": "Nord", "region": "North"}).body
    manager = add_user("Melvin")
    rep = add_user("Anna", team_id=team["id"], manager_id=manager["id"])

    again = tell_again(company, admin)

    assert [type for type, _ in again] == ["tenant_saved", "users_saved"]
    users = {user["id"]: user for user in again[1][1]["users"]}
    assert set(users) == {admin["user"], manager["id"], rep["id"]}
    assert users[rep["id"]] == {
        "id": rep["id"],
        "name": "Anna",
        "email": rep["email"],
        "team_id": team["id"],
        "team": "Nord",
        "region": "North",
        "manager_id": manager["id"],
        "manager": "Melvin",
        "active": True,
        "version": rep["version"],
    }


def test_who_was_removed_is_told_as_removed(
    company: Company, admin: Who, add_user: AddUser
) -> None:
    gone = add_user("Gone")
    call("delete_user", admin, path={"id": gone["id"]}, version=gone["version"])

    again = tell_again(company, admin)

    assert [type for type, _ in again] == ["tenant_saved", "users_saved", "user_removed"]
    assert [user["id"] for user in again[1][1]["users"]] == [admin["user"]]
    assert again[2][1] == {"user_id": gone["id"], "record_version": 2}


def test_users_and_their_audit_trail_stay_as_they_were(
    company: Company, admin: Who, add_user: AddUser
) -> None:
    add_user("Anna")
    lists = ("list_users", "list_audit")
    before = [call(name, admin).body["items"] for name in lists]

    tell_again(company, admin)

    assert [call(name, admin).body["items"] for name in lists] == before


def test_a_resend_tells_nothing_of_another_company(
    company: Company, admin: Who, make_company: Callable[..., Company]
) -> None:
    other = make_company()
    before = told(other.db, other.id)

    again = tell_again(company, admin)

    assert [user["id"] for user in again[1][1]["users"]] == [admin["user"]]
    assert again[0][1]["tenant_id"] == str(company.id)
    assert told(other.db, other.id) == before
    assert read(other.principal()).user != read(admin).user
