//! Promotion: what a service serves is exchanged, taken back or taken away.
//!
//! The node acts and is the truth. The catalog is asked before (which version, which number) and told
//! afterwards; when it cannot be told, the exchange stands, a warning is logged, and
//! [`Promotion::reconcile`] mends it at the next start. An undo asks nobody: it works while the catalog
//! is away.

use std::sync::Arc;

use tenon_catalog::{AuditEntry, Catalog, CatalogError, Head};
use tenon_contract::admin::{DryRun, SwapOrder, SwapRequest, Swapped};
use tenon_contract::{Difference, Fault, ProofKind, Revision, ServiceName, Settings, Version, VersionId};

use crate::turns::{Turn, Turns};
use crate::whole::to_its_end;
use crate::{Clock, NodePort, Permit, Promote};

/// Changes what services serve. Clones are the same one.
#[derive(Clone)]
pub struct Promotion(Arc<Inner>);

struct Inner {
    catalog: Arc<dyn Catalog>,
    node: Arc<dyn NodePort>,
    clock: Arc<dyn Clock>,
    /// Settings of a new service that is given none.
    defaults: Settings,
    turns: Turns,
}

/// A change that was decided and not yet done.
struct Decided {
    order: SwapOrder,
    refusals: Vec<String>,
}

impl Promotion {
    /// Promotion of what `catalog` knows on `node`.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        node: Arc<dyn NodePort>,
        clock: Arc<dyn Clock>,
        defaults: Settings,
    ) -> Self {
        Self(Arc::new(Inner { catalog, node, clock, defaults, turns: Turns::default() }))
    }

    /// Makes a new service.
    ///
    /// # Errors
    /// The service exists; no such version; it is not fit; the node refused. Nothing has changed.
    pub async fn deploy(
        &self,
        permit: &Permit<Promote>,
        service: &ServiceName,
        request: SwapRequest,
    ) -> Result<Swapped, Fault> {
        self.change(permit, service, request, Change::Deploy).await
    }

    /// Exchanges what a service serves.
    ///
    /// # Errors
    /// No such service or version; the version is not fit; another swap is under way; the node refused.
    /// Nothing has changed.
    pub async fn swap(
        &self,
        permit: &Permit<Promote>,
        service: &ServiceName,
        request: SwapRequest,
    ) -> Result<Swapped, Fault> {
        self.change(permit, service, request, Change::Swap).await
    }

    /// Goes through everything of a deployment or swap but the exchange.
    ///
    /// # Errors
    /// No such version; the node could not try. What would refuse the swap stands in the answer.
    pub async fn dry_run(
        &self,
        permit: &Permit<Promote>,
        service: &ServiceName,
        request: &SwapRequest,
    ) -> Result<DryRun, Fault> {
        let current = self.0.current(service).await?;
        let decided =
            self.0.decide(permit.holder(), service, request, current, Numbering::Provisional).await?;
        let mut tried = self.0.node.dry_run(&decided.order).await?;
        tried.refusals.splice(0..0, decided.refusals);
        Ok(tried)
    }

    /// Goes back to the previous revision.
    ///
    /// # Errors
    /// No such service, nothing to go back to, another swap is under way. Nothing has changed.
    pub async fn undo(
        &self,
        permit: &Permit<Promote>,
        service: &ServiceName,
        reason: Option<String>,
    ) -> Result<Swapped, Fault> {
        let turn = self.0.turns.take(service, format!("an undo by {}", permit.holder()))?;
        let (inner, service, actor) = (self.0.clone(), service.clone(), permit.holder().to_owned());
        to_its_end(async move {
            let undone = inner.node.undo(&service, &actor, reason).await;
            inner.record(turn, &service, &actor, "undo", &undone).await;
            undone
        })
        .await
    }

    /// Takes a service away.
    ///
    /// # Errors
    /// No such service, another swap is under way, the node refused. Nothing has changed.
    pub async fn remove(
        &self,
        permit: &Permit<Promote>,
        service: &ServiceName,
        reason: Option<String>,
    ) -> Result<Swapped, Fault> {
        let actor = permit.holder().to_owned();
        let turn = self.0.turns.take(service, format!("its removal by {actor}"))?;
        self.0.check_wanted(service)?;
        let order = SwapOrder { service: service.clone(), to: None, actor, reason, breaking: false };
        self.0.clone().order(turn, order, "remove").await
    }

    /// Mends the catalog after an outage: what the node serves is what is wanted. What the catalog wants
    /// and the node has never heard of is left alone: then it is the node that lost its memory.
    ///
    /// # Errors
    /// The catalog refused; the node serves on.
    pub async fn reconcile(&self) -> Result<(), Fault> {
        let Inner { catalog, node, .. } = &*self.0;
        for revision in &node.served() {
            // A number that is served must never be given to other bytes.
            if catalog.restore_version(revision.version()).await? {
                tracing::info!(version = %revision.version().id, "catalog mended");
            }
            if catalog.service(&revision.service).await?.as_ref() != Some(revision) {
                tracing::info!(service = %revision.service, revision = revision.number, "catalog mended");
                catalog.record_service(revision).await?;
            }
        }
        let served = node.wanted();
        for wanted in catalog.services().await? {
            if served.contains(&wanted.service) {
                continue;
            }
            if wanted.number <= node.highest_revision() {
                tracing::info!(service = %wanted.service, "removed from the catalog: the node serves it no more");
                catalog.remove_service(&wanted.service).await?;
            } else {
                tracing::warn!(service = %wanted.service, version = %wanted.version().id, "catalog wants a service that this node has never served; deploy it again");
            }
        }
        Ok(())
    }

    async fn change(
        &self,
        permit: &Permit<Promote>,
        service: &ServiceName,
        request: SwapRequest,
        change: Change,
    ) -> Result<Swapped, Fault> {
        let (actor, action) = (permit.holder(), change.action());
        let turn = self.0.turns.take(service, format!("a {action} to {} by {actor}", request.version))?;
        let order = match self.0.admit(actor, service, &request, change).await {
            Ok(order) => order,
            Err(fault) => {
                self.0.audit(actor, action, service, format!("refused: {fault}")).await;
                return Err(fault.during(format_args!("{action} service `{service}`")));
            }
        };
        self.0.clone().order(turn, order, action).await
    }
}

