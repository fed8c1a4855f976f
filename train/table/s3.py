"""Objects in S3: listed by boto3, read by pyarrow with the same credentials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn
from urllib.parse import urlsplit

from vigil.errors import DataError

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
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        entries = _entries(bucket, prefix)
    except ClientError as error:
        _refuse(error, url, bucket)
    except BotoCoreError as error:
        raise DataError(f"{url} cannot be listed: {error}") from error
    return [_object(entry) for entry in entries if not entry["Key"].endswith("/")]


def open_object(url: str) -> Any:
    """Open an object to read and seek in; raises OSError."""
    return _filesystem().open_input_file(url.removeprefix("s3://"))


def _entries(bucket: str, prefix: str) -> list[dict[str, Any]]:
    paginator = _session().client("s3").get_paginator("list_objects_v2")
    entries: list[dict[str, Any]] = []
    for page in paginator.paginate(Bucket=bucket, Prefix=prefix):
        entries += page.get("Contents", ())
    return entries


def _object(entry: dict[str, Any]) -> S3Object:
    return S3Object(entry["Key"], entry["Size"], entry["ETag"].strip('"'))


def _refuse(error: Any, url: str, bucket: str) -> NoReturn:
    code = error.response.get("Error", {}).get("Code", "")
    if code == "NoSuchBucket":
        raise DataError(f"{url}: there is no bucket {bucket!r}") from error
    if code in _DENIED:
        raise DataError(
            f"{url}: access to the bucket {bucket!r} is denied ({code}): "
            "the job needs s3:ListBucket and s3:GetObject on it"
        ) from error
    raise DataError(f"{url} cannot be listed: {error}") from error


@cache
def _session() -> Any:
    """The session of this process: it takes long to make, and renews its credentials itself."""
    import boto3

    return boto3.Session()


def forget_session() -> None:
    """Have the next call look for credentials anew."""
    _session.cache_clear()


def _filesystem() -> Any:
    """pyarrow's S3 with the credentials, region and endpoint of boto3 (AWS_ENDPOINT_URL, ..)."""
    from pyarrow.fs import S3FileSystem

    client = _session().client("s3")
    endpoint = urlsplit(client.meta.endpoint_url)
    return S3FileSystem(
        **_keys(),
        region=client.meta.region_name,
        scheme=endpoint.scheme,
        endpoint_override=endpoint.netloc,
    )


def _keys() -> dict[str, str | None]:
    credentials = _session().get_credentials()
    if credentials is None:
        return {}
    keys = credentials.get_frozen_credentials()
    return {
        "access_key": keys.access_key,
        "secret_key": keys.secret_key,
        "session_token": keys.token,
    }
