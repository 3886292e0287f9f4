//! What every backend must pass. A new one is finished when [`store_suite!`](crate::store_suite) is.
//!
//! The crate that mounts the suite needs `tempfile` among its dev-dependencies.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use tenon_contract::{Digest, FaultKind};

use crate::testing::damage;
use crate::{Backend, Blob, Options, Store, StoreError, UploadState};

/// Mounts the suite as a module of tests. `$options` makes [`Options`] for a fresh, empty folder; the
/// remote behind it, if any, must be fresh as well.
///
/// ```
/// tenon_store::store_suite!(files, |folder: &std::path::Path| tenon_store::Options::files(folder));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_suite {
    ($name:ident, $options:expr) => {
        $crate::store_suite!(@cases $name, $options,
            puts_and_reads
            puts_streams
            names_what_is_absent
            refuses_wrong_digests
            refuses_what_is_too_large
            resumes_cut_off_uploads
            tells_the_right_offset
            excludes_concurrent_uploads
            accepts_two_writers_of_one_blob
            lists_and_deletes
            stores_nothing_at_all
            stores_big_blobs_in_parts
            never_returns_damaged_bytes
            survives_reopening
        );
    };
    (@cases $name:ident, $options:expr, $($case:ident)*) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(
                #[test]
                fn $case() {
                    let folder = ::tempfile::tempdir().expect("a temporary folder can be made");
                    let options: $crate::Options = ($options)(folder.path());
                    $crate::suite::run($crate::suite::$case(options));
                }
            )*
        }
    };
}

/// Runs one case of the suite on a runtime of its own.
///
/// # Panics
/// The case fails.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime can be made").block_on(case);
}

/// A stream that brings `text` in pieces of three bytes.
pub fn pieces(text: &'static str) -> impl stream::Stream<Item = Result<Bytes, Infallible>> + Send {
    stream::iter(text.as_bytes().chunks(3).map(|piece| Ok(Bytes::from_static(piece))))
}

/// As [`pieces`], and then the connection breaks.
pub fn cut_off(text: &'static str) -> impl stream::Stream<Item = Result<Bytes, &'static str>> + Send {
    let pieces = text.as_bytes().chunks(3).map(|piece| Ok(Bytes::from_static(piece)));
    stream::iter(pieces.chain([Err("connection reset")]))
}

fn open(options: Options) -> Store {
    Store::open(options).expect("the store opens")
}

async fn assert_absent(store: &Store, digest: &Digest) {
    let error = store.read(digest).await.expect_err("it is absent");
    assert_eq!(error.kind(), FaultKind::NotFound, "{error}");
    assert_eq!(store.size(digest).await.expect("sizes are known"), None);
    assert_eq!(store.list().await.expect("the store lists"), []);
}

/// What was put is read, whole and by every way of reading.
pub async fn puts_and_reads(options: Options) {
    let store = open(options);
    let digest = store.put("oak".into()).await.expect("put");
    assert_eq!(digest, Digest::of(b"oak"));
    assert_eq!(store.read(&digest).await.expect("read"), "oak");
    assert_eq!(store.read_blocking(&digest).expect("read"), "oak");
    assert_eq!(store.size(&digest).await.expect("size"), Some(3));
    assert_eq!(store.ensure_local(&digest).await.expect("ensure"), 3);
    let child = std::io::read_to_string(store.open_local(&digest).expect("open"));
    assert_eq!(child.expect("read"), "oak");
}

/// A stream whose digest nobody knows is stored; a broken one leaves nothing.
pub async fn puts_streams(options: Options) {
    let store = open(options);
    let error = store.put_stream(cut_off("ash and elm")).await.expect_err("cut off");
    assert!(matches!(error, StoreError::CutOff { .. }), "{error}");
    assert_absent(&store, &Digest::of(b"ash and elm")).await;
    let blob = store.put_stream(pieces("ash and elm")).await.expect("put");
    assert_eq!(blob, Blob { digest: Digest::of(b"ash and elm"), size: 11 });
    assert_eq!(store.read(&blob.digest).await.expect("read"), "ash and elm");
}

/// What nobody put is not found, nor deleted, nor begun.
pub async fn names_what_is_absent(options: Options) {
    let store = open(options);
    let digest = Digest::of(b"never put");
    assert_absent(&store, &digest).await;
    assert!(store.read_blocking(&digest).is_err() && store.open_local(&digest).is_err());
    assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Absent);
    assert!(!store.delete(&digest).await.expect("deleting nothing is no error"));
}

