//! HTTP/1.1 as a stranger speaks it: blocking, over plain sockets, with any header and any body.
//!
//! Stories send what no well-behaved client would (foreign `Host`, no body, a body that lies), so they do
//! not go through one. Answers are read to their end.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long one read or write may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request; `Host` and `Content-Length` are added where they are not given.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// A `GET`.
    pub fn get(path: &str) -> Self {
        Self { method: "GET".to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// A `POST` of JSON.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { method: "POST".to_owned(), path: path.to_owned(), headers, body: body.into() }
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    fn write(&self, port: u16) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.has("host") {
            head += &format!("host: 127.0.0.1:{port}\r\n");
        }
        let is_bare = self.method == "GET" && self.body.is_empty();
        if !is_bare && !self.has("content-length") {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        [head.as_bytes(), &self.body].concat()
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lowercase.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One keep-alive connection to a server of this machine.
pub struct Connection {
    port: u16,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { port, stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        self.stream.get_mut().write_all(&request.write(self.port))?;
        let mut answer = self.read_head()?;
        let has_body = request.method != "HEAD" && !matches!(answer.status, 204 | 304);
        if has_body {
            self.read_body(&mut answer)?;
        }
        Ok(answer)
    }

    fn read_head(&mut self) -> io::Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| odd(format!("`{first}` is no status line")))?;
        let mut answer = Answer { status, ..Answer::default() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(answer);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| odd(format!("`{line}` is no header")))?;
            answer.headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    fn read_body(&mut self, answer: &mut Answer) -> io::Result<()> {
        if answer.header("transfer-encoding") == "chunked" {
            return self.read_chunks(answer);
        }
        let Ok(length) = answer.header("content-length").parse() else {
            self.stream.read_to_end(&mut answer.body)?;
            return Ok(());
        };
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body)
    }

    fn read_chunks(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size =
                usize::from_str_radix(line.trim(), 16).map_err(|_| odd(format!("chunk of `{line}`")))?;
            let start = answer.body.len();
            answer.body.resize(start + size, 0);
            self.stream.read_exact(&mut answer.body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// Sends one request over a connection of its own.
///
/// # Errors
/// Nobody listens, the connection broke, or what came is not HTTP.
pub fn send(port: u16, request: &Request) -> io::Result<Answer> {
    Connection::open(port)?.send(request)
}

fn odd(text: String) -> io::Error {
    io::Error::other(text)
}
