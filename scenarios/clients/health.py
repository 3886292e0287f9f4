"""grpcio-health-checking: Check and Watch."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import InferenceServerClient

from server import HEADERS, URL, model

SERVING, UNKNOWN = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def ask(name):
    return health_pb2.HealthCheckRequest(service=name)


with grpc.insecure_channel(URL) as channel:
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(ask("")).status == SERVING
    assert health.Check(ask("inference.GRPCInferenceService")).status == SERVING
    try:
        health.Check(ask("health"))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    else:
        raise AssertionError("a service that is not there has a state")
    watch = health.Watch(ask("health"), timeout=30)
    assert next(watch).status == UNKNOWN
    with InferenceServerClient(URL) as client:
        files = {"file:1/model.onnx": model("onnx/add_one.onnx")}
        client.load_model("health", headers=HEADERS, config="{}", files=files)
        assert next(watch).status == SERVING
        assert health.Check(ask("health")).status == SERVING
        client.unload_model("health", headers=HEADERS)
        assert next(watch).status == UNKNOWN
    watch.cancel()
