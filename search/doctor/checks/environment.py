"""The environment variables that change what the program does. Nothing secret is shown."""

import re
from collections.abc import Mapping

from search.cluster.start.choice import names_cluster
from search.doctor.checks.finding import Finding, ok, warn

PREFIXES = (
    "RAY_", "TUNE_", "WANDB_", "TUMOUR_SEARCH_", "OMP_", "MKL_", "OPENBLAS_", "GOMP_", "KMP_", "CUDA_", "NVIDIA_",
    "NCCL_", "GLOO_", "TORCH_", "PYTORCH_", "SLURM_CPUS_", "SLURM_MEM_", "AWS_ENDPOINT_", "AWS_REGION",
    "AWS_DEFAULT_REGION", "XDG_CACHE_", "PYTHON", "LD_", "KAGGLE",
)  # fmt: skip
"""How the names of such variables begin."""

NAMES = {"TMPDIR", "CI", "NO_COLOR", "COLUMNS", "LANG", "LC_ALL"}

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

SECRET = re.compile("TOKEN|KEY|SECRET|PASSW|CREDENTIAL|PRIVATE|COOKIE|HEADER|AUTH(?!_MODE)", re.IGNORECASE)
"""What is in the name of a variable that holds a secret."""

MAX_SHOWN = 200
"""The most characters of a value that are shown."""


def check_variables(environment: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each variable that is set and matters."""
    names = sorted(
        name for name in environment if name in NAMES or name.lower() in PROXIES or name.startswith(PREFIXES)
    )
    found = [_judge(name, environment) for name in names]
    return found or [ok("variables", "none that matters is set")]


def show(name: str, value: str) -> str:
    """Return the value of a variable as it may be shown to anyone: neither a secret nor the password in a URL."""
    if not value:
        return "'' (empty)"
    if SECRET.search(name):
        return "set (not shown)"
    if "{" in value or len(value) > MAX_SHOWN:  # JSON, such as a runtime environment, may hold other variables
        return f"set ({len(value)} characters, not shown)"
    return redact(value)


def redact(text: str) -> str:
    """Return a text without what may be a name, a password or a token in its URLs."""
    scheme = match[0] if (match := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)) else ""
    rest = text.removeprefix(scheme)
    if "@" in rest:  # a password may hold anything, also slashes and further signs of this kind
        rest = "***@" + rest.rpartition("@")[2]
    address, mark, _ = rest.partition("?")
    return f"{scheme}{address}{'?***' if mark else ''}"


def _judge(name: str, environment: Mapping[str, str]) -> Finding:
    value = show(name, environment[name])
    if name == "WANDB_MODE":
        return ok(name, f"{value} (without effect: --tracking decides)")
    if name == "OMP_NUM_THREADS":
        return ok(name, f"{value} (trials use the CPUs that they book)")
    if name.lower() in ("http_proxy", "all_proxy") and names_cluster(environment) and not _spares(environment):
        remedy = "parts of a cluster talk over HTTP: set no_proxy to localhost,127.0.0.1 and the cluster's hosts"
        return warn(name, value, remedy)
    return ok(name, value)


def _spares(environment: Mapping[str, str]) -> bool:
    """Return whether this machine is asked directly, not through a proxy."""
    spared = {host.strip() for name in ("no_proxy", "NO_PROXY") for host in environment.get(name, "").split(",")}
    return "*" in spared or {"localhost", "127.0.0.1"} <= spared
