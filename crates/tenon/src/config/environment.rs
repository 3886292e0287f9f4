//! The one place where the server reads the environment.

#![allow(clippy::disallowed_methods, reason = "everything else takes these values as arguments")]

use std::path::PathBuf;

/// Every variable that is text.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// A variable that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Tenon's cache folder: below `XDG_CACHE_HOME`, else below the home folder.
pub(super) fn cache_folder() -> PathBuf {
    let named = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = named.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    folder.unwrap_or_default().join("tenon")
}
