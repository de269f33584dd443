"""Who may import whom (DESIGN: floors). The imports are read from the source, nothing is run."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "swath"

# Each floor may import those before it. A name stands for a module or a whole package.
FLOORS = (
    ("errors", "limits"),
    ("stac",),
    ("cql2",),
    ("search",),
    ("store.records",),
    ("store.base",),
    ("store.sqlite",),
    ("store.columns",),
    ("formats",),
    ("jobs",),
    ("blobs",),
    ("vault",),
    ("access",),
    ("catalog",),
    ("raster",),
    ("delivery",),
    ("assets",),
    ("config",),
    ("download",),
    ("session",),
    ("http", "demo"),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
# The package itself and `store` hold no code that others could climb through.
OPEN = {"", "store"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def floor_of(module: str) -> str:
    for name in sorted(LEVEL, key=len, reverse=True):
        if module == name or module.startswith(name + "."):
            return name
    raise AssertionError(f"{module} stands on no floor; add it to FLOORS")


def imports_of(path: Path, known: set[str], *, lazy: bool) -> set[str]:
    """Modules of swath that a module imports; `lazy` counts imports inside functions and type checks too."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner.removeprefix("swath.") in known else base)
    return {name.removeprefix("swath").removeprefix(".") for name in found if name.split(".")[0] == "swath"}


def test_no_module_imports_a_floor_above_its_own() -> None:
    known = modules()
    upward = []
    for name, path in known.items():
        if name in OPEN:
            continue
        for target in imports_of(path, set(known), lazy=True):
            if target in OPEN:
                continue
            if LEVEL[floor_of(target)] > LEVEL[floor_of(name)]:
                upward.append(f"{name} imports {target}")
    assert upward == []


def test_there_is_no_cycle() -> None:
    known = modules()
    edges = {name: imports_of(path, set(known), lazy=False) & set(known) - {""} for name, path in known.items()}
    state: dict[str, int] = defaultdict(int)

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state[name] != 1, f"cycle: {' -> '.join((*trail, name))}"
        if state[name] == 0:
            state[name] = 1
            for target in edges[name]:
                # A package's own __init__ gathers its modules; that is no cycle between them.
                if not name.startswith(target + "."):
                    visit(target, (*trail, name))
            state[name] = 2

    for name in known:
        visit(name, ())


def test_the_walk_sees_an_upward_edge() -> None:
    known = set(modules())
    assert "store.columns.index" in imports_of(SOURCE / "catalog" / "catalog.py", known, lazy=False)
    assert LEVEL[floor_of("http.routes")] > LEVEL[floor_of("catalog.catalog")]


def test_only_config_reads_the_environment() -> None:
    readers = [
        name for name, path in modules().items() if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]
    assert readers == ["config"]


def test_public_names_are_sorted() -> None:
    for name, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names = ast.literal_eval(node.value)
                assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)), name
