//! What the adapter costs, in blocks that take turns.
//!
//! ```sh
//! measure picture.jpg                               # decode and resize: the bare crates beside ours
//! measure picture.jpg libonnxruntime.so model.onnx  # and detection: a bare loop beside the wrapped model
//! measure picture.jpg libonnxruntime.so model.onnx 127.0.0.1:8080 service  # and beside a server that serves it
//! ```
//!
//! Model and declaration: `model.toml` and `labels.txt` lie beside the model. Two loops run side by side.

#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Cursor, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use tenon_contract::{Inputs, NamedTensor, Parameters, Tensor};
use tenon_onnx::{Library, OnnxRuntime, Options, SearchPath};
use tenon_runtime::{Bundle, BundleLimits, Call, Cancel, LoadOptions, Model, Runtimes, Session, Single};
use tenon_vision::ImageAdapter;
use tenon_vision::decode::Picture;
use tenon_vision::resize::{Filter, Fit, Position, Resize};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

const BLOCK: Duration = Duration::from_millis(1000);
const BLOCKS: usize = 15;
const LOOPS: usize = 2;

type Step = Box<dyn FnMut() + Send>;

/// Runs the arms' steps in turns, a loop for each of the steps of an arm, and prints medians of their rates.
fn turns(what: &str, arms: &mut [(&str, Vec<Step>)]) {
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); arms.len()];
    for block in 0..=BLOCKS {
        for (at, (_, steps)) in arms.iter_mut().enumerate() {
            let begun = Instant::now();
            let counts: Vec<u64> = std::thread::scope(|scope| {
                let run = |step: &mut Step| {
                    let mut count = 0;
                    while begun.elapsed() < BLOCK {
                        step();
                        count += 1;
                    }
                    count
                };
                let loops: Vec<_> = steps.iter_mut().map(|step| scope.spawn(move || run(step))).collect();
                loops.into_iter().map(|one| one.join().unwrap()).collect()
            });
            if block > 0 {
                rates[at].push(counts.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64());
            }
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let medians: Vec<f64> = rates.iter_mut().map(median).collect();
    for ((name, _), rate) in arms.iter().zip(&medians) {
        println!("{what}, {name}: {rate:.1} /s, {:.3} of the first", rate / medians[0]);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let picture = std::fs::read(&arguments[0]).unwrap();
    for size in [(300, 300), (416, 416)] {
        let what = format!("decode and resize to {} x {}", size.0, size.1);
        let mut arms = [
            ("bare crates", vec![bare(&picture, size)]),
            ("ours", vec![ours(&picture, size)]),
            ("bare crates again", vec![bare(&picture, size)]),
        ];
        turns(&what, &mut arms);
    }
    if arguments.len() >= 3 {
        detection(&picture, &arguments[1..]);
    }
}

/// zune-jpeg and fast_image_resize as their documentation has them, with memory used again.
fn bare_pixels(picture: Vec<u8>, size: (u32, u32)) -> impl FnMut() -> Vec<u8> + Send {
    let (mut resizer, mut pixels) = (Resizer::new(), Vec::new());
    move || {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&picture), options);
        decoder.decode_headers().unwrap();
        pixels.resize(decoder.output_buffer_size().unwrap(), 0);
        decoder.decode_into(&mut pixels).unwrap();
        let (width, height) = decoder.dimensions().unwrap();
        let mut out = vec![0; (size.0 * size.1 * 3) as usize];
        let source = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, &pixels).unwrap();
        let mut target = TypedImage::<U8x3>::from_buffer(size.0, size.1, &mut out).unwrap();
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        resizer.resize_typed(&source, &mut target, &options).unwrap();
        out
    }
}

fn bare(picture: &[u8], size: (u32, u32)) -> Step {
    let mut pixels = bare_pixels(picture.to_vec(), size);
    Box::new(move || {
        black_box(pixels());
    })
}

fn ours(picture: &[u8], size: (u32, u32)) -> Step {
    let resize = Resize {
        size: Some(size),
        fit: Fit::Stretch,
        position: Position::Center,
        padding: [0; 3],
        filter: Filter::Bilinear,
        antialias: true,
    };
    let bytes = picture.to_vec();
    let (mut resizer, mut picture, mut scratch) = (Resizer::new(), Picture::default(), Vec::new());
    Box::new(move || {
        picture.decode(&bytes, 50_000_000).unwrap();
        let mut canvas = vec![0; (size.0 * size.1 * 3) as usize];
        resize.run(&mut picture, &mut resizer, &mut scratch, &mut canvas).unwrap();
        black_box(canvas);
    })
}

