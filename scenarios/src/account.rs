//! The account: what somebody outside knows of a server, and what must therefore be true after a kill.
//!
//! * The node serves what was acknowledged last, or what was in flight. Answers to known inputs decide
//!   what it serves, and the identity in them must say the same.
//! * Numbers of revisions and generations never go back, and a generation names one revision only.
//! * The chain of receipts verifies with a key and a head noted outside, and its end is what is served.
//! * A version is there whole, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use tenon_contract::receipt::{Chain, read_key};
use tenon_contract::{Digest, Version};

use crate::deed::{Deed, Done, SERVICE, Upload, version};
use crate::server::Server;
use crate::witness::{Sight, look};

/// What is known outside.
#[derive(Debug, Default)]
pub struct Account {
    /// What each upload adds.
    uploads: BTreeMap<Digest, u64>,
    /// Versions that there are: number to digest.
    versions: BTreeMap<u64, Digest>,
    /// The version served, as acknowledged; nothing where there is no service.
    serves: Option<u64>,
    /// Where an undo goes.
    previous: Option<u64>,
    /// What would be served if the deed under way came to its end.
    in_flight: Option<Option<u64>>,
    /// The number that its revision must exceed, where it makes a new one.
    above: Option<u64>,
    /// The revision behind each generation that answered.
    generations: BTreeMap<u64, u64>,
    /// The highest revision that was acknowledged or answered.
    revision: u64,
    /// The public key as the first start told it.
    key: Option<String>,
    /// The last head that was acknowledged.
    head: Option<Digest>,
}

impl Account {
    /// The version that is served.
    pub fn serves(&self) -> Option<u64> {
        self.serves
    }

    /// The version an undo goes back to.
    pub fn previous(&self) -> Option<u64> {
        self.previous
    }

    /// A version that adds something else than what is served.
    pub fn other(&self) -> Option<u64> {
        let now = self.serves.map(|version| self.added(version));
        self.versions.keys().rev().copied().find(|version| now != Some(self.added(*version)))
    }

    /// What a version adds; nothing is ever added by one that is not known.
    fn added(&self, version: u64) -> u64 {
        let digest = self.versions.get(&version);
        digest.and_then(|digest| self.uploads.get(digest)).copied().unwrap_or(0)
    }

    /// Notes what is asked for.
    pub fn begins(&mut self, deed: &Deed) {
        let makes_revision = matches!(deed, Deed::Deploy(_) | Deed::Swap(_));
        self.above = makes_revision.then_some(self.revision);
        match deed {
            Deed::Push(Upload { added, digest, .. }) => {
                self.uploads.insert(*digest, *added);
            }
            Deed::Deploy(version) | Deed::Swap(version) => self.in_flight = Some(Some(*version)),
            Deed::Undo => self.in_flight = Some(self.previous),
            Deed::Remove => self.in_flight = Some(None),
        }
    }

    /// Notes what was acknowledged.
    ///
    /// # Errors
    /// It is not what was asked for.
    pub fn ends(&mut self, done: &Done) -> Result<()> {
        match done {
            Done::Pushed(job) => ensure!(job.version.is_some(), "a push ended without a version"),
            Done::Swapped(swapped) => {
                let to = swapped.to.as_ref().map(|to| to.version.number);
                let asked = self.in_flight.take();
                ensure!(asked == Some(to), "asked for {asked:?}, acknowledged is {to:?}");
                if let (Some(to), Some(above)) = (&swapped.to, self.above) {
                    ensure!(to.number > above, "revision {} after {above}", to.number);
                    self.revision = self.revision.max(to.number);
                }
                self.previous = self.serves;
                self.serves = to;
                self.head = Some(swapped.head);
            }
        }
        Ok(())
    }

    /// Notes that what was asked for was refused: what is served is as it was.
    pub fn refused(&mut self) {
        self.in_flight = None;
    }

    /// Notes what a load saw while a deed was under way, by generation.
    ///
    /// # Errors
    /// An answer of a version that may not answer, or one that bears the name of another.
    pub fn saw(&mut self, sights: BTreeSet<Option<Sight>>) -> Result<()> {
        let may_be_absent = self.serves.is_none() || self.in_flight == Some(None);
        ensure!(may_be_absent || !sights.contains(&None), "the service was not there for some callers");
        sights.iter().flatten().try_for_each(|sight| self.check(sight))
    }

