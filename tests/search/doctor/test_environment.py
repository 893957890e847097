"""Environment variables that matter are shown, and nothing secret in them."""

import pytest

from search.doctor.checks.environment import check_variables, redact, show
from search.doctor.checks.finding import Level

SECRETS = {
    "WANDB_API_KEY": "hunter2",
    "TUMOUR_SEARCH_TOKEN": "hunter2",
    "RAY_REDIS_PASSWORD": "hunter2",
    "RAY_AUTH_TOKEN": "hunter2",
    "WANDB_IDENTITY_TOKEN_FILE": "/hunter2",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"env_vars": {"PASS": "hunter2"}}}',
    "WANDB_BASE_URL": "https://me:hunter2@wandb.example.com/path?key=hunter2",
    "https_proxy": "me:hunter2@proxy:3128",
    "HTTP_PROXY": "http://me:hunter2/@b@proxy:3128",
    "WANDB__EXTRA_HTTP_HEADERS": "Cookie: hunter2",
    "RAY_LONG": "hunter2" * 40,
}


def test_no_secret_is_shown():
    text = repr(check_variables(SECRETS))
    assert "hunter2" not in text
    for name in SECRETS:
        assert name in text


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("RAY_ADDRESS", "10.0.0.7:6379", "10.0.0.7:6379"),
        ("RAY_AUTH_MODE", "token", "token"),
        ("OMP_NUM_THREADS", "1", "1"),
        ("CUDA_VISIBLE_DEVICES", "", "'' (empty)"),
        ("WANDB_API_KEY", "x", "set (not shown)"),
        ("TUMOUR_SEARCH_TOKEN", "", "'' (empty)"),
    ],
)
def test_what_is_no_secret_is_shown(name, value, shown):
    assert show(name, value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pass@proxy:3128", "http://***@proxy:3128"),
        ("me:pass@proxy:3128", "***@proxy:3128"),
        ("http://proxy:3128", "http://proxy:3128"),
        ("s3://bucket/prefix?secret=1", "s3://bucket/prefix?***"),
        ("http://me:a@b/c?d@proxy", "http://***@proxy"),
    ],
)
def test_urls_lose_names_passwords_and_queries(text, shown):
    assert redact(text) == shown


def test_other_variables_are_left_out():
    [found] = check_variables({"EDITOR": "vi", "MY_SECRET": "hunter2", "TMP": "x"})
    assert found.value == "none that matters is set"


def test_proxy_must_spare_a_cluster():
    proxy = {"http_proxy": "http://proxy:3128", "RAY_ADDRESS": "10.0.0.7:6379"}
    assert check_variables({"http_proxy": "http://proxy:3128"})[0].level is Level.OK
    found = check_variables(proxy)[1]
    assert found.level is Level.WARN
    assert "no_proxy to localhost,127.0.0.1" in found.remedy
    for spared in ("localhost, 127.0.0.1,.example.com", "*"):
        assert {one.level for one in check_variables({**proxy, "NO_PROXY": spared})} == {Level.OK}
