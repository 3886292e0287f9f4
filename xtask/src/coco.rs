//! Puts the COCO detectors of a folder of models together as bundles for the demo, where there is such a folder.
//!
//! Nothing of them stands in the repository but their declarations (`fixtures/vision`). Models, labels and photographs
//! come from the folder that `TENON_MODELS` names, else from `../shared/models`; copies lie in the cache folder,
//! because a bundle takes no links that lead out of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{house, onnxruntime};

/// Behind one service, exchanged in this order.
const DETECTORS: [&str; 3] = ["ssd_mobilenet_300", "yolox_nano_nms", "ssd_mobilenet_tf2_dynamic"];
const LABELS: &str = "detection/labels/coco_labels_90.txt";
/// To try them on, the best one first.
const PHOTOGRAPHS: [&str; 3] = ["pets.jpg", "coffee.png", "astronaut.png"];

/// Prints the folder of the bundles, or nothing where there are no models.
pub(crate) fn assemble() -> Result<()> {
    let Some(models) = models() else { return Ok(()) };
    let folder = onnxruntime::cache()?.join("demo/coco");
    let mut files = Vec::new();
    for (number, name) in (1..).zip(DETECTORS) {
        let artifact = models.join(format!("detection/{name}.onnx"));
        if artifact.is_file() {
            let bundle = folder.join(format!("{number}-{name}"));
            let declaration = house::root().join(format!("fixtures/vision/{name}.toml"));
            files.extend([
                (artifact, bundle.join("model.onnx")),
                (models.join(LABELS), bundle.join("labels.txt")),
                (declaration, bundle.join("model.toml")),
            ]);
        }
    }
    for (number, name) in (1..).zip(PHOTOGRAPHS) {
        let photograph = models.join("detection/images").join(name);
        files.push((photograph, folder.join(format!("samples/{number}-{name}"))));
    }
    for (from, to) in files {
        copy(&from, &to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    println!("{}", folder.display());
    Ok(())
}

/// The folder of models, where it holds the first of the detectors.
fn models() -> Option<PathBuf> {
    let named = std::env::var_os("TENON_MODELS").filter(|named| !named.is_empty()).map(PathBuf::from);
    let is_named = named.is_some();
    let models = named.unwrap_or_else(|| house::root().join("../shared/models"));
    let first = models.join(format!("detection/{}.onnx", DETECTORS[0]));
    if is_named && !first.is_file() {
        eprintln!("TENON_MODELS: {} is not there; the demo goes on without it", first.display());
    }
    first.is_file().then_some(models)
}

/// Copies a file that is not there yet, or is another one.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let (wanted, there) = (from.metadata()?, to.metadata().ok());
    let is_there = there.is_some_and(|there| {
        let is_newer = there.modified().ok() >= wanted.modified().ok();
        there.len() == wanted.len() && is_newer
    });
    if is_there {
        return Ok(());
    }
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)?;
    // Under its name whole or not at all; with the rights of a file of ours, not with those of the original.
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    std::io::copy(&mut fs::File::open(from)?, &mut whole)?;
    whole.persist(to)?;
    Ok(())
}
