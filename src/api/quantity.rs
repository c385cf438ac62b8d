//! Kubernetes quantities, kept as the exact number they mean and written in the form the API server stores.
//!
//! The zero-write rule compares what we would apply with what the server holds. The server rewrites `1000m` as `1`
//! and `1.5Gi` as `1536Mi`; a quantity that we sent in any other form would look like drift for ever.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How the number was written; the server keeps the family and normalises within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    BinarySi,
    DecimalSi,
    DecimalExponent,
}

/// A non-negative Kubernetes quantity such as `250m`, `512Mi` or `1`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// The value in units of 10⁻³, the finest the fields of this API need.
    milli: u128,
    format: Format,
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity: write a number with an optional suffix, for example 500m, 2 or 20Gi")]
pub struct InvalidQuantity(String);

const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, u32); 8] = [("m", 0), ("", 3), ("k", 6), ("M", 9), ("G", 12), ("T", 15), ("P", 18), ("E", 21)];

impl Quantity {
    /// What a text must look like in our API: the exponents and the signs that Kubernetes also knows help nobody here.
    pub const PATTERN: &str = "^[0-9.]{1,15}([mkMGTPE]|[KMGTPE]i)?$";

    /// A whole number of binary gibibytes, for defaults.
    pub const fn gibibytes(count: u128) -> Self {
        Self { milli: count * (1 << 30) * 1000, format: Format::BinarySi }
    }

    /// A whole number of binary mebibytes, for defaults.
    pub const fn mebibytes(count: u128) -> Self {
        Self { milli: count * (1 << 20) * 1000, format: Format::BinarySi }
    }

    /// Thousandths of a unit, for CPU defaults.
    pub const fn milli(count: u128) -> Self {
        Self { milli: count, format: Format::DecimalSi }
    }

    /// Whole units, such as bytes.
    pub const fn units(self) -> u128 {
        self.milli / 1000
    }

    /// True for zero, which no field of this API accepts.
    pub const fn is_zero(self) -> bool {
        self.milli == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity(text.chars().take(64).collect());
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // 15 digits keep every product below within 128 bits.
        if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 15 || fraction.contains('.') {
            return Err(invalid());
        }
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| invalid())?;
        let (scaled, format) = if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            (digits.checked_mul(1000 << shift), Format::BinarySi)
        } else if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            (digits.checked_mul(10_u128.pow(*power)), Format::DecimalSi)
        } else {
            let exponent: u32 = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or_else(invalid)?;
            if exponent > 18 {
                return Err(invalid());
            }
            (digits.checked_mul(10_u128.pow(exponent + 3)), Format::DecimalExponent)
        };
        let divisor = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
        // The server rounds up what is finer than it can hold; so do we.
        let milli = scaled.ok_or_else(invalid)?.div_ceil(divisor);
        // Above this the server's own 63-bit value would saturate.
        if milli > (1_u128 << 63) * 1000 { Err(invalid()) } else { Ok(Self { milli, format }) }
    }
}

impl fmt::Display for Quantity {
    /// The server's canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi && self.milli.is_multiple_of(1000) && self.milli >= 1024 * 1000 {
            let units = self.milli / 1000;
            let fitting = BINARY.iter().rev().find(|(_, shift)| units.is_multiple_of(1_u128 << shift));
            return match fitting {
                Some((suffix, shift)) => write!(f, "{}{suffix}", units >> shift),
                None => write!(f, "{units}"),
            };
        }
        let fitting = DECIMAL.iter().rev().find(|(_, power)| self.milli.is_multiple_of(10_u128.pow(*power)));
        let (suffix, power) = fitting.copied().unwrap_or(("m", 0));
        let number = self.milli / 10_u128.pow(power);
        if self.format == Format::DecimalExponent && power >= 6 {
            return write!(f, "{number}e{}", power - 3);
        }
        write!(f, "{number}{suffix}")
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// A text or a whole number, as users of Kubernetes write it; the rules of the fields say which.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_the_server_stores() {
        for (given, stored) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("250m", "250m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("20Gi", "20Gi"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("0", "0"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("1e1", "10"),
            ("2000M", "2G"),
            ("1023Ki", "1023Ki"),
            ("1536", "1536"),
            ("0.5Ki", "512"),
        ] {
            assert_eq!(given.parse::<Quantity>().map(|q| q.to_string()), Ok(stored.to_owned()), "{given}");
        }
    }

    #[test]
    fn compares_by_value_across_suffixes() {
        let q = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(q("1Gi"), q("1024Mi"));
        assert!(q("1G") < q("1Gi"));
        assert!(q("500m") < q("1"));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", ".", "-1", "1 Gi", "10m;", "1e9g", "Gi", "1.2.3", "1e19", "9999999999999999", "100E", "+1"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
