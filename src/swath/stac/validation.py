"""The structural rules of STAC Items and Collections, and repair by the rules of RFC 7946.

`problems` only reports. An error breaks a rule that searches or clients rely on; a warning is what RFC 7946 asks
readers to bear, or what may be meant. JSON Schemas are another matter: `stac/schemas`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from swath.errors import InvalidDocument, shown
from swath.stac.boxes import compare
from swath.stac.document import ItemDocument, check_id
from swath.stac.findings import Findings, Fix, Problem, pointer
from swath.stac.geometry import BBox, parse_bbox
from swath.stac.outlines import Outline, check_geometry
from swath.stac.spelling import replaced, respelled, spelled_positions
from swath.stac.text import members
from swath.stac.time import parse_temporal

__all__ = ["Fix", "Problem", "fixed", "is_collection", "is_sound", "problems"]

_MOST_COMPARED = 1_000
_UTC = ("Z", "z", "+00:00", "-00:00")


def problems(content: dict[str, Any]) -> tuple[Problem, ...]:
    """What is wrong with a STAC Item or Collection, errors first; at most a hundred of each level."""
    findings = Findings()
    _check_common(content, findings)
    if is_collection(content):
        _check_collection(content, findings)
    else:
        _check_item(content, findings)
    return findings.problems()


def is_sound(document: ItemDocument) -> bool:
    """Whether `problems` would find no error in an item, told at a fifth of the cost; where it says no, it may be one.

    What was found when the item was read is not looked for again: its footprint is valid and within ±180 where it is
    searched as it was sent.
    """
    content = document.content
    reach, given = _plain_reach(content["geometry"]), _box(content.get("bbox"))
    if reach is None or given is None or document.shape is not None or document.warnings or _runs_west(given):
        return False
    if reach.east - reach.west > 180 or compare(given, reach) == "smaller":
        return False
    findings = Findings()
    _check_common(content, findings)
    _check_described(content, findings)
    return not findings.errors


def _plain_reach(geometry: Any) -> BBox | None:
    """The box of polygons whose rings are closed; None for anything else, which footprints seldom are."""
    kind = geometry["type"] if geometry is not None else None
    if kind not in ("Polygon", "MultiPolygon"):
        return None
    polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
    rings = [ring for polygon in polygons for ring in polygon]
    if not rings or not all(polygons) or any(len(ring) < 4 or ring[0] != ring[-1] for ring in rings):
        return None
    positions = [position for ring in rings for position in ring]
    x, y = [position[0] for position in positions], [position[1] for position in positions]
    return BBox(min(x), min(y), max(x), max(y))


def is_collection(content: dict[str, Any]) -> bool:
    """Whether a document is a Collection, or would be one if it said so."""
    return content.get("type") == "Collection" or (content.get("type") is None and "extent" in content)


def fixed(content: dict[str, Any], body: bytes) -> tuple[bytes, tuple[Fix, ...]]:
    """An item with its geometry and bbox as RFC 7946 wants them, and what was changed. Nothing else moves a byte.

    `body` is the minimised text of `content`. What no rule can mend stays as it is, for `problems` to name.
    """
    if is_collection(content) or "geometry" not in content:
        return body, ()
    if content["geometry"] is None:
        if "bbox" not in content:
            return body, ()
        return replaced(body, {"bbox": None}), (Fix("/bbox", "left the bbox out, since the geometry is null"),)
    findings = Findings()
    given = _box(content.get("bbox"))
    start, end = members(body)["geometry"]
    text = body[start:end]
    outline = check_geometry(content["geometry"], spelled_positions(text), findings, across=_runs_west(given))
    values: dict[str, bytes | None] = {}
    if outline.changed:
        values["geometry"] = respelled(text, outline.changed, "/geometry")
    expected = outline.mended_box(across=_runs_west(given))
    fixes = list(findings.fixes)
    if expected is not None and (given is None or compare(given, expected) != "same"):
        values["bbox"] = msgspec.json.encode(_numbers(expected, content.get("bbox")))
        fixes.append(Fix("/bbox", "took it from the geometry"))
    return replaced(body, values), tuple(fixes)


def _numbers(box: BBox, given: object) -> list[float]:
    """A box as it is written, with the heights that were given."""
    west, south, east, north = (number + 0.0 for number in (box.west, box.south, box.east, box.north))  # not -0.0
    if isinstance(given, list) and len(given) == 6:
        bottom, top = given[2], given[5]
        if type(bottom) in (int, float) and type(top) in (int, float) and bottom <= top:
            return [west, south, bottom, east, north, top]
    return [west, south, east, north]


# -- both ----------------------------------------------------------------------------------------


def _check_common(content: dict[str, Any], findings: Findings) -> None:
    _check_id(content.get("id"), "/id", findings)
    if not isinstance(content.get("stac_version"), str):
        tell = findings.warning if "stac_version" not in content else findings.error
        tell(
            "/stac_version", "stac_version is missing" if "stac_version" not in content else "stac_version is a string"
        )
    extensions = content.get("stac_extensions", [])
    if not isinstance(extensions, list):
        findings.error("/stac_extensions", "stac_extensions is an array of the addresses of JSON Schemas")
    else:
        for number, uri in enumerate(extensions):
            _check_text(uri, f"/stac_extensions/{number}", "the address of a JSON Schema", findings)
    _check_links(content, findings)


def _check_id(value: object, at: str, findings: Findings) -> None:
    try:
        check_id(value, at)
    except InvalidDocument as error:
        findings.error(at, str(error).removesuffix(f" (at {at})"))


def _check_text(value: object, at: str, what: str, findings: Findings) -> None:
    if not _is_text(value):
        findings.error(at, f"{what} is a string that is not empty")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and not value.isspace()


def _check_links(content: dict[str, Any], findings: Findings) -> None:
    links = content.get("links")
    if links is None and "links" not in content:
        findings.warning("/links", "links is missing; it may be empty, and the server adds its own")
        return
    if not isinstance(links, list):
        findings.error("/links", "links is an array")
        return
    for number, link in enumerate(links):
        if findings.full:
            return
        if not isinstance(link, dict):
            findings.error(f"/links/{number}", "a link is an object with strings `rel` and `href`")
            continue
        for name in ("rel", "href"):
            if not _is_text(link.get(name)):
                findings.error(f"/links/{number}/{name}", f"the {name} of a link is a string that is not empty")
        for name in ("type", "title"):
            if not isinstance(link.get(name, ""), str):
                findings.error(f"/links/{number}/{name}", f"the {name} of a link is a string")


def _check_assets(content: dict[str, Any], findings: Findings) -> None:
    assets = content.get("assets", {})
    if not isinstance(assets, dict):
        findings.error("/assets", "assets is an object")
        return
    for name, asset in assets.items():
        if findings.full:
            return
        if not isinstance(asset, dict):
            findings.error(pointer("assets", name), "an asset is an object")
            continue
        if not _is_text(asset.get("href")):
            findings.error(pointer("assets", name, "href"), "the href of an asset is a string that is not empty")
        roles = asset.get("roles", [])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            findings.error(pointer("assets", name, "roles"), "roles is an array of strings")


def _check_instant(value: object, at: str, findings: Findings) -> tuple[int, int] | None:
    """First and last microsecond of an RFC 3339 date-time in UTC; None with an error where it is none."""
    span = parse_temporal(value) if isinstance(value, str) else None
    if span is None or not isinstance(value, str):
        findings.error(at, f"{shown(value)} is not an RFC 3339 date-time such as 2020-01-31T10:00:00Z")
        return None
    if len(value) == 10:
        findings.error(at, f"{value!r} is a date; a date-time such as {value}T00:00:00Z is asked for")
    elif not value.endswith(_UTC):
        findings.error(at, f"{value!r} is not in UTC")
    elif value[10] == " ":
        findings.warning(at, f"{value!r} has a space where most readers want a T")
    return span


# -- items ---------------------------------------------------------------------------------------


def _check_item(content: dict[str, Any], findings: Findings) -> None:
    _check_described(content, findings)
    _check_place(content, findings)


def _check_described(content: dict[str, Any], findings: Findings) -> None:
    """All that is an item's own but where it is."""
    if content.get("type") != "Feature":
        findings.error("/type", 'an item has "type": "Feature"')
    if content.get("collection") is not None:
        _check_id(content["collection"], "/collection", findings)
    if "assets" not in content:
        findings.warning("/assets", "assets is missing; it may be empty")
    _check_assets(content, findings)
    properties = content.get("properties")
    if isinstance(properties, dict):
        _check_times(properties, findings)
    else:
        findings.error("/properties", "an item has an object `properties`")


