"""The layers of a file of vectors, read in a folder of its own, so that nothing is written beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pyogrio
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from rasterio.crs import CRS
from rasterio.errors import CRSError as NoSystem

from swath.raster.drivers import VECTORS
from swath.raster.opening import Refused, check_path

__all__ = ["Layer", "layers_of", "linked", "reading", "siblings_of"]

# A shapefile's other files, by their endings; a GML's schema says which fields are text.
_WITH_SHAPEFILE = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".shp.xml")
_WITH = {".shp": _WITH_SHAPEFILE, ".gml": (".xsd",)}
_ERRORS = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError, CRSError, ValueError, IndexError)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. `crs` is `EPSG:n`, or WKT where it has no number, or None where the file does not say."""

    name: str
    features: int
    geometry_type: str | None
    crs: str | None
    fields: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


def siblings_of(path: Path) -> list[Path]:
    """Regular files beside one that belong to it, by their names without regard to case."""
    endings = _WITH.get(path.suffix.lower(), ())
    wanted = {f"{path.stem}{ending}".lower() for ending in endings}
    if not wanted:
        return []
    with os.scandir(path.parent) as beside:
        found = [Path(each) for each in beside if each.name.lower() in wanted and each.is_file(follow_symlinks=False)]
    return sorted(found)


@contextmanager
def linked(source: str) -> Iterator[Path]:
    """A file and its siblings in a new folder, which goes when done. Refused for what must not be read as vectors.

    GDAL writes what it found out of a GML beside it, a database its journal, and pyogrio takes "!" in a name for an
    archive.
    """
    path = check_path(source)
    _check_head(path)
    folder = Path(tempfile.mkdtemp(prefix="layers."))
    try:
        for each in (path, *siblings_of(path)):
            place = folder / each.name.replace("!", "_")
            try:
                place.hardlink_to(each)
            except OSError:
                shutil.copyfile(each, place)
        yield folder / path.name.replace("!", "_")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_head(path: Path) -> None:
    with path.open("rb") as stream:
        head = stream.read(4)
        if head.startswith(b"PK"):
            raise Refused(f"{path.name}: it is an archive; its files are read where they are unpacked")
        stream.seek(0)
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            _check_prolog(stream, path.name)


def _check_prolog(stream: Any, name: str) -> None:
    """No DTD and no entities before the root element, where alone XML may have them."""

    class _Root(Exception):
        pass

    def refuse(*_: Any) -> None:
        raise Refused(f"{name}: the XML file has a DTD or entities, which are not read")

    def begin(*_: Any) -> None:
        raise _Root

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = refuse, begin
    try:
        while chunk := stream.read(65_536):
            parser.Parse(chunk)
    except _Root:
        return
    except expat.ExpatError as error:
        raise Refused(f"{name}: it is no well-formed XML", error) from None


@contextmanager
def reading(name: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise Refused(f"{name}: it is cut off or damaged, or holds no vectors of a kind that is read", error) from None


def layers_of(path: Path, name: str) -> tuple[str, list[Layer]]:
    """Driver and layers of a file (a path of `linked`); no layers of a GML without members. Refused for no vectors."""
    with reading(name):
        try:
            names = [str(layer) for layer, _ in pyogrio.list_layers(path)]
        except IndexError:  # how pyogrio says that there are none
            names = []
    if not names:
        return ("GML" if _begins_as_xml(path) else ""), []
    layers, driver = [], ""
    for layer in names:
        with reading(name):
            found = pyogrio.read_info(path, layer=layer, force_feature_count=True)
        driver = found["driver"]
        if driver not in VECTORS:
            raise Refused(f"{name}: {driver} is no kind of vectors that is read")
        layers.append(
            Layer(layer, max(0, found["features"]), found["geometry_type"], _code(found["crs"]),
                  tuple(str(each) for each in found["fields"]))
        )  # fmt: skip
    return driver, layers


def _begins_as_xml(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _code(crs: str | None) -> str | None:
    if not crs:
        return None
    try:
        system = CRS.from_user_input(crs)
        number = system.to_epsg()
        return f"EPSG:{number}" if number else str(system.to_wkt(version="WKT2_2019"))
    except (NoSystem, ValueError):
        return None
