//! `config.pbtxt`: what Triton's configuration of a model says that we obey, and what we refuse by name.
//!
//! What only tunes Triton (batching, instances, rate limits, caches, metrics) is read over: the server chooses for
//! itself. What would change answers and is not done here makes the model one that is not run.

use tenon_codec::textproto::{self, Message, TextLimits};
use tenon_contract::{Datatype, Fault};

use super::declared::{Declared, Tensor};
use super::warmup::{self, Sample};

/// Name of the file.
pub(crate) const CONFIG: &str = "config.pbtxt";

/// Every field that Triton knows at the top.
const FIELDS: [&str; 25] = [
    "name",
    "platform",
    "backend",
    "runtime",
    "version_policy",
    "max_batch_size",
    "input",
    "output",
    "batch_input",
    "batch_output",
    "optimization",
    "dynamic_batching",
    "sequence_batching",
    "ensemble_scheduling",
    "instance_group",
    "default_model_filename",
    "cc_model_filenames",
    "metric_tags",
    "parameters",
    "model_warmup",
    "model_operations",
    "model_transaction_policy",
    "model_repository_agents",
    "response_cache",
    "model_metrics",
];

/// Which versions of a model are meant to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The highest numbers, this many.
    Latest(usize),
    All,
    Specific(Vec<u64>),
}

impl Default for Policy {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl Policy {
    /// Which of these numbers, highest first, are kept.
    pub(crate) fn keeps(&self, place: usize, number: u64) -> bool {
        match self {
            Self::Latest(count) => place < *count,
            Self::All => true,
            Self::Specific(numbers) => numbers.contains(&number),
        }
    }
}

/// What a configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) filename: Option<String>,
    pub(crate) declared: Declared,
    pub(crate) samples: Vec<Sample>,
}

/// Reads the configuration of the model in the folder `folder`.
///
/// # Errors
/// It is wrong, with line and column; or the model is one that is not run here, with the reason.
pub(crate) fn read(text: &[u8], folder: &str) -> Result<Config, Fault> {
    let config = textproto::read(text, &TextLimits::default())?;
    config.only(&FIELDS)?;
    if let Some(name) = config.text("name")?.filter(|name| !name.is_empty() && *name != folder) {
        return Err(Fault::invalid(format!("`name` is `{name}`, the folder is `{folder}`")));
    }
    runs_here(&config)?;
    let batched = config.integer::<i32>("max_batch_size")?.unwrap_or(0) > 0;
    let tensors = |field: &str| -> Result<Vec<Tensor>, Fault> {
        config.messages(field)?.into_iter().map(|tensor| read_tensor(tensor, batched)).collect()
    };
    Ok(Config {
        policy: read_policy(&config)?,
        filename: config.text("default_model_filename")?.filter(|name| !name.is_empty()).map(str::to_owned),
        declared: Declared { inputs: tensors("input")?, outputs: tensors("output")? },
        samples: warmup::read(&config, batched)?,
    })
}

/// Refuses what the ONNX runtime would not do, or not alike.
fn runs_here(config: &Message) -> Result<(), Fault> {
    let unsupported = |text: String| Err(Fault::new(tenon_contract::FaultKind::Unsupported, text));
    if config.one("ensemble_scheduling")?.is_some() {
        return unsupported("it is an ensemble; only its members are served".to_owned());
    }
    let engines = [("platform", "onnxruntime_onnx"), ("backend", "onnxruntime")];
    for (field, ours) in engines {
        if let Some(engine) = config.text(field)?.filter(|engine| !engine.is_empty() && *engine != ours) {
            return unsupported(format!(
                "its {field} is `{engine}`; this build runs ONNX: export the model as ONNX"
            ));
        }
    }
    let undone = [
        ("sequence_batching", "sequences, which are not kept between requests"),
        ("batch_input", "inputs that a batcher makes"),
        ("batch_output", "outputs that a batcher splits"),
    ];
    for (field, what) in undone {
        if !config.messages(field)?.is_empty() {
            return unsupported(format!("`{field}` asks for {what}; that is not part of this server"));
        }
    }
    if config.message("model_transaction_policy")?.map_or(Ok(false), |policy| policy.truth("decoupled"))? {
        return unsupported("`decoupled` answers are not part of the ONNX runtime".to_owned());
    }
    if let Some(operations) = config.message("model_operations")?
        && operations.one("op_library_filename")?.is_some()
    {
        return unsupported("libraries of custom operators are not loaded".to_owned());
    }
    if let Some(file) = config.text("default_model_filename")?.filter(|file| file.contains(['/', '\\'])) {
        return unsupported(format!("`default_model_filename`: `{file}` is no name of a file"));
    }
    Ok(())
}

fn read_policy(config: &Message) -> Result<Policy, Fault> {
    let Some(policy) = config.message("version_policy")? else { return Ok(Policy::default()) };
    policy.only(&["latest", "all", "specific"])?;
    if policy.fields().len() > 1 {
        return Err(Fault::invalid(format!(
            "{}: `version_policy`: expected one of `latest`, `all`, `specific`",
            policy.fields()[1].place
        )));
    }
    if let Some(latest) = policy.message("latest")? {
        let count = latest.integer::<u32>("num_versions")?.unwrap_or(1);
        return Ok(Policy::Latest(count.max(1) as usize));
    }
    if let Some(specific) = policy.message("specific")? {
        return Ok(Policy::Specific(specific.integers("versions")?));
    }
    Ok(if policy.message("all")?.is_some() { Policy::All } else { Policy::default() })
}

