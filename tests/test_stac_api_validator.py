"""stac-api-validator against the served demo catalogue, schemas read from a folder.

The tool is pinned: what it checks and how it words a failure changes from release to release. Each error line that is
tolerated stands in `ALLOWED` with the clause that excuses it, and has to occur, so that the list cannot rot.
The tool has no check of `features#filter`, and does no more than name the other `features#` classes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version

from tests.conftest import DATA, SHARED, Server

# Seven of its ten scenes are of the Great Plains; all ten are valid by the schemas.
COLLECTION = "sentinel-2-l2a"
GREAT_PLAINS = {
    "type": "Polygon",
    "coordinates": [[[-109.5, 36.5], [-101.5, 36.5], [-101.5, 41.2], [-109.5, 41.2], [-109.5, 36.5]]],
}
ARGUMENTS = (
    "--transaction-collection", "sentinel-2-l2a",
    "--collection", COLLECTION,
    "--geometry", json.dumps(GREAT_PLAINS),
    "--validate-pagination",
    "--fields-nested-property", "properties.eo:cloud_cover",
    "--query-comparison-field", "eo:cloud_cover",
    "--query-eq-value", "100",
    "--query-neq-value", "100",
    "--query-lt-value", "10",
    "--query-lte-value", "67.712057",
    "--query-gt-value", "40",
    "--query-gte-value", "44.190183",
    "--query-substring-field", "platform",
    "--query-starts-with-value", "Sentinel",
    "--query-ends-with-value", "-2B",
    "--query-contains-value", "inel-2",
    # The tool takes a string property for a list of letters: one of the values has to be a letter of the answer's.
    "--query-in-field", "platform",
    "--query-in-values", "Sentinel-2A,S",
)  # fmt: skip

CLASSES = (
    "core", "collections", "features", "item-search", "filter", "item-search#fields", "item-search#query",
    "item-search#sort", "features#fields", "features#query", "features#sort", "transaction",
)  # fmt: skip

# (pattern of an error line, the clause that excuses it)
ALLOWED: tuple[tuple[str, str], ...] = (
    (r"\[Features - Transaction Ext\] : DELETE (?s:.*) had unexpected status code 404 instead of 204: ?",
     "Transaction 1.0.0-rc.3, DELETE: 404 may be answered where there was no item"),
    (r"\[Features - Transaction Ext\] : (PUT|PATCH) (?s:.*) had unexpected status code 200 instead of 204: ?",
     "Transaction 1.0.0-rc.3, PUT and PATCH: 200 with the content, or 204"),
)  # fmt: skip

# The classes of the tool that a server may announce or not, by what the landing page says of them.
OPTIONAL = {
    "item-search#fields": r"item-search#fields",
    "item-search#query": r"item-search#query",
    "item-search#sort": r"item-search#sort",
    "features#fields": r"ogcapi-features#fields",
    "features#query": r"ogcapi-features#query",
    "features#sort": r"ogcapi-features#sort",
    "filter": r"item-search#filter",
    "children": r"children",
    "browseable": r"browseable",
    "transaction": r"ogcapi-features/extensions/transaction",
}


def validate(url: str, classes: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """One run of the tool; its output holds the command line too."""
    command = [sys.executable, str(SHARED / "bench" / "offline_run.py"), "--schemas", str(DATA / "schemas")]
    command += ["stac-api-validator", "--root-url", f"{url}/", *ARGUMENTS]
    for name in classes:
        command += ["--conformance", name]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)


def errors_of(output: str) -> list[str]:
    """The lines under `Errors:`, less their dashes. An error can hold line breaks: what follows belongs to it."""
    _, found, rest = output.partition("\nErrors:\n")
    if not found:
        return []
    lines: list[str] = []
    for line in rest.splitlines():
        if line.startswith("not in the schema folder: "):
            continue  # from offline_run.py: pages and pictures that the documents link to
        if line.startswith("- "):
            lines.append(line[2:])
        elif line:
            assert lines, output
            lines[-1] += "\n" + line
    return lines


def test_the_validator_is_the_pinned_one() -> None:
    assert version("stac-api-validator") == "0.6.8"


def test_every_announced_class_that_the_validator_knows_is_run(demo: Server) -> None:
    announced = demo.get("/conformance").json()["conformsTo"]
    known = {
        name
        for name, ending in OPTIONAL.items()
        if any(re.fullmatch(rf"https://api\.stacspec\.org/[^/]+/{ending}", uri) for uri in announced)
    }
    assert set(CLASSES) == known | {"core", "collections", "features", "item-search"}


def test_the_validator_reports_no_error_that_is_not_excused(demo: Server) -> None:
    done = validate(demo.url, CLASSES)
    output = f"{' '.join(map(str, done.args))}\n{done.stdout}"
    assert "Traceback" not in output, output
    errors = errors_of(done.stdout)
    assert errors or "Errors: none" in done.stdout, output
    assert done.returncode == bool(errors), output
    tolerated = [pattern for pattern, _ in ALLOWED]
    strangers = [line for line in errors if not any(re.fullmatch(pattern, line) for pattern in tolerated)]
    assert not strangers, "\n".join(["not excused:", *strangers, "", output])
    unused = [pattern for pattern in tolerated if not any(re.fullmatch(pattern, line) for line in errors)]
    assert not unused, "\n".join(["excused, but did not occur; take it off the list:", *unused, "", output])
