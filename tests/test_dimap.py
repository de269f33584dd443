"""DIMAP V2 of Pléiades, Pléiades Neo and SPOT: scenes, mosaics, bands and files of them, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import rasterio

from swath.delivery import converting
from swath.delivery.dimap import recognise
from swath.delivery.model import Part, Product, Scene, Tree
from swath.errors import DeliveryRefused
from tests.deliveries_expected import DELIVERIES, check_product, entry

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

ORTHO = "dimap-phr/6712345101_BUNDLE_ORT.zip"
SENSOR = "dimap-phr/5120098701_BUNDLE_SEN.zip"
STEREO = "dimap-pneo-stereo/WO_000187342_1_1_SAL24214567-1_ACQ_PNEO3_STEREO.zip"
DELIVERED = (ORTHO, SENSOR, STEREO)


def tree_of(root: Path) -> Tree:
    return Tree(root, tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())))


def unpack(path: str, folder: Path) -> Path:
    with zipfile.ZipFile(DELIVERIES / path) as archive:
        archive.extractall(folder)
    return folder


def unasked(name: str) -> Mapping[str, Any]:
    raise AssertionError(f"{name} was looked into")


def recognised(root: Path) -> Product:
    def look(name: str) -> Mapping[str, Any]:
        with rasterio.open(root / name) as image:
            return {"kind": "raster", "rows": image.height, "columns": image.width, "count": image.count}

    product = recognise(tree_of(root), look)
    assert product is not None
    return product


def image_parts(scene: Scene) -> dict[str, Part]:
    """The images of a scene by their kind."""
    return {each.roles[1]: each for each in scene.parts if each.roles[0] == "data"}


def make(folder: Path, *arguments: str) -> Path:
    """A delivery of the generator, unpacked."""
    program = str(DELIVERIES / "make_dimap.py")
    subprocess.run([sys.executable, program, "custom", folder, *arguments], check=True, capture_output=True)
    return folder


# -- the delivered ones ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", DELIVERED)
def test_a_delivery_becomes_what_is_expected(tmp_path: Path, path: str) -> None:
    product = recognised(unpack(path, tmp_path))
    tree = tree_of(tmp_path)
    check_product(product, entry(path), tree.files, name=False)
    assert product.claimed == frozenset(tree.files)
    assert (product.kind, product.producer, product.license) == ("dimap", "Airbus", "other")
    assert (product.data_type, product.modality) == ("raster", "multispectral")


def test_images_are_looked_into_in_the_sandbox(tmp_path: Path) -> None:
    tree = tree_of(unpack(STEREO, tmp_path / "files"))
    try:
        product = recognise(tree, converting.inspect_in(tmp_path, tree.root))
    finally:
        converting.end_sandbox()
    assert product is not None
    check_product(product, entry(STEREO), tree.files, name=False)


def test_a_scene_is_called_as_its_finest_component(tmp_path: Path) -> None:
    (scene,) = recognised(unpack(ORTHO, tmp_path)).scenes
    assert scene.name == "PHR1A_P_202306141052174_ORT_6712345101-1"
    assert (scene.start_datetime, scene.datetime, scene.end_datetime) == (
        "2023-06-14T10:52:18.872571Z", "2023-06-14T10:52:18.900000Z", "2023-06-14T10:52:18.927429Z"
    )  # fmt: skip
    assert scene.properties["constellation"] == "PHR"
    assert scene.properties["processing:level"] == "ORTHO"
    assert scene.properties["instruments"] == ["phr"]
    assert scene.properties["view:off_nadir"] == 12.9339


def test_each_scene_of_a_stereo_pair_has_its_own_volume_and_both_have_that_of_the_order(tmp_path: Path) -> None:
    product = recognised(unpack(STEREO, tmp_path))
    top = STEREO.partition("/")[2].removesuffix(".zip")
    volumes = [
        sorted(source.removeprefix(f"{top}/") for part in scene.parts if "bundle" in part.roles
               for source in part.sources)
        for scene in product.scenes
    ]  # fmt: skip
    assert volumes == [
        ["000187342_1_1_STD_A/VOL_PNEO.XML", "VOL_PNEO.XML"], ["000187342_1_2_STD_A/VOL_PNEO.XML", "VOL_PNEO.XML"]
    ]  # fmt: skip
    assert all(f"{top}/DELIVERY.PDF" in {part.sources[0] for part in scene.parts} for scene in product.scenes)


def test_tiles_of_red_green_blue_and_of_the_other_bands_have_the_same_places(tmp_path: Path) -> None:
    product = recognised(unpack(STEREO, tmp_path))
    part = image_parts(product.scenes[0])["multispectral"]
    assert [source[-12:] for source in part.sources] == ["RGB_R1C1.JP2", "RGB_R1C2.JP2", "NED_R1C1.JP2", "NED_R1C2.JP2"]
    assert part.tiles == ((0, 0), (0, 128), (0, 0), (0, 128))
    assert part.size == (160, 240)
    assert part.key == "img_pneo3_202408210941331_ms-fs_sen_pwoi_000187342_1_1_f_1"


def test_coefficients_of_pleiades_count_pixels_from_1_and_those_of_pleiades_neo_from_0(tmp_path: Path) -> None:
    (phr,) = recognised(unpack(SENSOR, tmp_path / "phr")).scenes
    pneo = recognised(unpack(STEREO, tmp_path / "pneo")).scenes[0]
    for scene, offsets in ((phr, ("383.5", "479.5")), (pneo, ("319.5", "479.5"))):
        part = image_parts(scene)["panchromatic"]
        assert (part.sensor, part.crs) == (True, None)
        assert part.rpc is not None
        assert (part.rpc["LINE_OFF"], part.rpc["SAMP_OFF"]) == offsets
        assert [len(part.rpc[f"{name}_COEFF"].split()) for name in ("LINE_NUM", "SAMP_DEN")] == [20, 20]
    masks = [part for part in phr.parts if "data-mask" in part.roles]
    assert all(mask.sensor and mask.rpc and mask.optional for mask in masks)


def test_coefficients_are_not_for_an_ortho_image_though_they_lie_beside_it(tmp_path: Path) -> None:
    (scene,) = recognised(unpack(ORTHO, tmp_path)).scenes
    assert [(part.rpc, part.crs) for part in image_parts(scene).values()] == [(None, "EPSG:32631")] * 2
    assert {part.crs for part in scene.parts if "data-mask" in part.roles} == {"EPSG:32631"}
    assert sum("rpc" in part.roles for part in scene.parts) == 2


# -- others of the generator -----------------------------------------------------------------------

SMALL = ("--width", "320", "--height", "384", "--tile", "128", "--clouds", "0")


def test_a_mosaic_of_rows_and_columns_whose_last_are_smaller(tmp_path: Path) -> None:
    arguments = (
        "--mission",
        "SPOT7",
        "--spectral",
        "PMS",
        "--epsg",
        "32755",
        "--lon",
        "147",
        "--lat",
        "-20",
        "--top",
        "a/b",
    )
    (scene,) = recognised(make(tmp_path, *arguments, *SMALL, "--masks", "CLD")).scenes
    (part,) = image_parts(scene).values()
    assert [source[-8:-4] for source in part.sources] == [
        f"R{row}C{column}" for row in (1, 2, 3) for column in (1, 2, 3)
    ]
    assert part.tiles == (
        (0, 0), (0, 128), (0, 256), (128, 0), (128, 128), (128, 256), (256, 0), (256, 128), (256, 256)
    )  # fmt: skip
    assert part.size == (384, 320)
    assert (part.gsd, part.nodata, part.crs) == (1.5, 0.0, "EPSG:32755")
    assert [(band.name, band.common_name, band.center_wavelength) for band in part.bands] == [
        ("B2", "red", 0.66), ("B1", "green", 0.56), ("B0", "blue", 0.49), ("B3", "nir", 0.825)
    ]  # fmt: skip
    assert scene.properties["platform"] == "SPOT7"
    assert scene.properties["instruments"] == ["naomi"]


def test_a_tri_stereo_of_spot_in_jpeg_2000_is_three_scenes(tmp_path: Path) -> None:
    starts = ("2021-01-02T03:04:05.600000", "2021-01-02T03:04:35.600000", "2021-01-02T03:05:05.600000")
    arguments = ("--mission", "SPOT6", "--spectral", "P", "--geometry", "SEN", "--format", "JP2", "--start", *starts)
    product = recognised(make(tmp_path, *arguments, *SMALL, "--masks"))
    assert [scene.datetime for scene in product.scenes] == [
        "2021-01-02T03:04:07.100000Z", "2021-01-02T03:04:37.100000Z", "2021-01-02T03:05:07.100000Z"
    ]  # fmt: skip
    assert (product.collection_name, product.modality) == ("spot", "panchromatic")
    assert [len(scene.parts) for scene in product.scenes] == [16, 16, 16]


def test_one_image_in_one_file_has_no_tiles(tmp_path: Path) -> None:
    arguments = ("--mission", "PNEO4", "--spectral", "PMS-N", "--width", "64", "--height", "64", "--clouds", "0")
    (scene,) = recognised(make(tmp_path, *arguments)).scenes
    (part,) = image_parts(scene).values()
    assert (part.tiles, part.size, len(part.sources)) == ((), None, 1)
    assert [band.name for band in part.bands] == ["R", "G", "B"]
    assert scene.properties["constellation"] == "PNEO"


# -- small ones, written here ----------------------------------------------------------------------

DIM = """<?xml version="1.0" encoding="UTF-8"?>
<Dimap_Document>
  <Metadata_Identification>
    <METADATA_FORMAT version="{version}">DIMAP</METADATA_FORMAT><METADATA_PROFILE>PHR_ORTHO</METADATA_PROFILE>
  </Metadata_Identification>
  <Dataset_Identification><DATASET_NAME>{name}</DATASET_NAME></Dataset_Identification>
  <Dataset_Content><CLOUD_COVERAGE>{cloud}</CLOUD_COVERAGE>{components}
    <Dataset_Extent>
      {vertices}<Center><LON>{lon}.5</LON><LAT>10.5</LAT></Center>
    </Dataset_Extent>
  </Dataset_Content>
  {crs}{geoposition}
  <Processing_Information><Product_Settings><SPECTRAL_PROCESSING>{spectral}</SPECTRAL_PROCESSING>
    <Sampling_Settings><RESAMPLING_SPACING unit="m">{spacing}</RESAMPLING_SPACING></Sampling_Settings>
  </Product_Settings></Processing_Information>
  <Raster_Data>
    <Data_Access>{files}</Data_Access>
    <Raster_Dimensions><NROWS>{rows}</NROWS><NCOLS>{columns}</NCOLS><NBANDS>{bands}</NBANDS>
      <Tile_Set>{tiling}</Tile_Set></Raster_Dimensions>
    {display}
  </Raster_Data>
  {ranges}
  <Geometric_Data><Use_Area>{located}</Use_Area></Geometric_Data>
  <Dataset_Sources><Source_Identification><Strip_Source>
    <MISSION>PHR</MISSION><MISSION_INDEX>1A</MISSION_INDEX><INSTRUMENT>PHR</INSTRUMENT>
    <IMAGING_DATE>2020-02-03</IMAGING_DATE><IMAGING_TIME>{time}</IMAGING_TIME>
  </Strip_Source></Source_Identification></Dataset_Sources>
