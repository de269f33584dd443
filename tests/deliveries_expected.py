"""What `expected.json` in the shared folder says of a delivery, held against what a recogniser made of it.

It imports nothing of Swath: a scene and its parts are known by their attributes alone. What only the converted file can
show (`proj:shape`, `proj:transform`, `data_type`, `features`, `bbox` of a mask) is not looked at here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from tests.conftest import SHARED

DELIVERIES = SHARED / "deliveries"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOJSON = "application/geo+json"
# Files that a reader finds by itself beside the one that it is given.
SIDECARS = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".pgw", ".jgw", ".tfw", ".wld", ".hdr", ".aux.xml")
ANGLES = ("view:sun_azimuth", "view:sun_elevation", "view:off_nadir", "view:incidence_angle", "view:azimuth")
EXACT = ("instruments", "proj:code", "s2:processing_baseline", "grid:code")


@lru_cache(1)
def _expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DELIVERIES / "expected.json").read_text("utf-8"))
    return found


def entry(path: str) -> dict[str, Any]:
    """The delivery at a path below the shared folder's `deliveries`, or whose path ends so."""
    found = [each for each in _expected()["deliveries"] if each["path"] == path or each["path"].endswith("/" + path)]
    assert len(found) == 1, f"{len(found)} deliveries in expected.json are {path}"
    only: dict[str, Any] = found[0]
    return only


def check_product(product: Any, expected: Mapping[str, Any], files: Iterable[str], *, name: bool = True) -> None:
    """Each scene is as one expected item, in any order, and nothing of the delivery's `files` is lost."""
    scenes = list(product.scenes)
    assert len(scenes) == len(expected["items"]), [scene.name for scene in scenes]
    for item in expected["items"]:
        alike = [scene for scene in scenes if _sources(scene) & _wanted(item)]
        assert alike, f"no scene holds files of {item['name']}"
        check_scene(max(alike, key=lambda scene: len(_sources(scene) & _wanted(item))), item, name=name)
    spared = {source for each in expected.get("shared_files", ()) for source in each["sources"]}
    check_nothing_dropped(scenes, files, [*expected.get("ignored", ()), *spared])


def check_nothing_dropped(scenes: Iterable[Any], files: Iterable[str], spared: Iterable[str] = ()) -> None:
    """Every file is a source of some part of some scene, but for those spared and for sidecars."""
    held = {source for scene in scenes for source in _sources(scene)} | set(spared)
    lost = [file for file in files if file not in held and not file.lower().endswith(SIDECARS)]
    assert not lost, f"files of which nothing became: {lost}"


def check_scene(scene: Any, expected: Mapping[str, Any], *, name: bool = True) -> None:
    """The scene says what the item of `expected.json` says, and has its assets. `name`: its name as well."""
    if name:
        assert scene.name == expected["name"]
    _check_time(scene, expected)
    _check_facts(scene.properties, expected)
    _check_footprint(scene.footprint, expected)
    keys = [part.key for part in scene.parts]
    assert len(set(keys)) == len(keys), f"keys twice: {sorted({key for key in keys if keys.count(key) > 1})}"
    for part in scene.parts:
        assert part.sources, f"{part.key}: made of nothing"
        assert part.title, f"{part.key}: no title"
        assert part.roles, f"{part.key}: no roles"
    if "radiometric_offset" in expected:
        _check_offset(scene, expected["radiometric_offset"])
    for asset in expected["assets"]:
        found = list(_parts_of(scene, asset))
        assert found or asset.get("optional"), f"no part is made of {asset['sources']}"
        if found:
            _check_part(_best(found, asset), asset)


# -- the item ------------------------------------------------------------------------------------


def _check_time(scene: Any, expected: Mapping[str, Any]) -> None:
    if "datetime" not in expected and "datetime_any" not in expected:
        return
    wanted = expected["datetime_any"] if "datetime_any" in expected else [expected["datetime"]]
    if wanted == [None]:
        assert scene.datetime is None
        return
    assert scene.datetime is not None, "no datetime"
    assert scene.datetime.endswith("Z"), scene.datetime
    # Texts are cut to microseconds, which is all that is written.
    told, tolerance = _instant(scene.datetime), expected.get("datetime_tolerance_s", 0.001)
    assert any(abs((told - _instant(each)).total_seconds()) <= tolerance for each in wanted), (scene.datetime, wanted)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))


