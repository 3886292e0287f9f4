//! Scenarios: the built binary through its published interfaces, and what happens to it.
//!
//! * [`story`] and [`stage`]: stories as data, steps of a command or request and what is expected.
//! * [`guide`]: pages of `docs/guides` as stories.
//! * [`server`]: a real server process on a free port with folders of its own, to be killed.
//! * [`collector`]: a collector of traces that keeps what it is sent.
//! * [`witness`]: what a node serves, decided by known inputs and by the identity in its answers.
//! * [`deed`], [`account`] and [`site`]: what is asked of a server that may be killed while it does it, what is
//!   known of it outside, and what must therefore be true when it is started again.
//! * [`container`]: an unpacked image, and a container of it without an engine.
//!
//! Nothing here knows the inside of Tenon: what users see is all there is. The tests stand in `tests/`.

pub mod account;
pub mod binary;
pub mod collector;
pub mod container;
pub mod deed;
pub mod guide;
pub mod http;
pub mod server;
pub mod site;
mod skip;
pub mod stage;
pub mod story;
pub mod witness;

pub use skip::skip;
