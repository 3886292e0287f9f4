//! The one port: connections taken, secured, served and ended.
//!
//! HTTP/1.1 and HTTP/2 are told apart by their first bytes, with TLS by what the two sides agree on. The
//! end comes in order: readiness fails, then no new connection is taken, then requests under way end, at
//! the latest after a deadline.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tenon_contract::Fault;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::Service as _;

use crate::event_loops::EventLoops;
use crate::ids::{self, Ids};
use crate::infer::oip_rest::{self, Target};
use crate::parts::{Api, ApiParts, Limits, Shared};
use crate::router::router;
use crate::spans::{self, Place};
use crate::status::{Style, refusal, refusal_with};
use crate::tls::TlsError;
use crate::{grpc, guard};

/// What one connection over the limit is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
connection: close\r\ncontent-length: 61\r\n\r\n{\"error\":\"the limit of connections is reached (connections)\"}";
/// Headers of a request that hyper allows where it is told nothing.
const HEADERS_OF_HYPER: usize = 100;
/// Pause after the system gave no connection, for lack of files most likely.
const NO_CONNECTION: Duration = Duration::from_millis(100);

/// Why the server could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS cannot be offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener does not tell its address.
    #[error("listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// Serves on `listener` until `shutdown`, and then until requests under way have ended. Needs the multi-threaded runtime
/// of tokio.
///
/// # Errors
/// It could not begin. What goes wrong later ends a connection, not the server.
pub async fn serve(
    parts: ApiParts,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let tls = parts.tls.as_ref().map(|files| files.acceptor()).transpose()?;
    let address = listener.local_addr()?;
    let loops = EventLoops::start(parts.event_loops)?;
    let api = Arc::new(Api::new(parts));
    let server = Arc::new(Server {
        router: router(api.clone()),
        builder: builder(&api.limits),
        places: Arc::new(Semaphore::new(api.limits.connections)),
        ending: CancellationToken::new(),
        tls,
        api,
        main: Handle::current(),
    });
    tracing::info!(%address, tls = server.tls.is_some(), "listening");
    {
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            () = server.accept(&listener, &loops) => {}
            () = &mut shutdown => {}
        }
    }
    server.end(listener, loops).await;
    Ok(())
}

struct Server {
    api: Shared,
    router: Router,
    builder: Builder<TokioExecutor>,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    /// Set when connections are to end after the request under way.
    ending: CancellationToken,
    /// Where everything runs that is not inference.
    main: Handle,
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if limits.headers != HEADERS_OF_HYPER {
        // Setting even the same number costs a table on the heap for every request.
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.header_timeout)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .adaptive_window(true);
    builder
}

