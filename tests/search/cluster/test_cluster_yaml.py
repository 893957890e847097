"""cluster.yaml: what `ray up` checks before it talks to AWS, and what the search needs of the nodes."""

import re
import tomllib
from pathlib import Path

import boto3
import jsonschema
import pytest
import yaml
from moto import mock_aws
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from data.errors import UserError
from search.cluster.capacity.lane_plan import plan_lanes
from search.config import SearchConfig
from tests.support.ray_internals import (
    DEFAULT_JOB_START_TIMEOUT_SECONDS,
    JobSupervisor,
    bootstrap_aws,
    prepare_config,
    validate_config,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """The security group of an account of AWS that exists in this process only."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        environment.setenv("AWS_DEFAULT_REGION", "us-west-2")
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray puts an ssh key there
        ec2 = boto3.client("ec2")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="tumour-search", Description="-", VpcId=vpc)["GroupId"]
        ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
        yield group


def head(config):
    return config["available_node_types"][config["head_node_type"]]


def workers(config):
    return {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}


def gpu_workers(config):
    return [kind for kind in workers(config).values() if "GPU" in kind["resources"]]


def env_options(config):
    return [option for option in config["docker"]["run_options"] if option.startswith("--env ")]


def nodes_at_start(config):
    kinds = workers(config).values()
    return [head(config)["resources"], *(kind["resources"] for kind in kinds for _ in range(kind["min_workers"]))]


def test_cluster_yaml_passes_the_checks_of_ray_up(config):
    validate_config(prepare_config(config))


def test_cluster_yaml_with_an_unknown_key_is_refused(config):
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        validate_config(prepare_config(config | {"idle_timeout_minute": 5}))


def test_cluster_yaml_with_more_min_workers_than_max_workers_is_refused(config):
    with pytest.raises(ValueError, match="max_workers"):
        validate_config(prepare_config(config | {"max_workers": 1}))


def test_head_and_driver_are_on_demand_and_have_no_resources_for_trials(config):
    driver = config["available_node_types"]["driver"]
    assert head(config)["resources"] == {"CPU": 0}
    assert head(config)["max_workers"] == 0
    assert driver["resources"] == {"CPU": 0, "driver": 1}
    assert (driver["min_workers"], driver["max_workers"]) == (0, 1)
    assert not any("InstanceMarketOptions" in kind["node_config"] for kind in (head(config), driver))


def test_workers_are_spot_machines_of_one_size(config):
    kinds = gpu_workers(config)
    assert len(kinds) >= 2
    for kind in kinds:
        assert kind["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert kind["labels"] == {"ray.io/market-type": "spot"}
        assert kind["resources"] == {"CPU": 4, "GPU": 1}
        assert kind["min_workers"] <= kind["max_workers"] <= config["max_workers"]
    assert len({kind["node_config"]["InstanceType"] for kind in kinds}) == len(kinds)


def test_machines_have_no_rights_and_no_open_ports_by_rays_defaults(config):
    for name, kind in config["available_node_types"].items():
        role = "head" if name == config["head_node_type"] else "worker"
        node = kind["node_config"]
        assert node["IamInstanceProfile"] == {"Name": f"tumour-search-{role}"}
        assert node["SecurityGroupIds"] == ["sg-FILL-IN"]
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
        assert {tags["ResourceType"] for tags in node["TagSpecifications"]} == {"instance", "volume"}


@pytest.mark.slow
def test_ray_makes_no_role_of_its_own_and_opens_no_port(config, aws):
    prepared = prepare_config(yaml.safe_load(yaml.safe_dump(config).replace("sg-FILL-IN", aws)))
    bootstrapped = bootstrap_aws(prepared)
    assert boto3.client("iam").list_roles()["Roles"] == []
    groups = {group["GroupName"]: group for group in boto3.client("ec2").describe_security_groups()["SecurityGroups"]}
    assert groups.keys() == {"default", "tumour-search"}
    [port] = groups["tumour-search"]["IpPermissions"]
    assert port["IpRanges"] == [{"CidrIp": "192.0.2.1/32"}]
    for kind in bootstrapped["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == [aws]
        assert len(kind["node_config"]["SubnetIds"]) == len(config["provider"]["availability_zone"].split(","))


def test_without_a_security_group_nothing_is_started(config, aws):
    with pytest.raises(AssertionError):  # Ray has printed why
        bootstrap_aws(prepare_config(config))


def test_workers_watch_for_the_notice_that_they_will_be_reclaimed(config):
    *_, watch = config["worker_start_ray_commands"]
    assert re.fullmatch(r"nohup python -m search\.cluster\.notice \w+ > \S+ 2>&1 &", watch)


def test_a_stopped_job_has_time_to_promote(config):
    given = {
        name: value for option in env_options(config) for name, value in re.findall(r"^--env (\w+)=(\w+)$", option)
    }
    assert int(given["RAY_JOB_STOP_WAIT_TIME_S"]) > JobSupervisor.DEFAULT_RAY_JOB_STOP_WAIT_TIME_S
    assert int(given["RAY_JOB_START_TIMEOUT_SECONDS"]) > DEFAULT_JOB_START_TIMEOUT_SECONDS


@pytest.mark.parametrize(("workers_per_trial", "num_lanes"), [(1, 2), (2, 1)])
def test_lanes_fit_on_the_first_nodes(config, workers_per_trial, num_lanes):
    lanes = plan_lanes(SearchConfig(workers_per_trial=workers_per_trial), nodes_at_start(config))
    assert (lanes.num_lanes, lanes.cpus_per_worker, lanes.gpus_per_worker) == (num_lanes, 4, 1.0)


def test_lanes_cannot_be_planned_on_the_head_alone(config):
    with pytest.raises(UserError, match="0 CPU and 0 GPU"):
        plan_lanes(SearchConfig(), [head(config)["resources"]])


def test_image_has_the_ray_and_the_python_of_the_project(config, project):
    [(ray_version, python)] = re.findall(r"^rayproject/ray:([\d.]+)-py(\d+)-cu\d+$", config["docker"]["image"])
    requirements = [Requirement(line) for line in project["optional-dependencies"]["search"]]
    (pinned,) = [requirement.specifier for requirement in requirements if requirement.name == "ray"]
    assert ray_version in pinned
    assert f"{python[0]}.{python[1:]}" in SpecifierSet(project["requires-python"])


def test_setup_installs_the_mounted_folder_with_an_extra_that_exists(config, project):
    (command,) = config["setup_commands"]
    [(folder, extra)] = re.findall(r"^pip install -e '(.+)\[(\w+)\]'$", command)
    assert config["file_mounts"][folder] == "."
    assert extra in project["optional-dependencies"]


def test_relative_file_mounts_exist(config):
    relative = [source for source in config["file_mounts"].values() if not source.startswith(("~", "/"))]
    assert relative
    assert all((ROOT / source).exists() for source in relative)
    assert all((ROOT / name).is_file() for name in config["rsync_filter"])


def test_ray_requires_the_token_everywhere_and_the_dashboard_stays_local(config):
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    head_start, worker_start = [command for command in commands if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in head_start
    assert all(command.startswith("RAY_AUTH_MODE=token ray start ") for command in (head_start, worker_start))
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


def test_a_stopped_job_has_minutes_to_promote_its_best(config):
    [seconds] = [option for option in config["docker"]["run_options"] if "RAY_JOB_STOP_WAIT_TIME_S" in option]
    assert int(seconds.removeprefix("--env RAY_JOB_STOP_WAIT_TIME_S=")) >= 300
