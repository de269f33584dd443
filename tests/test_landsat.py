"""Landsat Collection 2 scenes of all missions: what is recognised, what each file becomes, and what is refused."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swath.delivery.landsat import recognise
from swath.delivery.landsat_mtl import read_mtl
from swath.delivery.model import Part, Product, Scene, Tree
from swath.errors import DeliveryRefused
from tests.deliveries_expected import DELIVERIES, check_product, check_scene, entry

L2SP = "LC08_L2SP_008059_20191201_20200825_02_T1"
L2SR = "LC08_L2SR_099120_20191129_20201016_02_T2"


def tree_of(root: Path) -> Tree:
    return Tree(root, tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())))


def polar(name: str) -> Mapping[str, Any]:
    assert name.endswith(".TIF")
    return {"crs": "EPSG:3031"}


def unasked(name: str) -> Mapping[str, Any]:
    raise AssertionError(f"{name} was looked into")


def recognised(root: Path) -> Product:
    product = recognise(tree_of(root), unasked)
    assert product is not None
    return product


def part(scene: Scene, key: str) -> Part:
    return next(each for each in scene.parts if each.key == key)


def unpack(name: str, folder: Path) -> Path:
    with tarfile.open(DELIVERIES / "landsat-c2-l2" / f"{name}.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


MTL = """GROUP = LANDSAT_METADATA_FILE
  GROUP = PRODUCT_CONTENTS
    LANDSAT_PRODUCT_ID = "{id}"
    PROCESSING_LEVEL = "{level}"
    COLLECTION_NUMBER = {collection}
    COLLECTION_CATEGORY = "T2"
{files}
  END_GROUP = PRODUCT_CONTENTS
  GROUP = IMAGE_ATTRIBUTES
    SPACECRAFT_ID = "{spacecraft}"
    SENSOR_ID = "{sensor}"
    WRS_TYPE = 1
    WRS_PATH = 1
    WRS_ROW = 042
    DATE_ACQUIRED = 1978-05-10
    SCENE_CENTER_TIME = {time}
    CLOUD_COVER = -1
    CLOUD_COVER_LAND = -1
    SUN_AZIMUTH = -150.00380628
    SUN_ELEVATION = 26.41213243
{more}
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = PROJECTION_ATTRIBUTES
    MAP_PROJECTION = "UTM"
    UTM_ZONE = 60
    GRID_CELL_SIZE_REFLECTIVE = {cell}
    CORNER_UL_LAT_PRODUCT = 10.0
    CORNER_UL_LON_PRODUCT = 179.0
    CORNER_UR_LAT_PRODUCT = 10.0
    CORNER_UR_LON_PRODUCT = -179.0
    CORNER_LL_LAT_PRODUCT = 8.0
    CORNER_LL_LON_PRODUCT = 179.0
    CORNER_LR_LAT_PRODUCT = 8.0
    CORNER_LR_LON_PRODUCT = -179.0
  END_GROUP = PROJECTION_ATTRIBUTES
  GROUP = LEVEL1_PROCESSING_RECORD
    LANDSAT_SCENE_ID = "LM30010011978130XXX00"
  END_GROUP = LEVEL1_PROCESSING_RECORD
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    RADIANCE_MULT_BAND_4 = 1.0827E+00
    RADIANCE_ADD_BAND_4 = -6.48268
    RADIANCE_MULT_BAND_6_VCID_1 = 6.7087E-02
    RADIANCE_ADD_BAND_6_VCID_1 = -0.06709
    REFLECTANCE_MULT_BAND_5 = 1.5416E-03
    REFLECTANCE_ADD_BAND_5 = 0.002070
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""


def scene_of(
    folder: Path,
    product_id: str,
    bands: Iterable[str],
    *,
    spacecraft: str,
    sensor: str,
    cell: str = "30.00",
    time: str = '"13:28:09.0030000Z"',
    more: str = "",
    collection: str = "02",
) -> Path:
    """A folder with the metadata of a scene as text, and empty files for its bands (`B4`, `QA_PIXEL`)."""
    folder.mkdir(parents=True, exist_ok=True)
    level = product_id.split("_")[1]
    listed = "\n".join(f'FILE_NAME_BAND_{band} = "{product_id}_{band}.TIF"' for band in bands)
    filled = MTL.format(
        id=product_id, level=level, files=listed, spacecraft=spacecraft, sensor=sensor, cell=cell, time=time, more=more,
        collection=collection,
    )  # fmt: skip
    (folder / f"{product_id}_MTL.txt").write_text(filled, "utf-8")
    for band in bands:
        (folder / f"{product_id}_{band}.TIF").touch()
    return folder


