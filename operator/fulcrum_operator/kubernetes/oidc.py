"""Renews the token of an OpenID Connect login that a kubeconfig holds itself (`auth-provider`).

The package `kubernetes` does that. It does not check the provider's certificate where the
kubeconfig names no authority for it, so one is always named here: the client's secret and the
refresh token are sent there.
"""

from __future__ import annotations

import base64
import json
import math
import os
import ssl
import time
from collections.abc import Callable
from typing import Any

import certifi
import oauthlib.oauth2
import urllib3
from kubernetes.client import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import KubeConfigLoader

from fulcrum_operator.kubernetes.credentials import Grant
from fulcrum_pipelines.errors import UserError

AUTHORITY = "idp-certificate-authority"
TOKENS = ("id-token", "refresh-token")
AGAIN = "log in again with the tool that made this file"
FAILURES = (
    ApiException,
    ConfigException,
    OSError,
    ValueError,
    LookupError,
    oauthlib.oauth2.OAuth2Error,
    urllib3.exceptions.HTTPError,
)


def log_in_with(provider: Any, where: str, directory: str, save: Callable[[], None]) -> Grant:
    """Return the token of a login, renewed if it expires in less than five minutes.

    Args:
        provider: The user's `auth-provider`; new tokens are put into it.
        where: File and field, for messages.
        directory: Of the file, which a path in it is relative to.
        save: Called with new tokens in it: providers may accept a refresh token only once, so
            that without it kubectl could not log in any more.

    Raises:
        UserError: There is no valid token, and it cannot be renewed.
    """
    config = provider.get("config") or {}
    if not config.get("id-token"):
        raise UserError(f"has no id-token; {AGAIN}", where=where)
    try:
        renewed = _renewed(config, directory)
        if renewed["id-token"] != config["id-token"]:
            config.update({name: renewed[name] for name in TOKENS if name in renewed})
            save()
        expires_s = _expires_s(config["id-token"])
    except FAILURES as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"the token cannot be renewed: {said}; {AGAIN}", where=where) from error
    if expires_s <= time.time():
        raise UserError(f"the token has expired and was not renewed; {AGAIN}", where=where)
    return Grant(token=config["id-token"], expires_s=expires_s)


def _renewed(config: dict[str, Any], directory: str) -> dict[str, Any]:
    """Return `config` with the tokens that the provider gives for it."""
    given = {"client-secret": "", **config}
    if not given.get(f"{AUTHORITY}-data"):
        given.pop(f"{AUTHORITY}-data", None)
        own = given.get(AUTHORITY)
        given[AUTHORITY] = os.path.join(directory, own) if own else _authorities()
    alone = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {}}],
        "users": [{"name": "u", "user": {"auth-provider": {"name": "oidc", "config": given}}}],
    }
    KubeConfigLoader(alone).load_and_set(Configuration())
    return given


def _authorities() -> str:
    """Return the file of this machine's certificate authorities, as kubectl uses them."""
    return ssl.get_default_verify_paths().cafile or certifi.where()


def _expires_s(token: str) -> float:
    """Return when a JSON Web Token expires, in Unix time."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return float(claims.get("exp", math.inf))
