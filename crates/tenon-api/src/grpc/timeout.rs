//! `grpc-timeout`: how long a caller waits.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tenon_contract::Fault;

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The caller's wish: at most eight digits and a unit.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let wrong =
        || Fault::invalid("metadata `grpc-timeout`: expected at most 8 digits and one of H M S m u n");
    value.to_str().ok().and_then(read).map(Some).ok_or_else(wrong)
}

fn read(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_a_unit() {
        let check = |text: &str, micros: Option<u64>| {
            assert_eq!(read(text), micros.map(Duration::from_micros), "{text}");
        };
        check("1H", Some(3_600_000_000));
        check("2M", Some(120_000_000));
        check("3S", Some(3_000_000));
        check("00000004m", Some(4000));
        check("5u", Some(5));
        check("6000n", Some(6));
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", "1é"] {
            check(wrong, None);
        }
    }
}
