//! A folder of models, served as it is: what lies in it becomes versions and services, and goes on doing so.
//!
//! ```text
//! Disk::look ─► recognise ─► settled? ─► choose ─► Disk::read ─► Onboarding ─► Promotion
//! ```
//!
//! Every look is compared with the one before it. What is whole, new and kept by the model's policy is onboarded
//! like any upload and takes the place of what answers; what is refused is told once and tried again when its files
//! change. What vanishes takes nothing away. Which version was made of which files is remembered over restarts, so
//! that an old repository costs a start one look.

mod artifact;
mod choose;
mod declared;
mod index;
mod look;
mod make;
mod mlserver;
mod recognise;
mod triton;
mod warmup;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tenon_catalog::Catalog;
use tenon_contract::admin::RepositoryView;
use tenon_contract::{Digest, Fault, ServiceName, VersionId};
use tenon_store::Store;
use tokio::sync::Mutex;

use crate::{Caller, Clock, Jobs, NodePort, Onboarding, Permit, Promote, Promotion, Push, authorize};

pub use look::{Disk, Handled, Look, Memory, Node, Stamp, TEXTS, Tree, Upload, is_text};

use choose::{Serving, Standing, choose};
use make::Refusal;
use recognise::{Found, recognise};

/// Who stands in audit and receipts.
const ACTOR: &str = "repository";

/// Longest wait before what failed for a reason of ours is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What a repository works with.
pub struct RepositoryParts {
    /// The folder.
    pub disk: Arc<dyn Disk>,
    /// The record.
    pub catalog: Arc<dyn Catalog>,
    /// The bytes.
    pub store: Store,
    /// Makes versions.
    pub onboarding: Onboarding,
    /// The jobs of the onboarding.
    pub jobs: Jobs,
    /// Changes what services serve.
    pub promotion: Promotion,
    /// What is served.
    pub node: Arc<dyn NodePort>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// How long files must have been left alone to be whole: the time between two looks.
    pub settle: Duration,
}

/// A folder of models that is served. Clones are the same one.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    parts: RepositoryParts,
    state: Mutex<State>,
    index: RwLock<Arc<RepositoryView>>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    /// The last look.
    trees: BTreeMap<String, Tree>,
    /// What was refused, by model and files.
    tried: HashMap<(String, Digest), Tried>,
    /// Why the repository cannot be read.
    outage: Option<String>,
}

struct Tried {
    fault: Fault,
    times: u32,
    /// When it may be tried again though its files are the same, milliseconds since 1970.
    again_at: Option<u64>,
}

/// The rights to make versions and to serve them.
#[derive(Clone, Copy)]
struct Rights<'a> {
    push: &'a Permit<Push>,
    promote: &'a Permit<Promote>,
}

/// A model at a look, and how its versions stand.
struct Seen<'a> {
    found: Found,
    tree: &'a Tree,
    /// One for each version.
    versions: Vec<SeenVersion>,
    /// Another one has its name.
    is_second: bool,
}

struct SeenVersion {
    files: Digest,
    is_settled: bool,
}

impl Repository {
    /// A repository that was not looked at yet.
    pub fn new(parts: RepositoryParts) -> Self {
        let (state, index) = (Mutex::default(), RwLock::default());
        Self(Arc::new(Inner { parts, state, index }))
    }

    /// Serves what lies there now: what is still being written gets one more look.
    pub async fn begin(&self) {
        match self.recall().await {
            Ok(memory) => self.0.state.lock().await.memory = memory,
            // Bytes that are known are not onboarded again anyway.
            Err(fault) => tracing::warn!(%fault, "what was served from the repository is forgotten"),
        }
        if self.pass().await {
            tokio::time::sleep(self.0.parts.settle).await;
            self.pass().await;
        }
    }