def _check_times(properties: dict[str, Any], findings: Findings) -> None:
    """STAC Item, "Properties Object" and "Date and Time Range"."""
    spans = {}
    for name in ("datetime", "start_datetime", "end_datetime", "created", "updated"):
        if properties.get(name) is not None:
            spans[name] = _check_instant(properties[name], f"/properties/{name}", findings)
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if "datetime" not in properties:
        findings.error(
            "/properties/datetime", "datetime is missing; it may be null beside start_datetime and end_datetime"
        )
    elif properties["datetime"] is None and (start is None or end is None):
        findings.error("/properties/datetime", "a null datetime needs both start_datetime and end_datetime")
    elif (start is None) != (end is None):
        missing = "start_datetime" if start is None else "end_datetime"
        findings.error(f"/properties/{missing}", "start_datetime and end_datetime come together")
    first, at, last = (spans.get(name) for name in ("start_datetime", "datetime", "end_datetime"))
    if first and last and first[0] > last[1]:
        findings.error("/properties/start_datetime", "start_datetime is after end_datetime")
    elif first and last and at and (at[1] < first[0] or at[0] > last[1]):
        findings.warning("/properties/datetime", "datetime lies outside of start_datetime and end_datetime")


def _check_place(content: dict[str, Any], findings: Findings) -> None:
    """Geometry and bbox, each for itself and beside the other."""
    geometry, bbox = content.get("geometry"), content.get("bbox")
    if "geometry" not in content:
        findings.error("/geometry", "an item has a geometry, which may be null")
    elif geometry is None:
        if "bbox" in content:
            findings.error("/bbox", "an item with a null geometry has no bbox", "left out")
    else:
        given = _box(bbox)
        outline = check_geometry(geometry, geometry, findings, across=_runs_west(given))
        _check_bbox(content, given, outline, findings)


