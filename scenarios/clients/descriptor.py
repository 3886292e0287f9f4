"""Our inference.proto, as the server tells it by reflection, against the one inside the tritonclient wheel: every message,
field, number, type, choice, enum and method, in both directions.
"""

import grpc
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import model_config_pb2, service_pb2

from server import URL


def of_message(message, scope, found):
    name = f"{scope}.{message.name}"
    found[name] = "message"
    for field in message.field:
        choice = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        found[f"{name}.{field.name}"] = (
            field.number, field.type, field.label, field.type_name, choice, field.proto3_optional,
        )
    for nested in message.nested_type:
        of_message(nested, name, found)
    for enum in message.enum_type:
        of_enum(enum, name, found)


def of_enum(enum, scope, found):
    for value in enum.value:
        found[f"{scope}.{enum.name}.{value.name}"] = value.number


def described(files):
    found = {}
    for file in files:
        assert file.package == "inference", file.package
        for message in file.message_type:
            of_message(message, file.package, found)
        for enum in file.enum_type:
            of_enum(enum, file.package, found)
        for service in file.service:
            for method in service.method:
                found[f"{file.package}.{service.name}.{method.name}"] = (
                    method.input_type, method.output_type, method.client_streaming, method.server_streaming,
                )
    return found


def of_the_wheel():
    for module in (service_pb2, model_config_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        yield file


def of_the_server():
    with grpc.insecure_channel(URL) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        first = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        yield first
        for name in first.dependency:
            yield database.FindFileByName(name)


theirs, ours = described(of_the_wheel()), described(of_the_server())
assert len(theirs) > 400, len(theirs)
unlike = {name: (theirs.get(name), ours.get(name)) for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)}
assert not unlike, unlike
