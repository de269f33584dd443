"""Archives of strangers: what becomes files, what is refused, and that nothing else happens."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from swath.delivery import names, streams, unpacking
from swath.delivery.media import media_type_of
from swath.delivery.names import is_junk, own_name, safe_name
from swath.delivery.unpacking import unpack
from swath.errors import DeliveryRefused
from swath.limits import LIMITS
from tests.deliveries_expected import DELIVERIES, entry

# What the index says of a case, and what this step makes of it: the words of a refusal, or the files that it hands on.
REFUSED = {
    "slip_parent.zip": "climbs out",
    "slip_inner_parent.zip": "climbs out",
    "slip_absolute.zip": "absolute path",
    "slip_backslash.zip": "climbs out",
    "slip_drive.zip": "absolute path",
    "slip_symlink_folder.zip": "a link or a device",
    "symlink_file.zip": "a link or a device",
    "nul_in_name.zip": "NUL",
    "device_names.zip": "absolute path",
    "long_names.zip": "longer name",
    "duplicate_names.zip": "two files 'scene.tif'",
    "file_is_folder.zip": "'data' is a file and a folder",
    "overlap_bomb.zip": "shares its bytes",
    "ratio_bomb.zip": "200 times",
    "lying_size.zip": "more than the 10 bytes",
    "zip64_lie.zip": "claims 4,611,686,018,427,387,904 bytes",
    "many_entries.zip": "20,001 entries",
    "nested_6.zip": "archive within an archive",
    "truncated.zip": "cut short",
    "wrong_crc.zip": "checksum",
    "encrypted.zip": "encrypted",
    "unknown_method.zip": "not read",
    "empty.zip": "no files",
    "only_folders.zip": "no files",
    "zero_bytes.zip": "empty",
    "html_named.zip": "no ZIP",
    "zip_named.tif": "name of an image",
    "slip_parent.tar": "climbs out",
    "slip_absolute.tar": "absolute path",
    "slip_symlink.tar": "a symbolic link",
    "hardlink.tar": "a hard link",
    "device.tar": "a pipe",
    "truncated.tar": "cut short",
    "folder_with_symlink": "not followed",
}
PASSED = {
    "control_names.zip": ("_[31mred.tif", "sc_ene.tif", "scene_fit.exe"),
    "case_collision.zip": ("SCENE.TIF", "scene.tif"),
    "nested_2.zip": ("level0/scene.tif",),
    "prefix_and_zip.zip": ("scene.tif",),
    "vrt_relative.zip": ("scene.tif", "scene.vrt"),
    "gml_external_schema.zip": ("MASKS/CLD_X_MSK.GML", "scene.tif"),
}
_CASES = subprocess.run(
    [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import make_hostile as m; "
     "print('\\n'.join(c[0] for c in m.cases('/x')))", str(DELIVERIES / "hostile")],
    capture_output=True, text=True, check=True,
).stdout.split()  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "made"
    subprocess.run([sys.executable, str(DELIVERIES / "hostile" / "make_hostile.py"), str(folder)], check=True)
    return folder


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """The most bytes that Python has allocated at once within."""
    told: dict[str, int] = {}
    tracemalloc.start()
    try:
        yield told
    finally:
        told["peak"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def state_of(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def zipped(target: Path, *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content, method)
    return target


def tarred(target: Path, *entries: tuple[str, bytes], mode: str = "w", **more: Any) -> Path:
    opened: tarfile.TarFile = cast("Any", tarfile).open(target, mode, **more)
    with opened as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


def refusal(source: Path, folder: Path, name: str | None = None) -> str:
    """What is said of it; nothing is left."""
    with pytest.raises(DeliveryRefused) as refused:
        unpack(source, name or source.name, folder)
    assert not folder.exists()
    assert not folder.with_name(folder.name + ".partial~").exists()
    return str(refused.value)


# -- the hostile ones ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*_CASES, "folder_with_symlink"])
def test_a_hostile_delivery_is_refused_or_laid_below_the_folder(hostile: Path, tmp_path: Path, case: str) -> None:
    (told,) = [
        each for each in json.loads((hostile / "index.json").read_text())["cases"] if Path(each["file"]).name == case
    ]
    before, folder = state_of(hostile), tmp_path / "job" / "files"
    with counted() as memory:
        if case in REFUSED:
            assert told["outcome"] in ("refuse", "either")
            words = refusal(hostile / told["file"], folder)
            assert words.startswith(f"{case}: ")
            assert REFUSED[case] in words
            assert str(tmp_path) not in words
        else:
            tree = unpack(hostile / told["file"], case, folder)
            assert tree.files == PASSED.get(case, tree.files)
            assert tree.files == tuple(name for name, content in state_of(folder).items() if content is not None)
    assert memory["peak"] < 25_000_000
    assert state_of(hostile) == before
    assert [path.name for path in tmp_path.iterdir()] == (["job"] if (tmp_path / "job").exists() else [])
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 10_000_000


def test_every_case_that_an_archive_can_decide_is_decided_here(hostile: Path) -> None:
    cases = {Path(each["file"]).name: each for each in json.loads((hostile / "index.json").read_text())["cases"]}
    later = ("vrt_", "dimap_", "gml_", "geojson_", "safe_", "text_named", "truncated.tif", "huge_", "ifd_")
    assert set(cases) == {*_CASES, "folder_with_symlink"}
    assert set(REFUSED) == {name for name in cases if not name.startswith(later)} - set(PASSED)
    assert all(each["outcome"] != "accept" for name, each in cases.items() if name in REFUSED)


# -- deliveries as they are ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["generic/legacy_names_cp437.zip", "generic/nested_unicode.zip", "generic/shapefiles.zip", "generic/survey.gpkg",
     "generic/png_world_file", "planet-psscene/harvey_psscene4band_analytic.zip",
     "landsat-c2-l2/LC08_L2SR_099120_20191129_20201016_02_T2.tar"],
)  # fmt: skip
def test_all_files_of_a_delivery_are_there(path: str, tmp_path: Path) -> None:
    tree = unpack(DELIVERIES / path, Path(path).name, tmp_path / "files")
    wanted = {source for item in entry(path)["items"] for asset in item["assets"] for source in asset["sources"]}
    there = set(tree.files)
    assert {name for name in wanted if name not in there and Path(name).name not in there} == set()
    assert all(tree.path(name).is_file() for name in tree.files)


def test_what_desktops_leave_in_archives_is_passed_over(tmp_path: Path) -> None:
    tree = unpack(DELIVERIES / "generic" / "nested_unicode.zip", "x.zip", tmp_path / "files")
    assert [name for name in tree.files if name.endswith((".db", ".DS_Store")) or "MACOSX" in name] == []
    assert "Überflug 2022/Łódź/02 東京/標高.tif" in tree.files


@pytest.mark.parametrize(
    ("mode", "name"), [("w", "a.tar"), ("w:gz", "a.tgz"), ("w:bz2", "a.tar.bz2"), ("w:xz", "a.tar.xz"), ("w:gz", "x")]
)
def test_a_tar_is_unpacked_however_it_is_packed_and_named(tmp_path: Path, mode: str, name: str) -> None:
    source = tarred(tmp_path / name, ("./a/b.bin", bytes(range(256)) * 9_000), ("empty", b""), mode=mode)
    tree = unpack(source, name, tmp_path / "files")
    assert tree.files == ("a/b.bin", "empty")
    assert tree.path("a/b.bin").read_bytes() == bytes(range(256)) * 9_000


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_every_kind_of_tar_are_read(tmp_path: Path, kind: int) -> None:
    long = f"{'folder/' * 20}scene.tif"
    source = tarred(tmp_path / "a.tar", (long, b"1"), ("Łódź.tif", b"2"), format=kind)
    assert set(unpack(source, "a.tar", tmp_path / "files").files) == {long, "Łódź.tif"}


def test_a_tar_of_unix_v7_and_names_in_latin_1_are_read(tmp_path: Path) -> None:
    block = bytearray(512)
    block[:10] = "Münch.tif".encode("latin-1").ljust(10, b"\0")
    block[100:148] = b"0000644\0" + b"0000000\0" * 2 + b"00000000003\0" + b"00000000000\0"
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    (tmp_path / "a.tar").write_bytes(bytes(block) + b"abc".ljust(512, b"\0") + bytes(1_024))
    tree = unpack(tmp_path / "a.tar", "a.tar", tmp_path / "files")
    assert tree.files == ("Münch.tif",)
    assert tree.path("Münch.tif").read_bytes() == b"abc"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_unpacked_by_each_method_that_is_read(tmp_path: Path, method: int) -> None:
    content = os.urandom(1_000_000) + b"\n" * 3_000_000
    source = zipped(tmp_path / "a.zip", ("a/x.bin", content), ("a/empty", b""), method=method)
    tree = unpack(source, "a.zip", tmp_path / "files")
    assert tree.path("a/x.bin").read_bytes() == content
    assert tree.path("a/empty").read_bytes() == b""


def test_a_zip_that_was_streamed_or_has_large_fields_or_more_behind_it_is_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.got = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.got += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # sizes stand behind the bytes
        with archive.open("x.bin", "w", force_zip64=True) as out:
            out.write(b"abc" * 1_000)
        archive.comment = b"made by a test"
    (tmp_path / "a.zip").write_bytes(bytes(pipe.got) + b"more")
    assert unpack(tmp_path / "a.zip", "a.zip", tmp_path / "f").path("x.bin").read_bytes() == b"abc" * 1_000


def test_names_are_utf8_by_flag_by_field_or_by_their_bytes(tmp_path: Path) -> None:
    raw = "Mü.tif".encode("cp437")
    field = "Łódź.tif".encode()
    info = zipfile.ZipInfo("M\N{FIGURE SPACE}x.tif")
    info.filename = "M_.tif"
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(field), 1, zlib.crc32(raw)) + field
    made = zipped(tmp_path / "a.zip", (info, b"1"), ("東京.tif", b"2")).read_bytes()
    (tmp_path / "a.zip").write_bytes(made.replace(b"M_.tif", raw))
    assert set(unpack(tmp_path / "a.zip", "a.zip", tmp_path / "f").files) == {"Łódź.tif", "東京.tif"}


def test_a_unicode_field_of_another_name_is_not_believed(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a.tif")
    info.extra = struct.pack("<HHBL", 0x7075, 10, 1, zlib.crc32(b"b.tif")) + b"c.tif"
    assert unpack(zipped(tmp_path / "a.zip", (info, b"1")), "a.zip", tmp_path / "f").files == ("a.tif",)


def test_names_are_in_normal_form_c(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", (unicodedata.normalize("NFD", "été.tif"), b"1"))
    assert unpack(source, "a.zip", tmp_path / "f").files == (unicodedata.normalize("NFC", "été.tif"),)


def test_a_plain_file_is_the_only_one_under_a_safe_name(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"II*\0 and so on")
    tree = unpack(tmp_path / "blob", "..\\..\\evil/sc\nene.tif", tmp_path / "files")
    assert tree.files == ("sc_ene.tif",)
    assert tree.path("sc_ene.tif").stat().st_nlink == 1


def test_an_image_that_ends_as_an_archive_stays_an_image(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "a.zip", ("x", b"1")).read_bytes()
    (tmp_path / "blob").write_bytes(b"II*\0" + bytes(100) + inner)
    assert unpack(tmp_path / "blob", "scene.tif", tmp_path / "files").files == ("scene.tif",)


def test_a_folder_is_copied_and_not_touched(tmp_path: Path) -> None:
    source = tmp_path / "given"
    (source / "a").mkdir(parents=True)
    (source / "a" / "x.tif").write_bytes(b"1")
    before = state_of(source)
    tree = unpack(source, "given", tmp_path / "files")
    assert tree.files == ("a/x.tif",)
    assert not tree.path("a/x.tif").samefile(source / "a" / "x.tif")
    tree.path("a/x.tif").write_bytes(b"2")
    assert state_of(source) == before


@pytest.mark.parametrize("kind", ["link", "link to a folder", "pipe", "socket"])
def test_a_folder_with_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "given"
    source.mkdir()
    (source / "scene.tif").write_bytes(b"1")
    odd = source / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(odd))
    else:
        odd.symlink_to(tmp_path if kind == "link to a folder" else "scene.tif")
    assert refusal(source, tmp_path / "files") == "given: 'odd' is a link or a device, which are not followed"


# -- archives within -----------------------------------------------------------------------------


def test_archives_within_are_unpacked_into_folders_of_their_names(tmp_path: Path) -> None:
    one = zipped(tmp_path / "1", ("A.SAFE/manifest.safe", b"<a/>")).read_bytes()
    two = tarred(tmp_path / "2", ("b.tif", b"II*\0"), mode="w:gz").read_bytes()
    source = zipped(tmp_path / "o.zip", ("in/A.SAFE.zip", one), ("B.tar.gz", two), ("B/other.txt", b"x"))
    assert unpack(source, "o.zip", tmp_path / "f").files == (
        "B/other.txt", "B_/b.tif", "in/A.SAFE/A.SAFE/manifest.safe",
    )  # fmt: skip


def test_zips_that_are_documents_stay_files(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "1", ("doc.kml", b"<kml/>")).read_bytes()
    source = zipped(tmp_path / "o.zip", ("PREVIEW.KMZ", inner), ("letter.docx", inner), ("no ending", inner))
    assert unpack(source, "o.zip", tmp_path / "f").files == ("PREVIEW.KMZ", "letter.docx", "no ending")


@pytest.mark.parametrize("content", [b"<html>503</html>", b"PK\3\4 and so on", b""])
def test_a_broken_archive_within_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    source = zipped(tmp_path / "o.zip", ("scene.tif", b"II*\0"), ("a/b.zip", content))
    assert refusal(source, tmp_path / "f").startswith("o.zip: a/b.zip: ")


def test_what_archives_within_unpack_to_is_held_against_the_delivery(tmp_path: Path) -> None:
    """Each has a ratio that is allowed by itself; together they have not."""
    inner = zipped(tmp_path / "1", ("z", b"\0" * 9_000_000)).read_bytes()
    source = zipped(tmp_path / "o.zip", *((f"{number}.zip", inner) for number in range(3)))
    assert "200 times" in refusal(source, tmp_path / "f")


# -- lies ----------------------------------------------------------------------------------------


def test_two_entries_of_one_name_and_content_are_one_file(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        source = zipped(tmp_path / "a.zip", ("x.tif", b"same"), ("x.tif", b"same"))
    assert unpack(source, "a.zip", tmp_path / "f").files == ("x.tif",)
    assert unpack(tarred(tmp_path / "a.tar", ("x", b"1"), ("x", b"1")), "a.tar", tmp_path / "g").files == ("x",)
    assert "they differ" in refusal(tarred(tmp_path / "b.tar", ("x", b"1"), ("x", b"12")), tmp_path / "h")


def test_entries_that_lie_within_each_other_are_refused(tmp_path: Path) -> None:
    """A stored entry that holds another, which the list names as well."""
    inner = zipped(tmp_path / "i", ("b.tif", b"x" * 50)).read_bytes()
    outer = zipped(tmp_path / "o", ("a.bin", inner), method=zipfile.ZIP_STORED).read_bytes()
    at = outer.index(inner)
    directory = outer.index(b"PK\1\2", outer.index(b"PK\5\6", at))
    end = outer.rindex(b"PK\5\6")
    second = bytearray(inner[inner.index(b"PK\1\2") : inner.index(b"PK\5\6")])
    struct.pack_into("<L", second, 42, at)
    listed = outer[directory:end] + bytes(second)
    tail = bytearray(outer[end:])
    struct.pack_into("<2H2L", tail, 8, 2, 2, len(listed), directory)
    (tmp_path / "a.zip").write_bytes(outer[:directory] + listed + bytes(tail))
    assert "shares its bytes" in refusal(tmp_path / "a.zip", tmp_path / "f")


def test_a_count_of_entries_that_lies_is_refused(tmp_path: Path) -> None:
    made = bytearray(zipped(tmp_path / "a.zip", ("a", b"1"), ("b", b"2")).read_bytes())
    struct.pack_into("<2H", made, made.rindex(b"PK\5\6") + 8, 1, 1)
    (tmp_path / "a.zip").write_bytes(made)
    assert "says that it has 1 entries, and has 2" in refusal(tmp_path / "a.zip", tmp_path / "f")


def test_a_part_of_a_split_archive_is_refused(tmp_path: Path) -> None:
    made = bytearray(zipped(tmp_path / "a.zip", ("a", b"1")).read_bytes())
    struct.pack_into("<2H", made, made.rindex(b"PK\5\6") + 4, 2, 1)
    (tmp_path / "a.zip").write_bytes(made)
    assert "put them together" in refusal(tmp_path / "a.zip", tmp_path / "f")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_that_says_little_takes_little_memory(tmp_path: Path, method: int) -> None:
    """64 MB of zeros, of which the headers say 10 bytes."""
    made = bytearray(zipped(tmp_path / "a.zip", ("x.tif", bytes(64_000_000)), method=method).read_bytes())
    struct.pack_into("<L", made, 22, 10)
    struct.pack_into("<L", made, made.rindex(b"PK\1\2") + 24, 10)
    (tmp_path / "a.zip").write_bytes(made)
    with counted() as memory:
        refusal(tmp_path / "a.zip", tmp_path / "f")
    assert memory["peak"] < 20_000_000  # the dictionary of LZMA is 8 MB


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_packed_tar_is_held_to_the_ratio_as_it_flows(tmp_path: Path, mode: str) -> None:
    source = tarred(tmp_path / "a.tar.x", ("._passed over", bytes(64_000_000)), ("a", b"1"), mode=mode)
    with counted() as memory:
        assert "it unpacks to more than" in refusal(source, tmp_path / "f")
    assert memory["peak"] < 20_000_000


def test_a_blank_tile_of_a_delivery_is_unpacked_though_it_packs_a_thousandfold(tmp_path: Path) -> None:
    """Masks and tiles of open sea: a delivery as a whole is held to the ratio."""
    source = zipped(tmp_path / "a.zip", ("noise.bin", os.urandom(500_000)), ("blank.tif", bytes(40_000_000)))
    tree = unpack(source, "a.zip", tmp_path / "f")
    assert tree.path("blank.tif").stat().st_size == 40_000_000


def test_xz_that_asks_for_gigabytes_of_memory_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    made = bytearray(lzma.compress((tmp_path / "a.tar").read_bytes()))
    header = 4 * (made[12] + 1)  # of the block: size, flags, filter, size of its properties, dictionary
    assert made[14:16] == b"\x21\x01"
    made[16] = 40  # 4 GB
    struct.pack_into("<L", made, 12 + header - 4, zlib.crc32(made[12 : 12 + header - 4]))
    (tmp_path / "a.tar.xz").write_bytes(made)
    refusal(tmp_path / "a.tar.xz", tmp_path / "f")


def _header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        _header("x", tarfile.XHDTYPE, 1 << 32) + bytes(3_000_000),  # a header of 4 GB
        _header("x", tarfile.GNUTYPE_LONGNAME, 1 << 32) + bytes(3_000_000),
        b"".join(_header("x", tarfile.XHDTYPE, 9) + b"9 aa=bb\n\n".ljust(512, b"\0") for _ in range(900)),
        _header("x", b"S", 0)[:-30] + bytes(30),  # the checksum is wrong
        _header("x", tarfile.REGTYPE, 3) + b"abc".ljust(512, b"\0"),  # no end
        _header("x", tarfile.REGTYPE, 0) + b"rubbish".ljust(512, b"\0") + bytes(1_024),
        _header("x", tarfile.REGTYPE, 0) + bytes(100),
        _header("x", b"Q", 0) + bytes(1_024),  # of a kind that nobody knows
    ],
)
def test_a_broken_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with counted() as memory:
        refusal(tmp_path / "a.tar", tmp_path / "f")
    assert memory["peak"] < 12_000_000


@pytest.mark.parametrize("packer", [bz2.compress, lzma.compress])
def test_a_packed_tar_that_is_cut_or_damaged_is_refused(tmp_path: Path, packer: Any) -> None:
    plain = tarred(tmp_path / "a.tar", ("x", os.urandom(300_000))).read_bytes()
    packed = packer(plain)
    (tmp_path / "cut").write_bytes(packed[:-20])
    assert "cut short" in refusal(tmp_path / "cut", tmp_path / "f", "a.tar.xz")
    (tmp_path / "bad").write_bytes(packed[:100_000] + bytes(1_000) + packed[101_000:])
    assert "damaged" in refusal(tmp_path / "bad", tmp_path / "f", "a.tar.xz")


def test_a_packed_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif.bz2").write_bytes(bz2.compress(b"II*\0"))
    assert "no tar" in refusal(tmp_path / "a.tif.bz2", tmp_path / "f")
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x01\0")
    assert refusal(tmp_path / "a.rar", tmp_path / "f") == "a.rar: RAR archives are not read; send a ZIP or a tar"


def test_there_are_not_too_many_files_or_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "LIMITS", replace(LIMITS, delivery_files=20))
    many = zipped(tmp_path / "a.zip", *((f"{number}", b"") for number in range(21)))
    assert "more than 20 files" in refusal(many, tmp_path / "f")
    deep = zipped(tmp_path / "b.zip", (f"{'d/' * 21}x", b""))
    assert "more than 20 folders" in refusal(deep, tmp_path / "f")


def test_no_more_is_unpacked_than_a_delivery_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LIMITS", replace(LIMITS, delivery_bytes=1_000))
    source = zipped(tmp_path / "a.zip", ("a", os.urandom(600)), ("b", os.urandom(600)))
    assert "more than 1,000 bytes" in refusal(source, tmp_path / "f")
    packed = tarred(tmp_path / "a.tar.gz", ("a", bytes(2_000)), mode="w:gz")
    assert "more than 1,000 bytes" in refusal(packed, tmp_path / "f")


# -- going on ------------------------------------------------------------------------------------


def test_what_was_unpacked_before_is_taken_as_it_is_and_what_was_not_finished_is_not(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", ("x", b"1"))
    unfinished = tmp_path / "files.partial~"
    unfinished.mkdir()
    (unfinished / "half").write_bytes(b"")
    assert unpack(source, "a.zip", tmp_path / "files").files == ("x",)
    assert not unfinished.exists()
    source.unlink()
    assert unpack(source, "a.zip", tmp_path / "files").files == ("x",)


def test_progress_is_told_and_whoever_hears_it_may_end_the_work(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    heard: list[tuple[int, int]] = []

    def hear(done: int, of: int) -> None:
        heard.append((done, of))
        if done > 2_000_000:
            raise Enough

    source = zipped(tmp_path / "a.zip", ("x", os.urandom(5_000_000)), method=zipfile.ZIP_STORED)
    with pytest.raises(Enough):
        unpack(source, "a.zip", tmp_path / "files", hear)
    assert heard == [(1_000_000, 5_000_000), (2_000_000, 5_000_000), (3_000_000, 5_000_000)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


# -- names and media types -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name"),
    [("a/./b//c.tif", "a/b/c.tif"), ("a\\b.tif", "a/b.tif"), ("./", ""), ("a/..b/c", "a/..b/c"), ("x:y/z", None),
     ("sc\u202eene", "sc_ene"), ("a\u2028b", "a_b"), ("/etc/x", None), ("a/../b", None), ("\\\\host\\x", None),
     ("n" * 256, None), ("ä" * 128, None), ("d/" * 512 + "x", None), ("a\0b", None), ("ab:c", "ab:c")],
)  # fmt: skip
def test_a_name_out_of_an_archive(raw: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(DeliveryRefused):
            safe_name(raw)
    else:
        assert safe_name(raw) == name


def test_the_name_of_a_file_by_itself_is_always_one() -> None:
    assert own_name("C:\\data\\scene.tif") == "scene.tif"
    assert own_name("..") == own_name("/") == "file"
    assert own_name("ä" * 200 + ".tif") == "ä" * 125 + ".tif"
    assert len(own_name("n" * 300).encode()) == 255


def test_junk_is_known_wherever_it_lies() -> None:
    assert all(map(is_junk, ("__MACOSX/a/._b.tif", "a/.DS_Store", "a\\THUMBS.DB", "Desktop.ini", "a/._x", "a/Icon\r")))
    assert not any(map(is_junk, ("a/b.tif", "a/DS_Store", "_x.tif", "a/.hidden")))


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("a", b"PK\3\4", "application/zip"),
        ("a.KMZ", b"PK\3\4", "application/vnd.google-earth.kmz"),
        ("a.bin", b"\x1f\x8b\x08", "application/gzip"),
        ("a.zip", b"II*\0", "image/tiff; application=geotiff"),
        ("a", b"MM\0+", "image/tiff; application=geotiff"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("a.png", b"\xff\xd8\xff\xe0", "image/jpeg"),
        ("a.XML", b"<?xml version='1.0'?><a/>", "application/xml"),
        ("manifest.safe", b"<a/>", "application/xml"),
        ("a.gml", b"<a/>", "application/gml+xml"),
        ("a.kml", b"\xef\xbb\xbf<kml/>", "application/vnd.google-earth.kml+xml"),
        ("a", b"<kml xmlns='http://www.opengis.net/kml/2.2'/>", "application/vnd.google-earth.kml+xml"),
        ("a.zip", b"<!DOCTYPE html><title>503</title>", "text/html"),
        ("a.txt", "Grüße".encode("latin-1"), "text/plain"),
        ("README", b"read me\n", "text/plain"),
        ("a.tfw", b"1.0\n0.0\n", "text/plain"),
        ("a.csv", b"a,b\n", "text/csv"),
        ("a.json", b'{"type": "Feature"}', "application/json"),
        ("a.geojson", b'{"type": "Feature"}', "application/geo+json"),
        ("a.pdf", b"%PDF-1.7", "application/pdf"),
        ("a.nc", b"\x89HDF\r\n\x1a\n", "application/x-netcdf"),
        ("a.nc", b"CDF\x01", "application/x-netcdf"),
        ("a.gpkg", b"SQLite format 3\0", "application/geopackage+sqlite3"),
        ("a.db", b"SQLite format 3\0" + bytes(52) + b"GPKG", "application/geopackage+sqlite3"),
        ("a.tif", b"\x01\x02\x00", "application/octet-stream"),
        ("a", b"", "application/octet-stream"),
        ("a.txt", b"x" * 4_095 + "é".encode(), "text/plain"),
    ],
)
def test_a_media_type_is_told_by_content_then_by_name(
    tmp_path: Path, name: str, content: bytes, media_type: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    assert media_type_of(tmp_path / "x", name) == media_type


def test_a_tar_and_a_zip_behind_other_bytes_have_their_media_types(tmp_path: Path) -> None:
    assert media_type_of(tarred(tmp_path / "a", ("x", b"1")), "a") == "application/x-tar"
    inner = zipped(tmp_path / "b", ("x", b"1")).read_bytes()
    (tmp_path / "c").write_bytes(b"MZ\0\0" + inner)
    assert media_type_of(tmp_path / "c", "c.exe") == "application/zip"
    assert unpacking.__all__ == ["Tell", "unpack"]
