"""Files of items to this machine: found, named, fetched, checked, and left as a static STAC catalogue."""

from __future__ import annotations

from swath.download.downloads import Download, File, Selection
from swath.download.finding import Folder, Origin, Remote

__all__ = ["Download", "File", "Folder", "Origin", "Remote", "Selection"]
