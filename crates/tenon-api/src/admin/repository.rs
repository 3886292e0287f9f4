//! `/api/v1/repository`: the folder of models that is served as it is.

use axum::extract::State;
use axum::response::Response;
use tenon_contract::admin::RepositoryView;
use tenon_control::Observe;

use crate::auth::Allowed;
use crate::parts::Shared;
use crate::status::ok;

/// `GET /api/v1/repository`: what lies there and is not served. Nothing where there is no repository.
pub(crate) async fn show(State(api): State<Shared>, _: Allowed<Observe>) -> Response {
    match &api.control.repository {
        Some(repository) => ok(&*repository.index()),
        None => ok(&RepositoryView::default()),
    }
}
