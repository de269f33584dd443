"""What a delivery is: each kind of product is looked for in turn, in what the kinds before it left."""

from __future__ import annotations

from dataclasses import replace

from swath.delivery import dimap, landsat, plain, planet, sentinel2
from swath.delivery.model import Inspect, Part, Product, Recogniser, Scene, Tree, distinct
from swath.errors import DeliveryRefused

__all__ = ["RECOGNISERS", "recognised"]

RECOGNISERS: tuple[Recogniser, ...] = (
    sentinel2.recognise,
    landsat.recognise,
    dimap.recognise,
    planet.recognise,
    plain.recognise,  # whatever else is imagery or vectors
)


def recognised(tree: Tree, inspect: Inspect) -> tuple[Product, ...]:
    """The products of a delivery. DeliveryRefused where one is broken, and where there is none."""
    found: list[Product] = []
    rest = tree
    for recognise in RECOGNISERS:
        product = recognise(rest, inspect)
        if product is not None:
            found.append(replace(product, scenes=tuple(map(_with_distinct_keys, product.scenes))))
            rest = rest.less(product.claimed)
    if not any(product.scenes for product in found):
        shown = ", ".join(tree.files[:5]) + (" …" if len(tree.files) > 5 else "")
        raise DeliveryRefused(f"nothing in the delivery is imagery or vector data of a kind that is known: {shown}")
    return tuple(product for product in found if product.scenes)


def _with_distinct_keys(scene: Scene) -> Scene:
    parts: tuple[Part, ...] = distinct(scene.parts)
    return replace(scene, parts=parts)
