//! `tenon serve --demo`: models to try, pushed and deployed the way a user does it.

use std::path::{Path, PathBuf};

use tenon_client::bundle;
use tenon_contract::admin::SwapRequest;
use tenon_contract::{Digest, Fault, ModelName, ServiceName, VersionId};
use tenon_control::{Caller, Promote, Push, authorize};

use crate::wiring::House;

/// Who stands in audit and receipts.
const ACTOR: &str = "demo";

/// Folder of pictures to try a model on, beside its bundles.
const SAMPLES: &str = "samples";

/// A folder of bundles that is served under its name.
pub(super) struct Demo {
    folder: PathBuf,
    model: ModelName,
    service: ServiceName,
    bundles: Vec<PathBuf>,
    newest: VersionId,
}

/// Pushes the first bundle of each folder and serves it under the folder's name, where that was not done before. A
/// folder that cannot be served is told of and left out.
pub(super) async fn begin(house: &House, folders: &[PathBuf]) -> Vec<Demo> {
    let mut demos = Vec::new();
    for folder in folders {
        match Demo::begin(house, folder).await {
            Ok(demo) => demos.push(demo),
            Err(fault) => failed(folder, &fault),
        }
    }
    demos
}

/// Pushes the bundles that are left: the server need not wait for them. Gives what to try.
pub(super) async fn complete(house: &House, demos: Vec<Demo>) -> String {
    let (url, mut told) = (house.url(), String::new());
    for mut demo in demos {
        if let Err(fault) = demo.complete(house).await {
            failed(&demo.folder, &fault);
        }
        told.push_str(&demo.what_to_try(&url));
    }
    if told.is_empty() {
        return told;
    }
    format!(
        "\nTry, in another terminal:\n{told}\nThe page at {url}/ shows what is served. Ctrl-C ends the server."
    )
}

fn failed(folder: &Path, fault: &Fault) {
    tracing::error!(folder = %folder.display(), %fault, "demo could not be set up");
}

impl Demo {
    async fn begin(house: &House, folder: &Path) -> Result<Self, Fault> {
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (model, service): (ModelName, ServiceName) = (name.parse()?, name.parse()?);
        let bundles = bundles(folder)?;
        let first = bundles.first().ok_or_else(|| {
            Fault::not_found(format!("no folder with a {} in {}", bundle::MANIFEST, folder.display()))
        })?;
        let newest = push(house, &model, first).await?;
        if !house.node.services().contains(&service) {
            let permit = authorize(&Caller::admin(ACTOR), Promote)?;
            let version = newest.clone();
            let request =
                SwapRequest { version, settings: None, breaking: None, dry_run: false, reason: None };
            house.control.promotion.deploy(&permit, &service, request).await?;
        }
        Ok(Self { folder: folder.to_owned(), model, service, bundles, newest })
    }

    async fn complete(&mut self, house: &House) -> Result<(), Fault> {
        for bundle in &self.bundles[1..] {
            self.newest = push(house, &self.model, bundle).await?;
        }
        Ok(())
    }

    fn what_to_try(&self, url: &str) -> String {
        let Self { folder, service, newest, .. } = self;
        if let Some((picture, kind)) = first_picture(&folder.join(SAMPLES)) {
            let call = format!(
                "curl -s {url}/services/{service}/methods/detect -H 'content-type: image/{kind}' --data-binary @{}",
                picture.display()
            );
            return format!(
                "
  {call}
  {call} -H 'accept: image/png' -o {service}.png    # the picture with what was found
  tenon swap {service} {newest}    # another architecture behind the same contract
"
            );
        }
        let request = folder.join("request.json");
        format!(
            "
  curl -s {url}/v2/models/{service}/infer -d @{request}
  tenon bench swap {service} --to {newest}    # exchange the model under load
  tenon receipts {service} --verify           # what was served, when and why
  tenon undo {service}                        # and back
",
            request = request.display()
        )
    }
}

fn bundles(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed = |error: std::io::Error| Fault::not_found(format!("read {}: {error}", folder.display()));
    let mut bundles = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.join(bundle::MANIFEST).is_file() {
            bundles.push(path);
        }
    }
    bundles.sort();
    Ok(bundles)
}

async fn push(house: &House, model: &ModelName, folder: &Path) -> Result<VersionId, Fault> {
    let bytes = bundle::zip_folder(folder).map_err(|error| Fault::invalid(error.to_string()))?;
    let digest = Digest::of(&bytes);
    if let Some(known) = house.catalog.version_by_digest(model, &digest).await? {
        return Ok(known.id);
    }
    house.store.put(bytes).await?;
    let permit = authorize(&Caller::admin(ACTOR), Push)?;
    let job = house.control.onboarding.push(&permit, model, digest).await?;
    let done = house.control.jobs.subscribe(&job.id).await?.end().await?;
    done.version.ok_or_else(|| Fault::internal(format!("push {model}: the job registered no version")))
}

/// The first of the pictures by its name, and the kind of picture it is.
fn first_picture(samples: &Path) -> Option<(PathBuf, &'static str)> {
    let files = std::fs::read_dir(samples).ok()?;
    let pictures = files.filter_map(|entry| {
        let path = entry.ok()?.path();
        let kind = match path.extension()?.to_str()? {
            "png" => "png",
            "jpg" | "jpeg" => "jpeg",
            _ => return None,
        };
        Some((path, kind))
    });
    pictures.min()
}
