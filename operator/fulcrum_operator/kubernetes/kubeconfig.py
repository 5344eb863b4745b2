"""Reads credentials from kubeconfig files as kubectl does.

The package `kubernetes` reads and merges the files, and renews the tokens of its oldest kind of
login (`oidc`). Differences from kubectl are corrected here: the first file's current-context
counts and not the last one's, a path is relative to its file, and proxies work, which release 30
does not know.
"""

from __future__ import annotations

import base64
import binascii
import copy
import ipaddress
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KubeConfigMerger

from fulcrum_operator.kubernetes.credentials import Credentials, Login
from fulcrum_operator.kubernetes.oidc import log_in_with
from fulcrum_operator.kubernetes.plugins import GROUP, read_plugin
from fulcrum_pipelines.errors import UserError

ACCEPTED = "accepted are a client certificate, token, tokenFile, exec"
PROXIES = ("http", "https")
IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")
INSTEAD = {
    "gcp": "install gke-gcloud-auth-plugin and run: gcloud container clusters get-credentials",
    "azure": "install kubelogin and run: kubelogin convert-kubeconfig",
}
"""kubectl itself has had no such logins since 1.26."""


@dataclass(frozen=True)
class Entry:
    """A named entry of a file: a context, a cluster or a user."""

    path: Path
    section: str
    name: str
    fields: Mapping[str, Any]

    def text(self, field: str) -> str:
        """Return a field, empty if it is not there."""
        return str(self.fields.get(field) or "")

    def file(self, field: str) -> Path | None:
        """Return the path in a field, which may be relative to the file that it is in."""
        return self.path.parent / self.text(field) if self.text(field) else None

    def where(self, field: str = "") -> str:
        """Return the place of a field, for messages."""
        place = f"{self.path}: {self.section}[{self.name}].{self.section.removesuffix('s')}"
        return f"{place}.{field}" if field else place


def from_kubeconfig(*paths: Path, context: str = "") -> Credentials:
    """Return the credentials of one context of the files `paths`.

    Args:
        paths: Of several, the first that has an entry counts; missing and empty ones are skipped.
        context: Its name; the current one by default.

    Raises:
        UserError: A file is missing or wrong; the message has the field's path.
    """
    merger = _merged(paths)
    files = ", ".join(merger.paths)
    context = context or _current_context(merger, files)
    chosen = _entry(merger, "contexts", context)
    cluster = _entry(merger, "clusters", chosen.text("cluster"))
    name = chosen.text("user")
    user = _entry(merger, "users", name) if name else Entry(chosen.path, "users", "", {})
    _refuse_what_is_not_supported(user)
    server = cluster.text("server").rstrip("/")
    if urllib.parse.urlsplit(server).scheme not in PROXIES:
        message = f"is {server or 'missing'}; it must begin with https:// or http://"
        raise UserError(message, where=cluster.where("server"))
    ca_pem = _pem(cluster, "certificate-authority")
    certificate_pem, key_pem = _pem(user, "client-certificate"), _pem(user, "client-key")
    if bool(certificate_pem) != bool(key_pem):
        message = "has one of client-certificate and client-key; a login needs both"
        raise UserError(message, where=user.where())
    proxy_url = _proxy(cluster, server)
    return Credentials(
        server=server,
        ca_pem=ca_pem,
        insecure=cluster.fields.get("insecure-skip-tls-verify") is True,
        certificate_pem=certificate_pem,
        key_pem=key_pem,
        token=user.text("token"),
        token_path=user.file("tokenFile"),
        login=_login(merger, user, _cluster_info(cluster, server, ca_pem, proxy_url)),
        proxy_url=proxy_url,
        tls_server_name=cluster.text("tls-server-name"),
        namespace=chosen.text("namespace") or "default",
        origin=f"{files}, context {context}",
    )


def _merged(paths: tuple[Path, ...]) -> Any:
    """Return the package's view of the files.

    Raises:
        UserError: One of them is missing or not a kubeconfig.
    """
    merger = KubeConfigMerger("")
    for path in paths:
        try:
            if len(paths) > 1 and not (path.exists() and path.stat().st_size):
                continue
            merger.load_config(str(path))
            _check_names(merger.config_files[str(path)])
        except OSError as error:
            message = f"cannot be read: {error.strerror or error}"
            raise UserError(message, where=str(path)) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            message = f"is not YAML: {' '.join(str(error).split())}"
            raise UserError(message, where=str(path)) from error
        except (AttributeError, KeyError, TypeError, ConfigException) as error:
            message = (
                "is not a kubeconfig: it must be a mapping with contexts, clusters and users, "
                "which are lists of entries with names"
            )
            raise UserError(message, where=str(path)) from error
        merger.paths.append(str(path))
    if not merger.paths:
        raise UserError("no such file", where=", ".join(map(str, paths)))
    merger.config_saved = copy.deepcopy(merger.config_files)
    return merger


def _check_names(content: Mapping[str, Any]) -> None:
    """Raise what the package raises for some entries that are none: KeyError, TypeError."""
    for section in ("contexts", "clusters", "users"):
        for each in content.get(section) or ():
            each["name"]