MSS3 = "LM03_L1GS_001042_19780510_20200907_02_T2"
ETM = "LE07_L1TP_001042_20030510_20200907_02_T1"


@pytest.mark.parametrize(("name", "look"), [(L2SP, unasked), (L2SR, polar)])
def test_a_product_of_level_2_becomes_what_is_expected(tmp_path: Path, name: str, look: Any) -> None:
    tree = tree_of(unpack(name, tmp_path))
    product = recognise(tree, look)
    assert product is not None
    check_product(product, entry(f"landsat-c2-l2/{name}.tar"), tree.files)
    assert product.claimed == frozenset(tree.files)
    assert (product.kind, product.collection_name) == ("landsat-c2-l2", "landsat-c2-l2")
    assert (product.producer, product.modality, product.license) == ("USGS", "multispectral", "PDDL-1.0")


@pytest.mark.parametrize("kept", [".json", ".xml", ".txt"])
def test_each_form_of_the_metadata_says_the_same(tmp_path: Path, kept: str) -> None:
    (whole,) = recognised(unpack(L2SP, tmp_path)).scenes
    for form in {".json", ".xml", ".txt"} - {kept}:
        (tmp_path / f"{L2SP}_MTL{form}").unlink()
    (scene,) = recognised(tmp_path).scenes
    assert (scene.datetime, scene.properties, scene.footprint) == (whole.datetime, whole.properties, whole.footprint)
    assert [each for each in scene.parts if not each.key.startswith("mtl")] == [
        each for each in whole.parts if not each.key.startswith("mtl")
    ]
    assert part(scene, f"mtl_{kept[1:]}").roles == ("metadata",)


def test_json_is_believed_before_xml_and_xml_before_text(tmp_path: Path) -> None:
    unpack(L2SP, tmp_path)
    for form, cover in ((".txt", "3"), (".xml", "2"), (".json", "1")):
        path = tmp_path / f"{L2SP}_MTL{form}"
        path.write_text(path.read_text("utf-8").replace("81.02", cover), "utf-8")
    assert recognised(tmp_path).scenes[0].properties["eo:cloud_cover"] == 1.0
    (tmp_path / f"{L2SP}_MTL.json").unlink()
    assert recognised(tmp_path).scenes[0].properties["eo:cloud_cover"] == 2.0


def test_fields_of_the_landsat_extension(tmp_path: Path) -> None:
    (scene,) = recognised(unpack(L2SP, tmp_path)).scenes
    told = {key: value for key, value in scene.properties.items() if key.startswith("landsat:")}
    assert told == {
        "landsat:scene_id": "LC80080592019335LGN00",
        "landsat:wrs_type": "2",
        "landsat:wrs_path": "008",
        "landsat:wrs_row": "059",
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L2SP",
        "landsat:cloud_cover_land": 81.02,
        "landsat:product_generated": "2020-08-25T00:59:51Z",
    }
    assert scene.properties["instruments"] == ["oli", "tirs"]


def test_scales_are_those_of_the_metadata(tmp_path: Path) -> None:
    (scene,) = recognised(unpack(L2SP, tmp_path)).scenes
    assert part(scene, "sr_b4").properties == {"raster:scale": 2.75e-05, "raster:offset": -0.2}
    assert part(scene, "st_b10").properties == {"raster:scale": 0.00341802, "raster:offset": 149.0, "unit": "K"}
    assert part(scene, "qa_pixel").properties == {}