/// What is asked for: a new service, or another version behind one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Deploy,
    Swap,
}

impl Change {
    fn action(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Swap => "swap",
        }
    }
}

/// Whether a revision number is taken for good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Final,
    /// For a dry run, whose revision never comes to be.
    Provisional,
}

impl Inner {
    /// The order for the node, if nothing stands against it.
    async fn admit(
        &self,
        actor: &str,
        service: &ServiceName,
        request: &SwapRequest,
        change: Change,
    ) -> Result<SwapOrder, Fault> {
        let current = self.current(service).await?;
        match (change, &current) {
            (Change::Deploy, Some(current)) => {
                let (serves, wanted) = (&current.version().id, &request.version);
                return Err(Fault::conflict(format!(
                    "it exists and serves {serves}; swap it to {wanted} instead"
                )));
            }
            (Change::Swap, None) => return Err(Fault::not_found("no such service; deploy it first")),
            _ => {}
        }
        let decided = self.decide(actor, service, request, current, Numbering::Final).await?;
        match decided.refusals.first() {
            Some(refusal) => Err(Fault::conflict(refusal)),
            None => Ok(decided.order),
        }
    }

    /// The revision that shall answer, and what stands against it.
    async fn decide(
        &self,
        actor: &str,
        service: &ServiceName,
        request: &SwapRequest,
        current: Option<Revision>,
        numbering: Numbering,
    ) -> Result<Decided, Fault> {
        if request.breaking.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            return Err(Fault::invalid("a breaking change needs a reason"));
        }
        let version = self.version(&request.version).await?;
        let kept = || current.as_ref().map(|current| current.settings.clone());
        let settings = request.settings.clone().or_else(kept);
        let settings = settings.unwrap_or_else(|| self.defaults.clone());
        let refusals = self.golden_refusal(&version, &settings).into_iter().collect();
        let contract = match current {
            None => version.contract.clone(),
            Some(current) => {
                let breaks = Difference::between(&current.contract, &version.contract).is_breaking();
                // Repurposing is asked for by name; everything else keeps what callers were promised.
                if breaks && request.breaking.is_some() { version.contract.clone() } else { current.contract }
            }
        };
        let floor = self.node.highest_revision();
        let number = match numbering {
            Numbering::Final => self.catalog.next_revision(floor).await?,
            Numbering::Provisional => floor.saturating_add(1),
        };
        let order = SwapOrder {
            service: service.clone(),
            to: Some(Revision::primary(number, service.clone(), contract, version, settings)),
            actor: actor.to_owned(),
            reason: request.breaking.clone().or_else(|| request.reason.clone()),
            breaking: request.breaking.is_some(),
        };
        Ok(Decided { order, refusals })
    }

    fn golden_refusal(&self, version: &Version, settings: &Settings) -> Option<String> {
        let demanded = settings.require_golden || self.defaults.require_golden;
        (demanded && version.proof.kind == ProofKind::Synthetic).then(|| {
            format!(
                "{} was proven on synthetic inputs only, and golden examples are demanded; push it again with examples",
                version.id
            )
        })
    }

    async fn version(&self, id: &VersionId) -> Result<Version, Fault> {
        if let Some(version) = self.catalog.version(id).await? {
            return Ok(version);
        }
        let latest = self.catalog.latest(&id.model).await?;
        Err(Fault::not_found(match latest {
            Some(latest) => format!("no version `{id}`; the latest is `{}`", latest.id),
            None => format!("no version `{id}`; there is no model `{}`, push one first", id.model),
        }))
    }

    /// What the service serves, or would serve if it could be brought back; nothing when it is new.
    async fn current(&self, service: &ServiceName) -> Result<Option<Revision>, Fault> {
        if let Some(live) = self.node.live(service) {
            return Ok(Some(live));
        }
        if self.check_wanted(service).is_err() {
            return Ok(None);
        }
        let lost = || {
            let text = "it is down and the catalog does not know its contract; remove it and deploy it again";
            Fault::conflict(text)
        };
        self.catalog.service(service).await?.map(Some).ok_or_else(lost)
    }

    fn check_wanted(&self, service: &ServiceName) -> Result<(), Fault> {
        match self.node.wanted().contains(service) {
            true => Ok(()),
            false => Err(Fault::not_found(format!("no service `{service}`"))),
        }
    }

    async fn order(
        self: Arc<Self>,
        turn: Turn,
        order: SwapOrder,
        action: &'static str,
    ) -> Result<Swapped, Fault> {
        to_its_end(async move {
            let (service, actor) = (order.service.clone(), order.actor.clone());
            let swapped = self.node.swap(order).await;
            self.record(turn, &service, &actor, action, &swapped).await;
            swapped
        })
        .await
    }

    /// Tells the catalog what the node did, and gives the turn back afterwards.
    async fn record(
        &self,
        _turn: Turn,
        service: &ServiceName,
        actor: &str,
        action: &str,
        result: &Result<Swapped, Fault>,
    ) {
        let outcome = match result {
            Ok(swapped) => {
                if let Err(error) = self.record_service(service).await {
                    tracing::warn!(%service, %error, "catalog does not know of the swap; it is mended at the next start");
                }
                if let Err(error) = self.record_head(service).await {
                    tracing::warn!(%service, head = %swapped.head, %error, "receipt head not recorded");
                }
                match &swapped.to {
                    Some(to) => format!("done: revision {}, {}", to.number, to.version),
                    None => "done: removed".to_owned(),
                }
            }
            Err(fault) => format!("refused: {fault}"),
        };
        self.audit(actor, action, service, outcome).await;
    }

    async fn record_service(&self, service: &ServiceName) -> Result<(), CatalogError> {
        match self.node.live(service) {
            Some(revision) => self.catalog.record_service(&revision).await,
            None => self.catalog.remove_service(service).await.map(|_| ()),
        }
    }

    async fn record_head(&self, service: &ServiceName) -> Result<(), CatalogError> {
        let Some(head) = self.node.head(service) else { return Ok(()) };
        let at = self.clock.now_ms();
        let head = Head { service: service.clone(), sequence: head.sequence, hash: head.hash, at };
        self.catalog.record_head(&head).await
    }

    async fn audit(&self, actor: &str, action: &str, service: &ServiceName, outcome: String) {
        let entry = AuditEntry {
            at: self.clock.now_ms(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: service.to_string(),
            outcome,
            request_id: None,
        };
        if let Err(error) = self.catalog.audit(entry).await {
            tracing::warn!(%service, %error, "audit not recorded");
        }
    }
}
