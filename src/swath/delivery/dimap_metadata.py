"""What a DIM file of DIMAP V2 says of one component of an Airbus product: Pléiades, Pléiades Neo, SPOT 6 and 7."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from swath.delivery.footprint import footprint_of
from swath.delivery.model import Band, Tree
from swath.delivery.xml import children, number, read_xml, text
from swath.errors import DeliveryRefused, shown

__all__ = ["Component", "is_dimap", "read_component", "read_rpc", "resolved"]

# Common names of the bands by their ids: Pléiades and SPOT count from blue, Pléiades Neo names them.
_COMMON = {
    "P": "pan", "PAN": "pan", "B0": "blue", "B1": "green", "B2": "red", "B3": "nir", "R": "red", "G": "green",
    "B": "blue", "N": "nir", "NIR": "nir", "RE": "rededge", "E": "rededge", "DB": "coastal", "D": "coastal",
}  # fmt: skip
_RPC = ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN")
_OFFSETS = ("LINE", "SAMP", "LAT", "LONG", "HEIGHT")
_HEAD = 65_536


@dataclass(frozen=True, slots=True)
class Component:
    """One DIM file: what it is of, its images with their places, and what it says of them.

    `images` are the files of the mosaic in the order of their tiles, those of further bands behind; `tiles` their rows
    and columns.
    """

    path: str
    name: str
    mission: str
    platform: str
    imaged: str
    time: str | None
    spectral: str
    sensor: bool
    crs: str | None
    gsd: float | None
    cloud: float | None
    nodata: float | None
    bands: tuple[Band, ...]
    images: tuple[str, ...]
    tiles: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    stacked: bool
    rpc: str | None
    footprint: Mapping[str, Any] | None
    angles: Mapping[str, float]
    level: str | None

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)


def is_dimap(tree: Tree, name: str) -> bool:
    """Whether an XML file is of DIMAP, by its beginning or its name."""
    base = posixpath.basename(name).upper()
    if not base.endswith((".XML", ".DIM")):
        return False
    with tree.path(name).open("rb") as stream:
        return b"Dimap_Document" in stream.read(_HEAD) or base.startswith(("DIM_", "VOL_"))


def resolved(tree: Tree, origin: str, href: str) -> str:
    """The file that a document names. DeliveryRefused where that is outside the delivery, or is not there."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), href.replace("\\", "/")))
    if ":" in href or href.startswith("/") or path.startswith(("../", "/")) or path == "..":
        raise DeliveryRefused(f"{origin}: it names {shown(href)}, which is outside the delivery")
    if path in tree.files:
        return path
    lower = [each for each in tree.files if each.lower() == path.lower()]
    if not lower:
        raise DeliveryRefused(f"{origin}: it names {shown(href)}, which is not in the delivery")
    return lower[0]


def read_component(tree: Tree, name: str) -> Component | None:
    """The component that a file describes; None for documents of DIMAP that describe no image."""
    root = read_xml(tree.path(name), name)
    _check_links(tree, name, root)
    version = root.find("Metadata_Identification/METADATA_FORMAT")
    if root.tag != "Dimap_Document" or version is None or not str(version.get("version", "")).startswith("2"):
        return None
    if root.find("Raster_Data/Data_Access") is None:
        return None
    source = root.find("Dataset_Sources/Source_Identification/Strip_Source")
    blocks = list(children(root, "Raster_Data/Data_Access/Data_Files"))
    images, tiles = _images(tree, name, root, blocks)
    mission = (text(source, "MISSION") or "").upper().split("-")[0].split("_")[0]
    index = text(source, "MISSION_INDEX") or ""
    center = _center(root)
    sensor = _is_sensor(root)
    return Component(
        path=name,
        name=text(root, "Dataset_Identification/DATASET_NAME") or posixpath.basename(name).rpartition(".")[0],
        mission=mission,
        platform=f"{mission}{index}" if not mission.endswith(index) else mission,
        imaged=f"{text(source, 'IMAGING_DATE')}T{text(source, 'IMAGING_TIME')}",
        time=_utc(text(center, "TIME")) or _imaged(source),
        spectral=(text(root, "Processing_Information/Product_Settings/SPECTRAL_PROCESSING") or "").upper(),
        sensor=sensor,
        crs=None if sensor else _crs(root),
        gsd=_spacing(root),
        cloud=number(root, "Dataset_Content/CLOUD_COVERAGE"),
        nodata=_nodata(root),
        bands=_bands(root, blocks),
        images=images,
        tiles=tiles,
        size=_size(name, root),
        stacked=len(blocks) > 1,
        rpc=_rpc_path(tree, name, root) if sensor else None,
        footprint=_extent(root),
        angles=_angles(center),
        level=text(root, "Processing_Information/Product_Settings/PROCESSING_LEVEL"),
    )


