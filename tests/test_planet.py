"""Planet orders of PlanetScope and SkySat: what is recognised, what each file becomes, and what is refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rasterio

from swath.delivery import converting
from swath.delivery.model import Part, Product, Scene, Tree
from swath.delivery.planet import recognise
from swath.errors import DeliveryRefused
from tests.deliveries_expected import DELIVERIES, check_product, entry

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

HARVEY = "planet-psscene/harvey_psscene4band_analytic.zip"
HARVEY_ID = "20170831_172754_101c"
DOVE = "20230405_101112_13_2486"
SQUARE = {"type": "Polygon", "coordinates": [[[10.0, 50.0], [11.0, 50.0], [11.0, 51.0], [10.0, 51.0], [10.0, 50.0]]]}


def tree_of(root: Path) -> Tree:
    return Tree(root, tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())))


def unpack(folder: Path) -> Path:
    with zipfile.ZipFile(DELIVERIES / HARVEY) as archive:
        archive.extractall(folder)
    return folder


def recognised(root: Path) -> Product:
    def look(name: str) -> Mapping[str, Any]:
        with rasterio.open(root / name) as image:
            return {"kind": "raster", "rows": image.height, "columns": image.width, "count": image.count,
                    "nodata": image.nodata, "crs": str(image.crs or ""), "located": image.crs is not None}  # fmt: skip

    product = recognise(tree_of(root), look)
    assert product is not None
    return product


def unasked(name: str) -> Mapping[str, Any]:
    raise AssertionError(f"{name} was looked into")


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def describe(root: Path, path: str, identifier: str, geometry: Any = SQUARE, **properties: Any) -> None:
    """The metadata of an item, as they come beside its images."""
    told = {
        "acquired": "2023-04-05T10:11:12.345678Z", "item_type": "PSScene", "satellite_id": "2486", "gsd": 3.9,
        "pixel_resolution": 3, "cloud_cover": 0.17, "instrument": "PSB.SD", "provider": "planetscope", **properties,
    }  # fmt: skip
    write(root, path)
    document = {"id": identifier, "type": "Feature", "geometry": geometry, "properties": told}
    (root / path).write_text(json.dumps(document), "utf-8")


def order(root: Path, path: str, files: Mapping[str, tuple[str, str, str]], below: str = "") -> None:
    """A manifest of files that are there, each with its item's id and type, and its asset's type."""
    entries = []
    for name, (identifier, kind, asset) in files.items():
        content = (root / name).read_bytes()
        annotations = {"planet/item_id": identifier, "planet/item_type": kind, "planet/asset_type": asset}
        entries.append(
            {"path": below + name, "size": len(content), "annotations": annotations,
             "digests": {"sha256": hashlib.sha256(content).hexdigest()}}
        )  # fmt: skip
    (root / path).write_text(json.dumps({"name": "", "files": entries}), "utf-8")


def small(root: Path, counts: Mapping[str, int], **more: Any) -> Product:
    """`counts` are the bands of images by the ends of their names."""

    def look(name: str) -> Mapping[str, Any]:
        count = next((count for end, count in counts.items() if name.endswith(end)), 1)
        return {"kind": "raster", "rows": 256, "columns": 256, "count": count, "crs": "EPSG:32632", "located": True,
                "nodata": None, **more}  # fmt: skip

    product = recognise(tree_of(root), look)
    assert product is not None
    return product


def part(scene: Scene, end: str) -> Part:
    (found,) = [each for each in scene.parts if each.sources[0].endswith(end)]
    return found


# -- the delivered one -----------------------------------------------------------------------------


def test_the_order_becomes_what_is_expected(tmp_path: Path) -> None:
    product = recognised(unpack(tmp_path))
    tree = tree_of(tmp_path)
    check_product(product, entry(HARVEY), tree.files)
    assert product.claimed == frozenset(tree.files)
    assert (product.kind, product.collection_name, product.producer) == ("planet", "psscene", "Planet")
    assert (product.data_type, product.modality, product.license) == ("raster", "multispectral", "other")
    assert product.title == "Planet PSScene4Band"


def test_images_are_looked_into_in_the_sandbox(tmp_path: Path) -> None:
    tree = tree_of(unpack(tmp_path / "files"))
    try:
        product = recognise(tree, converting.inspect_in(tmp_path, tree.root))
    finally:
        converting.end_sandbox()
    assert product is not None
    check_product(product, entry(HARVEY), tree.files)


def test_what_the_metadata_do_not_say_is_taken_from_the_xml(tmp_path: Path) -> None:
    (scene,) = recognised(unpack(tmp_path)).scenes
    assert scene.datetime == "2017-08-31T17:27:54.96053Z"
    assert scene.properties["view:azimuth"] == 348.6758
    assert scene.properties["planet:strip_id"] == "724553"


def test_without_the_item_s_own_metadata_the_xml_says_all(tmp_path: Path) -> None:
    unpack(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    document["files"] = [each for each in document["files"] if not each["path"].endswith("_metadata.json")]
    (tmp_path / "manifest.json").write_text(json.dumps(document), "utf-8")
    (tmp_path / "files" / f"{HARVEY_ID}_metadata.json").unlink()
    (scene,) = recognised(tmp_path).scenes
    assert scene.datetime == "2017-08-31T17:27:54Z"
    assert scene.footprint is not None
    assert scene.footprint["coordinates"][0][0] == [-96.0252203567112, 29.5120082767308]
    wanted = {
        "platform": "101c", "constellation": "planetscope", "instruments": ["ps2"], "proj:code": "EPSG:32615",
        "eo:cloud_cover": 2.0, "view:off_nadir": 0.240151, "view:sun_azimuth": 145.42, "view:sun_elevation": 65.12005,
    }  # fmt: skip
    assert {name: scene.properties[name] for name in wanted} == wanted


def test_without_a_manifest_the_metadata_tell_the_item(tmp_path: Path) -> None:
    unpack(tmp_path)
    whole = recognised(tmp_path).scenes[0]
    (tmp_path / "manifest.json").unlink()
    (scene,) = recognised(tmp_path).scenes
    assert (scene.datetime, scene.properties, scene.footprint) == (whole.datetime, whole.properties, whole.footprint)
    assert [(each.roles, each.bands) for each in scene.parts] == [
        (each.roles, each.bands) for each in whole.parts if "digest" not in each.roles
    ]


# -- others ----------------------------------------------------------------------------------------


def test_a_superdove_has_eight_bands_and_masks_of_eight(tmp_path: Path) -> None:
    names = [f"PSScene/{DOVE}_3B_{end}" for end in ("AnalyticMS_SR_8b.tif", "udm2.tif", "Visual.tif")]
    write(tmp_path, *names)
    describe(tmp_path, f"PSScene/{DOVE}_metadata.json", DOVE)
    kinds = ("ortho_analytic_8b_sr", "ortho_udm2", "ortho_visual")
    order(tmp_path, "manifest.json",
          {name: (DOVE, "PSScene", kind) for name, kind in zip(names, kinds, strict=True)})  # fmt: skip
    product = small(tmp_path, {"_8b.tif": 8, "udm2.tif": 8, "Visual.tif": 4})
    (scene,) = product.scenes
    analytic, mask, visual = (part(scene, end) for end in ("8b.tif", "udm2.tif", "Visual.tif"))
    assert [band.name for band in analytic.bands] == [
        "coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"
    ]  # fmt: skip
    assert [band.center_wavelength for band in analytic.bands] == [
        0.4415, 0.49, 0.531, 0.565, 0.61, 0.665, 0.705, 0.865
    ]  # fmt: skip
    assert (analytic.roles, analytic.gsd, analytic.nodata) == (("data", "multispectral"), 3.0, 0.0)
    assert analytic.title == "Multispectral image, surface reflectance"
    assert [band.name for band in mask.bands] == [
        "clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1"
    ]  # fmt: skip
    assert (mask.roles[0], mask.categorical, mask.nodata) == ("data-mask", True, None)
    assert (visual.roles, [band.name for band in visual.bands]) == (("visual",), ["red", "green", "blue"])
    assert visual.nodata is None
    wanted = {"gsd": 3.9, "eo:cloud_cover": 17.0, "instruments": ["psb.sd"], "platform": "2486"}
    assert {name: scene.properties[name] for name in wanted} == wanted
    assert scene.datetime == "2023-04-05T10:11:12.345678Z"


def test_four_bands_are_those_of_the_instrument(tmp_path: Path) -> None:
    write(tmp_path, f"{DOVE}_3B_AnalyticMS.tif")
    for instrument, wanted in (("PS2", 0.82), ("PS2.SD", 0.867), ("PSB.SD", 0.865), ("other", 0.82)):
        describe(tmp_path, f"{DOVE}_metadata.json", DOVE, instrument=instrument)
        (scene,) = small(tmp_path, {".tif": 4}).scenes
        bands = part(scene, ".tif").bands
        assert [band.name for band in bands] == ["blue", "green", "red", "nir"]
        assert bands[3].center_wavelength == wanted


def test_a_collect_of_skysat(tmp_path: Path) -> None:
    name = "20200814_162132_ssc4_u0001"
    ends = ("_analytic.tif", "_panchromatic.tif", "_pansharpened.tif", "_visual.tif", "_analytic_udm2.tif")
    write(tmp_path, *(f"SkySatCollect/{name}{end}" for end in ends))
    describe(tmp_path, f"SkySatCollect/{name}_metadata.json", name, item_type="SkySatCollect", satellite_id="SSC4",
             gsd=0.72, pixel_resolution=0.5, provider="skysat", instrument=None, cloud_cover=0,
             view_angle=-27.2)  # fmt: skip
    product = small(tmp_path, {"_udm2.tif": 8, "_panchromatic.tif": 1, "_visual.tif": 3, ".tif": 4})
    (scene,) = product.scenes
    assert (product.collection_name, product.title) == ("skysat", "Planet SkySatCollect")
    assert dict(scene.properties) == {
        "platform": "SSC4", "constellation": "skysat", "gsd": 0.72, "eo:cloud_cover": 0.0, "view:off_nadir": 27.2,
        "planet:item_type": "SkySatCollect",
    }  # fmt: skip
    assert part(scene, "_panchromatic.tif").roles == ("data", "panchromatic")
    assert part(scene, "_pansharpened.tif").roles == ("data", "multispectral")
    assert [band.center_wavelength for band in part(scene, "u0001_analytic.tif").bands] == [
        0.4825, 0.555, 0.65, 0.82
    ]  # fmt: skip
    assert part(scene, "_analytic_udm2.tif").categorical


def test_an_image_without_a_place_is_in_sensor_geometry(tmp_path: Path) -> None:
    name = "20200814_162132_ssc4d3_0021"
    write(tmp_path, f"{name}_basic_panchromatic_dn.tif", f"{name}_basic_panchromatic_dn_RPC.TXT")
    describe(tmp_path, f"{name}_metadata.json", name, item_type="SkySatScene", provider="skysat")
    product = small(tmp_path, {}, crs=None, located=False, rpc=True)
    (scene,) = product.scenes
    image = part(scene, "dn.tif")
    assert (image.sensor, image.gsd, image.title) == (True, 3.9, "Panchromatic image, digital numbers")
    assert part(scene, ".TXT").roles == ("metadata", "rpc")
    assert product.modality == "panchromatic"


def test_pictures_are_thumbnails_if_they_are_small(tmp_path: Path) -> None:
    write(tmp_path, f"{DOVE}_3B_AnalyticMS.tif", f"{DOVE}_thumb.png")
    describe(tmp_path, f"{DOVE}_metadata.json", DOVE)
    (small_one,) = small(tmp_path, {}).scenes
    (large_one,) = small(tmp_path, {}, rows=601).scenes
    assert part(small_one, "thumb.png").roles == ("thumbnail",)
    assert part(large_one, "thumb.png").roles == ("overview",)


def test_each_item_of_an_order_is_a_scene_and_has_the_manifest(tmp_path: Path) -> None:
    first, second = "20200101_000000_ssc1_0001", "20200101_000000_ssc1_00010"
    names = {f"{each}_analytic.tif": (each, "SkySatScene", "ortho_analytic") for each in (first, second)}
    write(tmp_path, *names, f"{first}_metadata.json", f"{second}_metadata.json", "notes.txt", "composite.tif")
    order(tmp_path, "manifest.json", names)
    product = small(tmp_path, {".tif": 4})
    assert [scene.name for scene in product.scenes] == [first, second]
    assert [[each.sources[0] for each in scene.parts] for scene in product.scenes] == [
        [f"{each}_analytic.tif", f"{each}_metadata.json", "manifest.json"] for each in (first, second)
    ]
    assert set(tree_of(tmp_path).files) - product.claimed == {"notes.txt", "composite.tif"}
    assert [scene.datetime for scene in product.scenes] == [None, None]


def test_an_order_that_was_taken_out_of_its_folders_is_found(tmp_path: Path) -> None:
    name = f"PSScene/{DOVE}_3B_AnalyticMS.tif"
    write(tmp_path, name)
    order(tmp_path, "manifest.json", {name: (DOVE, "PSScene", "ortho_analytic_4b")}, below="files/")
    (scene,) = small(tmp_path, {".tif": 4}).scenes
    assert part(scene, ".tif").sources == (name,)


def test_a_result_of_band_math_has_no_bands_of_the_sensor(tmp_path: Path) -> None:
    write(tmp_path, f"{DOVE}_3B_AnalyticMS_bandmath.tif")
    describe(tmp_path, f"{DOVE}_metadata.json", DOVE)
    (scene,) = small(tmp_path, {".tif": 4}).scenes
    image = part(scene, ".tif")
    assert (image.roles, image.bands, image.nodata) == (("data",), (), None)


@pytest.mark.parametrize(
    ("told", "cover"),
    [
        ({"cloud_cover": 0.02}, 2.0),
        ({"cloud_cover": 1}, 100.0),
        ({"cloud_cover": None, "cloud_percent": 7}, 7.0),
        ({"cloud_cover": 7, "cloud_percent": 7}, 7.0),
        ({"cloud_cover": -1}, None),
        ({"cloud_cover": "much"}, None),
    ],
)
def test_cloud_cover_is_a_fraction(tmp_path: Path, told: dict[str, Any], cover: float | None) -> None:
    write(tmp_path, f"{DOVE}.tif")
    describe(tmp_path, "metadata.json", DOVE, **told)
    assert small(tmp_path, {}).scenes[0].properties.get("eo:cloud_cover") == cover


@pytest.mark.parametrize(
    "geometry",
    [None, 7, {"type": "Point", "coordinates": [1.0, 2.0]}, {"type": "Polygon"},
     {"type": "Polygon", "coordinates": [[1]]},
     {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]},
     {"type": "Polygon", "coordinates": [[[0.0, 0.0], [0.0, 95.0], [9.0, 9.0], [0.0, 0.0]]]}],
)  # fmt: skip
def test_a_geometry_that_is_no_polygon_is_no_footprint(tmp_path: Path, geometry: Any) -> None:
    write(tmp_path, f"{DOVE}.tif")
    describe(tmp_path, "metadata.json", DOVE, geometry=geometry)
    assert small(tmp_path, {}).scenes[0].footprint is None


# -- what is refused, and what is left -------------------------------------------------------------


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    next(unpack(tmp_path).rglob("*_udm.tif")).unlink()
    with pytest.raises(DeliveryRefused, match=r"manifest\.json: it names .*_udm\.tif.* not in the delivery"):
        recognise(tree_of(tmp_path), unasked)


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    path = next(unpack(tmp_path).rglob("*_udm.tif"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DeliveryRefused, match=r"_udm\.tif: it has 65,907 bytes, by manifest\.json they are 65,908"):
        recognise(tree_of(tmp_path), unasked)


@pytest.mark.parametrize("digest", ["sha256", "md5"])
def test_a_file_of_other_bytes_is_refused(tmp_path: Path, digest: str) -> None:
    path = next(unpack(tmp_path).rglob("*_udm.tif"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    document = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    for each in document["files"]:
        each["digests"] = {digest: each["digests"][digest]}
    (tmp_path / "manifest.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(DeliveryRefused, match=rf"_udm\.tif: its bytes are not those .*\({digest}\)"):
        recognise(tree_of(tmp_path), unasked)


@pytest.mark.parametrize("path", ["../a.tif", "/etc/passwd", "a/../../b.tif", "..\\a.tif"])
def test_a_file_outside_is_refused(tmp_path: Path, path: str) -> None:
    entries = [{"path": path, "annotations": {"planet/item_id": DOVE, "planet/item_type": "PSScene"}}]
    write(tmp_path, "a.tif")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": entries}), "utf-8")
    with pytest.raises(DeliveryRefused, match=r"manifest\.json: it names .* outside the delivery"):
        recognise(tree_of(tmp_path), unasked)


@pytest.mark.parametrize(
    "document",
    [
        "no JSON", "[" * 100_000, "[]", '{"files": 7}', '{"files": [7, {"annotations": 7}]}',
        '{"files": [{"path": "gone.tif", "annotations": {"other/item_id": "a"}}]}', '{"name": "an app", "icons": []}',
    ],
)  # fmt: skip
def test_manifests_of_other_things_are_left_to_others(tmp_path: Path, document: str) -> None:
    (tmp_path / "manifest.json").write_text(document, "utf-8")
    (tmp_path / "a_metadata.json").write_text(document, "utf-8")
    write(tmp_path, "a.tif")
    assert recognise(tree_of(tmp_path), unasked) is None


def test_metadata_of_others_and_without_images_are_left_to_others(tmp_path: Path) -> None:
    describe(tmp_path, "a_metadata.json", "a", item_type="Sentinel2L1C")
    describe(tmp_path, "b_metadata.json", "b")
    write(tmp_path, "a.tif", "bb.tif")
    assert recognise(tree_of(tmp_path), unasked) is None
