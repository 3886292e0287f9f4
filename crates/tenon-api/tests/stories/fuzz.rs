//! Bytes from outside: whatever is sent to a service, the fault is never the server's.

use std::sync::LazyLock;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::house::{House, question};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static HOUSE: LazyLock<House> = LazyLock::new(|| RUNTIME.block_on(House::serving()));

/// Bytes, or a right request with some bytes of it exchanged.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let right = question(1.0).into_bytes();
    let exchanged = prop::collection::vec((0..right.len(), any::<u8>()), 1..6).prop_map(move |changes| {
        let mut body = right.clone();
        for (at, byte) in changes {
            body[at] = byte;
        }
        body
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), exchanged]
}

fn check(path: &str, headers: &[(&str, String)], body: Vec<u8>) -> Result<(), TestCaseError> {
    let house = &*HOUSE;
    let answer = RUNTIME.block_on(async {
        let ask = headers.iter().fold(house.post(path), |ask, (name, value)| ask.header(name, value));
        ask.body(body).send().await
    });
    let status = answer.status.as_u16();
    // 501 is an honest answer to a known extension.
    prop_assert!(status < 500 || status == 501, "{status} {}", answer.text());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bodies_are_answered_or_refused(body in bodies(), length in prop::option::of(0usize..400)) {
        let headers: Vec<_> =
            length.iter().map(|length| ("inference-header-content-length", length.to_string())).collect();
        check("/v2/models/s/infer", &headers, body)?;
    }

    #[test]
    fn random_messages_are_answered_or_refused(body in bodies()) {
        check("/services/s/methods/infer", &[], body)?;
    }

    #[test]
    fn random_packed_bodies_are_refused(body in bodies(), gzip in any::<bool>()) {
        let encoding = if gzip { "gzip" } else { "deflate" };
        check("/v2/models/s/infer", &[("content-encoding", encoding.to_owned())], body)?;
    }
}
