//! Step 8 of a request, where it is one of the sample: what was asked and answered goes to whoever keeps it.

use std::sync::Arc;
use std::time::Duration;

use tenon_contract::observed::{Keep, Observation, Observer, Values, bytes_of};
use tenon_contract::{NamedTensor, Request, Response};

use crate::clock;

/// A request of the sample while it is answered. Its tensors are shared, not copied.
pub(crate) struct Sample {
    observer: Arc<dyn Observer>,
    operation: Arc<str>,
    inputs: Option<Vec<NamedTensor>>,
    /// Most bytes of inputs and outputs.
    limit: usize,
    /// Whether values are wanted and there are more of them than the limit.
    is_cut: bool,
}

impl Sample {
    /// Decides on a request; one that is not of the sample costs the decision.
    pub(crate) fn of(observer: &Option<Arc<dyn Observer>>, request: &Request) -> Option<Self> {
        let observer = observer.as_ref()?;
        let limit = match observer.keeps(&request.service) {
            Keep::Nothing => return None,
            Keep::Ids => None,
            Keep::Values(limit) => Some(limit),
        };
        let fits = limit.map(|limit| bytes_of(&request.inputs) <= limit);
        Some(Self {
            observer: observer.clone(),
            operation: request.operation.clone(),
            inputs: (fits == Some(true)).then(|| request.inputs.clone()),
            limit: limit.unwrap_or_default(),
            is_cut: fits == Some(false),
        })
    }

    /// The request was answered. What failed is told by metrics and log, not by the sample.
    pub(crate) fn answered(self, response: &Response, took: Duration) {
        let values = self.inputs.map(|inputs| Values { inputs, outputs: response.outputs.clone() });
        let (values, is_cut) = match values {
            Some(values) if values.bytes() > self.limit => (None, true),
            values => (values, self.is_cut),
        };
        self.observer.observed(Observation {
            at_ms: clock::wall_ms(),
            id: response.id.clone(),
            operation: self.operation,
            identity: response.identity.clone(),
            generation: response.generation,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            values,
            is_cut,
        });
    }
}
