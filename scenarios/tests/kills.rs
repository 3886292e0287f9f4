//! Kills of a real server: at each named moment of push, swap, undo and retirement, and at random ones.
//!
//! After each kill the server is started again on the same folder and the account is settled
//! (`tenon_scenarios::account` says what must be true). 200 kills in all; `TENON_SCENARIOS_KILLS` asks for
//! more or fewer random ones, `TENON_SCENARIOS_SEED` repeats a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use tenon_scenarios::deed::Deed;
use tenon_scenarios::server::{Server, Start};
use tenon_scenarios::site::{Ending, Site};

/// Kills at random moments, beside those at named ones.
const RANDOM_KILLS: u64 = 141;

/// What a server is doing when it dies or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Starts, and brings back what it served.
    Start,
    /// A swap, the first change since the start.
    Swap,
    /// A second swap, for which the revision before the last one leaves memory.
    SwapTwice,
    /// An undo of a swap made since the start: the previous revision is warm.
    UndoWarm,
    /// An undo right after the start: the previous revision is loaded.
    UndoCold,
    /// The service is taken away; what it served is retired.
    Remove,
    /// A service is made.
    Deploy,
    /// Bytes become a version.
    Push,
}

/// Each moment at which a process can die: how often it has passed there before is behind the colon. A start
/// passes the moments of a load once.
const MOMENTS: &[(Doing, &[&str])] = &[
    (Doing::Start, &["read:1", "admit:1", "load:1", "prove:1", "publish:1", "acknowledge:1"]),
    (
        Doing::Swap,
        &[
            "read:2",
            "admit:2",
            "load:2",
            "prove:2",
            "document:1",
            "intent:1",
            "publish:2",
            "published:1",
            "acknowledge:2",
            "drained:1",
        ],
    ),
    (Doing::SwapTwice, &["intent:2", "publish:3", "published:2", "acknowledge:3", "retire:1", "retired:1"]),
    (Doing::UndoWarm, &["publish:3", "undone:1", "acknowledge:3", "drained:2"]),
    (
        Doing::UndoCold,
        &["read:2", "admit:2", "load:2", "prove:2", "publish:2", "undone:1", "acknowledge:2", "drained:1"],
    ),
    (
        Doing::Remove,
        &["intent:1", "publish:2", "published:1", "acknowledge:2", "drained:1", "retire:1", "retired:1"],
    ),
    (
        Doing::Deploy,
        &[
            "read:1",
            "admit:1",
            "load:1",
            "prove:1",
            "document:1",
            "intent:1",
            "publish:1",
            "published:1",
            "acknowledge:1",
        ],
    ),
    (
        Doing::Push,
        &[
            "stored:1",
            "stored:2",
            "recognised:1",
            "recognised:2",
            "proven:1",
            "proven:2",
            "registered:1",
            "registered:2",
            "ended:1",
        ],
    ),
];

impl Doing {
    /// What must come first, in a life of its own: who swaps needs a service, who deploys none.
    fn prepare(self, site: &mut Site) -> Result<()> {
        let wanted = match (self, site.account.serves()) {
            (Self::Push, _) => return Ok(()),
            (Self::Deploy, Some(_)) => Deed::Remove,
            (Self::Deploy, None) => return Ok(()),
            (Self::UndoCold, Some(_)) if site.account.previous().is_none() => Deed::Swap(other(site)?),
            (_, Some(_)) => return Ok(()),
            (_, None) => Deed::Deploy(other(site)?),
        };
        let server = site.start(&Start::default())?;
        site.judge(&server)?;
        site.must(&server, wanted)?;
        if self == Self::UndoCold && site.account.previous().is_none() {
            let swap = Deed::Swap(other(site)?);
            site.must(&server, swap)?;
        }
        server.kill()
    }

    /// The deeds before the one that meets the fault, and that one.
    fn deeds(self, site: &mut Site) -> Result<(Option<Deed>, Deed)> {
        Ok(match self {
            Self::Push => (None, Deed::Push(site.upload(1)?)),
            Self::Deploy => (None, Deed::Deploy(other(site)?)),
            Self::Remove => (None, Deed::Remove),
            Self::UndoCold => (None, Deed::Undo),
            Self::Start | Self::Swap => (None, Deed::Swap(other(site)?)),
            Self::SwapTwice => {
                let now = site.account.serves().context("nothing is served")?;
                (Some(Deed::Swap(other(site)?)), Deed::Swap(now))
            }
            Self::UndoWarm => (Some(Deed::Swap(other(site)?)), Deed::Undo),
        })
    }
}

fn other(site: &Site) -> Result<u64> {
    site.account.other().context("there is no other version")
}

fn armed(fault: &str) -> Start {
    Start::default().with("TENON_FAULT", fault)
}

#[test]
fn at_each_named_moment() {
    let mut site = Site::new().unwrap();
    let mut kills = 0;
    for (doing, moments) in MOMENTS {
        for moment in *moments {
            kill_at(&mut site, *doing, moment)
                .unwrap_or_else(|error| panic!("kill while it does {doing:?}, at {moment}: {error:#}"));
            kills += 1;
        }
    }
    let server = site.start(&Start::default()).unwrap();
    site.judge(&server).unwrap();
    eprintln!("killed {kills} times at named moments");
}

