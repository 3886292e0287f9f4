//! Who answered, as headers and as parameters of the Open Inference Protocol.
//!
//! They change only with a swap, so each thread keeps them ready for each service: no request formats a
//! number or a digest, and no lock is taken.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tenon_contract::{Identity, Parameter, Parameters, Response, ServiceName};

use crate::ids;

/// Services that a thread keeps stamps of; beyond that it begins anew.
const KEPT: usize = 1024;

const NAMES: [HeaderName; 5] = [
    HeaderName::from_static("tenon-service"),
    HeaderName::from_static("tenon-revision"),
    HeaderName::from_static("tenon-version"),
    HeaderName::from_static("tenon-digest"),
    HeaderName::from_static("tenon-generation"),
];

thread_local! {
    static STAMPS: RefCell<HashMap<ServiceName, Rc<Stamp>>> = RefCell::default();
}

/// What every answer of one revision in one generation bears.
pub(crate) struct Stamp {
    identity: Arc<Identity>,
    generation: u64,
    values: [HeaderValue; 5],
    /// Number of the version: `model_version` of the protocol.
    pub(crate) number: String,
    /// The identity as parameters of the protocol.
    pub(crate) parameters: Parameters,
}

impl Stamp {
    /// The stamp of an answer.
    pub(crate) fn of(answer: &Response) -> Rc<Self> {
        STAMPS.with_borrow_mut(|stamps| {
            if let Some(stamp) = stamps.get(&answer.identity.service)
                && Arc::ptr_eq(&stamp.identity, &answer.identity)
                && stamp.generation == answer.generation
            {
                return stamp.clone();
            }
            if stamps.len() >= KEPT {
                stamps.clear();
            }
            let stamp = Rc::new(Self::new(answer.identity.clone(), answer.generation));
            stamps.insert(answer.identity.service.clone(), stamp.clone());
            stamp
        })
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
        let values = texts.map(value);
        let number = |number: u64| i64::try_from(number).map_or(Parameter::Uint(number), Parameter::Int);
        let parameters = Parameters::from([
            ("tenon_revision".to_owned(), number(identity.revision)),
            ("tenon_version".to_owned(), Parameter::String(version)),
            ("tenon_digest".to_owned(), Parameter::String(digest)),
            ("tenon_generation".to_owned(), number(generation)),
        ]);
        let number = identity.version.number.to_string();
        Self { identity, generation, values, number, parameters }
    }

    /// Writes the identity and the request's id into the headers of the answer.
    pub(crate) fn put(&self, headers: &mut HeaderMap, answer: &Response) {
        for (name, value) in NAMES.into_iter().zip(&self.values) {
            headers.insert(name, value.clone());
        }
        headers.insert(ids::REQUEST_ID, ids::header(&answer.id));
    }
}
