"""Landsat Collection 2 scenes of level 1 and 2, of all missions: one scene of each set of metadata files (MTL).

Source: Landsat Collection 2 Data Format Control Books; fields of STAC by the landsat extension 2.0.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from swath.delivery.footprint import footprint_of
from swath.delivery.landsat_files import parts_of
from swath.delivery.landsat_mtl import FORMS, Mtl, read_mtl
from swath.delivery.model import Inspect, Part, Product, Scene, Tree
from swath.errors import DeliveryRefused
from swath.stac.time import DAY, format_instant, parse_date, parse_instant

__all__ = ["recognise"]

_CONTENTS, _IMAGE, _PROJECTION = "PRODUCT_CONTENTS", "IMAGE_ATTRIBUTES", "PROJECTION_ATTRIBUTES"
_RECORDS = ("LEVEL2_PROCESSING_RECORD", "LEVEL1_PROCESSING_RECORD")
_EPSG = re.compile(r"EPSG:\d{4,6}")


@dataclass(frozen=True, slots=True)
class _Found:
    """A scene: its folder with a slash or empty, its product's id, the metadata to believe, its files."""

    folder: str
    id: str
    level: str
    mtl: Mtl
    files: tuple[str, ...]


def recognise(tree: Tree, inspect: Inspect) -> Product | None:
    """The Landsat scenes of a delivery; None where no metadata file of Collection 2 is in it.

    DeliveryRefused for metadata that cannot be read, and for a file that they list and that is not there.
    """
    found = _found(tree)
    if not found:
        return None
    levels = sorted({each.level[1] for each in found})
    kind = f"landsat-c2-l{levels[0]}" if len(levels) == 1 else "landsat-c2"
    return Product(
        kind=kind, title=f"Landsat Collection 2 level {' and '.join(levels)}", collection_name=kind, producer="USGS",
        data_type="raster", modality="multispectral", license="PDDL-1.0",
        scenes=tuple(_scene(each, inspect) for each in found),
        claimed=frozenset(name for each in found for name in each.files),
    )  # fmt: skip


# -- finding -------------------------------------------------------------------------------------


def _found(tree: Tree) -> list[_Found]:
    names = [name for name in tree.files if not _is_litter(name)]
    present = {name.lower(): name for name in names}
    sets: dict[tuple[str, str], list[Mtl]] = {}
    for name in names:
        if name.lower().endswith(FORMS) and (mtl := read_mtl(tree.path(name), name)) is not None and _is_ours(mtl):
            folder = name[: name.rfind("/") + 1]
            sets.setdefault((folder, _id(mtl)), []).append(mtl)
    found = []
    for (folder, product_id), mtls in sorted(sets.items(), key=lambda item: item[0]):
        mtls.sort(key=lambda mtl: FORMS.index(PurePosixPath(mtl.name).suffix.lower()))
        own = {mtl.name for mtl in mtls} | _listed(present, folder, mtls[0]) | _called_after(names, folder + product_id)
        found.append(_Found(folder, product_id, _level(mtls[0]), mtls[0], tuple(sorted(own))))
    return found


def _is_litter(name: str) -> bool:
    return "__MACOSX" in name.split("/") or name.rpartition("/")[2].startswith("._")


def _is_ours(mtl: Mtl) -> bool:
    return mtl.number("COLLECTION_NUMBER", _CONTENTS, *_RECORDS) == 2.0 and _level(mtl)[:2] in ("L1", "L2")


def _level(mtl: Mtl) -> str:
    return (mtl.text("PROCESSING_LEVEL", _CONTENTS) or "").upper()


def _id(mtl: Mtl) -> str:
    found = mtl.text("LANDSAT_PRODUCT_ID", _CONTENTS)
    if found is None:
        raise DeliveryRefused(f"{mtl.name}: no LANDSAT_PRODUCT_ID in {_CONTENTS}")
    return found


def _called_after(names: Sequence[str], start: str) -> set[str]:
    """The files of a folder whose name is a product's id with something behind it; `names` are sorted."""
    found = set()
    for name in names[bisect_left(names, start) :]:
        if not name.startswith(start):
            break
        if "/" not in name[len(start) :] and name[len(start) :][:1] in ("_", ".", "-"):
            found.add(name)
    return found


def _listed(present: Mapping[str, str], folder: str, mtl: Mtl) -> set[str]:
    """DeliveryRefused where a listed file is not there. The metadata files themselves come in one form at least."""
    found = set()
    contents = mtl.groups.get(_CONTENTS, {})
    for key, value in contents.items():
        of = key.removeprefix("FILE_NAME_")
        if of == key or of.startswith("METADATA_") or not value or contents.get(f"PRESENT_{of}") == "N":
            continue
        if "/" in value or "\\" in value or "\0" in value:
            raise DeliveryRefused(f"{mtl.name}: {key} is no plain file name: {value[:200]!r}")
        name = present.get((folder + value).lower())
        if name is None:
            raise DeliveryRefused(f"{folder}{value}: listed in {mtl.name}, but not in the delivery")
        found.add(name)
    return found


# -- a scene -------------------------------------------------------------------------------------


def _scene(found: _Found, inspect: Inspect) -> Scene:
    mtl = found.mtl
    parts = parts_of(found.files, found.id, mtl)
    first, last = _times(mtl)
    instant = first if first == last else None
    return Scene(
        name=found.id,
        datetime=None if instant is None else format_instant(instant),
        start_datetime=None if first is None else format_instant(first),
        end_datetime=None if last is None else format_instant(last),
        parts=parts,
        properties=_properties(mtl, parts, inspect),
        footprint=_footprint(mtl),
    )


