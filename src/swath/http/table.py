"""All routes of the server: the router and the OpenAPI document are both made from them."""

from __future__ import annotations

from swath.http import extensions, files, login, routes, storage, uploads, workspaces
from swath.http.route import Route

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = (
    *workspaces.ROUTES,  # before those of webhooks, whose id `events` could be
    *routes.ROUTES,
    *storage.ROUTES,  # before those of files, whose ids a face's name could be
    *files.ROUTES,
    *uploads.ROUTES,
    *login.ROUTES,
    *extensions.ROUTES,
)
