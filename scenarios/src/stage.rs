//! Where a story is played: its server, what its steps kept, and the comparison with what is expected.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::binary;
use crate::http::{Answer, Request};
use crate::server::{Home, Server, Start, kept_environment};
use crate::story::{Action, Body, Call, Expect, Order, Setup, Story};

/// Numbers of answers are compared up to this much: models compute in FP32.
const TOLERANCE: f64 = 1e-4;

/// Plays a story from its beginning to its end.
///
/// # Errors
/// The first step that does not come out as expected, with what was seen.
pub fn play(text: &str) -> Result<()> {
    play_story(Story::read(text)?)
}

/// The same of a story that is read.
///
/// # Errors
/// As above.
pub fn play_story(story: Story) -> Result<()> {
    let mut stage = Stage::new(story.server.clone())?;
    if !story.server.by_hand {
        stage.order(Order::Start)?;
    }
    for (index, step) in story.steps.iter().enumerate() {
        let played = stage.step(&step.action, &step.expect);
        played.with_context(|| format!("story \"{}\", step {}: {}", story.about, index + 1, step.what))?;
    }
    Ok(())
}

struct Stage {
    home: Home,
    setup: Setup,
    server: Option<Server>,
    port: u16,
    kept: BTreeMap<String, String>,
}

/// What came of a step.
#[derive(Default)]
struct Seen {
    code: i64,
    headers: Vec<(String, String)>,
    /// The answer: body, or standard output.
    answer: String,
    /// All that was said: with standard error.
    text: String,
}

impl Stage {
    fn new(setup: Setup) -> Result<Self> {
        let home = Home::new()?;
        let port = crate::server::free_port();
        let path = |name: &str| (name.to_owned(), home.path(name).display().to_string());
        let mut kept = BTreeMap::from(["data", "outside", "log", "tmp"].map(path));
        kept.insert("home".to_owned(), home.path("").display().to_string());
        kept.insert("port".to_owned(), port.to_string());
        kept.insert("url".to_owned(), format!("http://127.0.0.1:{port}"));
        Ok(Self { home, setup, server: None, port, kept })
    }

