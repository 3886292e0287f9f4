//! A fault at every step of writing: the blob is absent or whole, and the next try succeeds.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::memory::InMemory;
use tenon_contract::{Digest, FaultKind};
use tenon_store::suite::{pieces, run};
use tenon_store::testing::{Faults, Flaky};
use tenon_store::{Backend, Options, Store, StoreError};

const TEXT: &str = "the heart of an oak";

/// Ways of storing [`TEXT`].
#[derive(Clone, Copy, Debug)]
enum Way {
    Put,
    Stream,
    Upload,
}

impl Way {
    async fn store(self, store: &Store) -> Result<(), StoreError> {
        let (digest, total) = (Digest::of(TEXT.as_bytes()), TEXT.len() as u64);
        match self {
            Self::Put => store.put(TEXT.into()).await.map(drop),
            Self::Stream => store.put_stream(pieces(TEXT)).await.map(drop),
            Self::Upload => {
                let offset = store.upload_state(&digest).await?.offset() as usize;
                store.append(&digest, total, offset as u64, pieces(&TEXT[offset..])).await.map(drop)
            }
        }
    }
}

/// Fails at every step in turn, on the disk and on the remote, until nothing fails any more.
async fn fails_at_every_step(way: Way, backend: fn() -> Backend, fault_at: fn(u64) -> Faults) {
    let digest = Digest::of(TEXT.as_bytes());
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let whole = Options { backend: backend(), ..Options::files(folder.path()) };
        drop(Store::open(whole.clone()).unwrap());
        let faults = fault_at(nth);
        let faulty =
            Options { faults: faults.clone(), backend: flaky(&whole.backend, &faults), ..whole.clone() };
        let stored = match Store::open(faulty) {
            Ok(store) => way.store(&store).await,
            Err(error) => Err(error),
        };
        let at = format!("{way:?}, fault at step {nth}: {stored:?}");

        // As after a crash: opened anew, without faults.
        let store = Store::open(whole).unwrap();
        match store.read(&digest).await {
            Ok(bytes) => assert_eq!(bytes, TEXT, "{at}"),
            Err(error) => {
                assert_eq!(error.kind(), FaultKind::NotFound, "{at}: {error}");
                assert!(stored.is_err(), "{at}: acknowledged and gone");
            }
        }
        assert_eq!(left_over(folder.path()), 0, "{at}");
        way.store(&store).await.unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(store.read(&digest).await.unwrap(), TEXT, "{at}");
        if stored.is_ok() {
            assert!(nth >= 4, "{at}: too few steps for something durable");
            return;
        }
    }
}

fn flaky(backend: &Backend, faults: &Faults) -> Backend {
    match backend {
        Backend::Files => Backend::Files,
        Backend::Remote(remote) => Backend::Remote(Flaky::new(remote.clone(), faults.clone())),
    }
}

fn left_over(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("tmp")).unwrap().count()
}

#[test]
fn one_bad_moment() {
    for way in [Way::Put, Way::Stream, Way::Upload] {
        run(fails_at_every_step(way, || Backend::Files, Faults::at));
        run(fails_at_every_step(way, Backend::memory, Faults::at));
    }
}

#[test]
fn everything_fails_from_then_on() {
    for way in [Way::Put, Way::Stream, Way::Upload] {
        run(fails_at_every_step(way, || Backend::Files, Faults::from));
        run(fails_at_every_step(way, Backend::memory, Faults::from));
    }
}

#[test]
fn creation_can_fail_at_every_step_and_be_tried_again() {
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::files(folder.path().join("a/b"));
        let opened = Store::open(Options { faults: Faults::at(nth), ..options.clone() });
        let is_ok = opened.is_ok();
        drop(opened);
        Store::open(options).unwrap_or_else(|error| panic!("fault at step {nth}: {error}"));
        if is_ok {
            return;
        }
    }
}

#[test]
fn errors_of_the_disk_say_where_and_what_to_do() {
    let check = |kind: ErrorKind, expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        let before = run_put(Options::files(folder.path())).unwrap();
        let faults = Faults::during(0..u64::MAX, kind);
        let error = run_put(Options { faults, ..Options::files(folder.path()) }).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(folder.path().to_str().unwrap()), "{error}");
        let store = Store::open(Options::files(folder.path())).unwrap();
        assert_eq!(store.read_blocking(&before).unwrap(), TEXT, "what was there is there");
    };
    check(ErrorKind::StorageFull, "free space");
    check(ErrorKind::ReadOnlyFilesystem, "remount it writable");
    check(ErrorKind::PermissionDenied, "access");
}

