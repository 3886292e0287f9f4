//! Event loops: one thread for each core, each with the connections that it was given.
//!
//! A connection stays on its loop, so a short answer is read, computed and written by one thread: none is woken for it and
//! none steals it. The next connection goes to the loop that has the fewest. What may take long runs elsewhere: models on
//! the node's compute threads, the administration on the runtime that the server was started on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The loops of a server. Their threads end when it is dropped, and cut off what still runs there.
pub(crate) struct EventLoops {
    loops: Vec<EventLoop>,
    connections: TaskTracker,
    stop: CancellationToken,
}

struct EventLoop {
    handle: Handle,
    connections: Arc<AtomicUsize>,
}

/// One connection in the count of its loop.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EventLoops {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let start = |number: usize| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, stop) = (runtime.handle().clone(), stop.clone());
            std::thread::Builder::new().name(format!("loop-{number}")).spawn(move || {
                runtime.block_on(stop.cancelled());
                runtime.shutdown_background();
            })?;
            Ok(EventLoop { handle, connections: Arc::default() })
        };
        let loops = (0..count.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Self { loops, connections: TaskTracker::new(), stop })
    }

    /// Gives a connection to the loop that has the fewest.
    pub(crate) fn give<F>(&self, stream: TcpStream, serve: impl FnOnce(TcpStream) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let fewest = self.loops.iter().min_by_key(|each| each.connections.load(Ordering::Relaxed));
        // Taken out of the reactor that accepted it, because its events belong to the loop.
        let (Some(fewest), Ok(stream)) = (fewest, stream.into_std()) else { return };
        fewest.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(fewest.connections.clone());
        let connection = self.connections.track_future(async move {
            let _counted = counted;
            match TcpStream::from_std(stream) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::warn!(%error, "a connection could not be served"),
            }
        });
        fewest.handle.spawn(connection);
    }

    /// Waits until all connections have ended, at most for `limit`; gives how many have not.
    pub(crate) async fn ended(&self, limit: Duration) -> usize {
        self.connections.close();
        let _ = tokio::time::timeout(limit, self.connections.wait()).await;
        self.connections.len()
    }
}

impl Drop for EventLoops {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn connections_are_spread_and_ends_are_awaited() {
        let loops = EventLoops::start(2).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (done, may_end) = (CancellationToken::new(), CancellationToken::new());
        let (sender, mut threads) = tokio::sync::mpsc::channel(4);
        for _ in 0..4 {
            let address = listener.local_addr().unwrap();
            let (client, taken) = tokio::join!(TcpStream::connect(address), listener.accept());
            drop(client);
            let (sender, may_end, done) = (sender.clone(), may_end.clone(), done.clone());
            loops.give(taken.unwrap().0, async move |_stream| {
                let _ = sender.send(std::thread::current().id()).await;
                may_end.cancelled().await;
                drop(done);
            });
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(threads.recv().await.unwrap());
        }
        assert_eq!(seen.iter().filter(|id| **id == seen[0]).count(), 2, "{seen:?}");
        assert_eq!(loops.ended(Duration::from_millis(10)).await, 4);
        may_end.cancel();
        assert_eq!(loops.ended(Duration::from_secs(10)).await, 0);
        assert!(loops.loops.iter().all(|each| each.connections.load(Ordering::Relaxed) == 0));
    }
}
