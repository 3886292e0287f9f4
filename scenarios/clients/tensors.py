"""Values of every datatype of the protocol, for the model `identity_all`: in and out again."""

import ml_dtypes
import numpy as np

# name in the model, datatype of the protocol, values of shape [2, 2]
VALUES = [
    ("bool", "BOOL", np.array([[True, False], [False, True]])),
    ("uint8", "UINT8", np.array([[0, 255], [1, 2]], np.uint8)),
    ("uint16", "UINT16", np.array([[0, 65535], [1, 2]], np.uint16)),
    ("uint32", "UINT32", np.array([[0, 2**32 - 1], [1, 2]], np.uint32)),
    ("uint64", "UINT64", np.array([[0, 2**64 - 1], [1, 2]], np.uint64)),
    ("int8", "INT8", np.array([[-128, 127], [1, -2]], np.int8)),
    ("int16", "INT16", np.array([[-(2**15), 2**15 - 1], [1, -2]], np.int16)),
    ("int32", "INT32", np.array([[-(2**31), 2**31 - 1], [1, -2]], np.int32)),
    ("int64", "INT64", np.array([[-(2**63), 2**63 - 1], [1, -2]], np.int64)),
    ("fp16", "FP16", np.array([[0.5, -65504], [6e-8, np.inf]], np.float16)),
    ("bf16", "BF16", np.array([[0.5, -2.0], [256, 3]], ml_dtypes.bfloat16)),
    ("fp32", "FP32", np.array([[0.1, -3e38], [1e-45, np.nan]], np.float32)),
    ("fp64", "FP64", np.array([[0.1, -1e308], [5e-324, np.nan]], np.float64)),
    # Strings of ONNX are UTF-8.
    ("bytes", "BYTES", np.array([[b"", b"\x00a"], ["é".encode(), b"x" * 1000]], np.object_)),
]


def inputs(kind, **options):
    """The inputs of a request, made by the client's own class."""
    made = []
    for name, datatype, values in VALUES:
        tensor = kind(f"in_{name}", list(values.shape), datatype)
        tensor.set_data_from_numpy(values, **options)
        made.append(tensor)
    return made


def check(result):
    """Every output is its input, bit by bit."""
    for name, _, values in VALUES:
        found = result.as_numpy(f"out_{name}")
        assert found is not None and found.shape == values.shape, (name, found)
        if name == "bytes":
            assert (found == values).all(), (name, found)
        else:
            assert found.astype(values.dtype).tobytes() == values.tobytes(), (name, found)
