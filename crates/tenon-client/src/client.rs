//! [`Client`]: where the server is, what is shown to it, and the routes of `/api/v1`.
//!
//! Uploads stand in `upload`, live jobs in `follow`, requests to services in `data`.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenon_contract::admin::{
    DryRun, JobView, ModelView, NodeView, PushRequest, RepositoryView, ServiceView, SwapRequest, Swapped,
};
use tenon_contract::{Digest, ModelName, ServiceName, Version, VersionId};

use crate::ClientError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is and how to speak to it.
#[derive(Clone, Default)]
pub struct Options {
    /// `http://host:port` or `https://host:port`.
    pub server: String,
    /// Token shown with every call.
    pub token: Option<String>,
    /// Certificates in PEM that are trusted beside those of the system.
    pub authorities: Option<Vec<u8>>,
}

/// A client of one server. Cloning shares its connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<String>,
}

/// A model with all of its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelDetail {
    /// The model.
    pub model: ModelView,
    /// Its versions, in the order of their numbers.
    pub versions: Vec<Version>,
}

/// Body of an undo.
#[derive(Serialize)]
struct UndoRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// The address is none, or the certificates are not PEM.
    pub fn new(options: &Options) -> Result<Self, ClientError> {
        let server = options.server.trim_end_matches('/').to_owned();
        let known = ["http://", "https://"].iter().any(|scheme| server.starts_with(scheme));
        if !known || server.parse::<http::Uri>().is_err() {
            return Err(ClientError::Local(format!(
                "`{server}` is not the address of a server: write `http://host:port`"
            )));
        }
        // An error says that a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tenon/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &options.authorities {
            let certificates = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| ClientError::Local(format!("read certificates: {error}")))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| ClientError::Local(format!("set up HTTP: {error}")))?;
        Ok(Self { http, server, token: options.token.clone() })
    }

    /// The address, without a slash at its end.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The token shown with every call.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The node as a whole.
    ///
    /// # Errors
    /// See [`ClientError`]; the same for all that follow.
    pub async fn node(&self) -> Result<NodeView, ClientError> {
        self.read("/api/v1/node", "ask for the node").await
    }

    /// All models.
    pub async fn models(&self) -> Result<Vec<ModelView>, ClientError> {
        self.read("/api/v1/models", "list models").await
    }

    /// One model with its versions.
    pub async fn model(&self, model: &ModelName) -> Result<ModelDetail, ClientError> {
        self.read(&format!("/api/v1/models/{model}"), "ask for a model").await
    }

    /// One version.
    pub async fn version(&self, id: &VersionId) -> Result<Version, ClientError> {
        self.read(&version_path(id), "ask for a version").await
    }

    /// The file `examples.json` of a version; nothing where it was proven on synthetic inputs.
    pub async fn examples(&self, id: &VersionId) -> Result<Option<Bytes>, ClientError> {
        let what = "ask for examples";
        let request = self.request(Method::GET, &format!("{}/examples", version_path(id)));
        match self.send(request, what).await {
            Ok(response) => self.body(response, what).await.map(Some),
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a version from bytes that were uploaded; answers with the job that makes it.
    pub async fn push(&self, model: &ModelName, digest: Digest) -> Result<JobView, ClientError> {
        let request = self.request(Method::POST, &format!("/api/v1/models/{model}/versions"));
        self.json(request.json(&PushRequest { digest }), "push a version").await
    }

    /// The jobs that the server remembers.
    pub async fn jobs(&self) -> Result<Vec<JobView>, ClientError> {
        self.read("/api/v1/jobs", "list jobs").await
    }

    /// One job.
    pub async fn job(&self, id: &str) -> Result<JobView, ClientError> {
        self.read(&format!("/api/v1/jobs/{}", segment(id)?), "ask for a job").await
    }

    /// What lies in the server's model repository and is not served.
    ///
    /// # Errors
    /// The server refused or cannot be reached.
    pub async fn repository(&self) -> Result<RepositoryView, ClientError> {
        self.read("/api/v1/repository", "look at the repository").await
    }

    /// All services.
    pub async fn services(&self) -> Result<Vec<ServiceView>, ClientError> {
        self.read("/api/v1/services", "list services").await
    }

    /// One service.
    pub async fn service(&self, service: &ServiceName) -> Result<ServiceView, ClientError> {
        self.read(&service_path(service), "ask for a service").await
    }

    /// Makes a service, or changes version and settings of one.
    pub async fn deploy(&self, service: &ServiceName, wish: &SwapRequest) -> Result<Swapped, ClientError> {
        let request = self.request(Method::PUT, &service_path(service)).json(wish);
        self.json(request, "deploy").await
    }

    /// Exchanges the version behind a service; returns when no later request is answered by the old one.
    pub async fn swap(&self, service: &ServiceName, wish: &SwapRequest) -> Result<Swapped, ClientError> {
        let wish = SwapRequest { dry_run: false, ..wish.clone() };
        let request = self.request(Method::POST, &format!("{}/swap", service_path(service)));
        self.json(request.json(&wish), "swap").await
    }

    /// What [`Self::swap`] would do.
    pub async fn dry_run(&self, service: &ServiceName, wish: &SwapRequest) -> Result<DryRun, ClientError> {
        let wish = SwapRequest { dry_run: true, ..wish.clone() };
        let request = self.request(Method::POST, &format!("{}/swap", service_path(service)));
        self.json(request.json(&wish), "try a swap").await
    }

    /// Goes back to the previous revision.
    pub async fn undo(&self, service: &ServiceName, reason: Option<&str>) -> Result<Swapped, ClientError> {
        let request = self.request(Method::POST, &format!("{}/undo", service_path(service)));
        self.json(request.json(&UndoRequest { reason }), "undo").await
    }

    /// Takes a service away.
    pub async fn remove(&self, service: &ServiceName) -> Result<Swapped, ClientError> {
        self.json(self.request(Method::DELETE, &service_path(service)), "remove a service").await
    }

    /// The chain of receipts of a service, exactly as its file stands.
    pub async fn receipts(&self, service: &ServiceName) -> Result<String, ClientError> {
        self.text(&format!("{}/receipts", service_path(service)), "ask for receipts").await
    }

    /// The metrics in the text format of Prometheus.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.text("/metrics", "ask for metrics").await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; an answer that is no success becomes an error.
    pub(crate) async fn send(&self, request: RequestBuilder, what: &str) -> Result<Response, ClientError> {
        let response = self.send_any(request, what).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.body(response, what).await?;
        Err(ClientError::of_answer(status, &body))
    }

    /// Sends a request; answers of any status are given back.
    pub(crate) async fn send_any(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| ClientError::of_transport(&self.server, what, &error))
    }

    pub(crate) async fn body(&self, response: Response, what: &str) -> Result<Bytes, ClientError> {
        response.bytes().await.map_err(|error| ClientError::of_transport(&self.server, what, &error))
    }

    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<T, ClientError> {
        let body = self.body(self.send(request, what).await?, what).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::unexpected(what, error.to_string()))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, path), what).await
    }

    async fn text(&self, path: &str, what: &str) -> Result<String, ClientError> {
        let body = self.body(self.send(self.request(Method::GET, path), what).await?, what).await?;
        String::from_utf8(body.into()).map_err(|_| ClientError::unexpected(what, "the answer is not UTF-8"))
    }
}

/// An id as one segment of a path, refused where it would be more than that.
pub(crate) fn segment(id: &str) -> Result<&str, ClientError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !id.is_empty() && id.bytes().all(plain) && !id.starts_with('.') {
        return Ok(id);
    }
    Err(ClientError::Local(format!("`{id}` is not an id")))
}

fn service_path(service: &ServiceName) -> String {
    format!("/api/v1/services/{service}")
}

fn version_path(id: &VersionId) -> String {
    format!("/api/v1/models/{}/versions/{}", id.model, id.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        let client = |server: &str| Client::new(&Options { server: server.into(), ..Options::default() });
        assert_eq!(client("http://127.0.0.1:8080/").unwrap().server(), "http://127.0.0.1:8080");
        for bad in ["", "127.0.0.1:8080", "ftp://x", "http://a b"] {
            assert!(client(bad).is_err(), "{bad}");
        }
        assert!(segment("job-1").is_ok());
        for bad in ["", "../x", "a/b", "a?b"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
    }
}