def _check_links(tree: Tree, name: str, root: Element) -> None:
    """Every file that a document names is in the delivery."""
    for element in root.iter():
        href = element.get("href")
        if href is None or not str(element.tag).endswith("_PATH"):
            continue
        if "://" in href:
            raise DeliveryRefused(f"{name}: it names {shown(href)}, which is outside the delivery")
        if str(element.tag) in ("COMPONENT_PATH", "DATA_FILE_PATH"):
            resolved(tree, name, href)


def _images(
    tree: Tree, name: str, root: Element, blocks: Sequence[Element]
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    tiling = root.find("Raster_Data/Raster_Dimensions/Tile_Set/Regular_Tiling")
    step = tiling.find("NTILES_SIZE") if tiling is not None else None
    rows = int(step.get("nrows", "0")) - int(number(tiling, "OVERLAP_ROW") or 0) if step is not None else 0
    columns = int(step.get("ncols", "0")) - int(number(tiling, "OVERLAP_COL") or 0) if step is not None else 0
    found: list[tuple[int, int, int, str]] = []
    for block, element in enumerate(blocks):
        for file in children(element, "Data_File"):
            path = file.find("DATA_FILE_PATH")
            href = path.get("href") if path is not None else None
            if href is None:
                raise DeliveryRefused(f"{name}: a Data_File without a path")
            row, column = int(file.get("tile_R", "1")), int(file.get("tile_C", "1"))
            found.append((block, row, column, resolved(tree, name, href)))
    if not found:
        raise DeliveryRefused(f"{name}: it names no image")
    if len({(row, column) for _, row, column, _ in found}) > 1 and not (rows and columns):
        raise DeliveryRefused(f"{name}: several tiles, and nothing says how large they are")
    found.sort()
    return (
        tuple(path for *_, path in found),
        tuple(((row - 1) * rows, (column - 1) * columns) for _, row, column, _ in found),
    )


def _size(name: str, root: Element) -> tuple[int, int]:
    dimensions = root.find("Raster_Data/Raster_Dimensions")
    rows, columns = number(dimensions, "NROWS"), number(dimensions, "NCOLS")
    if not rows or not columns:
        raise DeliveryRefused(f"{name}: the image's rows and columns are missing")
    return int(rows), int(columns)


def _is_sensor(root: Element) -> bool:
    geometry = text(root, "Geoposition/Raster_CRS/RASTER_GEOMETRY") or ""
    level = text(root, "Processing_Information/Product_Settings/PROCESSING_LEVEL") or ""
    return "SENSOR" in (geometry.upper(), level.upper()) or (
        text(root, "Coordinate_Reference_System/Projected_CRS/PROJECTED_CRS_CODE") is None
        and "ORTHO" not in level.upper()
    )


def _crs(root: Element) -> str | None:
    for path in ("Projected_CRS/PROJECTED_CRS_CODE", "Geodetic_CRS/GEODETIC_CRS_CODE"):
        found = re.search(r"EPSG:+(\d+)", text(root, f"Coordinate_Reference_System/{path}") or "")
        if found:
            return f"EPSG:{found[1]}"
    return None


def _spacing(root: Element) -> float | None:
    """Metres between pixels on the ground; None where the spacing is in degrees."""
    element = root.find("Processing_Information/Product_Settings/Sampling_Settings/RESAMPLING_SPACING")
    metres = element is not None and element.get("unit", "m").lower() in ("m", "meter", "metre", "meters")
    return number(element) if metres else None


def _nodata(root: Element) -> float | None:
    for special in root.iter("Special_Value"):
        if (text(special, "SPECIAL_VALUE_TEXT") or "").upper() == "NODATA":
            return number(special, "SPECIAL_VALUE_COUNT")
    return None


def _bands(root: Element, blocks: Sequence[Element]) -> tuple[Band, ...]:
    """In the order of the file: band 1 of Pléiades is red, whatever its id says."""
    ranges = {text(each, "BAND_ID"): each for each in root.iter("Band_Spectral_Range")}
    bands: list[Band] = []
    own = [block for block in blocks if block.find(".//Raster_Index") is not None]
    for place in own or [root.find("Raster_Data")]:
        indices = sorted(place.iter("Raster_Index") if place is not None else (),
                         key=lambda each: number(each, "BAND_INDEX") or 0)  # fmt: skip
        bands += [_band(text(each, "BAND_ID") or "", ranges) for each in indices]
    return tuple(bands)


def _band(name: str, ranges: Mapping[str | None, Element]) -> Band:
    measured = ranges.get(name)
    span = measured.find("FWHM") if measured is not None and measured.find("FWHM") is not None else measured
    low, high = number(span, "MIN"), number(span, "MAX")
    scale = 0.001 if (text(measured, "MEASURE_UNIT") or "").lower().startswith("nano") else 1.0
    if low is None or high is None:
        return Band(name, _COMMON.get(name.upper()))
    return Band(name, _COMMON.get(name.upper()), round((low + high) / 2 * scale, 6), round((high - low) * scale, 6))


def _extent(root: Element) -> Mapping[str, Any] | None:
    points = [
        (number(vertex, "LON"), number(vertex, "LAT"))
        for vertex in root.iterfind("Dataset_Content/Dataset_Extent/Vertex")
    ]
    ring = [(lon, lat) for lon, lat in points if lon is not None and lat is not None]
    return footprint_of([ring]) if len(ring) > 2 else None


# -- when and from where -------------------------------------------------------------------------


def _center(root: Element) -> Element | None:
    located = list(root.iter("Located_Geometric_Values"))
    named = [each for each in located if (text(each, "LOCATION_TYPE") or "").lower() == "center"]
    return (named or located or [None])[0]  # type: ignore[list-item]


def _angles(center: Element | None) -> dict[str, float]:
    told = {
        "view:incidence_angle": number(center, "Acquisition_Angles/INCIDENCE_ANGLE"),
        "view:azimuth": number(center, "Acquisition_Angles/AZIMUTH_ANGLE"),
        "view:off_nadir": number(center, "Acquisition_Angles/VIEWING_ANGLE"),
        "view:sun_azimuth": number(center, "Solar_Incidences/SUN_AZIMUTH"),
        "view:sun_elevation": number(center, "Solar_Incidences/SUN_ELEVATION"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _utc(instant: str | None) -> str | None:
    """An instant in UTC, which is what DIMAP's are, with or without a Z."""
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(\.\d+)?Z?", instant or "")
    return f"{found[1]}T{found[2]}{(found[3] or '')[:7]}Z" if found else None


def _imaged(source: Element | None) -> str | None:
    return _utc(f"{text(source, 'IMAGING_DATE')}T{(text(source, 'IMAGING_TIME') or '').removesuffix('Z')}")


# -- coefficients --------------------------------------------------------------------------------


def _rpc_path(tree: Tree, name: str, root: Element) -> str | None:
    for path in root.iterfind("Geoposition/Geoposition_Models/Rational_Function_Model/Component/COMPONENT_PATH"):
        return resolved(tree, name, path.get("href", ""))
    folder = posixpath.dirname(name)
    beside = [each for each in tree.files if posixpath.dirname(each) == folder]
    return next((each for each in beside if posixpath.basename(each).upper().startswith("RPC_")), None)


def read_rpc(tree: Tree, name: str, *, from_one: bool) -> dict[str, str]:
    """The coefficients from ground to image, in the names of GDAL's RPC domain, which counts pixels from 0.

    `from_one`: the file counts them from 1, as those of Pléiades and SPOT do.
    """
    root = read_xml(tree.path(name), name)
    # From ground to image: the inverse model of Pléiades and SPOT, GroundtoImage_Values of Pléiades Neo.
    models = (root.find(".//Inverse_Model"), root.find(".//GroundtoImage_Values"))
    model = next((each for each in models if each is not None), None)
    validity = root.find(".//RFM_Validity")
    found: dict[str, str] = {}
    for part in _RPC:
        values = [number(model, f"{part}_COEFF_{each}") for each in range(1, 21)]
        if any(value is None for value in values):
            raise DeliveryRefused(f"{name}: the coefficients {part} are not all there")
        found[f"{part}_COEFF"] = " ".join(f"{value:.15e}" for value in values)
    for part in _OFFSETS:
        offset, scale = number(validity, f"{part}_OFF"), number(validity, f"{part}_SCALE")
        if offset is None or not scale:
            raise DeliveryRefused(f"{name}: the offset or scale of {part} is missing")
        shift = 1.0 if from_one and part in ("LINE", "SAMP") else 0.0
        found[f"{part}_OFF"], found[f"{part}_SCALE"] = repr(offset - shift), repr(scale)
    return found
