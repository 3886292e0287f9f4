//! Every route, in one list: what is answered, and what is known and refused.

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::handler::Handler;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use http::request::Parts;
use http::{Method, Uri};
use serde::de::DeserializeOwned;
use tenon_contract::{Fault, FaultKind};

use crate::admin::{self, blobs, jobs, models, node, services};
use crate::infer::{config, feedback, logging, metadata, native, oip_rest, repository, statistics, trace};
use crate::parts::Shared;
use crate::status::{Style, refusal};
use crate::{metrics, page, probes};

/// Routes of protocols that this build knows and refuses, with what to do instead.
const REFUSED: [(MethodFilter, &str, &str); 15] = [
    (MethodFilter::POST, "/v2/models/{service}/generate", GENERATE),
    (MethodFilter::POST, "/v2/models/{service}/generate_stream", GENERATE),
    (MethodFilter::POST, "/v2/models/{service}/versions/{version}/generate", GENERATE),
    (MethodFilter::POST, "/v2/models/{service}/versions/{version}/generate_stream", GENERATE),
    (MethodFilter::POST, "/v2/models/{service}/infer_stream", STREAM),
    (MethodFilter::POST, "/v2/models/{service}/versions/{version}/infer_stream", STREAM),
    (MethodFilter::GET, "/v2/systemsharedmemory/region/{region}/status", SHARED_MEMORY),
    (MethodFilter::POST, "/v2/systemsharedmemory/region/{region}/register", SHARED_MEMORY),
    (MethodFilter::POST, "/v2/systemsharedmemory/region/{region}/unregister", SHARED_MEMORY),
    (MethodFilter::GET, "/v2/cudasharedmemory/region/{region}/status", SHARED_MEMORY),
    (MethodFilter::POST, "/v2/cudasharedmemory/region/{region}/register", SHARED_MEMORY),
    (MethodFilter::POST, "/v2/cudasharedmemory/region/{region}/unregister", SHARED_MEMORY),
    (MethodFilter::GET, "/v2/docs", DOCS),
    (MethodFilter::GET, "/v2/docs/dataplane.json", DOCS),
    (MethodFilter::GET, "/v2/models/{service}/docs", DOCS),
];

const GENERATE: &str = "the generate extension is not part of this build; call infer";
const STREAM: &str = "streams are not part of this build; call infer";
const SHARED_MEMORY: &str = "shared memory is not part of this build; send tensors with the request, binary \
                             ones are not copied";
const DOCS: &str = "there is no Swagger page; the description of all routes is GET /api/v1/openapi.json";

/// Every route that is answered: method, and path with its parameters in braces.
pub fn routes() -> Vec<(Method, &'static str)> {
    Routes::all().listed
}

