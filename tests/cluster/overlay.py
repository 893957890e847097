"""cluster.yaml for hosts on this machine: the same file, except for the cloud, its machines and its image."""

import copy
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.providers import _get_default_config

from tests.cluster.hosts import ROOT

KEY = "/mnt/shared/hosts/key"


def cluster_yaml() -> dict[str, Any]:
    """Return the file that users run."""
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def image_environment(config: dict[str, Any]) -> dict[str, str]:
    """Return the variables that cluster.yaml gives to its containers."""
    options = [option.removeprefix("--env ") for option in config["docker"]["run_options"] if "--env " in option]
    return dict(option.split("=", 1) for option in options)


def overlaid(config: dict[str, Any]) -> dict[str, Any]:
    """Return cluster.yaml with hosts instead of AWS's machines, and without containers.

    Every worker has one core and no GPU, whatever machine it stands for, and room for a job's driver.
    """
    # `ray up` adds defaults for AWS, but not for an external provider, so they are added here.
    config = _get_default_config(config["provider"]) | {"head_setup_commands": []} | copy.deepcopy(config)
    config["provider"] = {"type": "external", "module": "pool.Pool", "folder": "/mnt/shared/hosts"}
    config["auth"] = {"ssh_user": "ray", "ssh_private_key": KEY}
    del config["docker"]
    for kind in config["available_node_types"].values():
        kind["node_config"] = {}
        if "GPU" in kind["resources"]:
            kind["resources"] = {"CPU": 1, "driver": 1}
    return config


def write(config: dict[str, Any], file: Path) -> None:
    """Write a cluster's file."""
    file.write_text(yaml.safe_dump(config, sort_keys=False))
