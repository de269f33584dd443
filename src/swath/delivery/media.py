"""The media type of a file, told by its first bytes, and by its name where those leave it open."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["is_data", "media_type_of"]

_LOOK = 4_096
_GEOTIFF, _NETCDF, _HDF5 = "image/tiff; application=geotiff", "application/x-netcdf", "application/x-hdf5"
_GML, _KML = "application/gml+xml", "application/vnd.google-earth.kml+xml"
# What a file begins with. The first that fits.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", _GEOTIFF), (b"MM\0*", _GEOTIFF), (b"II+\0", _GEOTIFF), (b"MM\0+", _GEOTIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"), (b"\xff\x4f\xff\x51", "image/jp2"),
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"),
    (b"NITF0", "application/vnd.nitf"), (b"NSIF0", "application/vnd.nitf"),
    (b"CDF\x01", _NETCDF), (b"CDF\x02", _NETCDF), (b"CDF\x05", _NETCDF), (b"\x89HDF\r\n\x1a\n", _HDF5),
    (b"fgb\x03", "application/vnd.flatgeobuf"), (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"PAR1", "application/vnd.apache.parquet"), (b"%PDF-", "application/pdf"),
)  # fmt: skip
_PACKED: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "application/gzip"), (b"BZh", "application/x-bzip2"), (b"\xfd7zXZ\0", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"), (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
)  # fmt: skip
_ENDINGS = {
    "kmz": "application/vnd.google-earth.kmz", "kml": _KML, "gml": _GML, "xml": "application/xml",
    "xsd": "application/xml", "xsl": "application/xml", "safe": "application/xml", "htm": "text/html",
    "html": "text/html", "css": "text/css", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv",
    "tsv": "text/tab-separated-values", "json": "application/json", "geojson": "application/geo+json",
    "nc": _NETCDF, "gpkg": "application/geopackage+sqlite3", "shp": "application/vnd.shp",
    "dbf": "application/vnd.dbf", "shx": "application/vnd.shx",
}  # fmt: skip
# ZIPs that have a type of their own.
_OF_ZIP = {
    "kmz": "application/vnd.google-earth.kmz", "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}  # fmt: skip


def is_data(head: bytes) -> bool:
    """Whether a file that begins so is an image, a document or the like: no archive, whatever follows."""
    return any(head.startswith(magic) for magic, _ in _MAGIC)


def media_type_of(path: Path, name: str) -> str:
    """The media type of a file that its sender calls `name`."""
    with path.open("rb") as stream:
        head = stream.read(_LOOK)
    ending = name.lower().rpartition(".")[2]
    found = next((media_type for magic, media_type in (*_MAGIC, *_PACKED) if head.startswith(magic)), None)
    if found is not None:
        return _closer(found, head, ending)
    if head[:4] in (b"PK\3\4", b"PK\5\6", b"PK\7\x08"):
        return _OF_ZIP.get(ending, "application/zip")
    if head[257:262] == b"ustar" or (ending == "tar" and len(head) >= 512 and head[:1] != b"\0"):
        return "application/x-tar"
    return _of_text(head, ending) or ("application/zip" if zipfile.is_zipfile(path) else _of_name(ending))


def _closer(found: str, head: bytes, ending: str) -> str:
    """What the magic bytes leave open: a container that is shared by several kinds."""
    if found == _HDF5 and ending in ("nc", "nc4"):
        return _NETCDF  # netCDF-4 is HDF5
    if found == "application/vnd.sqlite3" and (head[68:72] in (b"GPKG", b"GP10", b"GP11") or ending == "gpkg"):
        return "application/geopackage+sqlite3"
    return found


def _of_name(ending: str) -> str:
    """Of bytes that are no text: what the name says, where that is no kind of text."""
    found = _ENDINGS.get(ending, "")
    return found if found.startswith(("application/vnd.shp", "application/vnd.dbf", "application/vnd.shx")) else (
        "application/octet-stream"
    )  # fmt: skip


def _of_text(head: bytes, ending: str) -> str | None:
    """None where it is no text, or nothing."""
    text = _text(head)
    if not text:
        return None
    start = text.lstrip()[:1_000].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "text/html"
    if start.startswith("<"):
        return _of_xml(text, ending)
    if start.startswith(("{", "[")) and ending in ("json", "geojson", ""):
        return _ENDINGS.get(ending, "application/json")
    if start.startswith("{"):
        is_features = any(f'"{kind}"' in start for kind in ("featurecollection", "feature"))
        return "application/geo+json" if is_features else "application/json"
    found = _ENDINGS.get(ending, "")
    return found if found.startswith("text/") or found.endswith(("xml", "json")) else "text/plain"


def _text(head: bytes) -> str | None:
    """Text in UTF-8 or, where it says so, UTF-16; in an older code page where it has no control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) // 2 * 2].decode("utf-16", "replace")
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The last character may be cut, at the end of what was read.
        is_cut = len(head) == _LOOK and error.start > _LOOK - 4
        text = head[: error.start].decode("utf-8-sig") if is_cut else head.decode("latin-1")
    return None if any(each < " " and each not in "\t\n\r\f\x1a" for each in text) else text


def _of_xml(text: str, ending: str) -> str:
    known = _ENDINGS.get(ending, "")
    if known in (_GML, _KML, "text/html"):
        return known
    if ending in ("xml", "xsd", "xsl", "safe"):
        return "application/xml"
    if "opengis.net/gml" in text:
        return _GML
    return _KML if "opengis.net/kml" in text else "application/xml"
