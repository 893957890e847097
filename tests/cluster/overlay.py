"""cluster.yaml for hosts on this machine: the same file, but for the cloud, its machines and its image."""

import copy
from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.providers import _get_default_config

from tests.cluster.hosts import ROOT

KEY = "/mnt/shared/hosts/key"


def cluster_yaml() -> dict[str, Any]:
    """Return what users run."""
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def image_environment(config: dict[str, Any]) -> dict[str, str]:
    """Return the variables that cluster.yaml gives to its containers."""
    options = [option.removeprefix("--env ") for option in config["docker"]["run_options"] if "--env " in option]
    return dict(option.split("=", 1) for option in options)


def overlaid(config: dict[str, Any]) -> dict[str, Any]:
    """Return cluster.yaml with hosts in place of AWS's machines, and without a container on them.

    A worker has one core and no GPU, whatever machine it would be, and takes a job's driver.
    """
    # Ray adds what its AWS provider needs, and has nothing to add for a cloud of one's own; boto3 is for AWS alone.
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
