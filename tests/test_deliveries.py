"""Every delivery of the shared folder, taken in by the command, against what `expected.json` says of it: the items as
they are published, and their files as GDAL reads them."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import shape

import swath
from swath.assets import AssetStore
from swath.blobs import FolderBlobs
from swath.session import Session
from tests.conftest import SHARED, Server, run_swath, serving
from tests.deliveries_expected import COG, DELIVERIES, GEOJSON, entry

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
PATHS = [each["path"] for each in json.loads((DELIVERIES / "expected.json").read_text("utf-8"))["deliveries"]]
ANGLES = ("view:sun_azimuth", "view:sun_elevation", "view:off_nadir", "view:incidence_angle", "view:azimuth")


@dataclass
class Taken:
    """All deliveries in one catalogue: what the command said of each, and the catalogue."""

    told: dict[str, dict[str, Any]]
    session: Session
    store: AssetStore
    server: Server

    def items(self, path: str) -> list[dict[str, Any]]:
        return list(self.session.search(collections=[self.told[path]["stacCollectionId"]]))

    def file(self, asset: dict[str, Any]) -> Path:
        assert asset["href"].startswith("swath:/v2/assets/")
        found = self.store.asset(asset["href"].removeprefix("swath:/v2/assets/"))
        place = self.store.vault.blobs.path(found.blob)
        assert place is not None
        return place


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    folder = tmp_path_factory.mktemp("deliveries") / "catalog"
    done = run_swath("deliver", folder, *(DELIVERIES / path for path in PATHS), "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(PATHS), done.stderr
    with swath.open(folder) as session, serving(folder) as server:
        store = AssetStore(session._catalog, FolderBlobs(folder / "blobs"))
        yield Taken(dict(zip(PATHS, lines, strict=True)), session, store, server)


@pytest.mark.parametrize("path", PATHS)
def test_a_delivery_becomes_what_it_should(taken: Taken, path: str) -> None:
    told, expected = taken.told[path], entry(path)
    assert told["geospatialMetadataExtractionStatus"] == "SUCCESSFUL", told.get("statusReason")
    items = taken.items(path)
    names = {item["properties"]["title"]: item for item in items}
    assert len(names) == len(items)
    if len(items) == len(expected["items"]) == 1:
        check_item(taken, items[0], expected["items"][0])
        return
    for wanted in expected["items"]:
        own = [item for item in items if _instant_fits(item, wanted) and _name_fits(item, wanted, expected)]
        assert len(own) == 1, (wanted["name"], list(names))
        check_item(taken, own[0], wanted)
    assert len(items) == len(expected["items"])


def _name_fits(item: dict[str, Any], wanted: dict[str, Any], expected: dict[str, Any]) -> bool:
    named = {each["name"] for each in expected["items"]}
    return item["properties"]["title"] not in named or item["properties"]["title"] == wanted["name"]


def _instant_fits(item: dict[str, Any], wanted: dict[str, Any]) -> bool:
    options = wanted.get("datetime_any", [wanted.get("datetime")])
    told = item["properties"]["datetime"]
    return (told is None and options == [None]) or any(_apart(told, each) <= 0.001 + wanted.get(
        "datetime_tolerance_s", 0.001) for each in options if each and told)  # fmt: skip


def _apart(one: str, other: str) -> float:
    from datetime import datetime

    def read(text: str) -> datetime:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))

    return abs((read(one) - read(other)).total_seconds())


def check_item(taken: Taken, item: dict[str, Any], wanted: dict[str, Any]) -> None:
    told = item["properties"]
    assert _instant_fits(item, wanted), told["datetime"]
    for name in ("platform", "constellation"):
        if f"{name}_any" in wanted:
            assert _plain(told[name]) in [_plain(each) for each in wanted[f"{name}_any"]]
    if "gsd" in wanted:
        assert any(abs(told["gsd"] - each) < 1e-6 for each in [wanted["gsd"], *wanted.get("gsd_also_ok", [])])
    for name in (*ANGLES, "eo:cloud_cover"):
        if name in wanted:
            assert (name in told) == (wanted[name] is not None), name
            if wanted[name] is not None:
                allowed = wanted.get("eo:cloud_cover_tolerance", 0.01) if name == "eo:cloud_cover" else 0.01
                assert told[name] == pytest.approx(wanted[name], abs=allowed), name
    for name in ("instruments", "s2:processing_baseline", "grid:code", "proj:code"):
        if name in wanted:
            assert told.get(name) == wanted[name], name
    for name in wanted.get("must_not_have", ()):
        assert name not in told, name
        assert not any(name in asset for asset in item["assets"].values() if "data" in asset["roles"]), name
    _check_place(item, wanted)
    for asset in wanted["assets"]:
        _check_asset(taken, item, asset, wanted)
    roles = {role for asset in item["assets"].values() for role in asset["roles"]}
    if any(asset["type"] == COG for asset in wanted["assets"]):
        assert {"thumbnail", "overview"} <= roles


def _plain(text: str) -> str:
    return re.sub(r"[\s_-]", "", text).lower()


def _check_place(item: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "bbox" not in wanted:
        return
    if wanted["bbox"] is None:
        assert item["geometry"] is None
        assert "bbox" not in item
        return
    tolerance = wanted.get("bbox_tolerance", 1e-4)
    for told, expected in zip(item["bbox"], wanted["bbox"], strict=True):
        assert told == pytest.approx(expected, abs=tolerance), (item["bbox"], wanted["bbox"])
    assert shape(item["geometry"]).is_valid
    if "geometry_type" in wanted:
        assert item["geometry"]["type"] == wanted["geometry_type"]


def _padded(text: str) -> str:
    return "_" + re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") + "_"


def _assets_for(item: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        asset for key, asset in item["assets"].items()
        if any(_padded(each) in _padded(key) for each in wanted["key_any"])
        and (set(wanted["roles"]) <= set(asset["roles"])
             or (len(wanted["roles"]) == 1 and set(wanted.get("roles_also_ok", ())) & set(asset["roles"])))
        and asset["type"] in [wanted["type"], *wanted.get("type_also_ok", ())]
    ]  # fmt: skip


def _check_asset(taken: Taken, item: dict[str, Any], wanted: dict[str, Any], whole: dict[str, Any]) -> None:
    found = _assets_for(item, wanted)
    if not found:
        assert wanted.get("optional"), (wanted["sources"], wanted["key_any"], wanted["roles"], wanted["type"])
        return
    faults = []
    for asset in found:  # several keys may hold the same word: one of them is it
        try:
            _check_one(taken, asset, wanted, whole)
        except AssertionError as error:
            faults.append(error)
        else:
            return
    raise faults[0]


def _check_one(taken: Taken, asset: dict[str, Any], wanted: dict[str, Any], whole: dict[str, Any]) -> None:
    assert not set(asset["roles"]) & set(wanted.get("not_roles", ()))
    path = taken.file(asset)
    assert path.stat().st_size == asset["file:size"]
    assert asset["file:checksum"] == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    if "sha256" in wanted:
        assert asset["file:checksum"] == "1220" + wanted["sha256"]
    if "gsd" in wanted and "gsd" in asset:
        assert any(asset["gsd"] == pytest.approx(each) for each in [wanted["gsd"], *wanted.get("gsd_also_ok", [])])
    if asset["type"] == COG:
        _check_cog(path, asset, wanted, whole)
    elif asset["type"] == GEOJSON:
        _check_features(path, wanted)


def _check_cog(path: Path, asset: dict[str, Any], wanted: dict[str, Any], whole: dict[str, Any]) -> None:
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert valid, (errors, warnings)
    with rasterio.open(path) as cog:
        if "proj:shape" in wanted:
            assert [cog.height, cog.width] == wanted["proj:shape"] == asset["proj:shape"]
        if "data_type" in wanted:
            assert set(cog.dtypes) == {wanted["data_type"]}
            assert asset["data_type"] == wanted["data_type"]
        if "band_count" in wanted:
            assert cog.count == wanted["band_count"]
        if "proj:transform" in wanted:
            for told in (list(cog.transform)[:6], asset["proj:transform"][:6]):
                assert told == pytest.approx(wanted["proj:transform"], rel=1e-6)
        if wanted.get("proj:code"):
            assert f"EPSG:{cog.crs.to_epsg()}" == wanted["proj:code"] == asset["proj:code"]
        if "must_not_have" in whole and "data" in asset["roles"]:
            assert cog.crs is None
            assert "proj:code" not in asset
        _check_nodata(cog.nodata, asset, wanted.get("nodata", wanted.get("nodata_means")))
    _check_bands(asset, wanted)


def _check_nodata(told: Any, asset: dict[str, Any], nodata: Any) -> None:
    if isinstance(nodata, str) or (nodata is not None and nodata != nodata):
        assert numpy.isnan(told)
        assert asset["nodata"] == "nan"
    elif nodata is not None:
        assert told == nodata == asset["nodata"]


def _check_bands(asset: dict[str, Any], wanted: dict[str, Any]) -> None:
    for told, band in zip(asset.get("bands", ()), wanted.get("bands", ()), strict=False):
        _check_band(told, band)
    for told, band in zip(asset.get("eo:bands", ()), wanted.get("bands", ()), strict=False):
        _check_band({f"eo:{name}" if name != "name" else name: value for name, value in told.items()}, band)
    if wanted.get("bands"):
        assert len(asset["bands"]) >= len(wanted["bands"])


def _check_band(told: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "name" in wanted or "name_any" in wanted:
        assert told["name"] in wanted.get("name_any", [wanted.get("name")])
    if wanted.get("common_name"):
        assert told["eo:common_name"] in [wanted["common_name"], *wanted.get("common_name_also_ok", [])]
    for name in ("center_wavelength", "full_width_half_max"):
        if name in wanted:
            assert told[f"eo:{name}"] == pytest.approx(wanted[name], abs=0.011)


def _check_features(path: Path, wanted: dict[str, Any]) -> None:
    document = json.loads(path.read_text("utf-8"))
    assert document["type"] == "FeatureCollection"
    if "features" in wanted:
        assert len(document["features"]) == wanted["features"]
    for name in wanted.get("fields", ()):
        assert name in document["features"][0]["properties"]
    if "sample" in wanted:
        assert any(wanted["sample"].items() <= feature["properties"].items() for feature in document["features"])
    if wanted.get("bbox"):
        shapes = [shape(feature["geometry"]).bounds for feature in document["features"]]
        told = [min(each[0] for each in shapes), min(each[1] for each in shapes), max(each[2] for each in shapes),
                max(each[3] for each in shapes)]  # fmt: skip
        assert told == pytest.approx(wanted["bbox"], abs=wanted.get("bbox_tolerance", 5e-5))


@pytest.mark.parametrize("path", [path for path in PATHS if entry(path)["original"].get("sha256")])
def test_the_original_is_kept_byte_for_byte(taken: Taken, path: str) -> None:
    told, expected = taken.told[path], entry(path)["original"]
    assert told["sha256"] == expected["sha256"]
    collection = next(
        each for each in taken.session.collections() if each["id"] == told["stacCollectionId"]
    )  # fmt: skip
    (original,) = collection["assets"].values()
    assert original["roles"] == expected["roles"]
    assert original["file:size"] == expected["file:size"]
    if expected["type"] != "as the file":
        assert original["type"] == expected["type"]
    assert taken.file(original).read_bytes() == (DELIVERIES / path).read_bytes()


# -- pixels --------------------------------------------------------------------------------------


def _read(path: str) -> numpy.ndarray[Any, Any]:
    with rasterio.open(path) as source:
        found: numpy.ndarray[Any, Any] = source.read()
        return found


@pytest.mark.parametrize("path", PATHS)
def test_pixels_of_every_cog_are_those_of_its_sources(taken: Taken, path: str, tmp_path: Path) -> None:
    """Read by GDAL from the delivery itself, tiles put together by hand."""
    compared, unpacked = 0, _unpacked(DELIVERIES / path, tmp_path)
    for wanted in [asset for item in entry(path)["items"] for asset in item["assets"] if asset["type"] == COG]:
        images = [source for source in wanted["sources"] if not source.lower().endswith((".pgw", ".xml"))]
        sources = [unpacked / source if unpacked != DELIVERIES else DELIVERIES / source for source in images]
        mosaic = _mosaic(sources)
        if mosaic is None:
            continue  # counted below
        matching = [asset for item in taken.items(path) for asset in _assets_for(item, wanted)]
        equal = [asset for asset in matching if _same(_read(str(taken.file(asset))), mosaic)]
        assert equal, (images, [asset["title"] for asset in matching])
        compared += 1
    legacy = path.endswith("legacy_names_cp437.zip")  # what is named otherwise than its entry is compared by its facts
    cogs = [asset for item in entry(path)["items"] for asset in item["assets"] if asset["type"] == COG]
    assert compared == len(cogs) or legacy


def _same(one: numpy.ndarray[Any, Any], other: numpy.ndarray[Any, Any]) -> bool:
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and numpy.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    )


def _unpacked(source: Path, folder: Path) -> Path:
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.flag_bits & 0x800 and not info.filename.isascii():
                    continue  # names of code page 437 are compared by their facts alone
                archive.extract(info, folder)
        return folder
    if source.suffix == ".tar":
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(folder)
        return folder
    return DELIVERIES


def _mosaic(sources: list[Path]) -> numpy.ndarray[Any, Any] | None:
    """Tiles by their names, …_R1C2…, and RGB before NED."""
    if not all(source.exists() for source in sources):
        return None
    places = [re.search(r"_R(\d+)C(\d+)", source.name) for source in sources]
    if len(sources) == 1 or not all(places):
        return _read(str(sources[0]))
    kinds = ("_RGB_", "_NED_") if any("_NED_" in source.name for source in sources) else ("",)
    stacks = []
    for kind in kinds:
        tiles = {(int(p[1]), int(p[2])): _read(str(source)) for p, source in zip(places, sources, strict=True)
                 if p is not None and kind in source.name}  # fmt: skip
        rows = sorted({row for row, _ in tiles})
        lines = [numpy.concatenate([tiles[each] for each in sorted(tiles) if each[0] == row], axis=2) for row in rows]
        stacks.append(numpy.concatenate(lines, axis=1))
    return numpy.concatenate(stacks, axis=0)


# -- schemas -------------------------------------------------------------------------------------


def _schemas() -> dict[str, Any]:
    root = SHARED / "data" / "schemas"
    return {
        f"https://{path.relative_to(root).as_posix()}": json.loads(path.read_text("utf-8"))
        for path in root.rglob("*.json")
    }


@pytest.mark.parametrize("path", PATHS)
def test_what_is_published_is_valid_stac(taken: Taken, path: str) -> None:
    """Against the schemas of STAC and of every extension that is named, those of UP42's fields included."""
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    from swath.http.extensions import FIELDS, schema_of

    known = _schemas()
    resources = [(uri, Resource.from_contents(schema, default_specification=DRAFT7)) for uri, schema in known.items()]
    registry: Any = Registry().with_resources(resources)
    home = taken.server.url
    own = {uri: schema_of(name, uri) for name in FIELDS
           for uri in [f"{home}/stac-extensions/{name}/v1.0.0/schema.json"]}  # fmt: skip
    for item in taken.server.get(f"/collections/{taken.told[path]['stacCollectionId']}/items").json()["features"]:
        core = known["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
        jsonschema.Draft7Validator(core, registry=registry).validate(item)
        for uri in item["stac_extensions"]:
            schema = own.get(uri) or known.get(uri)
            assert schema is not None, uri
            jsonschema.Draft7Validator(schema, registry=registry).validate(item)
