//! Numbers: the grammar of JSON and exact values in one pass over their digits.
//!
//! Each function reads from the beginning of its bytes and says how many of them it used; what
//! follows a number is its caller's business. All of it is inlined by force into the loop over the
//! elements of a tensor: left to the compiler, that loop takes a quarter longer.

/// An integer, as sign and magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer {
    /// Whether it begins with `-`.
    pub(crate) negative: bool,
    /// Its distance from zero.
    pub(crate) magnitude: u64,
}

impl Integer {
    /// The value, where it is within 64 bits without sign; `-0` is zero.
    #[inline]
    pub(crate) fn unsigned(self) -> Option<u64> {
        (!self.negative || self.magnitude == 0).then_some(self.magnitude)
    }

    /// The value, where it is within 64 bits with sign.
    #[inline]
    pub(crate) fn signed(self) -> Option<i64> {
        if self.negative {
            0i64.checked_sub_unsigned(self.magnitude)
        } else {
            i64::try_from(self.magnitude).ok()
        }
    }
}

/// Reads an integer, with its length.
///
/// A fraction of zeros is taken (`3.0`): languages whose numbers are all floats write whole numbers so.
/// An exponent is not, nor an integer whose magnitude needs more than 64 bits.
#[inline(always)]
pub(crate) fn integer(bytes: &[u8]) -> Option<(Integer, usize)> {
    let (negative, unsigned) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let (magnitude, rest) = digits(unsigned, 0);
    let count = unsigned.len() - rest.len();
    // Nineteen digits always fit.
    let magnitude = if count < 20 { magnitude } else { many_digits(&unsigned[..count])? };
    if count == 0 || (unsigned[0] == b'0' && count > 1) {
        return None;
    }
    let rest = match rest {
        [b'.' | b'e' | b'E', ..] => zero_fraction(rest)?,
        _ => rest,
    };
    Some((Integer { negative, magnitude }, bytes.len() - rest.len()))
}

#[cold]
fn many_digits(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What follows a point and zeros only.
#[cold]
fn zero_fraction(bytes: &[u8]) -> Option<&[u8]> {
    let fraction = bytes.strip_prefix(b".")?;
    let zeros = fraction.iter().take_while(|byte| **byte == b'0').count();
    let rest = &fraction[zeros..];
    (zeros > 0 && !matches!(rest, [b'0'..=b'9' | b'e' | b'E', ..])).then_some(rest)
}

/// A number of JSON taken apart: `mantissa * 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i64,
    /// Whether all digits fit the mantissa.
    exact: bool,
    /// Whether it has neither fraction nor exponent.
    pub(crate) whole: bool,
    /// Bytes it takes.
    pub(crate) length: usize,
}

/// Reads a number by the grammar of JSON.
#[inline(always)]
pub(crate) fn scan(bytes: &[u8]) -> Option<Decimal> {
    let (negative, unsigned) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let (mut mantissa, mut rest) = digits(unsigned, 0);
    let mut significant = unsigned.len() - rest.len();
    if significant == 0 || (unsigned[0] == b'0' && significant > 1) {
        return None;
    }
    let (mut exponent, mut whole) = (0, true);
    if let [b'.', fraction @ ..] = rest {
        (mantissa, rest) = digits(fraction, mantissa);
        let count = fraction.len() - rest.len();
        if count == 0 {
            return None;
        }
        significant += count;
        (exponent, whole) = (-(count as i64), false);
    }
    if let [b'e' | b'E', written @ ..] = rest {
        let (power, behind) = power(written)?;
        exponent += power;
        (rest, whole) = (behind, false);
    }
    let length = bytes.len() - rest.len();
    Some(Decimal { negative, mantissa, exponent, exact: significant <= 19, whole, length })
}

/// The exponent behind its `e`, and what follows it.
fn power(written: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, unsigned) = match written {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, written),
    };
    let mut power: i64 = 0;
    let mut rest = unsigned;
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        // Beyond this every value is zero or infinite.
        power = (power * 10 + i64::from(digit - b'0')).min(1_000_000);
        rest = behind;
    }
    (rest.len() < unsigned.len()).then_some((if negative { -power } else { power }, rest))
}

/// Appends the digits at the beginning of `bytes` to `mantissa`; with what follows them. Wraps.
///
/// A plain loop: taking eight bytes at a time with bit tricks was measured and is slower on the short
/// numbers that tensors are made of.
#[inline(always)]
fn digits(mut bytes: &[u8], mut mantissa: u64) -> (u64, &[u8]) {
    while let [digit @ b'0'..=b'9', rest @ ..] = bytes {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        bytes = rest;
    }
    (mantissa, bytes)
}

/// The powers of ten that an f64 holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

