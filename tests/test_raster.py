"""Images become COGs with the same pixels, vectors GeoJSON in WGS 84: shared deliveries and made-up files."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.rpc import RPC
from rasterio.shutil import copy
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import shape

from swath.errors import DeliveryRefused
from swath.raster.rpc import ground_of, image_of
from swath.raster.sandbox import Sandbox
from swath.raster.tasks import InspectFile, MakeCog, MakeGeoJson, MakePreview
from tests.conftest import SHARED

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
DELIVERIES = SHARED / "deliveries"
GENERIC = DELIVERIES / "generic"
SECONDS = 120


@lru_cache(1)
def expected() -> dict[str, Any]:
    document = json.loads((DELIVERIES / "expected.json").read_text("utf-8"))
    return {each["path"]: each for each in document["deliveries"]}


def plain_rasters() -> list[str]:
    return sorted(path.name for path in GENERIC.iterdir() if path.suffix in (".tif", ".jp2"))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def sandbox(job: Path) -> Iterator[Sandbox]:
    with Sandbox(job) as made:
        yield made


@pytest.fixture
def folder(job: Path, request: pytest.FixtureRequest) -> Path:
    found: Path = job / request.node.name.replace("/", "_")
    found.mkdir()
    return found


def brought(source: Path, folder: Path) -> str:
    shutil.copyfile(source, folder / source.name)
    return str(folder / source.name)


def write(path: Path, pixels: np.ndarray, **profile: Any) -> str:
    count, height, width = pixels.shape
    settings = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": pixels.dtype, **profile}
    with rasterio.open(path, "w", **settings) as out:
        out.write(pixels)
    return str(path)


def ramp(count: int = 1, height: int = 64, width: int = 96, kind: str = "uint8") -> np.ndarray:
    values = np.arange(count * height * width).reshape(count, height, width) % 251
    return values.astype(kind)


def north_up(west: float, north: float, step: float) -> Affine:
    return Affine(step, 0, west, 0, -step, north)


def same_image(source: str, target: Path) -> None:
    """Equal pixels and meaning, and a layout that passes the strict validation."""
    with rasterio.open(source) as given, rasterio.open(target) as made:
        assert given.dtypes == made.dtypes
        assert np.array_equal(given.read(), made.read(), equal_nan=given.dtypes[0].startswith(("float", "complex")))
        assert np.array_equal(given.dataset_mask(), made.dataset_mask())
        assert given.descriptions == made.descriptions
        assert given.scales == made.scales
        assert given.offsets == made.offsets
        assert given.colorinterp == made.colorinterp
        assert given.transform.almost_equals(made.transform)
        assert given.crs == made.crs
        assert given.tags().get("AREA_OR_POINT", "Area") == made.tags().get("AREA_OR_POINT", "Area")
        assert repr(given.nodata) == repr(made.nodata)
    valid(target)


def valid(target: Path) -> None:
    ok, errors, warnings = cog_validate(target, strict=True)
    assert ok, (errors, warnings)
    with rasterio.open(target) as made:
        assert made.block_shapes[0] == (512, 512)
        assert made.compression.value == "DEFLATE"


def refusal(sandbox: Sandbox, task: Any) -> str:
    with pytest.raises(DeliveryRefused) as refused:
        sandbox.run(task, SECONDS)
    return str(refused.value)


# -- the shared rasters --------------------------------------------------------------------------


@pytest.mark.parametrize("name", plain_rasters())
def test_a_plain_raster_becomes_what_is_expected(name: str, sandbox: Sandbox, folder: Path) -> None:
    item = expected()[f"generic/{name}"]["items"][0]
    asset = item["assets"][0]
    source, target = brought(GENERIC / name, folder), folder / "out.tif"
    facts = sandbox.run(MakeCog((source,), str(target)), SECONDS)
    same_image(source, target)
    assert facts["shape"] == asset["proj:shape"]
    assert [band["data_type"] for band in facts["bands"]] == [asset["data_type"]] * asset["band_count"]
    assert {band["nodata"] for band in facts["bands"]} == {asset.get("nodata")}
    assert facts["code"] == item["proj:code"]
    if "proj:transform" in asset:
        assert facts["transform"] == pytest.approx(asset["proj:transform"], abs=1e-6)
    if item["bbox"] is None:
        assert facts["geometry"] is None
        assert facts["bbox"] is None
    else:
        check_place(facts["geometry"], item)
    assert [path.name for path in folder.iterdir() if path.name not in (name, "out.tif")] == []


def check_place(geometry: dict[str, Any], item: dict[str, Any]) -> None:
    assert geometry["type"] == item["geometry_type"]
    area = shape(geometry)
    assert area.is_valid
    west, south, east, north = area.bounds
    assert -180 <= west <= east <= 180
    wanted = item["bbox"]
    if wanted[0] > wanted[2]:
        west = min(part.bounds[0] for part in area.geoms if part.bounds[0] > 0)
        east = max(part.bounds[2] for part in area.geoms if part.bounds[0] < 0)
    assert (west, south, east, north) == pytest.approx(wanted, abs=item["bbox_tolerance"])
    for part in shapely.get_parts(area):
        assert part.exterior.is_ccw


def test_a_palette_survives_and_its_overviews_are_classes(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "landcover_palette.tif", folder)
    sandbox.run(MakeCog((source,), str(folder / "out.tif")), SECONDS)
    with rasterio.open(source) as given, rasterio.open(folder / "out.tif") as made:
        assert {index: made.colormap(1)[index] for index in range(6)} == {
            index: given.colormap(1)[index] for index in range(6)
        }


def test_an_image_with_a_world_file_has_a_place_but_no_system(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "png_world_file" / "town_plan.png", folder)
    brought(GENERIC / "png_world_file" / "town_plan.pgw", folder)
    found = sandbox.run(InspectFile(source), SECONDS)
    assert (found["located"], found["crs"], found["media_type"]) == (True, None, "image/png")
    assert found["siblings"] == ["town_plan.pgw"]
    facts = sandbox.run(MakeCog((source,), str(folder / "out.tif")), SECONDS)
    assert facts["transform"] == [0.5, 0.0, 690000.0, 0.0, -0.5, 5336000.0]
    assert (facts["code"], facts["geometry"]) == (None, None)
    facts = sandbox.run(MakeCog((source,), str(folder / "placed.tif"), crs="EPSG:32632"), SECONDS)
    assert facts["code"] == "EPSG:32632"
    assert facts["bbox"] == [690000.0, 5335850.0, 690200.0, 5336000.0]
    valid(folder / "placed.tif")


# -- what a COG keeps ----------------------------------------------------------------------------


def test_nodata_is_declared_where_the_file_does_not_say_it(sandbox: Sandbox, folder: Path) -> None:
    pixels = ramp()
    pixels[0, :, :10] = 0
    source = write(folder / "in.tif", pixels, crs="EPSG:32632", transform=north_up(500000, 5000000, 10))
    facts = sandbox.run(MakeCog((source,), str(folder / "out.tif"), nodata=0), SECONDS)
    assert facts["bands"][0]["nodata"] == 0
    with rasterio.open(folder / "out.tif") as made:
        assert made.nodata == 0
        assert np.array_equal(made.read(), pixels)


def test_nodata_of_the_file_is_kept(sandbox: Sandbox, folder: Path) -> None:
    source = write(folder / "in.tif", ramp(kind="int16"), nodata=-1)
    facts = sandbox.run(MakeCog((source,), str(folder / "out.tif"), nodata=0), SECONDS)
    assert facts["bands"][0]["nodata"] == -1


@pytest.mark.parametrize("nodata", [None, 7])
def test_scales_names_and_units_are_kept(nodata: float | None, sandbox: Sandbox, folder: Path) -> None:
    source = write(folder / "in.tif", ramp(2, kind="uint16"), crs="EPSG:3035", transform=north_up(4e6, 3e6, 5))
    with rasterio.open(source, "r+") as given:
        given.scales, given.offsets, given.units = (0.1, 0.2), (-1.0, 3.0), ("K", "m")
        given.descriptions = ("température", "höhe")
        given.update_tags(AREA_OR_POINT="Point", OWNER="somebody")
    facts = sandbox.run(MakeCog((source,), str(folder / "out.tif"), nodata=nodata), SECONDS)
    assert [(band["scale"], band["offset"], band["unit"], band["description"]) for band in facts["bands"]] == [
        (0.1, -1.0, "K", "température"), (0.2, 3.0, "m", "höhe"),
    ]  # fmt: skip
    with rasterio.open(folder / "out.tif") as made:
        assert made.tags()["AREA_OR_POINT"] == "Point"
        assert made.tags()["OWNER"] == "somebody"


@pytest.mark.parametrize("nodata", [None, 300])
def test_a_mask_is_kept(nodata: float | None, sandbox: Sandbox, folder: Path) -> None:
    source = write(folder / "in.tif", ramp(kind="uint16"))
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:50] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as given:
        given.write_mask(mask)
    sandbox.run(MakeCog((source,), str(folder / "out.tif"), nodata=nodata), SECONDS)
    with rasterio.open(folder / "out.tif") as made:
        assert np.array_equal(made.read(), ramp(kind="uint16"))
        if nodata is None:
            assert made.mask_flag_enums[0] == [MaskFlags.per_dataset]
            assert np.array_equal(made.dataset_mask() > 0, mask)


@pytest.mark.parametrize(
    "kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "complex64"]
)
def test_pixels_of_every_type_are_kept(kind: str, sandbox: Sandbox, folder: Path) -> None:
    source = write(folder / "in.tif", ramp(2, 600, 700, kind), crs="EPSG:3857", transform=north_up(0, 0, 2))
    sandbox.run(MakeCog((source,), str(folder / "out.tif")), SECONDS)
    same_image(source, folder / "out.tif")


def test_overviews_of_classes_are_classes(sandbox: Sandbox, folder: Path) -> None:
    pixels = np.where((np.indices((1, 1100, 1100)).sum(axis=0)) % 2, 200, 100).astype("uint8")
    source = write(folder / "in.tif", pixels, crs="EPSG:3857", transform=north_up(0, 0, 2))
    for categorical, wanted in ((True, {100, 200}), (False, {150})):
        target = folder / f"{categorical}.tif"
        sandbox.run(MakeCog((source,), str(target), categorical=categorical), SECONDS)
        valid(target)
        with rasterio.open(target, overview_level=0) as coarse:
            assert set(np.unique(coarse.read())) <= wanted


def test_fewer_bits_in_jpeg_2000_are_still_whole_pixels(sandbox: Sandbox, folder: Path) -> None:
    pixels = (ramp(1, 300, 300, "uint16") * 16).astype("uint16")
    source = write(folder / "in.jp2", pixels, driver="JP2OpenJPEG", NBITS=12, QUALITY=100, REVERSIBLE="YES",
                   crs="EPSG:32632", transform=north_up(500000, 5000000, 10))  # fmt: skip
    sandbox.run(MakeCog((source,), str(folder / "out.tif"), nodata=0), SECONDS)
    with rasterio.open(source) as given, rasterio.open(folder / "out.tif") as made:
        assert np.array_equal(given.read(), made.read())
    valid(folder / "out.tif")


def test_ground_control_points_are_kept(sandbox: Sandbox, folder: Path) -> None:
    source = write(folder / "in.tif", ramp())
    points = [
        GroundControlPoint(row, column, 10 + column / 100, 50 - row / 100) for row in (0, 60) for column in (0, 90)
    ]
    with rasterio.open(source, "r+") as given:
        given.gcps = points, "EPSG:4326"
    for number, nodata in enumerate((None, 0)):
        facts = sandbox.run(MakeCog((source,), str(folder / f"{number}.tif"), nodata=nodata), SECONDS)
        assert facts["geometry"] is None
        with rasterio.open(folder / f"{number}.tif") as made:
            assert [(each.row, each.col, each.x, each.y) for each in made.gcps[0]] == [
                (each.row, each.col, each.x, each.y) for each in points
            ]


def test_a_raster_around_the_earth_covers_all_longitudes(sandbox: Sandbox, folder: Path) -> None:
    for number, west in enumerate((-180.0, 0.0)):
        source = write(folder / f"in{number}.tif", ramp(1, 90, 180), crs="EPSG:4326", transform=north_up(west, 90, 2))
        facts = sandbox.run(MakeCog((source,), str(folder / f"out{number}.tif")), SECONDS)
        assert shape(facts["geometry"]).equals(shapely.box(-180, -90, 180, 90))


def test_a_system_without_a_number_is_told_as_wkt(sandbox: Sandbox, folder: Path) -> None:
    system = "+proj=laea +lat_0=12 +lon_0=34 +datum=WGS84"
    source = write(folder / "in.tif", ramp(), crs=system, transform=north_up(0, 0, 100))
    facts = sandbox.run(MakeCog((source,), str(folder / "out.tif")), SECONDS)
    assert facts["code"] is None
    assert facts["wkt2"].startswith("PROJCRS[")
    assert shape(facts["geometry"]).bounds == pytest.approx((34.0, 11.942, 34.0882, 12.0), abs=1e-3)


# -- mosaics -------------------------------------------------------------------------------------


def test_tiles_become_one_image(sandbox: Sandbox, folder: Path) -> None:
    whole = ramp(2, 700, 900, "uint16")
    places = [(0, 0), (0, 512), (512, 0), (512, 512)]
    names = []
    for row, column in places:
        place = north_up(500000 + column * 10, 5000000 - row * 10, 10)
        tile = whole[:, row : row + 512, column : column + 512]
        names.append(write(folder / f"t{row}_{column}.tif", tile, crs="EPSG:32632", transform=place))
    task = MakeCog(tuple(names), str(folder / "out.tif"), tiles=tuple(places), size=(700, 900), nodata=0)
    facts = sandbox.run(task, SECONDS)
    assert facts["shape"] == [700, 900]
    assert facts["transform"] == [10.0, 0.0, 500000.0, 0.0, -10.0, 5000000.0]
    valid(folder / "out.tif")
    with rasterio.open(folder / "out.tif") as made:
        assert np.array_equal(made.read(), whole)


def test_sources_at_one_place_are_further_bands(sandbox: Sandbox, folder: Path) -> None:
    whole = ramp(4, 100, 200, "uint16")
    names, places = [], []
    for first in (0, 2):
        for column in (0, 120):
            tile = whole[first : first + 2, :, column : column + 120]
            names.append(write(folder / f"b{first}_{column}.tif", tile))
            places.append((0, column))
    facts = sandbox.run(MakeCog(tuple(names), str(folder / "out.tif"), tiles=tuple(places)), SECONDS)
    assert len(facts["bands"]) == 4
    with rasterio.open(folder / "out.tif") as made:
        assert np.array_equal(made.read(), whole)


def test_tiles_that_do_not_fit_are_refused(sandbox: Sandbox, folder: Path) -> None:
    one = write(folder / "one.tif", ramp(1, 50, 50))
    two = write(folder / "two.tif", ramp(2, 50, 50))
    deep = write(folder / "deep.tif", ramp(1, 50, 50, "uint16"))
    target = str(folder / "out.tif")
    words = refusal(sandbox, MakeCog((one, one), target, tiles=((0, 0), (0, 50)), size=(50, 60)))
    assert words == "one.tif: it reaches beyond the image of 50 x 60 pixels that it is part of"
    assert refusal(sandbox, MakeCog((one, two), target, tiles=((0, 0), (0, 50)))) == (
        "two.tif: a tile of other bands than one.tif"
    )
    assert refusal(sandbox, MakeCog((one, deep), target, tiles=((0, 0), (0, 50)))) == (
        "deep.tif: its pixels are uint16, those of one.tif uint8"
    )
    assert not Path(target).exists()


# -- sensor geometry -----------------------------------------------------------------------------


def coefficients(folder: Path) -> dict[str, str]:
    """The RPC of a DIMAP product, as GDAL has them: pixels counted from 0 where the file counts from 1."""
    document = fromstring(next(folder.glob("RPC_*.XML")).read_text("utf-8"))
    model, found = document.find(".//Inverse_Model"), document.find(".//RFM_Validity")
    assert model is not None
    assert found is not None
    rpc = {
        name: " ".join(str(model.findtext(f"{name}_{number}")) for number in range(1, 21))
        for name in ("SAMP_NUM_COEFF", "SAMP_DEN_COEFF", "LINE_NUM_COEFF", "LINE_DEN_COEFF")
    }
    for name in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT"):
        off = 1.0 if name in ("LINE", "SAMP") else 0.0
        rpc[f"{name}_OFF"] = str(float(str(found.findtext(f"{name}_OFF"))) - off)
        rpc[f"{name}_SCALE"] = str(found.findtext(f"{name}_SCALE"))
    return rpc


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(DELIVERIES / "dimap-phr" / name) as archive:
        archive.extractall(folder)
    (found,) = folder.rglob("IMG_PHR1?_MS_002")
    return found


def test_a_place_on_the_ground_comes_back_to_its_pixel(folder: Path) -> None:
    rpc = coefficients(unpacked("5120098701_BUNDLE_SEN.zip", folder))
    column, row = (each.ravel() for each in np.meshgrid(np.linspace(0, 240, 25), np.linspace(0, 192, 25)))
    back = image_of(rpc, *ground_of(rpc, column, row))
    assert np.allclose(back[0], column, atol=1e-6)
    assert np.allclose(back[1], row, atol=1e-6)


def test_a_place_that_no_ground_has_is_an_error(folder: Path) -> None:
    rpc = coefficients(unpacked("5120098701_BUNDLE_SEN.zip", folder))
    with pytest.raises(ValueError, match="no place on the ground"):
        ground_of({**rpc, "LINE_NUM_COEFF": " ".join(["0"] * 20)}, np.array([5.0]), np.array([5.0]))
    with pytest.raises(ValueError, match="LINE_OFF"):
        ground_of({name: value for name, value in rpc.items() if name != "LINE_OFF"}, np.array([5.0]), np.array([5.0]))


def test_masks_in_pixels_are_placed_by_the_rpc(sandbox: Sandbox, folder: Path) -> None:
    product = unpacked("5120098701_BUNDLE_SEN.zip", folder)
    before = sorted(product.rglob("*"))
    rpc, seen = coefficients(product), 0
    for asset in expected()["dimap-phr/5120098701_BUNDLE_SEN.zip"]["items"][0]["assets"]:
        if asset.get("component") == "ms" and asset["type"] == "application/geo+json":
            task = MakeGeoJson(str(folder / asset["sources"][0]), str(folder / "out.geojson"), sensor=True, rpc=rpc)
            facts = sandbox.run(task, SECONDS)
            assert facts["features"] == asset["features"]
            if "bbox" in asset:
                assert facts["bbox"] == pytest.approx(asset["bbox"], abs=asset["bbox_tolerance"])
                seen += 1
    assert seen == 3
    assert sorted(product.rglob("*")) == before


def test_a_sensor_image_has_its_rpc_and_no_place(sandbox: Sandbox, folder: Path) -> None:
    product = unpacked("5120098701_BUNDLE_SEN.zip", folder)
    tiles = sorted(str(path) for path in product.glob("IMG_*.TIF"))
    with rasterio.open(tiles[0]) as left, rasterio.open(tiles[1]) as right:
        whole = np.concatenate((left.read(), right.read()), axis=2)
        places = ((0, 0), (0, left.width))
    rpc = coefficients(product)
    task = MakeCog(tuple(tiles), str(folder / "out.tif"), tiles=places, size=(192, 240), nodata=0, sensor=True, rpc=rpc)
    facts = sandbox.run(task, SECONDS)
    assert facts["shape"] == [192, 240]
    assert [facts[name] for name in ("transform", "code", "wkt2", "bbox", "geometry")] == [None] * 5
    valid(folder / "out.tif")
    with rasterio.open(folder / "out.tif") as made:
        assert np.array_equal(made.read(), whole)
        assert made.crs is None
        assert made.rpcs.line_off == 95.5
        assert made.rpcs.samp_off == 119.5


def test_an_rpc_file_beside_an_ortho_image_is_not_attached(sandbox: Sandbox, folder: Path) -> None:
    product = unpacked("6712345101_BUNDLE_ORT.zip", folder)
    tile = str(min(product.glob("IMG_*.TIF")))
    with rasterio.open(tile) as given:
        assert given.rpcs is not None
        pixels, transform = given.read(), given.transform
    facts = sandbox.run(MakeCog((tile,), str(folder / "out.tif"), nodata=0), SECONDS)
    assert facts["code"] == "EPSG:32631"
    with rasterio.open(folder / "out.tif") as made:
        assert made.rpcs is None
        assert made.transform == transform
        assert np.array_equal(made.read(), pixels)


def test_an_image_with_an_rpc_alone_is_not_warped(sandbox: Sandbox, folder: Path) -> None:
    rpc = RPC.from_gdal(coefficients(unpacked("5120098701_BUNDLE_SEN.zip", folder)))
    source = write(folder / "in.tif", ramp(1, 192, 240, "uint16"))
    with rasterio.open(source, "r+") as given:
        given.rpcs = rpc
    assert sandbox.run(InspectFile(source), SECONDS)["rpc"] is True
    facts = sandbox.run(MakeCog((source,), str(folder / "out.tif")), SECONDS)
    assert (facts["shape"], facts["transform"], facts["code"]) == ([192, 240], None, None)
    with rasterio.open(folder / "out.tif") as made:
        assert made.rpcs.long_off == rpc.long_off
        assert np.array_equal(made.read(), ramp(1, 192, 240, "uint16"))


# -- other formats -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "name", "media_type"),
    [("ENVI", "in.dat", "application/octet-stream"), ("NITF", "in.ntf", "application/vnd.nitf"),
     ("PNG", "in.png", "image/png"), ("netCDF", "in.nc", "application/x-netcdf")],
)  # fmt: skip
def test_other_formats_become_cogs(driver: str, name: str, media_type: str, sandbox: Sandbox, folder: Path) -> None:
    pixels = ramp(1, 100, 120)
    plain = write(folder / "plain.tif", pixels, crs="EPSG:32632", transform=north_up(500000, 5000000, 10))
    source = str(folder / name)
    copy(plain, source, driver=driver)
    found = sandbox.run(InspectFile(source), SECONDS)
    assert (found["driver"], found["media_type"], found["rows"], found["columns"]) == (driver, media_type, 100, 120)
    sandbox.run(MakeCog((source,), str(folder / "out.tif")), SECONDS)
    with rasterio.open(folder / "out.tif") as made:
        assert np.array_equal(made.read(), pixels)
    valid(folder / "out.tif")


@pytest.mark.parametrize(
    ("driver", "name", "options"),
    [("GTiff", "in.tif", {"compress": "deflate"}), ("GTiff", "raw.tif", {}), ("JPEG", "in.jpg", {}),
     ("PNG", "in.png", {}),
     ("JP2OpenJPEG", "in.jp2", {"QUALITY": 100, "REVERSIBLE": "YES"}), ("ENVI", "in.dat", {}), ("NITF", "in.ntf", {})],
)  # fmt: skip
def test_a_file_that_is_cut_off_is_refused(
    driver: str, name: str, options: dict[str, Any], sandbox: Sandbox, folder: Path
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1, 400, 500), dtype="uint8")
    source = Path(write(folder / name, noise, driver=driver, **options))
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 6 // 10])
    target = folder / "out.tif"
    words = refusal(sandbox, MakeCog((str(source),), str(target)))
    assert words.startswith(f"{name}: it is ")
    assert not target.exists()


def test_a_file_of_no_kind_is_refused(sandbox: Sandbox, folder: Path) -> None:
    (folder / "note.txt").write_text("a note")
    (folder / "empty.tif").write_bytes(b"")
    assert refusal(sandbox, InspectFile(str(folder / "note.txt"))).startswith("note.txt: ")
    assert refusal(sandbox, InspectFile(str(folder / "empty.tif"))) == "empty.tif: it is empty"
    assert refusal(sandbox, InspectFile(str(folder / "none.tif"))) == "none.tif: there is no such file"
    assert refusal(sandbox, InspectFile("/vsicurl/http://127.0.0.1:9/x.tif")) == "x.tif: there is no such file"


def test_an_overview_file_that_is_a_vrt_reads_nothing(sandbox: Sandbox, folder: Path, job: Path) -> None:
    secret = write(job / "secret.tif", np.full((1, 32, 48), 77, "uint8"))
    source = write(folder / "in.tif", ramp())
    (folder / "in.tif.ovr").write_text(
        f'<VRTDataset rasterXSize="48" rasterYSize="32"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    facts = sandbox.run(MakePreview(source, str(folder / "out.png"), pixels=48), SECONDS)
    assert facts == {"shape": [32, 48]}
    with rasterio.open(folder / "out.png") as made:
        assert (made.read(1) != 77).any()


# -- inspecting ----------------------------------------------------------------------------------


def test_when_a_tiff_was_written_is_not_when_it_was_taken(sandbox: Sandbox, folder: Path) -> None:
    found = sandbox.run(InspectFile(brought(GENERIC / "orthophoto_rgb.tif", folder)), SECONDS)
    assert found["datetime"] is None
    assert found["colors"] == ["red", "green", "blue"]


def test_a_nitf_says_when_it_was_taken(sandbox: Sandbox, folder: Path) -> None:
    source = write(folder / "in.ntf", ramp(), driver="NITF", IDATIM="20230614105217")
    assert sandbox.run(InspectFile(source), SECONDS)["datetime"] == "2023-06-14T10:52:17Z"


def test_an_image_says_what_it_holds(sandbox: Sandbox, folder: Path) -> None:
    found = sandbox.run(InspectFile(brought(GENERIC / "ndvi_float_nan.tif", folder)), SECONDS)
    assert found == {
        "kind": "raster", "driver": "GTiff", "media_type": "image/tiff; application=geotiff", "rows": 360,
        "columns": 400, "count": 1, "data_type": "float32", "crs": "EPSG:32630", "located": True, "rpc": False,
        "crs_beside": None, "wavelengths": [[None, None]],
        "nodata": "nan", "colors": ["gray"], "descriptions": ["NDVI"], "datetime": None,
        "subdatasets": [], "siblings": [],
    }  # fmt: skip


def test_a_geopackage_says_its_layers(sandbox: Sandbox, folder: Path) -> None:
    found = sandbox.run(InspectFile(brought(GENERIC / "survey.gpkg", folder)), SECONDS)
    assert (found["kind"], found["driver"]) == ("vector", "GPKG")
    assert found["media_type"] == "application/geopackage+sqlite3"
    assert found["layers"] == [
        {"name": "control_points", "features": 12, "geometry_type": "Point", "crs": "EPSG:3035", "fields": ["no"]},
        {"name": "zones", "features": 3, "geometry_type": "Polygon", "crs": "EPSG:3035", "fields": ["zone"]},
    ]


# -- vectors -------------------------------------------------------------------------------------


def features(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_text("utf-8"))
    assert document["type"] == "FeatureCollection"
    found: list[dict[str, Any]] = document["features"]
    return found


def test_shapefiles_become_geojson(sandbox: Sandbox, folder: Path) -> None:
    with zipfile.ZipFile(GENERIC / "shapefiles.zip") as archive:
        archive.extractall(folder)
    before = sorted((folder / "vectors").iterdir())
    facts = sandbox.run(MakeGeoJson(str(folder / "vectors" / "parcels.shp"), str(folder / "out.geojson")), SECONDS)
    item = expected()["generic/shapefiles.zip"]["items"][0]
    assert (facts["features"], facts["fields"], facts["crs"]) == (8, ["name", "area_m2"], "EPSG:32632")
    assert facts["bbox"][1::2] == pytest.approx([48.148390, 48.148846], abs=5e-4)
    assert shapely.box(*item["bbox"]).buffer(5e-4).contains(shape(facts["geometry"]))
    found = features(folder / "out.geojson")
    assert [each["properties"]["name"] for each in found] == ["Süd", "Nord", "Łąka", "Île", "Öd", "Ny", "Zürich", "東"]
    assert found[0]["properties"]["area_m2"] == 2750
    assert sorted((folder / "vectors").iterdir()) == before


def test_layers_of_a_geopackage_become_geojson(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "survey.gpkg", folder)
    boxes = []
    for layer, count in (("control_points", 12), ("zones", 3)):
        facts = sandbox.run(MakeGeoJson(source, str(folder / f"{layer}.geojson"), layer=layer), SECONDS)
        assert facts["features"] == len(features(folder / f"{layer}.geojson")) == count
        boxes.append(shapely.box(*facts["bbox"]))
    wanted = expected()["generic/survey.gpkg"]["items"][0]["bbox"]
    assert shapely.union_all(boxes).bounds == pytest.approx(wanted, abs=5e-4)
    assert features(folder / "control_points.geojson")[3]["properties"] == {"no": 3}
    assert refusal(sandbox, MakeGeoJson(source, str(folder / "x.geojson"), layer="none")) == (
        "survey.gpkg: there is no layer 'none' in it"
    )


def gml(members: str, envelope: str = "") -> str:
    return (
        '<?xml version="1.0"?><eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" '
        f'xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="M">{envelope}{members}</eop:Mask>'
    )


def member(positions: str, number: int = 0) -> str:
    return (
        f'<eop:maskMembers><eop:MaskFeature gml:id="C.{number}"><eop:maskType>007</eop:maskType><eop:extentOf>'
        f'<gml:Polygon gml:id="P.{number}"><gml:exterior><gml:LinearRing><gml:posList srsDimension="2">{positions}'
        "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></eop:extentOf></eop:MaskFeature></eop:maskMembers>"
    )


SQUARE = "500000 5000000 500000 4999000 501000 4999000 501000 5000000 500000 5000000"


def test_a_gml_without_members_is_an_empty_collection(sandbox: Sandbox, folder: Path) -> None:
    (folder / "CLD.GML").write_text(gml(""))
    facts = sandbox.run(MakeGeoJson(str(folder / "CLD.GML"), str(folder / "out.geojson"), crs="EPSG:32632"), SECONDS)
    assert (facts["features"], facts["bbox"], facts["geometry"]) == (0, None, None)
    assert features(folder / "out.geojson") == []


def test_a_gml_without_a_system_is_in_that_of_the_task(sandbox: Sandbox, folder: Path) -> None:
    (folder / "ROI.GML").write_text(gml(member(SQUARE)))
    facts = sandbox.run(MakeGeoJson(str(folder / "ROI.GML"), str(folder / "out.geojson"), crs="EPSG:32632"), SECONDS)
    assert facts["crs"] == "EPSG:32632"
    assert facts["bbox"] == pytest.approx([9.0, 45.1437, 9.0127, 45.1527], abs=1e-3)
    assert sorted(path.name for path in folder.iterdir()) == ["ROI.GML", "out.geojson"]
    assert refusal(sandbox, MakeGeoJson(str(folder / "ROI.GML"), str(folder / "x.geojson"))) == (
        "ROI.GML: it does not say its reference system, and its coordinates are no degrees"
    )


def test_a_gml_says_its_system_in_the_envelope(sandbox: Sandbox, folder: Path) -> None:
    envelope = (
        '<gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:32632"><gml:lowerCorner>500000 4999000'
        "</gml:lowerCorner><gml:upperCorner>501000 5000000</gml:upperCorner></gml:Envelope></gml:boundedBy>"
    )
    (folder / "MSK.gml").write_text(gml(member(SQUARE), envelope))
    facts = sandbox.run(MakeGeoJson(str(folder / "MSK.gml"), str(folder / "out.geojson")), SECONDS)
    assert facts["crs"] == "EPSG:32632"
    assert facts["bbox"] == pytest.approx([9.0, 45.1437, 9.0127, 45.1527], abs=1e-3)


def test_real_sentinel_2_masks_are_placed(sandbox: Sandbox, folder: Path) -> None:
    path = next((DELIVERIES / "sentinel2-safe").glob("S2B_MSIL2A_20210122*"))
    item = expected()[f"sentinel2-safe/{path.name}"]["items"][0]
    assets, tile = item["assets"], shapely.box(*item["bbox"]).buffer(0.6)
    masks = [each for each in assets if each["type"] == "application/geo+json" and each["sources"][0].endswith(".gml")]
    seen = 0
    with zipfile.ZipFile(path) as archive:
        for asset in masks[:12]:
            source = folder / Path(asset["sources"][0]).name
            source.write_bytes(archive.read(asset["sources"][0]))
            facts = sandbox.run(MakeGeoJson(str(source), str(folder / "out.geojson"), crs="EPSG:32722"), SECONDS)
            assert facts["crs"] == "EPSG:32722"
            if facts["bbox"]:
                assert tile.contains(shapely.box(*facts["bbox"]))
                seen += 1
    assert seen


def test_a_dtd_is_refused(sandbox: Sandbox, folder: Path) -> None:
    (folder / "m.gml").write_text('<!DOCTYPE m [<!ENTITY leak SYSTEM "file:///etc/passwd">]><m>&leak;</m>')
    words = refusal(sandbox, MakeGeoJson(str(folder / "m.gml"), str(folder / "out.geojson")))
    assert words == "m.gml: the XML file has a DTD or entities, which are not read"


def test_geojson_across_the_antimeridian_is_cut(sandbox: Sandbox, folder: Path) -> None:
    source = write_geojson(folder / "in.geojson", [
        {"type": "Polygon", "coordinates": [[[179, 0], [181, 0], [181, 1], [179, 1], [179, 0]]]},
        {"type": "LineString", "coordinates": [[179, 2, 5], [181, 2, 7]]},
        {"type": "Point", "coordinates": [181, 3]},
        None,
    ])  # fmt: skip
    facts = sandbox.run(MakeGeoJson(source, str(folder / "out.geojson")), SECONDS)
    assert facts["features"] == 4
    assert facts["bbox"] == [179.0, 0.0, -179.0, 3.0]
    assert facts["geometry"]["type"] == "MultiPolygon"
    area, line, point, nothing = (each["geometry"] for each in features(folder / "out.geojson"))
    assert area["type"] == "MultiPolygon"
    assert sorted(part.bounds for part in shape(area).geoms) == [(-180, 0, -179, 1), (179, 0, 180, 1)]
    assert line == {
        "type": "MultiLineString",
        "coordinates": [[[179, 2, 5], [180, 2, 6]], [[-180, 2, 6], [-179, 2, 7]]],
    }
    assert point == {"type": "Point", "coordinates": [-179, 3]}
    assert nothing is None


def write_geojson(path: Path, geometries: list[Any], **properties: Any) -> str:
    listed = [{"type": "Feature", "properties": properties, "geometry": geometry} for geometry in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": listed}))
    return str(path)


def test_values_of_features_are_kept(sandbox: Sandbox, folder: Path) -> None:
    point = {"type": "Point", "coordinates": [7.5, 50.25]}
    source = write_geojson(
        folder / "a!b?c#.geojson", [point] * 2_500, name='Ä\u0000"<&', n=12345678901, x=0.1, none=None
    )
    facts = sandbox.run(MakeGeoJson(source, str(folder / "out.geojson")), SECONDS)
    found = features(folder / "out.geojson")
    assert facts["features"] == len(found) == 2_500
    assert found[-1]["geometry"] == point
    assert (found[-1]["properties"]["n"], found[-1]["properties"]["x"]) == (12345678901, 0.1)
    assert found[-1]["properties"]["none"] is None
    assert facts["geometry"] == {"type": "Point", "coordinates": [7.5, 50.25]}


# -- previews ------------------------------------------------------------------------------------


def test_a_preview_is_small_and_shows_what_is_valid(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "already_cog.tif", folder)
    assert sandbox.run(MakePreview(source, str(folder / "out.png"), pixels=128), SECONDS) == {"shape": [128, 128]}
    with rasterio.open(folder / "out.png") as made:
        assert [each.name for each in made.colorinterp] == ["red", "green", "blue", "alpha"]
        assert made.read(4)[:9, :14].max() == 0
        assert made.read(4)[12:, 20:].min() == 255
        assert made.read(1).max() == 255
    assert sorted(path.name for path in folder.iterdir()) == ["already_cog.tif", "out.png"]


def test_a_preview_may_be_a_jpeg_of_some_bands(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "already_cog.tif", folder)
    sandbox.run(MakePreview(source, str(folder / "out.jpg"), pixels=100, bands=(4, 3, 2)), SECONDS)
    with rasterio.open(folder / "out.jpg") as made:
        assert (made.driver, made.count, made.width) == ("JPEG", 3, 100)
    words = refusal(sandbox, MakePreview(source, str(folder / "x.jpg"), bands=(5,)))
    assert words == "already_cog.tif: there are no bands 5 to show"


def test_a_preview_has_the_colours_of_the_palette(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "landcover_palette.tif", folder)
    sandbox.run(MakePreview(source, str(folder / "out.png")), SECONDS)
    with rasterio.open(source) as given, rasterio.open(folder / "out.png") as made:
        classes, picture = given.read(1), made.read()
    assert made.shape == (360, 400)
    row, column = np.argwhere(classes == 2)[0]
    assert picture[:, row, column].tolist() == [120, 200, 80, 255]
    assert (picture[3] == 0).tolist() == (classes == 0).tolist()


def test_a_preview_of_a_south_up_image_has_north_up(sandbox: Sandbox, folder: Path) -> None:
    pixels = np.zeros((1, 10, 10), "uint8")
    pixels[0, 0] = 200  # the first row is the southernmost
    place = Affine(10, 0, 480000, 0, 10, 5397600)
    source = write(folder / "in.tif", pixels, crs="EPSG:32632", transform=place)
    sandbox.run(MakePreview(source, str(folder / "out.png")), SECONDS)
    with rasterio.open(folder / "out.png") as made:
        assert made.read(1)[:, 0].tolist() == [0] * 9 + [200]


def test_the_alpha_of_an_image_is_that_of_its_preview(sandbox: Sandbox, folder: Path) -> None:
    source = brought(GENERIC / "rgba_alpha.tif", folder)
    sandbox.run(MakePreview(source, str(folder / "out.png")), SECONDS)
    with rasterio.open(source) as given, rasterio.open(folder / "out.png") as made:
        assert made.colorinterp[3] == ColorInterp.alpha
        assert np.array_equal(given.read(4), made.read(4))
        inside = given.read(4) > 0
        assert np.array_equal(given.read(1)[inside], made.read(1)[inside])


def test_blocks_of_gigabytes_are_refused(sandbox: Sandbox, folder: Path) -> None:
    """A deflated tile of 20,000 x 20,000 pixels, of which there are a few bytes and many zeros."""
    width = height = 20_000
    strip = b"x\x9c" + bytes(1_000_000)
    ifd = 8 + len(strip)
    size = [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags = [*size, (322, width), (323, height), (324, 8), (325, len(strip))]
    body = struct.pack("<2sHI", b"II", 42, ifd) + strip + struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + struct.pack("<I", 0)
    (folder / "in.tif").write_bytes(body)
    words = refusal(sandbox, MakeCog((str(folder / "in.tif"),), str(folder / "out.tif")))
    assert words == "in.tif: its blocks are of 20,000 x 20,000 pixels, too large to be read one by one"
