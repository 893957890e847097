"""A cloud for `ray up`: a node provider that gives out running hosts, and switches them off for good."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider

FILE = "pool.json"


def offer(folder: Path, addresses: dict[str, str]) -> None:
    """Give the cloud with this folder these machines, too, by name."""
    (folder / FILE).touch()
    with _changed(folder) as machines:
        for name, address in addresses.items():
            machines.append({"name": name, "address": address, "given": False, "tags": {}})


class Pool(NodeProvider):
    """Gives out the machines offered in a folder that all of them share: `provider.folder` in cluster.yaml."""

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [
            machine["name"]
            for machine in self._machines()
            if machine["given"]
            and not self._off_switch(machine["name"]).exists()
            and tag_filters.items() <= machine["tags"].items()
        ]

    def is_running(self, node_id: str) -> bool:
        return self._machine(node_id)["given"] and not self._off_switch(node_id).exists()

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._machine(node_id)["tags"]

    def external_ip(self, node_id: str) -> str:
        return self._machine(node_id)["address"]

    def internal_ip(self, node_id: str) -> str:
        return self._machine(node_id)["address"]

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        """Give out this many machines, or as many as are left.

        Raises:
            RuntimeError: None is left, as happens in real clouds.
        """
        with _changed(self._folder) as machines:
            free = [machine for machine in machines if not machine["given"]]
            if not free:
                raise RuntimeError(f"asked for {count} machines, but there is none")
            for machine in free[:count]:
                machine |= {"given": True, "tags": tags}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        with _changed(self._folder) as machines:
            for machine in machines:
                if machine["name"] == node_id:
                    machine["tags"] |= tags

    def terminate_node(self, node_id: str) -> None:
        self._off_switch(node_id).touch()

    def _off_switch(self, name: str) -> Path:
        return self._folder / f"{name}.off"

    @property
    def _folder(self) -> Path:
        return Path(self.provider_config["folder"])

    def _machine(self, name: str) -> dict[str, Any]:
        return next(machine for machine in self._machines() if machine["name"] == name)

    def _machines(self) -> list[dict[str, Any]]:
        with _changed(self._folder) as machines:
            return machines


@contextmanager
def _changed(folder: Path) -> Iterator[list[dict[str, Any]]]:
    with (folder / FILE).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        machines = json.loads(file.read() or "[]")
        yield machines
        file.seek(0)
        json.dump(machines, file)
        file.truncate()
