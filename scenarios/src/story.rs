//! Stories as they stand in `stories/*.toml`: steps of a command or a request and what is expected of it.
//!
//! ```toml
//! about = "One line: what the story shows"
//!
//! [server]                      # how it is started before the first step
//! flags = ["--demo", "fixtures/digits"]
//! env = { TENON_LIMITS_JOBS = "2" }
//! by_hand = true                # or not before a step says so
//!
//! [[step]]
//! what = "a command line; `tenon` is the built binary and finds the server"
//! run = "tenon swap digits digits/2"
//! exit = 0                      # where nothing is said
//! text = ["digits/1"]           # in what it prints
//! not = ["panicked"]
//!
//! [[step]]
//! what = "a request"
//! request = "POST /v2/models/digits/infer"
//! send = { host = "example.com" }
//! body_file = "fixtures/digits/request.json"
//! status = 200                  # where nothing is said
//! header = { tenon-version = "digits/2" }
//! json = { "/outputs/0/data/0" = 5, "/parameters/none" = "" }   # "" is nothing
//! keep = { head = "/head", version = "header:tenon-version" }
//!
//! [[step]]
//! what = "what happens to the server"
//! server = "restart"            # start, stop, kill, restart
//! ```
//!
//! `${name}` stands for what an earlier step kept, and for `data`, `outside`, `home`, `url`, `port`, `log`, `token`.
//! A step with `within_s` is repeated until it holds.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// A story.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// What it shows.
    pub about: String,
    /// How its server is started.
    #[serde(default)]
    pub server: Setup,
    /// What happens, in order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// How a server is started.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// Flags behind `tenon serve`.
    pub flags: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// A step starts it.
    pub by_hand: bool,
}

/// One step.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawStep")]
pub struct Step {
    /// What it shows.
    pub what: String,
    /// What is done.
    pub action: Action,
    /// What comes of it.
    pub expect: Expect,
}

/// What is done in a step.
#[derive(Debug)]
pub enum Action {
    /// A command line.
    Run(String),
    /// A request.
    Request(Call),
    /// Something happens to the server.
    Server(Order),
}

/// A request before its variables are filled in.
#[derive(Debug)]
pub struct Call {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Body,
}

/// Body of a request.
#[derive(Debug)]
pub enum Body {
    /// As it stands.
    Text(String),
    /// The content of a file, from the root of the repository.
    File(String),
}

/// What happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// It is started and answers.
    Start,
    /// It is asked to end, and ends well.
    Stop,
    /// It is killed.
    Kill,
    /// It is killed and started again.
    Restart,
}

/// What is expected of a step.
#[derive(Debug, Default)]
pub struct Expect {
    /// Exit code, or status.
    pub code: i64,
    /// Headers, exactly.
    pub header: BTreeMap<String, String>,
    /// Values by JSON pointer.
    pub json: BTreeMap<String, Value>,
    /// Texts that must be there.
    pub text: Vec<String>,
    /// Texts that must not be there.
    pub not: Vec<String>,
    /// What later steps use: name to JSON pointer, or `header:NAME`, or `text`.
    pub keep: BTreeMap<String, String>,
    /// Until when it must hold, seconds.
    pub within_s: u64,
}

/// A step as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    what: String,
    run: Option<String>,
    request: Option<String>,
    server: Option<Order>,
    #[serde(default)]
    send: BTreeMap<String, String>,
    body: Option<String>,
    body_file: Option<String>,
    exit: Option<i64>,
    status: Option<i64>,
    #[serde(default)]
    header: BTreeMap<String, String>,
    #[serde(default)]
    json: BTreeMap<String, Value>,
    #[serde(default)]
    text: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
    #[serde(default)]
    keep: BTreeMap<String, String>,
    #[serde(default)]
    within_s: u64,
}

impl Story {
    /// Reads a story.
    ///
    /// # Errors
    /// Not TOML, an unknown key, a step that does nothing or two things.
    pub fn read(text: &str) -> Result<Self> {
        toml::from_str(text).context("read the story")
    }
}

impl TryFrom<RawStep> for Step {
    type Error = anyhow::Error;

    fn try_from(raw: RawStep) -> Result<Self> {
        let what = raw.what.clone();
        let is_request = raw.request.is_some();
        let code = match (raw.exit, raw.status) {
            (Some(_), _) if is_request => bail!("step `{what}`: a request has a status"),
            (_, Some(_)) if !is_request => bail!("step `{what}`: a command has an exit code"),
            (Some(code), _) | (_, Some(code)) => code,
            (None, None) => {
                if is_request {
                    200
                } else {
                    0
                }
            }
        };
        let action = match (&raw.run, &raw.request, raw.server) {
            (Some(line), None, None) => Action::Run(line.clone()),
            (None, Some(line), None) => Action::Request(raw.call(line)?),
            (None, None, Some(order)) => Action::Server(order),
            _ => bail!("step `{what}`: expected one of `run`, `request` and `server`"),
        };
        let RawStep { header, json, text, not, keep, within_s, .. } = raw;
        Ok(Self { what, action, expect: Expect { code, header, json, text, not, keep, within_s } })
    }
}

impl RawStep {
    fn call(&self, line: &str) -> Result<Call> {
        let (method, path) = line.split_once(' ').context("a request is `METHOD /path`")?;
        let body = match (&self.body, &self.body_file) {
            (Some(_), Some(_)) => bail!("step `{}`: one body is enough", self.what),
            (_, Some(file)) => Body::File(file.clone()),
            (text, None) => Body::Text(text.clone().unwrap_or_default()),
        };
        Ok(Call { method: method.to_owned(), path: path.to_owned(), headers: self.send.clone(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_do_one_thing() {
        let check = |step: &str, expected: &str| {
            let story = Story::read(&format!("about = 'x'\n[[step]]\nwhat = 'y'\n{step}"));
            let found = story.map_or_else(|error| format!("{error:#}"), |story| format!("{story:?}"));
            assert!(found.contains(expected), "{found} does not say {expected}");
        };
        check("run = 'tenon services'", "Run(\"tenon services\")");
        check("request = 'GET /livez'", "code: 200");
        check("server = 'kill'", "Kill");
        check("", "expected one of");
        check("run = 'a'\nserver = 'kill'", "expected one of");
        check("run = 'a'\nstatus = 200", "has an exit code");
        check("request = 'GET /'\nexit = 1", "has a status");
        check("run = 'a'\nstdout = 'b'", "unknown field");
    }
}
