//! What commands print: answers on stdout, everything about them on stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where commands print")]

use serde::Serialize;

/// One line of the answer.
pub fn line(text: &str) {
    println!("{text}");
}

/// One line about what is going on.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// The answer: the document itself in `--json`, else what `human` makes of it.
pub fn show<T: Serialize>(json: bool, answer: &T, human: impl FnOnce(&T) -> String) {
    if !json {
        return line(human(answer).trim_end());
    }
    match serde_json::to_string_pretty(answer) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("error: write JSON: {error}")),
    }
}

/// Rows as columns, the first row being the heads. The last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The cells of a row.
#[macro_export]
#[doc(hidden)]
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($cell.to_string()),*] };
}

/// Milliseconds since 1970 as `2025-11-20 13:31:05Z`.
pub fn time(millis: u64) -> String {
    let (days, seconds) = (millis / 86_400_000, millis / 1000 % 86_400);
    // Days to a date in the proleptic Gregorian calendar, years beginning in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Microseconds in the unit that reads best.
pub fn micros(micros: f64) -> String {
    match micros {
        ..1_000.0 => format!("{micros:.0} us"),
        ..1_000_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// Bytes in the unit that reads best.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_782_399_999), "2000-02-28 23:59:59Z");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00Z");
        assert_eq!(time(1_763_645_465_123), "2025-11-20 13:31:05Z");
        assert_eq!(
            (micros(12.4), micros(1234.0), micros(2.5e6)),
            ("12 us".into(), "1.23 ms".into(), "2.50 s".into())
        );
        assert_eq!(
            (bytes(17), bytes(1536), bytes(5 << 30)),
            ("17 bytes".into(), "1.5 KiB".into(), "5.0 GiB".into())
        );
        let rows = [crate::row!["NAME", "N"], crate::row!["a", 10]];
        assert_eq!(table(&rows), "NAME  N\na     10");
    }
}