/// Bytes that are not their digest's, or more than announced, are refused and leave nothing.
pub async fn refuses_wrong_digests(options: Options) {
    let store = open(options);
    let digest = Digest::of(b"beech");
    for (total, text) in [(5, "birch"), (5, "beech-tree"), (4, "beec")] {
        let error = store.append(&digest, total, 0, pieces(text)).await.expect_err("it is not the digest's");
        assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
        assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Absent);
        assert_absent(&store, &digest).await;
    }
    store.append(&digest, 5, 0, pieces("beech")).await.expect("the right bytes are taken");
    let error = store.append(&digest, 6, 0, pieces("beech!")).await.expect_err("its size is another");
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    assert_eq!(store.read(&digest).await.expect("read"), "beech");
}

/// The limit of an artifact's bytes holds on every way in.
pub async fn refuses_what_is_too_large(options: Options) {
    let store = open(Options { artifact_bytes: 4, ..options });
    let digest = Digest::of(b"maple");
    let refused = [
        store.put("maple".into()).await.expect_err("too large"),
        store.put_stream(pieces("maple")).await.expect_err("too large"),
        store.append(&digest, 5, 0, pieces("maple")).await.expect_err("too large"),
    ];
    for error in refused {
        assert_eq!(error.kind(), FaultKind::TooLarge, "{error}");
    }
    assert_absent(&store, &digest).await;
    store.put("pine".into()).await.expect("the limit itself is allowed");
}

/// An upload goes on where it was cut off, after a restart too, and is invisible until it is whole.
pub async fn resumes_cut_off_uploads(options: Options) {
    let store = open(options.clone());
    let digest = Digest::of(b"cherry wood");
    store.append(&digest, 11, 0, cut_off("cherr")).await.expect_err("cut off");
    assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Partial(5));
    assert_absent(&store, &digest).await;
    assert_eq!(store.append(&digest, 11, 5, pieces("y ")).await.expect("more"), 7);
    drop(store);
    let store = open(options);
    assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Partial(7));
    assert_eq!(store.append(&digest, 11, 7, pieces("wood")).await.expect("the rest"), 11);
    assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Complete(11));
    assert_eq!(store.read(&digest).await.expect("read"), "cherry wood");
    assert_eq!(store.append(&digest, 11, 0, pieces("")).await.expect("nothing is to be sent"), 11);
}

/// Continuing at the wrong place is a conflict that tells the right one.
pub async fn tells_the_right_offset(options: Options) {
    let store = open(options);
    let digest = Digest::of(b"walnut");
    store.append(&digest, 6, 0, pieces("wal")).await.expect("the beginning");
    for wrong in [0, 2, 4, 99] {
        let error = store.append(&digest, 6, wrong, pieces("nut")).await.expect_err("the wrong place");
        assert!(matches!(error, StoreError::Offset { expected: 3, .. }), "{error}");
        assert_eq!(error.kind(), FaultKind::Conflict);
    }
    assert_eq!(store.append(&digest, 6, 3, pieces("nut")).await.expect("the right place"), 6);
}

/// While one upload of a digest is under way, another is refused; afterwards it is not.
pub async fn excludes_concurrent_uploads(options: Options) {
    let store = open(options);
    let digest = Digest::of(b"hazel");
    let (sender, slow) = futures::channel::mpsc::unbounded::<Result<Bytes, Infallible>>();
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.append(&digest, 5, 0, slow).await }
    });
    sender.unbounded_send(Ok("haz".into())).expect("the first upload listens");
    while store.upload_state(&digest).await.expect("state") != UploadState::Partial(3) {
        tokio::task::yield_now().await;
    }
    let error = store.append(&digest, 5, 3, pieces("el")).await.expect_err("one at a time");
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert!(matches!(store.delete(&digest).await, Err(StoreError::Busy { .. })));
    sender.unbounded_send(Ok("el".into())).expect("the first upload listens");
    drop(sender);
    assert_eq!(first.await.expect("no panic").expect("the first upload ends well"), 5);
    assert_eq!(store.read(&digest).await.expect("read"), "hazel");
}

