//! A caller of gRPC that costs as little as it can: one request at a time on each connection, frames of HTTP/2
//! laid out before the clock runs.
//!
//! It knows of the protocol what a closed loop of one small call needs and no more. An answer counts when it
//! came as a message of the length that is expected, and the stream was ended behind it.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before the payload of a frame.
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What is called: path, and the message in its frame of gRPC.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) address: String,
    pub(crate) path: &'static str,
    pub(crate) message: Vec<u8>,
    /// Bytes of a right answer's frame, where they are known.
    pub(crate) answer: Option<usize>,
}

/// What one connection saw.
pub(crate) struct Seen {
    /// Times of the answers, microseconds.
    pub(crate) micros: Vec<f64>,
    /// Bytes of the last answer's frame.
    pub(crate) answer: usize,
}

/// Asks on one connection, again and again until `until`, and at least once.
///
/// # Errors
/// What came is no answer, or another one than is expected.
pub(crate) async fn ask(question: &Question, until: Instant) -> Result<Seen> {
    let mut line = Line::open(question).await?;
    let mut seen = Seen { micros: Vec::with_capacity(1 << 16), answer: 0 };
    loop {
        let begun = Instant::now();
        seen.answer = line.call().await?;
        let ended = Instant::now();
        ensure!(
            question.answer.is_none_or(|expected| expected == seen.answer),
            "an answer of {} bytes came where one of {:?} was expected",
            seen.answer,
            question.answer
        );
        seen.micros.push((ended - begun).as_secs_f64() * 1e6);
        if ended >= until {
            return Ok(seen);
        }
    }
}

/// A connection.
struct Line {
    stream: TcpStream,
    /// The next request, all but the number of its stream.
    request: Vec<u8>,
    /// Where in it the number of the stream stands.
    places: [usize; 2],
    /// The request from the second one on: what the first one said of its headers is known by then.
    following: Option<(Vec<u8>, [usize; 2])>,
    number: u32,
    buffer: Vec<u8>,
    /// Bytes taken since the server was last told.
    taken: u32,
}

impl Line {
    async fn open(question: &Question) -> Result<Self> {
        let mut stream = TcpStream::connect(&question.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut hello = PREFACE.to_vec();
        put_frame(&mut hello, SETTINGS, 0, &[]);
        stream.write_all(&hello).await?;
        let (request, places) = request(&first_headers(question), &question.message);
        let following = Some(request_again(&question.message));
        Ok(Self {
            stream,
            request,
            places,
            following,
            number: 1,
            buffer: Vec::with_capacity(16 << 10),
            taken: 0,
        })
    }

    /// Sends a request and reads its answer; gives the bytes of its frame.
    async fn call(&mut self) -> Result<usize> {
        for place in self.places {
            self.request[place..place + 4].copy_from_slice(&self.number.to_be_bytes());
        }
        self.stream.write_all(&self.request).await?;
        let answer = self.answer().await?;
        self.number += 2;
        if let Some((request, places)) = self.following.take() {
            (self.request, self.places) = (request, places);
        }
        if self.taken > 16 << 10 {
            let mut more = Vec::new();
            put_frame(&mut more, WINDOW_UPDATE, 0, &self.taken.to_be_bytes());
            self.stream.write_all(&more).await?;
            self.taken = 0;
        }
        Ok(answer)
    }

    async fn answer(&mut self) -> Result<usize> {
        let mut answer = 0;
        loop {
            let Some((kind, flags, length)) = self.frame() else {
                let read = self.stream.read_buf(&mut self.buffer).await?;
                ensure!(read > 0, "the server closed the connection");
                continue;
            };
            let payload = &self.buffer[HEAD..HEAD + length];
            match kind {
                DATA => {
                    answer += length;
                    self.taken += length as u32;
                }
                PING if flags & ACK == 0 => {
                    let mut pong = Vec::new();
                    put_frame(&mut pong, PING, ACK, payload);
                    self.stream.write_all(&pong).await?;
                }
                SETTINGS if flags & ACK == 0 => {
                    let mut taken = Vec::new();
                    put_frame(&mut taken, SETTINGS, ACK, &[]);
                    self.stream.write_all(&taken).await?;
                }
                RESET | GO_AWAY => bail!("the server ended the stream: {payload:?}"),
                _ => {}
            }
            self.buffer.drain(..HEAD + length);
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                ensure!(kind == HEADERS && answer > 0, "the stream ended without a message");
                return Ok(answer);
            }
        }
    }

    /// Kind, flags and length of the frame at the start of the buffer, where all of it is there.
    fn frame(&self) -> Option<(u8, u8, usize)> {
        let [high, middle, low, kind, flags, ..] = *self.buffer.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        (self.buffer.len() >= HEAD + length).then_some((kind, flags, length))
    }
}

/// Appends a frame of stream 0.
fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}

/// A request, and where in it the number of its stream stands.
fn request(headers: &[u8], message: &[u8]) -> (Vec<u8>, [usize; 2]) {
    let mut request = Vec::new();
    put_frame(&mut request, HEADERS, END_HEADERS, headers);
    let data = request.len();
    put_frame(&mut request, DATA, END_STREAM, message);
    (request, [5, data + 5])
}

/// Headers that the server is asked to remember: method, scheme, path, authority, content type, te.
fn first_headers(question: &Question) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let text = |text: &str, block: &mut Vec<u8>| {
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    };
    for (name, value) in [(4, question.path), (1, question.address.as_str()), (31, "application/grpc")] {
        block.push(0x40 | name);
        text(value, &mut block);
    }
    block.push(0x40);
    text("te", &mut block);
    text("trailers", &mut block);
    block
}

/// The same request by what the server remembers: the last header is the first of its table.
fn request_again(message: &[u8]) -> (Vec<u8>, [usize; 2]) {
    request(&[0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62], message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_their_length_and_the_place_of_their_stream() {
        let (request, [headers, data]) = request(&[0x83], &[1, 2]);
        assert_eq!(request, [0, 0, 1, HEADERS, 4, 0, 0, 0, 0, 0x83, 0, 0, 2, DATA, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!((headers, data), (5, 15));
    }
}
