"""Commands on files: their words. What they do is in `cli.delivering`, `cli.working` and `cli.downloading`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

__all__ = ["register"]

CatalogFolder = Annotated[Path, Parameter(help="folder of the catalogue")]
Words = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON instead of words")]


def deliver(
    catalog: CatalogFolder,
    /,
    *paths: Path,
    title: str | None = None,
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    order_id: str | None = None,
    host_id: str | None = None,
    product_id: str | None = None,
    collection_name: str | None = None,
    source: str | None = None,
    datetime: str | None = None,
    crs: str | None = None,
    wait: bool = True,
    json: Json = False,
) -> int:
    """Take in deliveries of imagery, as they came from the provider, and make STAC of them.

    A ZIP, a tar, a folder or a single file: Sentinel-2 SAFE, Landsat Collection 2, Pléiades, Pléiades Neo and SPOT,
    Planet orders, and plain rasters and vectors. The delivery is kept byte for byte; its rasters become cloud-optimized
    GeoTIFFs, its masks GeoJSON. The catalogue is made if it is not there.

    Parameters
    ----------
    paths
        Files and folders.
    title
        Title of the delivery.
    tag
        A tag; may be repeated.
    order_id
        Id of the order.
    host_id
        The provider's own id of the order.
    product_id
        Id of the data product.
    collection_name
        Name of the geospatial collection, where the product's own will not do.
    source
        ARCHIVE, TASKING, ANALYTICS, PROCESSING, PLATFORM or USER.
    datetime
        When the data were taken, for files that do not say it: an RFC 3339 instant.
    crs
        Coordinate reference system of files that do not say it, such as EPSG:32632.
    wait
        Wait until all is done; with --no-wait, `swath work` or a server does it.
    """
    import sys

    from swath.cli.delivering import run_deliver

    if not paths:
        print("swath: name at least one file or folder\nSee: swath deliver --help", file=sys.stderr)
        return 2
    words = {
        "title": title, "tags": tag, "order_id": order_id, "host_id": host_id, "product_id": product_id,
        "collection_name": collection_name, "source": source, "datetime": datetime, "crs": crs,
    }  # fmt: skip
    return run_deliver(catalog, paths, words, wait=wait, as_json=json)


def work(catalog: CatalogFolder, /, *, dask: str | None = None) -> int:
    """Work on deliveries until stopped: for machines that serve nothing, and for clusters.

    `swath serve` does so itself. Several may run at once, each takes what nobody else does.

    Parameters
    ----------
    dask
        Address of a Dask scheduler, such as tcp://10.0.0.5:8786: files are converted by its workers, which see the
        catalogue's folder under the same path.
    """
    from swath.cli.working import run_work

    return run_work(catalog, dask)


def download(
    source: str,
    /,
    *names: str,
    ids: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    collections: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    bbox: Words = None,
    intersects: Words = None,
    datetime: Words = None,
    filter: Words = None,  # noqa: A002 - the option's name in STAC
    limit: int | None = None,
    assets: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    roles: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("downloads"),
    parallel: int = 4,
    yes: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    header: Annotated[list[str] | None, Parameter(negative="")] = None,
    json: Json = False,
) -> int:
    """Download the files of items, from a catalogue folder or a STAC API.

    Says how much it is, then fetches OUTPUT/COLLECTION/ITEM/FILE, several at a time. Each file is checked by its
    checksum, or else by its size, before it gets its name. Stopped and run again, it goes on where it was, and leaves
    out what is there. The folder is a static STAC catalogue then: every item lies beside its files.

    Exit code 1 where nothing could be had, 3 where some of it could not.

    Parameters
    ----------
    source
        Folder of a catalogue, or the address of a STAC API, of a collection, an item or a delivery in it.
    names
        Ids of collections or deliveries, all of whose items are meant.
    ids
        Ids of items.
    collections
        Ids of collections.
    bbox
        West,south,east,north in degrees.
    intersects
        A GeoJSON geometry, or a file that holds one.
    datetime
        An instant or an interval, such as 2020-01-01T00:00:00Z/..
    filter
        CQL2 text, or CQL2 JSON if it begins with a brace.
    limit
        Most items; 0 is all. All that is searched for unless given.
    assets
        Keys of assets; all assets unless keys or roles are given.
    roles
        Roles of assets, such as data; `original` is what a delivery was made of.
    output
        Folder to put them in.
    parallel
        Files that are fetched at a time.
    yes
        Do not ask.
    dry_run
        Only say what there is, and how large.
    header
        A header to send to the API and to files on its server, such as 'Authorization: Bearer …'; may be repeated.
    """
    from swath.cli.downloading import run_download

    words = {"bbox": bbox, "intersects": intersects, "datetime": datetime, "filter": filter}
    return run_download(
        source, names, (collections, ids, words), limit, (assets, roles), output,
        parallel=parallel, yes=yes, dry_run=dry_run, header=header, as_json=json,
    )  # fmt: skip


def register(app: App) -> None:
    """Put the commands into the app."""
    for command in (deliver, download, work):
        app.command(command)
