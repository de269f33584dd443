"""`/api.html`: Swagger UI out of a package, so that it works without a network."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response

from swath.errors import NotFound
from swath.http.call import Call

__all__ = ["docs_asset", "docs_page"]

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "application/javascript",
    "favicon-32x32.png": "image/png",
}
# Swagger UI writes style attributes and data: images; scripts are our own files only.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
# Addresses are relative to `…/api.html`, so that they hold behind any proxy and prefix.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API documentation</title>
<link rel="icon" href="api.html/favicon-32x32.png">
<link rel="stylesheet" href="api.html/swagger-ui.css">
</head>
<body>
<main id="swagger-ui">
<noscript>This page needs JavaScript; the document itself is at <a href="api">api</a>.</noscript>
</main>
<script src="api.html/swagger-ui-bundle.js"></script>
<script src="api.html/start.js"></script>
</body>
</html>
"""
_START = """\
SwaggerUIBundle({
  url: "api", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
});
"""


def _folder() -> Path:
    import swagger_ui_bundle

    return Path(swagger_ui_bundle.swagger_ui_path)


def docs_page(call: Call) -> Response:
    call.parameters(())
    return Response(_PAGE, headers=_HEADERS, media_type="text/html")


def docs_asset(call: Call) -> Response:
    call.parameters(())
    name = call.path["asset"]
    if name == "start.js":
        return Response(_START, headers=_HEADERS, media_type="application/javascript")
    if name not in _ASSETS:
        raise NotFound(f"there is no /api.html/{name[:80]} here")
    return FileResponse(_folder() / name, headers=_HEADERS, media_type=_ASSETS[name])
