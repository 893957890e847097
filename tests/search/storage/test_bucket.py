"""URIs of buckets, and what a person is told when a bucket refuses; on a real server."""

import pytest

from data.errors import UserError
from search.storage.bucket import check_uri, open_bucket


def test_check_uri_adds_the_endpoint_and_region_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://somebody:secret@minio:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert check_uri("s3://b/p") == "s3://b/p?endpoint_override=minio:9000&scheme=http&region=eu-west-1"
    assert check_uri("s3://b/p?region=x") == "s3://b/p?endpoint_override=minio:9000&scheme=http&region=x"
    assert check_uri("gs://b/p") == "gs://b/p"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://other")
    assert "endpoint_override=other&scheme=https" in check_uri("s3://b/p")


def test_open_bucket_says_what_to_do_when_it_is_refused(s3_server, bucket):
    with pytest.raises(UserError, match=r"there is no bucket 'nobodys': make it"):
        open_bucket(s3_server.uri("nobodys"))
    with pytest.raises(UserError, match=r"legal after \? are region, endpoint_override and scheme"):
        open_bucket(f"{bucket}&nonsense=1")
    with s3_server.refusing(), pytest.raises(UserError, match=r"access is denied: give this machine credentials"):
        open_bucket(bucket)
    assert open_bucket(bucket).is_bucket  # a refusal is not remembered
