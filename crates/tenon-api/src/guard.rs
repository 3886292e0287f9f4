//! What is refused before anybody looks at a request: names that are not ours, and other people's pages.
//!
//! A browser may be made to send requests here by any page it shows. The name in `Host` tells a page whose
//! name was bent to point at us (DNS rebinding), `Origin` and `Sec-Fetch-Site` tell a page of another
//! site. There are no CORS headers: nobody is let in.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderName, Method, Request, StatusCode, Version};
use tenon_contract::{Fault, FaultKind};

use crate::auth::Access;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request that is turned away at the door.
pub(crate) struct TurnedAway {
    pub(crate) status: StatusCode,
    pub(crate) fault: Fault,
}

/// Checks for whom a request was meant and from where it was sent. `local` is the address that the
/// connection came in on: a literal address cannot be bent.
pub(crate) fn check<B>(access: &Access, local: IpAddr, request: &Request<B>) -> Result<(), TurnedAway> {
    let host = host(request)?;
    if let Some(authority) = host
        && !is_ours(access, local, authority)
    {
        return Err(stranger(authority));
    }
    let is_page = request.method() == Method::GET && request.uri().path() == "/";
    if is_page { Ok(()) } else { check_origin(request, host.unwrap_or_default()) }
}

/// What the request calls us; nothing only in HTTP/1.0.
fn host<B>(request: &Request<B>) -> Result<Option<&str>, TurnedAway> {
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.as_str()));
    }
    let mut values = request.headers().get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map(Some).map_err(|_| wrong_host()),
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        _ => Err(wrong_host()),
    }
}

fn is_ours(access: &Access, local: IpAddr, authority: &str) -> bool {
    let name = without_port(authority);
    match name {
        "localhost" | "127.0.0.1" | "[::1]" => return true,
        _ => {}
    }
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let is_local =
        literal.parse::<IpAddr>().is_ok_and(|address| address.to_canonical() == local.to_canonical());
    is_local || name.eq_ignore_ascii_case("localhost") || access.is_host(name)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn check_origin<B>(request: &Request<B>, host: &str) -> Result<(), TurnedAway> {
    let headers = request.headers();
    let site = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(foreign());
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, name)| name);
    if authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    Err(foreign())
}

#[cold]
fn stranger(authority: &str) -> TurnedAway {
    let name: String = authority.chars().take(80).collect();
    let text = format!(
        "this server does not answer to the host `{name}`; add it to `allowed_hosts`, or use an address of \
         the server"
    );
    TurnedAway { status: StatusCode::MISDIRECTED_REQUEST, fault: Fault::new(FaultKind::Denied, text) }
}

#[cold]
fn wrong_host() -> TurnedAway {
    let fault = Fault::invalid("a request needs one `Host` header");
    TurnedAway { status: StatusCode::BAD_REQUEST, fault }
}

#[cold]
fn foreign() -> TurnedAway {
    let text = "requests from pages of another site are refused; call from a server or a program instead";
    TurnedAway { status: StatusCode::FORBIDDEN, fault: Fault::new(FaultKind::Denied, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let access = Access::new("t", true).hosts(["Models.example.org".to_owned()]);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let checked = check(&access, "10.0.0.5".parse().unwrap(), &request.body(()).unwrap());
        checked.map_or_else(|away| away.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let check = |host: &str, expected| {
            assert_eq!(status(Method::GET, "/v2", &[("host", host)]), expected, "{host}")
        };
        for ours in
            ["localhost:8080", "LOCALHOST", "127.0.0.1", "[::1]:1", "10.0.0.5:8080", "models.example.org:443"]
        {
            check(ours, 200);
        }
        for strange in ["evil.example", "10.0.0.6", "127.0.0.1.evil.example", "localhost.evil.example:80", ""]
        {
            check(strange, 421);
        }
        assert_eq!(status(Method::GET, "/v2", &[]), 400);
        assert_eq!(status(Method::GET, "/v2", &[("host", "localhost"), ("host", "evil")]), 400);
        assert_eq!(status(Method::GET, "http://evil.example/v2", &[("host", "localhost")]), 421);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let check = |method: Method, uri: &str, header: (&str, &str), expected| {
            assert_eq!(status(method, uri, &[("host", "localhost:80"), header]), expected, "{header:?}");
        };
        check(Method::POST, "/v2/models/m/infer", ("origin", "http://localhost:80"), 200);
        check(Method::POST, "/v2/models/m/infer", ("origin", "http://localhost:81"), 403);
        check(Method::POST, "/v2/models/m/infer", ("origin", "null"), 403);
        check(Method::GET, "/api/v1/node", ("origin", "https://evil.example"), 403);
        check(Method::GET, "/api/v1/node", ("sec-fetch-site", "cross-site"), 403);
        check(Method::GET, "/api/v1/node", ("sec-fetch-site", "same-site"), 403);
        check(Method::GET, "/api/v1/node", ("sec-fetch-site", "none"), 200);
        check(Method::GET, "/", ("sec-fetch-site", "cross-site"), 200);
        check(Method::POST, "/", ("sec-fetch-site", "cross-site"), 403);
    }
}
