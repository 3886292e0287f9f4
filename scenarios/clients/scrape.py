"""prometheus_client: a scrape in both formats, read by the parsers of Prometheus' own library."""

import time
from urllib.request import Request, urlopen

import numpy as np
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain
from tritonclient.http import InferenceServerClient, InferInput

from server import HEADERS, URL, model

client = InferenceServerClient(URL)
client.load_model("scrape", headers=HEADERS, config="{}", files={"file:1/model.onnx": model("onnx/add_one.onnx")})
[wanted] = client.get_model_metadata("scrape")["inputs"]
shape = [max(int(size), 1) for size in wanted["shape"]]
tensor = InferInput(wanted["name"], shape, wanted["datatype"])
tensor.set_data_from_numpy(np.ones(shape, dtype=np.float32))
for _ in range(3):
    client.infer("scrape", [tensor], request_id="of-the-scrape")


def scrape(accept):
    with urlopen(Request(f"http://{URL}/metrics", headers={"accept": accept})) as answer:
        return answer.headers["content-type"], answer.read().decode()


kind, text = scrape("text/plain")
assert kind.startswith("text/plain; version=0.0.4"), kind
plain = {family.name: family for family in read_plain(text)}

kind, text = scrape("application/openmetrics-text; version=1.0.0")
assert kind.startswith("application/openmetrics-text; version=1.0.0"), kind
families = {family.name: family for family in read_open(text)}

for seen in (plain, families):
    samples = [sample for sample in seen["tenon_requests"].samples if sample.labels["service"] == "scrape"]
    counts = {sample.labels["outcome"]: sample.value for sample in samples}
    assert counts == {"answered": 3, "invalid": 0, "failed": 0, "refused": 0, "cancelled": 0}, counts
    assert seen["tenon_request_duration_seconds"].type == "histogram"
    [ready] = seen["tenon_ready"].samples
    assert ready.value in (0, 1)

assert families["tenon_request_duration_seconds"].unit == "seconds"
buckets = families["tenon_request_duration_seconds"].samples
exemplars = [sample.exemplar for sample in buckets if sample.exemplar and sample.labels["service"] == "scrape"]
assert exemplars and all(seen.labels == {"request_id": "of-the-scrape"} for seen in exemplars), exemplars
assert all(abs(time.time() - float(seen.timestamp)) < 600 for seen in exemplars), exemplars
[build] = families["tenon_build"].samples
assert build.name == "tenon_build_info" and build.labels["version"], build
client.unload_model("scrape", headers=HEADERS)
