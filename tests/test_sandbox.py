"""What the process that reads deliveries can do and cannot, and that it is ended when it takes too much."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swath.errors import DeliveryRefused
from swath.raster.sandbox import Limits, Sandbox
from swath.raster.tasks import InspectFile, MakeCog
from tests.conftest import SHARED

GENERIC = SHARED / "deliveries" / "generic"

# A child under the real guards that does what the "source" of a task says.
CHILD = r"""
import ctypes, json, os, socket, subprocess, sys, threading, time
from pathlib import Path
import rasterio
from swath.raster.child import lean
lean()
from swath.raster.serving import confine
from swath.raster.opening import environment

folder = Path(sys.argv[1])
answers = os.fdopen(os.dup(1), "w")

def attempt(what):
    try:
        return str(what())
    except Exception as error:
        return type(error).__name__

def fill():
    with (folder / "big").open("wb") as out:
        while True:
            out.write(b"x" * 1_000_000)

def many():
    for number in range(1_000):
        (folder / f"file{number}").write_bytes(b"x" * 1_000_000)
        time.sleep(0.01)

def eat():
    held = []
    while True:
        held.append(b"x" * 1_000_000)

def thread():
    told = []
    worker = threading.Thread(target=lambda: told.append(attempt(socket.socket)))
    worker.start()
    worker.join()
    return told[0]

DO = {
    "socket": lambda: socket.socket(),
    "socket_in_thread": thread,
    "exec": lambda: subprocess.run(["/bin/true"]),
    "execv": lambda: os.execv("/bin/true", ["true"]),
    "passwd": lambda: Path("/etc/passwd").read_text(),
    "passwd_by_proc": lambda: Path("/proc/self/root/etc/passwd").read_text(),
    "environ_of_parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "neighbour": lambda: (folder.parent / "neighbour.txt").read_text(),
    "link": lambda: (folder / "link.txt").read_text(),
    "list": lambda: os.listdir(folder.parent),
    "write_outside": lambda: (folder.parent / "neighbour.txt").write_text("x"),
    "make_outside": lambda: (folder.parent / "new.txt").write_text("x"),
    "remove_outside": lambda: (folder.parent / "neighbour.txt").unlink(),
    "chmod_outside": lambda: (folder.parent / "neighbour.txt").chmod(0o777),
    "kill_parent": lambda: os.kill(os.getppid(), 0),
    "mount": lambda: ctypes.CDLL(None, use_errno=True).unshare(0x10000000),
    "write_inside": lambda: (folder / "mine.txt").write_text("x"),
    "environ": lambda: json.dumps(dict(os.environ)),
    "sleep": lambda: time.sleep(600),
    "spin": lambda: [None for _ in iter(int, 1)],
    "eat": eat, "fill": fill, "many": many, "fork": os.fork, "session": os.setsid,
    "die": lambda: os.abort(),
    "hush": lambda: (answers.close(), os.close(1), time.sleep(600)),
    "garbage": lambda: print("\x00[]", file=answers, flush=True),
}
with rasterio.Env(**environment()):
    print(json.dumps({"guards": confine(folder, *map(int, sys.argv[2:4]))}), file=answers, flush=True)
    for line in sys.stdin:
        told = attempt(DO[Path(json.loads(line)["source"]).name])
        print(json.dumps({"done": {"told": told}}), file=answers, flush=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "job").mkdir()
    (folder / "neighbour.txt").write_text("secret of a neighbour")
    (folder / "job" / "link.txt").symlink_to("../neighbour.txt")
    (folder / "child.py").write_text(CHILD)
    return folder


def scripted(place: Path, limits: Limits | None = None) -> Sandbox:
    class Scripted(Sandbox):
        program = (str(place / "child.py"),)

    return Scripted(place / "job", limits)


def told(sandbox: Sandbox, what: str) -> str:
    return str(sandbox.run(InspectFile(f"/{what}"), 60)["told"])


@pytest.fixture(scope="module")
def sandbox(place: Path) -> Iterator[Sandbox]:
    with scripted(place) as made:
        made.start()
        yield made


def held_by(sandbox: Sandbox, guard: str) -> None:
    if guard not in sandbox.guards:
        pytest.skip(f"this kernel has no {guard}")


@pytest.mark.parametrize(
    "what", ["socket", "socket_in_thread", "exec", "execv", "kill_parent", "chmod_outside", "fork", "session"]
)
def test_the_child_has_no_network_and_begins_no_program(sandbox: Sandbox, what: str) -> None:
    held_by(sandbox, "seccomp")
    assert told(sandbox, what) == "PermissionError"


def test_the_child_gets_no_namespaces_of_its_own(sandbox: Sandbox) -> None:
    held_by(sandbox, "seccomp")
    assert told(sandbox, "mount") == "-1"


@pytest.mark.parametrize(
    "what", ["passwd", "passwd_by_proc", "environ_of_parent", "neighbour", "link", "list", "write_outside",
             "make_outside", "remove_outside"]
)  # fmt: skip
def test_the_child_neither_reads_nor_writes_outside_of_its_folder(sandbox: Sandbox, place: Path, what: str) -> None:
    held_by(sandbox, "landlock")
    assert told(sandbox, what) == "PermissionError"
    assert (place / "neighbour.txt").read_text() == "secret of a neighbour"
    assert not (place / "new.txt").exists()


def test_the_child_writes_in_its_folder(sandbox: Sandbox, place: Path) -> None:
    assert told(sandbox, "write_inside") == "1"
    assert (place / "job" / "mine.txt").read_text() == "x"


def test_the_child_has_nothing_of_our_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    with scripted(place) as sandbox:
        environment = json.loads(told(sandbox, "environ"))
    assert not environment.keys() & {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "GDAL_VRT_ENABLE_PYTHON"}
    assert environment["HOME"] == environment["TMPDIR"] == str(place / "job")


