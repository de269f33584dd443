"""DIMAP V2 of Pléiades, Pléiades Neo and SPOT 6/7: components that were imaged at one time over one area are one scene,
the tiles of a component one mosaic. A stereo pair is two scenes, a tri-stereo three."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from shapely.geometry import shape

from swath.delivery.dimap_files import Shares, component_parts, shared_part, shares_of
from swath.delivery.dimap_metadata import Component, is_dimap, read_component
from swath.delivery.model import Inspect, Part, Product, Scene, Tree, distinct

__all__ = ["recognise"]

_SCENES = {"PHR": "Pléiades", "PNEO": "Pléiades Neo", "SPOT": "SPOT"}


def recognise(tree: Tree, inspect: Inspect) -> Product | None:
    """The scenes of all DIM files of a tree; None where there is none. DeliveryRefused for a broken one."""
    components = [
        component
        for name in tree.files
        if is_dimap(tree, name) and (component := read_component(tree, name, inspect)) is not None
    ]
    if not components:
        return None
    shares = shares_of(tree, components)
    scenes = [_scene(tree, each, shares) for each in _acquisitions(components)]
    missions = sorted({component.mission for component in components if component.mission})
    only_pan = all(component.kind == "panchromatic" for component in components)
    claimed = {file for component in components for file in component.images.files} | set(shares.shared)
    return Product(
        kind="dimap",
        title=" ".join(["Airbus DIMAP V2,", " and ".join(_SCENES.get(each, each) for each in missions)]).rstrip(", "),
        collection_name=missions[0].lower() if len(missions) == 1 else None,
        producer="Airbus",
        data_type="raster",
        modality="panchromatic" if only_pan else "multispectral",
        scenes=tuple(sorted(scenes, key=lambda scene: (scene.datetime or "", scene.name))),
        claimed=frozenset(claimed.union(*shares.own.values())),
    )


def _acquisitions(components: Sequence[Component]) -> list[list[Component]]:
    """The components of each scene, the finest first: of one satellite, one time, and areas that overlap."""
    at_once: dict[tuple[str, str], list[Component]] = defaultdict(list)
    for component in components:
        at_once[component.platform, component.imaged].append(component)
    found: list[list[Component]] = []
    for group in at_once.values():
        areas: list[list[Component]] = []
        for component in group:
            near = [area for area in areas if any(_overlap(component, each) for each in area)]
            areas = [area for area in areas if area not in near]
            areas.append([*(each for area in near for each in area), component])
        found += areas
    for area in found:
        area.sort(key=lambda each: (each.gsd or 1e9, each.path))
    return found


def _overlap(one: Component, other: Component) -> bool:
    """Whether the boxes of two footprints do. What says nothing of its place is taken to be in the same."""
    if one.footprint is None or other.footprint is None:
        return True
    west, south, east, north = shape(one.footprint).bounds
    west2, south2, east2, north2 = shape(other.footprint).bounds
    turns = (-360.0, 0.0, 360.0)
    return south < north2 and south2 < north and any(west < east2 + turn and west2 + turn < east for turn in turns)


def _scene(tree: Tree, components: Sequence[Component], shares: Shares) -> Scene:
    first = components[0]
    parts: list[Part] = []
    for component in components:
        parts += component_parts(tree, component, shares.own[component.path])
    parts += [
        shared_part(name)
        for name, folder in shares.shared.items()
        if any(not folder or component.path.startswith(f"{folder}/") for component in components)
    ]
    times = sorted(time for component in components for time in component.times)
    spans = len(set(times)) > 1 and first.time is not None and times[0] <= first.time <= times[-1]
    return Scene(
        first.name, first.time, distinct(parts), _properties(components), first.footprint,
        times[0] if spans else None, times[-1] if spans else None,
    )  # fmt: skip


def _properties(components: Sequence[Component]) -> Mapping[str, Any]:
    first = components[0]
    told = {
        "platform": first.platform or None,
        "constellation": first.mission or None,
        "instruments": [first.instrument.lower()] if first.instrument else None,
        "gsd": min((each.gsd for each in components if each.gsd is not None), default=None),
        "eo:cloud_cover": next((each.cloud for each in components if each.cloud is not None), None),
        "proj:code": first.crs,
        "processing:level": first.level,
        **first.angles,
    }
    return {name: value for name, value in told.items() if value is not None}
