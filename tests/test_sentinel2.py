"""Sentinel-2 SAFE folders: what is recognised, what each file becomes, and what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from swath.delivery.model import Part, Product, Scene, Tree
from swath.delivery.sentinel2 import recognise
from swath.delivery.sentinel2_bands import radiometry_of, spectral_band
from swath.errors import DeliveryRefused
from tests.deliveries_expected import DELIVERIES, check_product, entry

BASELINE_02 = "S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.zip"
BASELINE_03 = "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248.zip"
BASELINE_05 = "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157.SAFE.zip"
DELIVERED = (BASELINE_02, BASELINE_03, BASELINE_05)


def tree_of(root: Path) -> Tree:
    return Tree(root, tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())))


def unasked(name: str) -> Mapping[str, Any]:
    raise AssertionError(f"{name} was looked into")


def recognised(root: Path) -> Product:
    product = recognise(tree_of(root), unasked)
    assert product is not None
    return product


def part(scene: Scene, key: str) -> Part:
    return next(each for each in scene.parts if each.key == key)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("safe") / "deep"
    for name in DELIVERED:
        with zipfile.ZipFile(DELIVERIES / "sentinel2-safe" / name) as archive:
            archive.extractall(root / name)
    return root


PRODUCT = """<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/x.xsd"><n1:General_Info>
<Product_Info><PRODUCT_START_TIME>2024-03-01T10:10:31.024Z</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>2024-03-01T10:10:31.024Z</PRODUCT_STOP_TIME>
<PRODUCT_URI>S2C_MSIL{level}_20240301T101031_N0510_R022_T32TQM_20240301T120000.SAFE</PRODUCT_URI>
<PROCESSING_BASELINE>05.10</PROCESSING_BASELINE><Datatake><SPACECRAFT_NAME>Sentinel-2C</SPACECRAFT_NAME></Datatake>
<Granule_List><Granule>{images}</Granule></Granule_List></Product_Info>
<Product_Image_Characteristics>{pixels}</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><EXT_POS_LIST>{ring}</EXT_POS_LIST></n1:Geometric_Info></n1:Level-{level}_User_Product>"""
RING = "46.0 11.0 46.0 12.4 45.0 12.4 45.0 11.0 46.0 11.0"
MANIFEST = (
    '<XFDU><dataObject><byteStream><fileLocation locatorType="URL" href="{href}"/></byteStream></dataObject></XFDU>'
)


def write(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def small_safe(
    folder: Path,
    images: tuple[str, ...],
    level: str = "1C",
    pixels: str = "",
    ring: str = RING,
    tag: str = "IMAGE_FILE",
) -> None:
    """A SAFE folder with empty images and little metadata."""
    listed = "".join(f"<{tag}>{image}</{tag}>" for image in images)
    write(folder / "manifest.safe", MANIFEST.format(href=f"./MTD_MSIL{level}.xml"))
    write(folder / f"MTD_MSIL{level}.xml", PRODUCT.format(level=level, images=listed, pixels=pixels, ring=ring))
    for image in images:
        if "/" in image:
            write(folder / f"{image}.jp2")


ONE = "GRANULE/L1C_T32TQM_A000001_20240301T101031/IMG_DATA/T32TQM_20240301T101031_B02"


@pytest.mark.parametrize("name", DELIVERED)
def test_a_product_of_each_baseline_becomes_what_is_expected(unpacked: Path, name: str) -> None:
    tree = tree_of(unpacked / name)
    product = recognise(tree, unasked)
    assert product is not None
    check_product(product, entry(name), tree.files)
    assert product.claimed == frozenset(tree.files)
    assert (product.producer, product.modality, product.license) == ("ESA", "multispectral", "other")


def test_levels_are_kinds_of_their_own(unpacked: Path) -> None:
    assert recognised(unpacked / BASELINE_03).kind == "sentinel-2-l1c"
    assert recognised(unpacked / BASELINE_05).collection_name == "sentinel-2-l2a"
    assert recognised(unpacked).kind == "sentinel-2"


def test_several_folders_at_any_depth_are_a_scene_each(unpacked: Path) -> None:
    product = recognised(unpacked.parent)
    assert [scene.name for scene in product.scenes] == [
        "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248",
        "S2A_MSIL2A_20230625T234621_N0509_R073_T01WCS_20230626T022157",
        "S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500",
    ]
    assert all(len({part.key for part in scene.parts}) == len(scene.parts) for scene in product.scenes)


def test_facts_of_a_tile_and_its_product(unpacked: Path) -> None:
    (scene,) = recognised(unpacked / BASELINE_05).scenes
    assert scene.datetime == "2023-06-25T23:47:14.463757Z"
    assert (scene.start_datetime, scene.end_datetime) == ("2023-06-25T23:46:21.024Z", "2023-06-25T23:47:14.463757Z")
    wanted = {
        "mgrs:utm_zone": 1,
        "mgrs:latitude_band": "W",
        "mgrs:grid_square": "CS",
        "s2:sequence": "0",
        "s2:product_type": "S2MSI2A",
        "s2:datatake_id": "GS2A_20230625T234621_041826_N05.09",
        "s2:tile_id": "S2A_OPER_MSI_L2A_TL_2APS_20230626T022157_A041826_T01WCS_N05.09",
        "s2:snow_ice_percentage": 5.747677,
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 73,
        "earthsearch:boa_offset_applied": False,
    }
    assert {key: scene.properties[key] for key in wanted} == wanted


def test_the_footprint_goes_on_over_the_antimeridian(unpacked: Path) -> None:
    (scene,) = recognised(unpacked / BASELINE_05).scenes
    assert scene.footprint is not None
    longitudes = [longitude for longitude, _ in scene.footprint["coordinates"][0]]
    assert 179.0 < min(longitudes) < 179.1
    assert 180.8 < max(longitudes) < 180.81


def test_steps_of_longitude_over_180_degrees_go_the_short_way_round(tmp_path: Path) -> None:
    small_safe(tmp_path, (ONE,), ring="10 179.5 10 -179.5 9 -179.5 9 179.5 10 179.5")
    (scene,) = recognised(tmp_path).scenes
    assert scene.footprint == {
        "type": "Polygon",
        "coordinates": [[[179.5, 9.0], [180.5, 9.0], [180.5, 10.0], [179.5, 10.0], [179.5, 9.0]]],
    }


def test_heights_in_the_list_of_corners_are_passed_over(tmp_path: Path) -> None:
    small_safe(tmp_path, (ONE,), ring="46 11 5 46 12 6 45 12 7 46 11 5")
    (scene,) = recognised(tmp_path).scenes
    assert scene.footprint == {
        "type": "Polygon",
        "coordinates": [[[12.0, 45.0], [12.0, 46.0], [11.0, 46.0], [12.0, 45.0]]],
    }


def test_masks_in_gml_have_the_crs_of_the_tile_and_may_be_empty(unpacked: Path) -> None:
    (scene,) = recognised(unpacked / BASELINE_02).scenes
    mask = part(scene, "msk_clouds_b00")
    assert (mask.action, mask.crs, mask.optional, mask.roles) == ("vector", "EPSG:32722", True, ("data-mask", "cloud"))
    assert part(scene, "msk_satura_b8a").roles == ("data-mask", "saturation")


def test_masks_in_jp2_are_rasters_of_classes_but_for_probabilities(unpacked: Path) -> None:
    (scene,) = recognised(unpacked / BASELINE_05).scenes
    told = {key: part(scene, key) for key in ("msk_classi_b00", "msk_qualit_b02", "msk_detfoo_b01", "msk_cldprb_20m")}
    assert [each.categorical for each in told.values()] == [True, True, True, False]
    assert [len(each.bands) for each in told.values()] == [3, 8, 1, 1]
    assert [each.gsd for each in told.values()] == [60.0, 10.0, 60.0, 20.0]


def test_the_finest_image_of_a_band_has_the_plain_key(unpacked: Path) -> None:
    (scene,) = recognised(unpacked / BASELINE_05).scenes
    assert part(scene, "b01").gsd == 20.0
    assert part(scene, "b01_60m").gsd == 60.0
    assert part(scene, "b09").gsd == 60.0
    (scene,) = recognised(unpacked / BASELINE_02).scenes
    assert part(scene, "b01").gsd == 60.0


def test_scale_and_offset_are_those_of_the_metadata(unpacked: Path) -> None:
    (scene,) = recognised(unpacked / BASELINE_05).scenes
    assert part(scene, "b04").properties == {"raster:scale": 0.0001, "raster:offset": -0.1}
    assert part(scene, "wvp").properties == {"raster:scale": 0.001, "raster:offset": 0.0, "unit": "cm"}
    (scene,) = recognised(unpacked / BASELINE_02).scenes
    assert part(scene, "b04").properties == {"raster:scale": 0.0001, "raster:offset": 0.0}


def test_offsets_of_level_1c_are_by_band_and_no_data_is_what_the_product_says(tmp_path: Path) -> None:
    pixels = (
        "<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>7</SPECIAL_VALUE_INDEX>"
        "</Special_Values><QUANTIFICATION_VALUE unit='none'>1000</QUANTIFICATION_VALUE>"
        "<Radiometric_Offset_List><RADIO_ADD_OFFSET band_id='1'>-1000</RADIO_ADD_OFFSET>"
        "<RADIO_ADD_OFFSET band_id='8'>-500</RADIO_ADD_OFFSET></Radiometric_Offset_List>"
    )
    small_safe(tmp_path, (ONE, ONE.replace("B02", "B8A"), ONE.replace("B02", "B03")), pixels=pixels)
    (scene,) = recognised(tmp_path).scenes
    assert [(each.key, each.properties["raster:offset"], each.nodata) for each in scene.parts if each.bands] == [
        ("b02", -1.0, 7.0),
        ("b03", 0.0, 7.0),
        ("b8a", -0.5, 7.0),
    ]


def test_a_product_without_special_values_says_nothing_of_no_data(tmp_path: Path) -> None:
    small_safe(tmp_path, (ONE,))
    (scene,) = recognised(tmp_path).scenes
    band = part(scene, "b02")
    assert (band.nodata, band.gsd, band.properties) == (None, 10.0, {})
    assert (band.bands[0].center_wavelength, band.bands[0].full_width_half_max) == (0.4927, 0.065)


def test_the_width_of_a_band_is_that_of_its_response_at_half_maximum() -> None:
    spectrum = (
        "<p><Spectral_Information bandId='0' physicalBand='B1'>"
        "<Wavelength><CENTRAL unit='nm'>440</CENTRAL></Wavelength>"
        "<Spectral_Response><STEP unit='nm'>2</STEP><VALUES>0 0.25 0.75 1 0.5 0.25</VALUES></Spectral_Response>"
        "</Spectral_Information></p>"
    )
    band = spectral_band("B01", radiometry_of(fromstring(spectrum)), None)
    # Half is passed midway between the second and third value, and met at the fifth: 2.5 steps of 2 nm.
    assert (band.name, band.center_wavelength, band.full_width_half_max, band.gsd) == ("B01", 0.44, 0.005, 60.0)


def test_a_folder_of_another_name_is_the_same_product(tmp_path: Path) -> None:
    small_safe(tmp_path / "my holiday" / "tile", (ONE,))
    write(tmp_path / "my holiday" / "tile" / "field.tif")
    write(tmp_path / "my holiday" / "notes.txt")
    product = recognised(tmp_path)
    assert [scene.name for scene in product.scenes] == ["S2C_MSIL1C_20240301T101031_N0510_R022_T32TQM_20240301T120000"]
    assert product.scenes[0].properties["platform"] == "sentinel-2c"
    assert product.claimed == {f"my holiday/tile/{name}" for name in ("manifest.safe", "MTD_MSIL1C.xml", f"{ONE}.jp2")}


def test_a_product_without_a_top_folder_is_the_same(unpacked: Path) -> None:
    (folder,) = (unpacked / BASELINE_03).iterdir()
    product = recognised(folder)
    assert product.scenes[0].name == "S2A_MSIL1C_20210908T042701_N0301_R133_T46RER_20210908T070248"
    assert product.claimed == frozenset(tree_of(folder).files)


def test_each_granule_of_a_product_is_a_scene(tmp_path: Path) -> None:
    other = ONE.replace("T32TQM", "T32TPM")
    small_safe(tmp_path / "x.SAFE", (ONE, other))
    write(tmp_path / "x.SAFE" / "INSPIRE.xml", "<x/>")
    first, second = recognised(tmp_path).scenes
    assert (first.properties["grid:code"], second.properties["grid:code"]) == ("MGRS-32TPM", "MGRS-32TQM")
    assert first.name == "S2C_MSIL1C_20240301T101031_N0510_R022_T32TQM_20240301T120000_T32TPM"
    for scene in (first, second):
        assert {each.key for each in scene.parts} == {"b02", "safe_manifest", "product_metadata", "inspire_metadata"}


def test_images_named_without_their_folder_are_found(tmp_path: Path) -> None:
    name = "S2A_OPER_MSI_L1C_TL_EPA__20151231T235959_A000734_T32TQM_B8A"
    small_safe(tmp_path, (name,), tag="IMAGE_ID")
    with pytest.raises(DeliveryRefused, match=f"{name}: named by mtd_msil1c.xml, but not in the delivery"):
        recognise(tree_of(tmp_path), unasked)
    write(tmp_path / "GRANULE" / name[:-4] / "IMG_DATA" / f"{name}.jp2")
    (scene,) = recognised(tmp_path).scenes
    assert part(scene, "b8a").bands[0].common_name == "nir08"


def test_a_missing_image_is_refused_by_its_name(tmp_path: Path) -> None:
    small_safe(tmp_path / "x.SAFE", (ONE, ONE.replace("B02", "B03")))
    (tmp_path / "x.SAFE" / f"{ONE}.jp2").unlink()
    with pytest.raises(
        DeliveryRefused, match=r"x\.SAFE/GRANULE/.*_B02: named by mtd_msil1c\.xml, but not in the deliv"
    ):
        recognise(tree_of(tmp_path), unasked)


def test_metadata_that_name_no_images_are_refused(tmp_path: Path) -> None:
    small_safe(tmp_path, ())
    with pytest.raises(DeliveryRefused, match="name no images"):
        recognise(tree_of(tmp_path), unasked)


@pytest.mark.parametrize(
    "href",
    [
        "../../../outside/canary.txt", "/etc/passwd", "file:///etc/passwd", "https://example.com/a.jp2", "C:\\a.jp2",
        "./GRANULE/%2e%2e/../x", "..\\x", "GRANULE/%2E%2E/%2E%2E/x",
    ],
)  # fmt: skip
def test_a_manifest_that_names_a_file_outside_is_refused(tmp_path: Path, href: str) -> None:
    small_safe(tmp_path / "x.SAFE", (ONE,))
    write(tmp_path / "x.SAFE" / "manifest.safe", MANIFEST.format(href=href))
    with pytest.raises(DeliveryRefused, match=r"x\.SAFE/manifest\.safe: names a file outside"):
        recognise(tree_of(tmp_path), unasked)


def test_an_image_outside_is_refused(tmp_path: Path) -> None:
    small_safe(tmp_path / "in", ("../out/T32TQM_B02",))
    with pytest.raises(DeliveryRefused, match=r"MTD_MSIL1C\.xml: names a file outside"):
        recognise(tree_of(tmp_path), unasked)


def test_a_safe_folder_without_manifest_and_metadata_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "S2A_X.SAFE" / f"{ONE}.jp2")
    with pytest.raises(DeliveryRefused, match=r"a/S2A_X\.SAFE: a SAFE folder without manifest\.safe"):
        recognise(tree_of(tmp_path), unasked)


def test_a_manifest_of_sentinel_2_without_its_metadata_is_refused(tmp_path: Path) -> None:
    small_safe(tmp_path, (ONE,))
    (tmp_path / "MTD_MSIL1C.xml").unlink()
    with pytest.raises(DeliveryRefused, match="is not beside it"):
        recognise(tree_of(tmp_path), unasked)


def test_metadata_with_a_dtd_are_refused(tmp_path: Path) -> None:
    small_safe(tmp_path, (ONE,))
    write(tmp_path / "MTD_MSIL1C.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>")
    with pytest.raises(DeliveryRefused, match=r"MTD_MSIL1C\.xml: the XML file has a DTD"):
        recognise(tree_of(tmp_path), unasked)


def test_other_deliveries_are_left_to_others(tmp_path: Path) -> None:
    write(tmp_path / "scene.tif")
    write(
        tmp_path / "MTD_MSIL2A.xml",
        PRODUCT.format(level="2A", images="<IMAGE_FILE>GRANULE/a</IMAGE_FILE>", pixels="", ring=RING),
    )
    write(tmp_path / "S1A.SAFE" / "manifest.safe", MANIFEST.format(href="./measurement/s1a.tiff"))
    assert recognise(tree_of(tmp_path), unasked) is None


def test_what_archivers_of_macs_leave_behind_is_no_product(tmp_path: Path) -> None:
    small_safe(tmp_path / "x.SAFE", (ONE,))
    write(tmp_path / "__MACOSX" / "x.SAFE" / "._manifest.safe", "\0")
    write(tmp_path / "x.SAFE" / "._MTD_MSIL1C.xml", "\0")
    assert len(recognised(tmp_path).scenes) == 1


def test_a_quick_look_is_a_thumbnail(tmp_path: Path) -> None:
    small_safe(tmp_path / "x.SAFE", (ONE,))
    write(tmp_path / "x.SAFE" / "S2C-ql.jpg")
    (scene,) = recognised(tmp_path).scenes
    look = part(scene, "s2c-ql")
    assert (look.roles, look.media_type, look.action) == (("thumbnail",), "image/jpeg", "keep")
