//! Stand-ins for tests: a prover on the toy runtime, a node in memory, and a catalog, each of whose
//! calls can fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tenon_catalog::{CatalogError, NewVersion, SqliteCatalog, SqliteOptions, Versions as _};
use tenon_contract::admin::{DryRun, SwapOrder, Swapped};
use tenon_contract::receipt::RevisionRef;
use tenon_contract::{
    Contract, Difference, Digest, Fault, Format, Memory, Proof, ProofKey, ProofKind, Revision, ServiceName,
    Version, VersionId,
};
use tenon_runtime::toy::Toy;
use tenon_runtime::{Bundle, BundleLimits, LoadOptions, Runtime as _};
use tenon_store::testing::Faults;
use tenon_store::{Options, Store};
use tokio::sync::mpsc;

use crate::{Clock, Finding, NodePort, Prover, ReceiptHead, Stage};

/// A house of fakes in a temporary folder. The faults are shared by all of them.
pub(crate) struct House {
    _folder: tempfile::TempDir,
    pub(crate) sqlite: SqliteCatalog,
    pub(crate) catalog: Arc<Flaky>,
    pub(crate) store: Store,
    pub(crate) node: Arc<FakeNode>,
    pub(crate) prover: Arc<ToyProver>,
    pub(crate) clock: Arc<Ticks>,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::files(folder.path().join("store"))).unwrap();
        let sqlite =
            SqliteCatalog::open(SqliteOptions::at(folder.path().join("catalog.sqlite"))).await.unwrap();
        let catalog = Arc::new(Flaky { inner: sqlite.clone(), faults: Mutex::default() });
        let node = Arc::new(FakeNode::default());
        let prover = Arc::new(ToyProver::new(store.clone()));
        Self { _folder: folder, sqlite, catalog, store, node, prover, clock: Arc::default() }
    }

    /// From now on every fake takes its faults from here.
    pub(crate) fn fail(&self, faults: &Faults) {
        *self.catalog.faults.lock().unwrap() = faults.clone();
        *self.node.faults.lock().unwrap() = faults.clone();
        *self.prover.faults.lock().unwrap() = faults.clone();
    }

    /// A version in catalog and store, with a proof of this kind.
    pub(crate) async fn version(&self, id: &str, text: &str, kind: ProofKind) -> Version {
        let id: VersionId = id.parse().unwrap();
        let digest = self.store.put(text.to_owned().into()).await.unwrap();
        let (sender, _stages) = mpsc::channel(4);
        let finding = self.prover.prove(digest, text.len() as u64, sender).await.unwrap();
        let Finding { format, signature, contract, mut proof, about } = finding;
        proof.kind = kind;
        let new = NewVersion {
            model: id.model.clone(),
            number: None,
            digest,
            size: text.len() as u64,
            format,
            signature,
            contract,
            proof,
            about,
            registered_at: 1,
        };
        let registered = self.sqlite.register(new).await.unwrap();
        assert_eq!(registered.version.id, id);
        registered.version
    }
}

/// A clock that goes on by one a look.
#[derive(Default)]
pub(crate) struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1_000
    }
}

/// Proves toys in this process.
pub(crate) struct ToyProver {
    store: Store,
    toy: Toy,
    faults: Mutex<Faults>,
    pub(crate) proofs: AtomicU64,
    pub(crate) delay: Mutex<Duration>,
    pub(crate) processor: Mutex<String>,
}

impl ToyProver {
    fn new(store: Store) -> Self {
        let processor = Mutex::new("test".to_owned());
        let (faults, proofs, delay) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        Self { store, toy: Toy::new(), faults, proofs, delay, processor }
    }
}

#[async_trait]
impl Prover for ToyProver {
    async fn prove(&self, digest: Digest, _size: u64, stages: mpsc::Sender<Stage>) -> Result<Finding, Fault> {
        step(&self.faults)?;
        self.proofs.fetch_add(1, Ordering::SeqCst);
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let bundle = Bundle::open(self.store.read(&digest).await?, BundleLimits::default())?;
        let format =
            self.toy.recognise(bundle.artifact()).ok_or_else(|| Fault::invalid("content is no toy"))?;
        stages.send(Stage::Recognised(format.clone())).await.unwrap();
        let model = self.toy.load(&bundle, &LoadOptions::default())?;
        step(&self.faults)?;
        let signature = model.signature().clone();
        let proof = Proof {
            key: self.keys(digest, &format).remove(0),
            kind: ProofKind::Synthetic,
            examples: 3,
            rows_independent: Some(true),
            repeatable: true,
            notes: Vec::new(),
            call_micros: 1,
            load_micros: 1,
            memory: Memory::cpu(64),
            session_memory: Memory::cpu(64),
        };
        let contract = Contract::of_signature(&signature);
        Ok(Finding { format, contract, signature, proof, about: bundle.about() })
    }

