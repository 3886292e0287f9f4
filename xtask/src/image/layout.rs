//! The image as the Open Container Initiative lays it out: blobs by digest, a manifest, an index.
//!
//! `manifest.json` beside them is what `docker load` reads; other readers pass it over.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::root::{DATA, Layer, PROGRAM, USER};
use super::tar::Tree;
use crate::onnxruntime::sha256;

/// The moment of everything: an image is what is in it, not when it was made.
const CREATED: &str = "1970-01-01T00:00:00Z";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The port of the one listener.
const PORT: u16 = 8080;
const SECOND: u64 = 1_000_000_000;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image, laid out.
pub(super) struct Layout {
    pub(super) files: Tree,
    /// Digest of the manifest, which names the image.
    pub(super) digest: String,
    /// Bytes to be sent: manifest, configuration and packed layers.
    pub(super) bytes: usize,
    /// Name and packed bytes of each layer.
    pub(super) layers: Vec<(&'static str, usize)>,
}

/// Lays an image out.
pub(super) fn of(layers: &[Layer]) -> Result<Layout> {
    let mut laid = Layout { files: Tree::default(), digest: String::new(), bytes: 0, layers: Vec::new() };
    let (mut descriptors, mut unpacked, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for layer in layers {
        let tar = layer.tree.tar()?;
        unpacked.push(format!("sha256:{}", sha256(&tar)));
        history
            .push(json!({ "created": CREATED, "created_by": "cargo xtask image", "comment": layer.about }));
        let packed = packed(&tar)?;
        laid.layers.push((layer.about, packed.len()));
        descriptors.push(laid.blob(LAYER, packed));
    }
    let config = json!({
        "created": CREATED,
        "architecture": architecture(),
        "os": "linux",
        "config": settings(),
        "rootfs": { "type": "layers", "diff_ids": unpacked },
        "history": history,
    });
    let config = laid.blob(CONFIG, serde_json::to_vec(&config)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": descriptors,
        "annotations": labels(),
    });
    let mut manifest = laid.blob(MANIFEST, serde_json::to_vec(&manifest)?);
    laid.digest = text(&manifest["digest"]);
    // The name under which engines load it.
    let name = format!("tenon:{VERSION}");
    manifest["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    laid.files.file("index.json", 0o644, serde_json::to_vec(&index)?);
    laid.files.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let for_docker = json!([{
        "Config": place(&config["digest"]),
        "RepoTags": [name],
        "Layers": descriptors.iter().map(|layer| place(&layer["digest"])).collect::<Vec<_>>(),
    }]);
    laid.files.file("manifest.json", 0o644, serde_json::to_vec(&for_docker)?);
    Ok(laid)
}

impl Layout {
    /// Adds a blob; gives its descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (format!("sha256:{}", sha256(&bytes)), bytes.len());
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": size });
        self.bytes += size;
        self.files.file(&place(&descriptor["digest"]), 0o644, bytes);
        descriptor
    }
}

/// How a container of the image is started. The `Containerfile` says the same; a test compares the two.
pub(super) fn settings() -> Value {
    json!({
        "User": format!("{USER}:{USER}"),
        "Env": [
            format!("PATH=/{PROGRAM}"),
            format!("TENON_DATA=/{DATA}"),
            format!("TENON_LISTEN=0.0.0.0:{PORT}"),
        ],
        "Entrypoint": ["tenon"],
        "Cmd": ["serve"],
        "WorkingDir": "/",
        "ExposedPorts": { format!("{PORT}/tcp"): {} },
        "Volumes": { format!("/{DATA}"): {} },
        "StopSignal": "SIGTERM",
        "Labels": labels(),
        // Not of the initiative, but what Docker reads. Who restarts what is unhealthy shall look for life only.
        "Healthcheck": {
            "Test": ["CMD", "tenon", "health", "--live"],
            "Interval": 10 * SECOND,
            "Timeout": 6 * SECOND,
            "StartPeriod": 20 * SECOND,
            "Retries": 3,
        },
    })
}

fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": "tenon",
        "org.opencontainers.image.description": "Serve machine-learning models; keep the service, swap the model",
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.licenses": "Apache-2.0",
    })
}

/// The machine this runs on, in the words of the field.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn packed(tar: &[u8]) -> Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(tar)?;
    Ok(packer.finish()?)
}

fn place(digest: &Value) -> String {
    format!("blobs/{}", text(digest).replace(':', "/"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house;

    /// The words behind each instruction of the last stage.
    fn instructions(containerfile: &str) -> Vec<(String, String)> {
        let last = containerfile.rsplit("\nFROM ").next().unwrap_or_default().replace("\\\n", " ");
        let lines = last.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let split = lines.filter_map(|line| line.split_once(' '));
        split
            .map(|(name, words)| (name.to_owned(), words.split_whitespace().collect::<Vec<_>>().join(" ")))
            .collect()
    }

    #[test]
    fn the_containerfile_starts_the_same() {
        let file = std::fs::read_to_string(house::root().join("Containerfile")).unwrap();
        let settings = settings();
        let strings = |key: &str| settings[key].as_array().unwrap().iter().map(text).collect::<Vec<_>>();
        let keys = |key: &str| settings[key].as_object().unwrap().keys().next().unwrap().clone();
        let health = &settings["Healthcheck"];
        let seconds = |key: &str| format!("{}s", health[key].as_u64().unwrap() / SECOND);
        let command: Vec<String> = health["Test"].as_array().unwrap()[1..].iter().map(text).collect();
        let mut expected = vec![
            ("USER", text(&settings["User"])),
            ("ENV", strings("Env").join(" ")),
            ("ENTRYPOINT", format!("{:?}", strings("Entrypoint"))),
            ("CMD", format!("{:?}", strings("Cmd"))),
            ("WORKDIR", text(&settings["WorkingDir"])),
            ("EXPOSE", keys("ExposedPorts").replace("/tcp", "")),
            ("VOLUME", keys("Volumes")),
            ("STOPSIGNAL", text(&settings["StopSignal"])),
            (
                "HEALTHCHECK",
                format!(
                    "--interval={} --timeout={} --start-period={} --retries={} CMD {command:?}",
                    seconds("Interval"),
                    seconds("Timeout"),
                    seconds("StartPeriod"),
                    health["Retries"]
                ),
            ),
        ];
        let labels = settings["Labels"].as_object().unwrap();
        let mut labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        labels.sort();
        expected.push(("LABEL", labels.join(" ")));
        let found = instructions(&file);
        for (name, words) in expected {
            let written = found.iter().find(|(found, _)| found == name).map(|(_, words)| words.as_str());
            assert_eq!(written, Some(words.as_str()), "{name} in Containerfile");
        }
    }
}