    /// Looks at a server that was started again, and settles what is served from now on.
    ///
    /// # Errors
    /// What must be true after a kill is not.
    pub async fn judge(&mut self, server: &Server) -> Result<()> {
        self.judge_versions(server).await?;
        let sight = look(server.port(), SERVICE)?;
        let number = match &sight {
            None => None,
            Some(sight) => {
                self.check(sight)?;
                let known =
                    self.versions.keys().find(|number| version(**number).to_string() == sight.version);
                Some(*known.context("answered by a version that is not known")?)
            }
        };
        let asked = self.in_flight.take();
        if asked.is_some_and(|asked| asked == number) && number != self.serves {
            self.previous = self.serves;
        } else {
            ensure!(number == self.serves, "serves {number:?}, acknowledged is {:?}", self.serves);
        }
        self.serves = number;
        self.judge_chain(server, sight.as_ref()).await
    }

    /// Whether an answer may be: of the version acknowledged or the one in flight, and under its name.
    fn check(&mut self, sight: &Sight) -> Result<()> {
        let allowed = [self.serves, self.in_flight.flatten()];
        let found =
            allowed.into_iter().flatten().find(|number| version(*number).to_string() == sight.version);
        let Some(number) = found else { bail!("{sight:?} answers; allowed are versions {allowed:?}") };
        ensure!(self.added(number) == sight.added, "the body of another version in {sight:?}");
        let digest = self.versions.get(&number).map(ToString::to_string).unwrap_or_default();
        ensure!(digest == sight.digest, "{sight:?} bears another digest than {digest}");
        self.revision = self.revision.max(sight.revision);
        let last = self.generations.last_key_value().map_or(0, |(generation, _)| *generation);
        ensure!(sight.generation >= last, "generation {} after {last}", sight.generation);
        let revision = *self.generations.entry(sight.generation).or_insert(sight.revision);
        ensure!(
            revision == sight.revision,
            "generation {} named revision {revision}, now {}",
            sight.generation,
            sight.revision
        );
        Ok(())
    }

    /// Versions are those of uploads, each once; what was a version stays one.
    async fn judge_versions(&mut self, server: &Server) -> Result<()> {
        let model = version(1).model;
        let versions: Vec<Version> = match server.client()?.model(&model).await {
            Ok(detail) => detail.versions,
            Err(tenon_client::ClientError::Refused { status: 404, .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let now: BTreeMap<u64, Digest> =
            versions.iter().map(|version| (version.id.number, version.digest)).collect();
        for (number, digest) in &self.versions {
            ensure!(now.get(number) == Some(digest), "version {number} is no longer there or another one");
        }
        let distinct: BTreeSet<_> = now.values().collect();
        ensure!(distinct.len() == now.len(), "some bytes are two versions: {now:?}");
        let strangers = now.values().any(|digest| !self.uploads.contains_key(digest));
        ensure!(!strangers, "a version of bytes that nobody pushed: {now:?}");
        self.versions = now;
        Ok(())
    }

    /// The chain verifies from outside, and its end is what is served.
    async fn judge_chain(&mut self, server: &Server, sight: Option<&Sight>) -> Result<()> {
        let client = server.client()?;
        let told = client.node().await?.key;
        let key = self.key.get_or_insert_with(|| told.clone());
        ensure!(*key == told, "the node has another key than before");
        let key = read_key(key).map_err(anyhow::Error::msg)?;
        let Some(head) = self.head else { return Ok(()) };
        let text = chain_text(server)?;
        let chain = Chain::read(&text, Some(&key)).context("verify the chain")?;
        chain.holds(head).context("verify the chain")?;
        let serves = chain.serves().map(|to| (to.version.to_string(), to.number));
        let seen = sight.map(|sight| (sight.version.clone(), sight.revision));
        ensure!(serves == seen, "the chain ends with {serves:?}, served is {seen:?}");
        self.head = Some(chain.head());
        self.previous = chain.previous().map(|to| to.version.number);
        Ok(())
    }
}

/// The chain as it stands on the disk: that of a service which was taken away can still be read.
fn chain_text(server: &Server) -> Result<String> {
    let path = server.data().join(format!("node/receipts/{SERVICE}.chain"));
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    // The server may be appending: what has no newline yet is not there yet.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    Ok(text[..whole].to_owned())
}
