//! `examples.json` of a bundle: requests with their right answers.
//!
//! `{"version":1,"engine"?,"tolerance"?:{"absolute","relative"},"examples":[{"inputs":[],"outputs":[]}]}`,
//! tensors as the Open Inference Protocol writes them in JSON. Unknown keys are ignored, but for those of
//! the tolerance; a later version is refused.

use std::ops::Range;

use bytes::Bytes;
use tenon_contract::{Example, Examples, Fault, Tolerance};

use crate::Limits;
use crate::json::reader::{once, required, shown};
use crate::json::{Reader, number, write};
use crate::limits::exceeded;
use crate::oip::{Form, TensorList, write_tensor};

/// The version that is written, and the last that is read.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleFile {
    /// The engine that gave the answers, with its version.
    pub engine: Option<String>,
    /// The examples and how far an answer may be off.
    pub examples: Examples,
}

/// Where the tensors of an example are among those of the file.
struct Places {
    inputs: Range<usize>,
    outputs: Range<usize>,
}

/// Reads the file. All payloads share one allocation.
///
/// # Errors
/// `Invalid` with the example, tensor and element that is wrong, `TooLarge` with the limit that is exceeded.
pub fn read(file: &[u8], limits: &Limits) -> Result<ExampleFile, Fault> {
    read_file(file, limits).map_err(|fault| fault.during("read examples"))
}

fn read_file(file: &[u8], limits: &Limits) -> Result<ExampleFile, Fault> {
    let mut reader = Reader::new(file, limits.depth)?;
    let mut tensors = TensorList::new(limits);
    let (mut version, mut engine, mut tolerance, mut places) = (None, None, None, None);
    reader.object(|reader, key| match key {
        "version" => once(&mut version, key, read_version(reader)?),
        "engine" if reader.null() => Ok(()),
        "engine" => once(&mut engine, key, reader.string()?.into_owned()),
        "tolerance" => {
            once(&mut tolerance, key, read_tolerance(reader).map_err(|fault| fault.during("tolerance"))?)
        }
        "examples" => once(&mut places, key, read_examples(reader, &mut tensors, limits)?),
        _ => reader.skip(),
    })?;
    reader.end()?;
    required(version, "version")?;
    let places: Vec<Places> = required(places, "examples")?;
    let tensors = tensors.finish(&Bytes::new(), 0)?;
    let example = |places: Places| Example {
        inputs: tensors[places.inputs].to_vec(),
        outputs: tensors[places.outputs].to_vec(),
    };
    let examples = places.into_iter().map(example).collect();
    Ok(ExampleFile { engine, examples: Examples { tolerance: tolerance.unwrap_or_default(), examples } })
}

fn read_version(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    let version = reader.unsigned("a version")?;
    if version == VERSION {
        return Ok(version);
    }
    Err(Fault::invalid(format!("expected version {VERSION}, found {version}: a later Tenon may read it")))
}

fn read_tolerance(reader: &mut Reader<'_>) -> Result<Tolerance, Fault> {
    let (mut absolute, mut relative) = (None, None);
    reader.object(|reader, key| match key {
        "absolute" => once(&mut absolute, key, read_distance(reader)?),
        "relative" => once(&mut relative, key, read_distance(reader)?),
        _ => Err(Fault::invalid(format!("expected `absolute` and `relative`, found `{}`", shown(key)))),
    })?;
    Ok(Tolerance { absolute: required(absolute, "absolute")?, relative: required(relative, "relative")? })
}

fn read_distance(reader: &mut Reader<'_>) -> Result<f64, Fault> {
    reader.skip_whitespace();
    match number::float64(reader.rest()).filter(|(distance, _)| *distance >= 0.0) {
        Some((distance, length)) => {
            reader.advance(length);
            Ok(distance)
        }
        None => Err(reader.expected("a number of 0 or more")),
    }
}

fn read_examples<'a>(
    reader: &mut Reader<'a>,
    tensors: &mut TensorList<'_>,
    limits: &Limits,
) -> Result<Vec<Places>, Fault> {
    let mut places = Vec::new();
    reader.array(|reader, index| {
        if index == limits.examples {
            return Err(exceeded("examples", limits.examples));
        }
        let read = read_example(reader, tensors);
        places.push(read.map_err(|fault| fault.during(format_args!("example {index}")))?);
        Ok(())
    })?;
    Ok(places)
}

fn read_example(reader: &mut Reader<'_>, tensors: &mut TensorList<'_>) -> Result<Places, Fault> {
    let (mut inputs, mut outputs) = (None, None);
    reader.object(|reader, key| match key {
        "inputs" => once(&mut inputs, key, tensors.read(reader, "input")?),
        "outputs" => once(&mut outputs, key, tensors.read(reader, "output")?),
        _ => reader.skip(),
    })?;
    Ok(Places { inputs: required(inputs, "inputs")?, outputs: required(outputs, "outputs")? })
}

/// Writes the file, one line for each example.
///
/// # Errors
/// `Invalid` for a BYTES tensor that is not UTF-8.
pub fn write(file: &ExampleFile) -> Result<Vec<u8>, Fault> {
    let mut out = format!("{{\"version\":{VERSION}").into_bytes();
    if let Some(engine) = &file.engine {
        out.extend_from_slice(b",\"engine\":");
        write::string(&mut out, engine);
    }
    let Examples { tolerance, examples } = &file.examples;
    out.extend_from_slice(b",\"tolerance\":{\"absolute\":");
    write::float64(&mut out, tolerance.absolute);
    out.extend_from_slice(b",\"relative\":");
    write::float64(&mut out, tolerance.relative);
    out.extend_from_slice(b"},\"examples\":[");
    for (index, example) in examples.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",\n" } else { b"\n" });
        write_example(&mut out, example)
            .map_err(|fault| fault.during(format_args!("write examples: example {index}")))?;
    }
    out.extend_from_slice(b"\n]}\n");
    Ok(out)
}

fn write_example(out: &mut Vec<u8>, example: &Example) -> Result<(), Fault> {
    for (opening, tensors) in [("{\"inputs\":[", &example.inputs), ("],\"outputs\":[", &example.outputs)] {
        out.extend_from_slice(opening.as_bytes());
        for (index, tensor) in tensors.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_tensor(out, tensor, Form::Json)?;
        }
    }
    out.extend_from_slice(b"]}");
    Ok(())
}
