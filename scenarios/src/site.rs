//! A site: one data folder over many lives of its server, the account of it, and the deeds done to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tenon_client::{Client, ClientError};
use tenon_contract::admin::JobView;

use crate::account::Account;
use crate::deed::{Deed, Done, Durations, SERVICE, Upload};
use crate::server::{Home, Server, Start, last_lines};
use crate::witness::{Sight, watch};

/// Connections of the load that runs beside a deed.
const CALLERS: usize = 2;
/// How long an answer that was sent before the kill may still be under way to us.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long a process may take to die of its fault.
const LINGER: Duration = Duration::from_secs(10);

/// A site.
pub struct Site {
    /// Its folders.
    pub home: Home,
    /// What is known outside.
    pub account: Account,
    /// How long deeds take.
    pub durations: Durations,
    serial: u64,
}

/// A deed that came to an end on our side.
struct Act {
    deed: &'static str,
    took: Duration,
    done: Result<Done, ClientError>,
}

/// How a deed ended.
#[derive(Debug)]
pub enum Ending {
    /// It was acknowledged.
    Acknowledged,
    /// The server refused it or failed.
    Refused(String),
    /// Nobody knows: the server was gone before it answered.
    Unknown,
}

impl Site {
    /// A site whose model has two versions, of which the first is served.
    ///
    /// # Errors
    /// A server cannot be started, or does not do what it is asked for.
    pub fn new() -> Result<Self> {
        Self::at(Home::new()?)
    }

    /// The same in a home that was prepared.
    ///
    /// # Errors
    /// As above.
    pub fn at(home: Home) -> Result<Self> {
        let (account, durations) = (Account::default(), Durations::default());
        let mut site = Self { home, account, durations, serial: 0 };
        let server = site.start(&Start::default())?;
        site.judge(&server)?;
        for added in [1, 2] {
            let upload = site.upload(added)?;
            site.must(&server, Deed::Push(upload))?;
        }
        site.judge(&server)?;
        site.must(&server, Deed::Deploy(1))?;
        site.judge(&server)?;
        server.stop()?;
        Ok(site)
    }

    /// Bytes that were never pushed here.
    ///
    /// # Errors
    /// The fixture cannot be read.
    pub fn upload(&mut self, added: u64) -> Result<Upload> {
        self.serial += 1;
        Upload::new(added, self.serial)
    }

    /// Starts a server on the site.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&self, start: &Start) -> Result<Server> {
        Server::start(&self.home, start)
    }

    /// Looks at a server that was started again.
    ///
    /// # Errors
    /// What must be true is not.
    pub fn judge(&mut self, server: &Server) -> Result<()> {
        let judged = block_on(self.account.judge(server))?;
        judged.map_err(|error| {
            anyhow!("{error:#}; the log of the servers:\n{}", last_lines(&self.home.log(), 60))
        })
    }

    /// Does a deed that has no reason to fail.
    ///
    /// # Errors
    /// It was not acknowledged.
    pub fn must(&mut self, server: &Server, deed: Deed) -> Result<()> {
        match self.act(server, deed.clone())? {
            Ending::Acknowledged => Ok(()),
            ending => bail!("{deed:?}: {ending:?}"),
        }
    }

    /// Does a deed to its end.
    ///
    /// # Errors
    /// What was acknowledged is not what was asked for.
    pub fn act(&mut self, server: &Server, deed: Deed) -> Result<Ending> {
        self.account.begins(&deed);
        let done = begin(deed, server.client()?).recv().context("do a deed")?;
        self.note(done)
    }

    /// Does a deed and kills the server after a time, with a light load beside it.
    ///
    /// # Errors
    /// The load saw what must not be, or what was acknowledged is not what was asked for.
    pub fn act_and_kill(&mut self, server: Server, deed: Deed, after: Duration) -> Result<Ending> {
        let client = server.client()?;
        self.account.begins(&deed);
        let load = Load::start(server.port());
        let done = begin(deed, client);
        std::thread::sleep(after);
        server.kill()?;
        self.last_words(&done, load)
    }

    /// Does a deed on a server that is armed to die of it, and waits for its death.
    ///
    /// # Errors
    /// As above, or it does not die.
    pub fn act_and_die(&mut self, mut server: Server, deed: Deed) -> Result<Ending> {
        let client = server.client()?;
        self.account.begins(&deed);
        let load = Load::start(server.port());
        let done = begin(deed, client);
        let until = Instant::now() + LINGER;
        while server.is_running()? {
            ensure!(Instant::now() < until, "the server was armed to die, and lives");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.last_words(&done, load)
    }

    fn last_words(&mut self, done: &Receiver<Act>, load: Load) -> Result<Ending> {
        let done = done.recv_timeout(LAST_WORDS);
        self.account.saw(load.end()?).context("under load")?;
        match done {
            Ok(done) => self.note(done),
            Err(_) => Ok(Ending::Unknown),
        }
    }

    fn note(&mut self, act: Act) -> Result<Ending> {
        match act.done {
            Ok(Done::Pushed(JobView { fault: Some(fault), .. })) => Ok(Ending::Refused(fault.text)),
            Ok(done) => {
                self.durations.learn(act.deed, act.took);
                self.account.ends(&done)?;
                Ok(Ending::Acknowledged)
            }
            Err(ClientError::Refused { fault, .. }) => Ok(Ending::Refused(fault.text)),
            Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }) => Ok(Ending::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

/// Does a deed on a thread of its own, which outlives the server it speaks to by some tries.
fn begin(deed: Deed, client: Client) -> Receiver<Act> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let (name, begun) = (deed.name(), Instant::now());
        if let Ok(done) = block_on(deed.run(client)) {
            // Who asked may have stopped waiting.
            let _ = sender.send(Act { deed: name, took: begun.elapsed(), done });
        }
    });
    receiver
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("start the client")?.block_on(future))
}

/// A light load on the service, until its server is gone.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Result<BTreeSet<Option<Sight>>>>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut sights, mut last) = (BTreeSet::new(), 0);
                let more = || !stop.load(Ordering::Relaxed);
                watch(port, SERVICE, more, |sight| {
                    let generation = sight.as_ref().map_or(last, |sight| sight.generation);
                    ensure!(generation >= last, "generation {generation} after {last}");
                    last = generation;
                    sights.insert(sight);
                    Ok(())
                })?;
                Ok(sights)
            })
        };
        Self { callers: (0..CALLERS).map(caller).collect(), stop }
    }

    fn end(self) -> Result<BTreeSet<Option<Sight>>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for caller in self.callers {
            all.extend(caller.join().map_err(|_| anyhow!("a caller broke"))??);
        }
        Ok(all)
    }
}
