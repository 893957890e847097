"""search/cluster/README.md: what it says to write and to type exists."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ray_internals import (
    LOCAL_CLUSTER_NODE_TYPE,
    azure_parameters,
    cli,
    job_cli_group,
    prepare_config,
    validate_config,
)

ROOT = Path(__file__).parents[3]
AWS_WORDS = re.compile(r"\baws\b|InstanceType|Ebs|\bsg-|tumour-search-(head|worker)", re.IGNORECASE)


README = ROOT / "search" / "cluster" / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def cluster_yaml() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def variant(provider: str) -> dict[str, Any]:
    """Return cluster.yaml with the README's block for this provider in place of its keys."""
    [block] = [block for block in map(yaml.safe_load, blocks("yaml")) if block["provider"]["type"] == provider]
    return cluster_yaml() | block


def policy(name: str) -> dict[str, Any]:
    """Return a policy that the commands for an account of AWS make, with a bucket's name in it."""
    [script] = [block for block in blocks("bash") if block.startswith("# AWS, once.")]
    [text] = re.findall(rf"--policy-name {name} --policy-document '(.*?)'\n", script, re.DOTALL)
    return json.loads(text.replace("'$BUCKET'", "a-bucket"))


@pytest.mark.parametrize("provider", ["local", "gcp", "azure"])
def test_every_variant_passes_the_checks_of_ray_up_and_has_nothing_of_aws(provider):
    config = variant(provider)
    validate_config(prepare_config(config))
    assert not AWS_WORDS.search(json.dumps(config))


@pytest.mark.parametrize("provider", ["gcp", "azure"])
def test_variants_have_the_node_types_of_aws(provider):
    def roles(config):
        kinds = config["available_node_types"]
        gpus = [kind for kind in kinds.values() if kind["resources"].get("GPU")]
        return kinds["head"]["resources"], kinds["driver"]["resources"], gpus[0]["resources"], gpus[0]["min_workers"]

    assert roles(variant(provider)) == roles(cluster_yaml())


def test_own_hosts_are_one_node_type_and_all_of_them_are_used():
    config = prepare_config(variant("local"))
    assert set(config["available_node_types"]) == {LOCAL_CLUSTER_NODE_TYPE}
    [kind] = config["available_node_types"].values()
    assert kind["min_workers"] == kind["max_workers"] == len(config["provider"]["worker_ips"])
    head_start = config["head_start_ray_commands"][-1]
    assert head_start.startswith("RAY_enable_autoscaler_v2=0 ")  # the newer one starts no worker of these
    assert "--num-cpus=0 --num-gpus=0" in head_start


def test_google_is_asked_for_spot_machines_that_are_deleted_when_preempted():
    node = variant("gcp")["available_node_types"]["gpu_l4"]["node_config"]
    wanted = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    assert node["scheduling"] == wanted | {"onHostMaintenance": "TERMINATE"}  # a GPU cannot move


def test_azures_parameters_exist_in_rays_template_with_the_same_types():
    types = {"string": str, "int": int}
    known = azure_parameters()
    for kind in variant("azure")["available_node_types"].values():
        for name, value in kind["node_config"]["azure_arm_parameters"].items():
            assert isinstance(value, types[known[name]["type"]]), name


@pytest.mark.parametrize("provider", ["local", "gcp", "azure"])
def test_variants_keep_the_image_and_the_token(provider):
    config, aws = variant(provider), cluster_yaml()
    assert config["docker"]["image"] == aws["docker"]["image"]
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts if "ray start" in command)


def test_the_head_may_only_start_the_machines_of_cluster_yaml_and_end_its_own():
    config = cluster_yaml()
    statements = policy("machines")["Statement"]
    kinds = {
        kind["node_config"]["InstanceType"]
        for name, kind in config["available_node_types"].items()
        if name != config["head_node_type"]
    }
    [run] = [part for part in statements if part.get("Resource") == "arn:aws:ec2:*:*:instance/*"]
    assert set(run["Condition"]["StringEquals"]["ec2:InstanceType"]) == kinds
    [end] = [part for part in statements if "ec2:TerminateInstances" in part["Action"]]
    assert end["Condition"] == {"StringEquals": {"ec2:ResourceTag/ray-cluster-name": config["cluster_name"]}}
    assert not [action for part in statements for action in [part["Action"]] if "*" in str(action)]


def test_machines_may_use_one_bucket_only_and_all_that_the_search_does_there():
    on_bucket, on_objects = policy("bucket")["Statement"]
    assert (on_bucket["Resource"], on_objects["Resource"]) == ("arn:aws:s3:::a-bucket", "arn:aws:s3:::a-bucket/*")
    assert "s3:ListBucket" in on_bucket["Action"]
    assert {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"} <= set(on_objects["Action"])


def test_commands_of_ray_exist():
    typed = "\n".join(blocks("bash")) + README.read_text()
    for command in re.findall(r"\bray (?!job|start)([a-z][a-z-]+)(?= cluster\.yaml| -y | --)", typed):
        assert command in cli.commands, command
    for command in re.findall(r"\bray job ([a-z]+)", typed):
        assert command in job_cli_group.commands, command


def test_modules_of_the_project_exist():
    files = [ROOT / "cluster.yaml", *(ROOT / "tests" / "cluster" / "kuberay").glob("*.yaml")]
    everywhere = README.read_text() + "".join(file.read_text() for file in files)
    modules = set(re.findall(r"python(?:,)? -m(?:,)? (search[\w.]*)", everywhere))
    assert {"search.tune", "search.cluster.notice", "search.fetch"} <= modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_files_that_kubectl_applies_and_docker_copies_exist():
    typed = "\n".join(blocks("bash"))
    for name in re.findall(r"kubectl \w+ .*?-f (\S+)", typed):
        assert (ROOT / name).is_file(), name
    copied = [name for line in re.findall(r"^COPY --chown=ray (.*) \S+$", typed, re.MULTILINE) for name in line.split()]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.removesuffix("*") for package in packages} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_images_of_the_readme_are_those_of_cluster_yaml():
    image = cluster_yaml()["docker"]["image"]
    [base] = re.findall(r"^FROM (\S+)$", README.read_text(), re.MULTILINE)
    assert base == image
    assert set(re.findall(r"FILL-IN/tumour-search:ray-(\S+)", README.read_text())) == {image.split(":")[1]}