</Dimap_Document>
"""
UTM = (
    "<Coordinate_Reference_System><Projected_CRS><PROJECTED_CRS_CODE>urn:ogc:def:crs:EPSG::32631</PROJECTED_CRS_CODE>"
    "</Projected_CRS></Coordinate_Reference_System>"
)
SHOWN = (
    "<Raster_Display><Band_Display_Order><RED_CHANNEL>B2</RED_CHANNEL><GREEN_CHANNEL>B1</GREEN_CHANNEL>"
    "<BLUE_CHANNEL>B0</BLUE_CHANNEL><ALPHA_CHANNEL>B3</ALPHA_CHANNEL></Band_Display_Order></Raster_Display>"
)


def data_files(*files: tuple[int, int, str], inside: str = "") -> str:
    listed = "".join(
        f'<Data_File tile_R="{row}" tile_C="{column}"><DATA_FILE_PATH href="{href}"/></Data_File>'
        for row, column, href in files
    )
    return f"<Data_Files>{listed}{inside}</Data_Files>"


def vertices(*corners: tuple[float, float]) -> str:
    return "".join(f"<Vertex><LON>{lon}</LON><LAT>{lat}</LAT></Vertex>" for lon, lat in corners)


def indexed(*entries: tuple[str, int]) -> str:
    listed = "".join(
        f"<Raster_Index><BAND_ID>{name}</BAND_ID><BAND_INDEX>{index}</BAND_INDEX></Raster_Index>"
        for name, index in entries
    )
    return f"<Raster_Display><Raster_Index_List>{listed}</Raster_Index_List></Raster_Display>"


def dim(folder: Path, file: str = "DIM_A.XML", **more: Any) -> None:
    """A DIM file, and empty files for the images `IMG_…` that it names."""
    lon = more.get("lon", 2)
    told = {
        "version": "2.15", "name": "A", "cloud": "1.5", "components": "", "lon": lon, "crs": UTM, "geoposition": "",
        "spectral": "MS", "spacing": "2.0", "files": data_files((1, 1, "IMG_A_R1C1.TIF")), "rows": 4, "columns": 4,
        "bands": 4, "tiling": "", "display": SHOWN, "ranges": "", "located": "", "time": "10:11:12.1Z",
        "vertices": vertices((lon, 11), (lon + 1, 11), (lon + 1, 10), (lon, 10)), **more,
    }  # fmt: skip
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DIM.format(**told), "utf-8")
    for part in told["files"].split('href="')[1:]:
        href = part.partition('"')[0]
        if ".." not in href and ":" not in href:
            (path.parent / href).touch()


def small(folder: Path, rows: int = 4, columns: int = 4, count: int = 4, **sizes: tuple[int, int]) -> Product:
    """`sizes` are the rows and columns of those images whose names end so (`R1C2`)."""

    def look(name: str) -> Mapping[str, Any]:
        size = next((size for end, size in sizes.items() if end in name), (rows, columns))
        return {"kind": "raster", "rows": size[0], "columns": size[1], "count": count}

    product = recognise(tree_of(folder), look)
    assert product is not None
    return product


def only(product: Product) -> Part:
    (scene,) = product.scenes
    (part,) = image_parts(scene).values()
    return part


def test_bands_without_an_index_are_in_the_order_of_the_channels(tmp_path: Path) -> None:
    dim(tmp_path)
    assert [band.name for band in only(small(tmp_path)).bands] == ["B2", "B1", "B0", "B3"]


def test_bands_are_in_the_order_of_their_index(tmp_path: Path) -> None:
    dim(tmp_path, display=indexed(("B0", 3), ("B1", 2), ("B2", 1), ("B3", 4)))
    assert [band.name for band in only(small(tmp_path)).bands] == ["B2", "B1", "B0", "B3"]


def test_an_index_that_goes_on_from_the_bands_before_is_one_and_another_is_none(tmp_path: Path) -> None:
    for folder, second in (("on", (("RE", 5), ("NIR", 4), ("DB", 6))), ("none", (("NIR", 4), ("RE", 2), ("DB", 3)))):
        files = data_files((1, 1, "IMG_RGB.TIF"), inside=indexed(("R", 1), ("G", 2), ("B", 3)))
        files += data_files((1, 1, "IMG_NED.TIF"), inside=indexed(*second))
        dim(tmp_path / folder, files=files, bands=6, display="", spectral="MS-FS")
        part = only(small(tmp_path / folder, count=3))
        assert [band.name for band in part.bands] == ["R", "G", "B", "NIR", "RE", "DB"]
        assert (part.tiles, part.size) == (((0, 0), (0, 0)), (4, 4))
        assert part.key == "img"


def test_ranges_are_in_micrometres_whatever_form_they_have(tmp_path: Path) -> None:
    ranges = (
        "<Band_Spectral_Range><BAND_ID>B2</BAND_ID><MEASURE_UNIT>micrometer</MEASURE_UNIT>"
        "<FWHM><MIN>619</MIN><MAX>690</MAX></FWHM></Band_Spectral_Range>"
        "<Band_Spectral_Range><BAND_ID>B1</BAND_ID><MIN>0.5</MIN><MAX>0.62</MAX><FWHM/></Band_Spectral_Range>"
        "<Band_Spectral_Range><BAND_ID>B0</BAND_ID><MIN>MIN</MIN><MAX>MAX</MAX></Band_Spectral_Range>"
    )
    dim(tmp_path, ranges=f"<Radiometric_Data>{ranges}</Radiometric_Data>")
    told = [(band.center_wavelength, band.full_width_half_max) for band in only(small(tmp_path)).bands]
    assert told == [(0.6545, 0.071), (0.56, 0.12), (None, None), (None, None)]


def test_components_of_one_folder_have_the_files_of_their_name(tmp_path: Path) -> None:
    dim(tmp_path / "x", "DIM_A_P.XML", name="A_P", spectral="P", spacing="0.5", bands=1,
        files=data_files((1, 1, "IMG_A_P.TIF")), display=indexed(("P", 1)))  # fmt: skip
    dim(tmp_path / "x", "DIM_A_MS.XML", name="A_MS", bands=1, files=data_files((1, 1, "IMG_A_MS.TIF")), display="")
    for name in ("MASKS/ROI_A_P_MSK.GML", "MASKS/ROI_A_MS_MSK.GML", "PREVIEW_A_MS.JPG", "LINEAGE/STRIP_X_DIM.XML"):
        path = tmp_path / "x" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("<x/>", "utf-8")
    product = small(tmp_path, count=1)
    (scene,) = product.scenes
    assert [(part.key, part.title) for part in scene.parts] == [
        ("img_a_p", "Panchromatic image (P)"),
        ("dim_a_p", "Metadata (P)"),
        ("roi_a_p_msk", "Region of interest (P)"),
        ("img_a_ms", "Multispectral image (MS)"),
        ("dim_a_ms", "Metadata (MS)"),
        ("roi_a_ms_msk", "Region of interest (MS)"),
        ("preview_a_ms", "Preview (MS)"),
        ("strip_x_dim", "Lineage of the strip"),
    ]
    assert (scene.name, scene.properties["gsd"], scene.properties["eo:cloud_cover"]) == ("A_P", 0.5, 1.5)
    assert (scene.datetime, scene.start_datetime) == ("2020-02-03T10:11:12.1Z", None)


def test_two_areas_of_one_time_are_two_scenes(tmp_path: Path) -> None:
    dim(tmp_path / "one", lon=2, name="one")
    dim(tmp_path / "two", lon=5, name="two", time="10:11:12.1")
    dim(tmp_path / "three", lon=2, name="three", spacing="0.5")
    assert [scene.name for scene in small(tmp_path).scenes] == ["three", "two"]


def test_files_of_other_products_are_left_to_others(tmp_path: Path) -> None:
    dim(tmp_path / "product")
    others = ("area.geojson", "other.tif", "other/readme.txt", "product/IMG_more.TIF", "planet/x_metadata.xml")
    for name in (*others, "README.TXT", "LIBRARY/LOGO.PNG", "product/EULA.pdf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x", "utf-8")
    product = small(tmp_path)
    assert set(tree_of(tmp_path).files) - product.claimed == set(others)
    roles = {part.sources[0]: part.roles for part in product.scenes[0].parts}
    assert roles["product/EULA.pdf"] == ("metadata", "license")
    assert roles["LIBRARY/LOGO.PNG"] == ("metadata", "auxiliary")
    assert roles["README.TXT"] == ("metadata",)


def test_tiles_of_which_nothing_says_the_size_are_measured(tmp_path: Path) -> None:
    files = data_files((2, 2, "D_R2C2.TIF"), (1, 2, "B_R1C2.TIF"), (2, 1, "C_R2C1.TIF"), (1, 1, "A_R1C1.TIF"))
    dim(tmp_path, files=files, rows=7, columns=5)
    part = only(small(tmp_path, R1C1=(4, 3), R1C2=(4, 2), R2C1=(3, 3), R2C2=(3, 2)))
    assert part.sources == ("A_R1C1.TIF", "B_R1C2.TIF", "C_R2C1.TIF", "D_R2C2.TIF")
    assert part.tiles == ((0, 0), (0, 3), (4, 0), (4, 3))


def test_tiles_that_are_empty_may_be_left_out(tmp_path: Path) -> None:
    tiling = '<Regular_Tiling><NTILES_SIZE nrows="4" ncols="3"/></Regular_Tiling>'
    dim(tmp_path, files=data_files((1, 2, "A_R1C2.TIF"), (2, 1, "A_R2C1.TIF")), rows=7, columns=5, tiling=tiling)
    part = only(small(tmp_path, R1C2=(4, 2), R2C1=(3, 3)))
    assert (part.tiles, part.size) == (((0, 3), (4, 0)), (7, 5))


def test_the_centre_among_the_corners_is_none_of_them(tmp_path: Path) -> None:
    dim(tmp_path, vertices=vertices((2, 11), (3, 11), (3, 10), (2, 10), (2.5, 10.5)))
    footprint = small(tmp_path).scenes[0].footprint
    assert footprint is not None
    assert footprint["coordinates"] == [[[2.0, 10.0], [3.0, 10.0], [3.0, 11.0], [2.0, 11.0], [2.0, 10.0]]]


def test_an_image_in_degrees_has_the_spacing_of_the_sensor(tmp_path: Path) -> None:
    located = (
        "<Located_Geometric_Values><LOCATION_TYPE>CENTER</LOCATION_TYPE><TIME>2020-02-03T10:11:13.123456789</TIME>"
        "<Acquisition_Angles><INCIDENCE_ANGLE>-12.5</INCIDENCE_ANGLE><AZIMUTH_ANGLE>-10</AZIMUTH_ANGLE>"
        "</Acquisition_Angles><Ground_Sample_Distance><GSD_ACROSS_TRACK>2.9</GSD_ACROSS_TRACK>"
        "</Ground_Sample_Distance></Located_Geometric_Values>"
    )
    crs = "<Coordinate_Reference_System><Geodetic_CRS><GEODETIC_CRS_CODE>urn:ogc:def:crs:EPSG::4326</GEODETIC_CRS_CODE>"
    crs += "</Geodetic_CRS></Coordinate_Reference_System>"
    insert = "<Geoposition><Geoposition_Insert><ULXMAP>2</ULXMAP></Geoposition_Insert></Geoposition>"
    dim(tmp_path, spacing="1.79e-05", located=located, crs=crs, geoposition=insert, cloud="-1")
    (scene,) = small(tmp_path).scenes
    assert dict(scene.properties) == {
        "platform": "PHR1A", "constellation": "PHR", "instruments": ["phr"], "gsd": 2.9, "proj:code": "EPSG:4326",
        "view:incidence_angle": 12.5, "view:azimuth": 350.0,
    }  # fmt: skip
    assert scene.datetime == "2020-02-03T10:11:13.123456Z"


def test_a_volume_may_name_pages_of_the_network(tmp_path: Path) -> None:
    dim(tmp_path / "product")
    volume(tmp_path, "ENCAPSULATED", "http://example.com/format.html")
    (scene,) = small(tmp_path).scenes
    assert [part.key for part in scene.parts if "bundle" in part.roles] == ["vol_phr"]


def volume(folder: Path, kind: str, href: str) -> None:
    (folder / "VOL_PHR.XML").write_text(
        '<Dimap_Document><Metadata_Identification><METADATA_FORMAT version="2.0">DIMAP</METADATA_FORMAT>'
        "<METADATA_PROFILE>VOLUME</METADATA_PROFILE></Metadata_Identification><Dataset_Content><Dataset_Components>"
        f'<Component><COMPONENT_TYPE>{kind}</COMPONENT_TYPE><COMPONENT_PATH href="{href}"/></Component>'
        "</Dataset_Components></Dataset_Content></Dimap_Document>",
        "utf-8",
    )


def test_names_are_found_whatever_their_case_and_slashes(tmp_path: Path) -> None:
    dim(tmp_path / "a", files=data_files((1, 1, "IMG_A.TIF")))
    text = (tmp_path / "a" / "DIM_A.XML").read_text("utf-8")
    (tmp_path / "a" / "DIM_A.XML").write_text(text.replace("IMG_A.TIF", ".\\Img_a.tif"), "utf-8")
    assert only(small(tmp_path)).sources == ("a/IMG_A.TIF",)


def test_metadata_in_utf_16_are_read_as_well(tmp_path: Path) -> None:
    dim(tmp_path)
    path = tmp_path / "DIM_A.XML"
    path.write_text(path.read_text("utf-8").replace("UTF-8", "UTF-16"), "utf-16")
    assert len(small(tmp_path).scenes) == 1


def test_the_name_of_a_dim_file_does_not_matter(tmp_path: Path) -> None:
    dim(tmp_path, "metadata.xml")
    (tmp_path / "DIM_B.XML").write_text("<not-a-dimap/>", "utf-8")
    (tmp_path / "VOL_C.XML").write_text("no XML at all", "utf-8")
    assert [scene.name for scene in small(tmp_path).scenes] == ["A"]


# -- what is refused -------------------------------------------------------------------------------


def tiles_missing() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"files": data_files((1, 1, "../IMG.TIF"))}, r"DIM_A\.XML: it names .*\.\./IMG\.TIF.*outside"
    yield {"files": data_files((1, 1, "/etc/passwd"))}, "outside the delivery"
    yield {"files": data_files((1, 1, "http://example.com/IMG.TIF"))}, "outside the delivery"
    yield {"files": data_files((1, 1, "a/../../IMG.TIF"))}, "outside the delivery"
    yield {"files": "<Data_Files/>"}, "it names no image"
    yield {"files": "<Data_Files><Data_File/></Data_Files>"}, "a Data_File without a path"
    yield {"rows": 0}, "NROWS is '0', and not a number from 1"
    yield {"columns": "many"}, "NCOLS is 'many'"
    yield {"files": data_files((0, 1, "IMG_A.TIF"))}, "tile_R is '0'"
    yield {"rows": 5}, r"IMG_A_R1C1\.TIF: it has 4 x 4 pixels, by DIM_A\.XML they are 5 x 4"
    yield {"bands": 3, "display": ""}, r"IMG_A_R1C1\.TIF: it has 4 bands, by DIM_A\.XML they are 3"
    yield {"display": indexed(("B2", 1))}, "it has 4 bands"
    yield {"files": data_files((1, 1, "A.TIF"), (3, 1, "B.TIF")), "rows": 8}, "tiles are missing, and nothing says"


@pytest.mark.parametrize(("changes", "words"), list(tiles_missing()))
def test_a_broken_delivery_is_refused_with_a_reason(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    dim(tmp_path, **changes)
    with pytest.raises(DeliveryRefused, match=words):
        small(tmp_path)


def test_a_missing_tile_is_refused_by_its_name(tmp_path: Path) -> None:
    unpack(ORTHO, tmp_path)
    tile = next(tmp_path.rglob("IMG_PHR1A_MS_*_R1C2.TIF"))
    tile.unlink()
    with pytest.raises(
        DeliveryRefused, match=rf"DIM_PHR1A_MS_\w+-2\.XML: it names .*{tile.name}.* not in the delivery"
    ):
        recognised(tmp_path)


@pytest.mark.parametrize(
    ("kind", "href", "words"),
    [
        ("DIMAP", "gone/DIM_X.XML", "VOL_PHR.XML: it names .*DIM_X.XML.* not in the delivery"),
        ("DIMAP", "http://example.com/DIM_X.XML", "outside the delivery"),
        ("ENCAPSULATED", "../x.pdf", "outside the delivery"),
    ],
)
def test_a_volume_of_which_something_is_missing_is_refused(tmp_path: Path, kind: str, href: str, words: str) -> None:
    dim(tmp_path / "product")
    volume(tmp_path, kind, href)
    with pytest.raises(DeliveryRefused, match=words):
        small(tmp_path)


def test_entities_are_refused(tmp_path: Path) -> None:
    dim(tmp_path)
    text = (tmp_path / "DIM_A.XML").read_text("utf-8")
    text = text.replace("<Dimap_Document>", '<!DOCTYPE Dimap_Document [<!ENTITY a "b">]><Dimap_Document>', 1)
    (tmp_path / "DIM_A.XML").write_text(text, "utf-8")
    with pytest.raises(DeliveryRefused, match=r"DIM_A\.XML: .*DTD or entities"):
        small(tmp_path)


def test_coefficients_that_are_not_all_there_are_refused(tmp_path: Path) -> None:
    unpack(SENSOR, tmp_path)
    path = next(tmp_path.rglob("RPC_*_MS_*.XML"))
    path.write_text(path.read_text("utf-8").replace("<LINE_DEN_COEFF_20>", "<LINE_DEN_COEFF_21>"), "utf-8")
    path.write_text(path.read_text("utf-8").replace("</LINE_DEN_COEFF_20>", "</LINE_DEN_COEFF_21>"), "utf-8")
    with pytest.raises(DeliveryRefused, match=rf"{path.name}: the coefficients LINE_DEN are not all there"):
        recognised(tmp_path)


def test_other_deliveries_are_left_to_others(tmp_path: Path) -> None:
    dim(tmp_path, version="1.1")
    (tmp_path / "a.xml").write_text("<", "utf-8")
    (tmp_path / "b.tif").touch()
    assert recognise(tree_of(tmp_path), unasked) is None
