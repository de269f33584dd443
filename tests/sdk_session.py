"""What a user does with the UP42 SDK, in an environment that has it: run by tests/test_up42_sdk.py, prints JSON.

Nothing of the SDK is changed but the names of its hosts.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

warnings.simplefilter("ignore")
BASE, ASSET, FOLDER, LISTENER = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]

import requests  # noqa: E402

# Its import asks the package index which release is the newest: a test asks nobody but the server.
asked = requests.get
requests.get = lambda *_, **__: SimpleNamespace(
    json=lambda: {"info": {"version": "0.0.1"}}, raise_for_status=lambda: None
)
import up42  # noqa: E402
from up42 import host  # noqa: E402

requests.get = asked

REALM = f"{BASE}/realms/public/protocol/openid-connect"
host.endpoint = lambda path: f"{BASE}{path}"
host.token_endpoint = lambda: f"{REALM}/token"
host.user_info_endpoint = lambda: f"{REALM}/userinfo"
told: dict[str, Any] = {}


def storage() -> None:
    """Version 2 has a module for the storage."""
    found = up42.initialize_storage().get_assets(limit=20, sortby="createdAt", descending=True)
    told["listed"] = [asset.id for asset in found]
    searched = up42.initialize_storage().get_assets(search="ortho", tags=["aerial"], sources=["ARCHIVE"])
    told["searched"] = [asset.id for asset in searched]
    asset = up42.initialize_asset(ASSET)
    told["name"], told["size"], told["status"] = asset.name, asset.size, asset.geospatial_metadata_extraction_status
    told["items"] = [item.id for item in asset.stac_items]
    told["collection"] = asset.stac_info.id
    asset.update_metadata(title="From the SDK", tags=["sdk", "aerial"])
    told["title"], told["tags"] = asset.title, asset.tags
    asset.update_metadata(tags=["aerial"])
    told["kept"] = asset.title
    told["files"] = asset.download(output_directory=FOLDER / "original", unpacking=False)
    told["saved"] = str(asset.file.download(FOLDER))


def webhooks() -> None:
    """So it has one for webhooks."""
    from up42 import webhooks

    told["events"] = [each["name"] for each in webhooks.Webhook.get_webhook_events()]
    made = webhooks.Webhook(url=LISTENER, name="from the SDK", events=told["events"], active=True, secret="word")
    made.save()
    told["tested"] = made.trigger_test_events()
    made.name = "renamed"
    made.save()
    told["webhooks"] = [(each.id == made.id, each.name, each.secret) for each in webhooks.Webhook.all()]
    told["webhook"] = webhooks.Webhook.get(made.id).updated_at == made.updated_at
    made.delete()
    told["webhooks left"] = len(webhooks.Webhook.all())


def stac() -> None:
    client = up42.stac_client()
    told["client"] = client.id
    told["collections"] = [collection.id for collection in client.get_collections()]
    search = client.search(filter={"op": "=", "args": [{"property": "asset_id"}, ASSET]})
    items = list(search.items())
    told["found"] = [item.id for item in items]
    item = items[0]
    told["asset_id"] = item.up42.asset_id
    item.up42.title, item.up42.tags = "From pystac", ["one", "two"]
    item.update()
    told["updated"] = [item.properties.get("up42-user:title"), item.properties.get("up42-user:tags")]
    image = next(asset for asset in item.assets.values() if "data" in asset.roles)
    (FOLDER / "stac").mkdir()
    told["image"] = str(image.file.download(FOLDER / "stac"))
    told["one"] = [found.id for found in client.get_items(item.id)]
    told["intersects"] = [
        found.id for found in client.search(intersects=item.geometry, datetime=item.properties["datetime"]).items()
    ]
    if hasattr(up42, "BulkDeletion"):
        up42.BulkDeletion(item.id).delete()
        told["after deletion"] = [found.id for found in client.search(ids=[item.id]).items()]


up42.authenticate(username="somebody@example.org", password="anything")
if hasattr(up42, "initialize_storage"):
    storage()
    webhooks()
stac()
print(json.dumps(told))
