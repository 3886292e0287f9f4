//! Memory of the server over a run, as its metrics tell.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Client;
use crate::load::statistics::theil_sen;

/// How long the server may take to give back what a swap replaced.
const SETTLING: Duration = Duration::from_secs(5);
/// Pause before asking again.
const AGAIN: Duration = Duration::from_millis(50);

/// Memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Held {
    /// Bytes of the process in main memory.
    pub resident: Option<f64>,
    /// Bytes that the node accounts for its models.
    pub models: Option<f64>,
}

/// Memory over a run, always asked for at the same point of the cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// After the first swap back.
    pub first: Held,
    /// At the end.
    pub last: Held,
    /// Whether the bytes of the models were the same each time.
    pub models_same: bool,
    /// Growth of the process for each swap after Theil and Sen, bytes.
    pub resident_per_swap: Option<f64>,
}

impl Held {
    /// Asks the server; nothing where it does not tell.
    pub(super) async fn ask(client: &Client) -> Option<Self> {
        client.metrics().await.ok().map(|text| Self::read(&text))
    }

    /// Asks once what the last swap left behind is gone: drained requests and a retired version hold their memory a
    /// little longer. `samples` are those before, of which the second is what the others are compared with.
    pub(super) async fn settled(client: &Client, samples: &[(u64, Self)]) -> Option<Self> {
        let Some((_, usual)) = samples.get(1) else {
            tokio::time::sleep(SETTLING).await;
            return Self::ask(client).await;
        };
        let until = Instant::now() + SETTLING;
        loop {
            let held = Self::ask(client).await;
            if held.is_none_or(|held| held.models == usual.models) || Instant::now() > until {
                return held;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn read(metrics: &str) -> Self {
        let sum = |name: &str| {
            let values = metrics.lines().filter_map(|line| value_of(line, name));
            values.reduce(|sum, value| sum + value)
        };
        Self { resident: sum("process_resident_memory_bytes"), models: sum("tenon_memory_bytes") }
    }
}

/// The value of a line of the text format, if it is of the metric `name`.
fn value_of(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    if !rest.starts_with(['{', ' ']) {
        return None;
    }
    let values = rest.rsplit_once('}').map_or(rest, |(_, values)| values);
    values.split_whitespace().next()?.parse().ok()
}

impl Memory {
    /// Over samples with the number of swaps done before each. The first is left out: caches fill then.
    pub(super) fn over(samples: &[(u64, Held)]) -> Option<Self> {
        let settled = samples.get(1..).filter(|settled| !settled.is_empty()).unwrap_or(samples);
        let ((_, first), (_, last)) = (*settled.first()?, *settled.last()?);
        let resident = settled
            .iter()
            .filter_map(|(swap, held)| Some((*swap as f64, held.resident?)))
            .collect::<Vec<_>>();
        let models_same = settled.iter().all(|(_, held)| held.models == first.models);
        Some(Self { first, last, models_same, resident_per_swap: theil_sen(&resident) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let text = "# HELP tenon_memory_bytes x\ntenon_memory_bytes{device=\"cpu\"} 10\ntenon_memory_bytes{device=\"gpu:0\"} 5 17\n\
            tenon_memory_bytes_limit 99\nprocess_resident_memory_bytes 1.5e6\n";
        assert_eq!(Held::read(text), Held { resident: Some(1.5e6), models: Some(15.0) });
        assert_eq!(Held::read("nothing"), Held::default());
    }

    #[test]
    fn growth_is_a_slope() {
        let held = |swap: u64, resident: f64| (swap, Held { resident: Some(resident), models: Some(1.0) });
        let memory = Memory::over(&[held(0, 0.0), held(2, 100.0), held(4, 110.0), held(6, 120.0)]).unwrap();
        assert_eq!((memory.resident_per_swap, memory.models_same), (Some(5.0), true));
        assert_eq!(memory.first.resident, Some(100.0));
        assert!(Memory::over(&[]).is_none());
    }
}
