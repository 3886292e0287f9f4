//! Values by key, with where each came from: default < file < environment < flag.
//!
//! A key has one name, written `limits.request_bytes` in messages and flags, as a section and a field
//! in `tenon.toml`, and as `TENON_LIMITS_REQUEST_BYTES` in the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::keys::{KEYS, Key};

/// Environment variables of the same family that are no keys of the server.
const OF_OTHERS: [&str; 7] = [
    "TENON_CONFIG",
    "TENON_SERVER",
    "TENON_TOKEN_FILE",
    "TENON_CA_FILE",
    "TENON_BLESS",
    "TENON_MODELS",
    FAULT,
];

/// The variable of faults on purpose (`crate::faults`): no key, because nobody but a test shall set it.
pub(super) const FAULT: &str = "TENON_FAULT";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A line of the file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The value; environment and flags give texts, which their key understands.
    pub value: toml::Value,
    /// From where.
    pub origin: Origin,
}

/// The layers, one upon the other. Only known keys are in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    values: BTreeMap<&'static str, Given>,
    /// Variables of the environment that look like keys and are none.
    ignored: Vec<String>,
    /// What [`FAULT`] says.
    pub(super) fault: Option<String>,
}

impl Raw {
    /// Every key with its default.
    pub fn defaults() -> Self {
        let given = |key: &Key| (key.name, Given { value: (key.default)(), origin: Origin::Default });
        Self { values: KEYS.iter().map(given).collect(), ignored: Vec::new(), fault: None }
    }

    /// Lays a `tenon.toml` upon what is there.
    ///
    /// # Errors
    /// Not TOML, or a key that nobody knows.
    pub fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let origin = Origin::File(path.to_owned());
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::file(path, error.to_string().trim_end()))?;
        for (name, value) in table {
            match value {
                toml::Value::Table(section) => {
                    for (field, value) in section {
                        self.give(&format!("{name}.{field}"), value, origin.clone())?;
                    }
                }
                value => self.give(&name, value, origin.clone())?,
            }
        }
        Ok(())
    }

    /// Lays the variables `TENON_*` upon what is there. One that is no key is only noted: platforms put
    /// variables of their own beside ours, such as `TENON_PORT` for a service called tenon.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (variable, value) in variables.filter(|(name, _)| name.starts_with("TENON_")) {
            let origin = Origin::Environment(variable.clone());
            match KEYS.iter().find(|key| variable_of(key.name) == variable) {
                Some(key) => {
                    self.values.insert(key.name, Given { value: toml::Value::String(value), origin });
                }
                None if variable == FAULT => self.fault = Some(value),
                None if OF_OTHERS.contains(&variable.as_str()) => {}
                None => self.ignored.push(variable),
            }
        }
    }

    /// Variables of the environment that were passed over, with the key that was probably meant.
    pub fn ignored(&self) -> impl Iterator<Item = (&str, Option<&'static str>)> {
        self.ignored.iter().map(|variable| (variable.as_str(), nearest(variable)))
    }

    /// Lays the value of a flag upon what is there.
    ///
    /// # Errors
    /// A key that nobody knows.
    pub fn flag(&mut self, key: &str, value: String, flag: &'static str) -> Result<(), ConfigError> {
        self.give(key, toml::Value::String(value), Origin::Flag(flag))
    }

    /// Every key with its value, in the order of names; for `tenon config show`.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Given)> {
        self.values.iter().map(|(name, given)| (*name, given))
    }

    /// The value of a known key.
    pub(super) fn at(&self, key: &'static str) -> &Given {
        &self.values[key]
    }

    fn give(&mut self, name: &str, value: toml::Value, origin: Origin) -> Result<(), ConfigError> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let text = match nearest(name) {
                Some(near) => format!("no such key; did you mean `{near}`?"),
                None => format!("no such key; there are {}", names().join(", ")),
            };
            return Err(ConfigError { key: name.to_owned(), origin, text });
        };
        self.values.insert(key.name, Given { value, origin });
        Ok(())
    }
}

/// The environment variable of a key.
pub fn variable_of(key: &str) -> String {
    format!("TENON_{}", key.replace('.', "_").to_uppercase())
}

fn names() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.name).collect()
}

/// The key that was probably meant: same letters but for a few.
fn nearest(name: &str) -> Option<&'static str> {
    let plain = |text: &str| text.trim_start_matches("TENON_").replace(['_', '.', '-'], "").to_lowercase();
    let wanted = plain(name);
    let distance = |key: &&'static str| changes(&plain(key), &wanted);
    names().into_iter().min_by_key(distance).filter(|key| distance(key) <= 2)
}

/// Letters to change, add or take away to make `b` of `a`.
fn changes(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut above_left = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = above_left + usize::from(from != *to);
            above_left = row[j + 1];
            row[j + 1] = changed.min(above_left + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
