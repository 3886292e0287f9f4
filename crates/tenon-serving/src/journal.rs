//! The receipt chains on the node's own disk: one file a service, one signed line an entry.
//!
//! The chains are the node's memory: what the last `published` or `undone` entry of a chain names is what
//! the node serves after a restart, without catalog or network. An entry is appended, flushed to the disk
//! and only then acknowledged. A line that was torn by a crash was never acknowledged and is cut off;
//! anything else that does not verify is set aside whole, and the valid beginning goes on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ed25519_dalek::{SigningKey, VerifyingKey};
use tenon_contract::receipt::{Chain, Entry, Event, FORMAT};
use tenon_contract::{Digest, Fault, ServiceName};

use crate::clock;
use crate::disk::write_whole;

/// Most bytes of a chain file that are read.
const CHAIN_LIMIT: u64 = 1 << 30;

/// Writes and reads the chains of a node.
pub struct Journal {
    folder: PathBuf,
    node: String,
    key: SigningKey,
    tails: Mutex<BTreeMap<ServiceName, Tail>>,
}

/// The end of a chain.
struct Tail {
    file: File,
    length: u64,
    sequence: u64,
    head: Digest,
    /// An append failed and could not be taken back: nothing can follow it.
    torn: bool,
}

impl Journal {
    /// Opens the chains under `folder`; makes folder and key where they are not there yet.
    ///
    /// # Errors
    /// The folder or the key cannot be read or made.
    pub fn open(folder: &Path, node: &str) -> Result<(Self, BTreeMap<ServiceName, Chain>), Fault> {
        let failed =
            |error: io::Error| Fault::internal(format!("open receipts in {}: {error}", folder.display()));
        let chains_folder = folder.join("receipts");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&chains_folder).map_err(failed)?;
        let key = read_or_make_key(folder).map_err(failed)?;
        let tails = Mutex::default();
        let journal = Self { folder: chains_folder, node: node.to_owned(), key, tails };
        let mut chains = BTreeMap::new();
        for entry in fs::read_dir(&journal.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(service) = service_of(&path) else { continue };
            let chain = journal.open_chain(&service, &path).map_err(failed)?;
            chains.insert(service, chain);
        }
        Ok((journal, chains))
    }

    /// The public key that verifies the chains.
    pub fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// Appends an entry and flushes it to the disk; gives its hash.
    ///
    /// # Errors
    /// The disk refused: then the chain is as it was.
    pub fn append(&self, service: &ServiceName, event: Event) -> Result<Digest, Fault> {
        let what = event.name();
        let failed = |error: io::Error| {
            Fault::internal(format!("journal `{what}` of {service} in {}: {error}", self.folder.display()))
        };
        let mut tails = self.tails();
        if !tails.contains_key(service) {
            let tail = self.create(service).map_err(failed)?;
            tails.insert(service.clone(), tail);
        }
        let tail = tails.get_mut(service).ok_or_else(|| Fault::internal("journal lost a chain"))?;
        let entry = Entry {
            version: FORMAT,
            service: service.clone(),
            sequence: tail.sequence + 1,
            previous: tail.head,
            at: clock::wall_ms(),
            node: self.node.clone(),
            event,
        };
        let (mut line, head) = entry.seal(&self.key);
        line.push('\n');
        tail.append(line.as_bytes()).map_err(failed)?;
        (tail.sequence, tail.head) = (entry.sequence, head);
        tracing::info!(%service, entry = what, sequence = entry.sequence, %head, "receipt");
        Ok(head)
    }

    /// The chain of a service as it stands on the disk.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn text(&self, service: &ServiceName) -> Result<String, Fault> {
        let length = self.tails().get(service).map(|tail| tail.length);
        let length = length.ok_or_else(|| Fault::not_found(format!("service {service} has no receipts")))?;
        let failed = |error: io::Error| Fault::internal(format!("read receipts of {service}: {error}"));
        let mut text = String::new();
        let file = File::open(self.path(service)).map_err(failed)?;
        file.take(length).read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    }

    /// Hash of the last entry of a service's chain; zeros where there is none.
    pub fn head(&self, service: &ServiceName) -> Digest {
        self.tails().get(service).map_or(Digest::ZERO, |tail| tail.head)
    }

    /// Place and hash of the last entry of a service's chain.
    pub fn end(&self, service: &ServiceName) -> Option<(u64, Digest)> {
        self.tails().get(service).map(|tail| (tail.sequence, tail.head))
    }

    /// Services that have a chain.
    pub fn services(&self) -> Vec<ServiceName> {
        self.tails().keys().cloned().collect()
    }

    fn tails(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, service: &ServiceName) -> PathBuf {
        self.folder.join(format!("{service}.chain"))
    }

    fn create(&self, service: &ServiceName) -> io::Result<Tail> {
        let options = OpenOptions::new().read(true).append(true).create(true).mode(0o600).clone();
        let file = options.open(self.path(service))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Tail { file, length: 0, sequence: 0, head: Digest::ZERO, torn: false })
    }

    /// Reads a chain; a torn last line is cut off, a damaged file is set aside and its valid beginning kept.
    fn open_chain(&self, service: &ServiceName, path: &Path) -> io::Result<Chain> {
        let mut bytes = Vec::new();
        File::open(path)?.take(CHAIN_LIMIT).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            tracing::warn!(%service, bytes = bytes.len() - whole, "cut off a receipt that was torn by a crash");
        }
        let (chain, valid) = self.valid_beginning(service, &bytes[..whole]);
        if valid < whole {
            let aside = aside(path);
            fs::copy(path, &aside)?;
            tracing::error!(%service, kept = chain.entries.len(), set_aside = %aside.display(),
                "receipts do not verify; the valid beginning goes on");
        }
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        if (valid as u64) < file.metadata()?.len() {
            file.set_len(valid as u64)?;
            file.sync_all()?;
        }
        let (sequence, head) = (chain.entries.len() as u64, chain.head());
        let tail = Tail { file, length: valid as u64, sequence, head, torn: false };
        self.tails().insert(service.clone(), tail);
        Ok(chain)
    }

    fn valid_beginning(&self, service: &ServiceName, bytes: &[u8]) -> (Chain, usize) {
        let key = self.key.verifying_key();
        let of_service =
            |chain: &Chain| chain.entries.first().is_none_or(|(entry, _)| entry.service == *service);
        if let Some(chain) =
            std::str::from_utf8(bytes).ok().and_then(|text| Chain::read(text, Some(&key)).ok())
            && of_service(&chain)
        {
            return (chain, bytes.len());
        }
        // Rare and slow on purpose: the longest beginning of whole lines that verifies.
        let mut ends: Vec<_> =
            bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        while let Some(end) = ends.pop() {
            let chain =
                std::str::from_utf8(&bytes[..end]).ok().and_then(|text| Chain::read(text, Some(&key)).ok());
            if let Some(chain) = chain.filter(of_service) {
                return (chain, end);
            }
        }
        (Chain::default(), 0)
    }
}

