"""The kit names no noun of the business: what does belongs in a service."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

KIT = Path(__file__).parents[2] / "kit" / "liaison_kit"

# Two are missing because they are also verbs of the machinery: one quotes a URL, and one of several
# relays leads.
NOUN = re.compile(
    r"accounts?|campaigns?|compan(y|ies)|contacts?|customers?|deals?|forecasts?|invoices?"
    r"|opportunit(y|ies)|people|persons?|pipelines?|prospects?|segments?|tickets?"
)


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.keyword(arg=str(name)):
                yield name, node.value.lineno


def nouns(identifier: str) -> set[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier)
    return {word for word in apart.lower().split("_") if NOUN.fullmatch(word)}


def test_a_noun_is_found_inside_a_name_and_not_inside_a_word() -> None:
    assert nouns("win_deal") == {"deal"}
    assert nouns("DealWon") == {"deal"}
    assert nouns("ideal_personal_contactless") == set()


def test_the_kit_names_no_noun_of_the_business() -> None:
    found = [
        f"{file.relative_to(KIT.parent)}:{line} {name}"
        for file in sorted(KIT.rglob("*.py"))
        for name, line in identifiers(ast.parse(file.read_text()))
        if nouns(name)
    ]

    assert found == []
