"""The pages about filters: what they say is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import GenericAlias

import swath
from swath.cql2 import ast
from swath.cql2.ast import Node
from swath.cql2.operators import GROUPS
from tests.conftest import ROOT, Server

REFERENCE = ROOT / "docs" / "reference" / "filters.md"
RECIPES = ROOT / "docs" / "how-to" / "filters.md"
# Parts of filters that are no operation, or that only the Query extension makes.
LITERALS = {"Text", "Number", "DateLiteral", "Timestamp", "IntervalLiteral", "Geometry", "BBoxLiteral", "ArrayLiteral",
            "Property", "Member", "NumericText"}  # fmt: skip


def operations() -> set[type[Node]]:
    """Classes of nodes that no other class derives from."""
    kinds = {kind for name in ast.__all__ if isinstance(kind := getattr(ast, name), type) and issubclass(kind, Node)}
    assert not any(isinstance(kind, GenericAlias) for kind in kinds)
    return {kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)}


def test_every_operation_is_described_once() -> None:
    described = [operator.node for group in GROUPS for operator in group.operators]
    assert len(set(described)) == len(described)
    assert {kind.__name__ for kind in operations()} - LITERALS == {kind.__name__ for kind in described}


def test_every_class_that_is_announced_has_its_chapter(samples: Server) -> None:
    prefix = "http://www.opengis.net/spec/cql2/1.0/conf/"
    announced = {uri.removeprefix(prefix) for uri in samples.get("/conformance").json()["conformsTo"] if prefix in uri}
    assert announced == {name for group in GROUPS for name in group.classes} | {"cql2-text", "cql2-json"}


def test_every_example_holds_its_operator_and_is_answered_alike_in_both_forms(samples: Server) -> None:
    rows = re.findall(r"^\| .* \| `(.*)` \| `(.*)` \|$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == sum(len(group.operators) for group in GROUPS) == 52
    for text, value in rows:
        text = text.replace("\\\\", "\\")
        answers = [
            samples.post("/search", {"filter": text, "filter-lang": "cql2-text", "limit": 1}),
            samples.post("/search", {"filter": json.loads(value), "limit": 1}),
        ]
        assert [answer.status for answer in answers] == [200, 200], text
        assert answers[0].json()["numberMatched"] == answers[1].json()["numberMatched"], text


def test_the_page_is_made_from_the_table() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import generate; print(generate.page(), end='')"],
        cwd=ROOT / "docs", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stdout == REFERENCE.read_text(encoding="utf-8"), "run: python docs/generate.py"


def test_every_recipe_finds_what_it_says(tmp_path: Path) -> None:
    page = RECIPES.read_text(encoding="utf-8")
    counts: list[int] = []
    recipes: list[str] = []
    for paragraph in page.split("\n\n"):
        if paragraph.startswith("    "):
            recipes += [line.strip() for line in paragraph.splitlines()]
        else:
            counts += [int(number) for number in re.findall(r"\((\d+)[);]", paragraph)]
    assert len(recipes) == len(counts) == 11
    scenes = ROOT / "src" / "swath" / "demo"
    with swath.open(tmp_path / "c", create=True) as catalog:
        catalog.load(scenes / "collections.ndjson", scenes / "items.ndjson")
        assert [catalog.count(filter=recipe) for recipe in recipes] == counts


def test_nodes_are_frozen() -> None:
    for kind in operations():
        assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
        assert all(field.name for field in fields(kind))
