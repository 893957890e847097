"""Weights & Biases: its client, whether there is a key, which is never shown, and whether the server takes it."""

import netrc
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping

from search.doctor.checks.environment import redact
from search.doctor.checks.finding import Finding, fail, ok, warn
from search.doctor.checks.packages import INSTALL
from search.doctor.facts.probe import NoAnswer, ask, in_a_line
from search.doctor.facts.requirements import installed_version
from search.doctor.facts.wandb_account import find_host, find_key, netrc_file

REACH_SECONDS = 10.0
"""How long the server may take to answer at all."""

LOGIN_SECONDS = 90.0
"""How long the client may take to load and to log in."""

FROM_HERE = "--tracking offline (the default) needs no server, and search.sync sends the runs from another machine"


def check_tracking(environment: Mapping[str, str], *, is_online: bool = False) -> Iterator[Finding]:
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
        value = in_a_line(f"{netrc_file(environment)} cannot be read: {where}")
        yield warn("key", value, "mend or remove that file, or set WANDB_API_KEY")
    if not is_online:
        yield ok("connection", "not checked (--online does it)")
    elif known:
        yield from _check_connection(host, has_key=bool(source))


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
