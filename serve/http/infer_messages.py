"""Messages and service of the Open Inference Protocol over gRPC, package `inference`.

Made at run time from the table of fields below: nothing is generated, and another copy of the
protocol in the same process, such as that of a client's library, does not collide with it.
Source: names, numbers and types of fields as KServe and Triton have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_ONE_OF = "InferParameter"  # exactly one of its fields is there
_MAP = "map"  # from text to InferParameter
_NUMBERS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}
_REQUEST = "ModelInferRequest"
_ANSWER = "ModelInferResponse"
_METADATA = "ModelMetadataResponse"

# Fields in the order of their numbers, from 1 on; `*` is a list.
FIELDS: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready bool",),
    "ModelReadyRequest": ("name string", "version string"),
    "ModelReadyResponse": ("ready bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name string", "version string", "extensions *string"),
    "ModelMetadataRequest": ("name string", "version string"),
    _METADATA: (
        "name string",
        "versions *string",
        "platform string",
        f"inputs *{_METADATA}.TensorMetadata",
        f"outputs *{_METADATA}.TensorMetadata",
    ),
    f"{_METADATA}.TensorMetadata": ("name string", "datatype string", "shape *int64"),
    _ONE_OF: (
        "bool_param bool",
        "int64_param int64",
        "string_param string",
        "double_param double",
        "uint64_param uint64",
    ),
    "InferTensorContents": (
        "bool_contents *bool",
        "int_contents *int32",
        "int64_contents *int64",
        "uint_contents *uint32",
        "uint64_contents *uint64",
        "fp32_contents *float",
        "fp64_contents *double",
        "bytes_contents *bytes",
    ),
    _REQUEST: (
        "model_name string",
        "model_version string",
        "id string",
        "parameters map",
        f"inputs *{_REQUEST}.InferInputTensor",
        f"outputs *{_REQUEST}.InferRequestedOutputTensor",
        "raw_input_contents *bytes",
    ),
    f"{_REQUEST}.InferInputTensor": (
        "name string",
        "datatype string",
        "shape *int64",
        "parameters map",
        "contents InferTensorContents",
    ),
    f"{_REQUEST}.InferRequestedOutputTensor": ("name string", "parameters map"),
    _ANSWER: (
        "model_name string",
        "model_version string",
        "id string",
        "parameters map",
        f"outputs *{_ANSWER}.InferOutputTensor",
        "raw_output_contents *bytes",
    ),
    f"{_ANSWER}.InferOutputTensor": (
        "name string",
        "datatype string",
        "shape *int64",
        "parameters map",
        "contents InferTensorContents",
    ),
    "ModelStreamInferResponse": ("error_message string", f"infer_response {_ANSWER}"),
}
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata")


def _made_messages() -> dict[str, type[Message]]:
    file = FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    for name in FIELDS:
        if "." not in name:
            file.message_type.append(_described(name))
    pool = DescriptorPool()
    pool.Add(file)  # pyright: ignore[reportAttributeAccessIssue]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in FIELDS
    }


def _described(name: str) -> DescriptorProto:
    message = DescriptorProto(name=name.rpartition(".")[2])
    if name == _ONE_OF:
        message.oneof_decl.add(name="parameter_choice")
    for number, field in enumerate(FIELDS[name], 1):
        _add_field(message, name, number, field)
    for nested in FIELDS:
        if nested.rpartition(".")[0] == name:
            message.nested_type.append(_described(nested))
    return message


def _add_field(
    message: DescriptorProto,
    owner: str,
    number: int,
    field: str,
) -> None:
    name, _, kind = field.partition(" ")
    if kind == _MAP:
        kind = f"*{owner}.ParametersEntry"
        message.nested_type.append(_map_entry())
    made = message.field.add(name=name, number=number)
    made.label = FieldDescriptorProto.LABEL_OPTIONAL
    if kind.startswith("*"):
        made.label = FieldDescriptorProto.LABEL_REPEATED
    if owner == _ONE_OF:
        made.oneof_index = 0
    _set_type(made, kind.removeprefix("*"))


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    number = _NUMBERS.get(kind)
    if number is not None:
        field.type = number
        return
    field.type = FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{PACKAGE}.{kind}"


def _map_entry() -> DescriptorProto:
    entry = DescriptorProto(name="ParametersEntry")
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", "string"), ("value", _ONE_OF)), 1):
        field = entry.field.add(name=name, number=number)
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        _set_type(field, kind)
    return entry


MESSAGES: dict[str, Callable[..., Any]] = dict(_made_messages())


def add_open_inference(servicer: Any, server: Any) -> None:
    """Register the service, whose methods are those of `servicer`, with a gRPC server."""
    handlers = {name: _unary(servicer, name) for name in (*METHODS, "ModelInfer")}
    handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        servicer.ModelStreamInfer,
        request_deserializer=_parse(_REQUEST),
        response_serializer=_serialize,
    )
    generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
    server.add_generic_rpc_handlers((generic,))


def _unary(servicer: Any, name: str) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        getattr(servicer, name),
        request_deserializer=_parse(f"{name}Request"),
        response_serializer=_serialize,
    )


def _parse(name: str) -> Callable[[bytes], Any]:
    made: Any = MESSAGES[name]
    return made.FromString


def _serialize(message: Any) -> bytes:
    return message.SerializeToString()
