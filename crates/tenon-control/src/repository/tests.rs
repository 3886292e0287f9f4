//! Stories of a repository, with a disk and a node in memory.

use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tenon_catalog::Audits as _;
use tenon_contract::FaultKind;

use super::*;
use crate::JobLimits;
use crate::fakes::House;

/// A time of change that no clock here reaches: just now.
const NOW: i128 = i128::MAX;

/// Files in memory.
#[derive(Default)]
struct FakeDisk {
    /// Text and time of change, by path.
    files: Lock<BTreeMap<String, (String, i128)>>,
    is_away: Lock<bool>,
    memory: Lock<Memory>,
    reads: AtomicU64,
}

impl FakeDisk {
    fn write(&self, path: &str, text: &str, modified: i128) {
        self.files.lock().unwrap().insert(path.to_owned(), (text.to_owned(), modified));
    }

    fn remove(&self, prefix: &str) {
        self.files.lock().unwrap().retain(|path, _| !path.starts_with(prefix));
    }
}

impl Disk for FakeDisk {
    fn look(&self) -> Result<Look, Fault> {
        if *self.is_away.lock().unwrap() {
            return Err(Fault::unavailable("read repository: input/output error"));
        }
        let mut look = Look::default();
        for (path, (text, modified)) in &*self.files.lock().unwrap() {
            let top = path.split('/').next().unwrap_or_default().to_owned();
            let tree: &mut Tree = look.trees.entry(top).or_default();
            for (at, _) in path.match_indices('/') {
                tree.nodes.insert(path[..at].to_owned(), Node::Folder);
            }
            let stamp = Stamp { size: text.len() as u64, modified: *modified, ..Stamp::default() };
            tree.nodes.insert(path.clone(), Node::File(stamp));
            if is_text(path) {
                tree.texts.insert(path.clone(), Ok(text.clone().into()));
            }
        }
        Ok(look)
    }

    /// The model itself stands for its bundle.
    fn read(&self, upload: &Upload, _: &Tree) -> Result<Bytes, Fault> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let files = self.files.lock().unwrap();
        let model = upload.paths().into_iter().find(|path| path.ends_with(".onnx")).unwrap();
        files.get(model).map(|(text, _)| text.clone().into()).ok_or_else(|| Fault::unavailable("it is gone"))
    }

    fn recall(&self) -> Result<Memory, Fault> {
        Ok(self.memory.lock().unwrap().clone())
    }

    fn remember(&self, memory: &Memory) -> Result<(), Fault> {
        *self.memory.lock().unwrap() = memory.clone();
        Ok(())
    }
}

struct Desk {
    house: House,
    disk: Arc<FakeDisk>,
    repository: Repository,
    promotion: Promotion,
}

impl Desk {
    async fn new() -> Self {
        let house = House::new().await;
        let disk = Arc::new(FakeDisk::default());
        let (repository, promotion) = open(&house, &disk);
        Self { house, disk, repository, promotion }
    }

    /// One version, whole for long.
    async fn with(files: &[(&str, &str)]) -> Self {
        let desk = Self::new().await;
        for (path, text) in files {
            desk.disk.write(path, text, 0);
        }
        desk.repository.pass().await;
        desk
    }

    fn answers(&self, service: &str) -> String {
        let live = self.house.node.live(&service.parse().unwrap());
        live.map_or_else(|| "nothing".to_owned(), |revision| revision.version().id.to_string())
    }

    /// What the index says of a model: `number: reason`, and the note of its service.
    fn told(&self, name: &str) -> Vec<String> {
        let index = self.repository.index();
        let of_it = index.unserved.iter().filter(|entry| entry.name == name);
        let entries = of_it.map(|entry| match entry.version {
            Some(number) => format!("{number}: {}", entry.reason),
            None => entry.reason.clone(),
        });
        entries.chain(index.notes.get(name).map(|note| format!("note: {note}"))).collect()
    }

    async fn load(&self, name: &str) -> Result<bool, Fault> {
        let caller = Caller::admin("ada");
        let (push, promote) = (authorize(&caller, Push).unwrap(), authorize(&caller, Promote).unwrap());
        self.repository.load(&push, &promote, &name.parse().unwrap()).await
    }

    async fn unload(&self, name: &str) {
        let permit = authorize(&Caller::admin("ada"), Promote).unwrap();
        self.promotion.remove(&permit, &name.parse().unwrap(), None).await.unwrap();
    }

    fn proofs(&self) -> u64 {
        self.house.prover.proofs.load(Ordering::SeqCst)
    }
}

