"""KServe's own client over both wires of the protocol: REST, JSON and binary, and gRPC."""

import asyncio

import numpy as np
from kserve import InferenceRESTClient, RESTConfig
from kserve.inference_client import InferenceGRPCClient
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput

from server import SCENE, URL, load

BASE = f"http://{URL}"
load("kserve", "onnx/identity.onnx")


def row(binary):
    x = InferInput("x", [2, 3], "FP32")
    x.set_data_from_numpy(np.array([[1, -2, 0.5], [3, 4, 5]], np.float32), binary_data=binary)
    return x


def check(answer, id):
    output = answer.outputs[0]
    assert (output.name, output.shape, output.datatype) == ("y", [2, 3], "FP32"), answer
    assert output.as_numpy().tolist() == [[1, -2, 0.5], [3, 4, 5]], answer
    assert (answer.model_name, answer.id) == ("kserve", id), answer


def detected(answer):
    outputs = {output.name: output for output in answer.outputs}
    labels = outputs["labels"].as_numpy().flatten().tolist()
    count = int(outputs["counts"].as_numpy()[0])
    labels = [label.decode() if isinstance(label, bytes) else label for label in labels[:count]]
    assert {"2", "9"} <= set(labels), labels


def picture():
    image = InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([SCENE], np.object_), binary_data=True)
    return image


async def rest():
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        assert await client.is_server_live(BASE) and await client.is_server_ready(BASE)
        assert await client.is_model_ready(BASE, "kserve") and not await client.is_model_ready(BASE, "none")
        for binary in (False, True):
            for parameters in ({}, {"binary_data_output": True}):
                asked = InferRequest("kserve", [row(binary)], request_id="k", parameters=parameters)
                told = {}
                check(await client.infer(BASE, asked, model_name="kserve", response_headers=told), "k")
                assert told["tenon-version"] == "kserve/1", told
        asked = InferRequest("kserve", [row(True)], request_outputs=[RequestedOutput("y", {"binary_data": True})])
        assert (await client.infer(BASE, asked, model_name="kserve")).outputs[0].as_numpy().shape == (2, 3)
        detected(await client.infer(BASE, InferRequest("scenes", [picture()]), model_name="scenes"))
        try:
            await client.infer(BASE, InferRequest("none", [row(True)]), model_name="none")
        except Exception as error:  # noqa: BLE001: the client's class is that of its transport
            assert "no service `none`" in str(error) and "404" in str(error), error
        else:
            raise AssertionError("a service that is none answered")


async def grpc():
    async with InferenceGRPCClient(URL, retries=0) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("kserve")
        for x in (row(True), InferInput("x", [2, 3], "FP32", data=[1, -2, 0.5, 3, 4, 5])):
            check(await client.infer(InferRequest("kserve", [x], request_id="k")), "k")
        detected(await client.infer(InferRequest("scenes", [picture()])))
        for call in (client.is_model_ready("none"), client.infer(InferRequest("none", [row(True)]))):
            try:
                assert await call is False
            except Exception as error:  # noqa: BLE001: grpc's own class
                assert "no service `none`" in str(error), error


asyncio.run(rest())
asyncio.run(grpc())
