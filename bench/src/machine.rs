//! The machine under the figures: its cores, how busy they are, and what a process used of them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// A machine is at rest when its cores are idle for at least this share of the time.
const IDLE: f64 = 0.93;

/// What figures were taken on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: named.map_or("unknown processor", |(_, name)| name).to_owned(),
            cores: cores(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cores of {}, Linux {}", self.cores, self.processor, self.kernel)
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work` with this thread on `core` alone: threads and processes that it starts stay there.
///
/// # Errors
/// There is no such core; those of `work`.
pub(crate) fn on_core<T>(core: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    ensure!(before.is_set(core), "core {core} is not ours");
    let mut alone = CpuSet::new();
    alone.set(core);
    sched_setaffinity(None, &alone)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    done
}

/// Waits until the machine was at rest for `rest`, but not longer than `patience`. Says whether it was.
///
/// # Errors
/// The system does not tell how busy it is.
pub(crate) fn rest(rest: Duration, patience: Duration) -> Result<bool> {
    let give_up = Instant::now() + patience;
    while !rest.is_zero() {
        let before = idle_of_all()?;
        std::thread::sleep(rest);
        let after = idle_of_all()?;
        if (after.0 - before.0) as f64 >= IDLE * (after.1 - before.1) as f64 {
            return Ok(true);
        }
        if Instant::now() >= give_up {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ticks that the cores were idle, and all ticks.
fn idle_of_all() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what follows is counted in user already.
    let all = ticks.iter().take(8).sum();
    Ok((ticks.iter().skip(3).take(2).sum(), all))
}

/// Processor time that a process has used.
///
/// # Errors
/// It is gone.
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("read the process's times")?;
    // The name in brackets may hold anything; the fields are counted from behind it.
    let (_, fields) = stat.rsplit_once(") ").context("read the process's times")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}

/// Bytes of a process in main memory, and how many of them are its own, not pages of a file.
///
/// # Errors
/// It is gone.
pub(crate) fn resident(process: u32) -> Result<(u64, u64)> {
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).context("read the process's memory")?;
    let pages: Vec<u64> = statm.split(' ').filter_map(|field| field.parse().ok()).collect();
    let [_, resident, of_files, ..] = pages[..] else { anyhow::bail!("read the process's memory") };
    let page = page_size() as u64;
    Ok((resident * page, (resident - of_files) * page))
}
