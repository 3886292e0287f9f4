//! The prover as a child process of the real binary: fixtures are proven or refused, and nothing that a
//! hostile one does reaches this process.

#![allow(clippy::print_stdout, reason = "tests tell what they saw")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tenon::child::{ChildLimits, ChildProver};
use tenon::config::Raw;
use tenon::runtimes::{self, Started};
use tenon_contract::{Fault, FaultKind, ProofKind};
use tenon_control::{Finding, Prover as _, Stage};
use tenon_store::{Options, Store};
use tokio::sync::mpsc;

/// A prover over a store in a temporary folder.
struct Bench {
    _folder: tempfile::TempDir,
    prover: ChildProver,
}

impl Bench {
    /// `None` where ONNX Runtime is not there: `cargo xtask onnxruntime` gets it.
    fn new(limits: ChildLimits) -> Option<Self> {
        let config = Raw::defaults().check().unwrap();
        let onnxruntime = runtimes::find_onnxruntime(&config.onnxruntime);
        if let Err(absent) = &onnxruntime {
            println!("SKIPPED: {}: {absent}", std::thread::current().name().unwrap_or("?"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::files(folder.path())).unwrap();
        let program = env!("CARGO_BIN_EXE_tenon").into();
        let Started { runtimes, onnxruntime, .. } = runtimes::start(onnxruntime);
        Some(Self { _folder: folder, prover: ChildProver { program, store, runtimes, onnxruntime, limits } })
    }

    async fn prove(&self, file: &str) -> Result<Finding, Fault> {
        let bytes = std::fs::read(fixtures().join(file)).unwrap();
        let size = bytes.len() as u64;
        let digest = self.prover.store.put(bytes.into()).await.unwrap();
        let (sender, mut stages) = mpsc::channel(4);
        let finding = self.prover.prove(digest, size, sender).await;
        if let Ok(finding) = &finding {
            assert_eq!(stages.recv().await, Some(Stage::Recognised(finding.format.clone())));
        }
        finding
    }

    async fn check(&self, file: &str, kind: FaultKind, expected: &str) {
        let fault = match self.prove(file).await {
            Ok(finding) => panic!("{file} was proven: {:?}", finding.proof),
            Err(fault) => fault,
        };
        println!("{file}: {fault}");
        assert!(fault.kind == kind && fault.text.contains(expected), "{file}: {:?} {fault}", fault.kind);
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

#[test]
fn the_cage_holds() {
    tenon::child::try_out(Path::new(env!("CARGO_BIN_EXE_tenon"))).unwrap();
}

#[tokio::test]
async fn good_models_are_proven_and_measured() {
    let Some(bench) = Bench::new(ChildLimits::default()) else { return };
    let finding = bench.prove("onnx/add_one.zip").await.unwrap();
    let proof = &finding.proof;
    assert_eq!((proof.kind, proof.examples, proof.repeatable), (ProofKind::Golden, 4, true));
    assert_eq!((proof.rows_independent, proof.notes.len()), (Some(true), 0), "{:?}", proof.notes);
    assert!(proof.call_micros > 0 && proof.load_micros > 0);
    assert!(bench.prover.keys(proof.key.artifact, &finding.format).contains(&proof.key));
    let bare = bench.prove("onnx/add_two.onnx").await.unwrap();
    assert_eq!((bare.proof.kind, bare.format.as_str()), (ProofKind::Synthetic, "onnx"));
    let mixer = bench.prove("hostile/batch_mixer.onnx").await.unwrap();
    assert_eq!(mixer.proof.rows_independent, Some(false));
}

#[tokio::test]
async fn hostile_files_are_refused_with_their_place() {
    let Some(bench) = Bench::new(ChildLimits::default()) else { return };
    let cases = [
        ("corrupt.onnx", "artifact"),
        ("cut_off.onnx", "artifact"),
        ("text.onnx", "not recognised"),
        ("empty.onnx", "empty"),
        ("deep.onnx", "not recognised"),
        ("huge_initializer.onnx", "claimed"),
        ("nan.onnx", "not finite"),
        ("random.onnx", "two answers"),
        ("escapes.onnx", "etc/passwd"),
        ("absolute.onnx", "etc/passwd"),
        ("missing_external.onnx", "weights.bin"),
        ("traversal.zip", "evil.onnx"),
        ("absolute.zip", "/tmp/tenon-evil.onnx"),
        ("symlink.zip", "link"),
        ("no_manifest.zip", "model.toml"),
        ("two_manifests.zip", "names of their own"),
        ("bad_toml.zip", "line"),
        ("wrong_example.zip", "example"),
        ("flipped_weights.zip", "example"),
    ];
    for (file, expected) in cases {
        bench.check(&format!("hostile/{file}"), FaultKind::Invalid, expected).await;
    }
    bench.check("hostile/wrong_format.zip", FaultKind::Unsupported, "xgboost").await;
    bench.check("hostile/bomb.zip", FaultKind::TooLarge, "unpacked").await;
    bench.check("hostile/lying_sizes.zip", FaultKind::Invalid, "larger than its declared").await;
    for escaped in ["/tmp/tenon-evil.onnx", "/tmp/evil.onnx", "/evil.onnx"] {
        assert!(!Path::new(escaped).exists(), "{escaped} came to be");
    }
}

#[tokio::test]
async fn greedy_models_meet_their_limits() {
    let limits = ChildLimits { memory_bytes: 1 << 30, cpu_s: 2, wall_s: 20, demand_filter: true };
    let Some(bench) = Bench::new(limits.clone()) else { return };
    let computing = "did not finish within 2 s of computing while it was";
    bench.check("hostile/endless.onnx", FaultKind::Invalid, computing).await;
    bench.check("hostile/endless_load.onnx", FaultKind::Invalid, computing).await;
    bench.check("hostile/huge_memory.onnx", FaultKind::Invalid, "more than 1024 MiB").await;
    bench.check("hostile/huge_load.onnx", FaultKind::Invalid, "more than 1024 MiB").await;
    let limits = ChildLimits { cpu_s: 60, wall_s: 1, ..limits };
    let Some(bench) = Bench::new(limits) else { return };
    let begun = Instant::now();
    bench.check("hostile/endless.onnx", FaultKind::Invalid, "did not finish within 1 s").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn damaged_bytes_are_not_proven() {
    let Some(bench) = Bench::new(ChildLimits::default()) else { return };
    let digest = bench.prover.store.put("not what was asked".into()).await.unwrap();
    let (sender, _stages) = mpsc::channel(4);
    let fault = bench.prover.prove(digest, 4, sender).await.unwrap_err();
    assert!(fault.kind == FaultKind::Internal && fault.text.contains("push it again"), "{fault}");
}
