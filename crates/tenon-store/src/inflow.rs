//! The bridge between bytes that arrive asynchronously and a thread that writes them.

use std::fmt::Display;
use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;

use crate::StoreError;

/// Most pieces of one upload between the network and the disk.
const PIECES_IN_FLIGHT: usize = 8;

/// Bytes that arrive, as the writing thread sees them.
pub(crate) struct Inflow(mpsc::Receiver<Arrival>);

enum Arrival {
    Piece(Bytes),
    End,
    CutOff(String),
}

impl Inflow {
    /// The next piece; `None` at the end. A sender that goes away before the end was cut off.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match self.0.blocking_recv() {
            Some(Arrival::Piece(bytes)) => Ok(Some(bytes)),
            Some(Arrival::End) => Ok(None),
            Some(Arrival::CutOff(cause)) => Err(StoreError::CutOff { cause }),
            None => Err(StoreError::CutOff { cause: "the sender went away".to_owned() }),
        }
    }
}

/// Runs `write` on a blocking thread and hands it what `stream` brings.
///
/// When the returned future is dropped, `write` sees a cut-off stream and still ends in its own order.
pub(crate) async fn pour<S, E, T, W>(stream: S, write: W) -> Result<T, StoreError>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: Display,
    T: Send + 'static,
    W: FnOnce(Inflow) -> Result<T, StoreError> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let writer = tokio::task::spawn_blocking(move || write(Inflow(receiver)));
    let mut stream = pin!(stream);
    loop {
        let arrival = match stream.next().await {
            Some(Ok(bytes)) => Arrival::Piece(bytes),
            Some(Err(error)) => Arrival::CutOff(error.to_string()),
            None => Arrival::End,
        };
        let is_last = !matches!(arrival, Arrival::Piece(_));
        // A writer that hung up has failed; its result says why.
        if sender.send(arrival).await.is_err() || is_last {
            break;
        }
    }
    joined(writer.await)
}

/// Runs `work` on a blocking thread. It runs to its end even when the returned future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(result: Result<Result<T, StoreError>, tokio::task::JoinError>) -> Result<T, StoreError> {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Stopped),
        },
    }
}
