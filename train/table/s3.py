"""Objects in S3: listed by boto3, read by pyarrow with the same credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vigil.aws import AwsError, aws_client, aws_errors, aws_session
from vigil.errors import DataError
from vigil.json_types import JsonObject

_DENIED = {
    "AccessDenied",
    "403",
    "AllAccessDisabled",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}


@dataclass(frozen=True)
class S3Object:
    """One object of a bucket; size in bytes."""

    key: str
    size: int
    etag: str


def is_s3(path: str) -> bool:
    return path.startswith("s3://")


def list_objects(url: str, bucket: str, prefix: str) -> list[S3Object]:
    """Return the objects of `bucket` whose keys begin with `prefix`, folders left out.

    Raises DataError that speaks of `url`: there is no such bucket, or no right to list it.
    """
    try:
        with aws_errors():
            entries = _entries(bucket, prefix)
    except AwsError as error:
        raise _refusal(error, url, bucket) from error
    return [_object(entry) for entry in entries if not entry["Key"].endswith("/")]


def open_object(url: str) -> Any:
    """Open an object to read and seek in; raises OSError."""
    return _filesystem().open_input_file(url.removeprefix("s3://"))


def _entries(bucket: str, prefix: str) -> list[JsonObject]:
    paginator = aws_client("s3").get_paginator("list_objects_v2")
    pages = paginator.paginate(Bucket=bucket, Prefix=prefix)
    entries: list[JsonObject] = []
    for page in pages:
        entries += page.get("Contents", ())
    return entries


def _object(entry: JsonObject) -> S3Object:
    etag = entry["ETag"].strip('"')
    return S3Object(entry["Key"], entry["Size"], etag)


def _refusal(error: AwsError, url: str, bucket: str) -> DataError:
    if error.code == "NoSuchBucket":
        return DataError(f"{url}: there is no bucket {bucket!r}")
    if error.code in _DENIED:
        return DataError(
            f"{url}: access to the bucket {bucket!r} is denied ({error.code}): "
            "the job needs s3:ListBucket and s3:GetObject on it"
        )
    return DataError(f"{url} cannot be listed: {error}")


def _filesystem() -> Any:
    """pyarrow's S3 with the credentials, region and endpoint of boto3 (AWS_ENDPOINT_URL, ..)."""
    from pyarrow.fs import S3FileSystem

    client = aws_client("s3")
    endpoint = urlsplit(client.meta.endpoint_url)
    return S3FileSystem(
        **_keys(),
        region=client.meta.region_name,
        scheme=endpoint.scheme,
        endpoint_override=endpoint.netloc,
    )


def _keys() -> dict[str, str | None]:
    credentials = aws_session().get_credentials()
    if credentials is None:
        return {}
    keys = credentials.get_frozen_credentials()
    return {
        "access_key": keys.access_key,
        "secret_key": keys.secret_key,
        "session_token": keys.token,
    }
