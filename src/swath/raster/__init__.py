"""Rasters and vectors. Only what a sandboxed child imports touches rasterio, rio-cogeo and pyogrio."""
