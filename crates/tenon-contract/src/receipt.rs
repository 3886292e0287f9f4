//! Receipts: signed, chained entries about what a service served, when, and why.
//!
//! Each service has one chain. An entry names the hash of the entry before it; its own hash is the
//! sha256 of its text, and an Ed25519 signature stands beside it. A chain is therefore tamper-evident to
//! whoever holds the public key and the hash of a later entry (a *head*) outside the machine that
//! wrote it. Without an outside head nobody can see that the end was cut off; without an outside key
//! nobody can see that all of it was written anew. What a receipt does not prove: that the machine's
//! clock was right, or that the binary which signed was an honest one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Difference, Digest, Memory, ProofKey, ProofKind, Revision, ServiceName, VersionId};

/// Format of entries written today.
pub const FORMAT: u32 = 1;

/// Signed before the text, so that a signature of ours fits nothing else.
const DOMAIN: &[u8] = b"tenon receipt 1\n";

/// Which revision, with which bytes behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRef {
    /// Its number.
    pub number: u64,
    /// sha256 of the revision's stored document.
    pub document: Digest,
    /// The version that answers.
    pub version: VersionId,
    /// sha256 of its artifact.
    pub artifact: Digest,
}

impl RevisionRef {
    /// The reference to `revision`.
    pub fn to(revision: &Revision) -> Self {
        let version = revision.version();
        Self {
            number: revision.number,
            document: Digest::of(&revision.write()),
            version: version.id.clone(),
            artifact: version.digest,
        }
    }
}

/// What a chain records, in the order of a swap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Event {
    /// The swap is about to be published: all checks are behind it.
    Intent(Box<Intent>),
    /// New requests are answered by `to`.
    Published(Published),
    /// The last request on the old revision has ended.
    Drained(Drained),
    /// The old revision is out of memory.
    Retired(Retired),
    /// The service went back to its previous revision. Written after it was published.
    Undone(Undone),
    /// A swap whose intent stands in the chain did not happen.
    Abandoned {
        /// Which one.
        swap: u64,
        /// Why.
        reason: String,
    },
}

impl Event {
    /// Name of the kind, as in `what`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::Published(_) => "published",
            Self::Drained(_) => "drained",
            Self::Retired(_) => "retired",
            Self::Undone(_) => "undone",
            Self::Abandoned { .. } => "abandoned",
        }
    }

    /// What the service serves from this entry on, where the entry says so: `Some(None)` is nothing.
    pub fn serves(&self) -> Option<Option<&RevisionRef>> {
        match self {
            Self::Published(published) => Some(published.to.as_ref()),
            Self::Undone(undone) => Some(Some(&undone.to)),
            _ => None,
        }
    }
}

/// Why and from what to what; everything that was checked before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Number of the swap in this chain, from 1.
    pub swap: u64,
    /// What answered before.
    pub from: Option<RevisionRef>,
    /// What will answer; nothing when the service is taken away.
    pub to: Option<RevisionRef>,
    /// Who asked.
    pub actor: String,
    /// Why; a breaking change needs a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Contract of the service against what the version offers.
    pub check: Difference,
    /// What the version was proven on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofEvidence>,
    /// Memory admitted for it.
    pub memory: Memory,
    /// Time to read, load and prove, microseconds.
    pub load_micros: u64,
    /// Time to prove, microseconds.
    pub prove_micros: u64,
}

/// What stands in a receipt of a proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProofEvidence {
    /// `golden` or `synthetic`.
    pub proof: ProofKind,
    /// Examples answered.
    pub examples: u32,
    /// Under which key.
    pub key: ProofKey,
}

/// The moment of the exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Number of the swap.
    pub swap: u64,
    /// The generation from which on `to` answers.
    pub generation: u64,
    /// What answers now.
    pub to: Option<RevisionRef>,
    /// Requests on the old revision at that moment.
    pub in_flight: u64,
    /// Longest time the exchange itself took, microseconds.
    pub publish_micros: u64,
    /// Traffic of the service from the start of the load to the exchange.
    pub during_load: Traffic,
}

