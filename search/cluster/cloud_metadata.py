"""Ask a cloud's metadata service when this machine will be reclaimed.

Ray is not imported here, so that search.cluster.notice needs little memory while it waits.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

METADATA = "http://169.254.169.254"
"""The metadata service of all three clouds. It is given as a number, because name resolution may be down."""

REQUEST_SECONDS = {"aws": 2.0, "gcp": 2.0, "azure": 125.0}
"""How long the first answer may take. Azure's takes up to two minutes, because it switches on scheduled events."""

DEADLINE_SECONDS = 30.0
"""How long the machine is assumed to last after `now`, or after a notice that names no time."""

TOKEN_SECONDS = 21600
"""How long a token of AWS is valid; this is AWS's maximum."""


class NoAnswer(Exception):
    """The metadata service did not answer, or its answer is of no use."""


class Service:
    """A cloud's metadata service, which every machine reaches directly, without a proxy."""

    def __init__(self, address: str, *, timeout_seconds: float) -> None:
        self._host = urlsplit(address).netloc
        self._timeout_seconds = timeout_seconds
        self.token: tuple[str, float] | None = None
        """AWS's token, and the time until which it is used (monotonic)."""

    def ask(self, path: str, headers: dict[str, str], *, method: str = "GET") -> str | None:
        """Return the answer to a request; None if there is nothing at that path.

        Raises:
            NoAnswer: The service is absent, or its answer is an error.
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
        self._timeout_seconds = min(self._timeout_seconds, 5.0)  # only the first answer may take long
        return content


def _ask_aws(service: Service) -> float | None:
    """Return when AWS will reclaim the machine (UNIX time); None while it will not.

    Requests carry a session token (IMDSv2), which every instance accepts and many require.

    Reference: docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html.
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
        service.token = None  # the token may be the reason
        raise
    return None if action is None else _time_in(action, lambda notice: datetime.fromisoformat(notice["time"]))


def _ask_gcp(service: Service) -> float | None:
    """Return when Google will reclaim the machine (UNIX time); None while it will not.

    Asking once a second is simpler than a request that waits for a change (`wait_for_change`), and as fast.

    Reference: cloud.google.com/compute/docs/instances/spot#detect-preemption.
    """
    preempted = service.ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    if preempted is None:
        raise NoAnswer("the metadata service does not know instance/preempted: this is not Google's")
    return time.time() + DEADLINE_SECONDS if preempted == "TRUE" else None


def _ask_azure(service: Service) -> float | None:
    """Return when Azure will reclaim the machine (UNIX time); None while it will not.

    All machines of a scale set see each other's events, so an event counts only if it names this machine.

    Reference: learn.microsoft.com/azure/virtual-machines/linux/scheduled-events.
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
        raise NoAnswer(f"scheduledevents are {content[:80]!r}, which is not a list of events") from error
    return _time_in(json.dumps(ours[0]), lambda event: parsedate_to_datetime(event["NotBefore"])) if ours else None


def _time_in(content: str, read: Callable[[dict], datetime]) -> float:
    """Return the UNIX time in a notice, or half a minute from now if the notice has none that can be read."""
    try:
        when = read(json.loads(content))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, KeyError, TypeError):
        return time.time() + DEADLINE_SECONDS


Ask = Callable[[Service], float | None]

ASK: dict[str, Ask] = {"aws": _ask_aws, "gcp": _ask_gcp, "azure": _ask_azure}
