"""The use cases on metadata. Every one takes the caller's rule."""

from swath.catalog.catalog import Catalog
from swath.catalog.request import SearchRequest, build_search
from swath.catalog.views import CollectionPage, CollectionView

__all__ = ["Catalog", "CollectionPage", "CollectionView", "SearchRequest", "build_search"]
