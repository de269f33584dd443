"""Commands that change single things, look back, copy and follow: their words. What they do is in `cli.edits`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

__all__ = ["register"]

CatalogFolder = Annotated[Path, Parameter(help="folder of the catalogue")]
Words = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON instead of words")]
Flag = Annotated[bool, Parameter(negative="")]


def delete(catalog: CatalogFolder, collection: str, item: str | None = None, /, *, cascade: Flag = False) -> int:
    """Delete an item, or a collection. Both can be brought back with `swath undelete`.

    Parameters
    ----------
    collection
        Id of the collection.
    item
        Id of the item; without it, the collection is deleted.
    cascade
        Delete a collection that holds items too.
    """
    from swath.cli.edits import run_delete

    return run_delete(catalog, collection, item, cascade=cascade)


def undelete(catalog: CatalogFolder, collection: str, item: str | None = None, /, *, version: str | None = None) -> int:
    """Bring back a deleted item or collection, or an earlier version of an item.

    Parameters
    ----------
    collection
        Id of the collection.
    item
        Id of the item; without it, the collection comes back with all its items.
    version
        Version of the item, as `swath versions` lists them, or of the deleted collection, as `swath trash` does;
        without it, the last.
    """
    from swath.cli.edits import run_undelete

    return run_undelete(catalog, collection, item, version)


def versions(catalog: CatalogFolder, collection: str, item: str | None = None, /, *, json: Json = False) -> int:
    """List the versions of an item or a collection: when each was written, and by whom.

    Parameters
    ----------
    collection
        Id of the collection.
    item
        Id of the item; without it, versions of the collection's own document.
    """
    from swath.cli.edits import run_versions

    return run_versions(catalog, collection, item, as_json=json)


def trash(catalog: CatalogFolder, collection: str | None = None, /, *, json: Json = False) -> int:
    """List deleted collections, or the deleted items of a collection, that can be brought back.

    Parameters
    ----------
    collection
        Id of a collection.
    """
    from swath.cli.edits import run_trash

    return run_trash(catalog, collection, as_json=json)


def changes(
    catalog: CatalogFolder,
    /,
    *,
    since: str | None = None,
    collections: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    filter: Words = None,  # noqa: A002 - the option's name in STAC
    follow: Flag = False,
) -> int:
    """Print what was changed, one JSON object a line, in the order of the commits.

    Parameters
    ----------
    since
        A token out of the feed, an RFC 3339 instant, or `now`; without it, from the beginning.
    collections
        Only of these collections.
    filter
        CQL2 text: only items that it selects; one that it selects no more is told as `left`.
    follow
        Go on, and print what is changed from now on, until stopped.
    """
    from swath.cli.edits import run_changes

    return run_changes(catalog, since, collections, filter, follow=follow)


def settings(
    catalog: CatalogFolder,
    collection: str,
    /,
    *values: Annotated[str, Parameter(allow_leading_hyphen=True)],
    json: Json = False,
) -> int:
    """Print or change how a collection is treated.

    Parameters
    ----------
    collection
        Id of the collection.
    values
        NAME=VALUE, or NAME= to take a setting away: validation=off|warn|enforce (documents that come in),
        cache_control=… (the header of answers).
    """
    from swath.cli.edits import run_settings

    return run_settings(catalog, collection, values, as_json=json)


def mirror(
    catalog: CatalogFolder,
    source: str,
    /,
    *,
    once: Flag = False,
    restart: Flag = False,
    collections: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    header: Annotated[list[str] | None, Parameter(negative="", allow_leading_hyphen=True)] = None,
    interval: float = 300.0,
) -> int:
    """Keep a catalogue equal to another one: a folder, a Swath server, or any STAC API.

    Goes on where it was when it is started again. Of a STAC API without a feed of changes it asks for what was updated,
    again and again; what was deleted there it cannot see.

    Parameters
    ----------
    source
        Folder of a catalogue, or the address of an API.
    once
        Stop when everything that there is has been taken.
    restart
        Take away what is in the catalogue, and copy everything again.
    collections
        Only these collections.
    header
        A header to send along, such as 'Authorization: Bearer …'; may be repeated.
    interval
        Seconds between two looks at an API without a feed.
    """
    from swath.cli.mirroring import run_mirror

    return run_mirror(catalog, source, collections, header, once=once, restart=restart, interval=interval)


def backup(catalog: CatalogFolder, file: Path, /, *, json: Json = False) -> int:
    """Copy a catalogue to a file, as it is at this moment, while it is served and written to.

    Parameters
    ----------
    file
        File to write; there must be none of that name.
    """
    from swath.cli.checking import run_backup

    return run_backup(catalog, file, as_json=json)


def restore(file: Path, catalog: CatalogFolder, /, *, json: Json = False) -> int:
    """Make a catalogue of a backup. Cursors, ETags and feed tokens of the other one do not count for it.

    Parameters
    ----------
    file
        File that `swath backup` wrote.
    """
    from swath.cli.checking import run_restore

    return run_restore(file, catalog, as_json=json)


def register(app: App) -> None:
    """Make them commands."""
    for command in (delete, undelete, versions, trash, changes, settings, mirror, backup, restore):
        app.command(command)