impl Server {
    /// Takes connections, without end.
    async fn accept(self: &Arc<Self>, listener: &TcpListener, loops: &EventLoops) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) if is_of_the_caller(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "no connection could be taken");
                    tokio::time::sleep(NO_CONNECTION).await;
                    continue;
                }
            };
            match self.places.clone().try_acquire_owned() {
                Ok(place) => {
                    let server = self.clone();
                    loops.give(stream, move |stream| server.connection(stream, place));
                }
                Err(_) => self.turn_away(&stream),
            }
        }
    }

    fn turn_away(&self, stream: &TcpStream) {
        tracing::warn!(limit = self.api.limits.connections, "connection refused: the limit is reached");
        if self.tls.is_none() {
            // Whether it takes the answer or not, it is closed.
            let _ = stream.try_write(FULL);
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, _place: OwnedSemaphorePermit) {
        let Ok(local) = stream.local_addr() else { return };
        // Answers are written whole: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.exchange(stream, local.ip()).await,
            Some(acceptor) => {
                let handshake =
                    tokio::time::timeout(self.api.limits.handshake_timeout, acceptor.accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => self.exchange(stream, local.ip()).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                }
            }
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: &Arc<Self>,
        stream: S,
        local: IpAddr,
    ) {
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(local, request).await) }
        });
        // A token of its own: looked at with every wake-up, it is shared with no other thread.
        let ending = self.ending.child_token();
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = ending.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection broke");
        }
    }

    /// Answers one request, and tells of it where somebody wants to know.
    async fn answer(self: &Arc<Self>, local: IpAddr, request: Request<Incoming>) -> Response {
        let line = self.api.lines.begin(&request);
        let door = self.api.spans.as_ref();
        let place = door.map_or(Place::Nowhere, |door| door.place(&request, self.api.is_tls));
        let mut response = match place.recording() {
            None => self.respond(local, request).await,
            // Boxed, so that the future of the others is small.
            Some(recording) => Box::pin(spans::within(recording.clone(), self.respond(local, request))).await,
        };
        let headers = response.headers_mut();
        if !headers.contains_key(ids::REQUEST_ID) {
            headers.insert(ids::REQUEST_ID, ids::header(&self.api.ids.fresh()));
        }
        self.api.lines.end(line, &response, &place);
        place.end(&mut response);
        response
    }

    /// The guard, then the hot path of inference or the router.
    async fn respond(self: &Arc<Self>, local: IpAddr, request: Request<Incoming>) -> Response {
        match guard::check(&self.api.access, local, &request) {
            Err(away) if grpc::is_call(&request) => grpc::answers::refusal(&away.fault),
            Err(away) => refusal_with(away.status, &away.fault, Style::of(request.uri().path())),
            // Boxed, so that the future of REST is small.
            Ok(()) if grpc::is_call(&request) => Box::pin(self.call(request)).await,
            Ok(()) => self.pass(request).await,
        }
    }

    /// Requests for raw tensors go past the router, which boxes what it passes on.
    async fn pass(self: &Arc<Self>, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        if parts.method == Method::POST
            && let Some(target) = Target::of(parts.uri.path())
        {
            return oip_rest::infer(&self.api, target, &parts, body).await;
        }
        let is_inference = is_inference(parts.uri.path());
        let request = Request::from_parts(parts, Body::new(body));
        // Boxed, so that the future of the hot path is small.
        if is_inference {
            return Box::pin(self.route(request)).await;
        }
        let server = self.clone();
        let work = async move { server.route(request).await };
        Box::pin(self.aside(work, |fault| refusal(fault, Style::Admin))).await
    }

    /// Calls of gRPC. Those of the repository run off the event loop, as they do on REST.
    async fn call(&self, request: Request<Incoming>) -> Response {
        if !grpc::is_administration(request.uri().path()) {
            return grpc::answer(&self.api, request).await;
        }
        let api = self.api.clone();
        self.aside(async move { grpc::answer(&api, request).await }, grpc::answers::refusal).await
    }

    /// Works off the event loop, so that the administration holds up no inference.
    async fn aside(
        &self,
        work: impl Future<Output = Response> + Send + 'static,
        refuse: impl Fn(&Fault) -> Response,
    ) -> Response {
        let work = self.main.spawn(work);
        match AbortOnDropHandle::new(work).await {
            Ok(response) => response,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => refuse(&Fault::unavailable("the server is shutting down")),
            },
        }
    }

    async fn route(&self, request: Request<Body>) -> Response {
        let id = Ids::brought(request.headers());
        let Ok(mut response) = self.router.clone().call(request).await;
        if let Some(id) = id {
            response.headers_mut().insert(ids::REQUEST_ID, ids::header(&id));
        }
        response
    }

    /// The end, in order.
    async fn end(self: Arc<Self>, listener: TcpListener, loops: EventLoops) {
        let Limits { shutdown_notice: notice, shutdown_drain: drain, .. } = self.api.limits;
        tracing::info!(?notice, ?drain, "shutting down");
        self.api.stopping.cancel();
        // Balancers that saw readiness fail may still send for a while.
        let _ = tokio::time::timeout(notice, self.accept(&listener, &loops)).await;
        drop(listener);
        self.ending.cancel();
        let connections = loops.ended(drain).await;
        if connections > 0 {
            tracing::warn!(connections, "requests cut off: they did not end in time");
        }
    }
}

/// Whether a path may be answered on the event loop: what only infers or tells what is served.
fn is_inference(path: &str) -> bool {
    path.starts_with("/services/") || path.starts_with("/v2") && !path.starts_with("/v2/repository")
}

/// Whether a connection was gone before it was taken.
fn is_of_the_caller(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