    fn keys(&self, artifact: Digest, _format: &Format) -> Vec<ProofKey> {
        let processor = self.processor.lock().unwrap().clone();
        vec![ProofKey { artifact, runtime: self.toy.build().to_owned(), processor }]
    }
}

/// Serves in memory.
#[derive(Default)]
pub(crate) struct FakeNode {
    served: Mutex<BTreeMap<ServiceName, Served>>,
    highest: AtomicU64,
    faults: Mutex<Faults>,
    pub(crate) delay: Mutex<Duration>,
    /// Nothing could be brought back after a restart.
    pub(crate) is_down: AtomicBool,
}

#[derive(Clone, Default)]
struct Served {
    live: Option<Revision>,
    previous: Option<Revision>,
    swaps: u64,
}

impl FakeNode {
    fn exchange(&self, service: &ServiceName, to: Option<Revision>) -> Swapped {
        let mut served = self.served.lock().unwrap();
        let place = served.entry(service.clone()).or_default();
        place.previous = std::mem::replace(&mut place.live, to);
        place.swaps += 1;
        Swapped {
            service: service.clone(),
            swap: place.swaps,
            from: place.previous.as_ref().map(RevisionRef::to),
            to: place.live.as_ref().map(RevisionRef::to),
            generation: place.swaps,
            node: "test".to_owned(),
            check: Difference::default(),
            load_micros: 0,
            published_micros: 0,
            head: Digest::of(&place.swaps.to_le_bytes()),
        }
    }
}

#[async_trait]
impl NodePort for FakeNode {
    async fn swap(&self, order: SwapOrder) -> Result<Swapped, Fault> {
        step(&self.faults)?;
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        step(&self.faults)?;
        self.is_down.store(false, Ordering::SeqCst);
        self.highest.fetch_max(order.to.as_ref().map_or(0, |to| to.number), Ordering::SeqCst);
        Ok(self.exchange(&order.service, order.to))
    }

    async fn undo(&self, service: &ServiceName, _: &str, _: Option<String>) -> Result<Swapped, Fault> {
        step(&self.faults)?;
        let previous = self.served.lock().unwrap().get(service).and_then(|served| served.previous.clone());
        let previous = previous.ok_or_else(|| Fault::conflict("nothing to go back to"))?;
        Ok(self.exchange(service, Some(previous)))
    }

    async fn dry_run(&self, order: &SwapOrder) -> Result<DryRun, Fault> {
        step(&self.faults)?;
        let to = order.to.as_ref().ok_or_else(|| Fault::invalid("nothing to try"))?;
        Ok(DryRun {
            service: order.service.clone(),
            from: self.live(&order.service).as_ref().map(RevisionRef::to),
            version: to.version().id.clone(),
            check: Difference::between(&to.contract, &to.version().contract),
            proof: to.version().proof.kind,
            needs: Memory::default(),
            free: Memory::default(),
            steps: Vec::new(),
            refusals: Vec::new(),
        })
    }

    fn live(&self, service: &ServiceName) -> Option<Revision> {
        if self.is_down.load(Ordering::SeqCst) {
            return None;
        }
        self.served.lock().unwrap().get(service).and_then(|served| served.live.clone())
    }

    fn served(&self) -> Vec<Revision> {
        self.wanted().iter().filter_map(|service| self.live(service)).collect()
    }

    fn wanted(&self) -> Vec<ServiceName> {
        let served = self.served.lock().unwrap();
        served.iter().filter(|(_, served)| served.live.is_some()).map(|(name, _)| name.clone()).collect()
    }

    fn highest_revision(&self) -> u64 {
        self.highest.load(Ordering::SeqCst)
    }

    fn head(&self, service: &ServiceName) -> Option<ReceiptHead> {
        let swaps = self.served.lock().unwrap().get(service)?.swaps;
        Some(ReceiptHead { sequence: swaps, hash: Digest::of(&swaps.to_le_bytes()) })
    }
}

fn step(faults: &Mutex<Faults>) -> Result<(), Fault> {
    faults.lock().unwrap().step().map_err(|error| Fault::unavailable(error.to_string()))
}

/// A real catalog each of whose calls can fail before it does anything.
pub(crate) struct Flaky {
    inner: SqliteCatalog,
    faults: Mutex<Faults>,
}

impl Flaky {
    async fn reached(&self) -> Result<&SqliteCatalog, CatalogError> {
        let step = self.faults.lock().unwrap().step();
        step.map_err(|error| CatalogError::NotFound { what: error.to_string() })?;
        Ok(&self.inner)
    }
}

tenon_catalog::pass_on!(Flaky, reached);
