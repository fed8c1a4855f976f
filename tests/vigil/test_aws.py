"""AWS: what a client waits for and how often it tries, and its errors as OSError."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from vigil.aws import AwsError, aws_client, aws_errors, aws_session


def test_a_client_has_the_timeouts_and_retries_that_are_asked_for() -> None:
    config = aws_client("s3", region="eu-west-1", timeout_s=3, max_attempts=2).meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 3)
    assert config.retries["total_max_attempts"] == 2
    assert config.region_name == "eu-west-1"


def test_a_refusal_has_its_code_and_status() -> None:
    response = {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}
    with pytest.raises(OSError, match=r"^s3://b/k: .*NoSuchKey") as caught, aws_errors("s3://b/k"):
        raise ClientError(response, "GetObject")  # type: ignore[arg-type]
    assert isinstance(caught.value, AwsError)
    assert (caught.value.code, caught.value.status) == ("NoSuchKey", 404)


def test_where_nobody_is_reached_there_is_neither() -> None:
    with pytest.raises(AwsError, match=r"^Unable to locate credentials$") as caught, aws_errors():
        raise NoCredentialsError
    assert (caught.value.code, caught.value.status) == ("", 0)


def test_credentials_are_those_of_the_environment_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for key in ("first", "second"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert aws_session().get_credentials().access_key == key
    assert aws_session() is aws_session()