def test_a_scene_of_the_mss_has_its_own_bands_and_pixels(tmp_path: Path) -> None:
    bands = ("B4", "B5", "B6", "B7", "QA_PIXEL")
    scene_of(tmp_path, MSS3, bands, spacecraft="LANDSAT_3", sensor="MSS", cell="60.00")
    product = recognised(tmp_path)
    (scene,) = product.scenes
    assert (product.kind, scene.name, scene.datetime) == ("landsat-c2-l1", MSS3, "1978-05-10T13:28:09.003Z")
    wanted = {
        "platform": "landsat-3",
        "instruments": ["mss"],
        "gsd": 60,
        "proj:code": "EPSG:32660",
        "view:sun_azimuth": 209.99619372,
        "landsat:wrs_path": "001",
        "landsat:wrs_row": "042",
        "landsat:cloud_cover_land": -1.0,
    }
    assert {key: scene.properties[key] for key in wanted} == wanted
    assert "eo:cloud_cover" not in scene.properties
    assert "view:off_nadir" not in scene.properties
    names = [part(scene, key).bands[0].common_name for key in ("b4", "b5", "b6", "b7")]
    assert names == ["green", "red", "nir08", "nir09"]
    assert part(scene, "qa_pixel").roles == ("data-mask", "cloud")
    assert part(scene, "b5").properties == {"raster:scale": 0.0015416, "raster:offset": 0.00207}
    assert part(scene, "b4").properties == {
        "raster:scale": 1.0827, "raster:offset": -6.48268, "unit": "W/(m2.sr.um)"
    }  # fmt: skip


def test_the_mss_of_landsat_5_counts_its_bands_from_1(tmp_path: Path) -> None:
    scene_of(tmp_path, MSS3.replace("LM03", "LM05"), ("B1", "B4"), spacecraft="LANDSAT_5", sensor="MSS")
    (scene,) = recognised(tmp_path).scenes
    assert [part(scene, key).bands[0].common_name for key in ("b1", "b4")] == ["green", "nir09"]


def test_a_scene_of_level_1_has_a_panchromatic_and_thermal_bands(tmp_path: Path) -> None:
    bands = ("B1", "B4", "B6_VCID_1", "B6_VCID_2", "B8", "VAA", "SZA", "QA_RADSAT")
    scene_of(tmp_path, ETM, bands, spacecraft="LANDSAT_7", sensor="ETM")
    (scene,) = recognised(tmp_path).scenes
    told = {each.key: (each.roles, each.gsd) for each in scene.parts}
    assert told == {
        "b1": (("data", "multispectral"), 30.0),
        "b4": (("data", "multispectral"), 30.0),
        "b6_vcid_1": (("data", "temperature"), 60.0),
        "b6_vcid_2": (("data", "temperature"), 60.0),
        "b8": (("data", "panchromatic"), 15.0),
        "vaa": (("data", "angle"), 30.0),
        "sza": (("data", "angle"), 30.0),
        "qa_radsat": (("data-mask", "saturation"), 30.0),
        "mtl_txt": (("metadata",), None),
    }
    assert part(scene, "b6_vcid_1").properties["raster:scale"] == 0.067087
    assert part(scene, "b1").bands[0].common_name == "blue"
    assert part(scene, "b8").bands[0].center_wavelength == 0.71
    assert part(scene, "vaa").properties == {"raster:scale": 0.01, "raster:offset": 0.0, "unit": "deg"}


def test_a_scene_of_level_2_of_the_thematic_mapper(tmp_path: Path) -> None:
    bands = ("SR_B1", "SR_B4", "ST_B6", "SR_CLOUD_QA", "SR_ATMOS_OPACITY")
    name = "LT05_L2SP_010020_19860219_20200918_02_T1"
    scene_of(tmp_path, name, bands, spacecraft="LANDSAT_5", sensor="TM")
    (scene,) = recognised(tmp_path).scenes
    assert part(scene, "sr_b4").bands[0].common_name == "nir08"
    assert (part(scene, "st_b6").roles, part(scene, "st_b6").gsd) == (("data", "temperature"), 120.0)
    flags = part(scene, "sr_cloud_qa")
    assert (flags.categorical, "cloud-shadow" in flags.roles) == (True, True)
    assert part(scene, "sr_atmos_opacity").roles == ("data",)


@pytest.mark.parametrize(
    ("sensor", "instruments"), [("OLI", ["oli"]), ("TIRS", ["tirs"]), ("OLI_TIRS", ["oli", "tirs"])]
)
def test_landsat_9_with_one_or_both_of_its_instruments(tmp_path: Path, sensor: str, instruments: list[str]) -> None:
    name = "LC09_L1GT_010065_20220129_20220131_02_T2"
    scene_of(tmp_path, name, ("B9", "B11"), spacecraft="LANDSAT_9", sensor=sensor)
    (scene,) = recognised(tmp_path).scenes
    assert (scene.properties["platform"], scene.properties["instruments"]) == ("landsat-9", instruments)
    assert [part(scene, key).bands[0].common_name for key in ("b9", "b11")] == ["cirrus", "lwir12"]
    assert part(scene, "b11").gsd == 100.0


