//! Which server a command speaks to, and the arguments that several commands share.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tenon_client::{Client, Options};
use tenon_contract::{ModelName, ServiceName, VersionId};

use super::failure::{Failure, Outcome};

/// Heading of the arguments that say which server is meant.
const SERVER: &str = "Server";

/// The server, and how to show who one is.
#[derive(Debug, Clone, clap::Args)]
pub struct Remote {
    /// Address of the server
    #[arg(
        long,
        help_heading = SERVER,
        value_name = "URL",
        env = "TENON_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    pub server: String,
    /// File with the token to show
    ///
    /// A server on this machine keeps its admin token in its data folder, where it is looked for if no
    /// file is named. It is shown to servers on this machine only.
    #[arg(long, help_heading = SERVER, value_name = "FILE", env = "TENON_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
    /// Data folder of a server on this machine, to find its token
    #[arg(
        long,
        help_heading = SERVER,
        value_name = "DIR",
        env = "TENON_DATA",
        hide_env_values = true,
        default_value = "./tenon-data"
    )]
    pub data_folder: PathBuf,
    /// Certificates in PEM to trust beside those of the system
    #[arg(long, help_heading = SERVER, value_name = "FILE", env = "TENON_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<PathBuf>,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long)]
    pub json: bool,
}

impl Remote {
    /// A client of that server.
    pub fn client(&self) -> Outcome<Client> {
        let authorities = match &self.ca_file {
            Some(path) => Some(read(path)?),
            None => None,
        };
        Ok(Client::new(&Options { server: self.server.clone(), token: self.token()?, authorities })?)
    }

    fn token(&self) -> Outcome<Option<String>> {
        let clean = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        match &self.token_file {
            Some(path) => read(path).map(clean).map(Some),
            None if is_here(&self.server) => {
                // Not being there, or being of somebody else, is no fault: reading needs no token.
                Ok(std::fs::read(self.data_folder.join("admin.token")).ok().map(clean))
            }
            None => Ok(None),
        }
    }
}

/// Whether an address is on this machine for sure.
fn is_here(server: &str) -> bool {
    let Ok(uri) = server.parse::<reqwest::Url>() else { return false };
    match uri.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// The bytes of a file that the user named.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let text = format!("read {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(text),
            _ => Failure::new(text),
        }
    })
}

/// A version as users name it: `digits/2`, or `digits` for the latest.
#[derive(Debug, Clone, PartialEq)]
pub enum VersionArg {
    /// That very version.
    Exactly(VersionId),
    /// The latest of the model.
    Latest(ModelName),
}

impl FromStr for VersionArg {
    type Err = tenon_contract::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains('/') {
            true => text.parse().map(Self::Exactly),
            false => text.parse().map(Self::Latest),
        }
    }
}

impl VersionArg {
    /// The version meant.
    pub async fn resolve(&self, client: &Client) -> Outcome<VersionId> {
        match self {
            Self::Exactly(id) => Ok(id.clone()),
            Self::Latest(model) => {
                let detail = client.model(model).await.map_err(unknown_model)?;
                Ok(VersionId { model: model.clone(), number: detail.model.latest })
            }
        }
    }
}

/// A failure that may be an unknown model.
pub fn unknown_model(error: tenon_client::ClientError) -> Failure {
    Failure::from(error).if_not_found("`tenon models` lists what there is")
}

/// A failure that may be an unknown service.
pub fn unknown_service(error: tenon_client::ClientError) -> Failure {
    Failure::from(error).if_not_found("`tenon services` and `tenon models` list what there is")
}

/// The service named, or the only one there is.
pub async fn service_or_only(client: &Client, named: Option<&ServiceName>) -> Outcome<ServiceName> {
    if let Some(service) = named {
        return Ok(service.clone());
    }
    let mut services = client.services().await?;
    match (services.pop(), services.is_empty()) {
        (Some(only), true) => Ok(only.service),
        (None, _) => Err(Failure::not_found("the server has no service")
            .hint("make one with `tenon deploy SERVICE VERSION`")),
        (Some(last), false) => {
            let names: Vec<_> = services.iter().chain([&last]).map(|view| view.service.as_str()).collect();
            Err(Failure::usage(format!("say which service: {}", names.join(", "))))
        }
    }
}

/// A time as `250ms`, `10s` or `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time: write `250ms`, `10s` or `2m`");
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.trim().parse().map_err(|_| refused())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(refused()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| refused())
}

/// A share as `60%` or `0.6`.
pub fn share(text: &str) -> Result<f64, String> {
    let refused = || format!("`{text}` is no share: write `60%` or `0.6`");
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    value.ok().filter(|share| *share > 0.0 && *share <= 1.5).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let ms = |text: &str| duration(text).map(|time| time.as_millis()).ok();
        assert_eq!(
            [ms("250ms"), ms("1.5s"), ms("2m"), ms("5"), ms("-1s"), ms("xs")],
            [Some(250), Some(1500), Some(120_000), None, None, None]
        );
        assert_eq!(
            [share("60%").ok(), share("0.6").ok(), share("0").ok(), share("x").ok()],
            [Some(0.6), Some(0.6), None, None]
        );
        assert!(matches!("digits/2".parse(), Ok(VersionArg::Exactly(id)) if id.number == 2));
        assert!(matches!("digits".parse(), Ok(VersionArg::Latest(_))));
        assert!("digits/x".parse::<VersionArg>().is_err());
    }

    #[test]
    fn tokens_of_this_machine_stay_on_it() {
        for here in ["http://127.0.0.1:8080", "http://localhost", "https://[::1]:1", "http://127.1.2.3"] {
            assert!(is_here(here), "{here}");
        }
        for there in
            ["http://10.0.0.1:8080", "http://localhost.example.com", "http://127.0.0.1.example.com", "x"]
        {
            assert!(!is_here(there), "{there}");
        }
    }
}
