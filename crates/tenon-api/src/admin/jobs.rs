//! `/api/v1/jobs`: long work, and how it is followed live.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use tenon_contract::Fault;
use tenon_control::{Follow, Observe};
use tokio_util::sync::CancellationToken;

use crate::auth::Allowed;
use crate::parts::Shared;
use crate::router::Named;
use crate::status::{AdminFault, ok};

/// Jobs listed where nobody says how many.
const LISTED: u32 = 100;
/// Most jobs listed.
const LISTED_LIMIT: u32 = 1000;
/// Pause after which a comment shows that the stream is alive.
const ALIVE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(crate) struct Listing {
    limit: Option<u32>,
}

/// `GET /api/v1/jobs?limit=`: newest first.
pub(crate) async fn list(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Response, AdminFault> {
    let Query(listing) = listing.map_err(|rejection| Fault::invalid(rejection.body_text()))?;
    let limit = listing.limit.unwrap_or(LISTED);
    Ok(ok(&api.control.jobs.recent(limit.min(LISTED_LIMIT)).await?))
}

/// `GET /api/v1/jobs/{id}`.
pub(crate) async fn show(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(id): Named<String>,
) -> Result<Response, AdminFault> {
    Ok(ok(&api.control.jobs.view(&id).await?))
}

/// `GET /api/v1/jobs/{id}/events`: how the job stands now and after each change, up to its end.
pub(crate) async fn events(
    State(api): State<Shared>,
    _: Allowed<Observe>,
    Named(id): Named<String>,
) -> Result<Response, AdminFault> {
    let follow = api.control.jobs.subscribe(&id).await?;
    let events = stream::unfold((follow, api.stopping.clone()), next);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

type Following = (Follow, CancellationToken);

/// The next event; none behind the last state, or when the server is to end.
async fn next((mut follow, stopping): Following) -> Option<(Result<Event, Infallible>, Following)> {
    let view = tokio::select! {
        view = follow.next() => view?,
        () = stopping.cancelled() => return None,
    };
    let event = Event::default().json_data(&view).unwrap_or_else(|_| Event::default().comment("unwritable"));
    Some((Ok(event), (follow, stopping)))
}