def test_the_footprint_goes_on_over_the_antimeridian(tmp_path: Path) -> None:
    (scene,) = recognised(scene_of(tmp_path, ETM, ("B1",), spacecraft="LANDSAT_7", sensor="ETM")).scenes
    assert scene.footprint == {
        "type": "Polygon",
        "coordinates": [[[179.0, 10.0], [179.0, 8.0], [181.0, 8.0], [181.0, 10.0], [179.0, 10.0]]],
    }


def test_without_a_time_the_scene_is_of_the_day(tmp_path: Path) -> None:
    (scene,) = recognised(scene_of(tmp_path, ETM, ("B1",), spacecraft="LANDSAT_7", sensor="ETM", time='""')).scenes
    assert scene.datetime is None
    assert (scene.start_datetime, scene.end_datetime) == ("1978-05-10T00:00:00Z", "1978-05-10T23:59:59.999999Z")


def test_a_satellite_turned_aside_is_off_nadir_by_its_roll(tmp_path: Path) -> None:
    more = 'NADIR_OFFNADIR = "OFFNADIR"\nROLL_ANGLE = -14.25'
    (scene,) = recognised(scene_of(tmp_path, ETM, ("B1",), spacecraft="LANDSAT_8", sensor="OLI", more=more)).scenes
    assert scene.properties["view:off_nadir"] == 14.25


def test_several_scenes_in_one_folder_and_below_it_are_one_each(tmp_path: Path) -> None:
    scene_of(tmp_path, ETM, ("B1",), spacecraft="LANDSAT_7", sensor="ETM")
    scene_of(tmp_path, MSS3, ("B4",), spacecraft="LANDSAT_3", sensor="MSS")
    scene_of(tmp_path / "a" / "b", ETM, ("B1", "B2"), spacecraft="LANDSAT_7", sensor="ETM")
    scene_of(tmp_path / "c", ETM.replace("L1TP", "L2SR"), ("SR_B1",), spacecraft="LANDSAT_7", sensor="ETM")
    (tmp_path / f"{ETM}_GCP.txt").write_text("points", "utf-8")
    (tmp_path / "README.md").touch()
    product = recognised(tmp_path)
    assert [(scene.name, len(scene.parts)) for scene in product.scenes] == [
        (ETM, 3), (MSS3, 2), (ETM, 3), (ETM.replace("L1TP", "L2SR"), 2)
    ]  # fmt: skip
    assert product.kind == "landsat-c2"
    assert product.claimed == frozenset(tree_of(tmp_path).files) - {"README.md"}


def test_a_listed_file_that_is_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    unpack(L2SP, tmp_path / "scene")
    (tmp_path / "scene" / f"{L2SP}_SR_B5.TIF").unlink()
    with pytest.raises(
        DeliveryRefused, match=rf"scene/{L2SP}_SR_B5\.TIF: listed in scene/{L2SP}_MTL\.json, but not in"
    ):
        recognise(tree_of(tmp_path), unasked)


@pytest.mark.parametrize("value", ["../B1.TIF", "/etc/passwd", "a\\\\b.TIF"])
def test_a_listed_file_in_another_folder_is_refused(tmp_path: Path, value: str) -> None:
    path = scene_of(tmp_path, ETM, ("B1",), spacecraft="LANDSAT_7", sensor="ETM") / f"{ETM}_MTL.txt"
    path.write_text(path.read_text("utf-8").replace(f"{ETM}_B1.TIF", value), "utf-8")
    with pytest.raises(DeliveryRefused, match="FILE_NAME_BAND_B1 is no plain file name"):
        recognise(tree_of(tmp_path), unasked)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a_MTL.json", '{"LANDSAT_METADATA_FILE": {', "no well-formed JSON"),
        ("a_MTL.json", '{"LANDSAT_METADATA_FILE": ' + "[" * 100_000, "no well-formed JSON"),
        ("a_MTL.xml", "<LANDSAT_METADATA_FILE><PRODUCT_CONTENTS>", "no well-formed XML"),
        ("a_MTL.txt", "GROUP = LANDSAT_METADATA_FILE\nwhat is this", "not of the form NAME = VALUE"),
        ("a_MTL.txt", "GROUP = LANDSAT_METADATA_FILE\nA = 1", "has no end"),
        ("a_MTL.txt", "GROUP = LANDSAT_METADATA_FILE\nEND_GROUP = OTHER", "ends no group"),
        (
            "a_MTL.json",
            '{"LANDSAT_METADATA_FILE": {"PRODUCT_CONTENTS": {"COLLECTION_NUMBER": "02", "PROCESSING_LEVEL": "L1TP"}}}',
            "no LANDSAT_PRODUCT_ID",
        ),
    ],
)
def test_metadata_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(DeliveryRefused, match=f"{name}: .*{words}"):
        recognise(tree_of(tmp_path), unasked)


