//! The container image: laid out as the standard wants, the same from the same sources, and serving in a container
//! that holds it as strictly as engines can.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tenon_contract::Digest;
use tenon_scenarios::binary::{self, repository};
use tenon_scenarios::container::{self, Container, Image, Run};
use tenon_scenarios::skip;

/// Most bytes that an image may weigh.
const MOST_BYTES: u64 = 40_000_000;
/// How long a server in a container may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "/run/secrets/infer-token";
const WITH_TOKEN: (&str, &str) = ("TENON_ACCESS_INFER_TOKEN_FILE", TOKEN);
const WITH_TLS: [(&str, &str); 2] =
    [("TENON_TLS_CERTIFICATE_FILE", "/run/secrets/tls.crt"), ("TENON_TLS_KEY_FILE", "/run/secrets/tls.key")];

#[test]
fn the_image_is_an_image_and_serves_locked_in() {
    if let Err(reason) = container::possible() {
        return skip(&format!("no containers here: {reason:#}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    make_image(&layout).unwrap();
    the_same_once_more(&layout, folder.path()).unwrap();
    let image = checked(&layout, folder.path().join("root")).unwrap();
    let home = folder.path().join("home");
    refuses_to_be_open(&image, &home).unwrap();
    serves(&image, &home).unwrap();
    serves_again_over_tls(&image, &home).unwrap();
    tells_where_it_cannot_cage(&image, &home).unwrap();
}

fn make_image(to: &Path) -> Result<()> {
    let made = binary::cargo()
        .args(["run", "--quiet", "--release", "--package", "xtask", "--", "image", "--program"])
        .arg(binary::tenon()?)
        .arg("--to")
        .arg(to)
        .current_dir(repository())
        .output()
        .context("start cargo")?;
    ensure!(made.status.success(), "make the image: {}", said(&made));
    Ok(())
}

/// A second image, this time as an archive, has the same files.
fn the_same_once_more(layout: &Path, folder: &Path) -> Result<()> {
    let (archive, again) = (folder.join("image.tar"), folder.join("again"));
    make_image(&archive)?;
    fs::create_dir(&again)?;
    let unpacked = Command::new("tar").arg("-C").arg(&again).arg("-xf").arg(&archive).output()?;
    ensure!(unpacked.status.success(), "unpack the archive: {}", said(&unpacked));
    let compared = Command::new("diff").arg("-r").args([layout, &again]).output()?;
    ensure!(compared.status.success(), "two images of the same sources differ: {}", said(&compared));
    Ok(())
}

/// Checks a layout by the letter of the image specification, and unpacks it.
fn checked(layout: &Path, root: PathBuf) -> Result<Image> {
    let read = |path: &str| -> Result<Value> {
        let bytes = fs::read(layout.join(path)).with_context(|| format!("read {path}"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("understand {path}"))
    };
    ensure!(read("oci-layout")? == json!({ "imageLayoutVersion": "1.0.0" }), "oci-layout");
    let index = read("index.json")?;
    ensure!(index["schemaVersion"] == 2, "schemaVersion of the index");
    ensure!(index["mediaType"] == "application/vnd.oci.image.index.v1+json", "media type of the index");
    let mut named = Vec::new();
    let mut blob = |descriptor: &Value, media_type: &str| -> Result<PathBuf> {
        ensure!(descriptor["mediaType"] == media_type, "{descriptor} is to be {media_type}");
        let digest = descriptor["digest"].as_str().context("a digest")?;
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(descriptor["size"] == bytes.len(), "size of {digest}");
        ensure!(Digest::of(&bytes).to_string() == digest, "digest of {digest}");
        named.push(path.clone());
        Ok(path)
    };
    let document = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let manifest = document(blob(&index["manifests"][0], "application/vnd.oci.image.manifest.v1+json")?)?;
    ensure!(manifest["schemaVersion"] == 2, "schemaVersion of the manifest");
    let config = document(blob(&manifest["config"], "application/vnd.oci.image.config.v1+json")?)?;
    ensure!(
        config["os"] == "linux"
            && index["manifests"][0]["platform"]["architecture"] == config["architecture"]
    );
    let mut layers = Vec::new();
    for layer in manifest["layers"].as_array().context("layers")? {
        layers.push(blob(layer, "application/vnd.oci.image.layer.v1.tar+gzip")?);
    }
    let unpacked = config["rootfs"]["diff_ids"].as_array().context("diff_ids")?;
    ensure!(
        unpacked.len() == layers.len()
            && config["history"].as_array().is_some_and(|all| all.len() == layers.len())
    );
    for (layer, digest) in layers.iter().zip(unpacked) {
        let tar = Command::new("gzip").args(["-dc"]).arg(layer).output()?.stdout;
        ensure!(*digest == Digest::of(&tar).to_string(), "diff_id of {}", layer.display());
    }
    let mut held = 0;
    for entry in fs::read_dir(layout.join("blobs/sha256"))? {
        let entry = entry?;
        ensure!(named.contains(&entry.path()), "{} is named nowhere", entry.path().display());
        held += entry.metadata()?.len();
    }
    ensure!(held < MOST_BYTES, "the image weighs {held} bytes");
    Image::unpack(&layers, config["config"].clone(), root)
}

fn refuses_to_be_open(image: &Image, home: &Path) -> Result<()> {
    let container = image.start(home, &Run::default())?;
    let log = home.join("log");
    let status = container.ended()?;
    let said = fs::read_to_string(log)?;
    ensure!(status.code() == Some(64), "ended with {status}: {said}");
    ensure!(said.contains("TENON_ACCESS_INFER_TOKEN_FILE") && said.contains("TENON_INSECURE"), "{said}");
    Ok(())
}

/// The way of a first start: secrets by file, a model pushed, deployed and asked from outside, an orderly end.
fn serves(image: &Image, home: &Path) -> Result<()> {
    make_secrets(&home.join("secrets"))?;
    let container = image.start(home, &Run { environment: &[WITH_TOKEN], ..Run::default() })?;
    becomes_healthy(&container)?;
    ensure!(says(&container.exec(&["health", "--live"])?, 0, "live"), "it is not live");
    let doctor = container.exec(&["doctor", "--json"])?;
    let checks: Value = serde_json::from_slice(&doctor.stdout).with_context(|| said(&doctor))?;
    for check in checks.as_array().context("checks")? {
        ensure!(check["state"] == "fine" || check["what"] == "disk", "{check}");
    }
    let admin = home.join("data/admin.token").display().to_string();
    let callers = home.join("secrets/infer-token").display().to_string();
    let pushed = outside(&container, &["push", "digits", "fixtures/digits/v1", "--json"], &admin)?;
    let version: Value = serde_json::from_slice(&pushed.stdout).with_context(|| said(&pushed))?;
    ensure!(version["proof"]["kind"] == "golden", "{version}");
    let notes = version["proof"]["notes"].to_string();
    ensure!(!notes.contains("without a filter"), "it was proven outside of the cage: {notes}");
    let deployed = outside(&container, &["deploy", "digits", "digits/1"], &admin)?;
    ensure!(deployed.status.success(), "{}", said(&deployed));
    answers(&container, &callers)?;
    let nobody =
        outside(&container, &["infer", "digits", "--data", "fixtures/digits/request.json"], "/dev/null")?;
    ensure!(!nobody.status.success() && said(&nobody).contains("token"), "{}", said(&nobody));
    let status = container.stop()?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// What was served comes back on the same volume, and the question for health needs no trust in the certificate.
fn serves_again_over_tls(image: &Image, home: &Path) -> Result<()> {
    let environment = [WITH_TOKEN, WITH_TLS[0], WITH_TLS[1]];
    let container = image.start(home, &Run { environment: &environment, ..Run::default() })?;
    becomes_healthy(&container)?;
    let services = container.exec(&[
        "services",
        "--server",
        "https://127.0.0.1:8080",
        "--ca-file",
        "/run/secrets/tls.crt",
    ])?;
    ensure!(services.status.success() && said(&services).contains("digits/1"), "{}", said(&services));
    let status = container.stop()?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// A host that lets nobody filter system calls: it is said, and where the filter is demanded nothing is proven.
fn tells_where_it_cannot_cage(image: &Image, home: &Path) -> Result<()> {
    let filter = home.join("no-seccomp.bpf");
    fs::write(&filter, no_filters()?)?;
    let demanded = [WITH_TOKEN, ("TENON_PROVER_DEMAND_FILTER", "true")];
    for (environment, demand) in [(&demanded[..1], false), (&demanded[..], true)] {
        let run = Run { environment, filter: Some(&filter), ..Run::default() };
        let log = home.join("log");
        let _ = fs::remove_file(&log);
        let doctor = image.start(home, &Run { words: &["doctor"], ..run })?.ended()?;
        let said_by_doctor = fs::read_to_string(&log)?;
        ensure!(
            doctor.success() != demand && said_by_doctor.contains("filter system calls"),
            "{said_by_doctor}"
        );
        let container = image.start(home, &run)?;
        becomes_healthy(&container)?;
        let admin = home.join("data/admin.token").display().to_string();
        let (file, code, text) = match demand {
            false => ("fixtures/onnx/add_one.onnx", 0, "proven without a filter of system calls"),
            true => ("fixtures/onnx/add_two.onnx", 1, "prover.demand_filter"),
        };
        let pushed = outside(&container, &["push", "adder", file, "--json"], &admin)?;
        ensure!(says(&pushed, code, text), "{}", said(&pushed));
        container.stop()?;
    }
    Ok(())
}

/// A compiled filter that forbids to set filters, as the kernel and bwrap take it.
fn no_filters() -> Result<Vec<u8>> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
    let rules = [(libc::SYS_seccomp, Vec::new())].into_iter().collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let program = BpfProgram::try_from(SeccompFilter::new(rules, SeccompAction::Allow, denied, arch)?)?;
    let mut bytes = Vec::new();
    for step in program {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    Ok(bytes)
}

fn make_secrets(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let pair = rcgen::generate_simple_self_signed(["models.example".to_owned(), "127.0.0.1".to_owned()])?;
    let secrets = [
        ("infer-token", "callers-token-0123456789abcdef\n".to_owned()),
        ("tls.crt", pair.cert.pem()),
        ("tls.key", pair.signing_key.serialize_pem()),
    ];
    for (name, text) in secrets {
        let path = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400))?;
    }
    Ok(())
}

/// Waits until the image's own question is answered with a yes.
fn becomes_healthy(container: &Container) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = container.exec(&["health"])?;
        if says(&asked, 0, "ready") {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("not healthy: {}\nlog:\n{}", said(&asked), container.log());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn answers(container: &Container, token: &str) -> Result<()> {
    let words = ["infer", "digits", "--data", "fixtures/digits/request.json", "--json"];
    let answer = outside(container, &words, token)?;
    let document: Value = serde_json::from_slice(&answer.stdout).with_context(|| said(&answer))?;
    let text = document.to_string();
    ensure!(text.contains("label"), "{text}");
    Ok(())
}

/// The command line on this machine, which reaches the container's port.
fn outside(container: &Container, words: &[&str], token_file: &str) -> Result<Output> {
    let environment = [("TENON_SERVER", "http://127.0.0.1:8080"), ("TENON_TOKEN_FILE", token_file)];
    container.beside(&binary::tenon()?, words, &environment)
}

fn says(output: &Output, code: i32, text: &str) -> bool {
    output.status.code() == Some(code) && said(output).contains(text)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}
