"""A cloud for `ray up`: a node provider that gives out hosts which run already, and takes them back for good."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider


class Pool(NodeProvider):
    """The hosts of a folder that all of them reach; `provider.folder` in cluster.yaml.

    `pool.json` there is a list of machines: its `name`, its `address`, whether it is `given` out, its `tags`.
    """

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
        """Give out so many machines, or as many as are left: a cloud may have none either."""
        with self._changed() as machines:
            for machine in [machine for machine in machines if not machine["given"]][:count]:
                machine |= {"given": True, "tags": tags}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        with self._changed() as machines:
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
        with self._changed() as machines:
            return machines

    @contextmanager
    def _changed(self) -> Iterator[list[dict[str, Any]]]:
        with (self._folder / "pool.json").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            machines = json.load(file)
            yield machines
            file.seek(0)
            json.dump(machines, file)
            file.truncate()