    /// Does a step, again and again if it may take its time, and compares.
    fn step(&mut self, action: &Action, expect: &Expect) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(expect.within_s);
        loop {
            let seen = match action {
                Action::Run(line) => self.run(line)?,
                Action::Request(call) => self.request(call)?,
                Action::Server(order) => self.order(*order)?,
            };
            match self.compare(&seen, expect) {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(error.context(seen.described())),
                Ok(()) => return self.keep(&seen, expect),
            }
        }
    }

    /// A command line, as a person at a terminal writes it.
    fn run(&self, line: &str) -> Result<Seen> {
        let binary = binary::tenon()?;
        let folder = binary.parent().context("find the folder of the binary")?;
        let mut command = Command::new("sh");
        command.args(["-eu", "-c", line]).current_dir(binary::repository()).env_clear();
        command.envs(kept_environment()).envs(&self.kept);
        command.env("TENON_SERVER", &self.kept["url"]).env("TENON_DATA", &self.kept["data"]);
        let (_, path) = kept_environment().find(|(name, _)| name == "PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", folder.display()));
        let output = command.output().context("start sh")?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = format!("{answer}{}", String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().map_or(-1, i64::from);
        Ok(Seen { code, headers: Vec::new(), answer, text })
    }

    fn request(&self, call: &Call) -> Result<Seen> {
        let body = match &call.body {
            Body::Text(text) => self.filled(text)?.into_bytes(),
            Body::File(path) => {
                let path = self.filled(path)?;
                std::fs::read(binary::repository().join(&path)).with_context(|| format!("read {path}"))?
            }
        };
        let mut headers = Vec::new();
        for (name, value) in &call.headers {
            headers.push((name.clone(), self.filled(value)?));
        }
        let request = Request { method: call.method.clone(), path: self.filled(&call.path)?, headers, body };
        let answer = crate::http::send(self.port, &request).context("send the request")?;
        let text = answer.text();
        let Answer { status, headers, .. } = answer;
        Ok(Seen { code: status.into(), headers, answer: text.clone(), text })
    }

    fn order(&mut self, order: Order) -> Result<Seen> {
        match order {
            Order::Start => self.start()?,
            Order::Kill => self.running()?.kill()?,
            Order::Restart => {
                self.running()?.kill()?;
                self.start()?;
            }
            Order::Stop => {
                let status = self.running()?.stop()?;
                ensure!(status.success(), "the server ended with {status}; its log:\n{}", self.home.log());
            }
        }
        Ok(Seen::default())
    }

    fn start(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        let mut start = Start { port: Some(self.port), ..Start::default() };
        for flag in &self.setup.flags {
            start.flags.push(self.filled(flag)?);
        }
        for (name, value) in &self.setup.env {
            start = start.with(name, &self.filled(value)?);
        }
        self.server = Some(Server::start(&self.home, &start)?);
        let token = std::fs::read_to_string(self.home.data().join("admin.token")).unwrap_or_default();
        self.kept.insert("token".to_owned(), token.trim().to_owned());
        Ok(())
    }

    fn running(&mut self) -> Result<Server> {
        self.server.take().context("no server runs")
    }

    fn compare(&self, seen: &Seen, expect: &Expect) -> Result<()> {
        ensure!(seen.code == expect.code, "expected the code {}, found {}", expect.code, seen.code);
        for (name, expected) in &expect.header {
            let (expected, found) = (self.filled(expected)?, seen.header(name));
            ensure!(found == expected, "expected the header {name}: `{expected}`, found `{found}`");
        }
        if !expect.json.is_empty() {
            let document = seen.json()?;
            for (pointer, expected) in &expect.json {
                let found = document.pointer(pointer).unwrap_or(&Value::Null);
                let expected = self.filled_value(expected)?;
                ensure!(same(found, &expected), "expected {expected} at {pointer}, found {found}");
            }
        }
        for text in &expect.text {
            let text = self.filled(text)?;
            ensure!(seen.text.contains(&text), "expected the text `{text}`");
        }
        for text in &expect.not {
            let text = self.filled(text)?;
            ensure!(!seen.text.contains(&text), "did not expect the text `{text}`");
        }
        Ok(())
    }

    fn keep(&mut self, seen: &Seen, expect: &Expect) -> Result<()> {
        for (name, from) in &expect.keep {
            let value = match from.strip_prefix("header:") {
                Some(header) => seen.header(header).to_owned(),
                None if from == "text" => seen.answer.trim().to_owned(),
                None => match seen.json()?.pointer(from) {
                    Some(Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => bail!("nothing at {from} to keep as {name}"),
                },
            };
            ensure!(!value.is_empty(), "nothing at {from} to keep as {name}");
            self.kept.insert(name.clone(), value);
        }
        Ok(())
    }

    /// A text with what was kept in the place of `${name}`.
    fn filled(&self, text: &str) -> Result<String> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, behind)) = rest.split_once("${") {
            let (name, after) = behind.split_once('}').context("`${` without `}`")?;
            let value = self.kept.get(name).with_context(|| format!("no step has kept `{name}`"))?;
            filled.extend([before, value]);
            rest = after;
        }
        Ok(filled + rest)
    }

    fn filled_value(&self, value: &Value) -> Result<Value> {
        match value {
            Value::String(text) => self.filled(text).map(Value::String),
            value => Ok(value.clone()),
        }
    }
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.answer).context("the answer is not JSON")
    }

    fn described(&self) -> String {
        let text: String = self.text.chars().take(2000).collect();
        format!("seen: code {}, headers {:?}\n{text}", self.code, self.headers)
    }
}

/// Whether two values are the same, numbers up to a tolerance. An empty text stands for nothing, which TOML cannot say.
fn same(found: &Value, expected: &Value) -> bool {
    if found.is_null() && *expected == "" {
        return true;
    }
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
        _ => match (found, expected) {
            (Value::Array(found), Value::Array(expected)) => {
                found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| same(a, b))
            }
            _ => found == expected,
        },
    }
}
