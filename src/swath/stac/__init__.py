"""Plain STAC data: time, geometry, documents. Knows no database and no HTTP."""