fn kill_at(site: &mut Site, doing: Doing, moment: &str) -> Result<()> {
    doing.prepare(site)?;
    let start = armed(&format!("kill@{moment}"));
    if doing == Doing::Start {
        let status = Server::spawn(&site.home, &start)?.ended()?;
        ensure!(!status.success(), "it was armed to die while it starts, and ended with {status}");
    } else {
        let server = site.start(&start)?;
        site.judge(&server)?;
        let (before, deed) = doing.deeds(site)?;
        if let Some(before) = before {
            site.must(&server, before)?;
        }
        site.act_and_die(server, deed.clone())?;
        if let Deed::Push(_) = deed {
            return push_again(site, deed);
        }
    }
    let server = site.start(&Start::default())?;
    site.judge(&server)?;
    server.kill()
}

/// A push that was cut off is there whole or not at all, and works when it is repeated.
fn push_again(site: &mut Site, push: Deed) -> Result<()> {
    let server = site.start(&Start::default())?;
    site.judge(&server)?;
    site.must(&server, push)?;
    site.judge(&server)?;
    server.kill()
}

#[test]
fn at_random_moments() {
    let kills = number("TENON_SCENARIOS_KILLS").unwrap_or(RANDOM_KILLS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let seed = number("TENON_SCENARIOS_SEED").unwrap_or(now);
    eprintln!("{kills} kills at random moments; TENON_SCENARIOS_SEED={seed} repeats them");
    let (mut site, mut random) = (Site::new().unwrap(), Random(seed));
    for kill in 1..=kills {
        kill_somewhere(&mut site, &mut random)
            .unwrap_or_else(|error| panic!("kill {kill} of seed {seed}: {error:#}"));
    }
}

fn kill_somewhere(site: &mut Site, random: &mut Random) -> Result<()> {
    let server = site.start(&Start::default())?;
    site.judge(&server)?;
    let deed = match (site.account.serves(), random.below(8)) {
        (_, 0 | 1) => {
            let added = 1 + random.below(2);
            Deed::Push(site.upload(added)?)
        }
        (None, _) => Deed::Deploy(other(site)?),
        (Some(_), 2) => Deed::Remove,
        (Some(_), 3..=5) => Deed::Swap(other(site)?),
        (Some(_), _) if site.account.previous().is_some() => {
            if random.below(2) == 0 {
                let swap = Deed::Swap(other(site)?);
                site.must(&server, swap)?;
            }
            Deed::Undo
        }
        (Some(_), _) => Deed::Swap(other(site)?),
    };
    // Half as long again as it takes: what comes after the acknowledgement is cut off too.
    let longest = site.durations.of(deed.name()).as_micros() as u64 * 3 / 2;
    let after = Duration::from_micros(random.below(longest.max(1)));
    let ending = site.act_and_kill(server, deed.clone(), after)?;
    ensure!(!matches!(ending, Ending::Refused(_)), "{deed:?} was refused: {ending:?}");
    if let Deed::Push(_) = deed {
        return push_again(site, deed);
    }
    Ok(())
}

#[test]
fn a_step_that_fails_leaves_what_is_live() {
    let mut site = Site::new().unwrap();
    for (doing, moments) in MOMENTS {
        for moment in *moments {
            fail_at(&mut site, *doing, moment)
                .unwrap_or_else(|error| panic!("fail while it does {doing:?}, at {moment}: {error:#}"));
        }
    }
}

fn fail_at(site: &mut Site, doing: Doing, moment: &str) -> Result<()> {
    doing.prepare(site)?;
    let start = armed(&format!("fail@{moment}"));
    if doing == Doing::Start {
        return fail_to_start(site, &start);
    }
    let server = site.start(&start)?;
    site.judge(&server)?;
    let (before, deed) = doing.deeds(site)?;
    if let Some(before) = before {
        site.must(&server, before)?;
    }
    let name = moment.split(':').next().unwrap_or(moment);
    match (site.act(&server, deed.clone())?, name) {
        // Nobody waits for what happens afterwards; and who cannot acknowledge has done it all the same.
        (Ending::Acknowledged, "drained" | "retire" | "retired" | "ended") => {}
        (Ending::Acknowledged, "registered") if moment.ends_with(":2") => {}
        (Ending::Refused(_), "acknowledge") => {}
        (Ending::Refused(why), _) => {
            ensure!(why.contains("on purpose"), "refused for another reason: {why}");
            site.account.refused();
        }
        (ending, _) => anyhow::bail!("expected that it fails, found {ending:?}"),
    }
    site.judge(&server)?;
    // The fault is spent: the same deed, or another where it stands, goes through.
    let again = match deed {
        Deed::Push(_) => deed,
        _ if site.account.serves().is_none() => Deed::Deploy(other(site)?),
        _ => Deed::Swap(other(site)?),
    };
    site.must(&server, again)?;
    site.judge(&server)?;
    server.kill()
}

/// A service that cannot be brought back is told as not ready and stays wanted; the next start brings it back.
fn fail_to_start(site: &mut Site, start: &Start) -> Result<()> {
    let mut server = Server::spawn(&site.home, start)?;
    server.wait_for("/livez")?;
    let until = std::time::Instant::now() + Duration::from_secs(5);
    let mut ready = server.get("/readyz")?.status;
    while ready == 503 && std::time::Instant::now() < until {
        // It may still be loading; the log says when it has given up.
        if site.home.log().contains("could not be brought back") {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
        ready = server.get("/readyz")?.status;
    }
    // What fails at the acknowledgement alone is served all the same.
    ensure!(ready == 503 || start.environment[0].1.contains("acknowledge"), "/readyz says {ready}");
    server.kill()?;
    let server = site.start(&Start::default())?;
    site.judge(&server)?;
    server.kill()
}

/// The generator of SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    #[allow(clippy::disallowed_methods, reason = "the environment of a developer, not of a server")]
    std::env::var(variable).ok()?.parse().ok()
}
