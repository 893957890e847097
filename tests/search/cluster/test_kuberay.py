"""tests/cluster/kuberay/: what KubeRay and Ray's autoscaler accept, and what the search needs of the pods.

With a Kubernetes that has KubeRay, `kubectl apply --dry-run=server` asks that. Without one, `KUBERAY_CRDS=FOLDER` in
front of pytest holds the manifests against KubeRay's own definitions: ray-operator/config/crd/bases in its repository.
"""

import copy
import json
import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from search.cluster.capacity.lane_plan import plan_lanes
from search.config import SearchConfig
from search.tune import parse
from tests.support.ray_internals import kuberay_node_types

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "cluster" / "kuberay"
KINDS = {"raycluster": "RayCluster", "rayjob": "RayJob"}


def manifest(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def cluster_of(found):
    return found["spec"].get("rayClusterSpec", found["spec"])


def pods(cluster):
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def group(cluster, name):
    [found] = [group for group in cluster["workerGroupSpecs"] if group["groupName"] == name]
    return found


def closed(schema: Any) -> Any:
    """Return a schema that refuses fields which it does not name, as Kubernetes does with those of a CRD."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        schema = {"type": "object", "additionalProperties": False} | schema
    return schema


@pytest.fixture(scope="module")
def schema():
    return closed(yaml.safe_load((FOLDER / "schema.yaml").read_text()))


def check(found, schema):
    jsonschema.validate(found, schema[found["kind"]] | {"$defs": schema["$defs"]})


@pytest.mark.parametrize("name", KINDS)
def test_manifests_have_the_fields_of_kuberay_and_no_others(schema, name):
    found = manifest(name)
    assert found["kind"] == KINDS[name]
    check(found, schema)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("workerGroupSpecs", 1, "maxReplica"), 4, "maxReplica"),
        (("workerGroupSpecs", 1, "minReplicas"), "2", "is not of type 'integer'"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0, "is not of type 'string'"),
        (("headGroupSpec", "template", "spec", "containers", 0, "volumeMount"), [], "volumeMount"),
        (("workerGroupSpecs", 1, "template", "spec", "tolerations", 0, "effect"), "NoScheduling", "NoScheduling"),
        (("authOptions", "mode"), "tokens", "tokens"),
    ],
)
def test_a_manifest_with_a_mistake_is_refused(schema, path, value, said):
    found = copy.deepcopy(manifest("rayjob"))
    part = cluster_of(found)
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError, match=said):
        check(found, schema)


@pytest.mark.skipif("KUBERAY_CRDS" not in os.environ, reason="KUBERAY_CRDS names no folder of KubeRay's definitions")
@pytest.mark.parametrize("name", KINDS)
def test_manifests_pass_kuberays_own_definitions(name):
    file = Path(os.environ["KUBERAY_CRDS"]) / f"ray.io_{name}s.yaml"
    versions = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    [definition] = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"]
    definition["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    definition = closed(definition)
    jsonschema.validate(manifest(name), definition)
    with pytest.raises(jsonschema.ValidationError, match="entrypoints"):
        jsonschema.validate(manifest(name) | {"entrypoints": ""}, definition)


def test_rayjob_has_the_same_cluster_as_raycluster():
    assert manifest("rayjob")["spec"]["rayClusterSpec"] == manifest("raycluster")["spec"]


def test_rays_autoscaler_reads_the_resources_of_all_kinds_of_pods():
    kinds = kuberay_node_types(manifest("raycluster")["spec"])
    counted = {name: {key: kind["resources"].get(key, 0) for key in ("CPU", "GPU")} for name, kind in kinds.items()}
    assert counted == {
        "headgroup": {"CPU": 0, "GPU": 0},
        "driver": {"CPU": 0, "GPU": 0},
        "gpu": {"CPU": 4, "GPU": 1},
    }
    assert all(kind["min_workers"] <= kind["max_workers"] for kind in kinds.values())


def test_a_search_finds_room_on_the_first_pods():
    kinds = kuberay_node_types(manifest("raycluster")["spec"])
    nodes = [kinds["headgroup"]["resources"]]
    nodes += [kind["resources"] for kind in kinds.values() for _ in range(kind["min_workers"])]
    lanes = plan_lanes(SearchConfig(), nodes)
    assert (lanes.num_lanes, lanes.gpus_per_worker) == (2, 1.0)


def test_the_job_asks_for_what_the_group_driver_has():
    asked = json.loads(manifest("rayjob")["spec"]["entrypointResources"])
    found = kuberay_node_types(manifest("raycluster")["spec"])["driver"]["resources"]
    assert all(amount <= found[name] for name, amount in asked.items())


def test_the_job_resumes_or_begins_the_experiment_of_its_own_name(tmp_path):
    found = manifest("rayjob")
    [shell, flag, script] = shlex.split(found["spec"]["entrypoint"])
    assert (shell, flag) == ("bash", "-c")
    resume, begin = (shlex.split(command) for command in script.split("||"))
    assert resume[:3] == begin[1:4] == ["python", "-m", "search.tune"]
    assert resume[3:5] == ["--resume", found["metadata"]["name"]]
    assert resume[-2:] == begin[-2:]  # --out
    config = parse([*begin[4:-1], str(tmp_path)])
    assert config.name == found["metadata"]["name"]
    assert config.data.startswith("/data/")


def test_images_are_made_from_that_of_cluster_yaml():
    base = yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["image"]
    [version] = re.findall(r"^rayproject/ray:([\d.]+)-", base)
    for cluster in map(cluster_of, map(manifest, KINDS)):
        assert {pod["containers"][0]["image"].rsplit(":", 1)[1] for pod in pods(cluster)} == {
            f"ray-{base.split(':')[1]}"
        }
        assert cluster["rayVersion"] == version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [Requirement(line) for line in project["optional-dependencies"]["search"]]
    assert [version in requirement.specifier for requirement in requirements if requirement.name == "ray"] == [True]


def test_pods_require_the_token_share_memory_and_drain_before_they_stop():
    cluster = manifest("raycluster")["spec"]
    assert cluster["authOptions"]["mode"] == "token"
    spot = group(cluster, "gpu")["template"]["spec"]
    [container] = spot["containers"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][:3] == ["python", "-m", "search.cluster.notice"]
    assert "SPOT" in spot["nodeSelector"].values()
    assert all("SPOT" not in pod["nodeSelector"].values() for pod in pods(cluster) if pod is not spot)


def test_pods_use_accounts_and_claims_of_the_namespace():
    made = list(yaml.safe_load_all((FOLDER / "namespace.yaml").read_text()))
    kinds = ("Namespace", "ServiceAccount", "PersistentVolumeClaim")
    names = {kind: {part["metadata"]["name"] for part in made if part["kind"] == kind} for kind in kinds}
    for found in map(manifest, KINDS):
        assert {found["metadata"]["namespace"]} == names["Namespace"]
        for pod in pods(cluster_of(found)):
            assert pod["serviceAccountName"] in names["ServiceAccount"]
            claims = [volume["persistentVolumeClaim"] for volume in pod["volumes"] if "emptyDir" not in volume]
            assert {claim["claimName"] for claim in claims} == names["PersistentVolumeClaim"]
