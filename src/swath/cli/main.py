"""`swath`: the commands. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from swath import __version__
from swath.cli import editing, storing

__all__ = ["app", "main", "run"]

DONE, FAILED, USAGE, PARTLY, NOT_ALLOWED = 0, 1, 2, 3, 4

app = App(
    name="swath",
    version=__version__,
    help="Load STAC items, search them, serve them. Start with `swath demo`.",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` has words for it
)

CatalogFolder = Annotated[Path, Parameter(help="folder of the catalogue")]
# Values such as -180,0,180,90 and -datetime are no options.
Words = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Header = Annotated[list[str] | None, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON instead of words")]


@app.command
def demo(
    catalog: CatalogFolder = Path("swath-demo"),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    browser: bool = True,
) -> int:
    """Load real scenes into a new catalogue, serve it, and open the browser.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on; the next free one is taken if it is in use.
    browser
        Open the browser once the server answers.
    """
    from swath.cli.serving import run_demo

    return run_demo(catalog, host, port, browser=browser)


@app.command
def load(
    catalog: CatalogFolder,
    /,
    *sources: Annotated[str, Parameter(allow_leading_hyphen=True)],
    mode: Literal["upsert", "insert", "ignore"] = "upsert",
    collection: str | None = None,
    absolute: str | None = None,
    collections: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    header: Header = None,
    full: Annotated[bool, Parameter(negative="")] = False,
    restart: Annotated[bool, Parameter(negative="")] = False,
    elsewhere: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Load items and collections from files, folders and STAC APIs; `-` reads standard input.

    Takes NDJSON, single JSON documents, ItemCollections, static catalogue folders and GeoParquet, told by
    their content. Refused documents are listed with file, line, id and reason; the others are kept.

    From an address it copies what is there. Stopped and run again, it goes on where it was; once it has come to
    the end, it asks only for what is newer, where the API can tell.

    Parameters
    ----------
    sources
        Files, folders or addresses.
    mode
        What to do with an id that is there: replace it (the same bytes make no new version), refuse, or keep.
    collection
        Collection of items that name none.
    absolute
        Address of the folder that the files come from: relative hrefs are resolved against it.
    collections
        Only these collections of an API.
    header
        A header to send to an API, such as 'Authorization: Bearer …'; may be repeated.
    full
        Copy everything, not only what is newer than the last run.
    restart
        Forget where the last run stopped, and begin anew.
    elsewhere
        Follow links of a static catalogue to other servers too.
    """
    from swath.cli.loading import run_load
    from swath.cli.remote import Remote

    unknown = [source for source in sources if source.startswith("-") and source != "-"]
    if unknown:
        print(f"swath: unknown option {unknown[0]}\nSee: swath load --help", file=sys.stderr)
        return USAGE
    remote = Remote(collections, header, restart, full, elsewhere)
    return run_load(catalog, sources, mode, collection, absolute, remote, as_json=json)


@app.command
def serve(
    catalog: CatalogFolder,
    /,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    root_path: str | None = None,
    public_url: str | None = None,
) -> int:
    """Serve a catalogue as a STAC API.

    Parameters
    ----------
    host
        Address to listen on (127.0.0.1 unless SWATH_HOST says otherwise).
    port
        Port to listen on (8000 unless SWATH_PORT says otherwise).
    workers
        Number of server processes.
    root_path
        Path under which a proxy serves the API, such as /stac.
    public_url
        Address that users see; wins over what a proxy sends.
    """
    from swath.cli.serving import run_serve

    given = {"host": host, "port": port, "workers": workers, "root_path": root_path, "public_url": public_url}
    return run_serve(catalog, {name: value for name, value in given.items() if value is not None})


@app.command
def search(
    source: str,
    /,
    *,
    collections: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    ids: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    bbox: Words = None,
    intersects: Words = None,
    datetime: Words = None,
    filter: Words = None,  # noqa: A002 - the option's name in STAC
    sortby: Words = None,
    limit: int = 10,
    count: Annotated[bool, Parameter(negative="")] = False,
    explain: Annotated[bool, Parameter(negative="")] = False,
    header: Header = None,
    json: Json = False,
) -> int:
    """Search a catalogue folder or a STAC API.

    Parameters
    ----------
    source
        Folder of a catalogue, or the address of a STAC API.
    collections
        Ids of collections.
    ids
        Ids of items.
    bbox
        West,south,east,north in degrees.
    intersects
        A GeoJSON geometry, or a file that holds one.
    datetime
        An instant or an interval, such as 2020-01-01T00:00:00Z/..
    filter
        CQL2 text, or CQL2 JSON if it begins with a brace.
    sortby
        Names, comma separated; - before a name descends.
    limit
        Most items to print; 0 prints all.
    count
        Print only how many there are.
    explain
        Print how the items are found: what was counted, which way was taken, rows and time of each step.
    header
        A header to send to an API, such as 'Authorization: Bearer …'; may be repeated.
    """
    from swath.cli.searching import run_search

    words = {"bbox": bbox, "intersects": intersects, "datetime": datetime, "filter": filter, "sortby": sortby}
    return run_search(
        source, collections, ids, words, limit, count_only=count, as_json=json, explain=explain, header=header
    )


