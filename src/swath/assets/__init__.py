"""The use cases on files."""

from swath.assets.store import AssetStore

__all__ = ["AssetStore"]
