//! A server under load, seen from outside.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Result;
use tenon_client::load::{Shot, Target};

use crate::blocks::Block;
use crate::{generator, machine};

/// A server and what is sent to it.
pub(crate) struct Served {
    process: u32,
    address: SocketAddr,
    request: Vec<u8>,
}

impl Served {
    /// The server of `process` at `target`, which is sent `shot`.
    pub(crate) fn new(process: u32, target: &Target, shot: &Shot) -> Self {
        Self { process, address: target.address(), request: shot.wire() }
    }

    /// The server of `process` at `address`, which is sent `picture`.
    pub(crate) fn of_picture(process: u32, address: SocketAddr, picture: &Picture<'_>) -> Self {
        Self { process, address, request: picture.wire(address, "keep-alive") }
    }

    /// Keeps `connections` connections busy for so long. The load runs on the cores of this thread.
    ///
    /// # Errors
    /// A request failed: what is not answered is not fast.
    pub(crate) fn block(&self, connections: usize, duration: Duration) -> Result<Block> {
        let before = machine::processor_time(self.process)?;
        let closed = generator::run(self.address, &self.request, connections, duration)?;
        let used = machine::processor_time(self.process)? - before;
        let answers = closed.latency.count();
        let server_us = used.as_secs_f64() * 1e6 / answers as f64;
        let rate = answers as f64 / closed.elapsed.as_secs_f64();
        Ok(Block { rate, p99_us: closed.latency.quantile(0.99).as_secs_f64() * 1e6, server_us })
    }
}

/// A picture as it is posted.
pub(crate) struct Picture<'a> {
    /// Path of the operation.
    pub(crate) path: &'a str,
    /// Its content type.
    pub(crate) kind: &'a str,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

impl Picture<'_> {
    fn wire(&self, address: SocketAddr, connection: &str) -> Vec<u8> {
        let Self { path, kind, bytes } = self;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: {connection}\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n",
            bytes.len()
        );
        [head.as_bytes(), bytes].concat()
    }

    /// The answer of the server at `address` as text, with its head: what is fast has to be right first.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn ask(&self, address: SocketAddr) -> Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(&self.wire(address, "close"))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
