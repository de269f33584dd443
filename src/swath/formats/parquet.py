"""GeoParquet after the stac-geoparquet specification, through its own library (extra `parquet`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from swath.errors import InvalidRequest

__all__ = ["read_items", "write_items"]

_ROWS = 1_000


def _library() -> tuple[Any, Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
        import stac_geoparquet.arrow
    except ImportError:
        raise InvalidRequest("GeoParquet needs more packages; run: pip install 'swath[parquet]'") from None
    return pyarrow, pyarrow.parquet, stac_geoparquet.arrow


def read_items(path: Path) -> Iterator[bytes]:
    """The items of a file as JSON text, some rows at a time."""
    arrow, parquet, stac = _library()
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if "geometry" not in schema.names or "id" not in schema.names:
                raise InvalidRequest("it has no columns `id` and `geometry`; it is not STAC GeoParquet")
            for batch in file.iter_batches(batch_size=_ROWS):
                table = arrow.Table.from_batches([batch], schema=schema)
                for item in stac.stac_table_to_items(table):
                    yield json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()
    except (arrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"it cannot be read as STAC GeoParquet: {error}") from None


def write_items(path: Path, items: Iterable[bytes]) -> int:
    """Write items to a file; returns how many. Rows are converted in groups, the schema is that of all of them."""
    import msgspec

    arrow, _, stac = _library()
    count = 0

    def groups() -> Iterator[list[dict[str, Any]]]:
        nonlocal count
        source = iter(items)
        while group := [msgspec.json.decode(raw) for raw in islice(source, _ROWS)]:
            count += len(group)
            yield group

    try:
        batches = [stac.parse_stac_items_to_arrow(group).read_all() for group in groups()]
        if not batches:
            raise InvalidRequest("there is no item to write; GeoParquet needs at least one")
        stac.to_parquet(arrow.concat_tables(batches, promote_options="permissive"), path)
    except (arrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"GeoParquet cannot hold these items in one table ({error}); "
            "export one collection at a time with --filter, or to .ndjson"
        ) from None
    return count
