//! The layout of the folder: version 1 opens for ever, later ones and foreign folders are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tenon_contract::Digest;
use tenon_store::suite::{cut_off, pieces, run};
use tenon_store::{Backend, Blob, Options, Store, StoreError, UploadState};

/// A copy of the checked-in folder of layout 1, so that no test writes into the sources.
fn layout_1() -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layout-1");
    let copy = tempfile::tempdir().unwrap();
    for folder in ["blobs", "blobs/sha256", "uploads"] {
        fs::create_dir(copy.path().join(folder)).unwrap();
    }
    let oak = Digest::of(b"oak\n").hex();
    let elm = Digest::of(b"elm and ash\n").hex();
    for file in ["format".to_owned(), format!("blobs/sha256/{oak}"), format!("uploads/{elm}")] {
        fs::copy(source.join(&file), copy.path().join(&file)).unwrap();
    }
    copy
}

#[test]
fn a_folder_of_layout_1_opens() {
    let folder = layout_1();
    let store = Store::open(Options::files(folder.path())).unwrap();
    run(async {
        let digest = Digest::of(b"oak\n");
        assert_eq!(store.list().await.unwrap(), [Blob { digest, size: 4 }]);
        assert_eq!(store.read(&digest).await.unwrap(), "oak\n");
        let elm = Digest::of(b"elm and ash\n");
        assert_eq!(store.upload_state(&elm).await.unwrap(), UploadState::Partial(4));
        assert_eq!(store.append(&elm, 12, 4, pieces("and ash\n")).await.unwrap(), 12);
    });
}

#[test]
fn what_is_no_store_of_ours_is_refused() {
    let refused = |change: fn(&Path), expected: &str| {
        let folder = layout_1();
        change(folder.path());
        let error = Store::open(Options::files(folder.path())).unwrap_err();
        assert!(matches!(error, StoreError::Layout { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused(|folder| fs::write(folder.join("format"), "2\n").unwrap(), "layout 2, this build reads 1");
    refused(|folder| fs::write(folder.join("format"), "").unwrap(), "holds no number");
    refused(|folder| fs::remove_file(folder.join("format")).unwrap(), "`format` file is gone");
    refused(
        |folder| {
            fs::remove_file(folder.join("format")).unwrap();
            fs::write(folder.join("thesis.tex"), "").unwrap();
        },
        "not empty: thesis.tex",
    );
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(Options::files(folder.path())).unwrap();
    assert!(matches!(Store::open(Options::files(folder.path())), Err(StoreError::InUse { .. })));
    drop(first);
    Store::open(Options::files(folder.path())).unwrap();
}

#[test]
fn only_the_owner_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let store = Store::open(Options::files(&root)).unwrap();
    run(async {
        store.put("secret".into()).await.unwrap();
        store.append(&Digest::of(b"whole"), 5, 0, pieces("who")).await.unwrap();
    });
    let mut pending = vec![root];
    while let Some(path) = pending.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn left_overs_are_swept_and_young_uploads_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::files(folder.path());
    let (old, young) = (Digest::of(b"old"), Digest::of(b"young"));
    let store = Store::open(options.clone()).unwrap();
    run(async {
        store.append(&old, 3, 0, cut_off("ol")).await.unwrap_err();
        store.append(&young, 5, 0, cut_off("you")).await.unwrap_err();
    });
    drop(store);
    fs::write(folder.path().join("tmp/7"), "cut off").unwrap();
    let upload = |digest: &Digest| {
        fs::File::options().append(true).open(folder.path().join("uploads").join(digest.hex()))
    };
    let day = Duration::from_secs(24 * 3600);
    upload(&old).unwrap().set_modified(SystemTime::now() - 8 * day).unwrap();
    // The clock stepped back since.
    upload(&young).unwrap().set_modified(SystemTime::now() + 30 * day).unwrap();

    let store = Store::open(options).unwrap();
    run(async {
        assert_eq!(store.upload_state(&old).await.unwrap(), UploadState::Absent);
        assert_eq!(store.upload_state(&young).await.unwrap(), UploadState::Partial(3));
    });
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn backends_are_named_or_refused() {
    assert!(matches!(Backend::named("files"), Ok(Backend::Files)));
    assert!(matches!(Backend::named("memory"), Ok(Backend::Remote(_))));
    let error = Backend::named("s3://bucket").unwrap_err();
    assert_eq!(error.to_string(), "use store backend `s3://bucket`: this build has no S3");
    assert!(Backend::named("floppy").is_err());
}
