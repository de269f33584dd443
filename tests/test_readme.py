"""The README's commands are run and print what it says; what it links to is there."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from swath.config import Settings
from swath.http.errors import ERRORS
from tests.conftest import ROOT, Server, start_server

README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """A folder as the reader has it after the first command, and the server that it started."""
    folder = tmp_path_factory.mktemp("tour")
    before = Path.cwd()
    os.chdir(folder)
    try:
        server = start_server(["demo", "--port", "0", "--no-browser"])
    finally:
        os.chdir(before)
    yield folder, server
    server.stop()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Each command of the console blocks with what it prints."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


def run(command: str, folder: Path, server: Server) -> str:
    done = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, server.url)], cwd=folder, text=True, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    # Where a terminal shows a bar, a pipe gets these lines.
    lines = [line for line in done.stdout.splitlines(keepends=True) if not line.startswith("committed ")]
    return "".join(lines).replace(server.url, ADDRESS)


def test_the_tour_prints_what_it_says(tour: tuple[Path, Server]) -> None:
    folder, server = tour
    (first, printed), *rest = steps()
    assert first == "swath demo"
    for _ in range(100):  # a thread reads what the server prints
        said = "".join(line for line in server.lines if not line.startswith("committed "))
        if said.count("\n") >= printed.count("\n"):
            break
        time.sleep(0.05)
    assert said.replace(server.url, ADDRESS) == printed
    for command, expected in rest:
        # Words and data are two streams: their order between each other is not fixed.
        assert sorted(run(command, folder, server).splitlines()) == sorted(expected.splitlines()), command
    assert len(rest) >= 9


def test_the_python_examples_print_what_they_say(tour: tuple[Path, Server]) -> None:
    folder, server = tour
    programs, outputs = blocks("python"), blocks("text")
    assert len(programs) == len(outputs) == 2
    assert len([line for line in programs[0].splitlines() if line]) <= 6
    for program, output in zip(programs, outputs, strict=True):
        (folder / "example.py").write_text(program.replace(ADDRESS, server.url))
        assert run("python example.py", folder, server) == output


def test_the_requests_of_the_table_answer_what_it_says(tour: tuple[Path, Server]) -> None:
    _, server = tour
    rows = re.findall(r"^\| `(/.*?)` \| (.*?) \|$", README, re.MULTILINE)
    assert len(rows) == 10
    parts = urlsplit(server.url)
    for target, words in rows:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
        connection.putrequest("GET", target)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 200
        body = json.loads(answer.read())
        connection.close()
        count = re.match(r"([0-9]+) (?:items|collections)", words)
        if count:
            assert body["numberMatched"] == int(count[1]), target
        else:
            assert body["type"] in ("Catalog", "Collection", "Feature")


def test_links_lead_to_files() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`SWATH_{name.upper()}`" in page
        assert field.description
        assert field.description in page


def test_every_error_code_is_documented() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    for _, status, code in ERRORS:
        assert f"| {status} | `{code}` |" in page
