"""Records that the Kinesis Producer Library packs into one.

Source: the aggregation format of the library (github.com/awslabs/amazon-kinesis-producer,
aggregation-format.md): four magic bytes, a protobuf message, and the MD5 of the message.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError

AGGREGATE_MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
_PACKAGE = "vigil.kinesis"
_RECORD = f".{_PACKAGE}.Record"


class DamagedAggregate(ValueError):
    """The aggregate is cut off or changed: none of its records can be trusted."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"a damaged aggregate of the Kinesis Producer Library: {reason}")


def user_records(data: bytes) -> list[bytes]:
    """Return the records of an aggregate, in order. Raises DamagedAggregate."""
    message = data[len(AGGREGATE_MAGIC) : -_DIGEST_BYTES]
    digest = hashlib.md5(message, usedforsecurity=False).digest()
    if not data.endswith(digest):
        raise DamagedAggregate("its MD5 is wrong")
    records = _decode(message).records
    if not records:
        raise DamagedAggregate("it has no record")
    return [record.data for record in records]


def _decode(message: bytes) -> Any:
    try:
        return _aggregate_class().FromString(message)
    except DecodeError as error:
        raise DamagedAggregate(str(error)) from error


@cache
def _aggregate_class() -> Any:
    """The class of an aggregate's message: of its fields those that matter here."""
    file = FileDescriptorProto(
        name="vigil/kinesis.proto",
        package=_PACKAGE,
        syntax="proto2",
    )
    file.message_type.extend([_record_message(), _aggregate_message()])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.AggregatedRecord")
    return message_factory.GetMessageClass(descriptor)


def _record_message() -> DescriptorProto:
    message = DescriptorProto(name="Record")
    message.field.add(
        name="data",
        number=3,
        type=FieldDescriptorProto.TYPE_BYTES,
        label=FieldDescriptorProto.LABEL_REQUIRED,
    )
    return message


def _aggregate_message() -> DescriptorProto:
    message = DescriptorProto(name="AggregatedRecord")
    message.field.add(
        name="records",
        number=3,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=_RECORD,
        label=FieldDescriptorProto.LABEL_REPEATED,
    )
    return message