/// Requests of a service in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Answered.
    pub answered: u64,
    /// Failed by our or the model's fault.
    pub failed: u64,
    /// Refused early.
    pub refused: u64,
    /// 99th percentile of the time inside the node, microseconds; the upper edge of its bucket.
    pub p99_micros: u64,
}

/// The old revision's last request has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// Number of the swap.
    pub swap: u64,
    /// The revision that drained.
    pub revision: u64,
    /// From publication to the last request's end, microseconds.
    pub drain_micros: u64,
    /// Whether it took longer than the deadline of the settings.
    pub late: bool,
    /// Traffic of the service from the exchange to here.
    pub during_drain: Traffic,
}

/// The old revision's memory was given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    /// The revision that left.
    pub revision: u64,
    /// What was given back.
    pub memory: Memory,
    /// Why now: `superseded`, `undo window closed`, `memory needed`, `removed`, `node stopped`.
    pub cause: String,
    /// What an undo to it would cost from here on.
    pub undo_costs: String,
}

/// Back to the previous revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// Number of the swap in this chain.
    pub swap: u64,
    /// The generation from which on `to` answers.
    pub generation: u64,
    /// What answered before.
    pub from: RevisionRef,
    /// What answers now.
    pub to: RevisionRef,
    /// Who asked.
    pub actor: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From the command's arrival to publication, microseconds.
    pub published_micros: u64,
    /// Requests on the undone revision at that moment.
    pub in_flight: u64,
}

/// One entry of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Format of the entry.
    pub version: u32,
    /// The service whose chain this is.
    pub service: ServiceName,
    /// Place in the chain, from 1.
    pub sequence: u64,
    /// Hash of the entry before; zeros for the first.
    pub previous: Digest,
    /// Wall clock of the node, milliseconds since 1970.
    pub at: u64,
    /// The node that wrote it.
    pub node: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// A line of a chain file: the entry's exact text, its hash and its signature.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    entry: &'a RawValue,
    hash: Digest,
    signature: String,
}

impl Entry {
    /// The entry as a signed line without its newline, and its hash.
    pub fn seal(&self, key: &SigningKey) -> (String, Digest) {
        let text = serde_json::to_string(self).expect("an entry is writable as JSON");
        let hash = Digest::of(text.as_bytes());
        let signature = BASE64.encode(key.sign(&signed(&text)).to_bytes());
        let entry = RawValue::from_string(text).expect("an entry is JSON");
        let line = Line { entry: &entry, hash, signature };
        (serde_json::to_string(&line).expect("a line is writable as JSON"), hash)
    }
}

fn signed(text: &str) -> Vec<u8> {
    [DOMAIN, text.as_bytes()].concat()
}

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {place}: {fault}")]
pub struct ChainError {
    /// Place of the entry in the file, from 1.
    pub place: usize,
    /// What is wrong.
    pub fault: ChainFault,
}

/// The ways in which a chain can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Not a line of the format.
    #[error("is not readable: {0}")]
    Unreadable(String),
    /// Another format than this build reads.
    #[error("has format {0}, this build reads {FORMAT}")]
    Format(u32),
    /// The text is not what was hashed.
    #[error("was edited: its text does not have the hash beside it")]
    Edited,
    /// The signature is not one of the key.
    #[error("is not signed by this key")]
    Signature,
    /// The hash of the entry before is another one.
    #[error("does not follow the entry before it: entries were removed, added or reordered")]
    Order,
    /// Of another service's chain.
    #[error("belongs to service {0}")]
    Service(ServiceName),
    /// The expected head is no entry of the chain.
    #[error("the chain ends here and does not hold the expected head {0}: its end was cut off or replaced")]
    Head(Digest),
}

/// A read chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// The entries in order, each with its hash.
    pub entries: Vec<(Entry, Digest)>,
}

