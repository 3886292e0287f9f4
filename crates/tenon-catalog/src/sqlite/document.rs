//! Documents as they stand in the database: the number of their form beside their JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::CatalogError;

/// The form of documents written today. A later form is refused, an earlier one would be read here.
pub(super) const FORMAT: i64 = 1;

/// The JSON of a document.
pub(super) fn write(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("documents of the contract are writable as JSON")
}

/// Reads columns `format` and `document`.
pub(super) fn read<T: DeserializeOwned>(row: &SqliteRow, what: &str) -> Result<T, CatalogError> {
    let refused = |reason: String| CatalogError::Document { what: what.to_owned(), reason };
    match column(row, "format", what)? {
        FORMAT => {}
        later => return Err(refused(format!("it has form {later}, this build reads {FORMAT}"))),
    }
    json(column(row, "document", what)?, what)
}

/// Reads JSON from a column.
pub(super) fn json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, CatalogError> {
    serde_json::from_str(text)
        .map_err(|error| CatalogError::Document { what: what.to_owned(), reason: error.to_string() })
}

/// Reads a column whose type SQLite holds by itself (`STRICT`).
pub(super) fn column<'r, T>(row: &'r SqliteRow, name: &str, what: &str) -> Result<T, CatalogError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name)
        .map_err(|error| CatalogError::Document { what: what.to_owned(), reason: error.to_string() })
}

/// Reads a column that holds the text of a name, a digest, a state.
pub(super) fn parsed<T: std::str::FromStr>(row: &SqliteRow, name: &str, what: &str) -> Result<T, CatalogError>
where
    T::Err: std::fmt::Display,
{
    column::<&str>(row, name, what)?
        .parse()
        .map_err(|error: T::Err| CatalogError::Document { what: what.to_owned(), reason: error.to_string() })
}

/// Reads a column that holds a number of ours.
pub(super) fn number(row: &SqliteRow, name: &str, what: &str) -> Result<u64, CatalogError> {
    let value: i64 = column(row, name, what)?;
    u64::try_from(value)
        .map_err(|_| CatalogError::Document { what: what.to_owned(), reason: format!("{name} is {value}") })
}

/// A number of ours as the database holds it.
pub(super) fn integer(value: u64) -> Result<i64, CatalogError> {
    i64::try_from(value).map_err(|_| CatalogError::Number { value })
}
