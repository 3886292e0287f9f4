//! `tenon receipts`: what a service served, when and why; and whether the record can be believed.

use std::path::PathBuf;

use ed25519_dalek::VerifyingKey;
use serde::Serialize;
use tenon_client::Client;
use tenon_contract::receipt::{Chain, Entry, read_key};
use tenon_contract::{Digest, ServiceName};

use super::failure::{Failure, Outcome};
use super::output;
use super::remote::{Remote, read, unknown_service};

mod entries;

/// Show the signed record of what a service served, and verify it
///
/// Each service has one chain of entries: intent, published, drained, retired, undone. An entry holds the
/// hash of the one before it and is signed by the node.
///
/// What --verify shows depends on what you bring. With --key you know who signed; with --head, noted down
/// earlier and elsewhere, you know that the end was not cut off. Without --key the server's own key is used:
/// that finds damage, but not a chain written anew by whoever holds the server. No receipt shows that the
/// clock of the node was right.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tenon receipts digits
  tenon receipts digits -v                          with the evidence of each entry
  tenon receipts digits --verify --key node.pub --head sha256:3f1a...
  tenon receipts --verify --file digits.chain --key node.pub

Note the key down once, on another machine:  curl -s localhost:8080/api/v1/node | jq -r .key > node.pub
Exit code 1 and the place of the fault if a chain does not verify.")]
pub struct Args {
    /// The service; all of them where none is named
    service: Option<ServiceName>,
    /// Check hashes, order and signatures of every entry
    #[arg(long)]
    verify: bool,
    /// Public key that must have signed: 64 hex digits in a file from outside the data folder
    #[arg(long, value_name = "FILE", requires = "verify")]
    key: Option<PathBuf>,
    /// Hash of an entry that the chain must hold, noted down earlier
    #[arg(long, value_name = "HASH", requires = "verify")]
    head: Option<Digest>,
    /// Read a chain from a file rather than from the server
    #[arg(long, value_name = "CHAIN", conflicts_with = "service")]
    file: Option<PathBuf>,
    /// Show the evidence of each entry too
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Args {
    /// Whether JSON is asked for.
    pub fn json(&self) -> bool {
        self.remote.json
    }
}

/// The chain of one service, as `--json` gives it.
#[derive(Serialize)]
struct Told {
    service: String,
    entries: Vec<Sealed>,
    head: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
}

#[derive(Serialize)]
struct Sealed {
    hash: Digest,
    entry: Entry,
}

/// What a verification rests on.
#[derive(Clone, Copy, Serialize)]
struct Verified {
    /// The key came from outside the server.
    own_key: bool,
    /// A head from outside the server is in the chain.
    own_head: bool,
}

/// Shows, and verifies where asked to.
pub async fn run(args: Args) -> Outcome {
    let client = args.remote.client()?;
    let chains = chains(&client, &args).await?;
    if args.head.is_some() && chains.len() > 1 {
        return Err(Failure::usage("--head is of one chain: say which service"));
    }
    let key = key(&client, &args).await?;
    let verified = key.map(|_| Verified { own_key: args.key.is_some(), own_head: args.head.is_some() });
    let mut told = Vec::new();
    for (service, text) in chains {
        let wrong = |error| Failure::new(format!("the chain of {service} does not hold: {error}"));
        let chain = Chain::read(&text, key.as_ref()).map_err(wrong)?;
        let (first, head) = (chain.entries.first(), chain.head());
        if let Some((first, _)) =
            first.filter(|(first, _)| args.file.is_none() && first.service.as_str() != service)
        {
            return Err(Failure::new(format!(
                "the chain of {service} does not hold: it is of service {}",
                first.service
            )));
        }
        if let Some(expected) = args.head {
            chain.holds(expected).map_err(wrong)?;
        }
        let service = first.map_or(service, |(first, _)| first.service.to_string());
        let entries = chain.entries.into_iter().map(|(entry, hash)| Sealed { hash, entry }).collect();
        told.push(Told { service, entries, head, verified });
    }
    output::show(args.remote.json, &told, |told| {
        told.iter().map(|told| shown(told, args.verbose)).collect::<Vec<_>>().join("\n\n")
    });
    Ok(())
}

/// The chains asked for, as text, each with the name it is asked for by.
async fn chains(client: &Client, args: &Args) -> Outcome<Vec<(String, String)>> {
    if let Some(path) = &args.file {
        let text = String::from_utf8(read(path)?)
            .map_err(|_| Failure::new(format!("{}: is not a chain: not UTF-8", path.display())))?;
        return Ok(vec![(path.display().to_string(), text)]);
    }
    let services = match &args.service {
        Some(service) => vec![service.clone()],
        None => client.services().await?.into_iter().map(|view| view.service).collect(),
    };
    let mut chains = Vec::new();
    for service in services {
        let text = client.receipts(&service).await.map_err(unknown_service)?;
        chains.push((service.to_string(), text));
    }
    Ok(chains)
}

/// The key to verify with: the user's, or else the server's own.
async fn key(client: &Client, args: &Args) -> Outcome<Option<VerifyingKey>> {
    if !args.verify {
        return Ok(None);
    }
    let text = match &args.key {
        Some(path) => String::from_utf8_lossy(&read(path)?).into_owned(),
        None => {
            let node = client.node().await.map_err(|error| {
                Failure::from(error).hint("without the server, name the public key with --key FILE")
            })?;
            node.key
        }
    };
    read_key(&text).map(Some).map_err(Failure::new)
}

fn shown(told: &Told, verbose: bool) -> String {
    let mut lines = vec![format!("{}: {} entries, head {}", told.service, told.entries.len(), told.head)];
    for sealed in &told.entries {
        lines.push(entries::line(&sealed.entry));
        if verbose {
            lines.push(format!("        {}", sealed.hash));
            lines.extend(entries::evidence(&sealed.entry.event).iter().map(|text| format!("        {text}")));
        }
    }
    if let Some(verified) = told.verified {
        lines.extend(judgement(verified, told).map(str::to_owned));
    }
    lines.join("\n")
}

/// What was shown by verifying, and what was not.
fn judgement(verified: Verified, told: &Told) -> impl Iterator<Item = &'static str> {
    let key = match verified.own_key {
        true => "verified: every entry is whole, in order, and signed by your key",
        false => {
            "verified with the server's own key: every entry is whole and in order. This proves less: \
             whoever holds the server could have written the chain anew. Bring --key FILE from elsewhere"
        }
    };
    let head = match (verified.own_head, told.entries.is_empty()) {
        (true, _) => "the chain holds your head: nothing up to it was cut off or replaced",
        (false, true) => "the chain is empty",
        (false, false) => {
            "nobody can tell whether its end was cut off: note the head down elsewhere and bring it with --head"
        }
    };
    [key, head].into_iter()
}
