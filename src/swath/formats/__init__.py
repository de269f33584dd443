"""Readers and writers of items and collections in files: JSON, NDJSON, static catalogues, GeoParquet."""
