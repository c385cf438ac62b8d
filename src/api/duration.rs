//! Lengths of time as the API holds them.

use std::{fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time in the way of Go, in whole hours, minutes and seconds: `90s`, `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(Duration);

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no length of time: write whole hours, minutes and seconds, such as 90s or 1h30m")]
pub struct InvalidDuration(String);

impl GoDuration {
    /// What a text must look like, in the API server and here. Five digits keep every sum far from overflow.
    pub const PATTERN: &str = "^([0-9]{1,5}[hms])+$";

    /// From a number of seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDuration(text.chars().take(64).collect());
        let mut seconds = 0;
        let mut rest = text;
        if text.len() > 24 {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let end = rest.find(['h', 'm', 's']).filter(|end| (1..=5).contains(end)).ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(end);
            if !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(invalid());
            }
            let factor = match tail.as_bytes()[0] {
                b'h' => 3600,
                b'm' => 60,
                _ => 1,
            };
            seconds += number.parse::<u64>().map_err(|_| invalid())? * factor;
            rest = &tail[1..];
        }
        if text.is_empty() { Err(invalid()) } else { Ok(Self::seconds(seconds)) }
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_secs();
        let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds > 0 || all == 0 { write!(f, "{seconds}s") } else { Ok(()) }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GoDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 24 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_way_of_go() {
        for (text, seconds, written) in
            [("0s", 0, "0s"), ("90s", 90, "1m30s"), ("1h30m", 5400, "1h30m"), ("10m", 600, "10m"), ("1s1s", 2, "2s")]
        {
            let parsed: GoDuration = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string()), (GoDuration::seconds(seconds), written.to_owned()));
        }
    }

    #[test]
    fn refuses_what_is_no_length_of_time() {
        for text in
            ["", "5", "s", "-5s", "1.5h", "5ms", "5 s", "5d", "123456s", "1h30", "+1s", "1h1h1h1h1h1h1h1h1h1h1h1h1h"]
        {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }
}
