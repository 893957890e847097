"""python -m search.cluster.notice aws|gcp|azure: beside `ray start`, hears that this machine is to be taken back.

Clouds say so on their metadata service: AWS two minutes before, Google and Azure half a minute. Ray is told then that
its node drains (search/cluster/capacity/draining.py), and the lanes leave it.
`now` does that without a cloud: for a person, and
for Kubernetes, as what a pod runs before it is stopped; it waits until the node is empty.

AWS's rebalance recommendation is no notice here: it says that the risk is higher, often for hours, and a node that left
because of it would be replaced by one that is told the same. The two minutes are enough for a checkpoint.

It ends when Ray has ended on this machine. Of Ray, which takes 60 MB, it imports nothing before there is a notice.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

METADATA = "http://169.254.169.254"
"""The same on all three; by its number, because a machine's name service may be out."""

LOOK_SECONDS = {"aws": 5.0, "gcp": 1.0, "azure": 2.0}
"""Between two questions; what AWS asks for, and less where half a minute is all there is."""

REQUEST_SECONDS = {"aws": 2.0, "gcp": 2.0, "azure": 125.0}
"""How long an answer may take. Azure takes up to two minutes for the first one, which switches its events on."""

NUM_TRIES = 5
"""Times that the service is asked before it counts as absent. Once it has answered, it is asked for ever."""

DEADLINE_SECONDS = 30.0
"""Between a notice that names no time and the end of the machine, and what `now` assumes."""

TOKEN_SECONDS = 21600


class NoAnswer(Exception):
    """The metadata service did not say what it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Raylet:
    """Ray's daemon on this machine, as its command line describes it."""

    node_id: str
    gcs_address: str


def main(arguments: list[str] | None = None) -> int:
    """Return 0 after a notice, or when Ray has ended; 1 if there is no metadata service."""
    options = _parse(arguments)
    if options.cloud == "now":
        _drain_all(time.time() + options.seconds, "somebody said so")
        _wait_until_empty(time.time() + options.seconds)
        return 0
    ask = {"aws": _ask_aws, "gcp": _ask_gcp, "azure": _ask_azure}[options.cloud]
    service = Service(options.metadata, timeout_seconds=REQUEST_SECONDS[options.cloud])
    num_answers = num_tries = 0
    while find_raylets():
        num_tries += 1
        try:
            deadline = ask(service)
            num_answers += 1
        except NoAnswer as error:
            if not num_answers and num_tries >= NUM_TRIES:
                say(f"no notices of {options.cloud}: {error}; trials of a lost node go on from their last whole epoch")
                return 1
            deadline = None
        if deadline is not None:
            _drain_all(deadline, f"{options.cloud} takes this machine back")
            _wait_until_empty(deadline)
            return 0
        time.sleep(LOOK_SECONDS[options.cloud] if options.look_seconds is None else options.look_seconds)
    say("Ray has ended on this machine")
    return 0


def find_raylets() -> list[Raylet]:
    """Return the daemons of Ray's worker nodes on this machine; in a container, those of the container.

    Without the head's: Ray would take it and end, and every search with it, before the machine does.
    """
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended in between
            continue
        if Path(command[0]).name != "raylet" or "--head" in command:
            continue
        flags = dict(part.removeprefix("--").split("=", 1) for part in command[1:] if "=" in part)
        if "node_id" in flags and "gcs-address" in flags:
            found.append(Raylet(node_id=flags["node_id"], gcs_address=flags["gcs-address"]))
    return found


def drain(raylet: Raylet, deadline: float, reason: str) -> str | None:
    """Tell Ray that a node is taken back at a time (UNIX); return why it did not take that, None if it did."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    try:
        accepted, objection = GcsClient(address=raylet.gcs_address).drain_node(
            raylet.node_id, DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION, reason, int(deadline * 1000)
        )
    except Exception as error:  # Ray's own, of which some come and go
        return f"{type(error).__name__}: {error}"
    return None if accepted else objection


class Service:
    """A metadata service, seen from the machine that it speaks of; no proxy is asked."""

    def __init__(self, address: str, *, timeout_seconds: float) -> None:
        self._host = urlsplit(address).netloc
        self._timeout_seconds = timeout_seconds
        self.token: tuple[str, float] | None = None
        """AWS's, and until when (monotonic) it is used."""

    def ask(self, path: str, headers: dict[str, str], *, method: str = "GET") -> str | None:
        """Return the answer; None if there is nothing by that name.

        Raises:
            NoAnswer: The service is not there, or answers something else.
        """
        connection = HTTPConnection(self._host, timeout=self._timeout_seconds)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            content = response.read().decode(errors="replace").strip()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"http://{self._host} does not answer ({error})") from error
        finally:
            connection.close()
        if response.status == 404:
            return None
        if response.status != 200:
            raise NoAnswer(f"http://{self._host}{path} answers {response.status} {response.reason}")
        self._timeout_seconds = min(self._timeout_seconds, 5.0)  # only the first answer takes long
        return content