fn open(house: &House, disk: &Arc<FakeDisk>) -> (Repository, Promotion) {
    let (catalog, clock) = (house.catalog.clone(), house.clock.clone());
    let jobs = Jobs::new(catalog.clone(), clock.clone(), JobLimits::default(), vec![Onboarding::WORK]);
    let (store, prover) = (house.store.clone(), house.prover.clone());
    let promotion = Promotion::new(
        catalog.clone(),
        house.node.clone(),
        clock.clone(),
        tenon_contract::Settings::default(),
    );
    let repository = Repository::new(RepositoryParts {
        disk: disk.clone(),
        catalog: catalog.clone(),
        store: store.clone(),
        onboarding: Onboarding::new(catalog, store, prover, clock.clone(), jobs.clone()),
        jobs,
        promotion: promotion.clone(),
        node: house.node.clone(),
        clock,
        settle: Duration::from_millis(1),
    });
    (repository, promotion)
}

#[tokio::test]
async fn a_version_takes_the_number_of_its_folder_and_the_next_one_its_place() {
    let desk = Desk::with(&[("m/4/model.onnx", "toy add=4 end"), ("m/2/model.onnx", "toy add=2 end")]).await;
    assert_eq!((desk.answers("m").as_str(), desk.proofs()), ("m/4", 1));
    assert_eq!(desk.told("m"), ["2: the version policy leaves it out"]);
    let audits = desk.house.sqlite.audits(9).await.unwrap();
    assert!(audits.iter().all(|entry| entry.actor == "repository"), "{audits:?}");

    // Half of a file, then the other half, then nothing more.
    desk.disk.write("m/7/model.onnx", "toy add", NOW);
    assert!(desk.repository.pass().await, "it is still being written");
    assert_eq!(desk.told("m")[0], "7: it is still being written");
    desk.disk.write("m/7/model.onnx", "toy add=7 end", NOW);
    assert!(desk.repository.pass().await);
    assert_eq!((desk.answers("m").as_str(), desk.proofs()), ("m/4", 1), "nothing half was tried");
    assert!(!desk.repository.pass().await);
    assert_eq!((desk.answers("m").as_str(), desk.proofs()), ("m/7", 2));
    let reads = desk.disk.reads.load(Ordering::SeqCst);
    desk.repository.pass().await;
    assert_eq!(desk.disk.reads.load(Ordering::SeqCst), reads, "what is served is not read again");
}

#[tokio::test]
async fn what_is_refused_leaves_the_old_one_and_is_tried_again_when_it_changes() {
    let desk = Desk::with(&[("m/1/model.onnx", "toy add=1 end")]).await;
    desk.disk.write("m/2/model.onnx", "no toy", 0);
    for _ in 0..3 {
        desk.repository.pass().await;
        assert_eq!((desk.answers("m").as_str(), desk.proofs()), ("m/1", 2), "it is tried once");
        let told = desk.told("m");
        assert!(told[0].starts_with("2: ") && told[0].contains("no toy"), "{told:?}");
    }
    desk.disk.write("m/2/model.onnx", "toy add=2 end", 0);
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "m/2");
}

#[tokio::test]
async fn a_fault_of_ours_passes_and_is_tried_again() {
    let desk = Desk::new().await;
    desk.disk.write("m/1/model.onnx", "toy add=1 end", 0);
    desk.house.fail(&tenon_store::testing::Faults::at(1));
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "nothing");
    for _ in 0..10 {
        desk.repository.pass().await;
    }
    assert_eq!(desk.answers("m"), "m/1");
}

#[tokio::test]
async fn what_vanishes_takes_nothing_away() {
    let files = [("m/1/model.onnx", "toy add=1 end"), ("m/2/model.onnx", "toy add=2 end")];
    let desk = Desk::with(&files).await;
    desk.disk.remove("m/2/");
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "m/2");
    assert_eq!(desk.told("m").last().unwrap(), "note: version 2 is gone from the repository; it serves on");
    desk.disk.remove("m/");
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "m/2");
    assert_eq!(
        desk.told("m"),
        ["note: its folder is gone from the repository; m/2 serves on until it is unloaded"]
    );
    *desk.disk.is_away.lock().unwrap() = true;
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "m/2");
    assert_eq!(desk.told("m"), ["note: read repository: input/output error; m/2 serves on"]);
    assert!(desk.load("m").await.unwrap_err().text.contains("input/output error"));
    *desk.disk.is_away.lock().unwrap() = false;
    for (path, text) in files {
        desk.disk.write(path, text, 0);
    }
    desk.repository.pass().await;
    assert_eq!((desk.answers("m").as_str(), desk.proofs()), ("m/2", 1));
}