def _check_facts(told: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert None not in told.values(), [key for key, value in told.items() if value is None]
    for key in ("platform", "constellation"):
        if f"{key}_any" in expected:
            assert _plain(told[key]) in [_plain(each) for each in expected[f"{key}_any"]], told[key]
    if "gsd" in expected:
        assert _near_any(told["gsd"], [expected["gsd"], *expected.get("gsd_also_ok", ())], 1e-6), told["gsd"]
    for key in EXACT:
        if key in expected and not (key == "proj:code" and key not in told):  # the describe step may take the raster's
            assert told.get(key) == expected[key], f"{key}: {told.get(key)}, not {expected[key]}"
    for key, tolerance in [*((each, 0.01) for each in ANGLES), ("eo:cloud_cover", _cloud_tolerance(expected))]:
        if key in expected:
            assert (expected[key] is None) == (key not in told), f"{key}: {told.get(key)}, not {expected[key]}"
            if expected[key] is not None:
                assert abs(told[key] - expected[key]) <= tolerance, f"{key}: {told[key]}, not {expected[key]}"
    for key in expected.get("must_not_have", ()):
        assert key not in told, f"{key}: {told[key]}"


def _cloud_tolerance(expected: Mapping[str, Any]) -> float:
    return float(expected.get("eo:cloud_cover_tolerance", 0.01))


def _check_footprint(footprint: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> None:
    """Longitudes are compared on the circle. Without a footprint the pixels will tell."""
    if footprint is None or expected.get("bbox") is None:
        return
    points = list(_points(footprint["coordinates"]))
    told = [min(x for x, _ in points), min(y for _, y in points), max(x for x, _ in points), max(y for _, y in points)]
    wanted, tolerance = expected["bbox"], expected.get("bbox_tolerance", 1e-4)
    away = [abs((a - b + 180.0) % 360.0 - 180.0) if side % 2 == 0 else abs(a - b)
            for side, (a, b) in enumerate(zip(told, wanted, strict=True))]  # fmt: skip
    assert max(away) <= tolerance, f"{told}, not {wanted} within {tolerance}"
    assert told[2] - told[0] <= 180.0, f"longitudes are not continuous: {told}"


def _points(coordinates: Any) -> Iterator[tuple[float, float]]:
    if coordinates and isinstance(coordinates[0], (int, float)):
        yield coordinates[0], coordinates[1]
        return
    for each in coordinates:
        yield from _points(each)


def _check_offset(scene: Any, digital_numbers: float) -> None:
    """Each band's offset is in units of what its scale gives; divided by it, it is in digital numbers."""
    for part in scene.parts:
        if "multispectral" in part.roles:
            told = part.properties["raster:offset"] / part.properties["raster:scale"]
            assert abs(told - digital_numbers) <= 1e-6, f"{part.key}: an offset of {told}, not {digital_numbers}"


# -- the assets ----------------------------------------------------------------------------------


def _sources(scene: Any) -> set[str]:
    return {source for part in scene.parts for source in part.sources}


def _wanted(item: Mapping[str, Any]) -> set[str]:
    return {_relative(source) for asset in item["assets"] for source in asset["sources"]}


def _relative(source: str) -> str:
    return source.removeprefix("generic/").removeprefix("png_world_file/")


def _parts_of(scene: Any, asset: Mapping[str, Any]) -> Iterator[Any]:
    """The parts made of an asset's files; those that a reader finds by itself need not be named."""
    wanted = {_relative(source) for source in asset["sources"]}
    needed = {source for source in wanted if not source.lower().endswith(SIDECARS)} or wanted
    for part in scene.parts:
        if needed <= {_relative(source) for source in part.sources} <= wanted:
            yield part


def _best(parts: list[Any], asset: Mapping[str, Any]) -> Any:
    """Of several parts out of the same files (layers, a preview) the one that is meant."""
    fitting = [part for part in parts if _key_fits(part.key, asset["key_any"])]
    same_layer = [part for part in fitting if part.layer == asset.get("layer")]
    return (same_layer or fitting or parts)[0]


def _check_part(part: Any, asset: Mapping[str, Any]) -> None:
    about = f"{part.key} of {part.sources[0]}"
    assert _key_fits(part.key, asset["key_any"]), f"{about}: not one of {asset['key_any']} is in the key"
    roles = set(part.roles)
    also_ok = set(asset.get("roles_also_ok", ()))
    instead = len(asset["roles"]) == 1 and bool(roles & also_ok)  # the particular one is the better answer
    assert set(asset["roles"]) <= roles or instead, f"{about}: {part.roles}, not {asset['roles']}"
    assert not roles & set(asset.get("not_roles", ())), f"{about}: {part.roles}"
    media_type = {"raster": COG, "vector": GEOJSON}.get(part.action, part.media_type)
    assert media_type in [asset["type"], *asset.get("type_also_ok", ())], f"{about}: {media_type}"
    if part.action == "raster":
        _check_raster(part, asset, about)


def _check_raster(part: Any, asset: Mapping[str, Any], about: str) -> None:
    if "gsd" in asset:
        assert part.gsd is not None, f"{about}: no gsd"
        assert _near_any(part.gsd, [asset["gsd"], *asset.get("gsd_also_ok", ())], 1e-6), f"{about}: gsd {part.gsd}"
    if "nodata_means" in asset:
        assert part.nodata == asset["nodata_means"], f"{about}: nodata {part.nodata}"
    else:
        assert part.nodata in (None, asset.get("nodata")), f"{about}: nodata {part.nodata}"
    if "nearest" in asset.get("note", "") or "bit field" in asset.get("note", ""):
        assert part.categorical, f"{about}: is not called categorical"
    wanted = asset.get("bands")
    if wanted is None:
        return
    assert len(part.bands) == len(wanted), f"{about}: {part.bands}"
    for band, each in zip(part.bands, wanted, strict=True):
        _check_band(band, each, about)


def _check_band(band: Any, wanted: Mapping[str, Any], about: str) -> None:
    if "name" in wanted or "name_any" in wanted:
        names = wanted["name_any"] if "name_any" in wanted else [wanted["name"]]
        assert _plain(band.name) in [_plain(each) for each in names], f"{about}: band {band.name}, not {names}"
    if "common_name" in wanted:
        names = [wanted["common_name"], *wanted.get("common_name_also_ok", ())]
        assert band.common_name in names, f"{about}: {band.common_name}, not {names}"
    for key in ("center_wavelength", "full_width_half_max"):
        if key in wanted:
            told = getattr(band, key)
            assert told is not None, f"{about}: {band.name} has no {key}"
            assert abs(told - wanted[key]) <= 1e-3, f"{about}: {key} {told}, not {wanted[key]}"


def _key_fits(key: str, any_of: Iterable[str]) -> bool:
    padded = _padded(key)
    return any(_padded(each) in padded for each in any_of)


def _padded(text: str) -> str:
    return "_" + re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") + "_"


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]", "", text.lower())


def _near_any(told: float, wanted: Iterable[float], tolerance: float) -> bool:
    return any(abs(told - each) <= tolerance for each in wanted)