fn run_put(options: Options) -> Result<Digest, StoreError> {
    let store = Store::open(options)?;
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.put(TEXT.into()))
}

#[test]
fn an_outage_of_the_remote_deletes_nothing() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let remote = Flaky::new(Arc::new(InMemory::new()), Faults::none());
        let options = Options::remote(folder.path().join("node"), remote.clone());
        let store = Store::open(options.clone()).unwrap();
        let kept = store.put("kept".into()).await.unwrap();

        remote.set_away(true);
        drop(store);
        let store = Store::open(options.clone()).expect("a node starts without its remote");
        assert_eq!(store.read(&kept).await.unwrap(), "kept");
        for error in [
            store.delete(&kept).await.unwrap_err(),
            store.put("new".into()).await.unwrap_err(),
            store.read(&Digest::of(b"new")).await.unwrap_err(),
            store.append(&Digest::of(b"new"), 3, 0, pieces("new")).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), FaultKind::Unavailable, "{error}");
        }
        assert_eq!(store.read(&kept).await.unwrap(), "kept", "deleting failed as a whole");

        tenon_store::testing::damage(&options.folder, &kept).unwrap();
        let error = store.read(&kept).await.unwrap_err();
        assert!(matches!(error, StoreError::Unhealed { .. }), "{error}");
        remote.set_away(false);
        assert_eq!(store.read(&kept).await.unwrap(), "kept", "healed");

        let other = Store::open(Options::remote(folder.path().join("other"), remote.clone())).unwrap();
        assert!(matches!(other.read_blocking(&kept), Err(StoreError::NotLocal { .. })));
        assert_eq!(other.ensure_local(&kept).await.unwrap(), 4);
        remote.set_away(true);
        assert_eq!(other.read_blocking(&kept).unwrap(), "kept", "cached");
    });
}

#[test]
fn a_remote_that_refuses_leaves_an_upload_that_can_be_finished() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let remote = Flaky::new(Arc::new(InMemory::new()), Faults::at(0));
        let store = Store::open(Options::remote(folder.path(), remote)).unwrap();
        let digest = Digest::of(b"larch");
        store.append(&digest, 5, 0, pieces("larch")).await.unwrap_err();
        assert!(store.read(&digest).await.is_err(), "it is visible nowhere yet");
        let offset = store.upload_state(&digest).await.unwrap().offset();
        assert_eq!(store.append(&digest, 5, offset, pieces("")).await.unwrap(), 5);
        assert_eq!(store.read(&digest).await.unwrap(), "larch");
    });
}

#[test]
fn damaged_bytes_of_a_remote_are_refused() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let remote: Arc<dyn object_store::ObjectStore> = Arc::new(InMemory::new());
        let digest = Digest::of(b"right");
        let path = format!("blobs/sha256/{}", digest.hex()).into();
        remote.put_opts(&path, "wrong".into(), Default::default()).await.unwrap();
        let store = Store::open(Options::remote(folder.path(), remote)).unwrap();
        assert!(matches!(store.read(&digest).await, Err(StoreError::Damaged { .. })));
        assert!(matches!(store.read_blocking(&digest), Err(StoreError::NotLocal { .. })));
    });
}

#[test]
fn a_caller_that_goes_away_leaves_only_what_can_be_resumed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::files(folder.path())).unwrap();
        let digest = Digest::of(b"half of it");
        // A connection that brings five bytes and then hangs until its request is dropped.
        let hanging = || pieces("half ").chain(futures::stream::pending());
        let gone = tokio::time::timeout(Duration::from_millis(50), store.put_stream(hanging()));
        gone.await.unwrap_err();
        let gone = tokio::time::timeout(Duration::from_millis(50), store.append(&digest, 10, 0, hanging()));
        gone.await.unwrap_err();

        // The writing threads end in their own time; then the claim is free again.
        let resumed = loop {
            match store.append(&digest, 10, 5, pieces("of it")).await {
                Err(StoreError::Busy { .. }) => tokio::task::yield_now().await,
                resumed => break resumed,
            }
        };
        assert_eq!(resumed.unwrap(), 10);
        while left_over(folder.path()) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.list().await.unwrap().len(), 1);
    });
}
