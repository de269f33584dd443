"""Settings. The only module that reads the environment; entry points pass the values down."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings", "has_keys"]


class Settings(BaseSettings):
    """Each has the environment variable `SWATH_` and its name in capitals; docs/reference/settings.md explains them."""

    model_config = SettingsConfigDict(env_prefix="SWATH_", extra="ignore", frozen=True)

    id: str = Field("swath", description="id of the root catalogue")
    title: str = Field("Swath", description="title of the root catalogue")
    description: str = Field("A STAC catalogue served by Swath.", description="description of the root catalogue")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, description="port to listen on")
    tls_certificate: str | None = Field(
        None, description="file with the certificate chain, in PEM: the server speaks HTTPS itself"
    )
    tls_key: str | None = Field(
        None, description="file with the certificate's private key, where it is not in the same"
    )
    workers: int = Field(1, description="number of server processes")
    public_url: str | None = Field(
        None, description="address that users see, such as https://stac.example.org/api; wins over all headers"
    )
    root_path: str = Field("", description="path under which the API is served, such as /stac")
    trusted_proxies: str = Field(
        "127.0.0.1/32,::1/128",
        description="networks whose Forwarded and X-Forwarded-* headers are believed, comma separated",
    )
    writes: Literal["loopback", "on", "off"] = Field(
        "loopback", description="whether HTTP may write: only while listening on a loopback address, on, or off"
    )
    explain: Literal["loopback", "on", "off"] = Field(
        "loopback",
        description="whether `explain` tells how a search is done: only while listening on loopback and asked there, "
        "on, or off",
    )
    private_webhooks: Literal["loopback", "on", "off"] = Field(
        "loopback",
        description="whether webhooks may lead into private networks: only while listening on loopback, on, or off",
    )
    store: Literal["loopback", "on", "off"] = Field(
        "loopback",
        description="whether the asset store (/v2/assets, /uploads) is served: only while listening on a loopback "
        "address, on, or off",
    )
    store_password: str | None = Field(
        None,
        description="password of the local account; with it, the asset store wants a token of /realms/… for everything "
        "but signed links",
    )
    blobs: str | None = Field(
        None,
        description="where files are kept: a folder, s3://bucket/prefix, gs://… or az://…; the catalogue's own folder "
        "unless given. Credentials come from the environment of the cloud's own tools",
    )
    delivery_workers: int = Field(
        0, ge=0, le=256, description="deliveries worked on, and files converted, at once; 0: as many as there are cores"
    )
    link_seconds: int = Field(
        900, ge=1, le=604_800, description="how long a signed download link holds, unless another time is asked for"
    )
    history_days: float = Field(
        0,
        ge=0,
        le=36_500,
        description="days for which versions that have ended, and what was deleted, are kept; 0 keeps all",
    )
    allowed_hosts: str = Field(
        "", description="names of this server under which writes are taken, beside its own, comma separated"
    )
    kept_answers_mb: int = Field(
        32, ge=0, description="room for answers that are given again while nothing is written, in each process"
    )
    search_threads: int = Field(2, ge=1, le=64, description="searches that a process runs at once")
    search_queue: int = Field(64, ge=1, description="requests that may wait for a thread before 503 is answered")

    @field_validator("root_path")
    @classmethod
    def _clean_path(cls, value: str) -> str:
        path = value.strip().strip("/")
        return f"/{path}" if path else ""

    @field_validator("public_url")
    @classmethod
    def _clean_url(cls, value: str | None) -> str | None:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("begins with http:// or https://")
        return value.rstrip("/") if value else None

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for part in filter(None, map(str.strip, value.split(","))):
            ip_network(part, strict=False)
        return value

    def host_names(self) -> tuple[str, ...]:
        return tuple(filter(None, map(str.strip, self.allowed_hosts.split(","))))

    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        parts = filter(None, map(str.strip, self.trusted_proxies.split(",")))
        return tuple(ip_network(part, strict=False) for part in parts)


# Where the tools of each cloud look for its keys.
_KEYS = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
           "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE"),
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY",
           "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SKIP_SIGNATURE"),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_TOKEN", "AZURE_STORAGE_CLIENT_ID",
           "AZURE_SKIP_SIGNATURE"),
}  # fmt: skip


def has_keys(kind: str) -> bool:
    """Whether the environment has keys of a cloud: s3, gs or az."""
    return any(os.environ.get(name) for name in _KEYS[kind])
