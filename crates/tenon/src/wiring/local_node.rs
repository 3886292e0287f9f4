//! The node of this process, as the control plane sees nodes.

use async_trait::async_trait;
use tenon_contract::admin::{DryRun, SwapOrder, Swapped};
use tenon_contract::{Fault, Revision, ServiceName};
use tenon_control::{NodePort, ReceiptHead};
use tenon_serving::Node;
use tenon_store::Store;

/// A node in this process, and the store it loads from.
pub(crate) struct LocalNode {
    pub(crate) node: Node,
    pub(crate) store: Store,
}

#[async_trait]
impl NodePort for LocalNode {
    async fn swap(&self, order: SwapOrder) -> Result<Swapped, Fault> {
        if let Some(revision) = &order.to {
            // The node reads from its own disk only.
            self.store.ensure_local(&revision.version().digest).await?;
        }
        self.node.swap(order).await
    }

    async fn undo(
        &self,
        service: &ServiceName,
        actor: &str,
        reason: Option<String>,
    ) -> Result<Swapped, Fault> {
        self.node.undo(service.clone(), actor.to_owned(), reason).await
    }

    async fn dry_run(&self, order: &SwapOrder) -> Result<DryRun, Fault> {
        if let Some(revision) = &order.to {
            self.store.ensure_local(&revision.version().digest).await?;
        }
        self.node.dry_run(order)
    }

    fn live(&self, service: &ServiceName) -> Option<Revision> {
        self.node.live(service).map(|revision| (*revision).clone())
    }

    fn served(&self) -> Vec<Revision> {
        self.node.served().iter().map(|revision| (**revision).clone()).collect()
    }

    fn wanted(&self) -> Vec<ServiceName> {
        self.node.services()
    }

    fn highest_revision(&self) -> u64 {
        self.node.highest_revision()
    }

    fn head(&self, service: &ServiceName) -> Option<ReceiptHead> {
        let (sequence, hash) = self.node.journal().end(service)?;
        Some(ReceiptHead { sequence, hash })
    }
}
