//! Uploads by digest, in parts, resumed where the server stands.
//!
//! The file is read twice: once for its digest, which is its address, and once to send it. The server
//! hashes what arrives, so a file that changes in between is refused there.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use tenon_contract::Digest;
use tenon_contract::digest::Hasher;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::{Client, ClientError};

/// Bytes sent with one request: what is lost at most when the connection breaks.
const PART: u64 = 4 << 20;
/// How often in a row a part may fail before the upload is given up.
const ATTEMPTS: u32 = 6;
/// Pause after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, read in parts.
    File(PathBuf),
    /// Bytes at hand.
    Bytes(Bytes),
}

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The digest is being computed.
    Hashed {
        /// Bytes read.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Bytes are at the server.
    Sent {
        /// How many of them, with those that were there before.
        bytes: u64,
        /// Bytes in all.
        total: u64,
    },
}

impl Source {
    fn local(&self, error: &std::io::Error) -> ClientError {
        match self {
            Self::File(path) => ClientError::Local(format!("read {}: {error}", path.display())),
            Self::Bytes(_) => ClientError::Local(format!("read the upload: {error}")),
        }
    }

    async fn total(&self) -> Result<u64, ClientError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => {
                let metadata = tokio::fs::metadata(path).await.map_err(|error| self.local(&error))?;
                Ok(metadata.len())
            }
        }
    }

    /// Up to `PART` bytes from `offset` on.
    async fn part(&self, offset: u64) -> Result<Bytes, ClientError> {
        let path = match self {
            Self::Bytes(bytes) => {
                let end = bytes.len().min((offset + PART) as usize);
                return Ok(bytes.slice((offset as usize).min(end)..end));
            }
            Self::File(path) => path,
        };
        let read = async {
            let mut file = File::open(path).await?;
            file.seek(SeekFrom::Start(offset)).await?;
            let mut part = Vec::new();
            file.take(PART).read_to_end(&mut part).await?;
            Ok(part.into())
        };
        read.await.map_err(|error: std::io::Error| self.local(&error))
    }

    async fn digest(&self, total: u64, progress: &mut impl FnMut(Progress)) -> Result<Digest, ClientError> {
        let mut hasher = Hasher::new();
        let mut bytes = 0;
        loop {
            let part = self.part(bytes).await?;
            if part.is_empty() {
                return Ok(hasher.finish());
            }
            hasher.update(&part);
            bytes += part.len() as u64;
            progress(Progress::Hashed { bytes, total });
        }
    }
}

/// What a server holds of an upload.
enum Held {
    All,
    Part(u64),
}

impl Client {
    /// Brings bytes to the server's store, or finds that they are there already.
    ///
    /// Begins where an earlier attempt ended. A connection that breaks is taken up again a few times.
    ///
    /// # Errors
    /// The source cannot be read, the server refuses the bytes, or it stays away.
    pub async fn upload(
        &self,
        source: &Source,
        mut progress: impl FnMut(Progress),
    ) -> Result<Digest, ClientError> {
        let total = source.total().await?;
        if total == 0 {
            return Err(ClientError::Local("the file is empty".to_owned()));
        }
        let digest = source.digest(total, &mut progress).await?;
        let mut failures = 0;
        let mut known: Option<u64> = None;
        loop {
            let step = async {
                let offset = match known {
                    Some(offset) => offset,
                    None => match self.held(digest).await? {
                        Held::All => return Ok(total),
                        Held::Part(offset) => offset,
                    },
                };
                // Also where all bytes are there already: the empty part lets a server that died just before
                // finish what it holds.
                progress(Progress::Sent { bytes: offset, total });
                self.send_part(digest, source.part(offset).await?, offset, total).await
            };
            match step.await {
                Ok(offset) if offset >= total => {
                    progress(Progress::Sent { bytes: total, total });
                    return Ok(digest);
                }
                Ok(offset) => {
                    // An offset that does not grow is a failure too, or this would never end.
                    let grew = known.is_none_or(|known| offset > known);
                    failures = if grew { 0 } else { failures + 1 };
                    known = Some(offset);
                }
                Err(error) if error.is_transient() => {
                    failures += 1;
                    known = None;
                    if failures >= ATTEMPTS {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            if failures >= ATTEMPTS {
                return Err(ClientError::unexpected("upload", "the server takes no further bytes"));
            }
            if failures > 0 {
                tokio::time::sleep(FIRST_PAUSE * 2u32.pow(failures - 1)).await;
            }
        }
    }

    async fn held(&self, digest: Digest) -> Result<Held, ClientError> {
        let what = "ask for an upload";
        let response = self.send_any(self.request(Method::HEAD, &blob_path(digest)), what).await?;
        match response.status().as_u16() {
            404 => Ok(Held::Part(0)),
            200 | 204 if flag(response.headers(), "upload-complete") => Ok(Held::All),
            200 | 204 => Ok(Held::Part(offset(&response)?)),
            // An answer to HEAD has no body that could say more.
            status => Err(ClientError::of_answer(status, b"")),
        }
    }

    /// Sends one part; gives the offset at which the server stands then.
    async fn send_part(&self, digest: Digest, part: Bytes, at: u64, total: u64) -> Result<u64, ClientError> {
        let what = "upload";
        let request = self
            .request(Method::PATCH, &blob_path(digest))
            .header("upload-offset", at)
            .header("upload-length", total)
            .header("content-type", "application/octet-stream")
            .body(part);
        let response = self.send_any(request, what).await?;
        let status = response.status();
        if status.is_success() || (status.as_u16() == 409 && response.headers().contains_key("upload-offset"))
        {
            return offset(&response);
        }
        Err(ClientError::of_answer(status.as_u16(), &self.body(response, what).await?))
    }
}

fn blob_path(digest: Digest) -> String {
    format!("/api/v1/blobs/{digest}")
}

fn offset(response: &Response) -> Result<u64, ClientError> {
    let value = response.headers().get("upload-offset").and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| ClientError::unexpected("upload", "the answer has no Upload-Offset"))
}

fn flag(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests;
