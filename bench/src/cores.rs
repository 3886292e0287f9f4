//! Where server and generator run, and a server set beside a bare loop on the same cores.

use std::time::Duration;

use anyhow::Result;

use crate::bare::Bare;
use crate::blocks::{Arm, Block, take_turns};
use crate::figure::{Bar, Figure, Outcome, Unit};
use crate::machine;
use crate::served::Served;
use crate::setting::Setting;

const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;

/// Where server and generator run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// The server on one core, the generator on the other.
    Apart,
    /// Both wherever the system puts them.
    Shared,
}

impl Cores {
    /// Does `work` on the cores of the server.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) fn for_server<T>(self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Apart { machine::on_core(SERVER_CORE, work) } else { work() }
    }

    fn for_generator<T>(self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self == Self::Apart { machine::on_core(GENERATOR_CORE, work) } else { work() }
    }

    /// Cores that the server has.
    pub(crate) fn count(self) -> usize {
        if self == Self::Apart { 1 } else { machine::cores() }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Apart => "pinned",
            Self::Shared => "sharing all cores",
        }
    }
}

/// A server and the bare loop of the work that it does.
pub(crate) struct SideBySide<'a> {
    /// What is asked and what the peer is called.
    pub(crate) words: [&'static str; 2],
    /// The server.
    pub(crate) served: &'a Served,
    /// What else it is asked with 4 connections, and how that is called. It has no bar.
    pub(crate) further: Option<(&'static str, &'a Served)>,
    /// The peer.
    pub(crate) bare: &'a Bare<'a>,
    /// The bar for so many connections, where there is one.
    pub(crate) bar: fn(Cores, usize) -> Option<Bar>,
}

impl SideBySide<'_> {
    /// Measures both by turns, the server with 1, 2 and 4 connections. It must have been started on `cores`.
    ///
    /// # Errors
    /// One does not run or does not answer.
    pub(crate) fn measure(&self, setting: &Setting, cores: Cores, outcome: &mut Outcome) -> Result<()> {
        let way = cores.for_server(|| self.bare.fastest(cores.count(), setting.effort))?;
        let (mut first, mut second) =
            cores.for_server(|| Ok((self.bare.start(way)?, self.bare.start(way)?)))?;
        let block = |name: &str, served, connections| {
            let served: &Served = served;
            Arm::new(name, move |duration: Duration| -> Result<Block> {
                cores.for_generator(|| served.block(connections, duration))
            })
        };
        let mut arms = vec![
            Arm::new("bare", |duration| first.block(duration)),
            Arm::new("bare again", |duration| second.block(duration)),
            block("1 connection", self.served, 1),
            block("2 connections", self.served, 2),
            block("4 connections", self.served, 4),
        ];
        arms.extend(self.further.map(|(name, served)| block(name, served, 4)));
        let restless = take_turns(&mut arms, setting.effort)?;

        let [bare, again, served @ ..] = &arms[..] else { unreachable!("there are five arms or six") };
        let control = again.rate() / bare.rate();
        let [asked, peer] = self.words;
        let bars = [1, 2, 4].map(|connections| (self.bar)(cores, connections)).into_iter().chain([None]);
        for (arm, bar) in served.iter().zip(bars) {
            let name = format!("{asked}, {}, {}, of {peer}", cores.name(), arm.name);
            let figure = Figure::new(name, arm.rate() / bare.rate(), Unit::OfPeer).control(control);
            outcome.figures.push(bar.into_iter().fold(figure, Figure::bar));
            let name = format!("... {}, processor time of the server for an answer", arm.name);
            outcome.figures.push(Figure::new(name, arm.server_us(), Unit::Us));
        }
        let told = format!("{peer}, {}, {way}", cores.name());
        outcome.figures.push(Figure::new(
            format!("{told}: processor time of a run"),
            bare.server_us(),
            Unit::Us,
        ));
        outcome.figures.push(Figure::new(told, bare.rate(), Unit::PerSecond));
        outcome.notes.extend(setting.restless(restless, arms.len()));
        Ok(())
    }
}
