//! From files to an answering version: read, onboarded, compared with what its configuration declares, served.

use tenon_contract::admin::SwapRequest;
use tenon_contract::{Difference, Digest, Fault, FaultKind, ModelName, ServiceName, Version, VersionId};

use super::{Repository, Rights, Seen};

/// Why a version is not served.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    /// It will be so again as long as the files are the same.
    pub(super) is_final: bool,
}

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        let fault: Fault = error.into();
        let kinds = [
            FaultKind::Invalid,
            FaultKind::Conflict,
            FaultKind::TooLarge,
            FaultKind::Model,
            FaultKind::Unsupported,
        ];
        Self { is_final: kinds.contains(&fault.kind), fault }
    }
}

impl Repository {
    /// Makes a version of what the model offers at `at`, and lets it answer.
    pub(super) async fn make(
        &self,
        model: &Seen<'_>,
        at: usize,
        rights: Rights<'_>,
    ) -> Result<VersionId, Refusal> {
        let service: ServiceName = model.found.name.parse().map_err(Fault::from)?;
        let version = self.version(model, at, rights).await?;
        model.found.declared.check(&version.signature)?;
        let number = model.found.versions[at].number;
        self.serve(&service, &version, number, rights).await?;
        Ok(version.id)
    }

    /// The version, found in the catalog or onboarded now.
    async fn version(&self, model: &Seen<'_>, at: usize, rights: Rights<'_>) -> Result<Version, Refusal> {
        let parts = &self.0.parts;
        let found = &model.found.versions[at];
        let upload = found.offer.clone().map_err(Fault::invalid)?;
        let tree = model.tree.clone();
        let read = move |disk: &dyn super::Disk| {
            let bytes = disk.read(&upload, &tree)?;
            Ok((Digest::of(&bytes), bytes))
        };
        let (digest, bytes) = self.blocking(read).await?;
        let name: ModelName = model.found.name.parse().map_err(Fault::from)?;
        if parts.store.size(&digest).await?.is_none() {
            parts.store.put(bytes).await?;
        }
        if let Some(known) = parts.catalog.version_by_digest(&name, &digest).await? {
            return Ok(known);
        }
        if let Some(number) = found.number {
            self.check_free(&VersionId { model: name.clone(), number }, &digest).await?;
        }
        let job = parts.onboarding.push_as(rights.push, &name, found.number, digest).await?;
        let done = parts.jobs.subscribe(&job.id).await?.end().await?;
        let id = done.version.ok_or_else(|| Fault::internal("the job registered no version"))?;
        let version = parts.catalog.version(&id).await?;
        Ok(version.ok_or_else(|| Fault::internal(format!("{id} is not in the catalog")))?)
    }

    /// A number that belongs to other bytes is refused before they are proven.
    async fn check_free(&self, id: &VersionId, digest: &Digest) -> Result<(), Refusal> {
        let parts = &self.0.parts;
        let Some(holder) = parts.catalog.version(id).await? else { return Ok(()) };
        // It was put there a moment ago, for nothing.
        if let Err(error) = parts.store.delete(digest).await {
            tracing::debug!(%digest, %error, "refused files are still in the store");
        }
        Err(Refusal::from(Fault::conflict(format!(
            "{id} was made of other files ({}), and a version never changes: put these into a new version folder",
            holder.digest.short()
        ))))
    }

    async fn serve(
        &self,
        service: &ServiceName,
        version: &Version,
        number: Option<u64>,
        rights: Rights<'_>,
    ) -> Result<(), Refusal> {
        let parts = &self.0.parts;
        let live = parts.node.live(service);
        if live.as_ref().is_some_and(|live| live.version().id == version.id) {
            return Ok(());
        }
        let reason = match number {
            Some(number) => format!("version {number} in the model repository"),
            None => "new files in the model repository".to_owned(),
        };
        let (id, reason) = (version.id.clone(), Some(reason));
        let request = SwapRequest { version: id, settings: None, breaking: None, dry_run: false, reason };
        let changed = if parts.node.wanted().contains(service) {
            parts.promotion.swap(rights.promote, service, request).await
        } else {
            parts.promotion.deploy(rights.promote, service, request).await
        };
        match changed {
            Ok(_) => Ok(()),
            Err(fault) => {
                let breaks = live
                    .is_some_and(|live| Difference::between(&live.contract, &version.contract).is_breaking());
                // Anything else that stands against it may pass: another swap under way, memory that is short.
                Err(Refusal { is_final: breaks, fault })
            }
        }
    }
}
