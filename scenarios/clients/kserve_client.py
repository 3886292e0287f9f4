"""The clients of kserve, REST and gRPC."""

import asyncio

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from server import URL

SERVICE = "served"


def question(binary):
    x = InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32), binary_data=binary)
    return InferRequest(model_name=SERVICE, infer_inputs=[x], request_id="k")


def check(answer):
    assert answer.model_name == SERVICE and answer.id == "k", answer
    assert answer.outputs[0].as_numpy().tolist() == [[2, 3, 4, 5]], answer


async def main():
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = f"http://{URL}"
    assert await rest.is_server_live(base) and await rest.is_server_ready(base)
    assert await rest.is_model_ready(base, SERVICE)
    for binary in (False, True):
        check(await rest.infer(base, question(binary), model_name=SERVICE))
    await rest.close()
    async with InferenceGRPCClient(URL) as rpc:
        assert await rpc.is_server_live() and await rpc.is_server_ready()
        assert await rpc.is_model_ready(SERVICE)
        for binary in (False, True):
            check(await rpc.infer(question(binary)))


asyncio.run(main())
