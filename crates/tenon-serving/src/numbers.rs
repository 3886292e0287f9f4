//! Numbers of generations: none is given twice, not even where a crash forgot that it was given.
//!
//! A generation is seen by callers before the journal knows of it: an undo publishes first, and a swap may stop between
//! *published* and its entry. So numbers are set aside on the disk before they are used, a block at a time, and a
//! start begins behind all that was set aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tenon_contract::Fault;

use crate::disk::write_whole;

/// Numbers set aside at once. Small, because what a stop leaves of them is skipped.
const BLOCK: u64 = 16;
/// So few left are topped up where no caller waits.
const LOW: u64 = BLOCK / 2;

/// The numbers that this run of a node may give.
pub(crate) struct Numbers {
    path: PathBuf,
    /// The last number that was set aside.
    last: AtomicU64,
    /// One writer at a time: of two, the later one must not put the smaller number into the file.
    writing: Mutex<()>,
}

impl Numbers {
    /// Sets the first block aside, behind `journalled` and behind what former runs set aside; gives the number to
    /// begin behind.
    ///
    /// # Errors
    /// The file in `folder` is damaged or cannot be read. A disk that takes nothing is no error: the node shall serve.
    pub(crate) fn open(folder: &Path, journalled: u64) -> Result<(Self, u64), Fault> {
        let path = folder.join("generations");
        let failed = |error: io::Error| Fault::internal(format!("read {}: {error}", path.display()));
        let kept = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                let text = format!(
                    "read {}: holds no number; write one there that no generation has reached yet",
                    path.display()
                );
                Fault::internal(text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(error)),
        };
        let begin = journalled.max(kept);
        let numbers = Self { path, last: AtomicU64::new(begin), writing: Mutex::new(()) };
        numbers.set_aside(begin + BLOCK);
        Ok((numbers, begin))
    }

    /// Called before generation `number` is seen: almost always a comparison.
    pub(crate) fn cover(&self, number: u64) {
        if number > self.last.load(Ordering::Acquire) {
            self.set_aside(number + BLOCK);
        }
    }

    /// Called where nobody waits for a swap or an undo, so that the next ones find numbers.
    pub(crate) fn top_up(&self, number: u64) {
        if number + LOW > self.last.load(Ordering::Acquire) {
            self.set_aside(number + BLOCK);
        }
    }

    /// Where the disk refuses, changes go on: their journal says the rest.
    fn set_aside(&self, last: u64) {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if last <= self.last.load(Ordering::Acquire) {
            return;
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        match write_whole(folder, &self.path, format!("{last}\n").as_bytes(), 0o600) {
            Ok(()) => self.last.store(last, Ordering::Release),
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "numbers of generations not set aside");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut given = 0;
        for used in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK] {
            // Nothing reached the journal: the crash came first, each time.
            let (numbers, begin) = Numbers::open(folder.path(), 0).unwrap();
            assert!(begin >= given, "begins behind {begin} after {given} was given");
            for number in begin + 1..=begin + used {
                numbers.cover(number);
                given = number;
            }
            numbers.top_up(given);
        }
        assert_eq!(Numbers::open(folder.path(), 9000).unwrap().1, 9000);
    }

    #[test]
    fn writers_at_once_leave_the_largest() {
        let folder = tempfile::tempdir().unwrap();
        let (numbers, begin) = Numbers::open(folder.path(), 0).unwrap();
        std::thread::scope(|scope| {
            for first in 1..=4 {
                let numbers = &numbers;
                scope.spawn(move || (0..50).for_each(|step| numbers.top_up(begin + first + step * 4)));
            }
        });
        let kept: u64 =
            fs::read_to_string(folder.path().join("generations")).unwrap().trim().parse().unwrap();
        assert_eq!(kept, numbers.last.load(Ordering::Acquire));
        assert!(kept >= begin + 200, "{kept}");
    }

    #[test]
    fn a_damaged_file_is_told_and_a_disk_that_takes_nothing_serves() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("generations"), "x").unwrap();
        assert!(Numbers::open(folder.path(), 0).err().unwrap().text.contains("holds no number"));
        let (numbers, begin) = Numbers::open(&folder.path().join("absent"), 7).unwrap();
        numbers.cover(8);
        assert_eq!(begin, 7);
    }
}
