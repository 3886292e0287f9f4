//! What the catalog could not do, with the place and what to do about it.

use std::fmt;

use tenon_contract::{Fault, FaultKind};

/// Why the catalog refused or failed. Nothing of what was asked has been written.
///
/// The text carries the cause, because it is also what a caller reads; there is no `source` chain.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Nothing of that name.
    #[error("find {what}: no such entry in the catalog")]
    NotFound {
        /// What was asked for: `job 7`.
        what: String,
    },
    /// It stands against what is recorded.
    #[error("record {what}: {reason}")]
    Conflict {
        /// What was to be recorded.
        what: String,
        /// What stands against it.
        reason: String,
    },
    /// A number is larger than any database holds.
    #[error("record {value}: numbers above 2^63 - 1 cannot be recorded")]
    Number {
        /// The number.
        value: u64,
    },
    /// A recorded document cannot be read by this build.
    #[error("read {what} from the catalog: {reason}")]
    Document {
        /// Which document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The catalog was written by a later build.
    #[error("open catalog {place}: a later build of tenon wrote it (migration {migration}); use that build")]
    Later {
        /// Where the catalog is.
        place: String,
        /// The first migration that this build does not know.
        migration: i64,
    },
    /// The database refused.
    #[error("{action} in catalog {place}: {trouble}: {error}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// Where the catalog is.
        place: String,
        /// What kind of trouble, and what to do.
        trouble: Trouble,
        /// What the database said.
        error: String,
    },
}

/// Kinds of trouble with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No space is left.
    Full,
    /// It cannot be written.
    ReadOnly,
    /// It is no database or its pages are torn.
    Damaged,
    /// Others held it for too long.
    Busy,
    /// It cannot be opened or reached.
    Unreachable,
    /// Anything else.
    Other,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no space is left; free some and try again",
            Self::ReadOnly => "it is read-only; make disk and file writable for the user that runs tenon",
            Self::Damaged => "it is damaged; stop tenon and put a backup in its place",
            Self::Busy => "it is busy; try again",
            Self::Unreachable => "it cannot be opened; check path, disk and access rights",
            Self::Other => "it refused",
        })
    }
}

impl Trouble {
    /// Reads the trouble from what the driver says.
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_sqlite(error.code().as_deref()),
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// By SQLite's result codes, <https://sqlite.org/rescode.html>; the low byte is the primary one.
    fn of_sqlite(code: Option<&str>) -> Self {
        match code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff) {
            Some(5 | 6) => Self::Busy,
            Some(8) => Self::ReadOnly,
            Some(11 | 26) => Self::Damaged,
            Some(13) => Self::Full,
            Some(3 | 10 | 14) => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

impl CatalogError {
    /// Whose fault it is.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound { .. } => FaultKind::NotFound,
            Self::Conflict { .. } => FaultKind::Conflict,
            Self::Number { .. } => FaultKind::Invalid,
            Self::Database { trouble: Trouble::Busy, .. } => FaultKind::Overloaded,
            Self::Database { trouble: Trouble::Full | Trouble::ReadOnly | Trouble::Unreachable, .. } => {
                FaultKind::Unavailable
            }
            Self::Document { .. } | Self::Later { .. } | Self::Database { .. } => FaultKind::Internal,
        }
    }
}

impl From<CatalogError> for Fault {
    fn from(error: CatalogError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_sqlite_tell_the_trouble() {
        let check = |code, expected| assert_eq!(Trouble::of_sqlite(Some(code)), expected, "{code}");
        check("5", Trouble::Busy);
        check("517", Trouble::Busy); // SQLITE_BUSY_SNAPSHOT
        check("8", Trouble::ReadOnly);
        check("1032", Trouble::ReadOnly); // SQLITE_READONLY_DBMOVED
        check("10", Trouble::Unreachable);
        check("11", Trouble::Damaged);
        check("13", Trouble::Full);
        check("14", Trouble::Unreachable);
        check("26", Trouble::Damaged);
        check("19", Trouble::Other);
        assert_eq!(Trouble::of_sqlite(None), Trouble::Other);
    }
}
