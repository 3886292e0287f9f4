//! `POST /services/{service}/feedback`: brings the truth back, for a request that was answered.
//!
//! It is counted, and kept where the server keeps what it observes. Who answered is joined there, as long as that is
//! remembered; a caller need not say it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use tenon_contract::observed::{Feedback, Returned};
use tenon_contract::{Fault, RequestId, ServiceName};
use tenon_control::Infer;

use crate::auth::Allowed;
use crate::body::collect_up_to;
use crate::parts::Shared;
use crate::router::Named;
use crate::status::{OipFault, json};

/// Most bytes of a body.
const BODY: usize = 64 << 10;
/// Most bytes of a comment.
const COMMENT: usize = 4 << 10;

/// Feedback by service.
#[derive(Default)]
pub(crate) struct Counted(Mutex<BTreeMap<ServiceName, u64>>);

impl Counted {
    fn count(&self, service: &ServiceName) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.entry(service.clone()).or_default() += 1;
    }

    /// How much there was for each service.
    pub(crate) fn all(&self) -> BTreeMap<ServiceName, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The answer: what was understood, and whether it is kept.
#[derive(Serialize)]
struct Taken<'a> {
    request_id: &'a RequestId,
    kept: bool,
}

/// Takes feedback about a request.
pub(crate) async fn take(
    State(api): State<Shared>,
    _: Allowed<Infer>,
    Named(service): Named<ServiceName>,
    request: Request,
) -> Result<Response, OipFault> {
    // Of services that nobody serves there is no end.
    api.node.service(&service)?;
    let body = collect_up_to(&api, request.into_body(), BODY).await?;
    let feedback: Feedback = serde_json::from_slice(&body.bytes)
        .map_err(|error| Fault::invalid(format!("read feedback: {error}")))?;
    check(&feedback)?;
    api.feedback.count(&service);
    let observer = api.node.options().observer.as_ref();
    let id = feedback.request_id.clone();
    if let Some(observer) = observer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        observer.returned(Returned { at_ms, service, feedback });
    }
    Ok(json(StatusCode::ACCEPTED, &Taken { request_id: &id, kept: observer.is_some() }))
}

fn check(feedback: &Feedback) -> Result<(), Fault> {
    let Feedback { truth, score, comment, .. } = feedback;
    if truth.is_none() && score.is_none() && comment.is_none() {
        return Err(Fault::invalid("read feedback: it says nothing; give `truth`, `score` or `comment`"));
    }
    if comment.as_ref().is_some_and(|comment| comment.len() > COMMENT) {
        return Err(Fault::invalid(format!("read feedback: `comment` is longer than {COMMENT} bytes")));
    }
    Ok(())
}
