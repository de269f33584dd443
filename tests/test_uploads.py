"""Resumable uploads: the tus protocol 1.0.0 at `/uploads`, over the wire, with lines that are cut."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import random
import signal
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swath.assets import AssetStore
from swath.assets.said import Said
from swath.assets.uploads import Uploads, sweep
from swath.blobs import open_blobs
from swath.catalog import Catalog
from swath.errors import Unavailable
from swath.store.records import Choice
from tests.conftest import Answer, Server, long, serving
from tests.test_bulk import peak

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}
WEEK = 7 * 86_400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("uploads") / "catalog"
    Catalog.open(made, create=True).close()
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as made:
        yield made


@pytest.fixture
def store(folder: Path) -> Iterator[AssetStore]:
    """The same catalogue, from another process than the server's."""
    catalog = Catalog.open(folder)
    yield AssetStore(catalog, open_blobs(None, folder))
    catalog.close()


def said(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def begin(server: Server, length: int | None, metadata: str = "", **headers: str) -> str:
    """A new upload; its path."""
    how = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    more = {"Upload-Metadata": metadata} if metadata else {}
    answer = server.request("POST", "/uploads", b"", {**TUS, **how, **more, **headers, "Content-Type": ""})
    assert answer.status == 201, answer.body
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["location"].startswith(f"{server.url}/uploads/")
    return answer.headers["location"].removeprefix(server.url)


def head(server: Server, path: str) -> Answer:
    return server.request("HEAD", path, headers=TUS)


def patch(server: Server, path: str, offset: int, body: bytes, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("PATCH", path, body, {**TUS, **BYTES, "Upload-Offset": str(offset), **named})


def offset(server: Server, path: str) -> int:
    answer = head(server, path)
    assert answer.status == 200
    return int(answer.headers["upload-offset"])


def opened(server: Server, path: str, at: int, size: int) -> socket.socket:
    """A connection with a PATCH of so many bytes on it, which the server waits for, and of which none is sent yet."""
    where = urllib.parse.urlsplit(server.url)
    line = socket.create_connection((where.hostname, where.port), 60)
    line.sendall(
        f"PATCH {path} HTTP/1.1\r\nHost: {where.netloc}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {at}\r\n"
        f"Content-Type: application/offset+octet-stream\r\nContent-Length: {size}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    assert line.recv(4096).startswith(b"HTTP/1.1 100")
    return line


def cut(line: socket.socket) -> None:
    """End a connection with a reset, as a line that breaks does."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def record(server: Server, answer: Answer) -> dict[str, Any]:
    """The delivery that an answer says the upload has become."""
    asset = answer.headers["swath-asset"]
    assert answer.headers["swath-asset-location"] == f"{server.url}/v2/assets/{asset}/metadata"
    found: dict[str, Any] = server.get(f"/v2/assets/{asset}/metadata").json()
    assert found["id"] == asset
    return found


def left_over(folder: Path, path: str) -> list[str]:
    upload_id = path.rsplit("/", 1)[-1]
    return sorted(each.name.removeprefix(upload_id) for each in (folder / "work").glob(f"{upload_id}*"))


# -- what the protocol says ------------------------------------------------------------------------


def test_options_tell_version_extensions_and_algorithms(server: Server) -> None:
    answer = server.request("OPTIONS", "/uploads")
    told = {name: value for name, value in answer.headers.items() if name.startswith("tus-")}
    assert answer.status == 204
    assert told == {
        "tus-resumable": "1.0.0",
        "tus-version": "1.0.0",
        "tus-extension": "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration",
        "tus-checksum-algorithm": "sha1,sha256,md5",
    }


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("version", [None, "0.2.2"])
def test_another_version_is_refused_with_ours(server: Server, method: str, version: str | None) -> None:
    headers = {"Tus-Resumable": version} if version else {}
    answer = server.request(method, "/uploads" if method == "POST" else f"/uploads/{'0' * 32}", headers=headers)
    assert (answer.status, answer.headers["tus-version"], answer.headers["tus-resumable"]) == (412, "1.0.0", "1.0.0")


def test_an_upload_in_one_piece_becomes_a_delivery(server: Server, folder: Path) -> None:
    body = random.Random(1).randbytes(100_000)
    path = begin(server, len(body), said(filename="scene.zip"))
    before = head(server, path)
    assert before.headers["upload-offset"] == "0"
    assert before.headers["upload-length"] == "100000"
    assert before.headers["cache-control"] == "no-store"
    assert before.headers["upload-expires"].endswith("GMT")
    assert "swath-asset" not in before.headers
    answer = patch(server, path, 0, body)
    assert (answer.status, answer.headers["upload-offset"], answer.body) == (204, "100000", b"")
    found = record(server, answer)
    assert (found["name"], found["size"], found["sha256"]) == ("scene.zip", 100_000, hashlib.sha256(body).hexdigest())
    after = head(server, path)
    assert after.headers["swath-asset"] == found["id"]
    assert after.headers["upload-offset"] == "100000"
    assert left_over(folder, path) == [".tus.json"]
    again = patch(server, path, 100_000, b"")
    assert (again.status, again.headers["swath-asset"]) == (204, found["id"])
    assert patch(server, path, 100_000, b"x").status == 413


def test_creation_takes_the_first_bytes(server: Server) -> None:
    headers = {**TUS, **BYTES, "Upload-Length": "10"}
    answer = server.request("POST", "/uploads", b"01234", headers)
    assert (answer.status, answer.headers["upload-offset"]) == (201, "5")
    path = answer.headers["location"].removeprefix(server.url)
    done = patch(server, path, 5, b"56789")
    assert record(server, done)["sha256"] == hashlib.sha256(b"0123456789").hexdigest()
    whole = server.request("POST", "/uploads", b"0123456789", headers)
    assert (whole.status, whole.headers["upload-offset"]) == (201, "10")
    assert record(server, whole)["size"] == 10
    assert whole.headers["swath-asset"] != done.headers["swath-asset"]


def test_a_length_may_come_later(server: Server) -> None:
    path = begin(server, None)
    assert head(server, path).headers["upload-defer-length"] == "1"
    assert "upload-length" not in head(server, path).headers
    assert patch(server, path, 0, b"abc").headers["upload-offset"] == "3"
    assert patch(server, path, 3, b"", Upload_Length="2").status == 413
    assert patch(server, path, 3, b"d", Upload_Length="6").headers["upload-offset"] == "4"
    told = head(server, path).headers
    assert (told["upload-length"], "upload-defer-length" in told) == ("6", False)
    assert patch(server, path, 4, b"", Upload_Length="7").status == 400
    assert record(server, patch(server, path, 4, b"ef"))["sha256"] == hashlib.sha256(b"abcdef").hexdigest()


def test_a_length_that_comes_when_everything_is_there_ends_the_upload(server: Server) -> None:
    path = begin(server, None)
    assert patch(server, path, 0, b"abc").status == 204
    assert record(server, patch(server, path, 3, b"", Upload_Length="3"))["size"] == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "0"}, 400),
        ({"Upload-Defer-Length": "2"}, 400),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 400),
        ({"Upload-Length": "5", "Upload-Concat": "partial"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "filename not-base64!"}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "filename /w=="}, 400),  # no UTF-8
        ({"Upload-Length": "5", "Upload-Metadata": "title YQ==,title YQ=="}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "titel YQ=="}, 400),
        ({"Upload-Length": "5", "Upload-Metadata": "datetime YQ=="}, 400),
        ({"Upload-Length": "5", "Upload-Checksum": "crc32 YQ==", **BYTES}, 400),
    ],
)  # fmt: skip
def test_a_creation_that_is_wrong_is_refused_and_leaves_nothing(
    server: Server, folder: Path, headers: dict[str, str], status: int
) -> None:
    before = set((folder / "work").glob("*.tus*"))
    answer = server.request("POST", "/uploads", b"", {**TUS, "Content-Type": "", **headers})
    assert (answer.status, answer.headers["tus-resumable"]) == (status, "1.0.0"), answer.body
    assert set((folder / "work").glob("*.tus*")) == before


def test_a_body_of_another_media_type_is_refused(server: Server) -> None:
    wrong = {**TUS, "Upload-Length": "5", "Content-Type": "text/plain"}
    assert server.request("POST", "/uploads", b"hello", wrong).status == 415
    path = begin(server, 5)
    assert server.request("PATCH", path, b"hello", {**wrong, "Upload-Offset": "0"}).status == 415
    assert offset(server, path) == 0


def test_bytes_are_taken_at_the_offset_only_and_not_beyond_the_length(server: Server) -> None:
    path = begin(server, 5)
    for wrong in (1, 5, 10**17):
        answer = patch(server, path, wrong, b"h")
        assert (answer.status, answer.json()["code"]) == (409, "Conflict")
    assert patch(server, path, 0, b"he").status == 204
    assert patch(server, path, 0, b"he").status == 409
    assert patch(server, path, 2, b"llo!").status == 413
    assert offset(server, path) == 2
    assert server.request("PATCH", path, b"l", {**TUS, **BYTES}).status == 400
    assert server.request("PATCH", path, b"l", {**TUS, **BYTES, "Upload-Offset": "two"}).status == 400
    assert offset(server, path) == 2


def test_a_body_without_content_length_that_is_too_long_is_not_kept(server: Server) -> None:
    path = begin(server, 5)
    where = urllib.parse.urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), 60) as line:
        line.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: {where.netloc}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n".encode()
        )
        assert line.recv(4096).startswith(b"HTTP/1.1 413")
    assert offset(server, path) == 0


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_piece_whose_checksum_is_another_is_not_kept(server: Server, algorithm: str) -> None:
    def of(piece: bytes) -> str:
        return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, piece).digest()).decode()}"

    path = begin(server, 10)
    assert patch(server, path, 0, b"01234", Upload_Checksum=of(b"01234")).status == 204
    answer = patch(server, path, 5, b"56780", Upload_Checksum=of(b"56789"))
    assert (answer.status, answer.json()["code"]) == (460, "ChecksumMismatch")
    assert (answer.json()["title"], answer.headers["tus-resumable"]) == ("Checksum Mismatch", "1.0.0")
    assert offset(server, path) == 5
    assert patch(server, path, 5, b"5678", Upload_Checksum="crc32 AAAA").status == 400
    assert patch(server, path, 5, b"5678", Upload_Checksum="sha1 ?").status == 400
    assert offset(server, path) == 5
    done = patch(server, path, 5, b"56789", Upload_Checksum=of(b"56789"))
    assert record(server, done)["sha256"] == hashlib.sha256(b"0123456789").hexdigest()


def test_a_piece_that_breaks_off_before_its_checksum_could_be_compared_is_not_kept(server: Server) -> None:
    path = begin(server, 1_000)
    where = urllib.parse.urlsplit(server.url)
    line = socket.create_connection((where.hostname, where.port), 60)
    line.sendall(
        f"PATCH {path} HTTP/1.1\r\nHost: {where.netloc}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n"
        f"Upload-Checksum: sha1 {'A' * 27}=\r\n\r\n".encode()
        + b"x" * 600
    )
    line.close()
    assert offset(server, path) == 0


def test_termination_takes_the_upload_away_and_leaves_a_delivery(server: Server, folder: Path) -> None:
    path = begin(server, 5)
    assert patch(server, path, 0, b"he").status == 204
    assert server.request("DELETE", path, headers=TUS).status == 204
    for method in ("HEAD", "PATCH", "DELETE"):
        headers = {**TUS, **BYTES, "Upload-Offset": "2"}
        answer = server.request(method, path, headers=headers)
        assert (answer.status, answer.headers["tus-resumable"]) == (404, "1.0.0")
    assert left_over(folder, path) == []
    path = begin(server, 5)
    done = patch(server, path, 0, b"hello")
    assert server.request("DELETE", path, headers=TUS).status == 204
    assert head(server, path).status == 404
    assert record(server, done)["size"] == 5


def test_metadata_of_any_script_comes_through_and_is_echoed(server: Server) -> None:
    metadata = said(filename="Aufnahme Übersicht 撮影.zip", filetype="application/zip", title="Häfen — 港",
                    tags="møre, optisk", orderId="ea36dee9", source="ARCHIVE", relativePath="null")  # fmt: skip
    path = begin(server, 5, metadata)
    assert head(server, path).headers["upload-metadata"] == metadata
    found = record(server, patch(server, path, 0, b"hello"))
    assert (found["name"], found["title"]) == ("Aufnahme Übersicht 撮影.zip", "Häfen — 港")
    assert (found["tags"], found["orderId"], found["source"]) == (["møre", "optisk"], "ea36dee9", "ARCHIVE")
    assert head(server, path).headers["upload-metadata"] == metadata


def test_a_name_with_folders_is_a_name(server: Server, folder: Path) -> None:
    path = begin(server, 5, said(name="../../etc/passwd"))
    assert record(server, patch(server, path, 0, b"hello"))["name"] == "passwd"
    assert not (folder.parent / "etc").exists()


@pytest.mark.parametrize("name", ["..%2F..%2Fx", "x", "%00", "A" * 32, "0" * 31, f"{'0' * 32}.tus.json", "é", "0" * 32])
def test_an_id_that_is_none_of_ours_is_not_found(server: Server, name: str) -> None:
    assert head(server, f"/uploads/{urllib.parse.quote(name, safe='%')}").status == 404


# -- lines that break ------------------------------------------------------------------------------


def test_an_upload_cut_twenty_times_resumes_and_nothing_is_sent_twice_but_the_open_part(server: Server) -> None:
    draw = random.Random(20)
    body = draw.randbytes(24_000_000)
    path = begin(server, len(body), said(filename="cut.zip"))
    at = most = 0
    for _ in range(20):
        sent = draw.randrange(1, 1_100_000)
        line = opened(server, path, at, len(body) - at)
        line.sendall(body[at : at + sent])
        (line.close if draw.random() < 0.5 else lambda line=line: cut(line))()  # type: ignore[misc]
        now = offset(server, path)
        assert at <= now <= at + sent, "what was there before stays"
        most, at = max(most, at + sent - now), now
    assert most <= 1_100_000
    answer = patch(server, path, at, body[at:])
    assert answer.status == 204
    assert record(server, answer)["sha256"] == hashlib.sha256(body).hexdigest()
    assert server.get("/v2/assets?search=cut.zip").json()["totalElements"] == 1


def test_what_arrived_before_a_line_was_closed_is_kept(server: Server) -> None:
    path = begin(server, 10_000_000)
    line = opened(server, path, 0, 10_000_000)
    line.sendall(b"x" * 500_000)
    line.close()
    assert 0 < offset(server, path) <= 500_000


def test_a_head_takes_over_from_a_connection_that_hangs(server: Server) -> None:
    path = begin(server, 1_000)
    line = opened(server, path, 0, 1_000)
    line.sendall(b"x" * 400)
    assert offset(server, path) == 400
    assert line.recv(4096).startswith(b"HTTP/1.1 423")
    line.close()
    assert patch(server, path, 400, b"x" * 600).status == 204


def test_a_patch_beside_another_is_refused_and_does_no_harm(server: Server) -> None:
    path = begin(server, 1_000)
    line = opened(server, path, 0, 1_000)
    line.sendall(b"x" * 400)
    answer = patch(server, path, 0, b"y" * 1_000)
    assert (answer.status, answer.json()["code"]) == (423, "Locked")
    line.sendall(b"x" * 600)
    assert line.recv(4096).startswith(b"HTTP/1.1 204")
    line.close()
    assert record(server, head(server, path))["sha256"] == hashlib.sha256(b"x" * 1_000).hexdigest()


def test_a_delete_ends_an_upload_that_is_being_sent(server: Server, folder: Path) -> None:
    path = begin(server, 1_000)
    line = opened(server, path, 0, 1_000)
    line.sendall(b"x" * 400)
    assert server.request("DELETE", path, headers=TUS).status == 204
    assert line.recv(4096).startswith(b"HTTP/1.1 423")
    line.close()
    assert left_over(folder, path) == []


def test_two_clients_that_both_resume_make_one_delivery(server: Server) -> None:
    body = random.Random(2).randbytes(3_000_000)
    path = begin(server, len(body), said(filename="two-clients.zip"))

    def client(seed: int) -> None:
        draw = random.Random(seed)
        while (at := int(head(server, path).headers.get("upload-offset", "0"))) < len(body):
            answer = patch(server, path, at, body[at : at + draw.randrange(1, 400_000)])
            assert answer.status in (204, 409, 423)

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(2)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(60)
    assert record(server, head(server, path))["sha256"] == hashlib.sha256(body).hexdigest()
    assert server.get("/v2/assets?search=two-clients.zip").json()["totalElements"] == 1


def test_processes_of_one_catalogue_hold_an_upload_one_at_a_time(server: Server, store: AssetStore) -> None:
    path = begin(server, 1_000)
    uploads, upload_id = Uploads(store), path.rsplit("/", 1)[-1]
    held = uploads.hold(upload_id)
    assert held is not None
    assert uploads.hold(upload_id) is None, "of threads, too"
    assert patch(server, path, 0, b"x").status == 423
    assert not held.wanted()
    asking: list[int] = []
    thread = threading.Thread(target=lambda: asking.append(offset(server, path)))
    thread.start()
    until = time.monotonic() + 9
    while not held.wanted() and time.monotonic() < until:
        time.sleep(0.02)
    assert held.wanted()
    held.begin(None)
    held.append(b"abc")
    held.keep()
    held.close()
    thread.join(30)
    assert asking == [3]


def test_while_a_delivery_is_made_of_it_an_upload_is_told_to_be_whole(server: Server, store: AssetStore) -> None:
    upload_id = whole(store, b"hello", "making.zip")
    held = Uploads(store).hold(upload_id)
    assert held is not None
    answer = head(server, f"/uploads/{upload_id}")
    assert (answer.status, answer.headers["upload-offset"], answer.headers["upload-length"]) == (200, "5", "5")
    assert "swath-asset" not in answer.headers
    held.close()
    assert record(server, head(server, f"/uploads/{upload_id}"))["name"] == "making.zip"


def test_what_was_written_before_the_disk_was_full_stays(store: AssetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads, write = Uploads(store), os.pwrite
    upload = uploads.create("http", "full.zip", Said(), 100)
    held = uploads.hold(upload.id)
    assert held is not None

    def full(descriptor: int, data: bytes, at: int) -> int:
        if at >= 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:4], at)

    monkeypatch.setattr(os, "pwrite", full)
    held.begin(None)
    with pytest.raises(Unavailable, match="disk is full"):
        held.append(b"hello world")
    held.keep()
    held.close()
    again = uploads.hold(upload.id)
    assert again is not None
    assert again.offset == 4
    uploads.remove(again)
    again.close()


def test_a_large_piece_keeps_memory_flat(server: Server) -> None:
    block = os.urandom(1_000_000)

    def send(blocks: int) -> int:
        """The most memory that the server has had then, in bytes."""
        path = begin(server, blocks * len(block))
        line = opened(server, path, 0, blocks * len(block))
        for _ in range(blocks):
            line.sendall(block)
        assert line.recv(4096).startswith(b"HTTP/1.1 204")
        line.close()
        return peak(server.process.pid)

    before = send(20)  # what it takes once
    assert send(long(150, 5_000)) - before < 30_000_000


# -- crashes ---------------------------------------------------------------------------------------


def test_an_upload_goes_on_after_the_server_was_killed_in_the_middle(tmp_path: Path) -> None:
    Catalog.open(tmp_path / "c", create=True).close()
    body = random.Random(3).randbytes(30_000_000)
    with serving(tmp_path / "c") as server:
        path = begin(server, len(body), said(filename="killed.zip", title="Ölhafen"))
        assert patch(server, path, 0, body[:1_000_000]).status == 204
        line = opened(server, path, 1_000_000, len(body) - 1_000_000)
        line.sendall(body[1_000_000:25_000_000])
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        line.close()
    with serving(tmp_path / "c") as server:
        at = offset(server, path)
        assert 1_000_000 <= at <= 25_000_000
        found = record(server, patch(server, path, at, body[at:]))
        assert (found["sha256"], found["title"]) == (hashlib.sha256(body).hexdigest(), "Ölhafen")


def test_a_server_that_is_told_to_stop_keeps_what_has_come(tmp_path: Path) -> None:
    Catalog.open(tmp_path / "c", create=True).close()
    with serving(tmp_path / "c") as server:
        path = begin(server, 1_000)
        line = opened(server, path, 0, 1_000)
        line.sendall(b"x" * 400)
    assert line.recv(4096).startswith(b"HTTP/1.1 503")
    line.close()
    with serving(tmp_path / "c") as server:
        assert offset(server, path) == 400


def whole(store: AssetStore, body: bytes, name: str) -> str:
    """An upload whose last byte has come, and whose server died then; its id."""
    uploads = Uploads(store)
    upload = uploads.create("http", name, Said(), len(body))
    held = uploads.hold(upload.id)
    assert held is not None
    held.begin(None)
    held.append(body)
    held.keep()
    held.close()
    return upload.id


def test_an_upload_that_a_crash_kept_from_being_a_delivery_becomes_one_when_somebody_asks(
    server: Server, store: AssetStore
) -> None:
    upload_id = whole(store, b"hello", "asked.zip")
    assert record(server, head(server, f"/uploads/{upload_id}"))["name"] == "asked.zip"
    other = whole(store, b"hello", "patched.zip")
    assert record(server, patch(server, f"/uploads/{other}", 5, b""))["name"] == "patched.zip"


def test_an_upload_that_a_crash_kept_from_being_a_delivery_becomes_one_when_a_worker_starts(
    server: Server, store: AssetStore, folder: Path
) -> None:
    upload_id = whole(store, b"hello", "swept.zip")
    sweep(store)
    assert server.get("/v2/assets?search=swept.zip").json()["totalElements"] == 1
    assert left_over(folder, upload_id) == [".tus.json"]
    sweep(store)
    assert record(server, head(server, f"/uploads/{upload_id}"))["size"] == 5
    assert server.get("/v2/assets?search=swept.zip").json()["totalElements"] == 1


def test_a_crash_behind_the_delivery_makes_no_second_one(server: Server, store: AssetStore, folder: Path) -> None:
    upload_id = whole(store, b"hello twice", "once.zip")
    note = folder / "work" / f"{upload_id}.tus.json"
    data = folder / "work" / f"{upload_id}.tus~"
    before = note.read_bytes()
    (folder / "kept").unlink(missing_ok=True)
    os.link(data, folder / "kept")
    first = head(server, f"/uploads/{upload_id}").headers["swath-asset"]
    note.write_bytes(before)  # as if it had died before this was noted
    (folder / "kept").rename(data)
    assert head(server, f"/uploads/{upload_id}").headers["swath-asset"] == first
    assert server.get("/v2/assets?search=once.zip").json()["totalElements"] == 1
    assert not data.exists()


def test_two_that_make_a_delivery_of_one_upload_at_once_make_one(store: AssetStore, tmp_path: Path) -> None:
    made: list[str] = []
    delivery_id, start = "5f0c1b7e-4d67-4f0a-9a53-0123456789ab", threading.Barrier(4)

    def make(number: int) -> None:
        file = tmp_path / f"{number}"
        file.write_bytes(b"raced")
        start.wait(30)
        made.append(store.receive(file, "raced.zip", Said(), "http", delivery_id=delivery_id).id)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made == [delivery_id] * 4
    assert store.files.deliveries(Choice(search="raced.zip"), 10)[1] == 1


def test_what_was_not_compared_with_its_checksum_does_not_outlive_a_crash(server: Server, store: AssetStore) -> None:
    uploads = Uploads(store)
    upload = uploads.create("http", "x.zip", Said(), 100)
    held = uploads.hold(upload.id)
    assert held is not None
    held.begin(None)
    held.append(b"kept")
    held.keep()
    held.begin("sha1")
    held.append(b"not compared")
    held.close()
    assert offset(server, f"/uploads/{upload.id}") == 4


# -- expiry ----------------------------------------------------------------------------------------


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_an_upload_is_over_a_week_after_its_last_bytes(server: Server, store: AssetStore, folder: Path) -> None:
    path = begin(server, 5)
    upload_id = path.rsplit("/", 1)[-1]
    data = folder / "work" / f"{upload_id}.tus~"
    assert patch(server, path, 0, b"he").status == 204
    age(data, WEEK - 60)
    assert head(server, path).status == 200
    sweep(store)
    assert patch(server, path, 2, b"l").status == 204
    age(data, WEEK + 60)
    assert head(server, path).status == 410
    assert patch(server, path, 3, b"lo").status == 410
    sweep(store)
    assert head(server, path).status == 404
    assert left_over(folder, path) == []


def test_files_of_uploads_that_never_were_are_swept(store: AssetStore) -> None:
    old, young = Uploads(store).file("1" * 32, ".tus~"), Uploads(store).file("2" * 32, ".tus~")
    for path in (old, young):
        path.touch()
    age(old, 2 * 86_400)
    sweep(store)
    assert (old.exists(), young.exists()) == (False, True)
    young.unlink()


# -- other people's client -------------------------------------------------------------------------


def test_the_python_client_of_the_tus_project_uploads_and_resumes(server: Server, tmp_path: Path) -> None:
    from tusclient.client import TusClient

    body = random.Random(4).randbytes(2_500_000)
    (tmp_path / "scene.zip").write_bytes(body)
    client = TusClient(f"{server.url}/uploads/")
    metadata = {"filename": "tuspy.zip", "title": "Überflug"}
    with (tmp_path / "scene.zip").open("rb") as stream:
        first = client.uploader(file_stream=stream, chunk_size=1_000_000, metadata=metadata, upload_checksum=True)
        first.upload(stop_at=1_000_000)
        assert first.offset == 1_000_000
        again = client.uploader(file_stream=stream, chunk_size=1_000_000, url=first.url)
        assert again.offset == 1_000_000
        again.upload()
    found = record(server, head(server, str(first.url).removeprefix(server.url)))
    assert (found["name"], found["title"]) == ("tuspy.zip", "Überflug")
    assert found["sha256"] == hashlib.sha256(body).hexdigest()


def test_the_document_has_the_routes(server: Server) -> None:
    paths = json.loads(server.get("/api").body)["paths"]
    assert set(paths["/uploads"]) == {"post"}
    assert set(paths["/uploads/{upload}"]) == {"head", "patch", "delete"}
