"""One plain GeoTIFF out of tiles, of bands in several files, or of an image that lacks what a task says of it.

Pixels are copied some rows at a time; what is known of them comes from the first tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.rpc import RPC
from rasterio.transform import Affine
from rasterio.windows import Window

from swath.raster.opening import READING, Refused, members_of, opened
from swath.raster.tasks import MakeCog

__all__ = ["assemble"]

_BLOCK = 512
_STRIP = 32_000_000  # bytes that are copied at once
_OWN = ("AREA_OR_POINT", "OVERVIEW_RESAMPLING")


@dataclass(frozen=True, slots=True)
class _Piece:
    """An image of a source, and where its upper left pixel and its first band go."""

    path: str
    member: str | None
    row: int
    column: int
    band: int
    bands: int
    rows: int
    columns: int
    kind: str

    @property
    def name(self) -> str:
        return Path(self.path).name


def assemble(task: MakeCog, target: Path) -> None:
    """An uncompressed GeoTIFF of all sources, with what the task says of nodata, system and coefficients."""
    pieces = _pieces(task)
    _check(pieces, task)
    first = pieces[0]
    with (
        opened(first.path, first.member) as source,
        rasterio.open(target, "w", **_profile(source, pieces, task)) as out,
    ):
        _describe(source, pieces, task, out)
        for piece in pieces:
            _place(piece, out)


def _pieces(task: MakeCog) -> list[_Piece]:
    """The images of all sources. What has the same place as one before it holds further bands."""
    found: list[_Piece] = []
    known: dict[tuple[int, int], int] = {}
    for number, path in enumerate(task.sources):
        row, column = task.tiles[number] if task.tiles else (0, 0)
        for member in _members(path):
            with opened(path, member) as source:
                band = 1 + known.get((row, column), 0)
                size = source.count, source.height, source.width
                found.append(_Piece(path, member, row, column, band, *size, _kind(source)))
                known[row, column] = band - 1 + source.count
    return found


def _kind(source: Any) -> str:
    """The type that holds the pixels of all bands: a GeoTIFF has one."""
    kinds = set(source.dtypes)
    return str(kinds.pop() if len(kinds) == 1 else np.result_type(*kinds))


def _members(path: str) -> tuple[str | None, ...]:
    """The images of a file. Of several variables those of the largest size and the same type."""
    with opened(path) as source:
        members = members_of(source, path)
        if source.count:
            return (None,)
    sizes: dict[tuple[int, int, str], list[str]] = {}
    for member in members:
        with opened(path, member) as source:
            if source.count:
                sizes.setdefault((source.height * source.width, source.width, str(source.dtypes[0])), []).append(member)
    if not sizes:
        raise Refused(f"{Path(path).name}: there is no image in it")
    return tuple(sizes[max(sizes, key=lambda key: (key[0], len(sizes[key])))])


def _check(pieces: list[_Piece], task: MakeCog) -> None:
    rows, columns = _size(pieces, task)
    first = pieces[0]
    bands = _bands(pieces)
    for piece in pieces:
        if piece.kind != first.kind:
            raise Refused(f"{piece.name}: its pixels are {piece.kind}, those of {first.name} {first.kind}")
        if piece.row < 0 or piece.column < 0 or piece.row + piece.rows > rows or piece.column + piece.columns > columns:
            raise Refused(
                f"{piece.name}: it reaches beyond the image of {rows:,} x {columns:,} pixels that it is part of"
            )
        if sum(each.bands for each in pieces if (each.row, each.column) == (piece.row, piece.column)) != bands:
            raise Refused(f"{piece.name}: a tile of other bands than {first.name}")
        if any((each.row, each.column) == (piece.row, piece.column)
               and (each.rows, each.columns) != (piece.rows, piece.columns) for each in pieces):  # fmt: skip
            raise Refused(f"{piece.name}: its bands are not of one size")


def _size(pieces: list[_Piece], task: MakeCog) -> tuple[int, int]:
    if task.size:
        return task.size
    return max(piece.row + piece.rows for piece in pieces), max(piece.column + piece.columns for piece in pieces)


def _bands(pieces: list[_Piece]) -> int:
    first = pieces[0]
    return sum(piece.bands for piece in pieces if (piece.row, piece.column) == (first.row, first.column))


def _profile(source: Any, pieces: list[_Piece], task: MakeCog) -> dict[str, Any]:
    rows, columns = _size(pieces, task)
    bands = _bands(pieces)
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": rows, "width": columns, "count": bands, "dtype": pieces[0].kind, "tiled": True,
        "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "IF_SAFER", "sparse_ok": True,
        "interleave": "pixel" if pieces[0].bands == bands else "band",
        "nodata": source.nodata if source.nodata is not None else task.nodata,
    }  # fmt: skip
    if source.dtypes[0] == "uint8" and source.colorinterp[0] == ColorInterp.gray:
        profile["photometric"] = "MINISBLACK"
    if _in_sensor(source, task):
        return profile
    crs = source.crs or (_system(task) if task.crs else None)
    if crs is not None:
        profile["crs"] = crs
    if source.transform != Affine.identity():
        row, column = pieces[0].row, pieces[0].column
        a, b, c, d, e, f = tuple(source.transform)[:6]
        profile["transform"] = Affine(a, b, c - a * column - b * row, d, e, f - d * column - e * row)
    return profile


def _in_sensor(source: Any, task: MakeCog) -> bool:
    """In sensor geometry, where RPC alone say where the pixels lie. An RPC file beside an image that has a place of its
    own, as beside the tiles of an ortho product, is not about that image."""
    return task.sensor or (source.rpcs is not None and (source.crs is None or source.transform == Affine.identity()))


def _system(task: MakeCog) -> CRS:
    try:
        return CRS.from_user_input(task.crs)
    except ValueError:
        raise Refused(f"{Path(task.sources[0]).name}: {task.crs!r} is no reference system that is known") from None


def _describe(source: Any, pieces: list[_Piece], task: MakeCog, out: Any) -> None:
    """What the bands mean, as the sources say it."""
    tags = {name: value for name, value in source.tags().items() if name not in _OWN and not name.startswith("NC_")}
    single = len(pieces) == 1
    out.update_tags(AREA_OR_POINT=source.tags().get("AREA_OR_POINT", "Area"), **(tags if single else {}))
    here = [piece for piece in pieces if (piece.row, piece.column) == (pieces[0].row, pieces[0].column)]
    said: dict[str, list[Any]] = {name: [] for name in ("scales", "offsets", "descriptions", "units", "colorinterp")}
    for piece in here:
        with opened(piece.path, piece.member) as each:
            for name, values in said.items():
                values += getattr(each, name)
            if piece.member and each.count == 1 and not each.descriptions[0]:
                said["descriptions"][-1] = piece.member.rpartition(":")[2]
    out.scales, out.offsets = said["scales"], said["offsets"]
    out.descriptions, out.units = said["descriptions"], [unit or "" for unit in said["units"]]
    if len(here) == 1 and ColorInterp.palette in source.colorinterp:
        out.write_colormap(1, source.colormap(1))
    elif len(here) == 1:
        out.colorinterp = said["colorinterp"]
    rpc = _coefficients(source, task)
    if rpc is not None:
        out.rpcs = rpc
    gcps, system = source.gcps
    if single and gcps and not _in_sensor(source, task) and source.transform == Affine.identity():
        out.gcps = gcps, system or CRS()


def _coefficients(source: Any, task: MakeCog) -> RPC | None:
    if task.rpc:
        try:
            return RPC.from_gdal(task.rpc)
        except (KeyError, ValueError, TypeError) as error:
            raise Refused(f"{Path(task.sources[0]).name}: the RPC are incomplete", error) from None
    return source.rpcs if _in_sensor(source, task) else None


def _place(piece: _Piece, out: Any) -> None:
    """The pixels of a piece, some rows at a time."""
    bands = list(range(piece.band, piece.band + piece.bands))
    with opened(piece.path, piece.member) as source:
        masked = _is_masked(source)
        for window in _windows(source, np.dtype(_numpy(piece.kind)).itemsize):
            there = Window(piece.column + window.col_off, piece.row + window.row_off, window.width, window.height)
            try:
                pixels = source.read(window=window)
                mask = source.dataset_mask(window=window) if masked else None
            except READING as error:
                raise Refused(f"{piece.name}: it is cut off or damaged, not all of it can be read", error) from None
            out.write(pixels, bands, window=there)
            if mask is not None:
                out.write_mask(mask, window=there)


def _is_masked(source: Any) -> bool:
    """Whether validity is a mask of its own, neither nodata nor alpha."""
    flags = source.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def _windows(source: Any, size: int) -> Iterator[Window]:
    """Rows of blocks, so that each block is decoded once; parts of them where a row is too wide."""
    high = max(1, source.block_shapes[0][0])
    high = high * max(1, _BLOCK // high) if high < _BLOCK else high
    wide = max(1, _STRIP // (min(high, source.height) * source.count * size))
    block = max(1, source.block_shapes[0][1])
    wide = source.width if wide >= source.width else max(block, wide // block * block)
    for top in range(0, source.height, high):
        for left in range(0, source.width, wide):
            yield Window(left, top, min(wide, source.width - left), min(high, source.height - top))


def _numpy(kind: str) -> str:
    return "complex64" if kind == "complex_int16" else kind
