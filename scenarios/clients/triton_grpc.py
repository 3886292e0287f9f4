"""tritonclient over gRPC: all that its client can call, and its asyncio twin."""

import asyncio
import queue

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, aio, service_pb2

import tensors
from server import HEADERS, SCENE, URL, model, refused

client = InferenceServerClient(URL)
assert client.is_server_live() and client.is_server_ready()
server = client.get_server_metadata()
assert server.name == "tenon" and "statistics" in server.extensions, server

# The repository.
refused(lambda: client.load_model("rpc", config="{}", files={"file:1/model.onnx": b"x"}), "UNAUTHENTICATED")
client.load_model("rpc", headers=HEADERS, config="{}", files={"file:1/model.onnx": model("onnx/identity_all.onnx")})
client.load_model("rpc", headers=HEADERS)
index = {entry.name: entry.state for entry in client.get_model_repository_index().models}
assert index["rpc"] == "READY", index
assert client.is_model_ready("rpc") and client.is_model_ready("rpc", "1") and not client.is_model_ready("none")

# Raw tensors of every datatype, packed and not, now and later.
raw = tensors.inputs(InferInput)
result = client.infer("rpc", raw, request_id="r", client_timeout=30)
tensors.check(result)
assert result.get_response().id == "r"
for packing in ("gzip", "deflate"):
    tensors.check(client.infer("rpc", raw, compression_algorithm=packing))
answers = queue.Queue()
client.async_infer("rpc", raw, callback=lambda result, error: answers.put((result, error)))
result, error = answers.get(timeout=30)
assert error is None, error
tensors.check(result)
refused(lambda: client.infer("rpc", raw[1:]), "INVALID_ARGUMENT", "`in_bool BOOL[-1, 2]` is missing")
refused(lambda: client.infer("none", raw), "NOT_FOUND", "no service `none`")
refused(lambda: client.infer("rpc", raw, model_version="7"), "NOT_FOUND", "version 7 is not live")

# Typed contents of every datatype that has some.
typed = service_pb2.ModelInferRequest(model_name="rpc")
fields = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}
for name, datatype, values in tensors.VALUES:
    tensor = typed.inputs.add(name=f"in_{name}", datatype=datatype, shape=list(values.shape))
    if datatype in fields:
        getattr(tensor.contents, fields[datatype]).extend(values.flatten().tolist())
stub = client._client_stub
refused(lambda: stub.ModelInfer(typed), "FP16 has no field in typed contents; send it in raw contents")

# A stream: answers in order, errors in between, and the mark of the last answer.
client.load_model("wide_rpc", headers=HEADERS, config="{}", files={"file:1/model.onnx": model("onnx/identity.onnx")})
x = InferInput("x", [1, 2], "FP32")
client.start_stream(callback=lambda result, error: answers.put((result, error)))
for number in range(20):
    x.set_data_from_numpy(np.array([[number, 1]], np.float32))
    name = "none" if number == 5 else "wide_rpc"
    client.async_stream_infer(name, [x], request_id=str(number), enable_empty_final_response=number == 9)
for number in range(20):
    result, error = answers.get(timeout=30)
    if number == 5:
        assert "no service `none`" in str(error), error
        continue
    assert error is None, error
    assert result.as_numpy("y").tolist() == [[number, 1]], number
    response = result.get_response()
    assert response.id == str(number), response
    assert response.parameters["triton_final_response"].bool_param == (number == 9)
client.stop_stream()

# Classification.
best = client.infer("wide_rpc", [x], outputs=[InferRequestedOutput("y", class_count=1)]).as_numpy("y")
assert best.tolist() == [[b"19.000000:0"]], best

picture = InferInput("image", [1], "BYTES")
picture.set_data_from_numpy(np.array([SCENE], np.object_))
best = client.infer("scenes", [picture], outputs=[InferRequestedOutput("scores", class_count=1)]).as_numpy("scores")
score, number, label = best[0][0].decode().split(":")
assert 0.05 <= float(score) <= 1 and number == label, best

# A message of some megabytes, both ways.
large = np.arange(2_000_000, dtype=np.float32).reshape(1, -1)
x = InferInput("x", list(large.shape), "FP32")
x.set_data_from_numpy(large)
assert (client.infer("wide_rpc", [x]).as_numpy("y") == large).all()

# What a service is and did.
metadata = client.get_model_metadata("wide_rpc")
assert (metadata.platform, list(metadata.inputs[0].shape)) == ("onnx_onnxv1", [-1, -1]), metadata
config = client.get_model_config("wide_rpc", as_json=True)["config"]
assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", "-1"]}], config
seen = client.get_inference_statistics("wide_rpc").model_stats[0]
assert seen.inference_stats.success.count == seen.inference_count == seen.execution_count == 21, seen
assert {row.name for row in client.get_inference_statistics().model_stats} >= {"rpc", "wide_rpc"}

# Settings of the server.
assert list(client.get_trace_settings().settings["trace_level"].value) == ["OFF"]
settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "1"}
changed = client.update_trace_settings("wide_rpc", settings, headers=HEADERS)
assert list(changed.settings["trace_level"].value) == ["TIMESTAMPS"], changed
client.infer("wide_rpc", [x])
assert list(client.get_trace_settings("wide_rpc").settings["trace_count"].value) == ["0"]
changed = client.update_trace_settings("wide_rpc", dict.fromkeys(settings), headers=HEADERS)
assert list(changed.settings["trace_level"].value) == ["OFF"], changed
assert client.get_log_settings().settings["log_info"].bool_param is True
changed = client.update_log_settings({"log_verbose_level": 1, "log_format": "ISO8601"}, headers=HEADERS)
assert changed.settings["log_verbose_level"].uint32_param == 1, changed
client.update_log_settings({"log_verbose_level": 0}, headers=HEADERS)
refused(lambda: client.update_log_settings({"log_info": False}), "UNAUTHENTICATED")

# Shared memory: there is none, and clients that tidy up before they begin may.
assert not client.get_system_shared_memory_status().regions and not client.get_cuda_shared_memory_status().regions
client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory()
refused(lambda: client.register_system_shared_memory("r", "/r", 64), "UNIMPLEMENTED", "shared memory is not part")


async def asynchronously():
    async with aio.InferenceServerClient(URL) as later:
        assert await later.is_model_ready("rpc")
        tensors.check(await later.infer("rpc", raw))

        async def requests():
            for number in range(3):
                yield {"model_name": "rpc", "inputs": raw, "request_id": str(number)}

        seen = 0
        async for result, error in later.stream_infer(requests()):
            assert error is None, error
            tensors.check(result)
            seen += 1
        assert seen == 3, seen


asyncio.run(asynchronously())
for name in ("rpc", "wide_rpc"):
    client.unload_model(name, headers=HEADERS, unload_dependents=True)
assert not client.is_model_ready("wide_rpc")
client.close()