def refusal(place: Path, what: str, limits: Limits | None = None, seconds: float = 60.0) -> str:
    """What is said of a task that goes wrong; the next one must be done."""
    with scripted(place, limits) as sandbox:
        with pytest.raises(DeliveryRefused) as refused:
            sandbox.run(InspectFile(f"/{what}"), seconds)
        for made in (place / "job").glob("*"):
            if made.name.startswith(("file", "big")):
                made.unlink()
        assert told(sandbox, "write_inside") == "1"
    return str(refused.value)


@pytest.mark.parametrize("what", ["sleep", "spin"])
def test_a_child_that_takes_too_long_is_ended(place: Path, what: str) -> None:
    assert refusal(place, what, seconds=0.5) == f"{what}: it takes longer than 0.5 seconds to read"


def test_a_child_that_eats_memory_is_ended(place: Path) -> None:
    with scripted(place, Limits(memory=512)) as sandbox:
        try:  # whichever is first: the limit of the child, or whoever watches it
            words = told(sandbox, "eat")
        except DeliveryRefused as refused:
            words = str(refused)
        assert words in ("MemoryError", "eat: it takes more than 512 MB of memory to read")
        assert told(sandbox, "write_inside") == "1"


def test_a_child_that_makes_a_large_file_is_ended(place: Path) -> None:
    assert refusal(place, "fill", Limits(file=20)) == "fill: it becomes a file of more than 20 MB"


def test_a_child_that_fills_the_disk_is_ended(place: Path) -> None:
    assert refusal(place, "many", Limits(disk=20)) == "many: it takes more than 20 MB of disk"


def test_a_child_that_dies_is_followed_by_another(place: Path) -> None:
    assert refusal(place, "die") == "die: the process that read it broke down (signal 6)"


def test_garbage_is_no_answer(place: Path) -> None:
    assert refusal(place, "garbage") == "garbage: the process that read it broke down"


def test_a_child_that_says_nothing_more_is_ended(place: Path) -> None:
    assert refusal(place, "hush") == "hush: the process that read it broke down"


def test_the_child_ends_with_whoever_began_it(tmp_path: Path) -> None:
    shutil.copy(GENERIC / "dem_int16.tif", tmp_path / "dem.tif")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom swath.raster.sandbox import Sandbox\n"
        "child = Sandbox(Path(sys.argv[1])).start()\nprint(child.pid, flush=True)\nos._exit(0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pid = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert any(is_gone(pid) for _ in range(2_000))


def is_gone(pid: int) -> bool:
    time.sleep(0.01)
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_the_real_child_is_held_and_reads(tmp_path: Path) -> None:
    shutil.copy(GENERIC / "dem_int16.tif", tmp_path / "dem.tif")
    with Sandbox(tmp_path, Limits(memory=512)) as sandbox:
        found = sandbox.run(InspectFile(str(tmp_path / "dem.tif")), 60)
        if sys.platform == "linux":
            assert "seccomp" in sandbox.guards
    assert (found["rows"], found["columns"], found["crs"]) == (360, 400, "EPSG:4326")


def test_a_file_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    shutil.copy(GENERIC / "dem_int16.tif", tmp_path / "outside.tif")
    (tmp_path / "job" / "linked.tif").symlink_to("../outside.tif")
    with Sandbox(tmp_path / "job") as sandbox:
        sandbox.start()
        held_by(sandbox, "landlock")
        for path in (tmp_path / "outside.tif", tmp_path / "job" / "linked.tif", Path("relative.tif")):
            with pytest.raises(DeliveryRefused):
                sandbox.run(InspectFile(str(path)), 60)


# -- hostile files -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "out"
    subprocess.run([sys.executable, SHARED / "deliveries" / "hostile" / "make_hostile.py", folder], check=True)
    return folder


def single_files() -> list[str]:
    return ["text_named.tif", "zip_named.tif", "truncated.tif", "huge_claim.tif", "huge_claim.png", "vrt_absolute.vrt",
            "vrt_network.vrt", "vrt_named.tif", "vrt_python.vrt", "geojson_deep.geojson"]  # fmt: skip


def test_hostile_files_are_refused_and_tell_nothing(hostile: Path, tmp_path: Path) -> None:
    canary = json.loads((hostile / "index.json").read_text())["canary"]
    with Sandbox(tmp_path, Limits(memory=512)) as sandbox:
        for name in single_files():
            shutil.copy(hostile / "files" / name, tmp_path / name)
            target = tmp_path / f"{name}.out.tif"
            words = []
            for task in (InspectFile(str(tmp_path / name)), MakeCog((str(tmp_path / name),), str(target))):
                try:
                    found: Any = sandbox.run(task, 10)
                except DeliveryRefused as refused:
                    words.append(str(refused))
                else:
                    assert isinstance(task, InspectFile), found
                    words.append(json.dumps(found))
            assert words[1].startswith(f"{name}: ")
            assert not target.exists()
            assert canary not in "".join(words)
            assert "Traceback" not in "".join(words)
            assert str(tmp_path) not in "".join(words)
    assert (hostile / "outside" / "canary.txt").read_text().strip() == canary


def test_a_directory_that_points_at_itself_does_not_hang(hostile: Path, tmp_path: Path) -> None:
    shutil.copy(hostile / "files" / "ifd_loop.tif", tmp_path / "loop.tif")
    with Sandbox(tmp_path, Limits(memory=512)) as sandbox:
        facts = sandbox.run(MakeCog((str(tmp_path / "loop.tif"),), str(tmp_path / "out.tif")), 10)
    assert facts["shape"] == [4, 4]