impl Chain {
    /// Reads a chain file and checks hashes, order and service, and signatures where a key is given.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn read(text: &str, key: Option<&VerifyingKey>) -> Result<Self, ChainError> {
        let mut chain = Self::default();
        for (index, line) in text.lines().enumerate() {
            let entry = chain.read_line(line, key).map_err(|fault| ChainError { place: index + 1, fault })?;
            chain.entries.push(entry);
        }
        Ok(chain)
    }

    fn read_line(&self, line: &str, key: Option<&VerifyingKey>) -> Result<(Entry, Digest), ChainFault> {
        let unreadable = |error: serde_json::Error| ChainFault::Unreadable(error.to_string());
        let line: Line<'_> = serde_json::from_str(line).map_err(unreadable)?;
        let text = line.entry.get();
        if Digest::of(text.as_bytes()) != line.hash {
            return Err(ChainFault::Edited);
        }
        if let Some(key) = key {
            let signature = BASE64.decode(&line.signature).ok();
            let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
            let signature = signature.ok_or(ChainFault::Signature)?;
            key.verify_strict(&signed(text), &signature).map_err(|_| ChainFault::Signature)?;
        }
        let entry: Entry = serde_json::from_str(text).map_err(unreadable)?;
        if entry.version != FORMAT {
            return Err(ChainFault::Format(entry.version));
        }
        if let Some((first, _)) = self.entries.first().filter(|(first, _)| first.service != entry.service) {
            let _ = first;
            return Err(ChainFault::Service(entry.service));
        }
        if entry.previous != self.head() || entry.sequence != self.entries.len() as u64 + 1 {
            return Err(ChainFault::Order);
        }
        Ok((entry, line.hash))
    }

    /// Checks that `head`, noted down earlier and elsewhere, is still an entry of the chain.
    ///
    /// # Errors
    /// It is not: the end was cut off or replaced.
    pub fn holds(&self, head: Digest) -> Result<(), ChainError> {
        if self.entries.iter().any(|(_, hash)| *hash == head) {
            return Ok(());
        }
        Err(ChainError { place: self.entries.len(), fault: ChainFault::Head(head) })
    }

    /// Hash of the last entry; zeros where there is none.
    pub fn head(&self) -> Digest {
        self.entries.last().map_or(Digest::ZERO, |(_, hash)| *hash)
    }

    /// What the service serves at the end of the chain.
    pub fn serves(&self) -> Option<&RevisionRef> {
        self.entries.iter().rev().find_map(|(entry, _)| entry.event.serves()).flatten()
    }

    /// What the service served before that: where an undo goes back to.
    pub fn previous(&self) -> Option<&RevisionRef> {
        let serving = self.entries.iter().rev().find(|(entry, _)| entry.event.serves().is_some());
        match &serving?.0.event {
            Event::Undone(undone) => Some(&undone.from),
            Event::Published(published) => self.intent(published.swap)?.from.as_ref(),
            _ => None,
        }
    }

    /// The intent of a swap.
    pub fn intent(&self, swap: u64) -> Option<&Intent> {
        self.entries.iter().rev().find_map(|(entry, _)| match &entry.event {
            Event::Intent(intent) if intent.swap == swap => Some(&**intent),
            _ => None,
        })
    }

    /// The last swap, where its intent is the end of the story: neither published nor abandoned.
    pub fn unfinished(&self) -> Option<u64> {
        let last = self.entries.iter().rev().find_map(|(entry, _)| match &entry.event {
            Event::Intent(intent) => Some(Some(intent.swap)),
            Event::Published(_) | Event::Undone(_) | Event::Abandoned { .. } => Some(None),
            _ => None,
        });
        last.flatten()
    }

    /// The highest generation that the chain names.
    pub fn generation(&self) -> u64 {
        let of = |(entry, _): &(Entry, Digest)| match &entry.event {
            Event::Published(published) => published.generation,
            Event::Undone(undone) => undone.generation,
            _ => 0,
        };
        self.entries.iter().map(of).max().unwrap_or(0)
    }

    /// The highest revision number that the chain names, also where it never came to be served.
    pub fn highest_revision(&self) -> u64 {
        let of = |(entry, _): &(Entry, Digest)| match &entry.event {
            Event::Intent(intent) => intent.to.as_ref().map_or(0, |to| to.number),
            _ => 0,
        };
        self.entries.iter().map(of).max().unwrap_or(0)
    }

    /// Number of the last swap.
    pub fn last_swap(&self) -> u64 {
        let swap = |(entry, _): &(Entry, Digest)| match &entry.event {
            Event::Intent(intent) => Some(intent.swap),
            Event::Undone(undone) => Some(undone.swap),
            _ => None,
        };
        self.entries.iter().rev().find_map(swap).unwrap_or(0)
    }
}

