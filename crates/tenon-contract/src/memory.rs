//! Memory as a map from device to bytes, in proofs, admission and receipts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a model lives and computes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The processor and its main memory.
    #[default]
    Cpu,
    /// A graphics card by its number.
    Gpu(u16),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(number) => write!(f, "gpu:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("unknown device `{text}`: use `cpu` or `gpu:N`");
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        text.strip_prefix("gpu:").and_then(|number| number.parse().ok()).map(Self::Gpu).ok_or_else(refused)
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Bytes held per device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(BTreeMap<Device, u64>);

impl Memory {
    /// `bytes` of main memory.
    pub fn cpu(bytes: u64) -> Self {
        Self::on(Device::Cpu, bytes)
    }

    /// `bytes` on one device.
    pub fn on(device: Device, bytes: u64) -> Self {
        Self(BTreeMap::from([(device, bytes)]))
    }

    /// Bytes held on `device`.
    pub fn of(&self, device: &Device) -> u64 {
        self.0.get(device).copied().unwrap_or(0)
    }

    /// Every device with its bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&Device, u64)> {
        self.0.iter().map(|(device, bytes)| (device, *bytes))
    }

    /// Both together; sums saturate.
    #[must_use]
    pub fn plus(mut self, other: &Memory) -> Self {
        for (device, bytes) in other.iter() {
            let held = self.0.entry(device.clone()).or_default();
            *held = held.saturating_add(bytes);
        }
        self
    }

    /// What remains when `other` is given back.
    #[must_use]
    pub fn minus(mut self, other: &Memory) -> Self {
        for (device, bytes) in other.iter() {
            let held = self.0.entry(device.clone()).or_default();
            *held = held.saturating_sub(bytes);
        }
        self.0.retain(|_, bytes| *bytes > 0);
        self
    }

    /// `count` times as much.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.0.values_mut().for_each(|bytes| *bytes = bytes.saturating_mul(count));
        self
    }

    /// The first device on which this is more than `limit` allows; devices without a limit are free.
    pub fn exceeds(&self, limit: &Memory) -> Option<Device> {
        let over = |(device, bytes): &(&Device, u64)| limit.0.get(*device).is_some_and(|most| bytes > most);
        self.iter().find(over).map(|(device, _)| device.clone())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0 bytes");
        }
        for (index, (device, bytes)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{:.1} MiB on {device}", bytes as f64 / f64::from(1 << 20))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_limits_and_gives_back() {
        let model = Memory::cpu(10).plus(&Memory::on(Device::Gpu(0), 5));
        assert_eq!(model.clone().times(2).minus(&model), model);
        assert_eq!(model.clone().minus(&model), Memory::default());
        assert_eq!(model.exceeds(&Memory::cpu(10)), None);
        assert_eq!(model.exceeds(&Memory::cpu(9)), Some(Device::Cpu));
        assert_eq!(serde_json::to_string(&model).unwrap(), r#"{"cpu":10,"gpu:0":5}"#);
    }
}
