"""Weights & Biases: its client, whether there is a key, which is never shown, and whether the server takes it."""

import configparser
import netrc
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from search.doctor.environment import redact
from search.doctor.finding import Finding, fail, ok, warn
from search.doctor.packages import INSTALL, installed_version
from search.doctor.probe import NoAnswer, ask, in_a_line

HOST = "https://api.wandb.ai"
"""W&B's own server."""

REACH_SECONDS = 10.0
"""How long the server may take to answer at all."""

LOGIN_SECONDS = 90.0
"""How long the client may take to load and to log in."""

FROM_HERE = "--tracking offline (the default) needs no server, and search.sync sends the runs from another machine"


def check_tracking(environment: Mapping[str, str] = os.environ, *, is_online: bool = False) -> Iterator[Finding]:
    """Yield the client's version, its server, whether there is a key, and with `is_online`, whether they work."""
    known = installed_version("wandb")
    yield ok("client", known) if known else fail("client", "wandb is not installed", INSTALL)
    host, source = find_host(environment), ""
    yield ok("server", redact(host))
    try:
        source = find_key(host, environment)
        none = "none: needed only for --tracking online and search.sync (`wandb login`, or WANDB_API_KEY)"
        yield ok("key", f"present, in {source}" if source else none)
    except (OSError, netrc.NetrcParseError) as error:  # whose own text may show the key
        where = f"line {error.lineno}" if isinstance(error, netrc.NetrcParseError) else error.strerror
        value = in_a_line(f"{_netrc_file(environment)} cannot be read: {where}")
        yield warn("key", value, "mend or remove that file, or set WANDB_API_KEY")
    if not is_online:
        yield ok("connection", "not checked (--online does it)")
    elif known:
        yield from _check_connection(host, has_key=bool(source))


def find_host(environment: Mapping[str, str]) -> str:
    """Return the address of the server: of the environment, else of W&B's settings, else its own."""
    if host := environment.get("WANDB_BASE_URL"):
        return host
    home = environment.get("HOME", "")
    for folder in (Path("wandb"), Path(environment.get("WANDB_CONFIG_DIR") or Path(home, ".config", "wandb"))):
        settings = configparser.ConfigParser(interpolation=None)
        try:
            settings.read(folder / "settings")
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        if host := settings.get("default", "base_url", fallback=""):
            return host
    return HOST


def find_key(host: str, environment: Mapping[str, str]) -> str:
    """Return where the key is that W&B would use for a server; "" if there is none.

    Raises:
        OSError: The file with passwords cannot be read.
        netrc.NetrcParseError: It is damaged.
    """
    if environment.get("WANDB_API_KEY"):
        return "WANDB_API_KEY"
    file = _netrc_file(environment)
    if not file.exists():
        return ""
    return str(file) if netrc.netrc(file).authenticators(urlsplit(host).netloc) else ""


def _netrc_file(environment: Mapping[str, str]) -> Path:
    if named := environment.get("NETRC"):
        return Path(named).expanduser()
    usual, other = (Path(environment.get("HOME", "/"), name) for name in (".netrc", "_netrc"))
    return usual if usual.exists() or not other.exists() else other


def _check_connection(host: str, *, has_key: bool) -> Iterator[Finding]:
    """Yield whether the server answers, and whether it takes the key; both are needed only where runs are sent."""
    try:
        urllib.request.urlopen(host, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers, if only that there is no page
    except (OSError, ValueError) as error:
        value = in_a_line(f"{redact(host)} does not answer: {getattr(error, 'reason', error)}")
        yield warn("connection", value, f"check the network, proxies (https_proxy) and WANDB_BASE_URL; {FROM_HERE}")
        return
    yield ok("connection", "the server answers")
    if not has_key:
        return
    try:
        account = ask("search.tracking.server", "find_account", seconds=LOGIN_SECONDS)
    except NoAnswer as error:
        yield warn("login", str(error), f"log in again (`wandb login --relogin`), or set WANDB_API_KEY; {FROM_HERE}")
    else:
        yield ok("login", f"as {account}")