impl Decimal {
    /// The nearest f64, where one rounding gives it: mantissa and power of ten are both exact
    /// (W. Clinger, "How to read floating point numbers accurately", 1990).
    #[inline]
    fn nearest(&self) -> Option<f64> {
        if !self.exact || self.mantissa > 1 << 53 {
            return None;
        }
        let power = POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?)?;
        let mantissa = self.mantissa as f64;
        let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -value } else { value })
    }
}

/// Reads a finite f64, to nearest, with its length. A number too large for it is not read.
#[inline(always)]
pub(crate) fn float64(bytes: &[u8]) -> Option<(f64, usize)> {
    let decimal = scan(bytes)?;
    let value = match decimal.nearest() {
        Some(value) => value,
        None => fast_float2::parse(&bytes[..decimal.length]).ok()?,
    };
    value.is_finite().then_some((value, decimal.length))
}

/// Reads a finite f32, to nearest, with its length. A number too large for it is not read.
#[inline(always)]
pub(crate) fn float32(bytes: &[u8]) -> Option<(f32, usize)> {
    let decimal = scan(bytes)?;
    // Rounding twice, to f64 and then to f32, goes wrong only where the first rounding lands midway
    // between two f32. What `nearest` gives is zero or within the normal f32.
    let midway = |value: &f64| value.to_bits() & 0x1fff_ffff == 0x1000_0000;
    let value = match decimal.nearest().filter(|value| !midway(value)) {
        Some(value) => value as f32,
        None => fast_float2::parse(&bytes[..decimal.length]).ok()?,
    };
    value.is_finite().then_some((value, decimal.length))
}

/// Reads one of the tokens that Python writes for what is not finite, with its length.
pub(crate) fn not_finite(bytes: &[u8]) -> Option<(f64, usize)> {
    const TOKENS: [(&[u8], f64); 3] =
        [(b"NaN", f64::NAN), (b"Infinity", f64::INFINITY), (b"-Infinity", f64::NEG_INFINITY)];
    TOKENS.iter().find(|(token, _)| bytes.starts_with(token)).map(|(token, value)| (*value, token.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let check = |text: &str, expected: Option<(i128, usize)>| {
            let read = integer(text.as_bytes()).map(|(Integer { negative, magnitude }, length)| {
                (i128::from(magnitude) * if negative { -1 } else { 1 }, length)
            });
            assert_eq!(read, expected, "{text}");
        };
        check("0", Some((0, 1)));
        check("-0", Some((0, 2)));
        check("7,8", Some((7, 1)));
        check("18446744073709551615]", Some((u64::MAX.into(), 20)));
        check("18446744073709551616", None);
        check("99999999999999999999", None);
        check("-9223372036854775808", Some((i64::MIN.into(), 20)));
        check("1.0", Some((1, 3)));
        check("12.000 ", Some((12, 6)));
        let integer = |negative, magnitude| Integer { negative, magnitude };
        assert_eq!(integer(true, 1 << 63).signed(), Some(i64::MIN));
        assert_eq!(integer(true, (1 << 63) + 1).signed(), None);
        assert_eq!(integer(false, 1 << 63).signed(), None);
        assert_eq!(integer(true, 1).unsigned(), None);
        assert_eq!(integer(true, 0).unsigned(), Some(0));
        for text in ["", "-", "01", "00", "+1", ".5", "1.", "1.5", "1.05", "1e3", "1.0e3", "NaN", "--1", "x"]
        {
            check(text, None);
        }
    }

    #[test]
    fn floats_are_those_of_the_standard_library() {
        let check = |text: &str| {
            let length = text.len();
            assert_eq!(float64(text.as_bytes()), Some((text.parse().unwrap(), length)), "{text}");
            let single: f32 = text.parse().unwrap();
            let expected = single.is_finite().then_some((single, length));
            assert_eq!(float32(text.as_bytes()), expected, "{text}");
        };
        for text in [
            "0",
            "-0.0",
            "0.1",
            "1e22",
            "1e23",
            "9007199254740993",
            "123456789012345678901234567890",
            "3.4028235677973366e38",
            "3.4028234663852886e+38",
            "1.17549429e-38",
            "1e-45",
            "7e-46",
            "5e-324",
            "1.7976931348623157e308",
            // Midway between two f32, and a hair beside it.
            "16777217",
            "16777217.0000000001",
            "16777216.9999999999",
            "1.00000005960464477539062",
            "1.000000059604644775390625",
            "1.00000005960464477539062500000001",
        ] {
            check(text);
        }
        assert_eq!(float64(b"1e999"), None);
        assert_eq!(float64(b"1e-999999999999999999999"), Some((0.0, 24)));
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", "-", ".5", "5.", "1e", "1e+", "01", "-01.5", "+1", "inf", "nan", "e5"] {
            assert!(scan(text.as_bytes()).is_none(), "{text}");
        }
    }
}