def _check_bbox(content: dict[str, Any], given: BBox | None, outline: Outline, findings: Findings) -> None:
    """An item's bbox is that of its geometry (RFC 7946, section 5)."""
    across = _runs_west(given)
    expected = outline.box(across=across)
    found = compare(given, expected) if given and expected else "same"
    if found == "same" and (given or (outline.is_empty and "bbox" not in content)):
        return
    fix = None if outline.mended_box(across=across) is None else "taken from the geometry"
    if given is None:
        tell = findings.error if "bbox" in content else findings.warning  # many leave it out, and none is misled
        tell("/bbox", _fault_of_bbox(content), fix)
    elif found == "smaller":
        findings.error("/bbox", f"the geometry lies partly outside of the bbox; its own is {_shown(expected)}", fix)
    else:
        findings.warning("/bbox", f"the bbox is larger than the geometry; its own is {_shown(expected)}", fix)


def _shown(box: BBox | None) -> str:
    return str(box and [round(number, 9) for number in (box.west, box.south, box.east, box.north)])


def _fault_of_bbox(content: dict[str, Any]) -> str:
    if "bbox" not in content:
        return "an item with a geometry has a bbox"
    try:
        parse_bbox(content["bbox"])
    except (ValueError, TypeError) as error:
        return str(error) if isinstance(error, ValueError) else "a bbox is an array of 4 or 6 numbers"
    raise AssertionError(content["bbox"])


