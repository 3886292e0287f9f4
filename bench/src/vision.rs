//! Pictures: what the image adapter adds to the crates that it is made of, and the server to a bare loop of decode,
//! resize and ONNX Runtime.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fast_image_resize::Resizer;
use tempfile::TempDir;
use tenon_client::load::Histogram;
use tenon_contract::ServiceName;
use tenon_vision::decode::Picture;
use tenon_vision::resize::{Filter, Fit, Position, Resize};

use crate::bare::Bare;
use crate::blocks::{Arm, Block, take_turns};
use crate::cores::{Cores, SideBySide};
use crate::figure::{Bar, Figure, Outcome, Unit};
use crate::machine;
use crate::pixels::Pixels;
use crate::served::{Picture as Posted, Served};
use crate::server::Tenon;
use crate::setting::Setting;

const MODEL: &str = "ssd_mobilenet_300";
const SIDE: u32 = 300;
const PHOTOGRAPH: &str = "detection/images/pets.jpg";
const LABELS: &str = "detection/labels/coco_labels_90.txt";
/// Inputs that the photograph is resized to.
const INPUTS: [u32; 2] = [300, 416];

/// Measures both.
///
/// # Errors
/// A server does not start or does not answer.
pub(crate) fn measure(setting: &Setting) -> Result<Outcome> {
    let photograph = match setting.model(PHOTOGRAPH) {
        Ok(photograph) => photograph,
        Err(why) => return Ok(Outcome::skipped("vision", why)),
    };
    if machine::cores() < 2 {
        return Ok(Outcome::skipped("vision", "server and generator need a core each"));
    }
    let mut outcome = Outcome::new("vision");
    let picture = std::fs::read(&photograph)?;
    for side in INPUTS {
        alone(setting, &picture, side, &mut outcome)?;
    }
    for cores in [Cores::Apart, Cores::Shared] {
        served(setting, &photograph, cores, &mut outcome)?;
    }
    Ok(outcome)
}

/// Decode and resize on this thread: the adapter beside the bare crates.
fn alone(setting: &Setting, picture: &[u8], side: u32, outcome: &mut Outcome) -> Result<()> {
    let (mut first, mut ours, mut second) =
        (bare(picture, side), adapter(picture, side), bare(picture, side));
    let mut arms = [
        Arm::new("bare", |duration| block(duration, &mut first)),
        Arm::new("adapter", |duration| block(duration, &mut ours)),
        Arm::new("bare again", |duration| block(duration, &mut second)),
    ];
    let restless = take_turns(&mut arms, setting.effort)?;
    let [bare, ours, again] = &arms;
    let name = format!("time to decode and resize to {side} x {side}, of zune-jpeg and fast_image_resize");
    outcome.figures.push(
        Figure::new(name, bare.rate() / ours.rate(), Unit::OfPeer)
            .control(again.rate() / bare.rate())
            .bar(Bar::AtMost(1.1)),
    );
    outcome.figures.push(Figure::new("... which take", 1e6 / bare.rate(), Unit::Us));
    outcome.notes.extend(setting.restless(restless, arms.len()));
    Ok(())
}

fn bare(picture: &[u8], side: u32) -> impl FnMut() -> Result<()> {
    let mut pixels = Pixels::new(picture.to_vec(), side, side);
    move || {
        let mut input = vec![0; pixels.length()];
        pixels.write(&mut input)?;
        black_box(input);
        Ok(())
    }
}

/// As a session of the adapter does it.
fn adapter(bytes: &[u8], side: u32) -> impl FnMut() -> Result<()> {
    let resize = Resize {
        size: Some((side, side)),
        fit: Fit::Stretch,
        position: Position::Center,
        padding: [0; 3],
        filter: Filter::Bilinear,
        antialias: true,
    };
    let (mut resizer, mut picture, mut scratch) = (Resizer::new(), Picture::default(), Vec::new());
    move || {
        picture.decode(bytes, 50_000_000).map_err(|fault| anyhow!(fault.to_string()))?;
        let mut canvas = vec![0; (side * side * 3) as usize];
        resize.run(&mut picture, &mut resizer, &mut scratch, &mut canvas).map_err(anyhow::Error::msg)?;
        black_box(canvas);
        Ok(())
    }
}

fn block(duration: Duration, step: &mut impl FnMut() -> Result<()>) -> Result<Block> {
    let mut times = Histogram::default();
    let begun = Instant::now();
    let mut last = begun;
    while last.duration_since(begun) < duration {
        step()?;
        let now = Instant::now();
        times.record(now.duration_since(last));
        last = now;
    }
    let seconds = last.duration_since(begun).as_secs_f64();
    let steps = times.count() as f64;
    Ok(Block { rate: steps / seconds, p99_us: times.latency().p99_us, server_us: seconds * 1e6 / steps })
}

/// A photograph to detections, through the server and in a bare loop.
fn served(setting: &Setting, photograph: &Path, cores: Cores, outcome: &mut Outcome) -> Result<()> {
    let (_folder, bundle) = bundle(setting)?;
    let tenon = cores.for_server(|| Tenon::start(&setting.binary))?;
    let service: ServiceName = "things".parse()?;
    tenon.deploy(&service, &tenon.push("things", &bundle)?, None)?;
    let path = format!("/services/{service}/methods/detect");
    let bytes = std::fs::read(photograph)?;
    let picture = Posted { path: &path, kind: "image/jpeg", bytes: &bytes };
    let seen = picture.ask(tenon.address())?;
    ensure!(seen.contains("\"label\":\"dog\""), "the detector does not find the dogs: {seen}");
    let served = Served::of_picture(tenon.id(), tenon.address(), &picture);
    let model = bundle.join("model.onnx");
    let bare = Bare::seeing(&setting.library, &model, photograph, SIDE);
    let words = ["detection, JPEG in, JSON out", "a bare loop of decode, resize and ONNX Runtime"];
    SideBySide { words, served: &served, further: None, bare: &bare, bar }.measure(setting, cores, outcome)
}

/// Two callers keep the server busy while it reads and writes.
fn bar(_: Cores, connections: usize) -> Option<Bar> {
    (connections == 2).then_some(Bar::AtLeast(0.9))
}

/// The detector with its declaration.
fn bundle(setting: &Setting) -> Result<(TempDir, PathBuf)> {
    let folder = TempDir::with_prefix("tenon-bench-")?;
    let bundle = folder.path().join(MODEL);
    std::fs::create_dir(&bundle)?;
    let shared = |name: &str| setting.model(name).map_err(anyhow::Error::msg);
    for (from, to) in [
        (shared(&format!("detection/{MODEL}.onnx"))?, "model.onnx"),
        (shared(LABELS)?, "labels.txt"),
        (setting.fixture(&format!("vision/{MODEL}.toml")), "model.toml"),
    ] {
        std::fs::copy(&from, bundle.join(to)).with_context(|| from.display().to_string())?;
    }
    Ok((folder, bundle))
}