def test_text_values_may_go_on_over_lines_and_hold_comments_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(
        '/* by hand */\nGROUP = LANDSAT_METADATA_FILE\nGROUP = A\n  NOTE = "two\n    lines"\n  LIST = (1,\n 2)\n'
        "  PLAIN = -1.5E-2\nEND_GROUP = A\nEND_GROUP = LANDSAT_METADATA_FILE\nEND\nnot read any more",
        "utf-8",
    )
    mtl = read_mtl(path, "x.txt")
    assert mtl is not None
    assert mtl.groups["A"] == {"NOTE": "two lines", "LIST": "(1, 2)", "PLAIN": "-1.5E-2"}
    assert mtl.number("PLAIN", "B", "A") == -0.015


def test_other_deliveries_are_left_to_others(tmp_path: Path) -> None:
    scene_of(tmp_path, ETM, ("B1",), spacecraft="LANDSAT_7", sensor="ETM", collection="03")
    (tmp_path / "LC08_L1TP_008059_20170101_20170218_01_T1_MTL.txt").write_text("GROUP = L1_METADATA_FILE", "utf-8")
    (tmp_path / "a.json").write_text("{", "utf-8")
    (tmp_path / "b.xml").write_text("<", "utf-8")
    assert recognise(tree_of(tmp_path), unasked) is None


@pytest.mark.parametrize(
    ("key", "changes", "words"),
    [
        ("sr_b4", {"roles": ("data",)}, "not \\['data', 'multispectral'\\]"),
        ("sr_b4", {"bands": ()}, "sr_b4 of"),
        ("sr_b4", {"key": "fourth"}, "is in the key"),
        ("sr_b4", {"action": "keep"}, "application/octet-stream"),
        ("sr_b4", {"nodata": 7.0}, "nodata 7.0"),
        ("sr_b4", {"sources": ("other.TIF",)}, "no part is made of"),
        ("sr_b4", {"key": "sr_b5"}, "keys twice"),
        ("qa_pixel", {"categorical": False}, "categorical"),
        ("st_atran", {"roles": ("data", "multispectral")}, "multispectral"),
    ],
)
def test_the_comparison_with_what_is_expected_notices_a_wrong_part(
    tmp_path: Path, key: str, changes: dict[str, Any], words: str
) -> None:
    (scene,) = recognised(unpack(L2SP, tmp_path)).scenes
    parts = tuple(replace(each, **changes) if each.key == key else each for each in scene.parts)
    (item,) = entry(f"landsat-c2-l2/{L2SP}.tar")["items"]
    with pytest.raises(AssertionError, match=words):
        check_scene(replace(scene, parts=parts), item)


@pytest.mark.parametrize(
    "changes",
    [
        {"datetime": "2019-12-01T15:13:52Z"},
        {"name": "other"},
        {"footprint": {"type": "Polygon", "coordinates": [[[-76.0, 0.4], [-74.0, 0.4], [-74.0, 2.4], [-76.0, 0.4]]]}},
        {"properties": {"platform": "landsat-9"}},
    ],
)
def test_the_comparison_with_what_is_expected_notices_a_wrong_fact(tmp_path: Path, changes: dict[str, Any]) -> None:
    (scene,) = recognised(unpack(L2SP, tmp_path)).scenes
    if "properties" in changes:
        changes = {"properties": {**scene.properties, **changes["properties"]}}
    (item,) = entry(f"landsat-c2-l2/{L2SP}.tar")["items"]
    check_scene(scene, item)
    with pytest.raises(AssertionError):
        check_scene(replace(scene, **changes), item)
