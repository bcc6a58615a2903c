"""Declaring pages, and rendering them.

    PAGES = Pages("liaison_identity")

    @page("/password/{link}")
    def show_new_password(self, visit: Visit, link: str) -> Reply:
        return PAGES.show(visit, "new_password", "A new password", {"problem": None})

    @form("/password/{link}")
    def take_new_password(self, visit: Visit, link: str) -> Reply: ...

The gateway serves them under `/p/<service>`. Nobody is signed in: what the visitor may see hangs on
a key, a slug or a signed link in the address, which also says whose data it is; until that has been
found out the database shows nothing. All that the visitor sends travels sealed.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from liaison_kit.calls.operations import Operation
from liaison_kit.calls.wire import Reply, Visit
from liaison_kit.pages import layout
from liaison_kit.templates import render

HTML = "text/html; charset=utf-8"

F = TypeVar("F", bound=Callable[..., Any])


def page(path: str) -> Callable[[F], F]:
    """A page to look at; looking changes nothing, since programs that check mail follow links."""
    return _declared("GET", path)


def form(path: str, *, guessable: bool = False) -> Callable[[F], F]:
    """What is done with the form of a page at the same path (see `Operation.guessable`)."""
    return _declared("POST", path, guessable=guessable)


def _declared(method: Any, path: str, **options: Any) -> Callable[[F], F]:
    def declare(function: F) -> F:
        function.operation = Operation(  # type: ignore[attr-defined]
            function, method, path, allow=None, public=True, page=True, **options
        )
        return function

    return declare


class Pages:
    """The pages of a package: Liquid in its folder `pages`, one file each."""

    def __init__(self, package: str) -> None:
        self._package = package

    def show(
        self,
        visit: Visit,
        name: str,
        title: str,
        fields: Mapping[str, Any],
        status: int = 200,
    ) -> Reply:
        """A page filled in, as the visitor gets it."""
        body = render(_source(self._package, name), f"pages.{name}", fields, html=True)
        return Reply(status, layout.page(title, body, visit.language), content_type=HTML)


@cache
def _source(package: str, name: str) -> str:
    return files(package).joinpath("pages", f"{name}.html").read_text()
