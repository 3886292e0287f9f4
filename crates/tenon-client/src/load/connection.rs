//! One keep-alive connection, and what is sent over it.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tenon_codec::oip::Encoded;
use tenon_contract::ServiceName;
use tokio::net::TcpStream;

use super::{Charge, Offence};
use crate::data::{JSON_LENGTH, infer_path};
use crate::{Client, ClientError};

/// Largest answer taken.
const ANSWER_LIMIT: usize = 1 << 30;
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a load goes: the address, resolved once, and the headers of every request.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) address: SocketAddr,
    headers: HeaderMap,
}

/// A request made ready once and sent many times.
#[derive(Clone, Debug)]
pub struct Shot {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the server did answer.
    ///
    /// # Errors
    /// It refused: the request is lost.
    pub fn accepted(&self) -> Result<(), Charge> {
        if self.status == StatusCode::OK {
            return Ok(());
        }
        let body: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        Err(Charge::new(Offence::Lost, format!("status {} {body}", self.status.as_u16())))
    }
}

impl Target {
    /// The server of `client`, with its token.
    ///
    /// # Errors
    /// The address does not resolve, or is not plain HTTP: a load over TLS would measure TLS.
    pub fn of(client: &Client) -> Result<Self, ClientError> {
        let server = client.server();
        let authority = server.strip_prefix("http://").ok_or_else(|| {
            ClientError::Local(format!(
                "{server}: load is made over plain `http://` only; measure on the server itself"
            ))
        })?;
        let authority = authority.split('/').next().unwrap_or(authority);
        let with_port = if authority.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let unreachable = |cause: String| ClientError::Unreachable { server: server.to_owned(), cause };
        let mut addresses = with_port.to_socket_addrs().map_err(|error| unreachable(error.to_string()))?;
        let address = addresses.next().ok_or_else(|| unreachable("the name has no address".to_owned()))?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, header(authority)?);
        if let Some(token) = client.token() {
            headers.insert(AUTHORIZATION, header(&format!("Bearer {token}"))?);
        }
        Ok(Self { address, headers })
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request for raw tensors.
    ///
    /// # Errors
    /// Never for a service's name.
    pub fn infer(&self, service: &ServiceName, request: Encoded) -> Result<Shot, ClientError> {
        let mut shot = self.shot(Method::POST, &infer_path(service))?;
        let kind = match request.json_length {
            Some(length) => {
                shot.headers.insert(JSON_LENGTH, header(&length.to_string())?);
                "application/octet-stream"
            }
            None => "application/json",
        };
        shot.headers.insert(CONTENT_TYPE, header(kind)?);
        shot.body = request.into_body();
        Ok(shot)
    }

    /// A request without a body.
    ///
    /// # Errors
    /// The path is none.
    pub fn get(&self, path: &str) -> Result<Shot, ClientError> {
        self.shot(Method::GET, path)
    }

    fn shot(&self, method: Method, path: &str) -> Result<Shot, ClientError> {
        let uri = path.parse().map_err(|error| ClientError::Local(format!("path {path}: {error}")))?;
        Ok(Shot { method, uri, headers: self.headers.clone(), body: Bytes::new() })
    }
}

fn header(text: &str) -> Result<HeaderValue, ClientError> {
    text.parse()
        .map_err(|_| ClientError::Local("the token or the address does not fit into a header".to_owned()))
}

impl Shot {
    /// The request as HTTP/1.1 puts it on the wire.
    pub fn wire(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.uri).into_bytes();
        for (name, value) in &self.headers {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(piece);
            }
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// One connection. Lives on a thread that runs local tasks.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, String> {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = connect.await.map_err(|_| "connect: timed out".to_owned())?;
        let stream = stream.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
        let shaken = Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| format!("connect: {error}"))?;
        // Errors of the connection come out at the request that meets them.
        let driver = tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, driver })
    }

    /// Whether the server has closed it, as it may between two requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) async fn exchange(&mut self, shot: &Shot) -> Result<Answer, String> {
        let response = self.sender.send_request(shot.request()).await.map_err(|error| causes(&error))?;
        let (head, mut body) = response.into_parts();
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| causes(&error))?.into_data() else { continue };
            // Most answers are one piece and need no copy.
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
            if rest.len() > ANSWER_LIMIT {
                return Err(format!("an answer of more than {ANSWER_LIMIT} bytes"));
            }
        }
        let body = if rest.is_empty() { first } else { rest.freeze() };
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

fn causes(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
