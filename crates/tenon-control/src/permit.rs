//! Proof values for rights: what changes anything takes a [`Permit`], and only [`authorize`] makes one.
//!
//! A permit names its action in its type, so that a permit to push is no permit to promote, and it
//! carries who holds it, so that the audit and the receipt say the same name.

use std::marker::PhantomData;

use tenon_contract::{Fault, FaultKind};

/// Who asks, and what his token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that stands in the audit and in receipts.
    pub name: String,
    /// May ask services for answers.
    pub infer: bool,
    /// May change what is served.
    pub admin: bool,
}

impl Caller {
    /// Somebody with the admin scope, which includes the other one.
    pub fn admin(name: impl Into<String>) -> Self {
        Self { name: name.into(), infer: true, admin: true }
    }

    /// Somebody who may only ask for answers.
    pub fn infer(name: impl Into<String>) -> Self {
        Self { name: name.into(), infer: true, admin: false }
    }
}

/// Something for which a right is needed.
pub trait Action: Copy {
    /// What is being done, for the refusal: `push a model`.
    const WORDS: &'static str;

    /// The scope it needs, for the refusal.
    const SCOPE: &'static str;

    /// Whether `caller` may do it.
    fn allows(caller: &Caller) -> bool;
}

/// To ask a service for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Infer;

/// To see models, versions, services, jobs and receipts.
#[derive(Clone, Copy, Debug)]
pub struct Observe;

/// To upload artifacts and make versions of them.
#[derive(Clone, Copy, Debug)]
pub struct Push;

/// To change what a service serves: deploy, swap, undo, remove.
#[derive(Clone, Copy, Debug)]
pub struct Promote;

/// To change how the server itself works: what it logs and traces.
#[derive(Clone, Copy, Debug)]
pub struct Configure;

impl Action for Infer {
    const WORDS: &'static str = "ask a service for an answer";
    const SCOPE: &'static str = "infer";

    fn allows(caller: &Caller) -> bool {
        caller.infer || caller.admin
    }
}

impl Action for Observe {
    const WORDS: &'static str = "look at models and services";
    const SCOPE: &'static str = "infer";

    fn allows(caller: &Caller) -> bool {
        caller.infer || caller.admin
    }
}

impl Action for Push {
    const WORDS: &'static str = "push a model";
    const SCOPE: &'static str = "admin";

    fn allows(caller: &Caller) -> bool {
        caller.admin
    }
}

impl Action for Promote {
    const WORDS: &'static str = "change what a service serves";
    const SCOPE: &'static str = "admin";

    fn allows(caller: &Caller) -> bool {
        caller.admin
    }
}

impl Action for Configure {
    const WORDS: &'static str = "change settings of the server";
    const SCOPE: &'static str = "admin";

    fn allows(caller: &Caller) -> bool {
        caller.admin
    }
}

/// The right of somebody to do `A`, for as long as the value lives.
#[derive(Clone, Debug)]
pub struct Permit<A> {
    holder: String,
    action: PhantomData<A>,
}

impl<A> Permit<A> {
    /// Who holds it.
    pub fn holder(&self) -> &str {
        &self.holder
    }
}

/// The permit of `caller` for `action`.
///
/// # Errors
/// His token does not allow it; the text says which scope would.
pub fn authorize<A: Action>(caller: &Caller, _action: A) -> Result<Permit<A>, Fault> {
    if A::allows(caller) {
        return Ok(Permit { holder: caller.name.clone(), action: PhantomData });
    }
    let text =
        format!("{} needs a token with the scope `{}`; `{}` has none", A::WORDS, A::SCOPE, caller.name);
    Err(Fault::new(FaultKind::Denied, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_allow_what_they_name() {
        let nobody = Caller { name: "nobody".to_owned(), infer: false, admin: false };
        // infer, observe, push, promote, configure
        let check = |caller: &Caller, expected: [bool; 5]| {
            let found = [
                authorize(caller, Infer).is_ok(),
                authorize(caller, Observe).is_ok(),
                authorize(caller, Push).is_ok(),
                authorize(caller, Promote).is_ok(),
                authorize(caller, Configure).is_ok(),
            ];
            assert_eq!(found, expected, "{caller:?}");
        };
        check(&Caller::admin("ada"), [true; 5]);
        check(&Caller::infer("app"), [true, true, false, false, false]);
        check(&nobody, [false; 5]);
        let fault = authorize(&Caller::infer("app"), Promote).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied);
        assert!(fault.text.contains("`admin`") && fault.text.contains("`app`"), "{fault}");
        assert_eq!(authorize(&Caller::admin("ada"), Push).unwrap().holder(), "ada");
    }
}
