"""Ray: its version, and the cluster that RAY_ADDRESS names."""

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from search.cluster.start.choice import names_cluster
from search.cluster.start.temp_folder import temporary_folder
from search.doctor.checks.environment import redact
from search.doctor.checks.finding import Finding, fail, ok, warn
from search.doctor.checks.packages import INSTALL
from search.doctor.facts.probe import NoAnswer, ask
from search.doctor.facts.requirements import installed_version

ADDRESS = "RAY_ADDRESS"

CLUSTER_SECONDS = 120.0
"""How long a cluster may take: loading Ray and connecting takes seconds, on a busy machine a minute."""

CURRENT_CLUSTER = "ray/ray_current_cluster"
"""The file among the temporary ones in which `ray start` leaves the cluster's address."""


def check_ray(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the version of Ray, and whether the cluster that RAY_ADDRESS names answers."""
    known = installed_version("ray")
    yield ok("version", known) if known else fail("version", "Ray is not installed", INSTALL)
    address = environment.get(ADDRESS)
    if not names_cluster(environment):
        yield ok(ADDRESS, f"{address or 'not set'}: a search starts Ray on this machine{_other_cluster()}")
    elif known:
        yield ok(ADDRESS, redact(environment[ADDRESS]))
        yield from _check_cluster()


def judge_cluster(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what the cluster has, what others use of it, and whether its dashboard answers."""
    value = (
        f"{facts['nodes']} {'node' if facts['nodes'] == 1 else 'nodes'}, {facts['cpus']:g} CPUs, {facts['gpus']:g} GPUs"
    )
    if not facts["cpus"]:
        remedy = "add machines (ray start --address=HEAD:6379), or wait until the autoscaler has started some"
        yield warn("cluster", f"{value}: no machine may run trials yet", remedy)
    else:
        yield ok("cluster", "; ".join(filter(None, [value, facts["others"]])))
    if facts["dashboard"]:
        remedy = (
            "a search works without it, but `ray job submit` and the page do not: install ray[default] on the head and "
            "start it with --include-dashboard=true"
        )
        yield warn("dashboard", f"it does not answer ({facts['dashboard']})"[:300], remedy)
    else:
        yield ok("dashboard", "it answers")


def _check_cluster() -> Iterator[Finding]:
    try:
        facts = ask("search.cluster.cluster_facts", "read_cluster", seconds=CLUSTER_SECONDS)
    except NoAnswer as error:
        yield fail("cluster", str(error), _remedy(error))
    else:
        yield from judge_cluster(facts)


def _remedy(error: NoAnswer) -> str:
    text = str(error).lower()
    if error.missing:
        return INSTALL
    if "version of this program" in text:
        return "bring this checkout there, and install it by pip install -e '.[search]'"
    if "client of ray" in text:
        return "run this on a machine of that cluster, with RAY_ADDRESS=auto"
    if "version mismatch" in text or "python:" in text:
        return "install the cluster's versions of Ray and Python here, or this machine's there: they must be the same"
    if "requires a token;" in text or ("token" in text and "ray_auth_mode" not in text):
        return "give the cluster's token: RAY_AUTH_MODE=token and its file by RAY_AUTH_TOKEN_PATH"
    return (
        f"set {ADDRESS} to the address of a cluster that runs (on its head, `ray status` says so), or unset it to "
        "search on this machine alone"
    )


def _other_cluster() -> str:
    """Return a remark on a Ray that runs on this machine and that a search would not use; "" without one."""
    try:
        address = (temporary_folder() / CURRENT_CLUSTER).read_text().strip()
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
    except (OSError, ValueError):
        return ""
    return f" (another Ray runs here, at {address}; {ADDRESS}=auto would use it)"