def _ask_aws(service: Service) -> float | None:
    """Return when AWS takes the machine back.

    Reference: docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html; with a session's
    token (IMDSv2), which every instance takes and many insist on.
    """
    if service.token is None or time.monotonic() > service.token[1]:
        header = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        token = service.ask("/latest/api/token", header, method="PUT")
        if not token:
            raise NoAnswer("the metadata service gives no token (IMDSv2)")
        service.token = token, time.monotonic() + TOKEN_SECONDS / 2
    try:
        header = {"X-aws-ec2-metadata-token": service.token[0]}
        action = service.ask("/latest/meta-data/spot/instance-action", header)
    except NoAnswer:
        service.token = None  # it may be that which is refused
        raise
    return None if action is None else _time_in(action, lambda known: datetime.fromisoformat(known["time"]))


def _ask_gcp(service: Service) -> float | None:
    """Return when Google takes the machine back.

    Asked every second: a request that waits for a change (`wait_for_change`) would learn it no earlier to speak of, and
    would have to be told what it has not missed.

    Reference: cloud.google.com/compute/docs/instances/spot#detect-preemption.
    """
    preempted = service.ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    if preempted is None:
        raise NoAnswer("the metadata service does not know instance/preempted: this is not Google's")
    return time.time() + DEADLINE_SECONDS if preempted == "TRUE" else None


def _ask_azure(service: Service) -> float | None:
    """Return when Azure takes the machine back.

    Reference: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events. Machines of a scale set hear of each
    other's events.
    """
    header = {"Metadata": "true"}
    content = service.ask("/metadata/scheduledevents?api-version=2020-07-01", header)
    if content is None:
        raise NoAnswer("the metadata service does not know scheduledevents: this is not Azure's")
    try:
        events = json.loads(content)["Events"]
        ends = [event for event in events if event["EventType"] in ("Preempt", "Terminate")]
        name = (
            service.ask("/metadata/instance/compute/name?api-version=2021-02-01&format=text", header) if ends else None
        )
        ours = [event for event in ends if name in event["Resources"]]
    except (ValueError, KeyError, TypeError) as error:
        raise NoAnswer(f"scheduledevents are {content[:80]!r}, which is no list of events") from error
    return _time_in(json.dumps(ours[0]), lambda event: parsedate_to_datetime(event["NotBefore"])) if ours else None


def _time_in(content: str, read: Callable[[dict], datetime]) -> float:
    """Return the UNIX time that a notice names; one without a time is a notice, too."""
    try:
        when = read(json.loads(content))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, KeyError, TypeError):
        return time.time() + DEADLINE_SECONDS


def _drain_all(deadline: float, reason: str) -> None:
    """Drain every node of Ray on this machine; where Ray's head does not answer, again until the deadline."""
    left = find_raylets()
    if not left:
        say("there is no worker node of Ray on this machine")
    while left:
        objections = {raylet: drain(raylet, deadline, reason) for raylet in left}
        for raylet, objection in objections.items():
            what = f"is not drained: {objection}" if objection else f"is drained: {reason}"
            say(f"node {raylet.node_id} {what}")
        left = [raylet for raylet, objection in objections.items() if objection]
        if left and time.time() > deadline:
            return
        time.sleep(1.0 if left else 0.0)


def _wait_until_empty(deadline: float) -> None:
    """Wait for the raylets, which end once nothing runs on their drained nodes."""
    while find_raylets() and time.time() < deadline:
        time.sleep(0.2)


def say(line: str) -> None:
    """Print a line with the time: nobody watches, it is a log."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    # Not by tyro, which takes as much memory as all of this.
    parser = argparse.ArgumentParser(prog="python -m search.cluster.notice", description=__doc__.splitlines()[0])
    parser.add_argument("cloud", choices=("aws", "gcp", "azure", "now"))
    parser.add_argument("--seconds", type=float, default=DEADLINE_SECONDS, help="now: until the machine ends")
    parser.add_argument("--metadata", default=METADATA, help="address of the metadata service")
    parser.add_argument("--look-seconds", type=float, help="between two questions to it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
