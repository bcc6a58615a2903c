"""A service: its name, its records, its operations, and what every service has in common."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from sqlalchemy.orm import Session

from liaison_kit import additions
from liaison_kit.additions import Added
from liaison_kit.bulk.api import BulkOperations
from liaison_kit.calls.announcing import Announcer
from liaison_kit.calls.answering import answer
from liaison_kit.calls.asking import Caller
from liaison_kit.calls.builtin import CommonOperations
from liaison_kit.calls.operations import Operation
from liaison_kit.calls.serving import OperationEntrypoint
from liaison_kit.calls.wire import Call, Reply
from liaison_kit.copies import KeptCopy
from liaison_kit.database.database import Database
from liaison_kit.events import handles
from liaison_kit.events.relay import Relay
from liaison_kit.events.resend import Told
from liaison_kit.exports.api import ExportOperations
from liaison_kit.imports.api import ImportOperations
from liaison_kit.imports.fields import Importable
from liaison_kit.jobs.runner import JobRunner
from liaison_kit.listing.mine import Mine
from liaison_kit.notifications import NotificationKind
from liaison_kit.notifications import check as check_kinds
from liaison_kit.plugins import Hooks
from liaison_kit.records import attachments
from liaison_kit.records.links import Others, join
from liaison_kit.records.recordtype import RecordType
from liaison_kit.resources import Resource
from liaison_kit.resources.operations import operations_of
from liaison_kit.settings import Settings
from liaison_kit.timers.runner import TimerRunner
from liaison_kit.timers.timer import TimerHandler, handlers_of
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.principals import Principals
from liaison_sdk.events import Event
from liaison_sdk.labels import Label
from liaison_sdk.version import VERSION

T = TypeVar("T")


class Service(CommonOperations, ImportOperations, ExportOperations, BulkOperations):
    """What a service subclasses.

    `records` are the kinds of record it owns, `resources` those of them that have the usual
    operations, `copies` what it keeps of others', `points_to` what it points at without keeping any
    of it, `importables` those that files can be imported into, `tells` how other services hear what
    they keep of its records, `tidies` are the database's functions that clear up every minute,
    `tidies_after` those
    that take for how many days something is kept, each with the setting that tells (0: for good),
    `permissions` what roles may grant, `notification_kinds` what it tells people, `menu` its
    entries in the workspace, `mine` the lists that its home shows, `live` which event tells that
    which record changed; one that says `"to": "owner"` is for the screens of the user whom the
    event names as owner, and of nobody else. What its resources say of all that need not be said
    again.
    """

    name: ClassVar[str]
    version: ClassVar[str] = VERSION
    label: ClassVar[Label]
    records: ClassVar[Sequence[RecordType]] = ()
    resources: ClassVar[Sequence[Resource]] = ()
    copies: ClassVar[Sequence[KeptCopy]] = ()
    points_to: ClassVar[Sequence[Others]] = ()
    importables: ClassVar[Sequence[Importable]] = ()
    tells: ClassVar[Sequence[Told]] = ()
    permissions: ClassVar[Mapping[str, Label]] = {}
    notification_kinds: ClassVar[Sequence[NotificationKind]] = ()
    tidies: ClassVar[Sequence[str]] = ("tidy", "empty_trash", "forget_unlinked")
    tidies_after: ClassVar[Mapping[str, str]] = {}
    menu: ClassVar[Sequence[Mapping[str, Any]]] = ()
    mine: ClassVar[Sequence[Mine]] = ()
    live: ClassVar[Sequence[Mapping[str, str]]] = ()

    db: ClassVar[Database]
    keys: ClassVar[Keyring]
    principals: ClassVar[Principals]
    hooks: ClassVar[Hooks]
    added: ClassVar[Added] = Added()
    job_methods: ClassVar[Mapping[str, Callable[..., None]]] = {}
    timer_handlers: ClassVar[Mapping[str, TimerHandler]] = {}

    announcer = Announcer()
    ask = Caller()
    relay = Relay()
    job_runner = JobRunner()
    timer_runner = TimerRunner()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_kinds(cls.__name__, cls.notification_kinds)
        for copy in cls.copies:
            _hear_of(cls, copy)
        for resource in cls.resources:
            _join(cls, resource)
        _link(cls)
        usual = [made for each in cls.resources for made in operations_of(each, cls.tells)]
        if with_files := [kind for kind in cls.records if kind.attachments]:
            usual += attachments.operations(with_files)
        for made in usual:
            # A service's own goes before the usual one, also in what is derived from it.
            if not hasattr(cls, made.__name__):
                setattr(cls, made.__name__, made)
        jobs: dict[str, Callable[..., None]] = {}
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            operation = getattr(member, "operation", None)
            if operation is not None and not hasattr(member, "nameko_entrypoints"):
                setattr(cls, name, _entrypoint(operation))
            if hasattr(member, "job_kind"):
                jobs[member.job_kind] = member
        cls.job_methods = jobs
        cls.timer_handlers = handlers_of(cls)

    @classmethod
    def open(cls, settings: Settings) -> None:
        """Get ready to work: connect to the service's database, load the plugins."""
        cls.keys = Keyring(cls.name, settings.key_file, settings.trust_dir)
        cls.principals = Principals(cls.keys)
        cls.db = Database(
            settings.database,
            settings.pool_size,
            f"liaison-{cls.name}",
            job_pool_size=settings.job_pool_size,
            statement_timeout_s=settings.statement_timeout_s,
            job_statement_timeout_s=settings.job_statement_timeout_s,
        )
        cls.db.keys = cls.keys
        cls.hooks = Hooks(cls.name, settings.hook_timeout_s)
        cls.hooks.load()
        cls.added = additions.gather(cls.name, cls.hooks, [each.kind for each in cls.resources])

    @classmethod
    def records_of(cls, operation: str) -> list[str]:
        """The kinds of record that a shared operation serves here."""
        if operation == "create_import":
            return [found.record for found in cls.importables]
        return [kind.name for kind in cls.records]


