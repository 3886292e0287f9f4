//! Every metric that there is: the one table. `docs/reference/metrics.md` is made of it.
//!
//! Names follow the conventions of Prometheus: base units, which end the name, and `_total` for counters.

/// How a metric is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, from the start of the process.
    Counter,
    /// Counts by size.
    Histogram,
    /// Count and sum.
    Summary,
    /// Its labels are what it says; its value is 1.
    Info,
}

/// A metric.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Its name, as it is asked for.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The unit that ends its name; empty for what is counted.
    pub(crate) unit: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// A list of metrics: the name here, kind, name outside, unit, labels, help.
macro_rules! declare {
    ($(#[$doc:meta])* $list:ident: $($here:ident = $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) static $here: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*

        $(#[$doc])*
        #[cfg(test)]
        pub(crate) static $list: &[&Metric] = &[$(&$here),*];
    };
}

declare! {
    /// What is always there.
    METRICS:
    BUILD = Info "tenon_build_info" "" ["version"] "the build that answers";
    RUNTIME = Gauge "tenon_runtime_up" "" ["runtime"] "1 where the runtime can load models";
    READY = Gauge "tenon_ready" "" [] "1 when every wanted service answers";
    GENERATION = Gauge "tenon_generation" "" [] "number of the generation that new requests see";
    IN_FLIGHT = Gauge "tenon_requests_in_flight" "" [] "requests inside the node";
    UNROUTED = Counter "tenon_requests_unrouted_total" "" ["reason"]
        "requests that came to no service: node_full or not_found";
    MEMORY = Gauge "tenon_memory_bytes" "bytes" ["device"] "memory admitted for models, by their proofs";
    MEMORY_LIMIT = Gauge "tenon_memory_limit_bytes" "bytes" ["device"]
        "limit of the memory admitted for models; +Inf where there is none";

    SERVICE_READY = Gauge "tenon_service_ready" "" ["service"] "1 when the wanted service answers";
    SERVICE_REVISION = Gauge "tenon_service_revision" "" ["service", "version", "digest"]
        "number of the revision that answers, with its version and artifact";
    SERVICE_IN_FLIGHT = Gauge "tenon_service_requests_in_flight" "" ["service"]
        "requests of the service inside the node";
    SERVICE_UNDO = Gauge "tenon_service_undo_warm" "" ["service"]
        "1 while the previous revision is warm, so that an undo takes a millisecond";

    REQUESTS = Counter "tenon_requests_total" "" ["service", "track", "version", "outcome"]
        "requests by what they came to: answered, invalid, failed, refused or cancelled";
    UNANSWERED = Counter "tenon_requests_unanswered_total" "" ["service", "track", "version", "reason"]
        "requests that were not answered, by reason";
    REQUEST_DURATION = Histogram "tenon_request_duration_seconds" "seconds" ["service", "track", "version"]
        "time of answered requests inside the node";
    QUEUE_DURATION = Histogram "tenon_queue_duration_seconds" "seconds" ["service", "track", "version"]
        "wait of calls for a session; a call that ran where its request was did not wait";
    COMPUTE_DURATION = Histogram "tenon_compute_duration_seconds" "seconds" ["service", "track", "version"]
        "calls of the model";
    ROWS = Histogram "tenon_request_rows" "" ["service", "track", "version"]
        "rows of answered requests: the size of their batch";
    WAITING = Gauge "tenon_requests_waiting" "" ["service", "track", "version"]
        "requests that wait for a session";
    RETIRING = Gauge "tenon_requests_retiring" "" ["service", "version"]
        "requests that are pinned to a version which takes no new ones";
    VERSION_MEMORY = Gauge "tenon_version_memory_bytes" "bytes" ["service", "version", "device"]
        "memory admitted for a version that is live or warm; versions may share it";

    SWAPS = Counter "tenon_swaps_total" "" ["service", "kind", "outcome"]
        "changes of what the service serves: swap, undo, remove or restore, that were published or failed";
    SWAP_DURATION = Histogram "tenon_swap_duration_seconds" "seconds" ["service", "kind", "outcome"]
        "time of these changes from the order to the acknowledgement";
    SWAP_STEP = Histogram "tenon_swap_step_duration_seconds" "seconds" ["service", "step", "outcome"]
        "time of their steps: load, prove and publish, that were done or failed";
    DRAIN = Histogram "tenon_drain_duration_seconds" "seconds" ["service", "outcome"]
        "time from publication to the end of the last request on what was replaced, in_time or late";
    RETIRED = Counter "tenon_revisions_retired_total" "" ["service", "cause"] "revisions that left memory";
    RELEASED = Counter "tenon_memory_released_bytes_total" "bytes" ["service", "device"]
        "memory that retired revisions gave back";

    JOBS = Gauge "tenon_jobs_under_way" "" ["kind", "state"] "jobs that are waiting or running";
    JOBS_ENDED = Counter "tenon_jobs_ended_total" "" ["kind", "outcome"]
        "jobs that were done, failed or refused because too many were under way";
    JOB_DURATION = Summary "tenon_job_duration_seconds" "seconds" ["kind", "outcome"]
        "time of jobs from the order to their end";

    FEEDBACK = Counter "tenon_feedback_total" "" ["service"] "feedback about answers of the service";
    SPANS = Counter "tenon_spans_total" "" ["outcome"]
        "spans of traces: sent to the collector, or lost as it did not take them";
    TRACES_DROPPED = Counter "tenon_traces_dropped_total" "" []
        "traces for which the queue to the collector had no room";
    OBSERVED = Counter "tenon_observed_total" "" ["outcome"]
        "records of what is observed: written, lost as they could not be, or dropped as the queue had no room";

    PROCESS_CPU = Counter "process_cpu_seconds_total" "seconds" [] "processor time of the process";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" "bytes" [] "memory of the process that is in RAM";
    PROCESS_START = Gauge "process_start_time_seconds" "seconds" [] "start of the process since 1970";
    PROCESS_FDS = Gauge "process_open_fds" "" [] "files and sockets that the process has open";
}

declare! {
    /// What is there with `metrics.triton_names`.
    TRITON:
    NV_SUCCESS = Counter "nv_inference_request_success" "" ["model", "version"]
        "Number of successful inference requests, all batch sizes";
    NV_FAILURE = Counter "nv_inference_request_failure" "" ["model", "version", "reason"]
        "Number of failed inference requests, all batch sizes";
    NV_COUNT = Counter "nv_inference_count" "" ["model", "version"] "Number of inferences performed";
    NV_EXEC_COUNT = Counter "nv_inference_exec_count" "" ["model", "version"] "Number of model executions performed";
    NV_PENDING = Gauge "nv_inference_pending_request_count" "" ["model", "version"]
        "Number of requests that wait for execution";
    NV_REQUEST = Counter "nv_inference_request_duration_us" "" ["model", "version"]
        "Cumulative inference request duration in microseconds";
    NV_QUEUE = Counter "nv_inference_queue_duration_us" "" ["model", "version"]
        "Cumulative inference queuing duration in microseconds";
    NV_INPUT = Counter "nv_inference_compute_input_duration_us" "" ["model", "version"]
        "Cumulative compute input duration in microseconds; Tenon copies no inputs";
    NV_INFER = Counter "nv_inference_compute_infer_duration_us" "" ["model", "version"]
        "Cumulative compute inference duration in microseconds";
    NV_OUTPUT = Counter "nv_inference_compute_output_duration_us" "" ["model", "version"]
        "Cumulative compute output duration in microseconds; Tenon copies no outputs";
    NV_LOAD = Gauge "nv_model_load_duration_secs" "" ["model", "version"] "Model load time in seconds";
    NV_CPU = Gauge "nv_cpu_utilization" "" [] "CPU utilization rate [0.0 - 1.0] since the last scrape";
    NV_CPU_TOTAL = Gauge "nv_cpu_memory_total_bytes" "" [] "CPU total memory (RAM), in bytes";
    NV_CPU_USED = Gauge "nv_cpu_memory_used_bytes" "" [] "CPU used memory (RAM), in bytes";
}
