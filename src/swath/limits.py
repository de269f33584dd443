"""Every cap in one place. `/limits` publishes this table, and the OpenAPI document refers to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds, the rest are counts."""

    body_bytes: int = 10_000_000
    filter_text_bytes: int = 65_536
    filter_depth: int = 64
    filter_nodes: int = 10_000
    list_members: int = 10_000
    like_pattern_bytes: int = 8_192
    geometry_vertices: int = 10_000
    stored_geometry_vertices: int = 100_000
    sort_fields: int = 32
    page_default: int = 10
    page_max: int = 10_000
    page_bytes: int = 64_000_000
    collections_default: int = 300
    id_characters: int = 1_024
    item_bytes: int = 10_000_000
    json_depth: int = 200
    query_text_bytes: int = 65_000  # the HTTP parser itself refuses a request line of 64 KB
    cursor_lifetime_seconds: int = 86_400
    idempotency_seconds: int = 86_400
    idempotency_key_characters: int = 255
    atomic_items: int = 100_000
    atomic_bytes: int = 200_000_000
    feed_page: int = 1_000
    feed_wait_seconds: float = 60.0
    deadline_seconds: float = 10.0
    count_budget_seconds: float = 0.25
    delivery_files: int = 10_000
    delivery_bytes: int = 200_000_000_000  # unpacked
    delivery_ratio: int = 200  # of unpacked to packed bytes, past the first 10 MB
    delivery_name_bytes: int = 255
    delivery_path_bytes: int = 1_024
    xml_bytes: int = 20_000_000
    xml_depth: int = 256
    raster_pixels: int = 40_000_000_000  # of one image, over all bands
    raster_ratio: int = 2_000  # of decoded to stored bytes, past the first 64 MB

    def published(self) -> dict[str, int | float]:
        """Name and value of each, as `/limits` shows them."""
        return asdict(self)


LIMITS = Limits()