/// The router over all routes, those that are refused and those that nobody knows.
pub(crate) fn router(api: Shared) -> Router {
    let mut router = Routes::all().router;
    for (method, path, text) in REFUSED {
        let refuse = move |uri: Uri| async move {
            refusal(&Fault::new(FaultKind::Unsupported, text), Style::of(uri.path()))
        };
        router = router.route(path, on(method, refuse));
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(api)
}

async fn unknown(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let text = format!("no route `{path}`; GET /api/v1/openapi.json lists them");
    refusal(&Fault::not_found(text), Style::of(uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let fault = Fault::invalid(format!(
        "`{path}` does not answer {method}; GET /api/v1/openapi.json says what it does"
    ));
    crate::status::refusal_with(http::StatusCode::METHOD_NOT_ALLOWED, &fault, Style::of(uri.path()))
}

/// Routes that are answered, and their list: the framework cannot be asked for one.
#[derive(Default)]
struct Routes {
    router: Router<Shared>,
    listed: Vec<(Method, &'static str)>,
}

impl Routes {
    fn all() -> Self {
        Self::default().probes().oip().native().admin()
    }

    fn probes(self) -> Self {
        self.get("/", page::show)
            .get("/livez", probes::live)
            .get("/readyz", probes::ready)
            .get("/metrics", metrics::show)
    }

    fn oip(self) -> Self {
        self.get("/v2", metadata::server)
            .get("/v2/health/live", metadata::live)
            .get("/v2/health/ready", metadata::ready)
            .get("/v2/models", metadata::models)
            .get("/v2/models/{service}", metadata::model)
            .get("/v2/models/{service}/ready", metadata::model_ready)
            .get("/v2/models/{service}/versions/{version}", metadata::model_version)
            .get("/v2/models/{service}/versions/{version}/ready", metadata::model_version_ready)
            .get("/v2/trace/setting", trace::show)
            .post("/v2/trace/setting", trace::set)
            .get("/v2/models/{service}/trace/setting", trace::show_model)
            .post("/v2/models/{service}/trace/setting", trace::set_model)
            .get("/v2/logging", logging::show)
            .post("/v2/logging", logging::set)
            .get("/v2/systemsharedmemory/status", metadata::no_regions)
            .post("/v2/systemsharedmemory/unregister", metadata::no_region_left)
            .get("/v2/cudasharedmemory/status", metadata::no_regions)
            .post("/v2/cudasharedmemory/unregister", metadata::no_region_left)
            .get("/v2/models/stats", statistics::all)
            .get("/v2/models/{service}/stats", statistics::model)
            .get("/v2/models/{service}/versions/{version}/stats", statistics::model_version)
            .get("/v2/models/{service}/config", config::model)
            .get("/v2/models/{service}/versions/{version}/config", config::model_version)
            .post("/v2/models/{service}/infer", oip_rest::routed)
            .post("/v2/models/{service}/versions/{version}/infer", oip_rest::routed)
            .post("/v2/repository/index", repository::index)
            .post("/v2/repository/{repository}/index", repository::index)
            .post("/v2/repository/models/{service}/load", repository::load)
            .post("/v2/repository/models/{service}/unload", repository::unload)
    }

    fn native(self) -> Self {
        self.get("/services/{service}", native::service)
            .get("/services/{service}/contract", native::contract)
            .post("/services/{service}/methods/{operation}", native::call)
            .post("/services/{service}/feedback", feedback::take)
    }

    fn admin(self) -> Self {
        self.on(Method::HEAD, "/api/v1/blobs/{digest}", blobs::state)
            .on(Method::PATCH, "/api/v1/blobs/{digest}", blobs::append)
            .get("/api/v1/models", models::list)
            .get("/api/v1/models/{model}", models::show)
            .post("/api/v1/models/{model}/versions", models::push)
            .get("/api/v1/models/{model}/versions/{number}", models::version)
            .get("/api/v1/models/{model}/versions/{number}/examples", models::examples)
            .get("/api/v1/jobs", jobs::list)
            .get("/api/v1/jobs/{id}", jobs::show)
            .get("/api/v1/jobs/{id}/events", jobs::events)
            .get("/api/v1/services", services::list)
            .get("/api/v1/services/{service}", services::show)
            .on(Method::PUT, "/api/v1/services/{service}", services::put)
            .on(Method::DELETE, "/api/v1/services/{service}", services::remove)
            .post("/api/v1/services/{service}/swap", services::swap)
            .post("/api/v1/services/{service}/undo", services::undo)
            .get("/api/v1/services/{service}/receipts", services::receipts)
            .get("/api/v1/repository", admin::repository::show)
            .get("/api/v1/node", node::show)
            .get("/api/v1/openapi.json", node::openapi)
    }

    fn get<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::GET, path, handler)
    }

    fn post<H: Handler<T, Shared>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::POST, path, handler)
    }

    fn on<H: Handler<T, Shared>, T: 'static>(
        mut self,
        method: Method,
        path: &'static str,
        handler: H,
    ) -> Self {
        if let Ok(filter) = MethodFilter::try_from(method.clone()) {
            self.router = self.router.route(path, on(filter, handler));
            self.listed.push((method, path));
        }
        self
    }
}

/// Extracts what the path names; what breaks the grammar of names does not exist.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Named<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Response> {
        match Path::<T>::from_request_parts(parts, api).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(rejection) => {
                let fault = Fault::not_found(format!("no such thing: {}", rejection.body_text()));
                Err(refusal(&fault, Style::of(parts.uri.path())))
            }
        }
    }
}