    /// Looks again and again, for ever.
    pub async fn watch(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.pass().await;
        }
    }

    /// What is in the repository and not served, and what is to be said of what is served.
    pub fn index(&self) -> Arc<RepositoryView> {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks once and serves what is new. Whether something is still being written.
    pub async fn pass(&self) -> bool {
        let caller = Caller::admin(ACTOR);
        let (Ok(push), Ok(promote)) = (authorize(&caller, Push), authorize(&caller, Promote)) else {
            return false;
        };
        let mut state = self.0.state.lock().await;
        let look = match self.look(&mut state).await {
            Ok(look) => look,
            Err(_) => {
                self.publish_outage(&state);
                return false;
            }
        };
        let seen = self.seen(&state, &look, None);
        for model in &seen {
            // What is refused gives its turn to the next one that the policy keeps.
            for _ in 0..model.versions.len() {
                let Some(at) = self.chosen(&state, model) else { break };
                let rights = Rights { push: &push, promote: &promote };
                if self.try_out(&mut state, model, at, rights).await.is_ok() {
                    break;
                }
            }
        }
        let is_written = seen.iter().any(|model| model.versions.iter().any(|version| !version.is_settled));
        self.forget(&mut state, &seen).await;
        self.publish(&state, &seen);
        state.trees = look.trees;
        is_written
    }

    /// Reads the folder of one model at once and serves what its policy keeps; `false` where the repository has no
    /// such model.
    ///
    /// # Errors
    /// None of its versions can be served; what answers goes on.
    pub async fn load(
        &self,
        push: &Permit<Push>,
        promote: &Permit<Promote>,
        service: &ServiceName,
    ) -> Result<bool, Fault> {
        let mut state = self.0.state.lock().await;
        let look = self.look(&mut state).await?;
        let seen = self.seen(&state, &look, Some(service));
        let Some(model) = seen.iter().find(|model| model.found.name == service.as_str()) else {
            return Ok(false);
        };
        // Who asks by name says that it is whole, and worth another try.
        state.tried.retain(|(name, _), _| name != service.as_str());
        let fit =
            |(version, _): &(&recognise::FoundVersion, &SeenVersion)| version.kept && version.offer.is_ok();
        let at = model.found.versions.iter().zip(&model.versions).position(|pair| fit(&pair));
        let result = match at {
            Some(at) if self.is_served(&state, service, &model.versions[at].files) => Ok(true),
            Some(at) => {
                let tried = self.try_out(&mut state, model, at, Rights { push, promote }).await;
                tried.map(|()| true)
            }
            None => Err(Fault::not_found(format!("load `{service}`: {}", model.reason()))),
        };
        self.publish_one(&state, model);
        result
    }

    /// Whether these files are what answers now.
    fn is_served(&self, state: &State, service: &ServiceName, files: &Digest) -> bool {
        let made = state.memory.handled.get(service.as_str()).filter(|made| made.files == *files);
        let live = self.0.parts.node.live(service);
        made.is_some_and(|made| live.is_some_and(|live| live.version().id == made.version))
    }

    async fn look(&self, state: &mut State) -> Result<Look, Fault> {
        let look = self.blocking(|disk| disk.look()).await;
        let outage = look.as_ref().err().map(|fault| fault.text.clone());
        if outage != state.outage {
            match &outage {
                Some(reason) => tracing::error!(reason, "repository cannot be read; what is served goes on"),
                None => tracing::info!("repository can be read again"),
            }
            state.outage = outage;
        }
        look
    }

    async fn recall(&self) -> Result<Memory, Fault> {
        self.blocking(|disk| disk.recall()).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Disk) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let disk = self.0.parts.disk.clone();
        let done = tokio::task::spawn_blocking(move || work(&*disk)).await;
        done.unwrap_or_else(|error| Err(Fault::internal(format!("read the repository: {error}"))))
    }

    /// The models of a look; `loaded` is the one whose files are taken to be whole.
    fn seen<'a>(&self, state: &State, look: &'a Look, loaded: Option<&ServiceName>) -> Vec<Seen<'a>> {
        let now = i128::from(self.0.parts.clock.now_ms()) * 1_000_000;
        let before = now - self.0.parts.settle.as_nanos() as i128;
        let mut names = BTreeSet::new();
        let mut seen = Vec::new();
        let contents: BTreeSet<Stamp> = state.trees.values().flat_map(Tree::contents).collect();
        for (name, tree) in &look.trees {
            for found in recognise(name, tree) {
                let is_loaded = loaded.is_some_and(|loaded| loaded.as_str() == found.name);
                let version = |version: &recognise::FoundVersion| {
                    let own = version.offer.iter().flat_map(Upload::paths);
                    let paths: Vec<_> = own.chain(found.settings.iter().map(String::as_str)).collect();
                    SeenVersion {
                        files: tree.fingerprint(paths.iter().copied()),
                        is_settled: is_loaded || tree.is_settled(paths, &contents, before),
                    }
                };
                let versions = found.versions.iter().map(version).collect();
                let is_second = !names.insert(found.name.clone());
                seen.push(Seen { found, tree, versions, is_second });
            }
        }
        seen
    }

    /// The version of a model that is to be made and served now.
    fn chosen(&self, state: &State, model: &Seen<'_>) -> Option<usize> {
        let service: ServiceName = model.found.name.parse().ok().filter(|_| !model.is_second)?;
        let now = self.0.parts.clock.now_ms();
        let standing = |(version, seen): (&recognise::FoundVersion, &SeenVersion)| {
            let tried = state.tried.get(&(model.found.name.clone(), seen.files));
            let may_try = tried.is_none_or(|tried| tried.again_at.is_some_and(|at| at <= now));
            let is_fit = version.offer.is_ok() && seen.is_settled && may_try;
            Standing { number: version.number, kept: version.kept, files: seen.files, is_fit }
        };
        let standings: Vec<_> = model.found.versions.iter().zip(&model.versions).map(standing).collect();
        let serving = Serving {
            is_wanted: self.0.parts.node.wanted().contains(&service),
            live: self.live(&service).map(|version| version.number),
            handled: state.memory.handled.get(&model.found.name).map(|made| made.files),
        };
        choose(&standings, &serving)
    }

    /// The version of the model of that name which answers.
    fn live(&self, service: &ServiceName) -> Option<VersionId> {
        let live = self.0.parts.node.live(service)?;
        Some(live.version().id.clone()).filter(|version| version.model.as_str() == service.as_str())
    }

    /// Makes a version and serves it, and remembers what came of that.
    async fn try_out(
        &self,
        state: &mut State,
        model: &Seen<'_>,
        at: usize,
        rights: Rights<'_>,
    ) -> Result<(), Fault> {
        let (name, files) = (model.found.name.clone(), model.versions[at].files);
        match self.make(model, at, rights).await {
            Ok(version) => {
                tracing::info!(%version, service = name, "served from the repository");
                state.tried.remove(&(name.clone(), files));
                state.memory.handled.insert(name, Handled { files, version });
                self.remember(state).await;
                Ok(())
            }
            Err(Refusal { fault, is_final }) => {
                let times = state.tried.get(&(name.clone(), files)).map_or(0, |tried| tried.times) + 1;
                let wait = self.0.parts.settle.saturating_mul(1 << times.min(10)).min(LONGEST_WAIT);
                let at = self.0.parts.clock.now_ms() + wait.as_millis() as u64;
                let tried = Tried { fault: fault.clone(), times, again_at: (!is_final).then_some(at) };
                state.tried.insert((name, files), tried);
                Err(fault)
            }
        }
    }

    async fn remember(&self, state: &State) {
        let memory = Memory { version: Memory::FORMAT, ..state.memory.clone() };
        if let Err(fault) = self.blocking(move |disk| disk.remember(&memory)).await {
            tracing::warn!(%fault, "what was served from the repository is not remembered over a restart");
        }
    }

    /// Lets go of what is neither in the repository nor served.
    async fn forget(&self, state: &mut State, seen: &[Seen<'_>]) {
        let is_there = |name: &str, files: Option<&Digest>| {
            let mut named = seen.iter().filter(|model| model.found.name == name);
            named.any(|model| files.is_none_or(|files| model.versions.iter().any(|one| one.files == *files)))
        };
        state.tried.retain(|(name, files), _| is_there(name, Some(files)));
        let wanted = self.0.parts.node.wanted();
        let before = state.memory.handled.len();
        state.memory.handled.retain(|name, _| {
            is_there(name, None) || wanted.iter().any(|service| service.as_str() == name.as_str())
        });
        if state.memory.handled.len() < before {
            self.remember(state).await;
        }
    }
}
