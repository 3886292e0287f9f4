//! `model-settings.json`: what MLServer's settings of a model say that we obey.

use serde::Deserialize;
use tenon_contract::Fault;

use super::artifact;

/// Name of the file.
pub(crate) const SETTINGS: &str = "model-settings.json";

/// What the settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) name: String,
    /// The version's number: `3`, or `v3`.
    pub(crate) number: Option<u64>,
    /// The artifact as seen from the settings' folder; none is the usual name.
    pub(crate) artifact: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(default)]
    implementation: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    uri: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// Reads the settings.
///
/// # Errors
/// They are wrong, with line and column; or the model is one that is not run here, with the reason.
pub(crate) fn read(text: &[u8]) -> Result<Settings, Fault> {
    let written: Written = serde_json::from_slice(text).map_err(|error| Fault::invalid(error.to_string()))?;
    let parameters = written.parameters.unwrap_or_default();
    let number = parameters.version.as_deref().and_then(read_number);
    let uri = parameters.uri.filter(|uri| !uri.is_empty());
    let artifact = uri.as_deref().map(inside).transpose()?.filter(|path| !path.is_empty());
    match artifact.as_deref().filter(|path| path.ends_with(".onnx")) {
        Some(_) => {}
        // What implements a model elsewhere says what it is; without a file to look at, that is all we know.
        None => refuse_foreign(written.implementation.as_deref(), artifact.as_deref())?,
    }
    Ok(Settings { name: written.name, number, artifact })
}

fn refuse_foreign(implementation: Option<&str>, artifact: Option<&str>) -> Result<(), Fault> {
    let unsupported = |text| Err(Fault::new(tenon_contract::FaultKind::Unsupported, text));
    match (implementation, artifact) {
        (Some(implementation), _) if !implementation.to_ascii_lowercase().contains("onnx") => {
            let name: String = implementation.chars().take(80).collect();
            unsupported(format!(
                "its implementation is `{name}`; this build runs ONNX: export the model as ONNX"
            ))
        }
        (_, Some(path)) => match artifact::foreign([path]) {
            Some(what) => unsupported(artifact::unsupported(what)),
            None => Ok(()),
        },
        (_, None) => Ok(()),
    }
}

/// A path that stays below the settings' folder, without `.`.
fn inside(uri: &str) -> Result<String, Fault> {
    let refused = |what: &str| Fault::invalid(format!("`parameters.uri`: `{uri}` {what}"));
    if uri.contains("://") {
        return Err(refused("is no file of the repository"));
    }
    if uri.starts_with('/') || uri.split('/').any(|part| part == "..") {
        return Err(refused("leads out of the model's folder"));
    }
    let parts: Vec<_> = uri.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(parts.join("/"))
}

fn read_number(version: &str) -> Option<u64> {
    version.strip_prefix(['v', 'V']).unwrap_or(version).parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_is_read() {
        let check = |text: &str, number: Option<u64>, artifact: Option<&str>| {
            let settings = read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!((settings.name.as_str(), settings.number), ("digits", number), "{text}");
            assert_eq!(settings.artifact.as_deref(), artifact, "{text}");
        };
        check(r#"{"name":"digits"}"#, None, None);
        check(
            r#"{"name":"digits","implementation":"mlserver_onnx.OnnxModel","parameters":{"uri":"./m.onnx","version":"v2"}}"#,
            Some(2),
            Some("m.onnx"),
        );
        check(
            r#"{"name":"digits","implementation":"mine.Runtime","parameters":{"uri":"a/m.onnx","version":"7"}}"#,
            Some(7),
            Some("a/m.onnx"),
        );
        check(r#"{"name":"digits","parameters":{"version":"2024-rc"},"inputs":[]}"#, None, None);
    }

    #[test]
    fn what_is_not_run_is_told() {
        let check = |text: &str, expected: &str| {
            let fault = read(text.as_bytes()).unwrap_err().text;
            assert!(fault.contains(expected), "{text}: {fault}");
        };
        check(
            r#"{"name":"d","implementation":"mlserver_sklearn.SKLearnModel"}"#,
            "its implementation is `mlserver_sklearn.SKLearnModel`",
        );
        check(r#"{"name":"d","parameters":{"uri":"./m.joblib"}}"#, "a pickled Python model");
        check(r#"{"name":"d","parameters":{"uri":"../../etc/m.onnx"}}"#, "leads out of the model's folder");
        check(r#"{"name":"d","parameters":{"uri":"/etc/m.onnx"}}"#, "leads out of the model's folder");
        check(r#"{"name":"d","parameters":{"uri":"s3://b/m.onnx"}}"#, "is no file of the repository");
        check(r#"{"name":7}"#, "line 1 column 9");
        check("{}", "missing field `name`");
    }
}
