//! Ids of requests: the caller's own, or one made at the door.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use tenon_contract::RequestId;

/// The header that carries the id, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("tenon-request-id");
/// The header of others that is read as well.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes ids: a prefix drawn at start and a number.
pub(crate) struct Ids {
    prefix: String,
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        let random = RandomState::new().hash_one(std::process::id()) as u32;
        Self { prefix: format!("{random:08x}-"), next: AtomicU64::new(1) }
    }

    /// The id that a request brings in its headers.
    pub(crate) fn brought(headers: &HeaderMap) -> Option<RequestId> {
        let value = headers.get(REQUEST_ID).or_else(|| headers.get(X_REQUEST_ID))?;
        value.to_str().ok()?.parse().ok()
    }

    /// An id that no other request of this process has.
    pub(crate) fn fresh(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.prefix.len() + 16);
        id.push_str(&self.prefix);
        let _ = write!(id, "{number:x}");
        id.parse().unwrap_or_else(|_| unreachable!("hex digits are visible ASCII"))
    }
}

/// The id as the value of a header.
pub(crate) fn header(id: &RequestId) -> HeaderValue {
    HeaderValue::from_str(id.as_str()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_brought_or_made() {
        let check = |name: &str, value: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            assert_eq!(Ids::brought(&headers).as_ref().map(RequestId::as_str), expected);
        };
        check("tenon-request-id", "a b", Some("a b"));
        check("x-request-id", "7", Some("7"));
        check("x-request-id", "", None);
        check("x-request-id", &"a".repeat(257), None);
        check("other", "7", None);
        let ids = Ids::new();
        assert_ne!(ids.fresh(), ids.fresh());
        assert_ne!(ids.fresh().as_str()[..8], Ids::new().fresh().as_str()[..8]);
    }
}
