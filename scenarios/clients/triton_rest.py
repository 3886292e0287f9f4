"""tritonclient over REST: all that its client can call."""

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

import tensors
from server import HEADERS, SCENE, URL, model, refused

client = InferenceServerClient(URL)
assert client.is_server_live() and client.is_server_ready()
server = client.get_server_metadata()
assert server["name"] == "tenon" and "statistics" in server["extensions"], server

# The repository.
refused(lambda: client.load_model("rest", config="{}", files={"file:1/model.onnx": b"x"}), "scope `admin`")
client.load_model("rest", headers=HEADERS, config="{}", files={"file:1/model.onnx": model("onnx/identity_all.onnx")})
client.load_model("rest", headers=HEADERS)
index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
assert index["rest"] == "READY", index
assert client.is_model_ready("rest") and client.is_model_ready("rest", "1") and not client.is_model_ready("none")

# Binary tensors and JSON, in and out, packed and not.
binary = tensors.inputs(InferInput)
tensors.check(client.infer("rest", binary, request_id="r"))
for packing in ("gzip", "deflate"):
    tensors.check(
        client.infer("rest", binary, request_compression_algorithm=packing, response_compression_algorithm=packing)
    )
tensors.check(client.async_infer("rest", binary).get_result())
x = InferInput("in_int64", [1, 2], "INT64")
x.set_data_from_numpy(np.array([[2**62 + 1, -1]], np.int64), binary_data=False)
others = [tensor for tensor in binary if tensor.name() != "in_int64"]
one = [InferRequestedOutput("out_int64", binary_data=False)]
assert client.infer("rest", [*others, x], outputs=one).as_numpy("out_int64").tolist() == [[2**62 + 1, -1]]
refused(lambda: client.infer("rest", others, outputs=one), "`in_int64 INT64[-1, 2]` is missing")
text = refused(lambda: client.infer("none", binary), "no service `none`")
assert text.status() == "404", text.status()

# A large answer is packed, and read back.
client.load_model("wide", headers=HEADERS, config="{}", files={"file:1/model.onnx": model("onnx/identity.onnx")})
wide = np.zeros((1, 100_000), np.float32)
wide[0, 7] = 7
x = InferInput("x", list(wide.shape), "FP32")
x.set_data_from_numpy(wide)
for packing in ("gzip", "deflate", None):
    result = client.infer("wide", [x], response_compression_algorithm=packing)
    assert (result.as_numpy("y") == wide).all()

# Classification.
best = client.infer("wide", [x], outputs=[InferRequestedOutput("y", class_count=2)]).as_numpy("y")
assert best.tolist() == [[b"7.000000:7", b"0.000000:0"]], best

# A service of pictures names its classes: value:class:label.
picture = InferInput("image", [1], "BYTES")
picture.set_data_from_numpy(np.array([SCENE], np.object_))
best = client.infer("scenes", [picture], outputs=[InferRequestedOutput("scores", class_count=2)]).as_numpy("scores")
for text in best[0]:
    score, number, label = text.decode().split(":")
    assert 0.05 <= float(score) <= 1 and number == label, text
found = client.infer("scenes", [picture])
count = found.as_numpy("counts")[0]
assert count >= 2 and all(found.as_numpy("labels")[0][:count]), found.get_response()

# What a service is and did.
metadata = client.get_model_metadata("wide")
assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}], metadata
config = client.get_model_config("wide")
assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, -1]}], config
assert config["platform"] == "onnxruntime_onnx", config
seen = client.get_inference_statistics("wide")["model_stats"][0]
assert seen["inference_stats"]["success"]["count"] == seen["inference_count"] == seen["execution_count"] == 4, seen
assert {row["name"] for row in client.get_inference_statistics()["model_stats"]} >= {"rest", "wide"}

# Settings of the server.
assert client.get_trace_settings()["trace_level"] == ["OFF"]
settings = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "1"}
assert client.update_trace_settings("wide", settings, headers=HEADERS)["trace_level"] == ["TIMESTAMPS"]
client.infer("wide", [x])
assert client.get_trace_settings("wide")["trace_count"] == "0"
nothing = dict.fromkeys(settings)
assert client.update_trace_settings("wide", nothing, headers=HEADERS)["trace_level"] == ["OFF"]
assert client.get_log_settings()["log_info"] is True
assert client.update_log_settings({"log_verbose_level": 1}, headers=HEADERS)["log_verbose_level"] == 1
client.update_log_settings({"log_verbose_level": 0}, headers=HEADERS)
refused(lambda: client.update_log_settings({"log_info": False}), "scope `admin`")

# Shared memory: there is none, and clients that tidy up before they begin may.
assert client.get_system_shared_memory_status() == [] and client.get_cuda_shared_memory_status() == []
client.unregister_system_shared_memory()
client.unregister_cuda_shared_memory()
refused(lambda: client.register_system_shared_memory("r", "/r", 64), "shared memory is not part")

for name in ("rest", "wide"):
    client.unload_model(name, headers=HEADERS, unload_dependents=True)
assert not client.is_model_ready("wide")
client.close()