fn read_tensor(tensor: &Message, batched: bool) -> Result<Tensor, Fault> {
    let name = tensor.text("name")?.unwrap_or_default().to_owned();
    let datatype = read_datatype(tensor)?;
    let dims: Vec<i64> = tensor.integers("dims")?;
    let undone = [
        ("allow_ragged_batch", "rows of different shapes"),
        ("optional", "an input that may be left out"),
        ("is_shape_tensor", "a tensor that is a shape"),
    ];
    for (field, what) in undone {
        if tensor.truth(field)? {
            let text = format!("`{name}` is {what} (`{field}`); that is not part of this server");
            return Err(Fault::new(tenon_contract::FaultKind::Unsupported, text));
        }
    }
    if let Some(reshape) = tensor.message("reshape")?
        && reshape.integers::<i64>("shape")? != dims
    {
        let text =
            format!("`{name}` has a `reshape`; callers must send the model's own shape here: take it out");
        return Err(Fault::new(tenon_contract::FaultKind::Unsupported, text));
    }
    let shape = if batched { [&[-1], &dims[..]].concat() } else { dims };
    Ok(Tensor { name, datatype, shape })
}

pub(super) fn read_datatype(tensor: &Message) -> Result<Datatype, Fault> {
    let Some(field) = tensor.one("data_type")? else {
        return Err(Fault::invalid("a tensor without `data_type`"));
    };
    let word = tensor.word("data_type")?.unwrap_or_default();
    let name = match word.strip_prefix("TYPE_") {
        Some("STRING") => "BYTES",
        Some(name) => name,
        None => return Err(field.expected("a datatype such as TYPE_FP32")),
    };
    name.parse().map_err(|_| field.expected("a datatype such as TYPE_FP32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = r#"
        name: "digits" platform: "onnxruntime_onnx" max_batch_size: 8
        input [ { name: "pixels" data_type: TYPE_FP32 dims: [ 64 ] } ]
        output [ { name: "label" data_type: TYPE_INT64 dims: [] label_filename: "l.txt" } ]
        instance_group [ { count: 2 kind: KIND_CPU } ] dynamic_batching { max_queue_delay_microseconds: 100 }
        "#;

    #[test]
    fn what_is_obeyed_is_read() {
        let config = read(DIGITS.as_bytes(), "digits").unwrap();
        assert_eq!(config.policy, Policy::Latest(1));
        let [pixels] = &config.declared.inputs[..] else { panic!("{config:?}") };
        assert_eq!(
            (pixels.name.as_str(), pixels.datatype, &pixels.shape[..]),
            ("pixels", Datatype::Fp32, &[-1, 64][..])
        );
        assert_eq!(config.declared.outputs[0].shape, [-1]);
        let policy =
            |text: &str| read(format!("version_policy {{ {text} }}").as_bytes(), "x").unwrap().policy;
        assert_eq!(policy(""), Policy::Latest(1));
        assert_eq!(policy("latest { num_versions: 3 }"), Policy::Latest(3));
        assert_eq!(policy("all { }"), Policy::All);
        assert_eq!(policy("specific: { versions: [1, 4] }"), Policy::Specific(vec![1, 4]));
        assert_eq!(
            read(b"default_model_filename: \"m.onnx\"", "x").unwrap().filename.as_deref(),
            Some("m.onnx")
        );
        assert!(
            read(b"input { name: 'x' data_type: TYPE_STRING dims: 1 reshape { shape: 1 } }", "x").is_ok()
        );
    }

    #[test]
    fn no_change_of_a_byte_breaks_it() {
        let whole =
            format!("{DIGITS} model_warmup {{ inputs {{ key: 'x' value {{ data_type: TYPE_INT8 }} }} }}");
        for at in 0..whole.len() {
            let _ = read(&whole.as_bytes()[..at], "digits");
            for byte in [b'{', b'}', b'[', b'"', b'\\', b'-', b'9', b':', 0, 0xff] {
                let mut changed = whole.clone().into_bytes();
                changed[at] = byte;
                let _ = read(&changed, "digits");
            }
        }
    }

    #[test]
    fn what_is_not_run_is_told() {
        let check = |text: &str, expected: &str| {
            let fault = read(text.as_bytes(), "digits").unwrap_err().text;
            assert!(fault.contains(expected), "{text}: {fault}");
        };
        check("name: \"other\"", "`name` is `other`, the folder is `digits`");
        check("platform: \"tensorflow_savedmodel\"", "its platform is `tensorflow_savedmodel`");
        check("backend: \"python\"", "its backend is `python`");
        check("platform: \"ensemble\" ensemble_scheduling { step [] }", "it is an ensemble");
        check("sequence_batching { }", "sequences, which are not kept");
        check("model_transaction_policy { decoupled: true }", "`decoupled`");
        check("model_operations { op_library_filename: \"x.so\" }", "custom operators");
        check(
            "input { name: 'x' data_type: TYPE_FP32 dims: 1 reshape { shape: [] } }",
            "`x` has a `reshape`",
        );
        check(
            "input { name: 'x' data_type: TYPE_FP32 optional: true }",
            "`x` is an input that may be left out",
        );
        check("default_model_filename: '../m.onnx'", "is no name of a file");
        check("max_batch_sise: 1", "line 1, column 1: no such field `max_batch_sise`");
        check(
            "input { data_type: FP32 }",
            "line 1, column 9: `data_type`: expected a datatype such as TYPE_FP32",
        );
        check("version_policy { all {} latest {} }", "expected one of `latest`, `all`, `specific`");
        check("version_policy { specific { versions: [-1] } }", "expected a number in range, found `-1`");
    }
}
