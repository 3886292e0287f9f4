//! Jobs followed live over server-sent events, through breaks of the connection.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Method;
use tenon_contract::admin::JobView;

use crate::client::segment;
use crate::{Client, ClientError};

/// How often in a row the stream may break without news before following is given up.
const BREAKS: u32 = 5;
/// Largest event taken.
const EVENT_LIMIT: usize = 4 << 20;
/// Pause before asking again.
const PAUSE: Duration = Duration::from_millis(300);

impl Client {
    /// Follows a job to its end and shows every state of it to `seen`.
    ///
    /// # Errors
    /// The job is not known, or the server stays away.
    pub async fn follow(&self, id: &str, mut seen: impl FnMut(&JobView)) -> Result<JobView, ClientError> {
        let mut breaks = 0;
        loop {
            let mut news = false;
            let end = self
                .stream(id, &mut |job| {
                    news = true;
                    seen(job);
                })
                .await;
            breaks = if news { 0 } else { breaks + 1 };
            match end {
                Ok(Some(job)) => return Ok(job),
                // The stream ended early: the job itself says whether there is more to come.
                Ok(None) if breaks < BREAKS => {}
                Ok(None) => {
                    return Err(ClientError::unexpected("follow a job", "the events end without an end"));
                }
                Err(error) if error.is_transient() && breaks < BREAKS => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One stream of events, up to the final one or its break.
    async fn stream(&self, id: &str, seen: &mut dyn FnMut(&JobView)) -> Result<Option<JobView>, ClientError> {
        let what = "follow a job";
        let request = self.request(Method::GET, &format!("/api/v1/jobs/{}/events", segment(id)?));
        let response = self.send(request.header("accept", "text/event-stream"), what).await?;
        let mut body = response.bytes_stream();
        let mut events = Events::default();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| ClientError::of_transport(self.server(), what, &error))?;
            for data in events.push(&piece).map_err(|text| ClientError::unexpected(what, text))? {
                let job: JobView = serde_json::from_str(&data)
                    .map_err(|error| ClientError::unexpected(what, error.to_string()))?;
                seen(&job);
                if job.state.is_final() {
                    return Ok(Some(job));
                }
            }
        }
        Ok(None)
    }
}

/// Cuts a stream of server-sent events into the data of each.
#[derive(Default)]
struct Events {
    rest: Vec<u8>,
    data: Vec<String>,
}

impl Events {
    /// Takes the next bytes and gives the events that they complete.
    fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, &'static str> {
        self.rest.extend_from_slice(piece);
        let mut complete = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() && !self.data.is_empty() {
                complete.push(std::mem::take(&mut self.data).join("\n"));
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
            }
        }
        let held = self.rest.len() + self.data.iter().map(String::len).sum::<usize>();
        if held > EVENT_LIMIT { Err("an event is too large") } else { Ok(complete) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let stream = b"event: job\ndata: {\"a\":1}\n\n: comment\n\ndata:x\r\ndata: y\r\n\r\ndata: cut";
        for size in [1, 2, 7, stream.len()] {
            let mut events = Events::default();
            let found: Vec<_> = stream.chunks(size).flat_map(|piece| events.push(piece).unwrap()).collect();
            assert_eq!(found, ["{\"a\":1}", "x\ny"], "pieces of {size}");
        }
        assert!(Events::default().push(&vec![b'x'; EVENT_LIMIT + 1]).is_err());
    }
}
