//! Where log lines go: standard error, as text or as one JSON document each; and which, which can be changed
//! while the server runs.

use std::sync::{Arc, Mutex, PoisonError};

use tenon_api::{LogLines, LogSwitch};
use tenon_contract::Fault;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogConfig;

/// Says which lines pass.
type Gate = Box<dyn Filter<Registry> + Send + Sync>;

/// Begins to log. Only the first call of a process counts.
///
/// # Errors
/// The level cannot be read.
pub(crate) fn begin(config: &LogConfig) -> Result<Arc<dyn LogSwitch>, String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| format!("`{}`: {error}", config.level))?;
    let begun = lines_at(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
    let (gate, handle) = reload::Layer::<Gate, _>::new(Box::new(filter));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second subscriber is refused; the first one goes on, which is all that is wanted.
    let _ = match config.is_json {
        true => {
            tracing_subscriber::registry().with(lines.json().flatten_event(true).with_filter(gate)).try_init()
        }
        false => tracing_subscriber::registry().with(lines.with_ansi(false).with_filter(gate)).try_init(),
    };
    Ok(Arc::new(Log { lines: Mutex::new(begun), handle }))
}

struct Log {
    lines: Mutex<LogLines>,
    handle: reload::Handle<Gate, Registry>,
}

impl LogSwitch for Log {
    fn lines(&self) -> LogLines {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, lines: LogLines) -> Result<(), Fault> {
        let mut kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let gate: Gate = Box::new(filter_fn(move |metadata| passes(lines, metadata)));
        self.handle.reload(gate).map_err(|error| Fault::internal(format!("change the log: {error}")))?;
        *kept = lines;
        Ok(())
    }
}

fn lines_at(level: LevelFilter) -> LogLines {
    LogLines {
        error: level >= LevelFilter::ERROR,
        warning: level >= LevelFilter::WARN,
        info: level >= LevelFilter::INFO,
        verbose: u32::from(level >= LevelFilter::DEBUG) + u32::from(level >= LevelFilter::TRACE),
    }
}

/// Of libraries only what is no mere detail.
fn passes(lines: LogLines, metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target().starts_with("tenon");
    match *metadata.level() {
        Level::ERROR => lines.error,
        Level::WARN => lines.warning,
        Level::INFO => lines.info,
        Level::DEBUG => is_ours && lines.verbose > 0,
        Level::TRACE => is_ours && lines.verbose > 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_kinds_of_lines() {
        let check = |level, info, warning, error, verbose| {
            assert_eq!(lines_at(level), LogLines { info, warning, error, verbose }, "{level}");
        };
        check(LevelFilter::OFF, false, false, false, 0);
        check(LevelFilter::WARN, false, true, true, 0);
        check(LevelFilter::INFO, true, true, true, 0);
        check(LevelFilter::DEBUG, true, true, true, 1);
    }
}
