//! A bare axum server: the least that a server in this language and on these libraries can do.

use std::io::{Read as _, Write as _};

use anyhow::Result;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use bytes::Bytes;

/// The one path that it answers.
pub(crate) const SERVICE: &str = "hello";
const PATH: &str = "/v2/models/hello/infer";
const ANSWER: &str = r#"{"hello":"world"}"#;

/// Serves on a free port, which it prints, until standard input ends.
///
/// # Errors
/// There is no port to be had.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let hello = Router::new().route(PATH, post(hello));
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let end = async {
            let _ = end.await;
        };
        tokio::select! {
            served = async { axum::serve(listener, hello).await } => Ok(served?),
            () = end => Ok(()),
        }
    })
}

/// Takes the whole body, as every server has to, and answers the same each time.
async fn hello(_body: Bytes) -> ([(axum::http::HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}