fn detection(picture: &[u8], arguments: &[String]) {
    let search = SearchPath { config: Some(arguments[0].clone().into()), ..SearchPath::default() };
    let onnx = OnnxRuntime::start(&Library::find(&search).unwrap(), Options::default()).unwrap();
    let onnx = Arc::new(onnx);
    let model = Path::new(&arguments[1]);
    let read = |name: &str| std::fs::read(model.with_file_name(name)).unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let files = [
        ("model.toml", read("model.toml")),
        ("model.onnx", std::fs::read(model).unwrap()),
        ("labels.txt", read("labels.txt")),
    ];
    for (name, content) in files {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&content).unwrap();
    }
    let bundle = Bundle::open(zip.finish().unwrap().into_inner().into(), BundleLimits::default()).unwrap();
    let load = |runtimes: Runtimes| -> Arc<dyn Model> {
        Arc::from(runtimes.iter().next().unwrap().load(&bundle, &LoadOptions::default()).unwrap())
    };
    let plain = load(Runtimes::new(vec![onnx.clone()]));
    let wrapped = load(Runtimes::adapting(vec![onnx], vec![Arc::new(ImageAdapter)]));
    let mut arms = vec![
        ("bare loops", (0..LOOPS).map(|_| bare_detection(&plain, picture)).collect::<Vec<_>>()),
        ("wrapped model", (0..LOOPS).map(|_| wrapped_detection(&wrapped, picture)).collect()),
    ];
    if let [_, _, address, service] = arguments {
        let step = |_| served_detection(address, service, picture);
        arms.push(("server", (0..LOOPS).map(step).collect()));
    }
    arms.push(("bare loops again", (0..LOOPS).map(|_| bare_detection(&plain, picture)).collect()));
    turns("detection", &mut arms);
}

fn run(session: &mut dyn Session, inputs: &Inputs) -> Vec<Tensor> {
    let (parameters, cancel, mut single) = (Parameters::new(), Cancel::never(), Single::default());
    let call = Call { inputs, parameters: &parameters, deadline: None, cancel: &cancel, sequence: None };
    session.run(call, &mut single).unwrap();
    single.take().unwrap()
}

/// Models that take bytes, RGB, rows first.
fn bare_detection(model: &Arc<dyn Model>, picture: &[u8]) -> Step {
    let spec = model.signature().inputs[0].clone();
    let (shape, model) = (spec.wire_shape(), model.clone());
    let size = (shape[2] as u32, shape[1] as u32);
    let mut pixels = bare_pixels(picture.to_vec(), size);
    let mut session = model.session().unwrap();
    Box::new(move || {
        let tensor = Tensor::from_values(shape.clone(), pixels()).unwrap();
        let inputs = model.signature().bind(vec![NamedTensor::new(spec.name.clone(), tensor)]).unwrap();
        black_box(run(&mut *session, &inputs));
    })
}

fn wrapped_detection(model: &Arc<dyn Model>, picture: &[u8]) -> Step {
    let tensor = Tensor::from_strings(vec![1], &[picture]).unwrap();
    let inputs = model.signature().bind(vec![NamedTensor::new("image", tensor)]).unwrap();
    let mut session = model.session().unwrap();
    Box::new(move || {
        black_box(run(&mut *session, &inputs));
    })
}

/// A picture in, JSON out, over a connection that is kept.
fn served_detection(address: &str, service: &str, picture: &[u8]) -> Step {
    let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
    stream.get_mut().set_nodelay(true).unwrap();
    let head = format!(
        "POST /services/{service}/methods/detect HTTP/1.1\r\nhost: {address}\r\ncontent-type: image/jpeg\r\n\
         content-length: {}\r\n\r\n",
        picture.len()
    );
    let request = [head.as_bytes(), picture].concat();
    Box::new(move || {
        stream.get_mut().write_all(&request).unwrap();
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            stream.read_line(&mut line).unwrap();
            assert!(!line.starts_with("HTTP/") || line.contains(" 200 "), "{line}");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        assert!(body.starts_with(b"{\"detections\":[{"));
    })
}
