//! Who asks, and the permit that gives him.
//!
//! Two tokens stand for two scopes. Without the token of scope infer, everybody may infer; reading is free
//! on a server that listens on loopback only; what changes anything needs the admin token everywhere.

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use sha2::{Digest as _, Sha256};
use tenon_contract::{Fault, FaultKind};
use tenon_control::{Action, Caller, Configure, Infer, Observe, Permit, Promote, Push, authorize};

use crate::parts::Shared;
use crate::status::{Style, refusal};

/// Who may do what, and under which names the server answers.
#[derive(Clone)]
pub struct Access {
    admin: Key,
    infer: Option<Key>,
    /// Whoever shows no token, where none is needed.
    anonymous: Caller,
    hosts: Vec<String>,
    is_loopback: bool,
}

/// A token as it is kept: its hash, and who shows it.
#[derive(Clone)]
struct Key {
    hash: [u8; 32],
    caller: Caller,
}

impl Key {
    fn new(token: &str, caller: Caller) -> Self {
        Self { hash: Sha256::digest(token.as_bytes()).into(), caller }
    }

    /// Looks at every byte, so that the time tells nothing of how many were right.
    fn fits(&self, shown: &[u8; 32]) -> bool {
        self.hash.iter().zip(shown).fold(0, |unlike, (one, other)| unlike | (one ^ other)) == 0
    }
}

impl Access {
    /// Access to a server that listens on loopback only, or beyond it.
    pub fn new(admin_token: &str, is_loopback: bool) -> Self {
        let admin = Key::new(admin_token, Caller::admin("admin"));
        let anonymous = Caller::infer("anonymous");
        Self { admin, infer: None, anonymous, hosts: Vec::new(), is_loopback }
    }

    /// Asks a token of everybody who infers.
    #[must_use]
    pub fn infer_token(mut self, token: &str) -> Self {
        self.infer = Some(Key::new(token, Caller::infer("infer")));
        self
    }

    /// Answers to these values of `Host` too; beside the address that a connection came in on, and
    /// the names of loopback.
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts.extend(hosts.into_iter().map(|host| host.to_ascii_lowercase()));
        self
    }

    /// Whether `host`, a name without a port, is one of the configured ones.
    pub(crate) fn is_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// The permit for `action` of whoever sent these headers.
    ///
    /// # Errors
    /// No token, an unknown one, or one without the scope; the text says what to do.
    pub(crate) fn permit<A: Scope>(&self, headers: &HeaderMap, action: A) -> Result<Permit<A>, Fault> {
        let is_open = A::is_open(self);
        let Some(value) = headers.get(AUTHORIZATION) else {
            return if is_open { authorize(&self.anonymous, action) } else { Err(no_token::<A>()) };
        };
        match self.caller(value.as_bytes()) {
            Some(caller) => authorize(caller, action),
            None if is_open => authorize(&self.anonymous, action),
            None => Err(unknown_token::<A>()),
        }
    }

    fn caller(&self, authorization: &[u8]) -> Option<&Caller> {
        let (scheme, token) = authorization.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return None;
        }
        let shown = Sha256::digest(token.trim_ascii()).into();
        let keys = [Some(&self.admin), self.infer.as_ref()];
        keys.into_iter().flatten().find(|key| key.fits(&shown)).map(|key| &key.caller)
    }
}

#[cold]
fn no_token<A: Action>() -> Fault {
    Fault::new(
        FaultKind::Unauthenticated,
        format!(
            "{} needs a token with the scope `{}`: send the header `Authorization: Bearer TOKEN`; the admin \
             token is in `admin.token` in the server's data folder where nothing else is configured",
            A::WORDS,
            A::SCOPE
        ),
    )
}

#[cold]
fn unknown_token<A: Action>() -> Fault {
    let text = format!(
        "{} needs a token with the scope `{}`; the one in `Authorization` is none that this server knows: \
         send `Authorization: Bearer TOKEN` with the token of this server",
        A::WORDS,
        A::SCOPE
    );
    Fault::new(FaultKind::Unauthenticated, text)
}

/// An action and when it needs no token.
pub(crate) trait Scope: Action {
    /// The action itself.
    const ACTION: Self;

    /// Whether everybody may do it.
    fn is_open(access: &Access) -> bool;
}

impl Scope for Infer {
    const ACTION: Self = Self;

    fn is_open(access: &Access) -> bool {
        access.infer.is_none()
    }
}

impl Scope for Observe {
    const ACTION: Self = Self;

    fn is_open(access: &Access) -> bool {
        access.is_loopback
    }
}

impl Scope for Push {
    const ACTION: Self = Self;

    fn is_open(_: &Access) -> bool {
        false
    }
}

impl Scope for Promote {
    const ACTION: Self = Self;

    fn is_open(_: &Access) -> bool {
        false
    }
}

impl Scope for Configure {
    const ACTION: Self = Self;

    fn is_open(_: &Access) -> bool {
        false
    }
}

/// Extracts the permit for `A`, or refuses.
pub(crate) struct Allowed<A>(pub(crate) Permit<A>);

impl<A: Scope + Send> FromRequestParts<Shared> for Allowed<A> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Response> {
        let permit = api.access.permit(&parts.headers, A::ACTION);
        permit.map(Self).map_err(|fault| refusal(&fault, Style::of(parts.uri.path())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// infer, observe, push: `ok`, or the status.
    fn check(access: &Access, authorization: Option<&str>, expected: [u16; 3]) {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        let status = |fault: Fault| crate::status::status(fault.kind).as_u16();
        let found = [
            access.permit(&headers, Infer).map_or_else(status, |_| 200),
            access.permit(&headers, Observe).map_or_else(status, |_| 200),
            access.permit(&headers, Push).map_or_else(status, |_| 200),
        ];
        assert_eq!(found, expected, "{authorization:?}");
    }

    #[test]
    fn tokens_open_what_their_scope_names() {
        let open = Access::new("boss", true);
        check(&open, None, [200, 200, 401]);
        check(&open, Some("Bearer boss"), [200, 200, 200]);
        check(&open, Some("bearer  boss "), [200, 200, 200]);
        check(&open, Some("Bearer bos"), [200, 200, 401]);
        check(&open, Some("Basic Ym9zcw=="), [200, 200, 401]);
        let closed = Access::new("boss", false).infer_token("app");
        check(&closed, None, [401, 401, 401]);
        check(&closed, Some("Bearer app"), [200, 200, 403]);
        check(&closed, Some("Bearer"), [401, 401, 401]);
        check(&closed, Some("Bearer boss"), [200, 200, 200]);
        check(&Access::new("boss", false), None, [200, 401, 401]);
    }

    #[test]
    fn no_text_names_a_token() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer secret-of-somebody".parse().unwrap());
        let fault = Access::new("secret-of-boss", true).permit(&headers, Push).unwrap_err();
        assert!(!fault.text.contains("secret"), "{fault}");
    }
}