def _join(service: type[Service], resource: Resource) -> None:
    """Have a service say of itself what a resource says of its kind of record."""
    service.records = _with(service.records, (resource.kind,))
    service.tells = _with(service.tells, () if resource.told is None else (resource.told,))
    drawn = {each.record for each in service.importables}
    more = [each for each in resource.importables if each.record not in drawn]
    service.importables = _with(service.importables, more)
    service.tidies = _with(service.tidies, resource.tidies)
    service.permissions = {**resource.permissions, **service.permissions}
    service.menu = _with(service.menu, resource.menu)
    service.live = _with(service.live, resource.live)


def _link(service: type[Service]) -> None:
    """Have a service's kinds know which of them point at which, and hear of others' deletions."""
    referrers = join(service.records, {told.kind.name: told.saved for told in service.tells})
    copied = (copy.others for copy in service.copies)
    for others in (*service.points_to, *(each for each in copied if each is not None)):
        name = f"on_{others.record}_gone_or_back"

        def handler(_service: Any, session: Session, event: Event, others: Others = others) -> None:
            others.heard(session, event, referrers)

        handler.__name__ = name
        setattr(service, name, handles(others.removed, others.restored)(handler))


def _with(said: Sequence[T], more: Sequence[T]) -> tuple[T, ...]:
    return (*said, *(each for each in more if each not in said))


def _hear_of(service: type[Service], copy: KeptCopy) -> None:
    """Have a service handle what it is told of its copies, unless it does so by its own method."""
    for event, act in ((copy.saved, copy.keep), (copy.removed, copy.drop)):
        name = f"on_{event.type}"
        if name not in service.__dict__:
            setattr(service, name, handles(event)(_handler(name, act)))


def _handler(name: str, act: Callable[[Session, Event], None]) -> Callable[..., None]:
    def handler(_service: Any, session: Session, event: Event) -> None:
        act(session, event)

    handler.__name__ = name
    return handler


def _entrypoint(operation: Operation) -> Callable[[Any, Call], Reply]:
    """The method that nameko calls: the whole operation around the declared function."""

    def entrypoint(service: Any, call: Call) -> Reply:
        return answer(operation, service, call)

    entrypoint.__name__ = operation.name
    entrypoint.__doc__ = operation.function.__doc__
    entrypoint.operation = operation  # type: ignore[attr-defined]
    entrypoint.nameko_entrypoints = {OperationEntrypoint(operation)}  # type: ignore[attr-defined]
    return entrypoint