/// Many writers of the same bytes make one blob.
pub async fn accepts_two_writers_of_one_blob(options: Options) {
    let store = open(options);
    let writers = (0..8).map(|_| store.put_stream(pieces("the same bytes")));
    for written in futures::future::join_all(writers).await {
        assert_eq!(written.expect("put").digest, Digest::of(b"the same bytes"));
    }
    assert_eq!(store.list().await.expect("list").len(), 1);
    assert_eq!(store.read(&Digest::of(b"the same bytes")).await.expect("read"), "the same bytes");
}

/// The list is complete and in order; what is deleted is gone, and so is what was uploaded of it.
pub async fn lists_and_deletes(options: Options) {
    let store = open(options);
    let mut expected = Vec::new();
    for text in ["a", "bb", "ccc"] {
        expected.push(Blob { digest: store.put(text.into()).await.expect("put"), size: text.len() as u64 });
    }
    expected.sort();
    assert_eq!(store.list().await.expect("list"), expected);
    for blob in &expected {
        assert!(store.delete(&blob.digest).await.expect("delete"));
        assert!(!store.delete(&blob.digest).await.expect("delete again"));
        assert_eq!(store.upload_state(&blob.digest).await.expect("state"), UploadState::Absent);
    }
    assert_absent(&store, &expected[0].digest).await;
    store.append(&expected[1].digest, 9, 0, pieces("a beg")).await.expect("a beginning");
    store.delete(&expected[1].digest).await.expect("delete");
    assert_eq!(store.upload_state(&expected[1].digest).await.expect("state"), UploadState::Absent);
}

/// The empty blob is a blob.
pub async fn stores_nothing_at_all(options: Options) {
    let store = open(options);
    let digest = Digest::of(b"");
    assert_eq!(store.append(&digest, 0, 0, pieces("")).await.expect("append nothing"), 0);
    assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Complete(0));
    assert_eq!(store.put(Bytes::new()).await.expect("put"), digest);
    assert_eq!(store.read(&digest).await.expect("read"), "");
}

/// A blob larger than every buffer comes back whole, also from a node with an empty disk.
pub async fn stores_big_blobs_in_parts(options: Options) {
    let bytes: Bytes = (0..20_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let digest = Digest::of(&bytes);
    let store = open(options.clone());
    let half = bytes.len() as u64 / 2;
    let total = bytes.len() as u64;
    let part = |from: u64, to: u64| {
        let bytes = bytes.slice(from as usize..to as usize);
        let starts = (0..bytes.len()).step_by(65_536);
        stream::iter(starts.map(move |at| Ok::<_, Infallible>(bytes.slice(at..bytes.len().min(at + 65_536)))))
    };
    assert_eq!(store.append(&digest, total, 0, part(0, half)).await.expect("first half"), half);
    assert_eq!(store.append(&digest, total, half, part(half, total)).await.expect("second half"), total);
    assert!(store.read(&digest).await.expect("read") == bytes);
    if let Backend::Remote(_) = options.backend {
        let elsewhere = Options { folder: options.folder.join("elsewhere"), ..options };
        assert!(open(elsewhere).read(&digest).await.expect("read elsewhere") == bytes);
    }
}

/// Bytes that changed on the disk are found when they are read: healed from a remote, or refused and
/// healed by pushing them again.
pub async fn never_returns_damaged_bytes(options: Options) {
    let store = open(options.clone());
    let digest = store.put("yew yew yew".into()).await.expect("put");
    damage(&options.folder, &digest).expect("the copy can be damaged");
    let error = store.read_blocking(&digest).expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    if let Backend::Files = options.backend {
        let error = store.read(&digest).await.expect_err("damaged");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(store.upload_state(&digest).await.expect("state"), UploadState::Absent);
        assert_eq!(store.append(&digest, 11, 0, pieces("yew yew yew")).await.expect("push again"), 11);
    }
    assert_eq!(store.read(&digest).await.expect("healed"), "yew yew yew");
    assert_eq!(store.read_blocking(&digest).expect("healed"), "yew yew yew");
}

/// What was acknowledged is there after a restart.
pub async fn survives_reopening(options: Options) {
    let store = open(options.clone());
    let digest = store.put("lime".into()).await.expect("put");
    drop(store);
    let store = open(options);
    assert_eq!(store.read_blocking(&digest).expect("read"), "lime");
    assert_eq!(store.list().await.expect("list"), [Blob { digest, size: 4 }]);
}