impl Tail {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            return Err(io::Error::other(
                "an earlier entry could not be taken back; restart the node to mend the chain",
            ));
        }
        let written = self.file.write_all(line).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Take back what may have been written, so that the chain is as it was.
            let back = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
            self.torn = back.is_err();
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

fn service_of(path: &Path) -> Option<ServiceName> {
    path.file_name()?.to_str()?.strip_suffix(".chain")?.parse().ok()
}

/// A name beside `path` that is not taken.
fn aside(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("chain.damaged-{number}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

fn read_or_make_key(folder: &Path) -> io::Result<SigningKey> {
    let path = folder.join("signing.key");
    match fs::read(&path) {
        Ok(bytes) => {
            let seed = <[u8; 32]>::try_from(bytes.as_slice());
            let seed = seed.map_err(|_| io::Error::other(format!("{} is not 32 bytes", path.display())))?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder, &path),
        Err(error) => Err(error),
    }
}

fn make_key(folder: &Path, path: &Path) -> io::Result<SigningKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    let key = SigningKey::from_bytes(&seed);
    write_whole(folder, path, &seed, 0o600)?;
    let public = tenon_contract::receipt::write_key(&key.verifying_key()) + "\n";
    write_whole(folder, &folder.join("receipts.pub"), public.as_bytes(), 0o644)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(swap: u64) -> Event {
        Event::Abandoned { swap, reason: "test".into() }
    }

    fn service() -> ServiceName {
        "s".parse().unwrap()
    }

    #[test]
    fn chains_go_on_after_a_restart_and_verify_from_outside() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..3 {
            let (journal, chains) = Journal::open(folder.path(), "n").unwrap();
            assert_eq!(chains.get(&service()).map_or(0, |chain| chain.entries.len()), round * 2);
            let first = journal.append(&service(), event(1)).unwrap();
            let head = journal.append(&service(), event(2)).unwrap();
            assert_eq!(journal.head(&service()), head);
            let public = fs::read_to_string(folder.path().join("receipts.pub")).unwrap();
            let key = tenon_contract::receipt::read_key(&public).unwrap();
            let chain = Chain::read(&journal.text(&service()).unwrap(), Some(&key)).unwrap();
            assert_eq!(chain.holds(first), Ok(()));
        }
    }

    #[test]
    fn torn_and_damaged_files_keep_their_valid_beginning() {
        let check = |damage: fn(&mut Vec<u8>), kept: usize, set_aside: bool| {
            let folder = tempfile::tempdir().unwrap();
            let (journal, _) = Journal::open(folder.path(), "n").unwrap();
            for swap in 1..=3 {
                journal.append(&service(), event(swap)).unwrap();
            }
            drop(journal);
            let path = folder.path().join("receipts/s.chain");
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let (journal, chains) = Journal::open(folder.path(), "n").unwrap();
            assert_eq!(chains[&service()].entries.len(), kept);
            assert_eq!(path.with_extension("chain.damaged-1").exists(), set_aside);
            journal.append(&service(), event(9)).unwrap();
            let again = Chain::read(&journal.text(&service()).unwrap(), Some(&journal.public_key())).unwrap();
            assert_eq!(again.entries.len(), kept + 1);
        };
        check(|_| (), 3, false);
        check(|bytes| bytes.truncate(bytes.len() - 1), 2, false);
        check(|bytes| bytes.truncate(10), 0, false);
        check(Vec::clear, 0, false);
        check(|bytes| bytes.iter_mut().skip(40).take(4).for_each(|byte| *byte = 0), 0, true);
        check(|bytes| bytes.extend_from_slice(&[0; 512]), 3, false);
        check(|bytes| bytes.extend_from_slice(b"{}\n"), 3, true);
    }
}
