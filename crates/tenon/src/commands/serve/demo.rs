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

/// Pushes the bundles of each folder in the order of their names and serves the first of them under the folder's
/// name, where that was not done before. Gives what to try.
pub(super) async fn set_up(house: &House, folders: &[PathBuf]) -> Result<String, Fault> {
    let mut told = Vec::new();
    for folder in folders {
        told.push(one(house, folder).await?);
    }
    if told.is_empty() {
        return Ok(String::new());
    }
    let (url, told) = (house.url(), told.concat());
    Ok(format!(
        "\nTry, in another terminal:\n{told}\nThe page at {url}/ shows what is served. Ctrl-C ends the server."
    ))
}

async fn one(house: &House, folder: &Path) -> Result<String, Fault> {
    let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (model, service): (ModelName, ServiceName) = (name.parse()?, name.parse()?);
    let mut versions = Vec::new();
    for bundle in bundles(folder)? {
        versions.push(push(house, &model, &bundle).await?);
    }
    let first = versions.first().ok_or_else(|| {
        Fault::not_found(format!(
            "set up demo: no folder with a {} in {}",
            bundle::MANIFEST,
            folder.display()
        ))
    })?;
    if !house.node.services().contains(&service) {
        let permit = authorize(&Caller::admin(ACTOR), Promote)?;
        let version = first.clone();
        let request = SwapRequest { version, settings: None, breaking: None, dry_run: false, reason: None };
        house.control.promotion.deploy(&permit, &service, request).await?;
    }
    Ok(what_to_try(&house.url(), folder, &service, versions.last().unwrap_or(first)))
}

fn bundles(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed =
        |error: std::io::Error| Fault::not_found(format!("set up demo: read {}: {error}", folder.display()));
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
    let bytes =
        bundle::zip_folder(folder).map_err(|error| Fault::invalid(format!("set up demo: {error}")))?;
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

fn what_to_try(url: &str, folder: &Path, service: &ServiceName, newest: &VersionId) -> String {
    if let Some(picture) = first_picture(&folder.join(SAMPLES)) {
        let call = format!(
            "curl -s {url}/services/{service}/methods/detect -H 'content-type: image/png' --data-binary @{}",
            picture.display()
        );
        return format!(
            "
  {call}
  {call} -H 'accept: image/png' -o boxes.png    # the picture with what was found
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

fn first_picture(samples: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(samples).ok()?;
    let pictures = files.filter_map(|entry| Some(entry.ok()?.path()));
    pictures.filter(|path| path.extension().is_some_and(|extension| extension == "png")).min()
}
