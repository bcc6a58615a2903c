"""The wire of identity: operations that call the feature modules and decide nothing."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from liaison_identity import (
    audit,
    choices,
    digests,
    drafts,
    guessing,
    models,
    new_passwords,
    notifications,
    password_links,
    passwords,
    roles,
    sign_in,
    teams,
    tenants,
    tokens,
    users,
    views,
    visits,
)
from liaison_identity.audit import AUDIT
from liaison_identity.digests import DigestDue
from liaison_identity.importing import IMPORTED_USERS
from liaison_identity.notifications import NOTIFICATIONS
from liaison_identity.roles import ROLES
from liaison_identity.teams import TEAMS
from liaison_identity.users import USERS
from liaison_kit import listing, records
from liaison_kit.calls.operations import delete, get, internal, patch, post, put
from liaison_kit.calls.wire import Call, Raw, Reply, Version, Visit
from liaison_kit.context import Context, Principal
from liaison_kit.events import handles
from liaison_kit.events.resend import Told
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.pages.serving import form, page
from liaison_kit.privacy.serving import HoldsPersonalData
from liaison_kit.service import Service
from liaison_kit.timers import on_timer
from liaison_sdk.contracts import contacts, sales
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.connect import MessageFailed
from liaison_sdk.contracts.desk import (
    Draft,
    Drafts,
    DraftText,
    NewView,
    Notification,
    NotificationChoiceChanges,
    NotificationChoices,
    ReadNow,
    ReadUntil,
    Unread,
    UsersNotified,
    View,
    ViewChanges,
    ViewOrder,
)
from liaison_sdk.contracts.exports import ListExported
from liaison_sdk.contracts.identity import (
    AuditEntry,
    Authenticated,
    Credentials,
    EndedTokens,
    Invitation,
    IssuedToken,
    Me,
    NewPassword,
    NewRole,
    NewTeam,
    NewToken,
    NewUser,
    PasswordByLink,
    PasswordResetWanted,
    PrincipalToRenew,
    RenewedPrincipal,
    Role,
    RoleChanges,
    Team,
    TeamChanges,
    TenantChanges,
    Token,
    TokenToCheck,
    User,
    UserChanges,
)
from liaison_sdk.contracts.privacy import ModuleRetired, RecordsMerged
from liaison_sdk.contracts.questions import FoundIds, Ids, KnownUsers, Names
from liaison_sdk.errors import InvalidInput, NotFound
from liaison_sdk.labels import Label
from liaison_sdk.types import Code

Limit = Annotated[int, Field(ge=1, le=200)]


class Identity(HoldsPersonalData, Service):
    """Who works here, what they may do, what they did about it, and what is on their desks."""

    name = "identity"
    label = Label(en="People and rights", fr="Utilisateurs et droits")
    records = (USERS, TEAMS, ROLES)
    importables = (IMPORTED_USERS,)
    holds = (models.Notification, models.Draft)
    unsearched: ClassVar[Mapping[str, str]] = {
        "users": "who works here is not who is erased, also where they are called alike",
        "password_links": "addresses of users",
        "tokens": "what users call their own tokens",
        "tenants": "an organisation's own name is not a person's",
    }
    tidies = (
        *Service.tidies,
        "refill_searches",
        "tidy_guesses",
        "tidy_password_links",
        "tidy_desks",
    )
    tells = (
        Told(tenants.TENANT, tenants.tell, tenants.tell_removed),
        Told(USERS, users.tell, users.tell_removed),
    )
    permissions = {
        "users:read": Label(en="See users", fr="Voir les utilisateurs"),
        "users:write": Label(en="Change users", fr="Modifier les utilisateurs"),
        "teams:read": Label(en="See teams", fr="Voir les équipes"),
        "teams:write": Label(en="Change teams", fr="Modifier les équipes"),
        "roles:read": Label(en="See roles", fr="Voir les rôles"),
        "roles:write": Label(en="Change roles", fr="Modifier les rôles"),
        "account:read": Label(
            en="See one's own tokens, notifications, drafts and views",
            fr="Voir ses propres jetons, notifications, brouillons et vues",
        ),
        "account:write": Label(
            en="Change one's own tokens, password, drafts and views",
            fr="Modifier ses propres jetons, mot de passe, brouillons et vues",
        ),
        "audit:read": Label(en="See the audit trail", fr="Voir le journal d'audit"),
        "tenant:read": Label(en="See the organisation", fr="Voir l'organisation"),
        "tenant:write": Label(en="Change the organisation", fr="Modifier l'organisation"),
        "views:share": Label(
            en="Share one's views with the team or everybody",
            fr="Partager ses vues avec l'équipe ou avec tous",
        ),
        "views:write": Label(en="Change others' shared views", fr="Modifier les vues partagées"),
    }
    menu = (
        {"label": {"en": "Users", "fr": "Utilisateurs"}, "path": "/users", "icon": "user"},
        {"label": {"en": "Teams", "fr": "Équipes"}, "path": "/teams", "icon": "team"},
        {"label": {"en": "Roles", "fr": "Rôles"}, "path": "/roles", "icon": "key"},
    )
    live = (
        {"type": "users_saved", "record": "users", "permission": "users:read"},
        {"type": "user_removed", "record": "users", "permission": "users:read"},
        {"type": "team_saved", "record": "teams", "permission": "teams:read"},
        {"type": "role_saved", "record": "roles", "permission": "roles:read"},
        {"type": "tenant_saved", "record": "tenant", "permission": "tenant:read"},
        {
            "type": "notifications_changed",
            "record": "notifications",
            "permission": "account:read",
            "to": "owner",
        },
    )

    # --- signing in ------------------------------------------------------------------------------

    @internal(public=True)
    def authenticate(self, token: TokenToCheck) -> Authenticated:
        """Whose token it is, and what it allows."""
        return tokens.authenticate(self.db, self.principals, token.token_hash)

    @internal(public=True)
    def renew_principal(self, asked: PrincipalToRenew) -> RenewedPrincipal:
        """What somebody may do now whose job or timer goes on."""
        return tokens.renew(self.db, self.principals, asked.principal)

    @post("/sign-in", public=True, status=200, problems=[401])
    def sign_in(self, credentials: Credentials, call: Call) -> Raw[contracts.Session]:
        """Sign in with an e-mail and a password; the answer holds the token.

        Whoever fails several times has to wait some minutes between tries; the answer is the same.
        """
        return Raw(sign_in.sign_in(self.db, credentials, call.meta.get("source") or ""))

    @post("/sign-out", allow="account:write")
    def sign_out(self, session: Session, principal: Principal) -> None:
        """End the session that asks: its token is not valid any more."""
        tokens.revoke(session, principal.token_id, "signed_out")

    @get("/me")
    def get_me(self, session: Session, principal: Principal) -> Me:
        """Who is signed in, where, and what they may do."""
        found = listing.read(session, USERS, principal.user)
        if found is None:
            raise NotFound("There is no such user")
        return Me(
            user=User.model_validate_json(found[0]),
            tenant=tenants.here(session),
            permissions=sorted(principal.permissions),
            rows=dict(principal.rows),
            kind=principal.kind,
        )

    # --- new passwords ---------------------------------------------------------------------------

    @post("/password-resets", public=True, guessable=True)
    def ask_password_reset(self, call: Call, wanted: PasswordResetWanted) -> None:
        """Have a link to a new password mailed; the answer is the same whoever the e-mail is of."""
        source = call.meta.get("source") or ""
        new_passwords.mail_links(self.db, wanted.email, wanted.tenant, source)

    @post("/password-resets/completion", public=True, guessable=True, problems=[404])
    def complete_password_reset(self, call: Call, new: PasswordByLink) -> None:
        """Set a password by the link of a mail, once; whatever was signed in ends."""
        link, source = new.link.get_secret_value(), call.meta.get("source") or ""
        new_passwords.set_by_link(self.db, self.keys, link, new.password, source)

    @page("/forgotten")
    def show_forgotten(self, visit: Visit) -> Reply:
        """Where a link to a new password is asked for."""
        return visits.forgotten(visit)

    @form("/forgotten", guessable=True)
    def take_forgotten(self, visit: Visit) -> Reply:
        """Have the link mailed; the page is the same whoever the e-mail is of."""
        return visits.asked(self.db, visit)

    @page("/password/{link}")
    def show_new_password(self, visit: Visit, link: str) -> Reply:
        """Where the link of a mail leads."""
        return visits.new_password(self.db, self.keys, visit, link)

    @form("/password/{link}", guessable=True)
    def take_new_password(self, visit: Visit, link: str) -> Reply:
        """Set the password."""
        return visits.chosen(self.db, self.keys, visit, link)

    @internal()
    def resolve_users(self, session: Session, asked: Names) -> FoundIds:
        """Which users have these names or e-mail addresses."""
        return FoundIds(found=users.resolve(session, asked.names))

    @internal()
    def known_users(self, session: Session, asked: Ids) -> KnownUsers:
        """What others keep of these users."""
        return KnownUsers(users=users.known(session, asked.ids))

    # --- the organisation ------------------------------------------------------------------------

    @get("/tenant", allow="tenant:read")
    def get_tenant(self, session: Session) -> Raw[contracts.Tenant]:
        """Your organisation: its time zone, country, currency and language."""
        return _tenant(tenants.here(session))

    @patch("/tenant", allow="tenant:write", problems=[412])
    def change_tenant(
        self, session: Session, changes: TenantChanges, version: Version
    ) -> Raw[contracts.Tenant]:
        """Change your organisation; without a country it has no public holidays."""
        return _tenant(tenants.change(session, changes, version))

    # --- users -----------------------------------------------------------------------------------

    @get("/users", allow="users:read", record=USERS)
    def list_users(self, session: Session, query: ListQuery[User]) -> Raw[Page[User]]:
        """Users, filtered, searched and sorted."""
        return Raw(listing.page(session, USERS, query))

    @post("/users", allow="users:write", record=USERS, problems=[403, 409])
    def create_user(self, session: Session, user: NewUser) -> Raw[User]:
        """Add a user; nobody can give them rights beyond their own."""
        row = users.create(session, user)
        return Raw(*records.answer(session, USERS, row))

    @get("/users/{id}", allow="users:read", record=USERS, problems=[404])
    def get_user(self, session: Session, id: UUID) -> Raw[User]:
        """One user."""
        return _found(listing.read(session, USERS, id))

    @patch("/users/{id}", allow="users:write", record=USERS, problems=[403, 404, 409, 412])
    def change_user(
        self, session: Session, id: UUID, changes: UserChanges, version: Version
    ) -> Raw[User]:
        """Change a user; null clears a field."""
        row = users.change(session, id, changes, version)
        return Raw(*records.answer(session, USERS, row))

    @delete("/users/{id}", allow="users:write", record=USERS, problems=[403, 404, 409, 412])
    def delete_user(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a user; their tokens end at once."""
        users.remove(session, id, version)

    @post("/users/{id}/password", status=200, problems=[403, 404])
    def set_password(
        self, principal: Principal, call: Call, id: UUID, new: NewPassword
    ) -> EndedTokens:
        """Set your own password, saying the present one, or that of a user below you.

        What they signed in with ends: your other sessions and your API tokens, unless you keep
        those with `keep_tokens`; everything of another user. Your own needs a session or a token
        with `account:write`, another's `users:write`.
        """
        about = Context(tenant=principal.tenant, principal=principal)
        own = id == principal.user
        principal.demand("account:write" if own else "users:write")
        if new.keep_tokens and not own:
            raise InvalidInput.field("keep_tokens", "only_own", "Only your own tokens may stay")
        with self.db.reading(about) as session:
            users.may_set_password(session, id)
        if own:
            session_id = principal.token_id if principal.kind == "session" else None
            sign_in.confirm(self.db, principal.tenant, id, new.current_password, session_id)
        hashed = passwords.hashed(new.password)
        # A transaction of its own: nothing of a password is kept for Idempotency-Key.
        with self.db.writing(about) as session:
            stays = own and (principal.kind == "session" or new.keep_tokens)
            but = principal.token_id if stays else None
            ended = users.set_password(session, id, hashed, keep_tokens=new.keep_tokens, but=but)
            if own:
                guessing.remember(session, id, guessing.network(call.meta.get("source") or ""))
            return ended

    @post("/users/{id}/invitation", allow="users:write", status=200, problems=[403, 404, 409])
    def invite_user(self, session: Session, id: UUID) -> Invitation:
        """Mail an invitation again to somebody who has no password yet; earlier ones end."""
        return Invitation(expires_at=users.invite_again(session, id))

    # --- teams -----------------------------------------------------------------------------------

    @get("/teams", allow="teams:read", record=TEAMS)
    def list_teams(self, session: Session, query: ListQuery[Team]) -> Raw[Page[Team]]:
        """Teams, filtered and sorted."""
        return Raw(listing.page(session, TEAMS, query))

    @post("/teams", allow="teams:write", record=TEAMS, problems=[409])
    def create_team(self, session: Session, team: NewTeam) -> Raw[Team]:
        """Add a team."""
        row = teams.create(session, team)
        return Raw(*records.answer(session, TEAMS, row.id))

    @get("/teams/{id}", allow="teams:read", record=TEAMS, problems=[404])
    def get_team(self, session: Session, id: UUID) -> Raw[Team]:
        """One team."""
        return _found(listing.read(session, TEAMS, id))

    @patch("/teams/{id}", allow="teams:write", record=TEAMS, problems=[404, 409, 412])
    def change_team(
        self, session: Session, id: UUID, changes: TeamChanges, version: Version
    ) -> Raw[Team]:
        """Change a team; null clears a field."""
        teams.change(session, id, changes, version)
        return Raw(*records.answer(session, TEAMS, id))

    @delete("/teams/{id}", allow="teams:write", record=TEAMS, problems=[404, 412])
    def delete_team(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a team; its members stay."""
        teams.remove(session, id, version)

    # --- roles -----------------------------------------------------------------------------------

    @get("/roles", allow="roles:read", record=ROLES)
    def list_roles(self, session: Session, query: ListQuery[Role]) -> Raw[Page[Role]]:
        """Roles, filtered and sorted."""
        return Raw(listing.page(session, ROLES, query))

    @post("/roles", allow="roles:write", record=ROLES, problems=[403, 409])
    def create_role(self, session: Session, call: Call, role: NewRole) -> Raw[Role]:
        """Add a role that allows no more than you are allowed."""
        row = roles.create(session, role, _announced(call))
        return Raw(*records.answer(session, ROLES, row.id))

    @get("/roles/{id}", allow="roles:read", record=ROLES, problems=[404])
    def get_role(self, session: Session, id: UUID) -> Raw[Role]:
        """One role."""
        return _found(listing.read(session, ROLES, id))

    @patch("/roles/{id}", allow="roles:write", record=ROLES, problems=[403, 404, 409, 412])
    def change_role(
        self, session: Session, call: Call, id: UUID, changes: RoleChanges, version: Version
    ) -> Raw[Role]:
        """Change a role; whoever has it feels it with their next request."""
        roles.change(session, id, changes, version, _announced(call))
        return Raw(*records.answer(session, ROLES, id))

    @delete("/roles/{id}", allow="roles:write", record=ROLES, problems=[403, 404, 409, 412])
    def delete_role(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a role that nobody has."""
        roles.remove(session, id, version)

    # --- tokens ----------------------------------------------------------------------------------

    # One's own need a session or a token with `account:read` or `account:write`, those of others
    # `users:write`: whose they are decides, so no permission is declared where both may be asked.

    @get("/tokens", problems=[403, 404])
    def list_tokens(
        self,
        session: Session,
        principal: Principal,
        user_id: UUID | None = None,
        limit: Limit = 50,
        cursor: UUID | None = None,
    ) -> Page[Token]:
        """Your sessions and API tokens, latest first; those of others need `users:write`."""
        if user_id is None or user_id == principal.user:
            principal.demand("account:read")
        else:
            principal.demand("users:write")
            users.demand_seen(session, user_id)
        return tokens.page(session, user_id or principal.user, limit, cursor)

    @post("/tokens", allow="account:write", problems=[403, 409])
    def create_token(self, principal: Principal, call: Call, token: NewToken) -> IssuedToken:
        """Make an API token of your own; its secret is shown this once."""
        # A transaction of its own: an answer with a secret is not kept for Idempotency-Key.
        with self.db.writing(Context(tenant=principal.tenant, principal=principal)) as session:
            return tokens.create(session, principal, token, _announced(call))

    @delete("/tokens/{id}", problems=[403, 404])
    def delete_token(self, session: Session, principal: Principal, id: UUID) -> None:
        """End a session or an API token: your own, or that of a user below you."""
        if not principal.may("users:write"):
            principal.demand("account:write")
        owner = tokens.owner(session, id)
        if owner == principal.user:
            principal.demand("account:write")
        elif not principal.may("users:write") or not users.sees(session, owner):
            raise tokens.NoSuchToken()
        else:
            users.demand_rights_of(session, owner)
        tokens.revoke(session, id)

    @handles(ModuleRetired)
    def on_module_retired(self, session: Session, event: ModuleRetired) -> None:
        """An operator has taken a module out: the audit trail says who."""
        audit.record(
            session, "module_retired", "modules", module=event.module, by=event.envelope.actor
        )

    # --- notifications ---------------------------------------------------------------------------

    # What is on one's desk is one's own: a session may all of it, an API token if it was made for
    # its owner's account. There is no permission by which anybody reads another's.

    @get("/notifications", allow="account:read", record=NOTIFICATIONS)
    def list_notifications(
        self, session: Session, query: ListQuery[Notification]
    ) -> Raw[Page[Notification]]:
        """What you were told, the latest first, about what you may see; `unread=true` narrows it.

        What is told of the same again while you have not read it is counted in `times`.
        """
        return Raw(notifications.page(session, query))

    @get("/notifications/unread", allow="account:read")
    def count_unread(self, session: Session) -> Unread:
        """How many you have not read."""
        return notifications.unread(session)

    @post("/notifications/{id}/read", allow="account:write", problems=[404])
    def read_notification(self, session: Session, id: UUID) -> None:
        """You have read this one."""
        notifications.read(session, id)

    @post("/notifications/read", allow="account:write", status=200)
    def read_notifications(self, session: Session, read: ReadUntil) -> ReadNow:
        """You have read all that you were told up to a moment."""
        return ReadNow(read=notifications.read_until(session, read.until))

    @get("/notifications/choices", allow="account:read")
    def get_notification_choices(self, session: Session) -> NotificationChoices:
        """How you want to hear of what; kinds that are not named are as their modules have them.

        Which kinds there are is at `/notification-kinds`.
        """
        return choices.mine(session)

    @patch("/notifications/choices", allow="account:write")
    def change_notification_choices(
        self, session: Session, call: Call, changes: NotificationChoiceChanges
    ) -> NotificationChoices:
        """Choose on the screen (`app`), by mail as well (`mail`, `digest`: once a day), or `none`.

        Null is the module's own choice again. `digest_at` is by your organisation's clock.
        """
        return choices.change(session, changes, call.meta.get("notification_kinds") or ())

    @handles(
        UsersNotified,
        contacts.PeopleSaved,
        contacts.CompaniesSaved,
        contacts.PersonRemoved,
        contacts.CompanyRemoved,
        source="contacts",
        heeded=notifications.concern,
    )
    def on_contacts_told(self, session: Session, event: notifications.OfContacts) -> None:
        """Contacts tells users something, or whose the people and companies are."""
        notifications.heard(session, "contacts", event)

    @handles(
        UsersNotified,
        sales.OpportunityChanged,
        sales.OpportunitiesImported,
        sales.OpportunitiesSaved,
        sales.OpportunitiesRemoved,
        source="sales",
        heeded=notifications.concern,
    )
    def on_sales_told(self, session: Session, event: notifications.OfSales) -> None:
        """Sales tells users something, or whose the opportunities are."""
        notifications.heard(session, "sales", event)

    @on_timer(DigestDue)
    def on_digest_due(self, session: Session, timer: DigestDue) -> None:
        """Somebody's mail of the day is to go."""
        digests.send(session, timer.user_id)

    def merged(self, session: Session, event: RecordsMerged) -> dict[str, int]:
        """Have what is about the merged record be about the survivor."""
        counts = super().merged(session, event)
        notifications.merged(session, event.into_id)
        return counts

    # --- drafts ----------------------------------------------------------------------------------

    @put("/drafts/{record}/{id}/{field}", allow="account:write", problems=[404, 409])
    def keep_draft(
        self,
        session: Session,
        record: Code,
        id: UUID,
        field: Code,
        draft: DraftText,
        version: Version | None,
    ) -> Raw[Draft]:
        """Keep what you have written so far: a field's text, or a whole form (`form`).

        The last to write wins; with `If-Match` only if nothing else was written since. A draft goes
        thirty days after it was last touched.
        """
        return _versioned(drafts.keep(session, record, id, field, draft.body, version))

    @get("/drafts/{record}/{id}", allow="account:read")
    def list_drafts(self, session: Session, record: Code, id: UUID) -> Drafts:
        """All that you have begun about a record and not sent yet."""
        return Drafts(items=drafts.all_of(session, record, id))

    @get("/drafts/{record}/{id}/{field}", allow="account:read", problems=[404])
    def get_draft(self, session: Session, record: Code, id: UUID, field: Code) -> Raw[Draft]:
        """What you have begun of one field, or of the form."""
        return _versioned(drafts.one(session, record, id, field))

    @delete("/drafts/{record}/{id}/{field}", allow="account:write")
    def delete_draft(self, session: Session, record: Code, id: UUID, field: Code) -> None:
        """Drop a draft: it was sent, or you want it no more."""
        drafts.drop(session, record, id, field)

    # --- saved views -----------------------------------------------------------------------------

    @get("/views", allow="account:read")
    def list_views(
        self,
        session: Session,
        record: Code | None = None,
        limit: Limit = 200,
        cursor: UUID | None = None,
    ) -> Page[View]:
        """Your views and those that are shared with you, in your order."""
        return views.page(session, record, limit, cursor)

    @post("/views", allow="account:write", problems=[403, 409])
    def create_view(self, session: Session, view: NewView) -> Raw[View]:
        """Save a view; to share it with your team or everybody needs `views:share`."""
        return _versioned(views.one(session, views.create(session, view)))

    @get("/views/{id}", allow="account:read", problems=[404])
    def get_view(self, session: Session, id: UUID) -> Raw[View]:
        """One view: a question, without its answer."""
        return _versioned(views.one(session, id))

    @patch("/views/{id}", allow="account:write", problems=[403, 404])
    def change_view(
        self, session: Session, id: UUID, changes: ViewChanges, version: Version
    ) -> Raw[View]:
        """Change a view of yours; another's that is shared with you needs `views:write`."""
        views.change(session, id, changes, version)
        return _versioned(views.one(session, id))

    @delete("/views/{id}", allow="account:write", problems=[403, 404])
    def delete_view(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a view of yours; another's that is shared with you needs `views:write`."""
        views.remove(session, id, version)

    @post("/views/order", allow="account:write")
    def order_views(self, session: Session, order: ViewOrder) -> None:
        """Put your views of a kind of record into an order, for yourself only."""
        views.arrange(session, order)

    @put("/views/{id}/default", allow="account:write", problems=[404])
    def begin_with_view(self, session: Session, id: UUID) -> None:
        """Begin with this view when you come to its kind of record."""
        views.begin_with(session, id)

    @delete("/views/{id}/default", allow="account:write")
    def begin_without_view(self, session: Session, id: UUID) -> None:
        """Begin with this view no more."""
        views.begin_without(session, id)

    @handles(MessageFailed)
    def on_message_failed(self, session: Session, event: MessageFailed) -> None:
        """An invitation or a link to a new password was not delivered."""
        password_links.failed(session, event)

    @handles(ListExported, source="contacts")
    def on_contacts_exported(self, session: Session, event: ListExported) -> None:
        """Somebody has taken people or companies out as a file."""
        audit.exported(session, event)

    @handles(ListExported, source="sales")
    def on_sales_exported(self, session: Session, event: ListExported) -> None:
        """Somebody has taken opportunities, products or pipelines out as a file."""
        audit.exported(session, event)

    # --- audit -----------------------------------------------------------------------------------

    @get("/audit", allow="audit:read", record=AUDIT)
    def list_audit(self, session: Session, query: ListQuery[AuditEntry]) -> Raw[Page[AuditEntry]]:
        """Who did what, when, latest first."""
        return Raw(listing.page(session, AUDIT, query))


def _announced(call: Call) -> list[str]:
    """The permissions of the modules that run, as the gateway knows them."""
    return list(call.meta.get("permissions") or ())


def _tenant(tenant: contracts.Tenant) -> Raw[contracts.Tenant]:
    return Raw(tenant.model_dump_json().encode(), tenant.version)


def _versioned(shown: Draft | View) -> Raw[Any]:
    return Raw(shown.model_dump_json().encode(), shown.version)


def _found(read: tuple[str, int] | None) -> Raw[Any]:
    if read is None:
        raise NotFound()
    return Raw(read[0].encode(), read[1])
