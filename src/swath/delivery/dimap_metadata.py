"""What a DIM file of DIMAP V2 says of one component of an Airbus product: Pléiades, Pléiades Neo, SPOT 6 and 7."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from swath.delivery.dimap_images import Images, read_images, resolved
from swath.delivery.footprint import footprint_of
from swath.delivery.model import Inspect, Tree
from swath.delivery.xml import children, number, read_xml, text
from swath.errors import DeliveryRefused
from swath.stac.time import parse_instant

__all__ = ["Component", "is_dimap", "read_component"]

_HEAD = 65_536
_STRIP = "Dataset_Sources/Source_Identification/Strip_Source"
_SETTINGS = "Processing_Information/Product_Settings"
_SMALLEST_SPACING = 0.01  # metres; less are degrees, whatever the unit says


@dataclass(frozen=True, slots=True)
class Component:
    """One DIM file: what it is of, its images, and what it says of them.

    `imaged` is the same for all components of one acquisition. `times` are those
    of the lines of which it tells.
    `named` are the files that it names, its images included.
    """

    path: str
    name: str
    mission: str
    platform: str
    instrument: str | None
    imaged: str
    time: str | None
    times: tuple[str, ...]
    spectral: str
    sensor: bool
    crs: str | None
    gsd: float | None
    cloud: float | None
    images: Images
    named: frozenset[str]
    rpc: str | None
    footprint: Mapping[str, Any] | None
    angles: Mapping[str, float]
    level: str | None

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)

    @property
    def kind(self) -> str:
        single = self.spectral in ("P", "PAN") or len(self.images.bands) == 1
        return "panchromatic" if single else "multispectral"


def is_dimap(tree: Tree, name: str) -> bool:
    """Whether a file is XML of DIMAP, by its beginning."""
    if not name.lower().endswith((".xml", ".dim")):
        return False
    with tree.path(name).open("rb") as stream:
        head = stream.read(_HEAD)
    return b"Dimap_Document" in head.replace(b"\0", b"")  # also in UTF-16


def read_component(tree: Tree, name: str, inspect: Inspect) -> Component | None:
    """The component that a file describes; None for documents that describe no image, and for DIMAP V1."""
    root = read_xml(tree.path(name), name)
    version = root.find("Metadata_Identification/METADATA_FORMAT")
    # Version 3 is what some documents of Pléiades Neo call themselves; their elements are the same.
    if root.tag != "Dimap_Document" or version is None or version.get("version", "")[:1] not in ("2", "3"):
        return None
    is_product = root.find("Raster_Data/Data_Access/Data_Files") is not None
    if not is_product and (text(root, "Metadata_Identification/METADATA_PROFILE") or "").upper() != "VOLUME":
        return None
    named = frozenset(_named(tree, name, root))
    return _component(tree, name, root, named, inspect) if is_product else None


def _component(tree: Tree, name: str, root: Element, named: frozenset[str], inspect: Inspect) -> Component:
    source = root.find(_STRIP)
    mission = re.split(r"[-_ ]", (text(source, "MISSION") or "").upper())[0]
    index = (text(source, "MISSION_INDEX") or "").upper()
    center = _center(root)
    sensor = _is_sensor(root)
    images = read_images(tree, name, root, inspect)
    time = _utc(text(center, "TIME"))
    taken = _imaged(source)
    return Component(
        path=name,
        name=text(root, "Dataset_Identification/DATASET_NAME") or posixpath.basename(name).rpartition(".")[0],
        mission=mission,
        platform=mission if index and mission.endswith(index) else f"{mission}{index}",
        instrument=text(source, "INSTRUMENT"),
        imaged=taken or time or name,
        time=time or taken,
        times=tuple(
            told for each in root.iter("Located_Geometric_Values") if (told := _utc(text(each, "TIME"))) is not None
        ),
        spectral=(text(root, f"{_SETTINGS}/SPECTRAL_PROCESSING") or "").upper(),
        sensor=sensor,
        crs=None if sensor else _crs(root),
        gsd=_spacing(root, center),
        cloud=_within(number(root, "Dataset_Content/CLOUD_COVERAGE"), 0.0, 100.0),
        images=images,
        named=named | set(images.files),
        rpc=_rpc_path(tree, name, root) if sensor else None,
        footprint=_extent(root),
        angles=_angles(center),
        level=text(root, f"{_SETTINGS}/PROCESSING_LEVEL"),
    )


def _named(tree: Tree, name: str, root: Element) -> Iterator[str]:
    """The files that a document names: components must be there, previews need not be."""
    for component in root.iter("Component"):
        element = component.find("COMPONENT_PATH")
        href = (element.get("href") or "").strip() if element is not None else ""
        # Volumes point to documentation on the network, which is nothing of the delivery.
        is_page = re.match(r"https?://", href) is not None and text(component, "COMPONENT_TYPE") != "DIMAP"
        if href and not is_page:
            yield resolved(tree, name, href)
    for element in root.iter():
        href = (element.get("href") or "").strip()
        if href and str(element.tag).endswith(("_QL_PATH", "_TN_PATH")):
            try:
                yield resolved(tree, name, href)
            except DeliveryRefused:
                continue


def _is_sensor(root: Element) -> bool:
    """Whether pixels are where the sensor saw them: only a model says where that is on the ground."""
    geometry = (text(root, "Geoposition/Raster_CRS/RASTER_GEOMETRY") or "").upper()
    if geometry:
        return geometry == "SENSOR"
    if root.find("Geoposition/Geoposition_Insert") is not None:
        return False
    level = (text(root, f"{_SETTINGS}/PROCESSING_LEVEL") or "").upper()
    kind = (text(root, "Dataset_Identification/DATASET_TYPE") or "").upper()
    return "SENSOR" in level or "SENSOR" in kind or root.find("Geoposition/Geoposition_Models") is not None


def _crs(root: Element) -> str | None:
    for path in ("Projected_CRS/PROJECTED_CRS_CODE", "Geodetic_CRS/GEODETIC_CRS_CODE"):
        code = text(root, f"Coordinate_Reference_System/{path}") or ""
        found = re.search(r"EPSG:[\d.]*:(\d+)$|EPSG:(\d+)$|^(\d{4,6})$", code, re.IGNORECASE)
        if found:
            return f"EPSG:{found[1] or found[2] or found[3]}"
    return None


def _spacing(root: Element, center: Element | None) -> float | None:
    """Metres between pixels on the ground. That of an image in degrees is what the sensor saw at its centre."""
    element = root.find(f"{_SETTINGS}/Sampling_Settings/RESAMPLING_SPACING")
    metres = element is not None and element.get("unit", "m").lower() in ("m", "meter", "metre", "meters", "metres")
    spacing = number(element) if metres else None
    if spacing is not None and spacing > _SMALLEST_SPACING:
        return spacing
    return _within(number(center, "Ground_Sample_Distance/GSD_ACROSS_TRACK"), _SMALLEST_SPACING, 1000.0)


def _extent(root: Element) -> Mapping[str, Any] | None:
    """The polygon of the data. Some files of Pléiades Neo list the centre among the corners."""
    extent = root.find("Dataset_Content/Dataset_Extent")
    center = number(extent, "Center/LON"), number(extent, "Center/LAT")
    ring = []
    for vertex in children(extent, "Vertex"):
        longitude, latitude = number(vertex, "LON"), number(vertex, "LAT")
        if longitude is not None and latitude is not None and (longitude, latitude) != center:
            ring.append((longitude, latitude))
    return footprint_of([ring]) if len(ring) > 2 else None


def _rpc_path(tree: Tree, name: str, root: Element) -> str | None:
    for path in root.iterfind("Geoposition/Geoposition_Models/Rational_Function_Model/Component/COMPONENT_PATH"):
        return resolved(tree, name, path.get("href", ""))
    base = posixpath.basename(name).rpartition(".")[0][4:].lower()
    wanted = posixpath.join(posixpath.dirname(name), f"rpc_{base}.xml").lower()
    return next((each for each in tree.files if each.lower() == wanted), None)


# -- when and from where -------------------------------------------------------------------------


def _center(root: Element) -> Element | None:
    located = list(root.iter("Located_Geometric_Values"))
    named = [each for each in located if (text(each, "LOCATION_TYPE") or "").lower() == "center"]
    return next(iter(named or located[len(located) // 2 :]), None)


def _angles(center: Element | None) -> dict[str, float]:
    """Degrees, each within what the view extension allows."""
    incidence = number(center, "Acquisition_Angles/INCIDENCE_ANGLE")
    viewing = number(center, "Acquisition_Angles/VIEWING_ANGLE")
    azimuth = number(center, "Acquisition_Angles/AZIMUTH_ANGLE")
    sun = number(center, "Solar_Incidences/SUN_AZIMUTH")
    told = {
        "view:incidence_angle": _within(abs(incidence), 0.0, 90.0) if incidence is not None else None,
        "view:off_nadir": _within(abs(viewing), 0.0, 90.0) if viewing is not None else None,
        "view:azimuth": azimuth % 360.0 if azimuth is not None else None,
        "view:sun_azimuth": sun % 360.0 if sun is not None else None,
        "view:sun_elevation": _within(number(center, "Solar_Incidences/SUN_ELEVATION"), -90.0, 90.0),
    }
    return {name: value for name, value in told.items() if value is not None}


def _within(value: float | None, least: float, most: float) -> float | None:
    return value if value is not None and least <= value <= most else None


def _utc(instant: str | None) -> str | None:
    """An instant in UTC, which is what DIMAP's are, with or without a Z; cut to microseconds."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?Z?", instant or "")
    if found is None:
        return None
    told = f"{found[1]}T{found[2]}{(found[3] or '')[:7]}Z"
    try:
        parse_instant(told)
    except ValueError:
        return None
    return told


def _imaged(source: Element | None) -> str | None:
    return _utc(f"{text(source, 'IMAGING_DATE')}T{(text(source, 'IMAGING_TIME') or '').removesuffix('Z')}")
