//! What the chain of receipts says about the swaps of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use tenon_contract::ServiceName;
use tenon_contract::receipt::{Chain, Event};

use crate::{Client, ClientError};

/// Times of swaps in microseconds, by the numbers that the chain gives them.
#[derive(Default)]
pub(super) struct Receipts {
    drained: BTreeMap<u64, u64>,
    published: BTreeMap<u64, u64>,
}

impl Receipts {
    pub(super) async fn of(client: &Client, service: &ServiceName) -> Result<Self, ClientError> {
        let text = client.receipts(service).await?;
        let chain = Chain::read(&text, None);
        let chain = chain.map_err(|error| ClientError::unexpected("read receipts", error.to_string()))?;
        let mut receipts = Self::default();
        for (entry, _) in chain.entries {
            match entry.event {
                Event::Published(event) => {
                    receipts.published.insert(event.swap, event.publish_micros);
                }
                Event::Drained(event) => {
                    receipts.drained.insert(event.swap, event.drain_micros);
                }
                _ => {}
            }
        }
        Ok(receipts)
    }

    /// From publication to the last request on the old revision.
    pub(super) fn drain(&self, swap: u64) -> Duration {
        Duration::from_micros(self.drained.get(&swap).copied().unwrap_or(0))
    }

    /// How long the exchange itself took, microseconds.
    pub(super) fn published(&self, swap: u64) -> Option<f64> {
        self.published.get(&swap).map(|micros| *micros as f64)
    }
}