def _box(bbox: object) -> BBox | None:
    if not isinstance(bbox, list):
        return None
    try:
        return parse_bbox(bbox)
    except ValueError:
        return None


def _runs_west(box: BBox | None) -> bool:
    return box is not None and box.west > box.east


# -- collections ---------------------------------------------------------------------------------


def _check_collection(content: dict[str, Any], findings: Findings) -> None:
    if content.get("type") != "Collection":
        findings.error("/type", 'a collection has "type": "Collection"')
    for name in ("description", "license"):
        _check_text(content.get(name), f"/{name}", f"the {name} of a collection", findings)
    if not isinstance(content.get("title", ""), str):
        findings.error("/title", "a title is a string")
    keywords = content.get("keywords", [])
    if not isinstance(keywords, list) or not all(isinstance(word, str) for word in keywords):
        findings.error("/keywords", "keywords is an array of strings")
    if not isinstance(content.get("summaries", {}), dict):
        findings.error("/summaries", "summaries is an object")
    _check_assets(content, findings)
    _check_providers(content.get("providers", []), findings)
    extent = content.get("extent")
    if not isinstance(extent, dict):
        # Where it is left out, Swath tells it from the items.
        tell = findings.error if "extent" in content else findings.warning
        tell("/extent", "a collection has an object `extent`")
        return
    _check_spatial(extent.get("spatial"), findings)
    _check_temporal(extent.get("temporal"), findings)


def _check_providers(providers: object, findings: Findings) -> None:
    if not isinstance(providers, list):
        findings.error("/providers", "providers is an array")
        return
    for number, provider in enumerate(providers):
        name = provider.get("name") if isinstance(provider, dict) else None
        _check_text(name, f"/providers/{number}/name", "the name of a provider", findings)


def _check_spatial(spatial: object, findings: Findings) -> None:
    """Collection, "Spatial Extent Object": one box around all, then what makes it up."""
    boxes = spatial.get("bbox") if isinstance(spatial, dict) else None
    if not isinstance(boxes, list) or not boxes:
        findings.error("/extent/spatial/bbox", "a spatial extent has an array `bbox` of one bbox or more")
        return
    read = []
    for number, box in enumerate(boxes):
        if findings.full:
            return
        try:
            read.append(parse_bbox(box if isinstance(box, list) else []))
        except ValueError as error:
            findings.error(f"/extent/spatial/bbox/{number}", str(error))
    if len(read) == len(boxes):
        outside = next(
            (number for number, box in enumerate(read[:_MOST_COMPARED]) if compare(read[0], box) == "smaller"), None
        )
        if outside is not None:
            findings.warning(
                f"/extent/spatial/bbox/{outside}", "it lies outside of the first bbox, which is the overall one"
            )


def _check_temporal(temporal: object, findings: Findings) -> None:
    """Collection, "Temporal Extent Object": one interval around all, then what makes it up."""
    intervals = temporal.get("interval") if isinstance(temporal, dict) else None
    if not isinstance(intervals, list) or not intervals:
        findings.error("/extent/temporal/interval", "a temporal extent has an array `interval` of one interval or more")
        return
    for number, interval in enumerate(intervals):
        if findings.full:
            return
        at = f"/extent/temporal/interval/{number}"
        if not isinstance(interval, list) or len(interval) != 2:
            findings.error(at, "an interval is an array of two date-times or nulls")
            continue
        ends = [
            None if end is None else _check_instant(end, f"{at}/{place}", findings)
            for place, end in enumerate(interval)
        ]
        if ends[0] and ends[1] and ends[0][0] > ends[1][1]:
            findings.error(at, "the interval ends before it starts")
