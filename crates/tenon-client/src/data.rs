//! Single requests to a service, with the identity that every answer bears.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use tenon_codec::oip::Encoded;
use tenon_contract::ServiceName;

use crate::client::segment;
use crate::{Client, ClientError};

/// Header with the length of the JSON where binary tensors follow it.
pub(crate) const JSON_LENGTH: &str = "inference-header-content-length";

/// Who gave an answer, as its headers say. A header that is missing is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The service.
    pub service: String,
    /// Its revision.
    pub revision: String,
    /// The version: `digits/2`.
    pub version: String,
    /// Digest of the version.
    pub digest: String,
    /// The generation of the node.
    pub generation: String,
    /// Id of the request.
    pub request_id: String,
}

/// An answer of the data plane.
#[derive(Clone, Debug)]
pub struct Called {
    /// Who gave it.
    pub answered: Answered,
    /// Length of its JSON where binary tensors follow it.
    pub json_length: Option<usize>,
    /// The whole body.
    pub body: Bytes,
}

impl Client {
    /// Sends raw tensors to `infer` over the Open Inference Protocol.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn infer(&self, service: &ServiceName, request: Encoded) -> Result<Called, ClientError> {
        let mut call = self.request(Method::POST, &infer_path(service));
        call = match request.json_length {
            Some(length) => {
                call.header(JSON_LENGTH, length).header("content-type", "application/octet-stream")
            }
            None => call.header("content-type", "application/json"),
        };
        self.called(call.body(request.into_body()), "infer").await
    }

    /// Calls an operation with its message as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call(
        &self,
        service: &ServiceName,
        operation: &str,
        message: Bytes,
    ) -> Result<Called, ClientError> {
        let path = format!("/services/{service}/methods/{}", segment(operation)?);
        let call = self.request(Method::POST, &path).header("content-type", "application/json");
        self.called(call.body(message), "call").await
    }

    async fn called(&self, call: RequestBuilder, what: &str) -> Result<Called, ClientError> {
        let response = self.send(call, what).await?;
        let answered = Answered::of(response.headers());
        let json_length = json_length(response.headers());
        Ok(Called { answered, json_length, body: self.body(response, what).await? })
    }
}

impl Answered {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Self {
            service: text("tenon-service"),
            revision: text("tenon-revision"),
            version: text("tenon-version"),
            digest: text("tenon-digest"),
            generation: text("tenon-generation"),
            request_id: text("tenon-request-id"),
        }
    }
}

/// Path of `infer` on the Open Inference Protocol.
pub(crate) fn infer_path(service: &ServiceName) -> String {
    format!("/v2/models/{service}/infer")
}

pub(crate) fn json_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(JSON_LENGTH)?.to_str().ok()?.parse().ok()
}
