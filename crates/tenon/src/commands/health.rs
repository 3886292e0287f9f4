//! `tenon health`: what a container or a supervisor asks again and again, with an exit code to act on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::failure::{Failure, Outcome};
use super::output;
use super::serve::SettingArgs;
use crate::config::Config;

/// How long an answer may take; those who ask have a limit of their own, and it is rarely shorter.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ask the server on this machine whether it is ready
///
/// Reads the same settings as `tenon serve`, so it knows where the server listens and whether it speaks TLS. For
/// health checks of containers, which hold no other program. Ends with 0 when it is ready, 1 when it says that it
/// is not, 4 when nobody answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
    /// Ask only whether the process answers, not whether every service does
    ///
    /// For those who restart what is not well: a service that is down is no reason to take the others away.
    #[arg(long)]
    live: bool,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.json
    }
}

/// What the server said of itself.
#[derive(Serialize)]
struct Health {
    url: String,
    says: String,
}

/// Asks once.
pub async fn run(args: Args) -> Outcome {
    let config = args.settings.raw()?.check()?;
    let url = url(&config, if args.live { "/livez" } else { "/readyz" });
    let unreachable = |error: reqwest::Error| Failure::unreachable(&url, &error);
    let answer = client()?.get(&url).send().await.map_err(unreachable)?;
    let (status, says) = (answer.status(), answer.text().await.map_err(unreachable)?);
    let says = says.trim_end().to_owned();
    if !status.is_success() {
        return Err(Failure::new(says));
    }
    output::show(args.json, &Health { says, url }, |health| health.says.clone());
    Ok(())
}

fn client() -> Outcome<reqwest::Client> {
    // An error says that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        // The server is on this machine; the environment's proxy is for others.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        // The certificate bears the name that callers use. Nothing secret is sent, and nothing but a yes is taken.
        .tls_danger_accept_invalid_certs(true)
        .build();
    client.map_err(|error| Failure::new(format!("set up HTTP: {error}")))
}

fn url(config: &Config, path: &str) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}{path}", reachable(config.listen))
}

/// Where a server that listens on `listen` is reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected, "{listen}");
        };
        check("0.0.0.0:8080", "127.0.0.1:8080");
        check("[::]:8443", "[::1]:8443");
        check("127.0.0.1:1", "127.0.0.1:1");
        check("10.0.0.5:80", "10.0.0.5:80");
    }
}
