"""Who may import whom: `sdk ← kit ← services`, `sdk ← plugins`, and the rooms inside a service."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from liaison_kit.database.migrations import services
from liaison_kit.events.handlers import EventHandler
from liaison_sdk.contracts.desk import UsersNotified

ROOT = Path(__file__).parents[2]
BUS = {"amqp", "eventlet", "kombu", "nameko", "pika"}

# The gateway's own client of the bus, the one place outside the kit that knows AMQP.
GATEWAY_BUS = {f"liaison_gateway/{name}.py" for name in ("amqp", "bus", "connections", "listening")}

# `liaison run` and `liaison serve` start processes on this machine; everything else is HTTP.
CLI_MAY = ("liaison_kit.run", "liaison_kit.serve", "liaison_kit.settings")

PACKAGES = {
    init.parent.name: init.parent
    for pattern in ("sdk", "kit", "cli", "services/*", "plugins/*")
    for init in sorted(ROOT.glob(f"{pattern}/liaison_*/__init__.py"))
}
SERVICES = [name for name, folder in PACKAGES.items() if folder.parent.parent.name == "services"]
PLUGINS = [name for name, folder in PACKAGES.items() if folder.parent.parent.name == "plugins"]


def modules(package: str) -> Iterator[tuple[Path, set[str]]]:
    """Every module of a package, with the full names of all that it imports."""
    folder = PACKAGES[package]
    for file in sorted(folder.rglob("*.py")):
        imported: set[str] = set()
        here = [package, *file.relative_to(folder).with_suffix("").parts]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = here[: -node.level] if node.level else []
                source = ".".join([*above, *([node.module] if node.module else [])])
                imported |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        yield file, imported


def strays(package: str, *allowed: str) -> list[str]:
    """Imports of Liaison's own packages beyond the package itself and those allowed."""
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file, imported in modules(package)
        for name in sorted(imported)
        if name.split(".")[0] in PACKAGES
        and not any(f"{name}.".startswith(f"{right}.") for right in (package, *allowed))
        # `from liaison_kit import run` names the package on its way to an allowed module.
        and not any(right.startswith(f"{name}.") for right in allowed)
    ]


def test_all_packages_are_seen() -> None:
    assert {"liaison_sdk", "liaison_kit", "liaison_cli"} <= set(PACKAGES)
    assert {"liaison_contacts", "liaison_gateway", "liaison_identity"} <= set(SERVICES)
    assert PLUGINS


def test_the_sdk_imports_nothing_of_liaison() -> None:
    assert strays("liaison_sdk") == []


def test_the_kit_imports_the_sdk_only() -> None:
    assert strays("liaison_kit", "liaison_sdk") == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    assert strays(service, "liaison_kit", "liaison_sdk") == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_the_sdk_only(plugin: str) -> None:
    assert strays(plugin, "liaison_sdk") == []


def test_the_command_line_uses_the_public_api() -> None:
    assert strays("liaison_cli", *CLI_MAY) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_tests(package: str) -> None:
    for file, imported in modules(package):
        tests = {name for name in imported if {"tests", "conftest"} & set(name.split("."))}
        assert not tests, file


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - {"liaison_kit"}))
def test_only_the_kit_and_the_gateways_bus_client_know_the_bus(package: str) -> None:
    for file, imported in modules(package):
        name = f"{package}/{file.relative_to(PACKAGES[package])}"
        allowed = {"pika"} if name in GATEWAY_BUS else set()
        known = {module.split(".")[0] for module in imported} & BUS
        assert known <= allowed, file


def test_the_gateway_loads_no_eventlet() -> None:
    names = [
        ".".join(file.relative_to(ROOT / "services/gateway").with_suffix("").parts)
        for file, _ in modules("liaison_gateway")
        if file.name != "__main__.py"
    ]
    check = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names!r}];"
        "assert not {'eventlet', 'nameko'} & set(sys.modules), 'loaded'"
    )

    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_hears_and_asks_whom_it_says(name: str) -> None:
    """The broker allows it no more than its package says, so that has to be what it does."""
    place, _, class_name = services()[name].partition(":")
    service = getattr(importlib.import_module(place), class_name)
    package = importlib.import_module(place.partition(".")[0])
    heard = {
        entrypoint.source
        for _, member in inspect.getmembers(service)
        for entrypoint in getattr(member, "nameko_entrypoints", ())
        if isinstance(entrypoint, EventHandler)
    }

    assert set(package.HEARS) == heard
    kept = {copy.owner for copy in service.copies}
    assert set(package.ASKS) == asked_in(package.__name__) | kept | {"identity"}


def test_identity_hears_every_service_that_tells_people_something() -> None:
    classes = {}
    for name, place in services().items():
        module, _, class_name = place.partition(":")
        classes[name] = getattr(importlib.import_module(module), class_name)
    heard = {
        entrypoint.source
        for _, member in inspect.getmembers(classes["identity"])
        for entrypoint in getattr(member, "nameko_entrypoints", ())
        if isinstance(entrypoint, EventHandler) and UsersNotified in entrypoint.events
    }

    assert {name for name, found in classes.items() if found.notification_kinds} == heard


def asked_in(package: str) -> set[str]:
    """The services that its code names as it asks: `ask`, `answer_to`, or its own `_asked`."""
    names = set(services())
    found: set[str] = set()
    for file, _ in modules(package):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func).rpartition(".")[2]
            if "ask" in called or called.startswith("answer_"):
                found |= {a.value for a in node.args if isinstance(a, ast.Constant)} & names
    return found


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"liaison_gateway"}))
def test_inside_a_service_the_wire_calls_features_and_features_use_models(service: str) -> None:
    for file, imported in modules(service):
        own = {name.split(".")[1] for name in imported if name.startswith(f"{service}.")}
        if file.name == "models.py":
            assert own <= {"models"}, f"{file.relative_to(ROOT)}: models know no feature"
        elif file.name != "service.py":
            assert "service" not in own, f"{file.relative_to(ROOT)}: a feature knows no wire"
