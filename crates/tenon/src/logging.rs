//! Where log lines go: standard error, as text or as one JSON document each.

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Begins to log. Only the first call of a process counts.
///
/// # Errors
/// The level cannot be read.
pub(crate) fn begin(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| format!("`{}`: {error}", config.level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber is refused; the first one goes on, which is all that is wanted.
    let _ = match config.is_json {
        true => lines.json().try_init(),
        false => lines.with_ansi(false).try_init(),
    };
    Ok(())
}
