//! Uploads to a server that breaks connections, loses parts and refuses.

use std::sync::{Arc, Mutex};

use http::Response as Answer;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;
use crate::Options;

/// What the server does to a PATCH.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    /// Takes it.
    Good,
    /// Takes half of it and hangs up.
    Breaks,
    /// Says that it is busy.
    Busy,
    /// Takes nothing and says so politely.
    Stuck,
    /// Does not like the bytes.
    Refuses,
}

#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    complete: bool,
    patches: usize,
}

struct Fake {
    disk: Mutex<Disk>,
    /// Moods in turn; the last one stays.
    moods: Vec<Mood>,
}

impl Fake {
    async fn answer(&self, request: http::Request<Incoming>) -> Result<Answer<Full<Bytes>>, std::io::Error> {
        let (head, body) = request.into_parts();
        let number =
            |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let mut disk = self.disk.lock().unwrap();
        let offset =
            |answer: http::response::Builder, disk: &Disk| answer.header("upload-offset", disk.bytes.len());
        let empty = Full::new(Bytes::new());
        if head.method == Method::HEAD {
            let status = if disk.bytes.is_empty() { 404 } else { 200 };
            let answer = offset(Answer::builder().status(status), &disk);
            return Ok(answer.header("upload-complete", disk.complete.to_string()).body(empty).unwrap());
        }
        let mood = self.moods[disk.patches.min(self.moods.len() - 1)];
        disk.patches += 1;
        if number("upload-offset") != Some(disk.bytes.len() as u64) {
            return Ok(offset(Answer::builder().status(409), &disk).body(empty).unwrap());
        }
        match mood {
            Mood::Good => disk.bytes.extend_from_slice(&body),
            Mood::Breaks => {
                disk.bytes.extend_from_slice(&body[..body.len() / 2]);
                return Err(std::io::Error::other("hangs up"));
            }
            Mood::Busy => return Ok(Answer::builder().status(503).body(empty).unwrap()),
            Mood::Stuck => {}
            Mood::Refuses => return Ok(Answer::builder().status(400).body(empty).unwrap()),
        }
        disk.complete = Some(disk.bytes.len() as u64) == number("upload-length");
        Ok(offset(Answer::builder().status(204), &disk).body(empty).unwrap())
    }
}

/// Uploads `content` to a server of these moods; its disk, and how the upload ended.
async fn upload(
    content: &[u8],
    moods: &[Mood],
    disk: Disk,
) -> (Result<Digest, ClientError>, Disk, Vec<Progress>) {
    let fake = Arc::new(Fake { disk: Mutex::new(disk), moods: moods.to_vec() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let serving = Arc::clone(&fake);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let fake = Arc::clone(&serving);
            tokio::spawn(async move {
                let service = service_fn(|request| fake.answer(request));
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let client = Client::new(&Options { server, ..Options::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, content).unwrap();
    let mut seen = Vec::new();
    let end = client.upload(&Source::File(path), |progress| seen.push(progress)).await;
    task.abort();
    let disk = std::mem::take(&mut *fake.disk.lock().unwrap());
    (end, disk, seen)
}

/// Three parts and a bit.
fn content() -> Vec<u8> {
    (0..PART * 3 + 17).map(|index| (index * 7 % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_arrive_whole_through_breaks() {
    use Mood::*;
    let content = content();
    for moods in [&[Good][..], &[Good, Breaks, Good], &[Busy, Breaks, Busy, Good], &[Stuck, Good]] {
        let (end, disk, seen) = upload(&content, moods, Disk::default()).await;
        assert_eq!(end.unwrap(), Digest::of(&content), "{moods:?}");
        assert!(disk.complete && disk.bytes == content, "{moods:?}");
        let total = content.len() as u64;
        assert_eq!(seen.last(), Some(&Progress::Sent { bytes: total, total }), "{moods:?}");
    }
}

#[tokio::test]
async fn what_is_there_is_not_sent_again() {
    let content = content();
    let half = Disk { bytes: content[..content.len() / 2].to_vec(), ..Disk::default() };
    let (end, disk, _) = upload(&content, &[Mood::Good], half).await;
    assert!(end.is_ok() && disk.bytes == content);
    let whole = Disk { bytes: content.clone(), complete: true, patches: 0 };
    let (end, disk, _) = upload(&content, &[Mood::Good], whole).await;
    assert_eq!((end.unwrap(), disk.patches), (Digest::of(&content), 0));
}

#[tokio::test]
async fn an_upload_that_cannot_end_is_given_up() {
    let (end, disk, _) = upload(b"abc", &[Mood::Refuses], Disk::default()).await;
    assert!(matches!(end, Err(ClientError::Refused { status: 400, .. })), "{end:?}");
    assert_eq!(disk.patches, 1, "a refusal is final");
    let (end, disk, _) = upload(b"abc", &[Mood::Stuck], Disk::default()).await;
    assert!(end.is_err());
    assert_eq!(disk.patches, 1 + ATTEMPTS as usize);
    let (end, _, _) = upload(b"", &[Mood::Good], Disk::default()).await;
    assert!(end.unwrap_err().to_string().contains("empty"));
}