def _current_context(merger: Any, files: str) -> str:
    for path in merger.paths:
        if current := merger.config_files[path].get("current-context"):
            return str(current)
    known = ", ".join(sorted(str(each["name"]) for each in merger.config.value["contexts"]))
    message = (
        "current-context is not set; set it with: kubectl config use-context NAME; "
        f"there are: {known or 'none'}"
    )
    raise UserError(message, where=files)


def _entry(merger: Any, section: str, name: str) -> Entry:
    """Return what the list `section` has under `name`; its inner key is the singular."""
    entries = {str(each["name"]): each for each in reversed(merger.config.value[section])}
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        where = ", ".join(merger.paths)
        raise UserError(f"{section} has no {name!r}; it has: {known}", where=where)
    found = entries[name]
    entry = Entry(Path(found.path), section, name, found.value.get(section.removesuffix("s")) or {})
    if not isinstance(entry.fields, Mapping):
        raise UserError("must be a mapping", where=entry.where())
    return entry


def _refuse_what_is_not_supported(user: Entry) -> None:
    if "exec" in user.fields and "auth-provider" in user.fields:
        message = "excludes auth-provider, which is there too; remove that"
        raise UserError(message, where=user.where("exec"))
    for field in ("username", "password"):
        if field in user.fields:
            message = f"passwords are not supported, nor by API servers since 1.19; {ACCEPTED}"
            raise UserError(message, where=user.where(field))
    for field in IMPERSONATION:
        if field in user.fields:
            message = "acting as another user is not supported; name a context without it"
            raise UserError(message, where=user.where(field))
    if (name := _provider(user).get("name")) in INSTEAD:
        message = f"the login {name} is not supported, nor by kubectl; {INSTEAD[str(name)]}"
        raise UserError(message, where=user.where("auth-provider"))
    if name and name != "oidc":
        message = f"the login {name} is unknown; accepted is oidc"
        raise UserError(message, where=user.where("auth-provider"))


def _provider(user: Entry) -> Mapping[str, Any]:
    provider = user.fields.get("auth-provider") or {}
    if not isinstance(provider, Mapping) or not isinstance(provider.get("config") or {}, Mapping):
        where = user.where("auth-provider")
        raise UserError("must be a mapping with name and config, a mapping", where=where)
    return provider


def _login(merger: Any, user: Entry, cluster: Mapping[str, Any]) -> Login | None:
    """Return the login of a user who has no token, which would go over it."""
    if user.text("token") or user.text("tokenFile"):
        return None
    directory = str(user.path.parent)
    if fields := user.fields.get("exec"):
        return Login(read_plugin(fields, user.where("exec"), directory, cluster).log_in)
    if provider := _provider(user):
        where = user.where("auth-provider")
        return Login(lambda: log_in_with(provider, where, directory, merger.save_changes))
    return None


def _cluster_info(cluster: Entry, server: str, ca_pem: str, proxy_url: str) -> dict[str, Any]:
    """Return the information about the cluster for a login plugin that asks for it."""
    extensions = cluster.fields.get("extensions") or ()
    if not all(isinstance(each, Mapping) for each in extensions):
        where = cluster.where("extensions")
        raise UserError("must be a list of entries with name and extension", where=where)
    ours = [each.get("extension") for each in extensions if each.get("name") == f"{GROUP}/exec"]
    info = {
        "server": server,
        "tls-server-name": cluster.text("tls-server-name"),
        "insecure-skip-tls-verify": cluster.fields.get("insecure-skip-tls-verify") is True,
        "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode(),
        "proxy-url": proxy_url,
        "config": ours[0] if ours else None,
    }
    return {name: value for name, value in info.items() if value}


def _proxy(cluster: Entry, server: str) -> str:
    """Return the proxy of the file, else that of the environment; its password is never printed."""
    url, where = cluster.text("proxy-url"), cluster.where("proxy-url")
    if not url:
        parts = urllib.parse.urlsplit(server)
        url = (
            "" if _direct(parts) else urllib.request.getproxies_environment().get(parts.scheme, "")
        )
        where = f"environment: {parts.scheme.upper()}_PROXY"
        url = f"http://{url}" if url and "://" not in url else url
    if url and (scheme := urllib.parse.urlsplit(url).scheme) not in PROXIES:
        message = f"proxies of the kind {scheme!r} are not supported; accepted are http and https"
        raise UserError(message, where=where)
    return url


def _direct(server: urllib.parse.SplitResult) -> bool:
    """Whether the environment's proxy is not for this server: as in Go, never for this machine."""
    host = server.hostname or ""
    if host == "localhost" or urllib.request.proxy_bypass(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or any(
        address in ipaddress.ip_network(part.strip(), strict=False)
        for part in urllib.request.getproxies_environment().get("no", "").split(",")
        if "/" in part
    )


def _pem(entry: Entry, field: str) -> str:
    """Return a PEM from its base64 in the file, or from the file that is named relative to it."""
    if encoded := entry.text(f"{field}-data"):
        try:
            return base64.b64decode("".join(encoded.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            where = entry.where(f"{field}-data")
            raise UserError("is not base64 of a PEM", where=where) from error
    if (path := entry.file(field)) is None:
        return ""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise UserError(message, where=entry.where(field)) from error
