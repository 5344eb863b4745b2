"""The keys that requests are signed with, and what their owners may do."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.certificates import write_private

REGION = "us-east-1"


@dataclass(frozen=True)
class Keys:
    """An access key and its secret."""

    access: str
    secret: str

    @classmethod
    def new(cls, name: str) -> Keys:
        """Make keys of a user called `name`."""
        return cls(f"{name}-{secrets.token_hex(4)}", secrets.token_urlsafe(30))


@dataclass(frozen=True)
class Accounts:
    """Who is known: `owner` may do everything, others what a bucket's policy gives to them."""

    owner: Keys
    reader: Keys

    @classmethod
    def kept_in(cls, directory: Path) -> Accounts:
        """Return those stored in `directory`, created if missing."""
        path = directory / "accounts.json"
        if path.exists():
            return cls(
                **{name: Keys(**each) for name, each in json.loads(path.read_text()).items()}
            )
        made = cls(Keys.new("owner"), Keys.new("reader"))
        directory.mkdir(parents=True, exist_ok=True)
        write_private(path, json.dumps(asdict(made)).encode())
        return made

    def write_users(self, directory: Path) -> None:
        """Write the server's own list of users, which the owner is not on."""
        user = {**asdict(self.reader), "role": "user", "userID": 0, "groupID": 0, "projectID": 0}
        directory.mkdir(parents=True, exist_ok=True)
        users = {"accessAccounts": {self.reader.access: user}}
        write_private(directory / "users.json", json.dumps(users).encode())


def client_environment(url: str, keys: Keys, authority: Path | None = None) -> dict[str, str]:
    """Return the variables by which any S3 client finds the server and signs its requests."""
    made = {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": keys.access,
        "AWS_SECRET_ACCESS_KEY": keys.secret,
        "AWS_DEFAULT_REGION": REGION,
    }
    return made if authority is None else {**made, "AWS_CA_BUNDLE": str(authority)}


def may_read(bucket: str, reader: Keys) -> dict[str, Any]:
    """Return the policy of `bucket` that lets `reader` read, and not write."""
    of, objects = f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"
    grant = {"Effect": "Allow", "Principal": {"AWS": [reader.access]}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {**grant, "Action": ["s3:ListBucket"], "Resource": [of]},
            {**grant, "Action": ["s3:GetObject"], "Resource": [objects]},
        ],
    }