#[tokio::test]
async fn what_is_taken_out_stays_out_until_it_is_loaded() {
    let desk = Desk::with(&[("m/1/model.onnx", "toy add=1 end")]).await;
    assert!(desk.load("m").await.unwrap(), "it answers already");
    desk.unload("m").await;
    desk.disk.write("m/2/model.onnx", "toy add=2 end", 0);
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "nothing");
    assert_eq!(desk.told("m")[0], "2: taken out; load it");
    assert!(desk.load("m").await.unwrap());
    assert_eq!(desk.answers("m"), "m/2");
    assert!(!desk.load("other").await.unwrap(), "it is not of the repository");
    // Who loads says that it is whole.
    desk.disk.write("n/1/model.onnx", "toy add=5 end", NOW);
    assert!(desk.load("n").await.unwrap());
    assert_eq!(desk.answers("n"), "n/1");
    desk.disk.write("p/1/saved_model.pb", "x", 0);
    let fault = desk.load("p").await.unwrap_err();
    assert!(fault.kind == FaultKind::NotFound && fault.text.contains("SavedModel"), "{fault}");
}

#[tokio::test]
async fn an_undo_stands_until_something_new_comes() {
    let desk = Desk::with(&[("m/1/model.onnx", "toy add=1 end")]).await;
    desk.disk.write("m/2/model.onnx", "toy add=2 end", 0);
    desk.repository.pass().await;
    assert_eq!(desk.answers("m"), "m/2");
    let permit = authorize(&Caller::admin("ada"), Promote).unwrap();
    desk.promotion.undo(&permit, &"m".parse().unwrap(), None).await.unwrap();
    // Also over a restart.
    let (repository, _) = open(&desk.house, &desk.disk);
    repository.begin().await;
    assert_eq!(desk.answers("m"), "m/1");
    desk.disk.write("m/3/model.onnx", "toy add=3 end", 0);
    repository.pass().await;
    assert_eq!(desk.answers("m"), "m/3");
}

#[tokio::test]
async fn a_restart_reads_and_proves_nothing_again() {
    let desk = Desk::with(&[("m/1/model.onnx", "toy add=1 end"), ("n.onnx", "toy add=2 end")]).await;
    let reads = desk.disk.reads.load(Ordering::SeqCst);
    assert_eq!((reads, desk.proofs()), (2, 2));
    let (repository, _) = open(&desk.house, &desk.disk);
    repository.begin().await;
    assert_eq!((desk.disk.reads.load(Ordering::SeqCst), desk.proofs()), (2, 2));
    // Without a memory the bytes tell.
    *desk.disk.memory.lock().unwrap() = Memory::default();
    let (repository, _) = open(&desk.house, &desk.disk);
    repository.begin().await;
    assert_eq!((desk.disk.reads.load(Ordering::SeqCst), desk.proofs()), (4, 2));
    assert_eq!(desk.disk.memory.lock().unwrap().handled.len(), 2);
}

#[tokio::test]
async fn a_version_never_changes_and_a_file_without_number_does() {
    let desk = Desk::with(&[("m/1/model.onnx", "toy add=1 end"), ("n.onnx", "toy add=1 end")]).await;
    desk.disk.write("m/1/model.onnx", "toy add=15 end", 0);
    desk.disk.write("n.onnx", "toy add=15 end", 0);
    desk.repository.pass().await;
    assert_eq!((desk.answers("m").as_str(), desk.answers("n").as_str()), ("m/1", "n/2"));
    let told = desk.told("m");
    assert!(told[0].contains("m/1 was made of other files"), "{told:?}");
    desk.disk.write("n.onnx", "toy add=1 end", 7);
    desk.repository.pass().await;
    assert_eq!(desk.answers("n"), "n/1", "these bytes were that version");
}

#[tokio::test]
async fn a_signature_that_is_declared_must_be_the_models() {
    let config = "name: 'm' input { name: 'wrong' data_type: TYPE_FP32 dims: 1 }";
    let desk = Desk::with(&[("m/1/model.onnx", "toy add=1 end"), ("m/config.pbtxt", config)]).await;
    assert_eq!(desk.answers("m"), "nothing");
    let told = desk.told("m");
    assert!(told[0].starts_with("1: config.pbtxt declares input `wrong`, the model has input"), "{told:?}");
    desk.disk.write("m/config.pbtxt", "name: 'm'", 0);
    desk.repository.pass().await;
    assert_eq!(
        (desk.answers("m").as_str(), desk.proofs()),
        ("m/1", 1),
        "the same bytes, another configuration"
    );
}

#[tokio::test]
async fn names_that_are_none_are_told() {
    let desk = Desk::with(&[
        ("a b.onnx", "toy add=1 end"),
        ("m.onnx", "toy add=1 end"),
        ("m/model.onnx", "toy add=2 end"),
    ])
    .await;
    assert!(desk.told("a b")[0].contains("is not a name"), "{:?}", desk.told("a b"));
    assert_eq!(desk.told("m"), ["another model of the repository has this name"]);
    assert_eq!(desk.answers("m"), "m/1");
}
