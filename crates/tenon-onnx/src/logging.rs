//! ONNX Runtime's log lines, sent to `tracing` instead of to the terminal.

use std::sync::Arc;

use ort::logging::{LogLevel, LoggerFunction};

/// The least severe level that ONNX Runtime composes lines for.
pub(crate) const LEVEL: LogLevel = LogLevel::Warning;

/// Takes each line. What fails also comes back as an error of the call and is logged where that is
/// handled, so nothing but a fatal line is louder than debug here.
pub(crate) fn logger() -> LoggerFunction {
    Arc::new(|level, category, session, place, text| match level {
        LogLevel::Fatal => tracing::error!(category, session, place, "onnxruntime: {text}"),
        LogLevel::Error | LogLevel::Warning => {
            tracing::debug!(category, session, place, "onnxruntime: {text}")
        }
        LogLevel::Info | LogLevel::Verbose => {
            tracing::trace!(category, session, place, "onnxruntime: {text}")
        }
    })
}