@app.command
def export(
    catalog: CatalogFolder,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)],
    filter: str | None = None,  # noqa: A002 - the option's name in STAC
    json: Json = False,
) -> int:
    """Write the catalogue to a file: .ndjson (collections, then items) or .parquet (items).

    Parameters
    ----------
    output
        File to write; `-` writes NDJSON to standard output.
    filter
        CQL2 text: only these items.
    """
    from swath.cli.exporting import run_export

    return run_export(catalog, output, filter, as_json=json)


@app.command
def queryables(
    catalog: CatalogFolder,
    collection: str | None = None,
    file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    remove: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Print what can be filtered by, or declare it with a JSON Schema.

    Declared types win over what the data look like; with "additionalProperties": false, other names are refused.

    Parameters
    ----------
    collection
        Only this collection.
    file
        JSON Schema whose properties are the collection's queryables; `-` reads standard input.
    remove
        Take the collection's declaration back.
    """
    from swath.cli.declaring import run_queryables

    if (file is not None or remove) and collection is None:
        print("swath: name the collection\nSee: swath queryables --help", file=sys.stderr)
        return USAGE
    if file is not None and remove:
        print("swath: give a file or --remove, not both\nSee: swath queryables --help", file=sys.stderr)
        return USAGE
    return run_queryables(catalog, collection, file, remove=remove)


schemas = App(name="schemas", help="JSON Schemas of STAC and its extensions that documents are held against.")
app.command(schemas)


@schemas.command(name="add")
def add_schemas(
    catalog: CatalogFolder,
    /,
    *sources: Path,
    uri: str | None = None,
    mirror: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Put JSON Schemas into the folder CATALOG/schemas. None is ever fetched: what documents name must be there.

    Parameters
    ----------
    sources
        Files, or folders of them.
    uri
        Address of the schema, where its $id is missing or wrong; for one file.
    mirror
        The files of the folders lie under host and path of their addresses, as `wget -x` leaves them.
    """
    from swath.cli.schemas import run_add

    if not sources or (uri is not None and (len(sources) > 1 or mirror)):
        words = "name at least one file or folder" if not sources else "--uri is for one file"
        print(f"swath: {words}\nSee: swath schemas add --help", file=sys.stderr)
        return USAGE
    return run_add(catalog, sources, uri, mirror=mirror, as_json=json)


@schemas.command(name="list")
def list_schemas(catalog: CatalogFolder, /, *, json: Json = False) -> int:
    """Print the addresses of the schemas that are there."""
    from swath.cli.schemas import run_list

    return run_list(catalog, as_json=json)


@schemas.command(name="remove")
def remove_schema(catalog: CatalogFolder, uri: str, /, *, json: Json = False) -> int:
    """Take a schema out.

    Parameters
    ----------
    uri
        Its address, as `swath schemas list` prints it.
    """
    from swath.cli.schemas import run_remove

    return run_remove(catalog, uri, as_json=json)


@app.command
def check(
    catalog: CatalogFolder, /, *, repair: Annotated[bool, Parameter(negative="")] = False, json: Json = False
) -> int:
    """Read every byte of a catalogue and compare it with what was written. Exit code 1 if anything is wrong.

    Parameters
    ----------
    repair
        Build files of the index that are damaged or gone anew from the database.
    """
    from swath.cli.checking import run_check

    return run_check(catalog, repair=repair, as_json=json)


@app.command
def doctor(catalog: Path | None = None, /, *, json: Json = False) -> int:
    """Print versions and limits, and what to mend.

    Parameters
    ----------
    catalog
        Also look at this catalogue.
    """
    from swath.cli.checking import run_doctor

    return run_doctor(catalog, as_json=json)


editing.register(app)
storing.register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors become a few words, tracebacks only with --debug."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words:
        words = ["--help"]
    try:
        result = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"swath: {_plain(error)}", file=sys.stderr)
        print(f"See: swath {words[0] + ' ' if words[0] in app else ''}--help", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("swath: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if debug:
            raise
        return _explain(error)
    return result if isinstance(result, int) else DONE


def _plain(error: CycloptsError) -> str:
    return " ".join(str(error).split())


def _explain(error: Exception) -> int:
    from swath.errors import SwathError

    if isinstance(error, SwathError | OSError):
        print(f"swath: {error}", file=sys.stderr)
    else:
        print(f"swath: unexpected {type(error).__name__}: {error}", file=sys.stderr)
        print("This is a fault of Swath. Run it again with --debug and report what it prints.", file=sys.stderr)
    return FAILED


def run() -> None:
    """The console script."""
    sys.exit(main())
