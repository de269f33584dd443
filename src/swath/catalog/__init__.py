"""The use cases on metadata. Every one takes the caller's rule."""

from swath.catalog.catalog import Catalog, CollectionPage, CollectionView
from swath.catalog.request import SearchRequest, build_search

__all__ = ["Catalog", "CollectionPage", "CollectionView", "SearchRequest", "build_search"]
