//! The leanest closed loop over HTTP/1.1: the same bytes sent again as soon as their answer is there.
//!
//! It shares the machine with what it measures, so every microsecond of its own is charged to the server. It looks at
//! status and length of an answer and at nothing else; `tenon bench` has the load that judges what it gets.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tenon_client::load::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// What a loop came to.
pub(crate) struct Closed {
    pub(crate) latency: Histogram,
    pub(crate) elapsed: Duration,
}

/// Sends `request` over each of `connections` connections for so long, on this thread.
///
/// # Errors
/// A connection broke, or an answer was not 200.
pub(crate) fn run(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    duration: Duration,
) -> Result<Closed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request: Rc<[u8]> = request.into();
    LocalSet::new().block_on(&runtime, async move {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream =
                TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let begun = Instant::now();
        let end = begun + duration;
        let loops: Vec<_> = streams
            .into_iter()
            .map(|stream| tokio::task::spawn_local(one(stream, Rc::clone(&request), end)))
            .collect();
        let mut latency = Histogram::default();
        for each in loops {
            latency.add(&each.await??);
        }
        ensure!(latency.count() > 0, "no answer in {duration:?}");
        Ok(Closed { latency, elapsed: begun.elapsed() })
    })
}

async fn one(mut stream: TcpStream, request: Rc<[u8]>, end: Instant) -> Result<Histogram> {
    let mut latency = Histogram::default();
    let mut buffer = vec![0; 64 << 10];
    let mut sent = Instant::now();
    while sent < end {
        stream.write_all(&request).await?;
        let mut held = 0;
        let total = loop {
            let read = stream.read(&mut buffer[held..]).await?;
            ensure!(read > 0, "the server closed the connection");
            held += read;
            if let Some(total) = length(&buffer[..held])? {
                break total;
            }
            ensure!(held < buffer.len(), "the head of an answer is longer than {held} bytes");
        };
        let mut left = total.saturating_sub(held);
        while left > 0 {
            let room = left.min(buffer.len());
            let read = stream.read(&mut buffer[..room]).await?;
            ensure!(read > 0, "the server closed the connection");
            left -= read;
        }
        let now = Instant::now();
        latency.record(now - sent);
        sent = now;
    }
    Ok(latency)
}

/// Length of the whole answer, once its head is there.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).context("the head of an answer is no text")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "answered with {head}");
    for line in head.split("\r\n").skip(1) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(Some(end + 4 + value.trim().parse::<usize>()?));
        }
    }
    bail!("an answer has no content-length: {head}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_its_head_says() {
        let whole = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(length(whole).unwrap(), Some(whole.len()));
        assert_eq!(length(&whole[..30]).unwrap(), None);
        assert!(length(b"HTTP/1.1 503 No\r\n\r\n").is_err());
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
