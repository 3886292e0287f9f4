//! Who answered, as headers and as parameters of the Open Inference Protocol.
//!
//! They change only with a swap, so each thread keeps them ready for each service: no request formats a
//! number or a digest, and no lock is taken.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use tenon_codec::oip::Stem;
use tenon_contract::{Identity, Parameter, Parameters, RequestId, Response};

use crate::grpc::answers::GRPC;
use crate::ids;

/// Stamps that a thread keeps; beyond that it begins anew.
const KEPT: usize = 64;

const NAMES: [HeaderName; 5] = [
    HeaderName::from_static("tenon-service"),
    HeaderName::from_static("tenon-revision"),
    HeaderName::from_static("tenon-version"),
    HeaderName::from_static("tenon-digest"),
    HeaderName::from_static("tenon-generation"),
];

thread_local! {
    static STAMPS: RefCell<Vec<Rc<Stamp>>> = const { RefCell::new(Vec::new()) };
}

/// What every answer of one revision in one generation bears.
pub(crate) struct Stamp {
    identity: Arc<Identity>,
    generation: u64,
    /// The headers of an answer in JSON; the id stands for that of the request.
    headers: HeaderMap,
    /// Number of the version: `model_version` of the protocol.
    pub(crate) number: String,
    /// The identity as parameters of the protocol.
    pub(crate) parameters: Parameters,
    /// The same as the beginning of an answer in JSON.
    pub(crate) stem: Stem,
}

impl Stamp {
    /// The stamp of an answer.
    pub(crate) fn of(answer: &Response) -> Rc<Self> {
        STAMPS.with_borrow_mut(|stamps| {
            if let Some(stamp) = stamps.iter().find(|stamp| stamp.is_of(answer)) {
                return stamp.clone();
            }
            if stamps.len() >= KEPT {
                stamps.clear();
            }
            stamps.retain(|stamp| stamp.identity.service != answer.identity.service);
            let stamp = Rc::new(Self::new(answer.identity.clone(), answer.generation));
            stamps.push(stamp.clone());
            stamp
        })
    }

    fn is_of(&self, answer: &Response) -> bool {
        Arc::ptr_eq(&self.identity, &answer.identity) && self.generation == answer.generation
    }

    fn new(identity: Arc<Identity>, generation: u64) -> Self {
        let (version, digest) = (identity.version.to_string(), identity.digest.to_string());
        let texts = [
            identity.service.as_str(),
            &identity.revision.to_string(),
            &version,
            &digest,
            &generation.to_string(),
        ];
        // Names, numbers and digests are visible ASCII by their grammar.
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"));
        let mut headers: HeaderMap = NAMES.into_iter().zip(texts.map(value)).collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ids::REQUEST_ID, HeaderValue::from_static("-"));
        let number = |number: u64| i64::try_from(number).map_or(Parameter::Uint(number), Parameter::Int);
        let parameters = Parameters::from([
            ("tenon_revision".to_owned(), number(identity.revision)),
            ("tenon_version".to_owned(), Parameter::String(version)),
            ("tenon_digest".to_owned(), Parameter::String(digest)),
            ("tenon_generation".to_owned(), number(generation)),
        ]);
        let number = identity.version.number.to_string();
        let stem = Stem::new(identity.service.as_str(), Some(&number), &parameters);
        Self { identity, generation, headers, number, parameters, stem }
    }

    /// An answer of gRPC with these headers.
    pub(crate) fn respond_grpc(&self, id: &RequestId, body: Body) -> axum::response::Response {
        let mut response = self.respond(id, body);
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }

    /// An answer in JSON with these headers: identity, the request's id, content type.
    pub(crate) fn respond(&self, id: &RequestId, body: Body) -> axum::response::Response {
        let mut response = axum::response::Response::new(body);
        // Copied whole: no name is hashed but that of the id.
        let mut headers = self.headers.clone();
        headers.insert(ids::REQUEST_ID, ids::header(id));
        *response.headers_mut() = headers;
        response
    }
}
