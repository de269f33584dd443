"""The images of a DIM file of DIMAP V2: which files, where each goes in the mosaic, and what their bands are."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from swath.delivery.model import Band, Inspect, Tree
from swath.delivery.xml import children, number, text
from swath.errors import DeliveryRefused, shown

__all__ = ["Images", "read_images", "resolved"]

# Common names of the bands by their ids: Pléiades and SPOT number them from blue, Pléiades Neo names them.
_COMMON = {
    "P": "pan", "PAN": "pan", "B0": "blue", "B1": "green", "B2": "red", "B3": "nir", "R": "red", "G": "green",
    "B": "blue", "NIR": "nir", "RE": "rededge", "DB": "coastal",
}  # fmt: skip
_CHANNELS = ("RED_CHANNEL", "GREEN_CHANNEL", "BLUE_CHANNEL", "ALPHA_CHANNEL")
_LARGEST_MICROMETRES = 100.0  # what is more is in nanometres, whatever the unit says


@dataclass(frozen=True, slots=True)
class Images:
    """The files of a mosaic in row-major order, further bands of the same tiles behind; `places` are the rows and
    columns of their upper left corners, `size` rows and columns of the whole."""

    files: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    bands: tuple[Band, ...]
    nodata: float | None
    stacked: bool
    whole: bool  # one file that is all of it


@dataclass(frozen=True, slots=True)
class _Place:
    """Of a tile, in pixels of the mosaic."""

    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class _Tile:
    block: int
    row: int
    column: int
    file: str
    rows: int
    columns: int
    bands: int


def resolved(tree: Tree, origin: str, href: str) -> str:
    """The file that a document names, whatever the case. DeliveryRefused where it is outside, or not there."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), href.replace("\\", "/")))
    if ":" in href or href.startswith(("/", "\\")) or path == ".." or path.startswith("../"):
        raise DeliveryRefused(f"{origin}: it names {shown(href)}, which is outside the delivery")
    if path in tree.files:
        return path
    alike = next((each for each in tree.files if each.lower() == path.lower()), None)
    if alike is None:
        raise DeliveryRefused(f"{origin}: it names {shown(href)}, which is not in the delivery")
    return alike


def read_images(tree: Tree, name: str, root: Element, inspect: Inspect) -> Images:
    """The images of the DIM file `name`. DeliveryRefused where one is missing, or not as the file says."""
    blocks = list(children(root, "Raster_Data/Data_Access/Data_Files"))
    tiles = sorted(
        (tile for number_, block in enumerate(blocks) for tile in _tiles(tree, name, number_, block, inspect)),
        key=lambda tile: (tile.block, tile.row, tile.column),
    )
    if not tiles:
        raise DeliveryRefused(f"{name}: it names no image")
    size = _size(name, root)
    places = _layout(name, root, tiles, size)
    for tile, place in zip(tiles, places, strict=True):
        _check_size(name, tile, place)
    bands = _bands(root, blocks)
    _check_bands(name, root, tiles, bands)
    return Images(
        files=tuple(tile.file for tile in tiles),
        places=tuple((place.row, place.column) for place in places),
        size=size,
        bands=bands,
        nodata=_nodata(root),
        stacked=len(blocks) > 1,
        whole=len(tiles) == 1 and (places[0].rows, places[0].columns) == size,
    )


def _tiles(tree: Tree, name: str, number_: int, block: Element, inspect: Inspect) -> list[_Tile]:
    found = []
    for element in children(block, "Data_File"):
        path = element.find("DATA_FILE_PATH")
        href = (path.get("href") or path.text or "").strip() if path is not None else ""
        if not href:
            raise DeliveryRefused(f"{name}: a Data_File without a path")
        file = resolved(tree, name, href)
        row, column = (_counted(name, element.get(key, "1"), key) for key in ("tile_R", "tile_C"))
        held = inspect(file)
        if held.get("kind") != "raster":
            raise DeliveryRefused(f"{file}: {name} calls it an image, and it is none")
        found.append(_Tile(number_, row, column, file, int(held["rows"]), int(held["columns"]), int(held["count"])))
    return found


def _counted(name: str, value: str, what: str) -> int:
    """A number that counts from 1."""
    if not value.strip().isascii() or not value.strip().isdigit() or not 0 < len(value.strip()) < 10 or not int(value):
        raise DeliveryRefused(f"{name}: {what} is {shown(value)}, and not a number from 1")
    return int(value)


def _size(name: str, root: Element) -> tuple[int, int]:
    found = root.find("Raster_Data/Raster_Dimensions")
    return _counted(name, text(found, "NROWS") or "", "NROWS"), _counted(name, text(found, "NCOLS") or "", "NCOLS")