/// The public key as 64 hex digits, as `tenon receipts --key` reads it.
pub fn write_key(key: &VerifyingKey) -> String {
    Digest::from_bytes(key.to_bytes()).hex()
}

/// Reads a public key from 64 hex digits; white space around them is passed over.
///
/// # Errors
/// Not 64 hex digits, or no point of the curve.
pub fn read_key(text: &str) -> Result<VerifyingKey, String> {
    let bytes: Digest = text.trim().parse().map_err(|_| "a public key is 64 hex digits".to_owned())?;
    VerifyingKey::from_bytes(bytes.as_bytes())
        .map_err(|_| "these 64 hex digits are no Ed25519 public key".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    /// A chain of `count` entries signed by `key`.
    fn chain(count: u64, key: &SigningKey) -> Vec<String> {
        let mut previous = Digest::ZERO;
        let mut lines = Vec::new();
        for sequence in 1..=count {
            let event = Event::Abandoned { swap: sequence, reason: "test".into() };
            let service = "s".parse().unwrap();
            let entry =
                Entry { version: FORMAT, service, sequence, previous, at: 7, node: "n".into(), event };
            let (line, hash) = entry.seal(key);
            lines.push(line);
            previous = hash;
        }
        lines
    }

    fn fault(lines: &[String], signer: &SigningKey) -> ChainFault {
        Chain::read(&lines.join("\n"), Some(&signer.verifying_key())).unwrap_err().fault
    }

    #[test]
    fn an_honest_chain_reads() {
        let lines = chain(4, &key(1));
        let chain = Chain::read(&lines.join("\n"), Some(&key(1).verifying_key())).unwrap();
        assert_eq!((chain.entries.len(), chain.last_swap()), (4, 0));
        assert_eq!(chain.holds(chain.entries[1].1), Ok(()));
    }

    #[test]
    fn every_forgery_is_found() {
        let honest = chain(4, &key(1));
        let edited: Vec<_> = honest.iter().map(|line| line.replace("test", "lies")).collect();
        assert_eq!(fault(&edited, &key(1)), ChainFault::Edited);
        let mut rehashed = honest.clone();
        rehashed[1] = chain(2, &key(2))[1].clone();
        assert_eq!(fault(&rehashed, &key(1)), ChainFault::Signature);
        let mut reordered = honest.clone();
        reordered.swap(1, 2);
        assert_eq!(fault(&reordered, &key(1)), ChainFault::Order);
        let mut removed = honest.clone();
        removed.remove(0);
        assert_eq!(fault(&removed, &key(1)), ChainFault::Order);
        assert_eq!(fault(&chain(4, &key(2)), &key(1)), ChainFault::Signature, "signed anew with another key");
        let head = Chain::read(&honest.join("\n"), None).unwrap().head();
        let truncated = Chain::read(&honest[..3].join("\n"), Some(&key(1).verifying_key())).unwrap();
        assert_eq!(truncated.holds(head).unwrap_err().fault, ChainFault::Head(head));
        assert!(matches!(fault(&["{".into()], &key(1)), ChainFault::Unreadable(_)));
    }

    #[test]
    fn keys_read_back() {
        let public = key(1).verifying_key();
        assert_eq!(read_key(&format!("{}\n", write_key(&public))), Ok(public));
        assert!(read_key("abc").is_err());
    }
}
