"""Plain rasters and vectors: which files are looked into, what becomes of them, and what is refused."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

from swath.delivery import converting
from swath.delivery.candidates import Beside, candidates
from swath.delivery.model import Part, Product, Scene, Tree
from swath.delivery.plain import recognise
from swath.delivery.unpacking import unpack
from swath.errors import DeliveryRefused
from tests.deliveries_expected import DELIVERIES, check_product, entry

GENERIC = sorted(path.relative_to(DELIVERIES).as_posix() for path in (DELIVERIES / "generic").iterdir())
GML = 'xmlns:gml="http://www.opengis.net/gml"'
KML = (
    '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>a</name><Point>'
    "<coordinates>10,50</coordinates></Point></Placemark></Document></kml>"
)
TIFF, NETCDF = b"II*\0", b"CDF\x01"


def tree_of(root: Path, files: Mapping[str, bytes | str]) -> Tree:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Tree(root, tuple(sorted(files)))


def raster(**more: Any) -> dict[str, Any]:
    return {"kind": "raster", "driver": "GTiff", "count": 1, "crs": "EPSG:32632", "located": True, "rpc": False,
            "colors": ["gray"], "descriptions": [None], "datetime": None, "siblings": [], **more}  # fmt: skip


def vector(*layers: str, **more: Any) -> dict[str, Any]:
    return {"kind": "vector", "driver": "GPKG", "layers": [{"name": name} for name in layers], "siblings": [], **more}


def recognised(tree: Tree, told: Mapping[str, Any] | None = None) -> Product:
    """`told` is what is found in files by their names; a raster, where it does not say."""
    product = recognise(tree, lambda name: (told or {}).get(name) or raster())
    assert product is not None
    return product


def looked_into(root: Path, files: Mapping[str, bytes | str]) -> list[str]:
    tree = tree_of(root, files)
    return list(candidates(tree, Beside(tree.files)))


# -- the real ones, read in a sandbox --------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("sandbox")
    converting.end_sandbox()


@pytest.mark.parametrize("path", GENERIC)
def test_a_generic_delivery_is_what_it_should_be(sandbox: Path, path: str) -> None:
    tree = unpack(DELIVERIES / path, Path(path).name, sandbox / path)
    product = recognise(tree, converting.inspect_in(sandbox, tree.root))
    assert product is not None
    expected = entry(path)
    below = Path(path).name if (DELIVERIES / path).is_dir() else ""
    strip = f"generic/{below}/" if below else "generic/"
    plain = {**expected, "items": [_stripped(item, strip) for item in expected["items"]]}
    check_product(product, plain, tree.files, name=path != "generic/shapefiles.zip")


def _stripped(item: dict[str, Any], before: str) -> dict[str, Any]:
    """By the paths in the delivery; without what only the converted file can show, and without the files beside."""
    assets = [
        {name: value for name, value in asset.items() if name != "gsd"}
        | {"sources": [source.removeprefix(before) for source in asset["sources"]][:1]}
        for asset in item["assets"]
    ]
    return {name: value for name, value in item.items() if name not in ("proj:code", "bbox")} | {"assets": assets}


def test_a_kmz_is_read_by_the_kml_in_it(sandbox: Path) -> None:
    with zipfile.ZipFile(sandbox / "sites.kmz", "w") as archive:
        archive.writestr("files/icon.png", b"")
        archive.writestr("doc.kml", KML)
    tree = unpack(sandbox / "sites.kmz", "sites.kmz", sandbox / "kmz")
    for again in (tree, Tree(tree.root, (*tree.files, "sites.kmz.kml~"))):  # as after a crash
        product = recognise(again, converting.inspect_in(sandbox, tree.root))
        assert product is not None
        (scene,) = product.scenes
        assert (scene.name, [part.key for part in scene.parts]) == ("sites", ["sites"])


def test_a_job_that_is_tried_again_has_a_sandbox_that_sees_its_files(tmp_path: Path) -> None:
    for _ in range(3):
        folder = tmp_path / "job"
        folder.mkdir()
        image(folder / "a.tif", 1, driver="GTiff", **UTM)
        assert converting.inspect_in(folder, folder)("a.tif")["kind"] == "raster"
        shutil.rmtree(folder)
    converting.end_sandbox()


def image(path: Path, count: int, **profile: Any) -> Path:
    pixels = np.arange(count * 16 * 20, dtype="uint8").reshape(count, 16, 20) + 1
    with rasterio.open(path, "w", width=20, height=16, count=count, dtype="uint8", **profile) as out:
        out.write(pixels)
    return path


def only_part(folder: Path, name: str) -> tuple[Scene, Part, dict[str, Any]]:
    """Of the only scene of a folder, its only part, and what the COG of it says."""
    tree = Tree(folder, tuple(sorted(path.name for path in folder.iterdir())))
    product = recognise(tree, converting.inspect_in(folder, folder))
    assert product is not None
    (scene,) = product.scenes
    (part,) = scene.parts
    made = converting.convert(folder, folder, part, 1, None)
    assert made is not None
    assert name in part.sources
    return scene, part, dict(made.facts)


UTM = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_800_000)}


def test_what_bands_are_called_comes_before_the_colours_that_gdal_takes_them_for(tmp_path: Path) -> None:
    path = image(tmp_path / "a.tif", 4, driver="GTiff", **UTM)
    with rasterio.open(path, "r+") as file:
        assert [each.name for each in file.colorinterp] == ["red", "green", "blue", "alpha"]
        file.descriptions = ("blue", "green", "red", "nir")
    _, part, facts = only_part(tmp_path, "a.tif")
    assert [(band.name, band.common_name) for band in part.bands] == [
        (name, name) for name in ("blue", "green", "red", "nir")
    ]
    assert [band["color"] for band in facts["bands"]] == ["undefined"] * 4
    converting.end_sandbox()


@pytest.mark.parametrize("described", [None, "Band 4", "alpha"])
def test_alpha_is_no_band(tmp_path: Path, described: str | None) -> None:
    with rasterio.open(image(tmp_path / "a.tif", 4, driver="GTiff", **UTM), "r+") as file:
        file.descriptions = (None, None, None, described)
    _, part, facts = only_part(tmp_path, "a.tif")
    assert [band.name for band in part.bands] == ["red", "green", "blue"]
    assert facts["bands"][3]["color"] == "alpha"
    converting.end_sandbox()


def test_an_envi_header_says_wavelengths_and_when(tmp_path: Path) -> None:
    image(tmp_path / "cube.dat", 2, driver="ENVI", **UTM)
    with (tmp_path / "cube.hdr").open("a") as header:
        header.write("wavelength units = Nanometers\nwavelength = {450, 2200}\nfwhm = {10, 30}\n"
                     "acquisition time = 2021-03-04T05:06:07.0Z\n")  # fmt: skip
    for made in tmp_path.glob("*.aux.xml"):
        made.unlink()
    scene, part, _ = only_part(tmp_path, "cube.dat")
    assert [(band.center_wavelength, band.full_width_half_max) for band in part.bands] == [(0.45, 0.01), (2.2, 0.03)]
    assert scene.datetime == "2021-03-04T05:06:07Z"
    converting.end_sandbox()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_lies_where_its_world_file_and_prj_say(tmp_path: Path) -> None:
    image(tmp_path / "map.png", 3, driver="PNG")
    for made in tmp_path.glob("*.aux.xml"):
        made.unlink()
    (tmp_path / "map.pgw").write_text("10\n0\n0\n-10\n500005\n5799995\n")
    (tmp_path / "MAP.PRJ").write_text(CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI"))
    _, _, facts = only_part(tmp_path, "map.png")
    assert facts["code"] == "EPSG:32633"
    assert facts["bbox"] == [500_000, 5_799_840, 500_200, 5_800_000]
    converting.end_sandbox()


def netcdf(dimensions: dict[str, int], variables: dict[str, tuple[tuple[str, ...], dict[str, str], Any]]) -> bytes:
    """A file in the classic format (NetCDF Classic Format Specification, CDF-1), its variables of doubles."""

    def word(number: int) -> bytes:
        return number.to_bytes(4)

    def text(value: str) -> bytes:
        return word(len(value)) + value.encode() + bytes(-len(value) % 4)

    def attributes(given: dict[str, str]) -> bytes:
        told = b"".join(text(name) + word(2) + text(value) for name, value in given.items())
        return word(0xC) + word(len(given)) + told if given else bytes(8)

    names = list(dimensions)
    contents = [np.asarray(values, ">f8").tobytes() for _, _, values in variables.values()]

    def header(begin: int) -> bytes:
        out = b"CDF\x01" + word(0) + word(0xA) + word(len(dimensions))
        out += b"".join(text(name) + word(size) for name, size in dimensions.items())
        out += attributes({"Conventions": "CF-1.7"}) + word(0xB) + word(len(variables))
        for (name, (along, given, _)), content in zip(variables.items(), contents, strict=True):
            out += text(name) + word(len(along)) + b"".join(word(names.index(each)) for each in along)
            out += attributes(given) + word(6) + word(len(content)) + word(begin)
            begin += len(content)
        return out

    return header(len(header(0))) + b"".join(contents)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_that_lies_nowhere_takes_no_prj(tmp_path: Path) -> None:
    image(tmp_path / "map.tif", 1, driver="GTiff")
    (tmp_path / "map.prj").write_text(CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI"))  # a shapefile's, say
    _, part, facts = only_part(tmp_path, "map.tif")
    assert (part.crs, facts["code"]) == (None, None)
    converting.end_sandbox()


def test_axes_in_degrees_say_where_a_netcdf_lies(tmp_path: Path) -> None:
    variables: dict[str, tuple[tuple[str, ...], dict[str, str], Any]] = {
        "lat": (("lat",), {"units": "degrees_north", "standard_name": "latitude"}, [50, 49, 48]),
        "lon": (("lon",), {"units": "degrees_east", "standard_name": "longitude"}, [10, 11, 12, 13]),
        "sst": (("lat", "lon"), {"units": "K"}, np.ones((3, 4))),
        "anomaly": (("lat", "lon"), {"units": "K"}, np.ones((3, 4))),
    }
    (tmp_path / "sst.nc").write_bytes(netcdf({"lat": 3, "lon": 4}, variables))
    _, part, facts = only_part(tmp_path, "sst.nc")
    assert part.crs == facts["code"] == "EPSG:4326"
    assert facts["bbox"] == [9.5, 47.5, 13.5, 50.5]
    converting.end_sandbox()


# -- which files -----------------------------------------------------------------------------------


def test_files_are_known_by_ending_or_by_first_bytes(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a/scene.TIF": b"", "a/unnamed": TIFF, "b.nc": b"", "c.dat": NETCDF, "d.gpkg": b"", "e.geojson": "",
        "f.kml": "",
        "g.json": '{"type": "FeatureCollection", "features": []}',
        "k.txt": '{"type": "FeatureCollection"}', "h.xml": f"<wfs:FeatureCollection {GML}>",
        "i": b"SQLite format 3\0" + bytes(52) + b"GPKG", "readme.txt": "read me", "item.json": '{"type": "Feature"}',
        "mtd.xml": "<metadata/>", "data.bin": b"\0\1", "letter.pdf": b"%PDF", "table.dbf": b"", "x.hdr": "BYTEORDER I",
        "x.bil": b"\0",
    }  # fmt: skip
    assert looked_into(tmp_path, files) == [
        "a/scene.TIF", "a/unnamed", "b.nc", "c.dat", "d.gpkg", "e.geojson", "f.kml", "g.json", "h.xml", "i",
        "k.txt",
    ]  # fmt: skip


def test_bare_pixels_are_imagery_beside_a_header_of_envi(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.hdr": "ENVI\n", "a.dat": b"\1", "b": b"\1", "b.hdr": "ENVI\n", "c.bin": b"\1", "c.bin.hdr": "ENVI\n",
        "d.raw": b"\1", "D.HDR": "ENVI\n", "e.raw": b"\1",
    }  # fmt: skip
    assert looked_into(tmp_path, files) == ["a.dat", "b", "c.bin", "d.raw"]


def test_pictures_are_imagery_where_somebody_says_where_they_lie(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.png": b"", "A.PGW": "1", "b.jpg": b"", "b.jgw": "1", "c.jpeg": b"", "c.wld": "1", "d.png": b"",
        "d.png.aux.xml": "<PAMDataset><GeoTransform>0</GeoTransform></PAMDataset>", "e.png": b"",
        "e.png.aux.xml": "<PAMDataset/>", "f.jpg": b"",
    }  # fmt: skip
    assert looked_into(tmp_path, files) == ["a.png", "b.jpg", "c.jpeg", "d.png"]


def test_pictures_without_a_place_are_imagery_where_there_is_nothing_else(tmp_path: Path) -> None:
    alone = recognised(tree_of(tmp_path / "1", {"a.png": b"", "b.jpg": b"", "readme.txt": ""}))
    assert [scene.name for scene in alone.scenes] == ["a", "b"]
    beside = recognised(tree_of(tmp_path / "2", {"a.png": b"", "b.tif": TIFF}))
    assert [scene.name for scene in beside.scenes] == ["b"]
    tree = tree_of(tmp_path / "3", {"a.png": b"", "of another product.tif": TIFF})
    assert recognise(tree.less(["of another product.tif"]), lambda _: raster()) is None


def test_files_that_belong_to_an_image_become_nothing_by_themselves(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.tif": TIFF, "a.tif.ovr": TIFF, "a.TFW": "1", "a.tif.aux.xml": "<x/>", "a.tif.msk": TIFF, "a_RPC.TXT": "x",
        "notes.txt": "x",
    }  # fmt: skip
    product = recognised(tree_of(tmp_path, files), {"a.tif": raster(siblings=["a_RPC.TXT"])})
    assert len(product.scenes) == 1
    assert product.claimed == set(files) - {"notes.txt"}
    assert product.notes == ("passed over: notes.txt",)


def test_a_delivery_without_imagery_is_no_product(tmp_path: Path) -> None:
    assert recognise(tree_of(tmp_path, {"readme.txt": "x", "a.pdf": b"%PDF"}), lambda _: raster()) is None


# -- what becomes of them --------------------------------------------------------------------------


def test_each_raster_is_a_scene_and_those_of_one_name_are_told_apart(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a/s.tif": TIFF, "b/s.tif": TIFF, "b/s.jp2": b"", "t.tif": TIFF}
    scenes = recognised(tree_of(tmp_path, files)).scenes
    assert [scene.name for scene in scenes] == ["a/s", "b/s.jp2", "b/s.tif", "t"]
    assert {part.key for scene in scenes for part in scene.parts} == {"s", "t"}


def test_bands_have_names_and_alpha_is_none(tmp_path: Path) -> None:
    told = raster(
        colors=["red", "green", "nir", "undefined", "gray", "gray", "alpha"],
        descriptions=["B4", None, None, "Near  Infrared", None, "B4", None], datetime="2024-05-01T10:00:00Z",
    )  # fmt: skip
    (scene,) = recognised(tree_of(tmp_path, {"a.tif": TIFF}), {"a.tif": told}).scenes
    assert [(band.name, band.common_name) for band in scene.parts[0].bands] == [
        ("B4", "red"), ("green", "green"), ("nir", "nir"), ("Near  Infrared", "nir"), ("b5", None), ("B4_6", None),
    ]  # fmt: skip
    assert scene.datetime == "2024-05-01T10:00:00Z"


def test_a_palette_is_categorical_and_rpc_without_a_system_is_sensor_geometry(tmp_path: Path) -> None:
    told = {
        "p.tif": raster(colors=["palette"]), "s.tif": raster(rpc=True, crs=None), "o.tif": raster(rpc=True),
    }  # fmt: skip
    tree = tree_of(tmp_path, dict.fromkeys(told, TIFF))
    parts = {scene.name: scene.parts[0] for scene in recognised(tree, told).scenes}
    assert [(name, part.categorical, part.sensor) for name, part in sorted(parts.items())] == [
        ("o", False, False), ("p", True, False), ("s", False, True),
    ]  # fmt: skip


def test_all_vectors_are_one_scene_with_an_asset_for_each_layer(tmp_path: Path) -> None:
    told = {"v/a.gpkg": vector("roads", "zones"), "v/b.shp": vector("b"), "v/c.gml": vector()}
    tree = tree_of(tmp_path, {**dict.fromkeys(told, b""), "v/b.shx": b"", "v/B.dbf": b"", "i.tif": TIFF})
    product = recognised(tree, told)
    assert [scene.name for scene in product.scenes] == ["i", "v"]
    assert [(part.key, part.title, part.layer) for part in product.scenes[1].parts] == [
        ("roads", "a: roads", "roads"), ("zones", "a: zones", "zones"), ("b", "b", "b"),
    ]  # fmt: skip
    assert product.claimed == set(tree.files)
    assert product.notes == ("v/c.gml: there is nothing in it",)
    assert product.data_type == "raster"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scene.vrt", ""),
        ("scene.tif", '<VRTDataset rasterXSize="4">'),
        ("readme.txt", '\ufeff <?xml version="1.0"?>\n<!-- x -->\n<VRTDataset rasterXSize="4">'),
        ("layers.xml", "<OGRVRTDataSource>"),
        ("x", "<GDAL_WMS><Service name='TMS'>"),
        ("a.geojson", '{"a":' + "[" * 101 + "]" * 101 + "}"),
        ("a.json", '{"type":"FeatureCollection","a":' + '{"b":' * 100_000),
        ("a.kml", f'<!DOCTYPE x [<!ENTITY a "b">]>{KML}'),
        ("a.gml", '<?xml version="1.0"?><!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>'),
        ("a.kmz", "PK and so on"),
    ],
)
def test_a_file_that_must_not_be_read_is_refused_by_its_name(tmp_path: Path, name: str, content: str) -> None:
    def unasked(name: str) -> Mapping[str, Any]:
        raise AssertionError(f"{name} was looked into")

    with pytest.raises(DeliveryRefused, match=f"^{name}: "):
        recognise(tree_of(tmp_path, {name: content}), unasked)


def test_brackets_in_strings_are_no_nesting(tmp_path: Path) -> None:
    words = (
        '{"type":"FeatureCollection","a":"' + "[" * 500 + '\\"' + "{" * 500 + '\\\\","b":' + "[" * 90 + "]" * 90 + "}"
    )
    many = '{"type":"FeatureCollection","a":[' + ",".join(["[[1,2],[3,4]]"] * 200_000) + "]}"
    tree = tree_of(tmp_path, {"a.geojson": words, "b.geojson": many})
    told = {name: vector(name) for name in tree.files}
    assert len(recognised(tree, told).scenes[0].parts) == 2


def test_one_broken_file_refuses_the_delivery(tmp_path: Path) -> None:
    def inspect(name: str) -> Mapping[str, Any]:
        if name == "b.tif":
            raise DeliveryRefused("b.tif: it is cut off")
        return raster()

    with pytest.raises(DeliveryRefused, match=r"^b\.tif: it is cut off$"):
        recognise(tree_of(tmp_path, {"a.tif": TIFF, "b.tif": TIFF}), inspect)