def _layout(name: str, root: Element, tiles: Sequence[_Tile], size: tuple[int, int]) -> list[_Place]:
    """Where each tile goes, and how large it must be: the last ones of rows and columns are smaller than the others."""
    tiling = root.find("Raster_Data/Raster_Dimensions/Tile_Set/Regular_Tiling")
    told = tiling.find("NTILES_SIZE") if tiling is not None else None
    if told is not None:
        rows, columns = _counted(name, told.get("nrows", ""), "nrows"), _counted(name, told.get("ncols", ""), "ncols")
        step_rows = rows - int(number(tiling, "OVERLAP_ROW") or 0)
        step_columns = columns - int(number(tiling, "OVERLAP_COL") or 0)
        if step_rows < 1 or step_columns < 1:
            raise DeliveryRefused(f"{name}: tiles that overlap by more than their size")
        places = [((tile.row - 1) * step_rows, (tile.column - 1) * step_columns) for tile in tiles]
        return [_Place(top, left, min(rows, size[0] - top), min(columns, size[1] - left)) for top, left in places]
    return _measured(name, tiles, size)


def _measured(name: str, tiles: Sequence[_Tile], size: tuple[int, int]) -> list[_Place]:
    """The layout of tiles of which only they themselves say how large they are."""
    heights, widths = {tile.row: tile.rows for tile in tiles}, {tile.column: tile.columns for tile in tiles}
    if any(max(sizes) != len(sizes) for sizes in (heights, widths)):
        raise DeliveryRefused(f"{name}: tiles are missing, and nothing says how large they are")
    places = []
    for tile in tiles:
        top = sum(heights[row] for row in range(1, tile.row))
        left = sum(widths[column] for column in range(1, tile.column))
        rows = heights[tile.row] if tile.row < max(heights) else size[0] - top
        columns = widths[tile.column] if tile.column < max(widths) else size[1] - left
        places.append(_Place(top, left, rows, columns))
    return places


def _check_size(name: str, tile: _Tile, place: _Place) -> None:
    """A tile fills its place: no more, and no less, which would leave a gap in the mosaic."""
    if (tile.rows, tile.columns) != (place.rows, place.columns):
        raise DeliveryRefused(
            f"{tile.file}: it has {tile.rows} x {tile.columns} pixels, by {name} they are "
            f"{place.rows} x {place.columns}"
        )


def _check_bands(name: str, root: Element, tiles: Sequence[_Tile], bands: Sequence[Band]) -> None:
    first = tiles[0]
    held = sum(tile.bands for tile in tiles if (tile.row, tile.column) == (first.row, first.column))
    told = len(bands) or int(number(root, "Raster_Data/Raster_Dimensions/NBANDS") or held)
    if held != told:
        raise DeliveryRefused(f"{first.file}: it has {held} bands, by {name} they are {told}")


def _nodata(root: Element) -> float | None:
    """The value (which the element calls a count) that means no data."""
    for special in root.iterfind("Raster_Data//Special_Value"):
        if (text(special, "SPECIAL_VALUE_TEXT") or "").upper() == "NODATA":
            return number(special, "SPECIAL_VALUE_COUNT")
    return None


# -- bands ---------------------------------------------------------------------------------------


def _bands(root: Element, blocks: Sequence[Element]) -> tuple[Band, ...]:
    """In the order of the file: band 1 of Pléiades is red, whatever its id says. Pléiades Neo lists the bands of each
    set of files in it, the others once; some files of Pléiades say only which band is shown in which colour."""
    ranges = {text(each, "BAND_ID"): each for each in root.iter("Band_Spectral_Range")}
    listed = [block for block in blocks if block.find("Raster_Display") is not None]
    displays = [block.find("Raster_Display") for block in listed] or [root.find("Raster_Data/Raster_Display")]
    count = int(number(root, "Raster_Data/Raster_Dimensions/NBANDS") or 0)
    names: list[str] = []
    for display in displays:
        names += _indexed(display, len(names)) or _displayed(display)
    if count == 1:
        names = names[:1]
    return tuple(_band(name, ranges) for name in names)


def _indexed(display: Element | None, before: int) -> list[str]:
    """Ids by the index of each in the file, where those count from 1 or go on from the bands before; else as listed."""
    entries = [(text(each, "BAND_ID") or "", number(each, "BAND_INDEX"))
               for each in children(display, "Raster_Index_List/Raster_Index")]  # fmt: skip
    places = {index for _, index in entries}
    if places in ({*range(1, len(entries) + 1)}, {*range(before + 1, before + len(entries) + 1)}):
        entries.sort(key=lambda entry: entry[1] or 0)
    return [name for name, _ in entries]


def _displayed(display: Element | None) -> list[str]:
    """Ids by the channel that shows each: red, green, blue, and the fourth as alpha; files are in that order."""
    order = display.find("Band_Display_Order") if display is not None else None
    return list(dict.fromkeys(name for channel in _CHANNELS if (name := text(order, channel)) is not None))


def _band(name: str, ranges: Mapping[str | None, Element]) -> Band:
    """With the middle and the width of its range, which is that at half of the maximum."""
    measured = ranges.get(name)
    inner = measured.find("FWHM") if measured is not None else None
    span = inner if number(inner, "MIN") is not None else measured
    low, high = number(span, "MIN"), number(span, "MAX")
    common = _COMMON.get(name.upper())
    if low is None or high is None or not 0 < low < high:
        return Band(name, common)
    scale = 0.001 if high > _LARGEST_MICROMETRES else 1.0
    return Band(name, common, round((low + high) / 2 * scale, 6), round((high - low) * scale, 6))