def _times(mtl: Mtl) -> tuple[int | None, int | None]:
    """When the scene was taken: twice the same instant, or first and last of the day where only that is known."""
    date, time = mtl.text("DATE_ACQUIRED", _IMAGE), mtl.text("SCENE_CENTER_TIME", _IMAGE)
    try:
        start = parse_date(date or "")
    except ValueError:
        return None, None
    try:
        instant = parse_instant(f"{date}T{(time or '').removesuffix('Z')}Z")  # fractions are cut to microseconds
    except ValueError:
        return start, start + DAY - 1
    return instant, instant


def _properties(mtl: Mtl, parts: Sequence[Part], inspect: Inspect) -> dict[str, Any]:
    platform = (mtl.text("SPACECRAFT_ID", _IMAGE) or "").lower().replace("_", "-")
    sensor = (mtl.text("SENSOR_ID", _IMAGE) or "").lower()
    azimuth = mtl.number("SUN_AZIMUTH", _IMAGE)
    cloud = mtl.number("CLOUD_COVER", _IMAGE)
    gsd = mtl.number("GRID_CELL_SIZE_REFLECTIVE", _PROJECTION) or mtl.number("GRID_CELL_SIZE_THERMAL", _PROJECTION)
    told: dict[str, Any] = {
        "platform": platform or None,
        "constellation": "landsat",
        "instruments": [each for each in sensor.split("_") if each] or None,
        "gsd": _whole(gsd or 30.0),
        "eo:cloud_cover": cloud if cloud is not None and 0.0 <= cloud <= 100.0 else None,  # -1: unknown
        "view:sun_azimuth": None if azimuth is None else round(azimuth % 360.0, 8),
        "view:sun_elevation": mtl.number("SUN_ELEVATION", _IMAGE),
        "view:off_nadir": _off_nadir(mtl),
        "proj:code": _code(mtl, parts, inspect),
        "processing:level": _level(mtl)[:2] or None,
        **_landsat(mtl),
    }
    return {key: value for key, value in told.items() if value is not None}


def _landsat(mtl: Mtl) -> dict[str, Any]:
    """Fields of the landsat extension. `landsat:cloud_cover_land` may be -1 there: unknown, or no land."""
    return {
        "landsat:scene_id": mtl.text("LANDSAT_SCENE_ID", *_RECORDS, _CONTENTS),
        "landsat:wrs_type": mtl.text("WRS_TYPE", _IMAGE),
        "landsat:wrs_path": _three_digits(mtl.text("WRS_PATH", _IMAGE)),
        "landsat:wrs_row": _three_digits(mtl.text("WRS_ROW", _IMAGE)),
        "landsat:collection_category": mtl.text("COLLECTION_CATEGORY", _CONTENTS, *_RECORDS),
        "landsat:collection_number": "02",
        "landsat:correction": _level(mtl),
        "landsat:cloud_cover_land": mtl.number("CLOUD_COVER_LAND", _IMAGE),
        "landsat:product_generated": _generated(mtl),
    }


def _generated(mtl: Mtl) -> str | None:
    try:
        return format_instant(parse_instant(mtl.text("DATE_PRODUCT_GENERATED", *_RECORDS) or ""))
    except ValueError:
        return None


def _three_digits(text: str | None) -> str | None:
    return text.zfill(3) if text and text.isdecimal() else None


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _off_nadir(mtl: Mtl) -> float | None:
    """Degrees between nadir and the middle of the scene. The roll says it where the satellite was turned aside."""
    pointing = mtl.text("NADIR_OFFNADIR", _IMAGE)
    if pointing == "NADIR":
        return 0
    roll = mtl.number("ROLL_ANGLE", _IMAGE)
    return abs(roll) if pointing == "OFFNADIR" and roll is not None else None


def _code(mtl: Mtl, parts: Sequence[Part], inspect: Inspect) -> str | None:
    """The CRS of the scene. Landsat counts UTM zones north on both hemispheres; polar scenes are stereographic."""
    groups = (_PROJECTION, "LEVEL1_PROJECTION_PARAMETERS")
    projection = mtl.text("MAP_PROJECTION", *groups)
    zone = mtl.number("UTM_ZONE", *groups)
    if projection == "UTM" and zone is not None and 1 <= abs(zone) <= 60 and zone == int(zone):
        return f"EPSG:{(32600 if zone > 0 else 32700) + abs(int(zone))}"
    rasters = [part for part in parts if part.action == "raster"]
    if not rasters:
        return None
    held = inspect(rasters[0].sources[0])
    code = held.get("crs") or held.get("code")
    return code if isinstance(code, str) and _EPSG.fullmatch(code) else None


def _footprint(mtl: Mtl) -> dict[str, Any] | None:
    """The corners of the image; they are centres of pixels, half a pixel inside of its edge."""
    corners = []
    for corner in ("UL", "LL", "LR", "UR"):
        longitude = mtl.number(f"CORNER_{corner}_LON_PRODUCT", _PROJECTION)
        latitude = mtl.number(f"CORNER_{corner}_LAT_PRODUCT", _PROJECTION)
        if longitude is None or latitude is None:
            return None
        corners.append((longitude, latitude))
    return footprint_of([corners])
