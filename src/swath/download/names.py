"""What files and folders are called here, whatever they are called elsewhere.

A name is one segment of a path: never hidden, never an option or a device, of at most 200 bytes. Letters of any script
stay as they are.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import unquote, unquote_to_bytes, urlsplit

__all__ = ["PART", "RESUME", "disposition_name", "ending_of", "folder_name", "free_name", "safe_name", "url_name"]

PART, RESUME = ".part~", ".resume~"  # no name ends in ~
_LONGEST = 200  # bytes; file systems take 255
_LONGEST_ENDING = 30
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # are spelling, in Persian and Hindi
_ENDING = re.compile(r"(?:\.(?:tar|aux|ovr|stac))?\.[a-z0-9]{1,8}\Z", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w!#$&+\-.^`|~*]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_PROGRAMS = frozenset(("php", "asp", "aspx", "ashx", "cgi", "jsp", "do", "py", "pl", "dll", "exe"))

# The usual ending of a media type, without its parameters.
_ENDINGS = {
    "image/tiff": "tif", "image/jp2": "jp2", "image/jpx": "jpf", "image/png": "png", "image/jpeg": "jpg",
    "image/jpg": "jpg", "image/gif": "gif", "image/webp": "webp", "image/svg+xml": "svg",
    "image/vnd.stac.geotiff": "tif",
    "image/x.geotiff": "tif", "image/geotiff": "tif", "application/geotiff": "tif",
    "application/json": "json", "application/geo+json": "geojson", "application/schema+json": "json",
    "application/ld+json": "jsonld", "application/x-ndjson": "ndjson", "application/ndjson": "ndjson",
    "application/xml": "xml", "text/xml": "xml", "application/gml+xml": "gml", "text/plain": "txt",
    "text/html": "html", "text/csv": "csv", "text/tab-separated-values": "tsv", "text/markdown": "md",
    "application/pdf": "pdf", "application/zip": "zip", "application/x-zip-compressed": "zip",
    "application/gzip": "gz", "application/x-gzip": "gz", "application/x-tar": "tar", "application/x-bzip2": "bz2",
    "application/x-xz": "xz", "application/zstd": "zst", "application/x-hdf5": "h5", "application/x-hdf": "hdf",
    "application/hdf5": "h5", "application/x-netcdf": "nc", "application/netcdf": "nc",
    "application/geopackage+sqlite3": "gpkg", "application/vnd.sqlite3": "sqlite",
    "application/vnd.flatgeobuf": "fgb", "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.google-earth.kml+xml": "kml", "application/vnd.google-earth.kmz": "kmz",
    "application/vnd.laszip": "laz", "application/vnd.laszip+copc": "copc.laz", "application/vnd.las": "las",
    "application/vnd.nitf": "ntf", "application/vnd.shp": "shp", "application/vnd.dbf": "dbf",
    "application/vnd.shx": "shx", "application/wkt": "wkt", "application/yaml": "yaml",
}  # fmt: skip


def safe_name(text: str, otherwise: str = "file") -> str:
    """A name that may stand in any folder; `otherwise` where nothing is left of the text."""
    name = _clean(text).rstrip(". ~")
    name = re.sub(r"^[. ~-]+", "_", name)
    if not name.strip("_ "):
        return otherwise
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    return _cut(name)


def folder_name(text: str) -> str:
    """A folder for an id. Ids that differ have folders that differ: one that cannot stand as it is gets a mark."""
    name = safe_name(text, "_")
    if name == text:
        return name
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_cut(name, _LONGEST - 9)}-{mark}"


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or one like it that nothing has yet, also not in other capitals; `taken` holds them as casefolded."""
    stem, ending = _split(name)
    number, made = 1, name
    while made.casefold() in taken:
        number += 1
        made = f"{_cut(stem, _LONGEST - len(ending.encode()) - 8)}_{number}{ending}"
    return made


def url_name(href: str, key: str, media_type: str | None) -> str:
    """The last segment of an address, else the key, with the ending of the media type where it has none."""
    try:
        path = urlsplit(href).path
    except ValueError:
        path = ""
    name = safe_name(unquote(path.rstrip("/").rpartition("/")[2], errors="replace"), safe_name(key, "asset"))
    wanted = ending_of(media_type)
    has = _ENDING.search(name)
    if wanted is None or (has is not None and has.start() > 0 and _is_ending(has[0])):
        return name
    return safe_name(f"{_cut(name, _LONGEST - len(wanted) - 1)}.{wanted}")


def ending_of(media_type: str | None) -> str | None:
    """Without a dot; None where it is open."""
    whole = (media_type or "").lower()
    kind = whole.partition(";")[0].strip()
    return _ENDINGS.get(kind)


def disposition_name(header: str) -> str | None:
    """The name that a Content-Disposition gives (RFC 6266), no more than its last segment; None for none.

    `filename*` (RFC 8187) goes before `filename`.
    """
    found: dict[str, str] = {}
    for match in re.finditer(
        r';\s*([\w!#$&+\-.^`|~*]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', f";{header.partition(';')[2]}"
    ):
        name, value = match[1].lower(), match[2].strip()
        if value.startswith('"') and value.endswith('"') and len(value) > 1:
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found.setdefault(name, value)
    name = _extended(found.get("filename*", "")) or _as_utf8(found.get("filename", ""))
    name = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return name if safe_name(name, "") else None


def _extended(value: str) -> str:
    charset, _, rest = value.partition("'")
    encoded = rest.partition("'")[2]
    if charset.lower() not in ("utf-8", "iso-8859-1"):
        return ""
    try:
        return unquote_to_bytes(encoded).decode(charset)
    except UnicodeDecodeError:
        return ""


def _as_utf8(value: str) -> str:
    """Header fields are read as Latin-1; many servers send UTF-8."""
    with suppress(UnicodeError):
        return value.encode("latin-1").decode("utf-8")
    return value


def _clean(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    text = "".join("_" if unicodedata.category(each) in _UNSEEN and each not in _JOINERS else each for each in text)
    return _FORBIDDEN.sub("_", text)


def _is_ending(text: str) -> bool:
    last = text.rpartition(".")[2].lower()
    return last not in _PROGRAMS and not last.isdigit()


def _split(name: str) -> tuple[str, str]:
    found = _ENDING.search(name)
    if found is None or found.start() == 0:
        return name, ""
    return name[: found.start()], found[0]


def _cut(name: str, longest: int = _LONGEST) -> str:
    """No more than so many bytes; the ending stays, and no character is torn from its accents."""
    if len(name.encode()) <= longest:
        return name
    stem, ending = _split(name)
    kept = stem.encode()[: max(1, longest - len(ending.encode()))].decode("utf-8", "ignore")
    if len(kept) < len(stem):
        while kept and unicodedata.combining(stem[len(kept)]):
            kept = kept[:-1]
    return (kept.rstrip(". ~") or "_") + ending
