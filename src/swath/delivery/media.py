"""The media type of a file, told by its first bytes, and by its name where those leave it open."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

__all__ = ["media_type_of"]

_LOOK = 4_096
_GEOTIFF = "image/tiff; application=geotiff"
# What a file begins with. The first that fits.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", _GEOTIFF), (b"MM\0*", _GEOTIFF), (b"II+\0", _GEOTIFF), (b"MM\0+", _GEOTIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"), (b"\xff\x4f\xff\x51", "image/jp2"),
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"), (b"\x1f\x8b", "application/gzip"), (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"), (b"CDF\x01", "application/x-netcdf"), (b"CDF\x02", "application/x-netcdf"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"NITF0", "application/vnd.nitf"), (b"NSIF0", "application/vnd.nitf"),
    (b"fgb\x03", "application/vnd.flatgeobuf"), (b"PAR1", "application/vnd.apache.parquet"),
)  # fmt: skip
_ENDINGS = {
    "kmz": "application/vnd.google-earth.kmz", "kml": "application/vnd.google-earth.kml+xml",
    "gml": "application/gml+xml", "xml": "application/xml", "xsd": "application/xml", "safe": "application/xml",
    "htm": "text/html", "html": "text/html", "css": "text/css", "txt": "text/plain", "md": "text/markdown",
    "csv": "text/csv", "tsv": "text/tab-separated-values", "json": "application/json",
    "geojson": "application/geo+json", "nc": "application/x-netcdf", "gpkg": "application/geopackage+sqlite3",
    "shp": "application/vnd.shp", "dbf": "application/vnd.dbf", "shx": "application/vnd.shx", "xsl": "application/xml",
}  # fmt: skip


def media_type_of(path: Path, name: str) -> str:
    """The media type of a file that its sender calls `name`."""
    with path.open("rb") as stream:
        head = stream.read(_LOOK)
    ending = name.lower().rpartition(".")[2]
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            if media_type == "application/x-hdf5" and ending == "nc":
                return "application/x-netcdf"
            return media_type
    if head.startswith(b"SQLite format 3\0"):
        return "application/geopackage+sqlite3" if head[68:72] in (b"GPKG", b"GP10", b"GP11") or ending == "gpkg" else (
            "application/vnd.sqlite3"
        )  # fmt: skip
    if head[:2] == b"PK" or zipfile.is_zipfile(path):
        return "application/vnd.google-earth.kmz" if ending == "kmz" else "application/zip"
    if head[257:262] == b"ustar" or (ending == "tar" and tarfile.is_tarfile(path)):
        return "application/x-tar"
    return _of_text(head, ending)


def _of_text(head: bytes, ending: str) -> str:
    try:
        text = head.decode("utf-8-sig", "ignore" if len(head) == _LOOK else "strict").lstrip()
    except UnicodeDecodeError:
        return _ENDINGS.get(ending, "application/octet-stream")
    if "\0" in text:
        return "application/octet-stream"
    start = text[:1_000].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "text/html"
    if start.startswith("<"):
        return _of_xml(text, ending)
    if start.startswith(("{", "[")):
        found = "application/geo+json" if '"featurecollection"' in start or '"feature"' in start else "application/json"
        return found if ending != "json" else "application/json"
    return _ENDINGS.get(ending, "text/plain" if text else "application/octet-stream")


def _of_xml(text: str, ending: str) -> str:
    known = _ENDINGS.get(ending)
    if known and (known.endswith("xml") or known == "text/html"):
        return known
    if "opengis.net/gml" in text:
        return "application/gml+xml"
    return "application/vnd.google-earth.kml+xml" if "opengis.net/kml" in text else "application/xml"
